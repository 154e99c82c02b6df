"""Line ends in messages: what ends a message, and what a message may not hold.

SMTP smuggling (CVE-2023-51764, CVE-2023-51765, CVE-2023-51766): one server passes on as text what
the next one takes for the end of the message, and for commands after it.
"""

from __future__ import annotations

import itertools
import re
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asynccore
from asynccore import smtpd
from asynccore.hardened_smtpd import HardenedSMTPChannel
from asynccore.smtp.text import has_only_crlf
from tests.smtpd.dialogue import TO_DATA, Talk, bytewise

REFUSED = b"554 Error: bare CR, bare LF or NUL in the message\r\n"
END = b"\r\n.\r\n"

ENDS = (b"\n", b"\r", b"\r\n", b"\r\r\n", b"\n\r", b"\0\r\n", b"\r\0\n", b"\r\n\0")
FALSE_ENDS = [
    before + b"." + after
    for before, after in itertools.product(ENDS, repeat=2)
    if END not in before + b"." + after
]
SMUGGLED = b"MAIL FROM:<admin@d>\r\nRCPT TO:<victim@d>\r\nDATA\r\nSubject: smuggled"


def hardened() -> Talk:
    return Talk(channel_class=HardenedSMTPChannel)


@pytest.mark.parametrize("bytes_at_once", [False, True])
@pytest.mark.parametrize("false_end", FALSE_ENDS)
def test_a_false_end_ends_nothing(false_end: bytes, bytes_at_once: bool) -> None:
    message = b"Subject: x\r\n\r\nhello" + false_end + SMUGGLED + END
    pieces = [message] if bytes_at_once else list(bytewise(message))
    for talk, reply, count in (hardened(), REFUSED, 0), (Talk(), b"250 OK\r\n", 1):
        talk.say(*TO_DATA)
        assert talk.send(*pieces) == reply
        assert len(talk.mailbox.messages) == count
        assert talk.channel.smtp_state == talk.channel.COMMAND
        assert talk.say("NOOP", *TO_DATA[1:], "x\r\n.")[-1] == "250 OK"
        assert talk.mailbox.messages[-1][0][1:3] == ("a@b", ["c@d"])


def test_the_corpus_has_the_known_ones() -> None:
    assert {b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r", b"\r\n.\r\r\n"} <= {
        *FALSE_ENDS
    }


@pytest.mark.parametrize("decode_data", [False, True])
@pytest.mark.parametrize("bare", [b"\r", b"\n", b"\0"])
@pytest.mark.parametrize("at", ["{}x", "x{}", "x{}y", "x\r\n{}\r\ny", "x\r\n{}"])
def test_where_it_is_does_not_matter(at: str, bare: bytes, decode_data: bool) -> None:
    channel = HardenedSMTPChannel
    talk = Talk(channel_class=channel, options={"decode_data": decode_data})
    talk.say(*TO_DATA)
    assert talk.send(at.format(bare.decode()).encode() + END) == REFUSED
    assert talk.say(*TO_DATA[1:], "x\r\ny\r\n.")[-1] == "250 OK"


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<a@b>\nRCPT TO:<c@d>", b"NOOP\r", b"NOOP \0", b"\nNOOP", b"VRFY a\nb"]
)
def test_commands(line: bytes) -> None:
    talk = hardened()
    assert talk.say("EHLO c", line, "NOOP")[1:] == ["500 Error: bad syntax", "250 OK"]
    assert not talk.channel.mailfrom


def test_the_switch() -> None:
    class Lenient(HardenedSMTPChannel):
        strict_line_ends = False

    class Strict(smtpd.SMTPChannel):
        strict_line_ends = True

    assert smtpd.SMTPChannel.strict_line_ends is False
    for channel_class, reply in (Lenient, "250 OK"), (Strict, REFUSED.decode().strip()):
        talk = Talk(channel_class=channel_class)
        assert talk.say(*TO_DATA, "a\nb\r\n.")[-1] == reply
    talk.channel.strict_line_ends = False
    assert talk.say(*TO_DATA[1:], "a\nb\r\n.")[-1] == "250 OK"
    assert talk.last_message == b"a\nb"


def test_too_much_data_is_said_first() -> None:
    talk = Talk(channel_class=HardenedSMTPChannel, options={"data_size_limit": 3})
    assert talk.say(*TO_DATA, "a\nbcd\r\n.")[-1] == "552 Error: Too much mail data"


