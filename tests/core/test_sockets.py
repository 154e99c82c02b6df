"""Socket options: what the kernel is asked for, and what is refused before."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import dispatcher, dispatcher_with_send
from asynccore.asynchat import async_chat
from asynccore.dispatchers.socket_options import is_datagram
from tests.core.fakes import FakeSocket


@pytest.fixture
def channel() -> Iterator[dispatcher]:
    made = dispatcher(map={})
    made.create_socket()
    yield made
    made.close()


def option(channel: dispatcher, level: int, name: int) -> int:
    found: int = channel.socket.getsockopt(level, name)
    return found


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="the platform has no SO_REUSEPORT")
def test_two_listeners_share_a_port(channel: dispatcher) -> None:
    channel.set_reuse_port()
    channel.bind(("127.0.0.1", 0))
    other = dispatcher(map={})
    other.create_socket()
    try:
        with pytest.raises(OSError):
            other.bind(channel.socket.getsockname())
        other.set_reuse_port()
        other.bind(channel.socket.getsockname())
    finally:
        other.close()


def test_a_platform_without_reuse_port_says_so(
    channel: dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(OSError, match="no SO_REUSEPORT") as caught:
        channel.set_reuse_port()
    assert caught.value.errno == errno.ENOPROTOOPT


def test_nodelay(channel: dispatcher) -> None:
    channel.set_nodelay()
    assert option(channel, socket.IPPROTO_TCP, socket.TCP_NODELAY)
    channel.set_nodelay(False)
    assert not option(channel, socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_keepalive(channel: dispatcher) -> None:
    channel.set_keepalive(60, 9.5, 4)
    idle = getattr(socket, "TCP_KEEPIDLE", None) or getattr(socket, "TCP_KEEPALIVE", None)
    assert option(channel, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert idle is not None and option(channel, socket.IPPROTO_TCP, idle) == 60
    assert option(channel, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
    assert option(channel, socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
    channel.set_keepalive(on=False)
    assert not option(channel, socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert option(channel, socket.IPPROTO_TCP, idle) == 60


def test_keepalive_by_its_name_on_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_KEEPIDLE", raising=False)
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", 16, raising=False)
    channel = dispatcher(FakeSocket(), {})
    channel.set_keepalive(idle=60)
    assert channel.socket.option == (socket.IPPROTO_TCP, 16, 60)


@pytest.mark.parametrize("name", ["idle", "interval", "count"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_what_keepalive_refuses(channel: dispatcher, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} is None or at least 1"):
        channel.set_keepalive(**{name: value})
    assert not option(channel, socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize("cls", [dispatcher, dispatcher_with_send, async_chat])
def test_buffered_classes_send_small_pieces_at_once(cls: Any) -> None:
    buffered = cls is not dispatcher

    class Classic(cls):  # type: ignore[misc]
        tcp_nodelay = False

    class Modern(cls):  # type: ignore[misc]
        tcp_nodelay = True

    for kind, expected in ((cls, buffered), (Classic, False), (Modern, True)):
        made = kind(map={})
        made.create_socket()
        assert bool(option(made, socket.IPPROTO_TCP, socket.TCP_NODELAY)) is expected
        made.close()


def test_connections_that_were_accepted_do_so_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()):
            made = async_chat(listener.accept()[0], {})
            assert option(made, socket.IPPROTO_TCP, socket.TCP_NODELAY)
            made.close()


class Handing(dispatcher):
    """Makes a channel of the next class for each connection."""

    def __init__(self, classes: list[Any], map: Any) -> None:
        super().__init__(map=map)
        self.classes = classes
        self.made: list[Any] = []
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        cls = self.classes[len(self.made)]
        self.made.append(sock if cls is None else cls(sock, self._map))


def test_connections_of_one_listener_are_set_by_their_own_class() -> None:
    """Linux hands the option on in accept(2), which saves a call for each but the first."""
    calls: list[Any] = []

    class Counted(dispatcher_with_send):
        def set_socket(self, sock: Any, map: Any = None) -> None:
            sys.setprofile(lambda frame, event, arg: calls.append((event, arg)))
            try:
                super().set_socket(sock, map)
            finally:
                sys.setprofile(None)

    def set_options() -> int:
        return sum(event == "c_call" and arg.__name__ == "setsockopt" for event, arg in calls)

    channels: Any = {}
    classes = [dispatcher, Counted, Counted, dispatcher, async_chat, Counted, dispatcher]
    server = Handing(classes, channels)
    clients = []
    counts = []
    for number in range(len(classes)):
        clients.append(socket.create_connection(server.socket.getsockname()))
        while len(server.made) == number:
            asynccore.loop(timeout=1, map=channels, count=1)
        counts.append(set_options())
        calls.clear()
    for cls, channel in zip(classes, server.made, strict=True):
        found = bool(option(channel, socket.IPPROTO_TCP, socket.TCP_NODELAY))
        assert found is (cls is not dispatcher)
    if sys.platform == "linux":
        assert counts == [0, 2, 0, 0, 0, 0, 0]
    asynccore.close_all(channels)
    for client in clients:
        client.close()


def test_connections_that_cannot_have_the_option_are_taken(tmp_path: Any) -> None:
    class Local(Handing):
        def __init__(self, map: Any) -> None:
            dispatcher.__init__(self, map=map)
            self.classes, self.made = [async_chat, dispatcher, async_chat], []
            self.create_socket(socket.AF_UNIX)
            self.bind(str(tmp_path / "socket"))
            self.listen(5)

    if not hasattr(socket, "AF_UNIX"):
        return
    channels: Any = {}
    server = Local(channels)
    for number in range(3):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "socket"))
            while len(server.made) == number:
                asynccore.loop(timeout=1, map=channels, count=1)
    assert [type(made) for made in server.made] == server.classes
    asynccore.close_all(channels)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_sockets_without_that_option_are_taken(kind: socket.SocketKind) -> None:
    made = dispatcher_with_send(map={})
    if kind == socket.SOCK_DGRAM:
        made.create_socket(socket.AF_INET, kind)
    else:
        sock, other = socket.socketpair()
        other.close()
        made.set_socket(sock)
    made.close()
    made.set_socket(FakeSocket(10_000))  # which knows nothing of options


@pytest.mark.parametrize("name", ["set_reuse_port", "set_nodelay", "set_keepalive"])
def test_without_a_socket(name: str) -> None:
    with pytest.raises(RuntimeError, match="no socket yet"):
        getattr(dispatcher(), name)()


def test_what_is_a_datagram_socket() -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_UNIX, kind) as sock:
            assert is_datagram(sock) is (kind == socket.SOCK_DGRAM)
        fake = FakeSocket()
        fake.kind = int(kind)
        assert is_datagram(fake) is (kind == socket.SOCK_DGRAM)
    assert not is_datagram(object())
