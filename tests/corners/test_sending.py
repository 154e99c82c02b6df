"""`dispatcher_with_send` and `send`: a linear buffer, and what programs do with `out_buffer`."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from tests.corners.support import Listener, Noting, QuietReader, drain, drive, passes


class CountingSocket:
    """Takes so much at a time, and counts what it is offered."""

    def __init__(self, takes: int = 65536) -> None:
        self.room = 0
        self.takes = takes
        self.offered = 0
        self.calls = 0
        self.taken = bytearray()
        self.fd = os.open(os.devnull, os.O_RDONLY)

    def fileno(self) -> int:
        return self.fd

    def getsockopt(self, *args: int) -> int:
        return 0

    def setblocking(self, flag: bool) -> None:
        pass

    def getpeername(self) -> str:
        return "a counter"

    def send(self, data: bytes) -> int:
        self.calls += 1
        self.offered += len(data)
        count = min(len(data), self.room, self.takes)
        if not count:
            raise BlockingIOError(errno.EAGAIN, "full")
        self.room -= count
        self.taken += data[:count]
        return count

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


class Sender(Noting, asynccore.dispatcher_with_send):
    pass


class Chat(Noting, asynchat.async_chat):
    pass


def cost(kind: Any, name: str, count: int, takes: int) -> tuple[int, int]:
    """Return how many bytes were offered in how many calls, for so many pieces of 4 KB."""
    channels: dict[int, Any] = {}
    sock = CountingSocket(takes)
    channel = kind(sock, channels)
    for number in range(count):
        getattr(channel, name)(b"%04d" % number + b"x" * 4092)
    while len(sock.taken) < 4096 * count:
        sock.room = takes
        channel.handle_write_event()
    assert sock.taken == b"".join(b"%04d" % n + b"x" * 4092 for n in range(count))
    channel.close()
    return sock.offered, sock.calls


@pytest.mark.parametrize(("kind", "name"), [(Sender, "send"), (Chat, "push")])
@pytest.mark.parametrize("takes", [1000, 4096, 65536])
def test_many_sends_cost_in_proportion(kind: Any, name: str, takes: int) -> None:
    few = cost(kind, name, 50, takes)
    many = cost(kind, name, 400, takes)
    for before, after in zip(few, many, strict=True):
        assert after <= before * 8 * 1.25


def test_copying_is_in_proportion_to_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts what is allocated, which for bytes is what is copied."""
    import tracemalloc

    def peak(count: int) -> int:
        channels: dict[int, Any] = {}
        sock = CountingSocket()
        channel = Sender(sock, channels)
        piece = b"x" * 4096
        for _ in range(count):
            channel.send(piece)
        tracemalloc.start()
        try:
            sock.room = 65536
            channel.handle_write_event()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            channel.close()

    # One step out of a large buffer costs what one out of a small buffer does.
    assert peak(2000) <= 2 * peak(50)


