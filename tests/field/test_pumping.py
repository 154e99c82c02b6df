"""Programs with a loop of their own, of a game or a window, which pump at every turn."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import pollers
from asynccore.engine import engine_for


@pytest.fixture(params=["default map", "plain dict"])
def map(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any = asynccore.ChannelMap() if request.param == "default map" else {}
    yield made
    asynccore.close_all(made)


PUMPS: dict[str, Callable[[Any], None]] = {
    "loop": lambda map: asynccore.loop(timeout=0, count=1, map=map),
    "poll": lambda map: asynccore.poll(0, map),
    "poll, 0.0": lambda map: asynccore.poll(0.0, map),
}


@pytest.fixture(params=PUMPS)
def pump(request: pytest.FixtureRequest) -> Callable[[Any], None]:
    return PUMPS[request.param]


@pytest.fixture
def peers() -> Iterator[list[socket.socket]]:
    made: list[socket.socket] = []
    yield made
    for peer in made:
        peer.close()


class Channel(asynccore.dispatcher):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.received = b""
        self.output = b""

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.received += self.recv(100)

    def handle_write(self) -> None:
        self.output = self.output[self.send(self.output) :]


class Asked(Channel):
    """One whose predicate depends on what only the program knows."""

    def writable(self) -> bool:
        self.asked = getattr(self, "asked", 0) + 1
        return bool(self.output)


def made(cls: type, count: int, map: Any, peers: list[socket.socket]) -> list[Any]:
    found = []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        found.append(cls(ours, map))
    return found


def calls_of(function: Callable[..., Any], *args: Any) -> int:
    count = 0

    def note(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("cls", [Channel, Asked])
def test_a_turn_with_nothing_to_do_costs_what_a_classic_one_does(
    map: Any, peers: Any, pump: Any, cls: Any
) -> None:
    counts = []
    for more in (3, 27):
        made(cls, more, map, peers)
        for _ in range(3):
            pump(map)
        counts.append(min(calls_of(pump, map) for _ in range(5)))
    # The classic one calls both predicates of each channel, and puts it in three lists, which
    # select(2) reads; here it is looked up in one dict, and epoll_wait(2) has no arguments.
    assert counts[0] <= 46
    assert (counts[1] - counts[0]) / 27 <= 5


@pytest.mark.parametrize("poller", pollers.available())
def test_what_comes_is_handled_in_the_next_turn(
    map: Any, peers: Any, pump: Any, poller: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCCORE_ENGINE", poller)
    channels = made(Channel, 2, map, peers) + made(Asked, 2, map, peers)
    for _ in range(3):
        pump(map)
    for peer in peers:
        peer.send(b"x")
    pump(map)
    assert [channel.received for channel in channels] == [b"x"] * 4


def test_every_predicate_is_asked_in_every_turn(map: Any, peers: Any, pump: Any) -> None:
    (channel,) = made(Asked, 1, map, peers)
    pump(map)
    before = channel.asked
    for _ in range(5):
        pump(map)
    assert channel.asked == before + 5


def test_what_is_assigned_between_two_turns_counts_at_once(map: Any, peers: Any, pump: Any) -> None:
    plain, asked = made(Channel, 1, map, peers) + made(Asked, 1, map, peers)
    for _ in range(3):
        pump(map)
    asked.output = b"out"
    plain.readable = lambda: False
    peers[0].send(b"not now")
    pump(map)
    assert peers[1].recv(10) == b"out"
    assert plain.received == b""
    del plain.readable
    pump(map)
    assert plain.received == b"not now"
    plain.writable = lambda: True
    plain.output = b"plain"
    pump(map)
    assert peers[0].recv(10) == b"plain"


def test_what_comes_and_goes_between_two_turns(map: Any, peers: Any, pump: Any) -> None:
    one, two = made(Channel, 2, map, peers)
    for _ in range(3):
        pump(map)
    (three,) = made(Channel, 1, map, peers)
    two.close()
    for peer in (peers[0], peers[2]):
        peer.send(b"x")
    pump(map)
    assert (one.received, three.received) == (b"x", b"x")
    for channel in (one, three):
        channel.close()
    pump(map)
    assert engine_for(map).poller is None, "nothing is kept for nobody"


def test_timers_and_calls(map: Any, peers: Any, pump: Any) -> None:
    made(Channel, 1, map, peers)
    for _ in range(3):
        pump(map)
    ran: list[str] = []
    asynccore.call_later(0, ran.append, "timer", map=map)
    asynccore.call_soon_threadsafe(ran.append, "call", map=map)
    pump(map)
    pump(map)
    assert sorted(ran) == ["call", "timer"]


def test_stopping(map: Any, peers: Any) -> None:
    (channel,) = made(Channel, 1, map, peers)
    for _ in range(3):
        asynccore.loop(timeout=0, count=1, map=map)
    peers[0].send(b"x")
    asynccore.stop(map=map)
    asynccore.loop(timeout=0, count=1, map=map)
    assert channel.received == b""
    asynccore.loop(timeout=0, count=1, map=map)
    assert channel.received == b"x"


def test_a_handler_that_pumps(map: Any, peers: Any, pump: Any) -> None:
    first, second = made(Channel, 2, map, peers)
    for _ in range(3):
        pump(map)
    first.handle_read = lambda: (first.recv(10), peers[1].send(b"y"), pump(map))
    peers[0].send(b"x")
    pump(map)
    assert second.received == b"y"


def test_what_leaves_the_loop_leaves_a_turn_and_the_next_one_goes_on(
    map: Any, peers: Any, pump: Any
) -> None:
    channel, other = made(Channel, 2, map, peers)
    for _ in range(3):
        pump(map)

    def leave() -> None:
        channel.recv(10)
        raise asynccore.ExitNow

    channel.handle_read = leave
    peers[0].send(b"x")
    with pytest.raises(asynccore.ExitNow):
        pump(map)
    peers[1].send(b"x")
    pump(map)
    assert other.received == b"x"


def test_a_poll_of_the_program_s_own(map: Any, peers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made(Channel, 1, map, peers)
    seen: list[Any] = []
    monkeypatch.setattr(asynccore, "poll", lambda *args: seen.append(args))
    asynccore.loop(timeout=0, count=1, map=map)
    assert seen == [(0, map)]


@pytest.mark.skipif(sys.platform == "win32", reason="a socket is no descriptor on Windows")
def test_a_descriptor_closed_by_others_is_found_within_a_second(
    map: Any, peers: Any, pump: Any
) -> None:
    (channel,) = made(Channel, 1, map, peers)
    closed: list[int] = []
    channel.handle_close = lambda: (closed.append(1), channel.close())
    for _ in range(3):
        pump(map)
    os.close(channel.socket.detach())
    engine_for(map).interest.review_at = 0.0  # the second is over
    pump(map)
    assert closed == [1]


def test_a_predicate_of_an_instance_may_close_others(map: Any, peers: Any, pump: Any) -> None:
    channels = made(Channel, 3, map, peers)
    for _ in range(3):
        pump(map)
    first = channels[0]

    def readable() -> bool:
        for channel in channels[1:]:
            channel.close()
        return True

    first.readable = readable
    peers[0].send(b"x")
    pump(map)
    pump(map)
    assert first.received == b"x"
    assert list(map.values()) == [first]
