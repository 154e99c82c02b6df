"""What everyday programs need: failed connects, the end, listeners, lines, datagrams."""

from __future__ import annotations

import functools
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from asynccore.testing import Fakes
from tests.core.fakes import FakeSocket
from tests.ports import free_port


class Client(asynccore.dispatcher_with_send):
    """Notes how it ends."""

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        super().__init__(sock, {} if map is None else map)
        self.log: list[Any] = []

    def handle_read(self) -> None:
        self.log.append(self.recv(10))

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_closed(self, exc: BaseException | None = None) -> None:
        assert self.is_closed
        self.log.append(("closed", type(exc).__name__))


def run(channel: Any, count: int = 20) -> list[Any]:
    asynccore.loop(0.05, map=channel._map, count=count)
    log: list[Any] = channel.log
    return log


def begin(channel: asynccore.dispatcher, by_name: bool) -> None:
    if by_name:
        channel.connect_name("127.0.0.1", free_port())
    else:
        channel.create_socket()
        channel.connect(("127.0.0.1", free_port()))


# A connect that fails -------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
def test_a_failed_connect_has_a_hook(by_name: bool) -> None:
    class Tries(Client):
        tries = 0

        def handle_connect_error(self, exc: OSError) -> None:
            assert sys.exc_info()[1] is exc
            self.log.append(type(exc))
            self.close()
            self.tries += 1
            if self.tries < 3:
                begin(self, by_name)

    channel = Tries()
    begin(channel, by_name)
    kind = asynccore.ConnectError if by_name else ConnectionRefusedError
    assert run(channel) == [kind, ("closed", kind.__name__)] * 3


@pytest.mark.parametrize("by_name", [True, False])
def test_what_that_raises_goes_to_handle_error(by_name: bool) -> None:
    class Fails(Client):
        def handle_connect_error(self, exc: OSError) -> None:
            raise KeyError

        def handle_error(self) -> None:
            self.log.append(type(sys.exc_info()[1]))
            self.close()

    channel = Fails()
    begin(channel, by_name)
    assert run(channel) == [KeyError, ("closed", "KeyError")]


def test_what_handle_connect_raises_is_no_failed_connect() -> None:
    class Fails(Client):
        def handle_connect(self) -> None:
            raise ConnectionRefusedError

        def handle_connect_error(self, exc: OSError) -> None:
            raise AssertionError

        def handle_error(self) -> None:
            self.log.append("error")
            self.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Fails()
        channel.create_socket()
        channel.connect(server.getsockname())
        assert run(channel) == ["error", ("closed", "ConnectionRefusedError")]


def test_by_default_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    class Named(Client):
        def __repr__(self) -> str:
            return "<me>"

    channel = Named()
    port = free_port()
    channel.connect_name("127.0.0.1", port)
    assert run(channel) == ["close", ("closed", "ConnectError")]
    said = capsys.readouterr().out
    assert said.startswith(f"error: can't connect to 127.0.0.1:{port}: ")
    assert said.endswith(", closing channel <me>\n") and said.count("\n") == 1


# The end --------------------------------------------------------------------------------------


def ends_by_itself(channel: Client, peer: socket.socket) -> None:
    channel.close()
    channel.close()


def ends_by_the_peer(channel: Client, peer: socket.socket) -> None:
    peer.close()


def ends_by_error(channel: Client, peer: socket.socket) -> None:
    def fail() -> None:
        raise ValueError

    channel.handle_read = fail  # type: ignore[method-assign]
    channel.log_info = lambda *args: None  # type: ignore[assignment,method-assign]
    peer.send(b"x")


def ends_by_timeout(channel: Client, peer: socket.socket) -> None:
    channel.idle_timeout = 0
    channel.log_info = lambda *args: None  # type: ignore[assignment,method-assign]


def ends_by_reset(channel: Client, peer: socket.socket) -> None:
    channel.send(b"unread")
    peer.close()


def ends_by_the_programs_own_error(channel: Client, peer: socket.socket) -> None:
    try:
        raise KeyError
    except KeyError:
        channel.close()


