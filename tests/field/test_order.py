"""Who is served first within one pass: channels that are new in the map's order."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import pollers


@pytest.fixture(params=["default map", "plain dict"])
def map(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any = asynccore.ChannelMap() if request.param == "default map" else {}
    yield made
    asynccore.close_all(made)


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Pairs of sockets, by descriptor, each with something to read at our end."""
    made = [socket.socketpair() for _ in range(4)]
    for _, theirs in made:
        theirs.send(b"x")
    yield made
    for pair in made:
        for end in pair:
            end.close()


class Channel(asynccore.dispatcher):
    order: list[str]

    def __init__(self, name: str, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.name = name

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.recv(10)
        self.order.append(self.name)


class Asking(Channel):
    """One that is asked before each wait."""

    def readable(self) -> bool:
        return bool(self.name)


class Assigned(Channel):
    """One with a predicate of the instance."""

    def __init__(self, name: str, sock: Any, map: Any) -> None:
        super().__init__(name, sock, map)
        self.readable = lambda: True  # type: ignore[method-assign]


KINDS = [
    (Channel, Channel, Channel, Channel),
    (Asking, Asking, Asking, Asking),
    (Asking, Channel, Assigned, Channel),
    (Channel, Assigned, Channel, Asking),
]


@pytest.mark.parametrize("poller", pollers.available())
@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "-".join(k.__name__ for k in kinds))
@pytest.mark.parametrize("places", [(3, 2, 1, 0), (0, 1, 2, 3), (2, 0, 3, 1)])
@pytest.mark.parametrize("passed", [False, True])
def test_new_channels_are_taken_in_the_map_s_order(
    map: Any, pairs: Any, poller: str, kinds: Any, places: Any, passed: bool
) -> None:
    Channel.order = order = []
    if passed:
        ours, theirs = socket.socketpair()
        Channel("keep", ours, map)
        asynccore.loop(0, map=map, count=1, poller=poller)
    for name, (kind, place) in zip("abcd", zip(kinds, places, strict=True), strict=True):
        kind(name, pairs[place][0], map)
    asynccore.loop(0.5, map=map, count=1, poller=poller)
    assert "".join(order) == "abcd"
    if passed:
        theirs.close()


@pytest.mark.parametrize(
    "poller", [name for name in pollers.available() if name in ("select", "poll")]
)
@pytest.mark.parametrize("sent", list(itertools.permutations(range(3))))
def test_select_and_poll_keep_the_map_s_order(map: Any, pairs: Any, poller: str, sent: Any) -> None:
    Channel.order = order = []
    channels = [Channel(name, pairs[3 - place][0], map) for place, name in enumerate("abcd")]
    asynccore.loop(0.5, map=map, count=1, poller=poller)
    order.clear()
    # One that was away for a while comes back to its place.
    first = channels[0]
    first.pause_reading()
    asynccore.loop(0, map=map, count=1, poller=poller)
    first.resume_reading()
    for place in sent:
        pairs[3 - place][1].send(b"y")
    asynccore.loop(0.5, map=map, count=1, poller=poller)
    assert "".join(order) == "abc"


@pytest.mark.parametrize("poller", pollers.available())
def test_who_wants_to_write_keeps_its_place_too(map: Any, pairs: Any, poller: str) -> None:
    order: list[str] = []

    class Writer(Channel):
        def writable(self) -> bool:
            return self.name not in order

        def handle_write(self) -> None:
            order.append(self.name)

        def handle_read(self) -> None:
            self.recv(10)

    for name, (ours, _) in zip("abcd", reversed(pairs), strict=True):
        Writer(name, ours, map)
    asynccore.loop(0.5, map=map, count=1, poller=poller)
    assert "".join(order) == "abcd"


def test_events_of_what_is_in_no_map_come_first() -> None:
    poller = pollers.make("select")
    events = [(5, 1), (3, 1), (9, 1), (4, 1)]
    assert poller.in_order(events) == events
    poller.order = {4: None, 3: None, 5: None}
    assert poller.in_order(events) == [(9, 1), (4, 1), (3, 1), (5, 1)]
    assert poller.in_order(events[:1]) == events[:1]
