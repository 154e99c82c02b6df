"""Ports of the reactor, with what `run --workers`, `--fd` and socket activation ask for."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import protocol
from twisted.internet.error import CannotListenError

import asynccore
from asynccore.listening import socket_activation
from compat import ClassicReactor
from tests.ports import free_port

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "SO_REUSEPORT"), reason="this platform can't share ports"
)


class Greeting(protocol.Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"hello")
        self.transport.loseConnection()


FACTORY = protocol.Factory.forProtocol(Greeting)


class Noted(socket_activation.Arrangement):
    """Notes which ports the parent of a worker is told of."""

    def __init__(self, reuse_port: bool, *descriptors: int) -> None:
        super().__init__(reuse_port, list(descriptors))
        self.told: list[Any] = []

    def listens(self, sock: Any) -> None:
        self.told.append(("listens", os.fstat(sock.fileno()).st_ino))

    def closes(self, sock: Any) -> None:
        self.told.append(("closes", os.fstat(sock.fileno()).st_ino))


@pytest.fixture(name="reactor")
def _reactor() -> Any:
    reactor = ClassicReactor(map={})
    yield reactor
    reactor.callWhenRunning(reactor.stop)
    reactor.run()


@pytest.fixture(name="arrange")
def _arrange(monkeypatch: pytest.MonkeyPatch) -> Any:
    def arrange(reuse_port: bool, *descriptors: int) -> Noted:
        noted = Noted(reuse_port, *descriptors)
        monkeypatch.setattr(socket_activation, "arranged", noted)
        return noted

    return arrange


def ask(reactor: Any, sock: socket.socket, address: Any) -> bytes:
    """Connect, and return what a port says."""
    with sock:
        sock.setblocking(False)
        sock.connect_ex(address)
        received = []

        def read() -> None:
            try:
                received.append(sock.recv(10))
            except BlockingIOError:
                pass

        while not received:
            asynccore.poll(0.01, reactor.map)
            read()
        return received[0]


def free_address(kind: int = socket.SOCK_STREAM) -> Any:
    return "127.0.0.1", free_port(kind)


def test_workers_share_ports(reactor: Any, arrange: Any) -> None:
    noted = arrange(True)
    host, number = free_address()
    one, two = (reactor.listenTCP(number, FACTORY, interface=host) for _ in range(2))
    assert one.getHost().port == two.getHost().port == number
    assert ask(reactor, socket.socket(), (host, number)) == b"hello"
    assert [word for word, _ in noted.told] == ["listens"] * 2
    two.stopListening()
    reactor.iterate(0)
    assert noted.told[2:] == [("closes", noted.told[1][1])]
    host, number = free_address(socket.SOCK_DGRAM)
    ports = [
        reactor.listenUDP(number, protocol.DatagramProtocol(), interface=host) for _ in range(2)
    ]
    assert {port.getHost().port for port in ports} == {number}


def test_what_workers_can_not_share(reactor: Any, arrange: Any, tmp_path: Path) -> None:
    arrange(True)
    with pytest.raises(CannotListenError, match="port 0 would be another port in each worker"):
        reactor.listenTCP(0, FACTORY)
    with pytest.raises(CannotListenError, match="several workers can't bind the Unix socket"):
        reactor.listenUNIX(str(tmp_path / "path"), FACTORY)
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        with pytest.raises(CannotListenError):
            reactor.listenUDP(number, protocol.DatagramProtocol(), interface="127.0.0.1")


def test_an_inherited_socket(reactor: Any, arrange: Any) -> None:
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        given.listen()
        arrange(False, given.fileno())
        host, number = given.getsockname()
        reactor.listenTCP(number, FACTORY, interface=host)
    assert ask(reactor, socket.socket(), (host, number)) == b"hello"
    # Another port than what is inherited is bound as ever.
    host, number = free_address()
    reactor.listenTCP(number, FACTORY, interface=host)
    assert ask(reactor, socket.socket(), (host, number)) == b"hello"


def test_an_inherited_path(reactor: Any, arrange: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "given")
    with socket.socket(socket.AF_UNIX) as given:
        given.bind(path)
        given.listen()
        arrange(False, given.fileno())
        reactor.listenUNIX(path, FACTORY)
    assert ask(reactor, socket.socket(socket.AF_UNIX), path) == b"hello"
    reactor.listenUNIX(str(tmp_path / "own"), FACTORY)
    assert ask(reactor, socket.socket(socket.AF_UNIX), str(tmp_path / "own")) == b"hello"


@pytest.mark.skipif(not socket.has_ipv6, reason="this Python knows no IPv6")
def test_ipv6(reactor: Any, arrange: Any) -> None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
            number = sock.getsockname()[1]
    except OSError:
        pytest.skip("this machine has no IPv6")
    arrange(True)
    reactor.listenTCP(number, FACTORY, interface="::1")
    assert ask(reactor, socket.socket(socket.AF_INET6), ("::1", number)) == b"hello"