def ends_when_done(channel: Client, peer: socket.socket) -> None:
    channel.send(b"bye")
    channel.close_when_done()


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (ends_by_itself, "NoneType"),
        (ends_by_the_peer, "NoneType"),
        (ends_by_error, "ValueError"),
        (ends_by_timeout, "TimeoutError"),
        (ends_by_reset, "ConnectionResetError"),
        (ends_by_the_programs_own_error, "NoneType"),
        (ends_when_done, "NoneType"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_end_is_told_once_and_why(end: Callable[..., object], why: str) -> None:
    one, two = socket.socketpair()
    with two:
        channel = Client(one)
        end(channel, two)
        log = run(channel)
        assert [item for item in log if isinstance(item, tuple)] == [("closed", why)]
        assert channel._ac_reason is None


def test_a_loop_in_an_except_clause_is_no_reason() -> None:
    one, two = socket.socketpair()
    channel = Client(one)
    two.close()
    try:
        raise KeyError
    except KeyError:
        run(channel)
    assert ("closed", "NoneType") in channel.log


def test_each_socket_has_an_end() -> None:
    channel = Client()
    for _ in range(2):
        one, two = socket.socketpair()
        with two:
            channel.set_socket(one)
            channel.close()
    assert channel.log == [("closed", "NoneType")] * 2


def test_what_handle_closed_raises_goes_to_handle_error() -> None:
    class Fails(Client):
        def handle_closed(self, exc: BaseException | None = None) -> None:
            raise ValueError

        def handle_error(self) -> None:
            self.log.append("error")

    one, two = socket.socketpair()
    with two:
        channel = Fails(one)
        channel.close()
        assert channel.log == ["error"]
        # One that an instance has counts, too.
        one, _two = socket.socketpair()
        with _two:
            channel = Fails(one)
            channel.handle_closed = channel.log.append  # type: ignore[method-assign,assignment]
            channel.close()
            assert channel.log == [None]


# A listener -----------------------------------------------------------------------------------


class Echo(asynccore.dispatcher_with_send):
    def __init__(self, sock: Any, map: Any, mark: bytes = b"") -> None:
        super().__init__(sock, map)
        self.mark = mark

    def handle_read(self) -> None:
        self.send(self.mark + self.recv(100))

    def handle_close(self) -> None:
        self.close()


@pytest.mark.parametrize("make", [Echo, functools.partial(Echo, mark=b">")], ids=["class", "call"])
def test_a_listener_makes_channels(make: Any) -> None:
    map: dict[int, Any] = {}
    server = asynccore.listener(("127.0.0.1", 0), make, map=map)
    made: list[Any] = []
    server.handle_channel = lambda *args: made.append(args)  # type: ignore[method-assign]
    with socket.create_connection(server.socket.getsockname()) as client:
        client.send(b"hello")
        while not made:
            asynccore.loop(0.1, map=map, count=1)
        channel, addr = made[0]
        assert channel.addr == addr == client.getsockname() and channel._map is map
        client.settimeout(0)
        asynccore.loop(0.1, map=map, count=2)
        assert client.recv(100) == channel.mark + b"hello"
    asynccore.close_all(map)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="Windows has none")
def test_a_listener_at_a_path_and_with_ipv6(tmp_path: Any) -> None:
    class Listener(asynccore.listener):
        channel_class = Echo

    server = Listener(str(tmp_path / "socket"), map={})
    assert server.socket.family == socket.AF_UNIX
    server.close()
    if socket.has_ipv6:
        try:
            server = Listener(("::1", 0), map={})
        except OSError:
            return  # the machine has no address of that family
        assert server.socket.family == socket.AF_INET6
        server.close()


@pytest.mark.parametrize(
    "wrong",
    [None, 5, lambda sock: None, type("One", (Echo,), {"__init__": lambda self, sock: None})],
)
def test_what_can_not_make_channels_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"channel_class\(sock, map\)"):
        asynccore.listener(("127.0.0.1", 0), wrong, map={})


