"""Values that programs have always got away with, and a reply that the client still waits for."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, pollers
from asynccore.engine import engine_for


@pytest.fixture(params=["default map", "plain dict"])
def map(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any = asynccore.ChannelMap() if request.param == "default map" else {}
    yield made
    asynccore.close_all(made)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


class Reader(asynccore.dispatcher):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.received = b""

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.received += self.recv(100)


# Timeouts --------------------------------------------------------------------------------------


WITHOUT_END = [
    lambda map, timeout: asynccore.loop(timeout=timeout, use_poll=True, map=map, count=1),
    lambda map, timeout: asynccore.poll2(timeout, map),
    lambda map, timeout: asynccore.poll3(timeout, map),
]


@pytest.mark.parametrize("wait", WITHOUT_END, ids=["loop", "poll2", "poll3"])
@pytest.mark.parametrize("timeout", [-1, -0.001, -1e9, float("-inf")])
@pytest.mark.parametrize("poller", pollers.available())
def test_a_negative_timeout_is_none_with_poll(
    map: Any, pair: Any, wait: Any, timeout: float, poller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCCORE_ENGINE", poller)
    channel = Reader(pair[0], map)
    waits: list[Any] = []
    engine = engine_for(map)
    monkeypatch.setattr(engine, "make_pass", waits.append)
    wait(map, timeout)
    assert waits == [None]
    monkeypatch.undo()
    asynccore.call_later(0.02, pair[1].send, b"x", map=map)
    while not channel.received:  # a timer ends a pass, too
        wait(map, timeout)


@pytest.mark.parametrize("wait", WITHOUT_END, ids=["loop", "poll2", "poll3"])
def test_less_than_a_millisecond_below_is_nothing(map: Any, pair: Any, wait: Any) -> None:
    # poll(2) counts in whole ones, and classic asyncore cuts off what is behind the point.
    Reader(pair[0], map)
    wait(map, -0.0005)
    with pytest.raises(ValueError, match="nan"):
        wait(map, float("nan"))


@pytest.mark.parametrize("timeout", [-1, -0.0001, float("nan")])
def test_select_takes_no_negative_timeout(map: Any, pair: Any, timeout: float) -> None:
    Reader(pair[0], map)
    with pytest.raises(ValueError, match="timeout"):
        asynccore.loop(timeout=timeout, map=map, count=1)
    with pytest.raises(ValueError, match="timeout"):
        asynccore.poll(timeout, map)


@pytest.mark.parametrize("use_poll", [False, True])
def test_a_map_without_channels_needs_no_timeout(map: Any, use_poll: bool) -> None:
    asynccore.loop(timeout=-1, use_poll=use_poll, map=map)
    asynccore.poll(-1, map)
    asynccore.poll2(-1, map)


# Sizes of output -------------------------------------------------------------------------------


class Chat(asynchat.async_chat):
    ac_out_buffer_size: Any = 8192 / 4

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.sent: list[bytes] = []
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        pass

    def handle_error(self) -> None:
        raise sys.exc_info()[1] or AssertionError


class Overriding(Chat):
    """With a `send` of its own, which gets pieces of that size."""

    def send(self, data: Any) -> Any:
        self.sent.append(bytes(data))
        return super().send(data)


@pytest.mark.parametrize("cls", [Chat, Overriding])
@pytest.mark.parametrize("size", [2048.0, 2048.9, 0.5, 100000.0])
def test_a_size_that_was_divided(map: Any, pair: Any, cls: Any, size: float) -> None:
    channel = cls(pair[0], map)
    channel.ac_out_buffer_size = size
    channel.push(b"x" * 5000)
    channel.push_with_producer(asynchat.simple_producer(b"y" * 3000, 3000))
    received = b""
    pair[1].settimeout(5)
    while len(received) < 8000:
        asynccore.loop(timeout=0, map=map, count=1)
        received += pair[1].recv(65536)
    assert received == b"x" * 5000 + b"y" * 3000
    assert all(len(piece) <= max(1, int(size)) for piece in channel.sent)


def test_the_classic_queue_of_such_a_channel(map: Any, pair: Any) -> None:
    channel = Chat(pair[0], map)
    channel._ac_full = True  # nothing goes out at once
    channel.push(b"x" * 5000)
    assert [len(piece) for piece in channel.producer_fifo] == [2048, 2048, 904]


# Half a connection -----------------------------------------------------------------------------

LONG = b"z" * 3_000_000


class Replying(asynchat.async_chat):
    how = "close_when_done"

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.events: list[str] = []
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        pass

    def found_terminator(self) -> None:
        self.push(LONG)
        if self.how == "close_when_done":
            self.close_when_done()

    def handle_close(self) -> None:
        self.events.append("close")
        self.close()


class Staying(Replying):
    how = "stay"


class Buffered(asynccore.dispatcher_with_send):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.events: list[str] = []

    def handle_read(self) -> None:
        if self.recv(100):
            self.send(LONG)

    def handle_close(self) -> None:
        self.events.append("close")
        self.close()


def receive_all(peer: socket.socket, map: Any, poller: str) -> bytes:
    peer.setblocking(False)
    received = []
    end = time.monotonic() + 30
    while time.monotonic() < end:
        asynccore.loop(timeout=0, map=map, count=1, poller=poller)
        try:
            data = peer.recv(1 << 20)
        except BlockingIOError:
            continue
        if not data:
            break
        received.append(data)
    return b"".join(received)


@pytest.mark.parametrize("poller", pollers.available())
@pytest.mark.parametrize("cls", [Replying, Staying, Buffered])
def test_a_reply_survives_the_client_s_half_close(
    map: Any, pair: Any, poller: str, cls: Any
) -> None:
    channel = cls(pair[0], map)
    pair[1].sendall(b"request\n")
    pair[1].shutdown(socket.SHUT_WR)
    for _ in range(5):
        asynccore.loop(timeout=0, map=map, count=1, poller=poller)
    assert channel.events == [], "there is still something to send"
    assert receive_all(pair[1], map, poller) == LONG
    assert channel.events == ["close"]
    assert not map


@pytest.mark.parametrize("cls", [Replying, Staying, Buffered])
def test_a_client_that_has_gone_altogether(map: Any, pair: Any, cls: Any) -> None:
    channel = cls(pair[0], map)
    pair[1].sendall(b"request\n")
    asynccore.loop(timeout=0, map=map, count=1)
    pair[1].close()
    asynccore.loop(timeout=1, map=map, count=10)
    assert channel.events == ["close"]
    assert not map


@pytest.mark.parametrize("cls", [Staying, Buffered])
def test_without_output_the_end_is_told_at_once(map: Any, pair: Any, cls: Any) -> None:
    channel = cls(pair[0], map)
    pair[1].shutdown(socket.SHUT_WR)
    asynccore.loop(timeout=1, map=map, count=2)
    assert channel.events == ["close"]


def test_the_program_may_throw_the_output_away(map: Any, pair: Any) -> None:
    channel = Staying(pair[0], map)
    pair[1].sendall(b"request\n")
    pair[1].shutdown(socket.SHUT_WR)
    for _ in range(5):
        asynccore.loop(timeout=0, map=map, count=1)
    assert channel.events == []
    channel.discard_buffers()
    assert channel.events == ["close"]


def test_the_old_end_is_not_that_of_a_new_connection(map: Any, pair: Any) -> None:
    channel = Staying(pair[0], map)
    pair[1].sendall(b"request\n")
    pair[1].shutdown(socket.SHUT_WR)
    for _ in range(5):
        asynccore.loop(timeout=0, map=map, count=1)
    channel.discard_buffers()
    one, two = socket.socketpair()
    one.setblocking(False)
    channel.set_socket(one)
    channel.connected = True
    two.sendall(b"request\n")
    assert len(receive_some(two, map, len(LONG))) == len(LONG)
    assert map
    two.close()


def receive_some(peer: socket.socket, map: Any, count: int) -> bytes:
    peer.settimeout(5)
    received = b""
    while len(received) < count:
        asynccore.loop(timeout=0, map=map, count=1)
        received += peer.recv(1 << 20)
    return received
