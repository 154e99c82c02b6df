"""Connections that go from a dispatcher to a protocol in mid-conversation."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.protocol import Factory

import asynccore
from asynccore import asynchat
from compat.twisted_transports import hand_over
from tests.modern_twisted.protocols import Keeper, Recorder

Loop = Callable[..., None]


class Negotiator(asynchat.async_chat):
    """Speaks until the line "modern", and then hands over."""

    def __init__(self, sock: socket.socket, reactor: Any, factory: Any) -> None:
        super().__init__(sock, reactor.map)
        self.set_terminator(b"\n")
        self.reactor = reactor
        self.factory = factory
        self.lines: list[bytes] = []
        self.closes = 0

    def collect_incoming_data(self, data: bytes) -> None:
        self.lines.append(data)

    def found_terminator(self) -> None:
        if self.lines[-1] == b"modern":
            self.transport = hand_over(self, self.factory, reactor=self.reactor)

    def handle_close(self) -> None:
        self.closes += 1
        self.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_nothing_is_lost(
    reactor: Any, loop: Loop, family: int, tcp_pair: Callable[..., Any]
) -> None:
    ours, peer = socket.socketpair() if family == socket.AF_UNIX else tcp_pair()
    kept = Keeper()
    with peer:
        channel = Negotiator(ours, reactor, kept)
        peer.sendall(b"legacy\nmodern\nthe rest\nof it")
        loop(lambda: kept.made)
        assert channel.lines == [b"legacy", b"modern"]
        (protocol,) = kept.made
        assert protocol.data == b"the rest\nof it"
        peer.sendall(b", and more")
        loop(lambda: protocol.data == b"the rest\nof it, and more")
        protocol.transport.write(b"answer")
        loop(lambda: not reactor.getWriters())
        assert peer.recv(100) == b"answer"
        assert channel.transport is protocol.transport
    loop()
    assert protocol.lost == ["ConnectionDone"]
    assert channel.closes == 0


def test_a_protocol_that_ends_at_once_gets_nothing(reactor: Any, loop: Loop) -> None:
    class Gone(Recorder):
        def connectionMade(self) -> None:
            self.transport.connectionLost(failure())

    def failure() -> Any:
        from twisted.internet.error import ConnectionAborted
        from twisted.python.failure import Failure

        return Failure(ConnectionAborted())

    ours, peer = socket.socketpair()
    kept = Keeper(Gone)
    with peer:
        Negotiator(ours, reactor, kept)
        peer.sendall(b"modern\nthe rest")
        loop()
    assert kept.made[0].data == b""
    assert kept.made[0].lost == ["ConnectionAborted"]


def test_a_factory_without_a_protocol_closes(reactor: Any, loop: Loop) -> None:
    class Nobody(Factory):
        def buildProtocol(self, addr: Any) -> None:
            return None

    ours, peer = socket.socketpair()
    with peer:
        channel = Negotiator(ours, reactor, Nobody())
        peer.sendall(b"modern\n")
        loop()
        assert channel.transport is None
        assert peer.recv(1) == b""


def test_what_cannot_be_handed_over(reactor: Any) -> None:
    kept = Keeper()
    empty = asynccore.dispatcher(map=reactor.map)
    with pytest.raises(TypeError, match="no plain stream socket, but None"):
        hand_over(empty, kept, reactor=reactor)
    empty.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(TypeError, match="no plain stream socket"):
        hand_over(empty, kept, reactor=reactor)
    empty.close()
    empty.create_socket()
    with pytest.raises(ValueError, match="is not connected"):
        hand_over(empty, kept, reactor=reactor)
    empty.close()
    ours, peer = socket.socketpair()
    with peer:
        full = Negotiator(ours, reactor, kept)
        full.push_with_producer(asynchat.simple_producer(b"x" * 5_000_000))
        with pytest.raises(ValueError, match="output to send"):
            hand_over(full, kept, reactor=reactor)
        full.close()
    assert kept.made == []


def test_the_installed_reactor_is_the_default(tcp_pair: Callable[..., Any]) -> None:
    from twisted.internet import reactor as found

    installed: Any = found
    ours, _ = tcp_pair()
    kept = Keeper()
    channel = asynccore.dispatcher(ours, {})
    transport = hand_over(channel, kept)
    assert transport.reactor is installed
    assert channel.socket.fileno() == -1
    transport.connectionLost(failure_done())
    assert kept.made[0].lost == ["ConnectionDone"]


def failure_done() -> Any:
    from twisted.internet.error import ConnectionDone
    from twisted.python.failure import Failure

    return Failure(ConnectionDone())
