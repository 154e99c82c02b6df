"""`process_message` without keywords: called with what it takes, and one warning says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from asynccore import hardened_smtpd, smtpd
from asynccore.smtp import keywords
from asynccore.smtp.session import SMTPSession


class Session(SMTPSession):
    """The dialogue alone."""

    def __init__(self, server: Any, decode_data: bool = False) -> None:
        self.sent: list[str] = []
        self._ac_begin_session(
            server, ("127.0.0.1", 1), "host",
            data_size_limit=None, enable_SMTPUTF8=False, decode_data=decode_data,
        )  # fmt: skip

    def push(self, msg: str) -> None:
        self.sent.append(msg)

    def set_terminator(self, term: object) -> None: ...

    def _ac_debug(self, *values: object) -> None: ...

    def line(self, data: bytes) -> str:
        self.collect_incoming_data(data)
        self.found_terminator()
        return self.sent[-1]


class Server:
    def __init__(self, process_message: Callable[..., Any]) -> None:
        self.process_message = process_message


def deliver(process_message: Callable[..., Any], message: bytes = b"Hi\r\nyou") -> str:
    session = Session(Server(process_message))
    session.line(b"EHLO me")
    session.line(b"MAIL FROM:<a@b> BODY=8BITMIME")
    session.line(b"RCPT TO:<c@d>")
    session.line(b"DATA")
    return session.line(message)


def test_of_before_3_5_it_gets_text_and_one_warning_says_so() -> None:
    seen = []

    def process_message(peer: Any, mailfrom: Any, rcpttos: Any, data: Any) -> None:
        seen.append((mailfrom, rcpttos, data))

    with pytest.warns(RuntimeWarning, match="as before Python 3.5, with text; add") as told:
        assert deliver(process_message) == "250 OK"
    (warning,) = told
    assert warning.filename == __file__
    assert warning.lineno == process_message.__code__.co_firstlineno
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        deliver(process_message, b"gr\xc3\xbcn")
        deliver(process_message, b"gr\xfcn")
    texts = ["Hi\nyou", "grün", "grün"]
    assert seen == [("a@b", ["c@d"], text) for text in texts]


def test_a_method_of_a_class() -> None:
    class Sink:
        def process_message(self, peer: Any, mailfrom: Any, rcpttos: Any, data: Any) -> str:
            assert type(data) is str
            return "250 got it"

    with pytest.warns(RuntimeWarning, match=r"Sink\.process_message takes no \*\*kwargs"):
        assert deliver(Sink().process_message) == "250 got it"


def test_arguments_alone() -> None:
    seen: list[Any] = []

    def process_message(*args: Any) -> None:
        seen.extend(args)

    with pytest.warns(RuntimeWarning):
        deliver(process_message)
    assert seen[1:] == ["a@b", ["c@d"], "Hi\nyou"]


def test_one_of_the_keywords_is_given_with_bytes() -> None:
    seen = []

    def process_message(
        peer: Any, mailfrom: Any, rcpttos: Any, data: Any, mail_options: Any = ()
    ) -> None:
        seen.append((data, mail_options))

    with pytest.warns(RuntimeWarning, match="without those it does not take"):
        deliver(process_message)
    assert seen == [(b"Hi\nyou", ["BODY=8BITMIME"])]


@pytest.mark.parametrize("kind", ["kwargs", "named", "keyword-only", "callable", "callable object"])
def test_who_takes_both_gets_both_and_no_warning(kind: str) -> None:
    seen = []

    def kwargs(peer: Any, mailfrom: Any, rcpttos: Any, data: Any, **options: Any) -> None:
        seen.append((data, options))

    def named(
        peer: Any, mailfrom: Any, rcpttos: Any, data: Any, mail_options: Any, rcpt_options: Any
    ) -> None:
        kwargs(1, 2, 3, data, mail_options=mail_options, rcpt_options=rcpt_options)

    def only(
        peer: Any, mailfrom: Any, rcpttos: Any, data: Any, *, mail_options: Any, rcpt_options: Any
    ) -> None:
        kwargs(1, 2, 3, data, mail_options=mail_options, rcpt_options=rcpt_options)

    class Callable_:
        __call__ = staticmethod(kwargs)

    import functools

    functions = {
        "kwargs": kwargs, "named": named, "keyword-only": only,
        "callable": functools.partial(kwargs), "callable object": Callable_(),
    }  # fmt: skip
    deliver(functions[kind])
    assert seen == [(b"Hi\nyou", {"mail_options": ["BODY=8BITMIME"], "rcpt_options": []})]


def test_with_decode_data_nothing_is_different() -> None:
    def process_message(peer: Any, mailfrom: Any, rcpttos: Any, data: Any) -> str:
        assert data == "Hi"
        return "250 text"

    session = Session(Server(process_message), decode_data=True)
    for line in (b"EHLO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA"):
        session.line(line)
    assert session.line(b"Hi") == "250 text"


def test_the_hardened_channel_does_the_same() -> None:
    def process_message(peer: Any, mailfrom: Any, rcpttos: Any, data: Any) -> str:
        return f"250 {data}"

    class Hardened(Session):
        _ac_process_message = hardened_smtpd.HardenedSMTPChannel._ac_process_message

    session = Hardened(Server(process_message))
    for line in (b"EHLO me", b"MAIL FROM:<a@b>", b"RCPT TO:<c@d>", b"DATA"):
        session.line(line)
    with pytest.warns(RuntimeWarning):
        assert session.line(b"Hi") == "250 Hi"


def test_the_classes_here_take_them_all() -> None:
    for server in (smtpd.SMTPServer, smtpd.DebuggingServer, smtpd.PureProxy):
        found = keywords.adapted(server.process_message, b"x", {"mail_options": []})
        assert found == (b"x", {"mail_options": []})
