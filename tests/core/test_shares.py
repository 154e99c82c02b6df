"""How many bytes one channel may move before the others have their turn."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher_with_send
from asynccore.asynchat import async_chat
from asynccore.dispatchers.vectored import SEND_SHARE, SEND_SIZE, SMALL_SHARE
from asynccore.engine.engine import Engine, engine_for

BULK = bytes(16 * SEND_SHARE)  # more than any kernel buffers
GO = b"go\n"


class Pushing(async_chat):
    """Answers each line with a lot, and notes what of it was sent at once."""

    def __init__(self, sock: socket.socket, map: Any) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\n")
        self.received: list[bytes] = []
        self.at_once = 0

    def collect_incoming_data(self, data: bytes) -> None:
        self.received.append(data)

    def found_terminator(self) -> None:
        self.answer(BULK)
        self.at_once = len(BULK) - self.write_buffer_size

    def answer(self, data: bytes) -> None:
        self.push(data)


class PushingLines(Pushing):
    """The same with several pieces."""

    def answer(self, data: bytes) -> None:
        half = len(data) // 2
        self.writelines([data[:half], data[half:]])


class Sending(dispatcher_with_send):
    """The same without a queue."""

    def __init__(self, sock: socket.socket, map: Any) -> None:
        super().__init__(sock, map)
        self.received: list[bytes] = []
        self.at_once = 0

    def handle_read(self) -> None:
        self.received.append(self.recv(len(GO)))
        self.send(BULK)
        self.at_once = len(BULK) - self.write_buffer_size


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
        peer.settimeout(30)
        return channel, peer


@pytest.fixture
def place() -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(stack)


CLASSES = [Pushing, PushingLines, Sending]


@pytest.mark.parametrize("cls", CLASSES)
def test_alone_it_sends_a_whole_share_in_a_turn(place: Place, cls: type) -> None:
    channel, peer = place.connect(cls)
    peer.sendall(GO)
    place.engine.run_pass(None)
    assert not place.engine.is_crowded
    assert SMALL_SHARE < channel.at_once <= SEND_SHARE
    # No turn after that sends more.
    before, turns = channel.write_buffer_size, 0
    while turns < 4:
        read = len(peer.recv(len(BULK)))
        place.engine.run_pass(None)
        left = channel.write_buffer_size
        assert before - left <= SEND_SHARE
        turns += left < before
        before = left
        assert read


@pytest.mark.parametrize("cls", CLASSES)
def test_beside_others_it_sends_a_small_one(place: Place, cls: type) -> None:
    channel, peer = place.connect(cls)
    others = [place.connect(cls) for _ in range(3)]
    for _, other_peer in others:
        other_peer.sendall(GO)
    peer.sendall(GO)
    place.engine.run_pass(None)
    assert place.engine.is_crowded
    sent = [one.at_once for one, _ in [(channel, peer), *others]]
    assert max(sent) <= SMALL_SHARE and min(sent) > SEND_SIZE


def test_one_turn_receives_no_more_than_is_asked_for(place: Place) -> None:
    channel, peer = place.connect(Pushing)
    channel.set_terminator(None)
    peer.setblocking(False)
    assert peer.send(BULK) > 4 * channel.ac_in_buffer_size
    for turn in range(1, 4):
        place.engine.run_pass(None)
        assert len(channel.received) == turn
        assert len(channel.received[-1]) <= channel.ac_in_buffer_size
