"""Blocking sockets given to `set_socket`, which leaves them as they are.

They come from `socket.create_server`, from a supervisor by `fromfd`, or from a program of threads.
Classic asyncore made one system call for each event, and never one that had to wait. A second
`accept`, or one more byte than there is room for, stops the loop with everybody in it: here that
is a call after which the test would not go on, so each is made under an alarm.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, dispatcher, dispatcher_with_send
from asynccore.producers import file_producer
from tests.corners.support import Noting, drive, passes

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")

SIZE = 65536  # of one send of the classic modules


class Stopped(BaseException):
    """The loop waits in a call of its own."""


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 3.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# -- listeners -----------------------------------------------------------------------------------


class Listener(Noting, dispatcher):
    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        sock.close()


class Refusing(Listener):
    """Keeps the first connection, and refuses all others."""

    max_connections_per_peer = 1

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        self.kept = sock

    def handle_refused(self, sock: Any, addr: Any, reason: str) -> None:
        self.events.append("refused")
        sock.close()


def take_over(listener: dispatcher, sock: socket.socket, how: str) -> None:
    if how == "fromfd":
        copy = socket.fromfd(sock.fileno(), sock.family, sock.type)
        sock.close()
        sock = copy
    listener.set_socket(sock)
    if how == "listen":
        listener.listen(20)
    else:
        listener.accepting = True


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize(
    ("kind", "how"),
    [(Listener, "accepting"), (Listener, "listen"), (Listener, "fromfd"), (Refusing, "listen")],
)
def test_connections_are_accepted_one_by_one(
    channels: Any, engine: str, how: str, timeout: float | None, kind: Any
) -> None:
    listener = kind(map=channels)
    sock = socket.create_server(("127.0.0.1", 0), backlog=20)
    sock.settimeout(timeout)
    take_over(listener, sock, how)
    with contextlib.ExitStack() as clients:
        for burst in (1, 3, 1, 5):
            for _ in range(burst):
                clients.enter_context(socket.create_connection(listener.socket.getsockname()))
            before = len(listener.events)
            drive(lambda b=before, n=burst: len(listener.events) >= b + n, channels)  # type: ignore[misc]
            passes(channels, None)
    assert len(listener.events) == 10
    if kind is Refusing:
        listener.kept.close()
    listener.close()


def test_one_that_does_not_block_takes_them_in_batches(channels: Any, engine: str) -> None:
    listener = Listener(map=channels)
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(20)
    with contextlib.ExitStack() as clients:
        for _ in range(5):
            clients.enter_context(socket.create_connection(listener.socket.getsockname()))
        asynccore.loop(timeout=1, map=channels, count=1)
    assert len(listener.events) == 5
    listener.close()


# -- output --------------------------------------------------------------------------------------


class Counting(socket.socket):
    """Counts what it is asked to send, and is as blocking as it is made."""

    @property
    def sizes(self) -> list[int]:
        return self.__dict__.setdefault("_sizes", [])  # type: ignore[no-any-return]

    def send(self, data: Any, *flags: int) -> int:
        self.sizes.append(memoryview(data).nbytes)
        return super().send(data, *flags)

    def sendmsg(self, pieces: Any, *more: Any) -> int:
        self.sizes.append(sum(memoryview(piece).nbytes for piece in pieces))
        return super().sendmsg(pieces, *more)


def blocking_pair() -> tuple[Counting, socket.socket]:
    """Two ends that hold at least three sends, the first one blocking."""
    ends = socket.socketpair()
    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * SIZE)
    return Counting(fileno=ends[0].detach()), ends[1]


class Sender(Noting, dispatcher_with_send):
    def readable(self) -> bool:
        return False

    def put(self, data: bytes) -> None:
        self.send(data)


class Lines(Sender):
    def put(self, data: bytes) -> None:
        self.writelines([data[: SIZE // 2], data[SIZE // 2 :]])


class Chat(Noting, asynchat.async_chat):
    def readable(self) -> bool:
        return False

    def put(self, data: bytes) -> None:
        self.push(data)


class ChatLines(Chat):
    def put(self, data: bytes) -> None:
        self.writelines([data[: SIZE // 2], data[SIZE // 2 :]])


class Producing(Chat):
    def put(self, data: bytes) -> None:
        self.push_with_producer(asynchat.simple_producer(data, SIZE))


class Small(Chat):
    """Many small pieces, of which classic asynchat sent one for each event."""

    ac_out_buffer_size = 4096


KINDS = pytest.mark.parametrize("kind", [Sender, Lines, Chat, ChatLines, Producing, Small])


@KINDS
@pytest.mark.parametrize("counting", [True, False])
@pytest.mark.parametrize("timeout", [None, 60.0])
def test_a_slow_reader_stops_nobody(
    channels: Any, engine: str, kind: Any, counting: bool, timeout: float | None
) -> None:
    """Far more is put out than the socket holds, and nobody reads before the loop goes on."""
    ours, theirs = blocking_pair()
    sock: Any = ours if counting else socket.socket(fileno=ours.detach())
    sock.settimeout(timeout)
    channel = kind(map=channels)
    channel.set_socket(sock)
    channel.connected = True
    data = bytes(range(256)) * 8192
    got = bytearray()
    channel.put(data)
    ran: list[int] = []
    asynccore.call_later(0, ran.append, 1, map=channels)
    passes(channels, None)
    assert ran  # the loop goes round before anything was read
    theirs.setblocking(False)

    def all_here() -> bool:
        with contextlib.suppress(BlockingIOError):
            while part := theirs.recv(SIZE):
                got.extend(part)
        return len(got) == len(data)

    drive(all_here, channels, timeout=0.001)
    assert got == data
    if counting:
        assert max(ours.sizes) <= channel.ac_out_buffer_size if kind is Small else SIZE
    channel.close()
    theirs.close()


@KINDS
def test_one_call_for_each_event(channels: Any, engine: str, kind: Any) -> None:
    ours, theirs = blocking_pair()
    channel = kind(map=channels)
    channel.set_socket(ours)
    channel.connected = True
    before = 0
    channel.put(bytes(4 * SIZE))
    for _ in range(3):
        assert len(ours.sizes) == before + 1
        before += 1
        theirs.recv(SIZE)
        asynccore.loop(timeout=1, map=channels, count=1)
    channel.close()
    theirs.close()


def test_a_file_is_sent_bit_by_bit(channels: Any, engine: str, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8192)
    ours, theirs = blocking_pair()
    channel = Chat(map=channels)
    channel.set_socket(socket.socket(fileno=ours.detach()))
    channel.connected = True
    with path.open("rb") as file:
        channel.push_with_producer(file_producer(file))
        passes(channels, None)
        theirs.setblocking(False)
        got = bytearray()

        def all_here() -> bool:
            with contextlib.suppress(BlockingIOError):
                while part := theirs.recv(SIZE):
                    got.extend(part)
            return len(got) == 256 * 8192

        drive(all_here, channels, timeout=0.001)
    assert got == path.read_bytes()
    channel.close()
    theirs.close()


def test_one_that_does_not_block_gets_all_at_once(channels: Any, engine: str, pair: Any) -> None:
    ours, _ = pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * SIZE)
    counting = Counting(fileno=ours.detach())
    counting.setblocking(False)
    channel = Sender(counting, channels)
    channel.send(bytes(3 * SIZE))
    assert sum(counting.sizes) == 3 * SIZE
    channel.close()
