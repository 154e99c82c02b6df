"""Delayed calls and `seconds()`, by a clock that jumps."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.base import DelayedCall
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.task import LoopingCall

import asynccore
from asynccore.testing import FakeClock, RecordingPoller, engine_with_fakes
from compat.twisted_transports import ClassicReactor
from compat.twisted_transports.delayed_calls import DelayedCalls


class Wall(FakeClock):
    """The system's clock: the engine's, and what it was stepped by."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.steps = 1_700_000_000.0

    def __call__(self) -> float:
        return self.clock() + self.steps


class Faked:
    """A reactor whose time moves when its loop waits."""

    def __init__(self) -> None:
        self.map = asynccore.ChannelMap()
        self.engine, self.clock, self.poller = engine_with_fakes(self.map)
        self.wall = Wall(self.clock)
        self.reactor: Any = ClassicReactor(map=self.map, wall=self.wall)
        self.began = self.clock()
        self.ran: list[tuple[float, object]] = []

    def note(self, what: object) -> None:
        self.ran.append((self.clock() - self.began, what))

    def loop(self) -> None:
        if self.engine.poller is None:  # given back when the map was empty
            self.engine.attach(RecordingPoller(self.clock))
        asynccore.loop(map=self.map, until_idle=True)


def test_calls_run_in_the_order_of_their_times() -> None:
    faked = Faked()
    for delay, name in ((3.0, "c"), (1.0, "a"), (2.0, "b"), (1.0, "a2"), (0, "now")):
        faked.reactor.callLater(delay, faked.note, name)
    assert len(faked.reactor.getDelayedCalls()) == 5
    faked.loop()
    assert faked.ran == [(0, "now"), (1, "a"), (1, "a2"), (2, "b"), (3, "c")]
    assert faked.reactor.getDelayedCalls() == []


def test_keywords_and_the_states_of_a_call() -> None:
    faked = Faked()
    got: list[Any] = []
    call = faked.reactor.callLater(1, lambda *args, **kw: got.append((args, kw)), 1, two=2)
    assert isinstance(call, DelayedCall) and call.active()
    assert call.getTime() - faked.reactor.seconds() == 1
    faked.loop()
    assert got == [((1,), {"two": 2})]
    with pytest.raises(AlreadyCalled):
        call.cancel()
    cancelled = faked.reactor.callLater(1, faked.note, "never")
    cancelled.cancel()
    with pytest.raises(AlreadyCancelled):
        cancelled.reset(1)
    faked.loop()
    assert faked.ran == []


def test_a_call_is_moved_up_and_put_off() -> None:
    faked = Faked()
    up = faked.reactor.callLater(10, faked.note, "up")
    off = faked.reactor.callLater(1, faked.note, "off")
    both = faked.reactor.callLater(5, faked.note, "both")
    up.reset(2)
    off.reset(4)
    off.delay(3)
    both.delay(10)
    both.delay(-12)
    faked.loop()
    assert faked.ran == [(2, "up"), (3, "both"), (7, "off")]


def test_a_call_at_once_that_is_put_off_does_not_keep_the_loop() -> None:
    faked = Faked()
    call = faked.reactor.callLater(0, faked.note, "later")
    call.delay(5)
    asynccore.loop(map=faked.map)
    assert faked.ran == [] and call.active()
    faked.loop()
    assert faked.ran == [(5, "later")]


def test_calls_at_once_keep_the_loop_and_delayed_ones_do_not() -> None:
    faked = Faked()
    faked.reactor.callLater(0, faked.reactor.callLater, 0, faked.note, "second")
    faked.reactor.callLater(0, lambda: None).cancel()
    faked.reactor.callLater(60, faked.note, "delayed")
    asynccore.loop(map=faked.map)
    assert [what for _, what in faked.ran] == ["second"]
    assert faked.map == {}
    faked.loop()
    assert faked.ran[1:] == [(60, "delayed")]


@pytest.mark.parametrize("delay", [-1, -0.001, float("nan")])
def test_a_delay_is_not_negative(delay: float) -> None:
    faked = Faked()
    with pytest.raises(AssertionError, match="at least 0"):
        faked.reactor.callLater(delay, faked.note)
    assert faked.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("step", [36000.0, -36000.0, 0.5])
def test_a_step_of_the_systems_clock_moves_no_call(step: float) -> None:
    faked = Faked()
    call = faked.reactor.callLater(10, faked.note, "call")
    moved = faked.reactor.callLater(10, faked.note, "moved")
    faked.wall.steps += step
    assert faked.reactor.seconds() == faked.wall()
    moved.reset(4)
    assert call.getTime() - faked.reactor.seconds() == 10
    faked.loop()
    assert faked.ran == [(4, "moved"), (10, "call")]


def test_the_clock_is_not_corrected_for_what_ntp_slews() -> None:
    faked = Faked()
    before = faked.reactor.seconds()
    faked.wall.steps += 0.1
    assert faked.reactor.seconds() == before


def test_timeout_tells_how_long_one_may_wait() -> None:
    faked = Faked()
    assert faked.reactor.timeout() is None
    faked.reactor.callLater(7, faked.note, "x")
    assert faked.reactor.timeout() == 7
    faked.clock.advance(9)
    assert faked.reactor.timeout() == 0


def test_what_a_call_raises_is_logged_and_the_loop_goes_on(logged: list[str]) -> None:
    faked = Faked()
    faked.reactor.callLater(1, lambda: 1 / 0)
    faked.reactor.callLater(2, faked.note, "next")
    faked.loop()
    assert logged == ["ZeroDivisionError"]
    assert faked.ran == [(2, "next")]


@pytest.mark.parametrize("kind", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
def test_what_is_to_leave_the_loop_leaves_it(kind: type[BaseException]) -> None:
    faked = Faked()

    def leave() -> None:
        raise kind

    faked.reactor.callLater(1, leave)
    faked.reactor.callLater(2, faked.note, "later")
    with pytest.raises(kind):
        faked.loop()
    assert faked.ran == []
    faked.loop()
    assert faked.ran == [(2, "later")]


def test_a_looping_call_keeps_its_times() -> None:
    faked = Faked()
    looping = LoopingCall(lambda: faked.note(faked.clock.advance(0.25)))
    looping.clock = faked.reactor
    looping.start(1.0)
    faked.reactor.callLater(3.5, looping.stop)
    faked.loop()
    assert [when for when, _ in faked.ran] == [0.25, 1.25, 2.25, 3.25]


def test_it_is_the_part_of_the_reactor_with_the_clock() -> None:
    assert issubclass(ClassicReactor, DelayedCalls)
