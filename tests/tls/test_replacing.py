"""A TLS socket that takes the place of a channel's plain one, while the loop runs.

A program does so by assigning `channel.socket` in a handler, and says nothing to anybody. The clock
of these loops stands still, so that the review that is made once a second never comes.
"""

from __future__ import annotations

import socket
import ssl
import sys
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, asynchat, dispatcher, dispatcher_with_send, loop
from asynccore.engine import Engine
from asynccore.testing import FakeClock
from ssl_ext import OpenSSLSocket, TLSMixin, tls_async_chat, tls_dispatcher_with_send
from tests.tls.support import HOST, authority, client_raw, server_certificate, server_raw
from tests.tls.talking import meanwhile

# Seconds that nothing here takes: the clock that stands still keeps `meanwhile` from noticing.
PATIENCE = 10.0


@pytest.fixture
def channels() -> Any:
    """A map whose clock stands still."""
    server_certificate()  # not in two threads at once: there would be two authorities
    made = ChannelMap()
    made.engine = Engine(made, FakeClock())
    yield made
    asynccore.close_all(made, ignore_all=True)


class Upgrades:
    """Begins TLS at the first line, and then echoes."""

    log: list[str]
    role = "server"
    version: int

    def replace(self, line: bytes) -> None:
        """Answer in clear, and put a TLS socket in the place of the present one."""
        channel: Any = self
        if isinstance(channel.socket, OpenSSLSocket):
            self.say(line + b"\n")
        elif self.role == "server":
            self.say(b"ready\n")
            channel.socket = OpenSSLSocket(
                server_raw(self.version), channel.socket, server_side=True
            )
        else:
            channel.socket = OpenSSLSocket(
                client_raw(self.version), channel.socket, server_hostname=HOST
            )

    def say(self, line: bytes) -> None:
        self.send(line)  # type: ignore[attr-defined]

    def handle_error(self) -> None:
        self.log.append(repr(sys.exc_info()[1]))
        self.close()  # type: ignore[attr-defined]

    def handle_close(self) -> None:
        self.close()  # type: ignore[attr-defined]


class Reading(Upgrades, dispatcher):
    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        line = self.recv(100)
        if line:
            self.replace(line[:-1])


class Sending(Upgrades, dispatcher_with_send):
    handle_read = Reading.handle_read


class Chat(Upgrades, asynchat.async_chat):
    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.replace(self._get_data())

    def say(self, line: bytes) -> None:
        self.push(line)


def talk(sock: socket.socket, role: str) -> bytes:
    """Have a channel of that role begin TLS, and say something to it."""
    sock.settimeout(PATIENCE)
    sock.sendall(b"GO\n")
    if role == "server":
        assert sock.recv(100) == b"ready\n"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority().configure_trust(context)
        secure = context.wrap_socket(sock, server_hostname=HOST)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_certificate().configure_cert(context)
        secure = context.wrap_socket(sock, server_side=True)
    with secure:
        secure.sendall(b"hello\n")
        answer = secure.recv(100)
        secure.unwrap()
        return answer


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("base", [Reading, Sending, Chat])
def test_a_handler_replaces_its_socket(
    channels: Any, tcp_pair: Any, version: int, base: Any, role: str
) -> None:
    ours, theirs = tcp_pair()
    channel = base(ours, channels)
    channel.log, channel.role, channel.version = [], role, version
    if base is Chat:
        channel.set_terminator(b"\n")
    assert meanwhile(channels, lambda: talk(theirs, role)) == b"hello\n"
    assert channel.log == []


def test_a_socket_that_was_made_earlier_is_found_by_the_first_recv(
    channels: Any, tcp_pair: Any
) -> None:
    class Late(Sending):
        def replace(self, line: bytes) -> None:
            if isinstance(self.socket, OpenSSLSocket):
                self.say(line + b"\n")
            else:
                self.say(b"ready\n")
                self.socket = made

    ours, theirs = tcp_pair()
    channel = Late(ours, channels)
    channel.log = []
    loop(timeout=0, map=channels, count=1)
    made = OpenSSLSocket(server_raw(), ours, server_side=True)
    loop(timeout=0, map=channels, count=1)  # nothing has come of it yet
    assert meanwhile(channels, lambda: talk(theirs, "server")) == b"hello\n"
    assert channel.log == []


# What was taken for it before --------------------------------------------------------------------


def first_words() -> bytes:
    """What a client of TLS begins with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    out = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


class Crossing(TLSMixin):
    """Which of two is read from first makes the other one speak TLS."""

    other: Any
    made: list[Any]
    log: list[str]

    def handle_read_event(self) -> None:
        self.log.append("event")
        super().handle_read_event()

    def cross(self) -> None:
        if not self.made:
            self.made.append(self.other)
            self.other.start_tls(server_raw(), server_side=True)
        else:
            self.log.append("read")

    handle_error = Upgrades.handle_error


class CrossingSend(Crossing, tls_dispatcher_with_send):
    def handle_read(self) -> None:
        self.cross()
        self.recv(65536)


class CrossingChat(Crossing, tls_async_chat):
    def handle_read(self) -> None:
        self.cross()
        super().handle_read()

    def collect_incoming_data(self, data: bytes) -> None:
        pass


class CrossingLegacy(dispatcher):
    """The same with a class that knows nothing of TLS."""

    other: Any
    made: list[Any]
    log: list[str]

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self.log.append("event")
        super().handle_read_event()

    def handle_read(self) -> None:
        if not self.made:
            self.made.append(self.other)
            self.other.socket = OpenSSLSocket(server_raw(), self.other.socket, server_side=True)
        self.recv(65536)

    handle_error = Upgrades.handle_error


@pytest.mark.parametrize("kind", [CrossingSend, CrossingChat, CrossingLegacy])
def test_tls_that_begins_after_an_event_was_taken(tcp_pair: Any, kind: Any) -> None:
    channels = ChannelMap()
    made: list[Any] = []
    pairs = [tcp_pair(), tcp_pair()]
    both = [kind(ours, channels) for ours, _ in pairs]
    for channel, other, (_, theirs) in zip(both, reversed(both), pairs, strict=True):
        channel.other, channel.made, channel.log = other, made, []
        if kind is CrossingChat:
            channel.set_terminator(b"\n")
        theirs.sendall(first_words())
    for ours, _ in pairs:
        assert ours.recv(1, socket.MSG_PEEK)
    loop(timeout=PATIENCE, map=channels, count=1)
    assert len(made) == 1
    secure = made[0]
    assert secure.log == ["event"]  # in the same batch
    theirs = pairs[both.index(secure)][1]
    theirs.setblocking(False)
    answer = b""
    for _ in range(20):
        loop(timeout=0.1, map=channels, count=1)
        try:
            answer += theirs.recv(65536)
        except BlockingIOError:
            continue
        break
    assert answer[:1] == b"\x16"  # the handshake goes on: a record of its kind
    assert secure.log == ["event"]
    asynccore.close_all(channels)