def test_a_listener_that_can_not_listen_leaves_nothing() -> None:
    map: dict[int, Any] = {}
    first = asynccore.listener(("127.0.0.1", 0), Echo, map=map)
    with pytest.raises(OSError):
        asynccore.listener(first.socket.getsockname(), Echo, map=map)
    assert list(map.values()) == [first]
    first.close()


# Lines ----------------------------------------------------------------------------------------


class Lines(asynchat.line_chat):
    terminator = b"\r\n"
    max_line_length = 8

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.lines: list[bytes] = []

    def handle_line(self, line: bytes) -> None:
        self.lines.append(line)

    def handle_line_too_long(self) -> None:
        self.lines.append(b"(too long)")


def lines_of(kind: type[Lines], data: bytes, size: int) -> list[bytes]:
    """Give a channel `size` bytes at a time; return its lines."""
    one, two = socket.socketpair()
    chat = kind(one, {})
    with two:
        for at in range(0, len(data), size):
            two.send(data[at : at + size])
            asynccore.loop(0, map=chat._map, count=1)
        chat.close()
    return chat.lines


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_however_they_come(size: int) -> None:
    found = lines_of(Lines, b"one\r\n\r\nabcdefghijkl\r\ntwo\r\nrest", size)
    assert found == [b"one", b"", b"(too long)", b"two"]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_lines_of_so_many_bytes(size: int) -> None:
    class Records(Lines):
        terminator = 4

        def handle_line(self, line: bytes) -> None:
            super().handle_line(line)
            if line == b"two.":
                self.set_terminator(b"!")

    assert lines_of(Records, b"one.two.three!four", size) == [b"one.", b"two.", b"three"]


def test_a_line_chat_says_what_it_needs() -> None:
    chat = asynchat.line_chat(map={})
    assert (chat.get_terminator(), chat.max_line_length) == (b"\n", 65536)
    with pytest.raises(NotImplementedError, match="line"):
        chat.handle_line(b"")


# Datagrams ------------------------------------------------------------------------------------


class Datagrams(asynccore.dispatcher):
    def __init__(self, map: Any) -> None:
        super().__init__(None, map)
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))
        self.log: list[Any] = []

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.log.append(self.recvfrom(100))

    def handle_error(self) -> None:
        self.log.append(type(sys.exc_info()[1]))


def test_datagrams_and_where_they_come_from() -> None:
    map: dict[int, Any] = {}
    one, two = Datagrams(map), Datagrams(map)
    asynccore.collect_statistics(map=map)
    address = one.socket.getsockname()
    assert one.sendto(b"hello", two.socket.getsockname()) == 5
    assert one.sendto(b"", two.socket.getsockname()) == 0
    while len(two.log) < 2:
        asynccore.loop(0.1, map=map, count=1)
    assert two.log == [(b"hello", address), (b"", address)]
    found = asynccore.statistics(map=map)
    assert (found.bytes_sent, found.bytes_received) == (5, 5)
    with pytest.raises(BlockingIOError):
        two.recvfrom(10)
    asynccore.close_all(map)


def test_errors_of_datagrams(fakes: Fakes) -> None:
    class Fails(FakeSocket):
        def recvfrom(self, size: int) -> Any:
            raise self.why

        def sendto(self, data: bytes, addr: Any) -> int:
            raise self.why

    sock = Fails(1000)
    channel = Client(sock, fakes.engine.map)
    sock.why = ConnectionRefusedError(111, "refused")  # type: ignore[attr-defined]
    with pytest.raises(ConnectionRefusedError):
        channel.recvfrom(10)
    sock.why = BlockingIOError(11, "again")  # type: ignore[attr-defined]
    assert channel.sendto(b"x", ("127.0.0.1", 9)) == 0
    sock.why = OSError(113, "no route to host")  # type: ignore[attr-defined]
    assert channel.recvfrom(10) == (b"", None)
    assert channel.log == ["close", ("closed", "OSError")]
