"""Datagrams, AF_UNIX, IPv6: any family and type that `socket` knows, by `create_socket`."""

from __future__ import annotations

import errno
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

import asynccore
from tests.corners.support import Listener, Noting, QuietReader, Reader, drive, passes


class Datagrams(Noting, asynccore.dispatcher):
    """Receives by `recv`, or by `recvfrom` of the socket, as most programs do."""

    def __init__(self, map: Any, addressed: bool, family: int = socket.AF_INET) -> None:
        super().__init__(map=map)
        self.addressed = addressed
        self.got: list[bytes] = []
        self.create_socket(family, socket.SOCK_DGRAM)
        self.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        if self.addressed:
            self.got.append(self.socket.recvfrom(1000)[0])
        else:
            self.got.append(self.recv(1000))


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6(), reason="no IPv6 loopback")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no AF_UNIX")


@pytest.mark.parametrize("addressed", [False, True])
def test_an_empty_datagram_is_no_end(addressed: bool, channels: Any, engine: str) -> None:
    channel = Datagrams(channels, addressed)
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        for data in (b"one", b"", b"two"):
            peer.sendto(data, channel.socket.getsockname())
        drive(lambda: len(channel.got) == 3, channels, engine)
    assert channel.got == [b"one", b"", b"two"] and channel.events == []


def test_a_refused_datagram(channels: Any, engine: str) -> None:
    """ECONNREFUSED comes with a later call, to a connected UDP socket (udp(7))."""
    channel = Datagrams(channels, addressed=False)
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        address = gone.getsockname()
    channel.connect(address)
    assert channel.events == ["connect"]
    channel.send(b"anybody?")
    drive(lambda: len(channel.events) > 1, channels, engine)
    (_, why) = channel.events
    assert isinstance(why, ConnectionRefusedError)
    assert not channels


def test_two_connected_datagram_sockets(channels: Any, engine: str) -> None:
    left, right = (Datagrams(channels, addressed=False) for _ in range(2))
    left.connect(right.socket.getsockname())
    right.connect(left.socket.getsockname())
    assert left.send(b"to the right") == 12
    drive(lambda: right.got, channels, engine)
    right.send(b"to the left")
    drive(lambda: left.got, channels, engine)
    assert (left.got, right.got) == ([b"to the left"], [b"to the right"])


def test_too_large_a_datagram_is_an_error(channels: Any) -> None:
    channel = Datagrams(channels, addressed=False)
    channel.connect(channel.socket.getsockname())
    with pytest.raises(OSError) as caught:
        channel.send(b"x" * 70_000)
    assert caught.value.errno == errno.EMSGSIZE and channel.events == ["connect"]


@needs_ipv6
def test_ipv6_streams(channels: Any, engine: str) -> None:
    listener = Listener(channels, socket.AF_INET6)
    client = QuietReader(map=channels)
    client.create_socket(socket.AF_INET6)
    client.connect(listener.address[:2])
    drive(lambda: listener.children and client.connected, channels, engine)
    assert client.family_and_type == (socket.AF_INET6, socket.SOCK_STREAM)
    assert "::1" in repr(listener.children[0])
    listener.children[0].send(b"x")
    drive(lambda: client.received, channels, engine)


@needs_ipv6
def test_ipv6_datagrams(channels: Any) -> None:
    channel = Datagrams(channels, addressed=True, family=socket.AF_INET6)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"six", channel.socket.getsockname())
        drive(lambda: channel.got, channels)


class UnixListener(Noting, asynccore.dispatcher):
    def __init__(self, path: str, map: Any) -> None:
        super().__init__(map=map)
        self.children: list[Any] = []
        self.create_socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.bind(path)
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.children.append(Reader(sock, self._map))


@needs_unix
@pytest.mark.parametrize("abstract", [False, True])
def test_unix_streams(
    abstract: bool, channels: Any, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if abstract and sys.platform != "linux":
        pytest.skip("abstract names are Linux's")
    monkeypatch.chdir(tmp_path)  # a path of the folder itself may be too long
    path = f"\0asynccore-{os.getpid()}-{id(channels)}" if abstract else "socket"
    listener = UnixListener(path, channels)
    client = Reader(map=channels)
    client.create_socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(path)
    drive(lambda: listener.children and client.connected, channels, engine)
    client.send(b"x")
    drive(lambda: listener.children[0].received, channels, engine)
    for channel in (listener, client, listener.children[0]):
        assert repr(channel).startswith("<")
    client.close()
    drive(lambda: listener.children[0].events[-1:] == ["close"], channels, engine)


@needs_unix
def test_a_unix_path_without_a_listener(channels: Any, tmp_path: Path) -> None:
    client = Reader(map=channels)
    client.create_socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with pytest.raises(OSError) as caught:
        client.connect(str(tmp_path / "none"))
    assert caught.value.errno == errno.ENOENT


@needs_unix
def test_unix_datagrams(channels: Any, engine: str) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with left:
        channel = Reader(right, channels)
        left.send(b"")
        left.send(b"x")
        drive(lambda: channel.received, channels, engine)
        passes(channels, engine)
        assert channel.events == ["read"]
        channel.close()
