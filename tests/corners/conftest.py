"""Maps of both kinds, and a record of what the pollers are asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import asynccore
from asynccore import pollers
from asynccore.engine import engine_for


def _emptied(channels: Any) -> None:
    asynccore.close_all(channels, ignore_all=True)
    # A pass over an empty map gives the poller back: no need for the garbage collector to find it,
    # and no second report, of a leak, beside a test that failed for another reason.
    engine = engine_for(channels)
    if engine.owner is None:  # else a thread of a failed test is still in there
        engine.run_pass(0)


@pytest.fixture(params=["reporting", "plain"])
def channels(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A map of the test's own, of the kind that `socket_map` is, then a plain dict."""
    made: Any = asynccore.ChannelMap() if request.param == "reporting" else {}
    yield made
    _emptied(made)


@pytest.fixture
def default_map(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fresh `asynccore.socket_map` for one test."""
    made = asynccore.ChannelMap()
    monkeypatch.setattr(asynccore, "socket_map", made)
    yield made
    _emptied(made)


@pytest.fixture
def engine(poller_name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each poller in turn, also for calls that can't name it."""
    monkeypatch.setenv(pollers.ENGINE_VARIABLE, poller_name)
    return poller_name


@pytest.fixture
def pair() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """A function that makes socket pairs, the first end non-blocking; closed after the test."""
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair()
        made.extend(ends)
        ends[0].setblocking(False)
        return ends

    yield make
    for end in made:
        end.close()


class Wait(NamedTuple):
    timeout: float | None
    events: list[tuple[int, int]]


@pytest.fixture
def waits(engine: str, monkeypatch: pytest.MonkeyPatch) -> list[Wait]:
    """Each wait of the pollers: its timeout in seconds, and what came of it."""
    record: list[Wait] = []
    probe = pollers.make(engine)
    kind = type(probe)
    probe.close()
    original = kind.wait

    def wait(self: Any, timeout: float | None) -> list[tuple[int, int]]:
        events = original(self, timeout)
        record.append(Wait(timeout, events))
        return events

    monkeypatch.setattr(kind, "wait", wait)
    return record
