"""Mail programs: dear and odd commands, messages that can't be passed on, names of logins."""

from __future__ import annotations

import base64
import smtplib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from asynccore import ExitNow, smtpd
from asynccore.hardened_smtpd import HardenedSMTPChannel
from asynccore.smtp import syntax
from ssl_ext.smtp.auth import Exchange, Refused, is_name
from tests.smtpd.dialogue import PEER, Talk

LOCAL = ("127.0.0.1", 0)
REMOTE = ("127.0.0.2", 25)


# NOOP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["NOOP", "NOOP x", "noop  of no meaning ", "NOOP <a@b>"])
@pytest.mark.parametrize("channel", [smtpd.SMTPChannel, HardenedSMTPChannel])
def test_an_argument_of_noop_is_ignored(command: str, channel: Any) -> None:
    class Module:
        SMTPChannel = channel

    module: Any = Module
    assert Talk(module).say(command) == ["250 OK"]


# Addresses ---------------------------------------------------------------------------------------


def calls_of(function: Any) -> int:
    """How many calls, of Python's and of C's, a function makes."""
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


USUAL = [
    "<a@b>",
    "<first.last+tag@mail.example.org>",
    '<"first last"@example.org>',
    "<a@[192.0.2.1]>",
    "<" + "a." * 200 + "a@example.org>",
    "<ä@ö.example>",
    "first.last@example.org",
]


@pytest.mark.parametrize("address", USUAL)
def test_a_recipient_costs_little(address: str) -> None:
    talk = Talk()
    talk.say("EHLO c", "MAIL FROM:<a@b>")
    lines = f"RCPT TO:{address}\r\n".encode() * 50
    # The parser of header fields makes 700 calls for the shortest address, and 20,000 for others.
    assert calls_of(lambda: talk.send(lines)) < 50 * 130
    assert talk.channel.rcpttos == [syntax.parse_address(address)[0]] * 50


DEAR = [
    "<" + "() " * 150 + "a@b>",
    "<" + '"a".' * 110 + '"a"@b>',
    "<a" + " . a" * 110 + "@b>",
    "<a@b" + "(a)" * 150 + ">",
    "<" + "@a," * 150 + "@a:a@b>",
    "<" + "(" * 240 + ")" * 240 + "a@b>",
]


