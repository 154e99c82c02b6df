"""How many functions of Python a line and a mail take: counted, for no clock is as steady."""

from __future__ import annotations

import itertools
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import asynccore
from asynccore.asynchat import async_chat
from asynccore.smtpd import SMTPChannel
from tests.core.fakes import owning

ROUNDS = 20


class Chat(async_chat):
    """Says each line again; three functions of its own run for each."""

    def __init__(self, sock: Any, map: Any) -> None:
        self.line = b""
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.line += data

    def found_terminator(self) -> None:
        line, self.line = self.line, b""
        self.push(line + b"\n")


class Joining(Chat):
    """The same with its replies together."""

    joins_replies = True


def calls(work: Callable[[], object]) -> int:
    """Return how many Python functions `work` calls."""
    count = 0

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        return peer, listener.accept()[0]


def calls_of_events(channel: Any, peer: socket.socket, data: list[bytes]) -> float:
    """Return the calls for each event, one for each of `data`, as the engine makes them."""
    found = 0

    def event() -> None:
        channel.handle_read_event()
        channel.writable()
        channel.readable()

    engine = channel._ac_engine
    assert engine is not None
    with owning(engine):  # as in a pass
        for piece in data:
            peer.sendall(piece)
            found += calls(event)
    return found / len(data)


def test_a_line() -> None:
    peer, sock = tcp()
    chat = Chat(sock, {})
    # The event, the receiving (2), get_terminator, push, two predicates, two hooks of the program:
    # pyasynchat has three more, and 1.8 times as many functions of C.
    assert calls_of_events(chat, peer, [b"x" * 40 + b"\n"] * ROUNDS) <= 10
    chat.close()
    peer.close()


def test_each_of_twenty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is held for a millisecond goes out, and a busy machine may take longer.
    stands_still = itertools.repeat(0.0).__next__
    monkeypatch.setattr("asynccore.dispatchers.output_queue.monotonic", stands_still)
    for cls, most in ((Chat, 5), (Joining, 5)):
        peer, sock = tcp()
        chat = cls(sock, {})
        found = calls_of_events(chat, peer, [(b"x" * 40 + b"\n") * 20] * ROUNDS) / 20
        assert found <= most
        chat.close()
        peer.close()


def test_a_mail() -> None:
    class Server:
        def process_message(self, *args: Any, **options: Any) -> None:
            pass

    peer, sock = tcp()
    channel = SMTPChannel(Server(), sock, ("client", 1), map={})
    # What the parser of the standard library takes for an address is not ours to bound.
    channel._getaddr = lambda arg: ("a@example.com", "")  # type: ignore[method-assign]
    calls_of_events(channel, peer, [b"EHLO client\r\n"])
    mail = [b"MAIL FROM:<a@example.com>\r\n", b"RCPT TO:<b@example.com>\r\n", b"DATA\r\n"]
    mail.append(b"Subject: x\r\n\r\n" + b"text\r\n" * 300 + b".\r\n")
    assert calls_of_events(channel, peer, mail * ROUNDS) * len(mail) <= 145
    assert not channel.rcpttos  # all of them were delivered
    channel.close()
    peer.close()
    asynccore.close_all()
