"""`dispatcher_with_send.close_when_done`, `is_closed`, and the proxy that everybody writes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import asynchat

SIZE = 2_000_000


class Channel(asynccore.dispatcher_with_send):
    """Notes what happens to it."""

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.log: list[str] = []

    def handle_read(self) -> None:
        self.log.append(f"read {self.recv(10)!r}")

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()


@pytest.fixture(params=[asynccore.ChannelMap, dict])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Channel, socket.socket]]:
    one, two = socket.socketpair()
    with two:
        channel = Channel(one, request.param())
        yield channel, two
        channel.close()


def turns(channel: Any, count: int = 3) -> None:
    asynccore.loop(0, map=channel._map, count=count)


def drained(channel: Any, peer: socket.socket, enough: Callable[[], object]) -> int:
    """Read everything while the loop turns; return how much that was."""
    peer.setblocking(False)
    size = 0
    while not enough():
        turns(channel, 1)
        try:
            data = peer.recv(1 << 20)
        except BlockingIOError:
            continue
        if not data:
            break
        size += len(data)
    return size


def test_everything_goes_out_first(pair: tuple[Channel, socket.socket]) -> None:
    channel, peer = pair
    channel.send(b"x" * SIZE)
    channel.close_when_done()
    channel.close_when_done()
    turns(channel)
    assert not channel.is_closed
    with pytest.raises(BrokenPipeError, match="close_when_done"):
        channel.send(b"more")
    peer.send(b"?")
    turns(channel)
    assert channel.log == ["read b'?'"]
    assert drained(channel, peer, lambda: False) == SIZE
    assert channel.log == ["read b'?'", "close"] and channel.is_closed


def test_with_nothing_to_send_it_closes_soon(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    channel.close_when_done()
    assert channel.log == [] and not channel.is_closed
    turns(channel)
    assert channel.log == ["close"] and channel.is_closed
    channel.close_when_done()  # without effect
    turns(channel)
    assert channel.log == ["close"]
    again, other = socket.socketpair()
    with other:
        channel.set_socket(again)
        assert not channel.is_closed
        channel.send(b"new")
        assert other.recv(10) == b"new"
        channel.close()


def test_what_handle_close_raises_goes_to_handle_error(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair

    def fail() -> None:
        raise ValueError

    channel.handle_close = fail  # type: ignore[method-assign]
    channel.handle_error = lambda: channel.log.append("error")  # type: ignore[method-assign]
    channel.close_when_done()
    turns(channel)
    assert channel.log == ["error"]
    channel.close_when_done()
    channel.handle_error = fail  # type: ignore[method-assign]
    with pytest.raises(ValueError):
        turns(channel)


def test_while_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Channel(None, {})
        channel.create_socket()
        channel.connect(server.getsockname())
        channel.send(b"hello")
        channel.close_when_done()
        asynccore.loop(1, map=channel._map)
        peer, _ = server.accept()
        with peer:
            assert peer.recv(10) == b"hello" and peer.recv(10) == b""
    assert channel.is_closed


def test_a_program_may_have_its_own() -> None:
    class Mixin:
        def close_when_done(self) -> str:
            return "mine"

    class Own(asynccore.dispatcher_with_send, Mixin):  # type: ignore[misc]
        pass

    class Chat(asynchat.async_chat, Mixin):  # type: ignore[misc]
        pass

    assert Own.close_when_done is Mixin.close_when_done
    # A classic name of the class counts as ever.
    assert Chat.close_when_done is asynchat.async_chat.close_when_done


class Half(asynccore.dispatcher_with_send):
    """One side of a proxy."""

    high_watermark = 65536
    other: Half

    def handle_read(self) -> None:
        data = self.recv(65536)
        if data:
            self.other.send(data)

    def handle_pause(self) -> None:
        self.other.pause_reading()

    def handle_resume(self) -> None:
        self.other.resume_reading()

    def handle_close(self) -> None:
        self.close()
        self.other.close_when_done()


def test_the_obvious_proxy_loses_nothing() -> None:
    map: dict[int, Any] = {}
    source, left = socket.socketpair()
    right, target = socket.socketpair()
    with source, target:
        one, two = Half(left, map), Half(right, map)
        one.other, two.other = two, one
        source.setblocking(False)
        data = memoryview(b"x" * SIZE)
        received = 0
        target.setblocking(False)
        while True:
            if data:
                try:
                    data = data[source.send(data[:65536]) :]
                except BlockingIOError:
                    pass
                if not data:
                    source.close()
            asynccore.loop(0, map=map, count=1)
            try:
                got = len(target.recv(8192))
            except BlockingIOError:
                continue
            if not got:
                break
            received += got
    assert received == SIZE
    asynccore.loop(0.01, map=map, count=5)
    assert map == {} and one.is_closed and two.is_closed