@given(st.text(alphabet="\r\n\0.x", max_size=12))
def test_every_text(text: str) -> None:
    expected = re.fullmatch(r"([^\r\n\0]|\r\n)*", text) is not None
    assert has_only_crlf(text) == has_only_crlf(text.encode()) == expected


# An empty message --------------------------------------------------------------------------------


@pytest.mark.parametrize("decode_data", [False, True])
@pytest.mark.parametrize(
    "data",
    [[b".\r\n"], [b".", b"\r", b"\n"], [b".\r", b"\n"], [b"\r\n.\r\n"], [b"\r\n", b".\r\n"]],
)
def test_a_dot_at_once_ends_an_empty_message(data: list[bytes], decode_data: bool) -> None:
    talk = Talk(options={"decode_data": decode_data})
    talk.say(*TO_DATA)
    assert talk.send(*data) == b"250 OK\r\n"
    assert talk.last_message == ("" if decode_data else b"")
    assert talk.say("NOOP") == ["250 OK"]


def test_a_dot_at_once_in_one_piece_with_the_commands() -> None:
    talk = Talk()
    lines = "\r\n".join([*TO_DATA, ".", *TO_DATA[1:], ".", "NOOP", ""])
    codes = [reply[:3] for reply in talk.send(lines.encode()).splitlines()]
    one = [b"250", b"250", b"354", b"250"]
    assert codes[codes.index(b"354") - 2 :] == [*one, *one, b"250"]
    assert [message[0][3] for message in talk.mailbox.messages] == [b"", b""]


def test_a_dot_at_once_before_what_ends_as_a_message_does() -> None:
    talk = Talk()
    talk.say(*TO_DATA)
    replies = talk.send(b".\r\nNOOP\r\n.\r\n").splitlines()
    assert [reply[:3] for reply in replies] == [b"250", b"250", b"500"]
    assert [message[0][3] for message in talk.mailbox.messages] == [b""]


@pytest.mark.parametrize("body", [b"..\r\n", b".x\r\n", b".\n\r\n", b".\r\r\n", b"x\r\n"])
def test_other_messages_that_begin_with_a_dot(body: bytes) -> None:
    for pieces in [body + b".\r\n"], bytewise(body + b".\r\n"):
        talk = Talk()
        talk.say(*TO_DATA)
        assert talk.send(*pieces) == b"250 OK\r\n"
        expected = body.removeprefix(b".").removesuffix(b"\r\n").replace(b"\r\n", b"\n")
        assert talk.last_message == expected


# Two servers, with sockets ------------------------------------------------------------------------


class Sink(smtpd.SMTPServer):
    """Keeps the messages; it ends them where anything looks like an end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.messages: list[bytes] = []
        super().__init__(*args, **kwargs)

    def process_message(self, *args: Any, **kwargs: Any) -> None:
        self.messages.append(args[3])


@pytest.fixture
def chain() -> Iterator[tuple[smtpd.PureProxy, Sink]]:
    """A proxy, and the server it passes on to, each with a loop in a thread."""
    sink = Sink(("127.0.0.1", 0), None, map={})
    proxy = smtpd.PureProxy(("127.0.0.1", 0), sink.socket.getsockname(), map={})
    threads = [
        threading.Thread(target=asynccore.loop, kwargs={"map": server._map})
        for server in (sink, proxy)
    ]
    for thread in threads:
        thread.start()
    yield proxy, sink
    for server, thread in zip((sink, proxy), threads, strict=True):
        asynccore.call_soon_threadsafe(asynccore.close_all, server._map, map=server._map)
        thread.join(30)


@pytest.mark.parametrize("false_end", [b"\n.\n", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n"])
@pytest.mark.parametrize("strict", [False, True])
def test_nothing_is_smuggled_through_a_proxy(
    chain: tuple[smtpd.PureProxy, Sink], false_end: bytes, strict: bool
) -> None:
    proxy, sink = chain
    if strict:
        proxy.channel_class = HardenedSMTPChannel
    talk = "\r\n".join(["HELO c", *TO_DATA[1:], ""]).encode()
    with socket.create_connection(proxy.socket.getsockname(), 30) as client:
        client.sendall(talk + b"Subject: x\r\n\r\nhello" + false_end + SMUGGLED + END + b"QUIT\r\n")
        replies = b"".join(iter(lambda: client.recv(65536), b"")).splitlines()
    assert [reply[:3] for reply in replies] == [
        *[b"220", b"250", b"250", b"250", b"354"],
        b"554" if strict else b"250",
        b"221",
    ]
    assert len(sink.messages) == (0 if strict else 1)
