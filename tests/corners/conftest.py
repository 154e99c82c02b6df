"""Maps of both kinds, and a record of what the pollers are asked."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

import asynccore
from asynccore import pollers
from asynccore.engine import engine_for
from tests.conftest import available_pollers


def _emptied(channels: Any) -> None:
    asynccore.close_all(channels, ignore_all=True)
    # A pass over an empty map gives the poller back: no need for the garbage collector to find it,
    # and no second report, of a leak, beside a test that failed for another reason.
    engine = engine_for(channels)
    if engine.owner is None:  # else a thread of a failed test is still in there
        engine.run_pass(0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Combine maps and pollers only where that can find something.

    What becomes of a map hardly depends on the poller: both kinds of map go with the best poller,
    and each of the others goes with one of them.
    """
    both = ["reporting", "plain"]
    names = available_pollers()
    with_engine = "engine" in metafunc.fixturenames
    with_channels = "channels" in metafunc.fixturenames
    if with_engine and with_channels:
        pairs = [(kind, names[0]) for kind in both]
        pairs += [(both[place % 2], name) for place, name in enumerate(names[1:])]
        metafunc.parametrize(("channels", "engine"), pairs, indirect=True)
    elif with_engine:
        metafunc.parametrize("engine", names, indirect=True)
    elif with_channels:
        metafunc.parametrize("channels", both, indirect=True)


@pytest.fixture
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
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each poller in turn, also for calls that can't name it."""
    name: str = request.param
    monkeypatch.setenv(pollers.ENGINE_VARIABLE, name)
    return name


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
