"""How many bytes one channel may move before the others have their turn."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher_with_send
from asynccore.asynchat import async_chat
from asynccore.dispatchers.vectored import SEND_SHARE, SEND_SIZE, SMALL_SHARE
from asynccore.engine.engine import Engine, engine_for

BULK = bytes(16 * SEND_SHARE)  # more than any kernel buffers
GO = b"go\n"

# A bound for what should come at once, in seconds; nobody waits that long unless a test fails.
PATIENCE = 30.0


class Turns:
    """Notes of a channel how much it sends in each turn, and whether others have one."""

    def begin(self) -> None:
        self.received: list[bytes] = []
        self.turns: list[tuple[bool, int]] = []

    def answer(self, data: bytes) -> None:
        raise NotImplementedError

    def answer_all(self: Any) -> None:
        self.answer(BULK)
        self.turns.append((self._ac_engine.is_crowded, len(BULK) - self.write_buffer_size))

    def handle_write(self: Any) -> None:
        before = self.write_buffer_size
        super().handle_write()  # type: ignore[misc]
        self.turns.append((self._ac_engine.is_crowded, before - self.write_buffer_size))


class Pushing(Turns, async_chat):
    """Answers each line with a lot."""

    def __init__(self, sock: socket.socket, map: Any) -> None:
        self.begin()
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.received.append(data)

    def found_terminator(self) -> None:
        self.answer_all()

    def answer(self, data: bytes) -> None:
        self.push(data)


class PushingLines(Pushing):
    """The same with several pieces."""

    def answer(self, data: bytes) -> None:
        half = len(data) // 2
        self.writelines([data[:half], data[half:]])


class Sending(Turns, dispatcher_with_send):
    """The same without a queue."""

    def __init__(self, sock: socket.socket, map: Any) -> None:
        self.begin()
        super().__init__(sock, map)

    def handle_read(self) -> None:
        self.received.append(self.recv(len(GO)))
        self.answer_all()

    def answer(self, data: bytes) -> None:
        self.send(data)


class Place:
    """A map with channels that are connected to peers."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.map = ChannelMap()
        self.engine: Engine = engine_for(self.map)

    def connect(self, cls: type) -> tuple[Any, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            peer = socket.create_connection(listener.getsockname())
            channel = cls(listener.accept()[0], self.map)
        self.stack.enter_context(peer)
        self.stack.callback(channel.close)
        peer.settimeout(PATIENCE)
        return channel, peer


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


CLASSES = [Pushing, PushingLines, Sending]


def drain(peer: socket.socket) -> None:
    """Take all that has come."""
    peer.setblocking(False)
    with suppress(BlockingIOError):
        while peer.recv(1 << 20):
            pass


def go(place: Place, cls: type, count: int) -> list[Any]:
    """Have some channels answer in one batch, and their peers take of it; return the channels."""
    pairs = [place.connect(cls) for _ in range(count)]
    for _, peer in pairs:
        peer.sendall(GO)
    place.engine.run_pass(PATIENCE)
    assert [len(channel.turns) for channel, _ in pairs] == [1] * count
    for _ in range(4):
        for _, peer in pairs:
            drain(peer)
        place.engine.run_pass(PATIENCE)
    assert not place.engine.is_crowded
    return [channel for channel, _ in pairs]


@pytest.mark.parametrize("cls", CLASSES)
def test_alone_it_sends_a_whole_share_in_a_turn(place: Place, cls: type) -> None:
    (channel,) = go(place, cls, 1)
    assert len(channel.turns) > 1
    # `send` tries again if the socket took less than a share.
    most = 2 * SEND_SHARE if cls is Sending else SEND_SHARE
    assert SMALL_SHARE < channel.turns[0][1] <= most
    assert max(count for _, count in channel.turns[1:]) <= SEND_SHARE
    assert not any(crowded for crowded, _ in channel.turns)


@pytest.mark.parametrize("cls", CLASSES)
def test_beside_others_it_sends_a_small_one(place: Place, cls: type) -> None:
    channels = go(place, cls, 3)
    first = [channel.turns.pop(0) for channel in channels]
    # What a handler sends without a queue goes out at once, up to a whole share.
    most = 2 * SEND_SHARE if cls is Sending else SMALL_SHARE
    assert all(crowded and SEND_SIZE < count <= most for crowded, count in first)
    later = [count for channel in channels for crowded, count in channel.turns if crowded]
    assert later and max(later) <= SMALL_SHARE


def test_one_turn_receives_no_more_than_is_asked_for(place: Place) -> None:
    channel, peer = place.connect(Pushing)
    channel.set_terminator(None)
    peer.setblocking(False)
    assert peer.send(BULK) > 4 * channel.ac_in_buffer_size
    for turn in range(1, 4):
        place.engine.run_pass(PATIENCE)
        assert len(channel.received) == turn
        assert len(channel.received[-1]) <= channel.ac_in_buffer_size