@pytest.mark.parametrize("address", DEAR)
def test_a_connection_has_only_so_many_addresses_that_are_dear(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[object] = []

    def parse(argument: object) -> tuple[str, str]:
        parsed.append(argument)
        return "a@b", ""

    monkeypatch.setattr("asynccore.smtp.commands.parse_address", parse)
    talk = Talk()
    talk.say("EHLO c", "MAIL FROM:<a@b>")
    replies = talk.say(*[f"RCPT TO:{address}"] * 125)
    assert 4 <= len(parsed) <= 10
    assert set(replies) == {"250 OK", "501 Syntax: RCPT TO: <address> [SP <mail-parameters>]"}
    # Whose addresses are as they should be does not suffer from it, nor the next connection.
    assert talk.say("RCPT TO:<a@b>") == ["250 OK"]
    talk = Talk()
    assert talk.say("EHLO c", "MAIL FROM:<a@b>", f"RCPT TO:{address}")[-1] == "250 OK"


@pytest.mark.parametrize(
    "argument",
    [
        *USUAL,
        "<>",
        "a@b SIZE=1",
        "<a@b>  BODY=8BITMIME SIZE=1",
        '<"a  b"@c>',
        '<"ab"@c>',
        "<a@b> ",
        "<a@b",
        "a@b (x)",
        "<=?utf-8?q?a?=@b>",
        "<a@b>\u2028x",
        "<a..b@c>",
        '<""@c>',
        "<a@b\0>",
        "",
        None,
    ],
)
def test_the_short_way_gives_what_the_long_one_gives(argument: str | None) -> None:
    found = syntax.parse_usual_address(argument)
    assert found is None or found == syntax.parse_address(argument)
    assert found is not None or argument not in USUAL


# Passing on --------------------------------------------------------------------------------------


class Remote:
    """In the place of smtplib.SMTP: `sendmail` does what smtplib's does before it sends."""

    error: BaseException | None = None
    refused_address: BaseException | None = None

    def connect(self, *address: Any) -> None:
        if self.refused_address:
            raise self.refused_address

    def sendmail(self, sender: str, recipients: list[str], data: Any) -> dict[str, Any]:
        if self.error:
            raise self.error
        for text in (sender, *recipients):
            if "\r" in text or "\n" in text:
                raise ValueError("command and arguments contain prohibited newline characters")
            text.encode("ascii")
        return {}

    def quit(self) -> None:
        pass


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> type[Remote]:
    class Present(Remote):
        pass

    monkeypatch.setattr(smtplib, "SMTP", Present)
    return Present


@pytest.fixture
def proxy() -> Iterator[smtpd.PureProxy]:
    server = smtpd.PureProxy(LOCAL, REMOTE, map={})
    yield server
    server.close()


def mail(proxy: Any, sender: str = "<a@b>") -> tuple[list[str], Talk]:
    talk = Talk()
    talk.channel.smtp_server = proxy
    lines = ["EHLO c", f"MAIL FROM:{sender}", "RCPT TO:<c@d>", "DATA", "S: x\r\n\r\nhi\r\n."]
    return talk.say(*lines), talk


@pytest.mark.parametrize("reports", [False, True])
@pytest.mark.parametrize("sender", ["<é@b>", '<"a\nRCPT TO:<x@y>"@b>', '<"a\rb"@c>'])
def test_what_can_never_be_passed_on(proxy: Any, remote: Any, sender: str, reports: bool) -> None:
    proxy.report_refusals = reports
    replies, talk = mail(proxy, sender)
    assert replies[-1].startswith("553 ")
    assert not talk.socket.closed
    assert talk.say("RSET") == ["250 OK"]


@pytest.mark.parametrize("reports", [False, True])
@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("error", KeyError("x")),
        ("error", RecursionError()),
        ("refused_address", UnicodeError("label empty or too long")),
    ],
)
def test_what_failed_here_is_for_later(
    proxy: Any, remote: Any, capsys: Any, place: str, error: Exception, reports: bool
) -> None:
    proxy.report_refusals = reports
    setattr(remote, place, error)
    replies, talk = mail(proxy)
    assert replies[-1].startswith("451 ")
    assert not talk.socket.closed
    assert "Traceback" in capsys.readouterr().err
    remote.error = remote.refused_address = None
    assert talk.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "x\r\n.")[-1] == "250 OK"


@pytest.mark.parametrize("why", [ExitNow(), KeyboardInterrupt(), SystemExit()])
def test_what_leaves_the_loop_does_so_from_a_proxy(
    proxy: Any, remote: Any, why: BaseException
) -> None:
    remote.error = why
    with pytest.raises(type(why)):
        mail(proxy)


def test_a_server_that_is_not_there_is_no_news_to_the_client(proxy: Any, remote: Any) -> None:
    # The classic proxy says so, and programs that want to know set `report_refusals`.
    remote.error = ConnectionRefusedError()
    assert mail(proxy)[0][-1] == "250 OK"
    proxy.report_refusals = True
    assert mail(proxy)[0][-1].startswith("451 ")
    assert proxy.process_message(PEER, "a@b", ["c@d"], "x").startswith("451 ")


# Names of logins ---------------------------------------------------------------------------------


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("name", [b"a\r\nb", b"a\n", b"\ra"])
def test_a_name_with_a_line_end_is_none(name: bytes) -> None:
    for said in (b"\0" + name + b"\0secret", name + b"\0a\0secret"):
        with pytest.raises(Refused, match="501"):
            Exchange("PLAIN").begin(b64(said))
    with pytest.raises(Refused, match="501"):
        Exchange("LOGIN").begin(b64(name))
    with pytest.raises(Refused, match="501"):
        Exchange("EXTERNAL").begin(b64(name))


def test_a_name_with_nul_is_none() -> None:
    for mechanism in ("LOGIN", "EXTERNAL"):
        with pytest.raises(Refused, match="501"):
            Exchange(mechanism).begin(b64(b"a\0b"))
    assert not is_name("a\0b")
    assert is_name("a b")


def test_names_as_they_should_be() -> None:
    exchange = Exchange("PLAIN")
    assert exchange.begin(b64("\0né e\0sec\nret".encode())) == ""
    assert exchange.claim is not None
    assert (exchange.claim.user, exchange.claim.password) == ("né e", "sec\nret")
