"""Peers that try the bounds: output nobody takes, lines that never end, crowds, the last day."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore.dispatchers.trigger import Trigger
from tests.faults.support import KINDS, ChatEcho, Echo, Tally, World, reset

BIG = 1 << 24  # more than the buffers of a loopback connection take (tcp(7): tcp_wmem, tcp_rmem)


def output(channel: Any, data: bytes) -> None:
    channel.push(data) if hasattr(channel, "push") else channel.send(data)


class Watched(Echo):
    """Notes its pauses."""

    high_watermark = 100_000

    def __init__(self, world: World, sock: Any = None) -> None:
        self.pauses: list[str] = []
        super().__init__(world, sock)

    def handle_pause(self) -> None:
        self.pauses.append("pause")

    def handle_resume(self) -> None:
        self.pauses.append("resume")


def test_a_peer_that_reads_late_pauses_and_resumes_the_output_once(
    new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world(Watched)
    peer = world.peer()
    channel = world.accepted(peer)
    with tally.fault():
        output(channel, b"x" * BIG)
        world.passes()
        assert channel.pauses == ["pause"]
        world.hears(peer, b"x" * BIG)
        world.until(lambda: channel.pauses == ["pause", "resume"])
        world.end_cleanly(peer)
        world.only()


def test_a_peer_that_resets_while_the_output_is_paused(
    new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world(Watched)
    peer = world.peer()
    channel = world.accepted(peer)
    with tally.fault():
        output(channel, b"x" * BIG)
        world.passes()
        reset(peer)
        world.only()
        assert channel.pauses == ["pause"] and channel.ends in (1, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_that_resets_while_our_half_is_still_to_be_ended(
    kind: Any, new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world(kind)
    peer = world.peer()
    channel = world.accepted(peer)
    with tally.fault():
        output(channel, b"x" * BIG)
        channel.shutdown_write()
        world.passes()
        reset(peer)
        world.only()


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_is_buffered_comes_before_the_end_of_our_half(
    kind: Any, new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world(kind)
    peer = world.peer()
    channel = world.accepted(peer)
    with tally.fault():
        output(channel, b"x" * BIG)
        channel.shutdown_write()
        world.hears(peer, b"x" * BIG)
        peer.sendall(b"heard\n")  # their half is open
        world.until(lambda: channel.got.rstrip(b"\n") == b"heard" or world.errors)
        reset(peer)
        world.until(lambda: channel._ac_closed)
        world.only()


class Bounded(ChatEcho):
    """Takes short lines."""

    max_line_length = 1000
    longest = 0

    def collect_incoming_data(self, data: bytes) -> None:
        super().collect_incoming_data(data)
        self.longest = max(self.longest, sum(map(len, self.incoming)))


def test_a_line_that_never_ends(new_world: Callable[..., World], tally: Tally) -> None:
    world = new_world(Bounded)
    peer, witness = world.peer(), world.peer()
    channel, other = world.accepted(peer), world.accepted(witness)
    peer.setblocking(False)
    with tally.fault():
        for _ in range(1000):
            with contextlib.suppress(BlockingIOError, ConnectionError):
                peer.send(b"x" * 65536)
            world.passes(1)
        world.until(lambda: channel._ac_closed)
        assert channel.longest <= 1000 and len(channel._ac_input) <= channel.ac_in_buffer_size
        world.only(other)
        world.echoes(witness)


def test_a_crowd_before_a_listener_with_few_places(
    new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world()
    world.fake_clock()
    world.server.max_connections = 3
    with tally.fault(30):
        peers = [world.peer() for _ in range(30)]
        served = 0
        while peers:
            world.until(lambda: any(not child._ac_closed for child in world.children))
            assert sum(not child._ac_closed for child in world.children) <= 3
            peer = peers.pop(0)
            world.echoes(peer) if served % 2 else world.accepted(peer)
            reset(peer)
            served += 1
        world.later(1.1)  # the listener's last look for those that went without a word
        world.only()
        assert len(world.children) == 30


def test_peers_that_reset_in_the_backlog_of_a_full_listener(
    new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world()
    world.server.max_connections = 1
    first = world.peer()
    world.accepted(first)
    with tally.fault(20):
        for peer in [world.peer() for _ in range(20)]:
            reset(peer)
        last = world.peer()
        world.passes()
        assert len(world.children) == 1
        world.end_cleanly(first)
        world.accepted(last)
        world.echoes(last)
        world.end_cleanly(last)
        world.until(lambda: len(world.map) == 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_day_waits_for_those_who_read_and_not_for_those_who_don_t(
    kind: Any, new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world(kind)
    world.fake_clock()
    silent, reader, stubborn = (world.peer() for _ in range(3))
    channels = [world.accepted(peer) for peer in (silent, reader, stubborn)]
    with tally.fault(3):
        output(channels[1], b"x" * BIG)
        output(channels[2], b"y" * BIG)
        world.passes()
        asynccore.graceful_close(10, map=world.map)
        world.passes()
        assert channels[0]._ac_closed and world.server._ac_closed
        assert not channels[1]._ac_closed and not channels[2]._ac_closed
        world.hears(reader, b"x" * BIG)
        world.until(lambda: channels[1]._ac_closed)
        world.later(9.0)
        assert not channels[2]._ac_closed
        world.later(1.5)
        assert channels[2]._ac_closed and world.map == {}
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(world.server.address, timeout=1)


def test_a_reset_on_the_last_day(new_world: Callable[..., World], tally: Tally) -> None:
    world = new_world()
    peer = world.peer()
    channel = world.accepted(peer)
    with tally.fault():
        output(channel, b"x" * BIG)
        world.passes()
        asynccore.graceful_close(1000, map=world.map)
        world.passes()
        reset(peer)
        world.until(lambda: not world.map)
        world.passes(1)
        assert len(world.engine.timers) == 0


def test_threads_pull_a_trigger_while_connections_come_and_go(
    new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world()
    trigger = Trigger(map=world.map)
    called: list[int] = []
    with tally.fault(400):

        def pull(first: int) -> None:
            for number in range(first, first + 100):
                trigger.pull(called.append, number)

        threads = [threading.Thread(target=pull, args=(100 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            peer = world.peer()
            world.accepted(peer)
            reset(peer)
        for thread in threads:
            thread.join()
        world.until(lambda: len(called) == 400)
        assert sorted(called) == list(range(400))
        for first in range(0, 400, 100):
            mine = [number for number in called if first <= number < first + 100]
            assert mine == sorted(mine)
        trigger.close()
        world.only()
