"""Reactors over maps of their own; what is left in these is closed after each test."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore

collect_ignore_glob = [] if importlib.util.find_spec("twisted") else ["test_*.py"]

# Nothing here waits for time to pass; a loop that takes so long, in seconds, hangs.
HANGS = 10.0


@pytest.fixture(scope="session", autouse=True)
def twisteds_own_reactor() -> None:
    """Some of Twisted's modules make the default reactor, which stays: no leak of a test's."""
    from twisted.internet import reactor as found
    from twisted.internet.protocol import Factory

    reactor: Any = found
    # Twisted keeps a descriptor in reserve for accepting, from the first port on.
    reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()
    reactor.iterate(0)


def finish(reactor: Any) -> None:
    """End a reactor, and give back what it holds."""
    for _ in range(2):  # what is closed may leave a call that is due at once
        for call in list(reactor.getDelayedCalls()):
            if call.delayed_time or call.time > reactor.seconds():
                call.cancel()
        if reactor.running:
            reactor.stop()
        asynccore.loop(0, map=reactor.map, count=2, until_idle=True)
    asynccore.close_all(reactor.map, ignore_all=True)


@pytest.fixture(params=[asynccore.ChannelMap, dict], ids=["ChannelMap", "dict"])
def reactor(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A reactor that is not the installed one."""
    from compat.twisted_transports import ClassicReactor

    reactor = ClassicReactor(map=request.param())
    yield reactor
    finish(reactor)


@pytest.fixture
def loop(reactor: Any) -> Callable[..., None]:
    """`asynccore.loop` over the reactor's map, until it ends by itself or a condition holds."""

    def loop(until: Callable[[], object] | None = None) -> None:
        if until is None:
            guard = asynccore.call_later(HANGS, asynccore.stop, map=reactor.map)
            asynccore.loop(map=reactor.map)
            assert guard.active, f"the loop goes on: {reactor.map}"
            guard.cancel()
            return
        end = time.monotonic() + HANGS
        while not until():
            assert time.monotonic() < end, f"the loop hangs: {reactor.map}"
            asynccore.loop(1.0, map=reactor.map, count=1, until_idle=True)

    return loop


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The failures that Twisted's log is told of, by the name of the exception."""
    from twisted.python import log

    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("isError") and "failure" in event:
            found.append(event["failure"].type.__name__)

    log.addObserver(observe)
    yield found
    log.removeObserver(observe)