def test_one_large_send_is_cut_once(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    channel = Sender(end, channels)
    data = os.urandom(1024) * 4096
    channel.send(data)
    got = bytearray()

    def arrived() -> bool:
        got.extend(drain(peer))
        return len(got) >= len(data)

    drive(arrived, channels, engine)
    assert got == data and channel.out_buffer == b""


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_an_empty_send_on_connect_for_what_is_no_plain_socket(
    kind: Any, channels: Any, engine: str
) -> None:
    listener = Listener(channels)
    sent: list[bytes] = []

    class Recording:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

        def send(self, data: bytes) -> int:
            sent.append(data)
            return self.sock.send(data)

    client = kind(map=channels)
    client.create_socket()
    client.socket = Recording(client.socket)
    client.connect(listener.address)
    drive(lambda: client.connected and listener.children, channels, engine)
    passes(channels, engine)
    expected = [b""] if kind is Sender else []  # as the classic two
    assert sent == expected
    if kind is Sender:
        client.send(b"")
        passes(channels, engine)
        assert sent == expected


def test_sent_before_the_connection_stands(channels: Any, engine: str) -> None:
    listener = Listener(channels)
    client = Sender(map=channels)
    client.create_socket()
    client.connect(listener.address)
    client.send(b"early ")
    client.send(b"bird")
    drive(lambda: listener.children and len(listener.children[0].received) == 10, channels, engine)
    assert listener.children[0].received == b"early bird"
    assert client.events[0] == "connect"


def test_out_buffer_assigned_in_the_constructor(channels: Any, engine: str) -> None:
    """The documentation's own HTTP client, on this class."""
    listener = Listener(channels)

    class Client(Noting, asynccore.dispatcher_with_send):
        def __init__(self) -> None:
            asynccore.dispatcher_with_send.__init__(self, map=channels)
            self.create_socket()
            self.connect(listener.address)
            self.out_buffer = b"GET / HTTP/1.0\r\n\r\n"

    Client()
    drive(lambda: listener.children and listener.children[0].received, channels, engine)
    assert listener.children[0].received == b"GET / HTTP/1.0\r\n\r\n"


def test_out_buffer_as_a_class_attribute(channels: Any, engine: str) -> None:
    listener = Listener(channels)

    class Client(Noting, asynccore.dispatcher_with_send):
        out_buffer = b"hello"  # type: ignore[assignment]

        def __init__(self) -> None:
            asynccore.dispatcher.__init__(self, map=channels)
            self.create_socket()
            self.connect(listener.address)

    client = Client()
    assert client.out_buffer == b"hello"
    drive(lambda: listener.children and listener.children[0].received, channels, engine)
    assert listener.children[0].received == b"hello"
    assert client.out_buffer == b""


def test_only_the_constructor_of_dispatcher_is_called(channels: Any, engine: str) -> None:
    listener = Listener(channels)

    class Client(Noting, asynccore.dispatcher_with_send):
        def __init__(self) -> None:
            self.out_buffer = b"first, "
            asynccore.dispatcher.__init__(self, map=channels)
            self.create_socket()
            self.connect(listener.address)

        def handle_connect(self) -> None:
            self.send(b"then more")

    Client()
    drive(lambda: listener.children and len(listener.children[0].received) == 16, channels, engine)
    assert listener.children[0].received == b"first, then more"


def test_out_buffer_is_bytes_and_shows_the_rest(channels: Any) -> None:
    sock = CountingSocket()
    channel = Sender(sock, channels)
    channel.send(b"abc")
    channel.send(bytearray(b"def"))
    channel.send(memoryview(b"ghi"))
    assert channel.out_buffer == b"abcdefghi" and type(channel.out_buffer) is bytes
    assert channel.writable()
    sock.room = 4
    channel.handle_write()
    assert channel.out_buffer == b"efghi" and sock.taken == b"abcd"
    channel.out_buffer = channel.out_buffer[2:] + b"!"
    sock.room = 100
    channel.initiate_send()
    assert sock.taken == b"abcdghi!" and not channel.out_buffer and not channel.writable()


def test_an_overridden_initiate_send_decides_when(channels: Any, engine: str, pair: Any) -> None:
    """A program that limits its rate: nothing may go around it."""
    end, peer = pair()

    class Throttled(Sender):
        allowed = False

        def initiate_send(self) -> None:
            if self.allowed:
                super().initiate_send()

    channel = Throttled(end, channels)
    channel.connected = True
    passes(channels, engine, 1)
    channel.send(b"held back")
    assert drain(peer) == b"" and channel.out_buffer == b"held back"
    channel.allowed = True
    drive(lambda: not channel.out_buffer, channels, engine)
    assert drain(peer) == b"held back"


def test_an_overridden_initiate_send_is_called_in_a_handler(
    channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()

    class Throttled(QuietReader):
        def initiate_send(self) -> None:
            pass

        def handle_read(self) -> None:
            super().handle_read()
            self.send(b"answer")

    channel = Throttled(end, channels)
    peer.send(b"x")
    drive(lambda: channel.received, channels, engine)
    assert channel.out_buffer == b"answer" and drain(peer) == b""


def test_an_overridden_send_is_called_by_chat(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()

    class Upper(Chat):
        def send(self, data: Any) -> Any:
            return super().send(data.upper())

    channel = Upper(end, channels)
    channel.push(b"quiet")
    passes(channels, engine)
    assert drain(peer) == b"QUIET"


@pytest.mark.parametrize(
    "code",
    ["ECONNRESET", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETDOWN", "ECONNABORTED", "ENOTCONN"],
)
@pytest.mark.parametrize("call", ["recv", "send"])
def test_errors_that_mean_disconnection(call: str, code: str) -> None:
    class Failing(CountingSocket):
        def fail(self, *args: Any) -> Any:
            raise OSError(getattr(errno, code), code)

        send = recv = fail

    channel = asynccore.dispatcher(Failing(), {})
    closed: list[int] = []

    def handle_close() -> None:
        closed.append(1)
        channel.close()

    channel.handle_close = handle_close  # type: ignore[method-assign]
    assert (channel.recv(10) == b"") if call == "recv" else (channel.send(b"x") == 0)
    assert closed == [1]


def test_other_errors_come_out_of_recv_and_send(channels: Any) -> None:
    class Failing(CountingSocket):
        def fail(self, *args: Any) -> Any:
            raise OSError(errno.EIO, "broken")

        send = recv = fail

    channel = asynccore.dispatcher(Failing(), channels)
    for call in (lambda: channel.recv(1), lambda: channel.send(b"x")):
        with pytest.raises(OSError, match="broken"):
            call()


def test_a_full_socket_takes_nothing(channels: Any) -> None:
    channel = asynccore.dispatcher(CountingSocket(), channels)
    assert channel.send(b"x") == 0


def test_recv_on_nothing_raises_blocking_io_error(channels: Any, pair: Any) -> None:
    channel = asynccore.dispatcher(pair()[0], channels)
    with pytest.raises(BlockingIOError):
        channel.recv(1)


def test_asking_for_no_bytes_is_no_end(channels: Any, pair: Any) -> None:
    end, peer = pair()
    channel = QuietReader(end, channels)
    peer.send(b"x")
    assert channel.recv(0) == b"" and channel.events == []
    assert channel.recv(10) == b"x"


def test_text_is_refused_with_a_clear_error(channels: Any, pair: Any) -> None:
    channel = Sender(pair()[0], channels)
    with pytest.raises(TypeError, match="bytes"):
        channel.send("text")
    assert channel.out_buffer == b""
