"""Signal handlers run on the thread that waits: what they report must end the wait.

The signal is sent by the thread itself, in the middle of the poller's `wait`, so that its handler
runs there and nowhere else.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, loop, pollers
from asynccore.engine import engine_for
from asynccore.pollers import PRIORITY, READ, Event
from asynccore.testing import FakeClock, Fakes, RecordingPoller
from asynccore.turns import Turn
from tests.core.fakes import Channel, Quiet

pytestmark = pytest.mark.skipif(
    not hasattr(signal, "SIGUSR1"), reason="Windows has no signals that one sends oneself"
)


@pytest.fixture
def on_signal() -> Iterator[list[Callable[[], object]]]:
    """What the handler of SIGUSR1 does, once."""
    todo: list[Callable[[], object]] = []

    def handle(*args: object) -> None:
        while todo:
            todo.pop(0)()

    before = signal.signal(signal.SIGUSR1, handle)
    yield todo
    signal.signal(signal.SIGUSR1, before)


def interrupt() -> None:
    """Have the handler run before this returns."""
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.getsignal(signal.SIGUSR1)  # a few instructions, between which handlers run


class Interrupted(RecordingPoller):
    """Gets a signal in its first wait, and sees the wake-up as a kernel does."""

    engine: Any = None

    def wait(self, timeout: float | None) -> list[Event]:
        if not self.waits:
            interrupt()
        wakeup = self.engine.wakeup
        if select.select([wakeup], [], [], 0)[0]:
            self.waits.append(timeout)
            return [(wakeup.fileno(), READ)]
        return super().wait(timeout)


def with_signal(fakes: Fakes) -> Fakes:
    engine, clock, _ = fakes
    poller = Interrupted(clock)
    poller.engine = engine
    engine.interest.attach(poller)
    return Fakes(engine, clock, poller)


@pytest.fixture
def interrupted(any_fakes: Fakes) -> Fakes:
    return with_signal(any_fakes)


def pass_ends_early(fakes: Fakes) -> bool:
    """Run a pass that would wait for a minute; tell whether it ended at once."""
    fakes.engine.run_pass(60.0)
    return fakes.clock() == 1000.0


def test_a_signal_without_a_report_does_not_end_the_wait(
    interrupted: Fakes, on_signal: list[Any]
) -> None:
    Quiet(1000, interrupted.engine.map)
    seen: list[bool] = []
    on_signal.append(lambda: seen.append(interrupted.engine.waiting))
    assert not pass_ends_early(interrupted)
    assert seen == [True]
    assert not interrupted.engine.waiting


REPORTS: dict[str, Callable[[Any, Any], object]] = {
    "stop": lambda map, channel: asynccore.stop(map),
    "call_soon_threadsafe": lambda map, channel: asynccore.call_soon_threadsafe(print, map=map),
    "call_later": lambda map, channel: asynccore.call_later(5.0, print, map=map),
    "touch": lambda map, channel: channel.touch(),
    "run_on_loop": lambda map, channel: channel._engine.run_on_loop(channel.touch),
    "close": lambda map, channel: channel.close(),
    "set_deadline": lambda map, channel: channel.set_deadline(5.0),
}


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_ends_the_wait_that_was_interrupted(
    interrupted: Fakes, on_signal: list[Any], report: str
) -> None:
    map = interrupted.engine.map
    channel = Quiet(1000, map)
    map[1001] = Channel(False, False)
    on_signal.append(lambda: REPORTS[report](map, channel))
    assert pass_ends_early(interrupted)
    assert on_signal == []


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_change_of_a_map_that_reports_ends_the_wait(
    fakes: Fakes, on_signal: list[Any], change: str
) -> None:
    interrupted = with_signal(fakes)
    map = interrupted.engine.map
    map.update({1000: Channel(), 1001: Channel()})
    on_signal.append(
        (lambda: map.__setitem__(1002, Channel())) if change == "add" else (lambda: map.pop(1001))
    )
    assert pass_ends_early(interrupted)
    interrupted.engine.run_pass(0)
    assert interrupted.poller.interest.get(1002, 0) == (READ | PRIORITY if change == "add" else 0)
    assert (1001 in interrupted.poller.interest) == (change == "add")


def test_a_handler_may_empty_the_map(interrupted: Fakes, on_signal: list[Any]) -> None:
    map = interrupted.engine.map
    channel = Quiet(1000, map)
    on_signal.append(channel.close)
    loop(60.0, map=map)
    assert interrupted.clock() == 1000.0
    assert channel.socket.closed == 1
    assert interrupted.engine.wakeup is None


@pytest.mark.parametrize(
    "why", [asynccore.ExitNow, KeyboardInterrupt, SystemExit, ZeroDivisionError]
)
def test_what_a_handler_raises_leaves_the_wait(
    interrupted: Fakes, on_signal: list[Any], why: Any
) -> None:
    def leave() -> None:
        raise why

    Quiet(1000, interrupted.engine.map)
    on_signal.append(leave)
    with pytest.raises(why):
        interrupted.engine.run_pass(60.0)
    assert not interrupted.engine.waiting and interrupted.engine.owner is None


# Between the last look and the wait ---------------------------------------------------------


@pytest.mark.parametrize("what", ["call", "errand", "stop", "dirty", "moved"])
def test_what_came_after_all_was_settled_is_not_slept_over(fakes: Fakes, what: str) -> None:
    engine, clock, poller = fakes
    channel = Quiet(1000, engine.map)
    settle = engine.interest.settle

    def settle_and_then(*args: Any) -> bool:
        unsettled = settle(*args)
        if len(poller.waits) == 0:
            if what == "call":
                engine.calls.append((print, ()))
            elif what == "errand":
                engine.errands.append((print, ()))
            elif what == "stop":
                engine.stopping = True
            elif what == "dirty":
                channel.touch()
            else:
                engine.map[1001] = Channel()
        return unsettled

    engine.interest.settle = settle_and_then  # type: ignore[method-assign]
    engine.run_pass(60.0)
    assert poller.waits[0] == 0
    # A report is acted on, and then the pass has its wait; the others end it.
    assert poller.waits[1:] == ([60.0] if what in ("dirty", "moved") else [])
    assert clock() == (1060.0 if what in ("dirty", "moved") else 1000.0)


# With a kernel ------------------------------------------------------------------------------


@pytest.mark.parametrize("report", ["stop", "call", "close"])
def test_a_real_wait_ends(poller_name: str, on_signal: list[Any], report: str) -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    channel = Quiet(mine.fileno(), map)
    engine = engine_for(map)
    poller = pollers.make(poller_name)
    wait = poller.wait
    waits: list[float | None] = []

    def interrupted_wait(timeout: float | None) -> list[Event]:
        waits.append(timeout)
        if len(waits) == 1:
            interrupt()
        events = wait(0)
        assert events, "the report is lost: it would wait for ever here"
        return events

    poller.wait = interrupted_wait  # type: ignore[method-assign]
    engine.interest.attach(poller)
    clock = FakeClock()  # review never comes
    engine.clock = clock
    if report == "stop":
        on_signal.append(lambda: asynccore.stop(map))
    elif report == "call":
        on_signal.append(lambda: asynccore.call_soon_threadsafe(asynccore.stop, map, map=map))
    else:
        on_signal.append(channel.close)
    try:
        engine.interest.review_at = float("inf")
        while map and not engine.stopping and len(waits) < 5:
            engine.run_pass(None)
        assert waits[0] is None and len(waits) <= 3
        assert bool(map) == (report != "close")
    finally:
        map.clear()
        engine.run_pass(0)
        mine.close()
        other.close()


# Turns --------------------------------------------------------------------------------------


class Wakes(Turn):
    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1


def test_a_nudge_wakes_who_waits_and_whoever_else_has_the_turn() -> None:
    turn = Wakes()
    turn.nudge()
    assert turn.wakes == 0, "nobody has the turn"
    before = turn.take()
    turn.nudge()
    assert turn.wakes == 0, "a handler, which runs between waits"
    turn.waiting = True
    turn.nudge()
    assert turn.wakes == 1, "a signal handler, in a wait"
    turn.waiting = False
    thread = threading.Thread(target=turn.nudge)
    thread.start()
    thread.join()
    assert turn.wakes == 2, "another thread"
    turn.give(before)


def test_an_errand_of_the_holder_nudges_if_it_waits() -> None:
    turn = Wakes()
    done: list[int] = []
    before = turn.take()
    turn.run_on_loop(done.append, 1)
    assert (done, turn.wakes) == ([1], 0)
    turn.waiting = True
    turn.run_on_loop(done.append, 2)
    assert (done, turn.wakes) == ([1, 2], 1)
    turn.give(before)
