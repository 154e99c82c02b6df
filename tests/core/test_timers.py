"""Timers: their order, cancelling, putting off, and what they cost in memory."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import asynccore
from asynccore.engine.timers import Timer, Timers
from asynccore.testing import FakeClock
from tests.core.fakes import PATIENT


def nothing(*args: object) -> None:
    pass


def hand_out(timers: Timers, now: float) -> Iterator[tuple[Callable[..., object], tuple[Any, ...]]]:
    """Take out what is due, one by one, as an engine does that calls it meanwhile."""
    mark = timers.mark()
    while (timer := timers.next_due(now, mark)) is not None:
        callback, args = timer.callback, timer.args
        assert callback is not None
        timers.begin(timer)
        yield callback, args
        del callback
        timer._skip_to_next()


@contextmanager
def handing_out(timers: Timers, now: float) -> Iterator[Iterator[Any]]:
    yield hand_out(timers, now)


def due(timers: Timers, now: float) -> list[Any]:
    """The arguments of what is due; `tag` tells the timers apart."""
    with handing_out(timers, now) as callbacks:
        found = []
        for callback, args in callbacks:
            assert callback is nothing
            found += args
    return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0.0)


@pytest.fixture
def timers(clock: FakeClock) -> Timers:
    return Timers(clock)


# Against a list that is searched ------------------------------------------------------------


class TimersModel(RuleBasedStateMachine):
    """The same operations on the heap, and on a dict that is searched for what is due."""

    DELAYS = st.integers(0, 20).map(float)

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(0.0)
        self.timers = Timers(self.clock)
        self.model: dict[Timer, float] = {}
        self.made: list[Timer] = []
        self.never_reset: set[Timer] = set()
        self.since: dict[Timer, float] = {}  # of those that repeat: what is counted from

    @rule(delay=DELAYS)
    def call_later(self, delay: float) -> None:
        timer = self.timers.call_later(delay, nothing, len(self.made))
        self.model[timer] = self.clock() + delay
        self.made.append(timer)
        self.never_reset.add(timer)

    @rule(interval=st.integers(1, 7).map(float))
    def call_every(self, interval: float) -> None:
        when = self.clock() + interval
        timer = self.timers.add(self.timers.new(when, nothing, (len(self.made),), interval))
        self.model[timer] = self.since[timer] = when
        self.made.append(timer)

    def next_time(self, timer: Timer) -> float:
        """The naive way: count up from the first time."""
        assert timer.interval is not None
        when = self.since[timer]
        while when <= self.clock():
            when += timer.interval
        return when

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        timer = data.draw(st.sampled_from(self.made))
        timer.cancel()
        self.model.pop(timer, None)
        assert not timer.active

    @precondition(lambda self: self.made)
    @rule(data=st.data(), delay=st.none() | DELAYS)
    def reset(self, data: st.DataObject, delay: float | None) -> None:
        timer = data.draw(st.sampled_from(self.made))
        if timer not in self.model:
            with pytest.raises(RuntimeError):
                timer.reset(delay)
            return
        timer.reset(delay)
        if timer.interval is not None:
            seconds = timer.interval if delay is None else delay
            self.since[timer] = self.clock() + seconds
        else:
            seconds = timer.delay
            assert delay is None or delay == seconds
        self.model[timer] = self.clock() + seconds
        self.never_reset.discard(timer)

    @rule(seconds=st.integers(0, 10).map(float), data=st.data())
    def advance(self, seconds: float, data: st.DataObject) -> None:
        """What is due runs in its order, whatever its callbacks do to the others."""
        self.clock.advance(seconds)
        now = self.clock()
        expected = {timer: when for timer, when in self.model.items() if when <= now}
        found: list[Timer] = []
        spared: set[Timer] = set()
        leave_after = data.draw(st.none() | st.integers(0, 2))
        with handing_out(self.timers, now) as callbacks:
            for callback, (number,) in callbacks:
                assert callback is nothing
                timer = self.made[number]
                assert timer in expected.keys() - spared
                assert timer.active == (timer.interval is not None)
                del self.model[timer]
                if timer.interval is not None:
                    self.model[timer] = self.next_time(timer)
                found.append(timer)
                spared |= self.act(data)
                if len(found) == leave_after:
                    break  # as an exception does
            else:
                assert set(found) == expected.keys() - (spared - set(found))
        assert len(found) == len(set(found))
        assert [expected[timer] for timer in found] == sorted(expected[t] for t in found)
        plain = [timer for timer in found if timer in self.never_reset]
        assert plain == sorted(plain, key=lambda t: (expected[t], self.made.index(t)))
        # Those that were not reached are put in again, behind new ones of the same time.
        self.never_reset -= expected.keys()

    def act(self, data: st.DataObject) -> set[Timer]:
        """Do what a callback might; return the timer that it took out of the batch."""
        what = data.draw(st.sampled_from(["nothing", "make", "cancel", "reset"]))
        if what == "make":
            self.call_later(0.0)
        if what not in ("cancel", "reset"):
            return set()
        timer = data.draw(st.sampled_from(self.made))
        if what == "cancel":
            timer.cancel()
            self.model.pop(timer, None)
        elif timer in self.model:
            timer.reset(1.0)
            self.model[timer] = self.since[timer] = self.clock() + 1.0
            self.never_reset.discard(timer)
        return {timer}

    @invariant()
    def agrees(self) -> None:
        assert len(self.timers) == len(self.model)
        assert self.timers.next() == min(self.model.values(), default=None)
        for timer in self.made:
            assert timer.active == (timer in self.model)


TimersModel.TestCase.settings = settings(PATIENT, max_examples=60, stateful_step_count=40)
TestTimersModel = TimersModel.TestCase


# One by one ---------------------------------------------------------------------------------


def test_timers_run_by_time_then_in_the_order_they_were_made(timers: Timers) -> None:
    for when, tag in ((2.0, "late"), (1.0, "first"), (1.0, "second")):
        timers.call_at(when, nothing, tag)
    assert due(timers, 0.999) == []
    assert due(timers, 1.0) == ["first", "second"]
    assert due(timers, 5.0) == ["late"]
    assert timers.next() is None


def test_call_later_counts_from_now(timers: Timers, clock: FakeClock) -> None:
    clock.advance(7.0)
    timer = timers.call_later(2.5, nothing)
    assert (timer.when, timer.delay, timers.next()) == (9.5, 2.5, 9.5)


def test_the_default_clock_is_monotonic() -> None:
    assert Timers().clock is asynccore.time.monotonic


def test_arguments_are_kept_until_the_timer_is_cancelled(timers: Timers) -> None:
    timer = timers.call_later(1.0, nothing, 1, 2)
    assert timer.args == (1, 2)
    timer.cancel()
    assert timer.args == () and timer.callback is None


def test_cancelling_twice_counts_once(timers: Timers) -> None:
    timer = timers.call_later(1.0, nothing, "cancelled")
    timers.call_later(2.0, nothing, "other")
    timer.cancel()
    timer.cancel()
    assert len(timers) == 1
    assert due(timers, 3.0) == ["other"]


def test_reset_without_a_delay_takes_the_first_one_again(timers: Timers, clock: FakeClock) -> None:
    timer = timers.call_later(5.0, nothing)
    clock.advance(4.0)
    timer.reset()
    assert timers.next() == 9.0
    timer.reset(1.0)
    assert timers.next() == 5.0
    clock.advance(0.5)
    timer.reset()
    assert timers.next() == 5.5


def test_a_reset_of_what_waits_to_be_added_adds_it(timers: Timers) -> None:
    """`call_later` from another thread leaves adding to the loop; it may be reset before."""
    timer = timers.new(5.0, nothing, ("once",))
    timer.reset(1.0)
    assert (len(timers), timers.next()) == (1, 1.0)
    timers.add(timer)
    assert (len(timers), timers.next()) == (1, 1.0)
    assert due(timers, 9.0) == ["once"]
    assert (len(timers), timers.next()) == (0, None)


def test_a_timer_that_was_cancelled_before_it_was_added_is_none(timers: Timers) -> None:
    timer = timers.new(5.0, nothing, ())
    timer.cancel()
    timers.add(timer)
    assert len(timers) == 0
    assert timers.next() is None


def test_a_timer_that_is_done_cannot_be_reset(timers: Timers) -> None:
    timer = timers.call_later(5.0, nothing)
    timer.cancel()
    with pytest.raises(RuntimeError, match=r"<Timer, done> can't be reset: make a new timer"):
        timer.reset(1.0)


@pytest.mark.parametrize("callback", [None, 5, "nothing"])
def test_what_cannot_be_called_is_refused(timers: Timers, callback: object) -> None:
    with pytest.raises(TypeError, match="a timer needs something to call, not"):
        timers.call_later(1.0, callback)  # type: ignore[arg-type]
    assert len(timers) == 0


def test_a_time_that_is_no_number_is_refused(timers: Timers) -> None:
    with pytest.raises(ValueError, match="can't be NaN"):
        timers.call_later(math.nan, nothing)
    timer = timers.call_later(1.0, nothing)
    with pytest.raises(ValueError, match="can't be NaN"):
        timer.reset(math.nan)
    assert timer.when == 1.0
    assert timers.next() == 1.0


def test_infinity_is_never(timers: Timers) -> None:
    timers.call_at(math.inf, nothing)
    assert due(timers, 1e300) == []


def test_repr_names_the_callback_and_the_time_left(timers: Timers, clock: FakeClock) -> None:
    class Callback:
        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return "<my callback>"

    timer = timers.call_later(2.0, nothing)
    clock.advance(0.5)
    assert repr(timer) == "<Timer nothing in 1.500 s>"
    assert repr(timers.call_later(1.0, Callback())) == "<Timer <my callback> in 1.000 s>"
    timer.cancel()
    assert repr(timer) == "<Timer, done>"


# Again and again ----------------------------------------------------------------------------


def every(timers: Timers, interval: float, *args: Any) -> Timer:
    when = timers.clock() + interval
    return timers.add(timers.new(when, nothing, args, interval))


def test_the_times_are_multiples_of_the_interval_from_the_start(
    timers: Timers, clock: FakeClock
) -> None:
    every(timers, 0.1, "tick")
    for number in range(1, 1001):
        when = timers.next()
        assert when == pytest.approx(number * 0.1, abs=1e-9)
        clock.now = when + 0.03  # each is late, but that does not add up
        assert due(timers, clock()) == ["tick"]


def test_missed_ones_are_left_out(timers: Timers, clock: FakeClock) -> None:
    every(timers, 2.0, "tick")
    clock.now = 9.0
    assert due(timers, clock()) == ["tick"]
    assert (len(timers), timers.next()) == (1, 10.0)


def test_those_that_the_callback_took_the_time_of_are_left_out(
    timers: Timers, clock: FakeClock
) -> None:
    timer = every(timers, 2.0)
    clock.now = 2.0
    with handing_out(timers, clock()) as callbacks:
        for _ in callbacks:
            assert timer.when == 4.0
            clock.now = 9.0
    assert (timers.next(), entries(timers)) == (10.0, 1)


def test_a_callback_may_cancel_its_own_repetition(timers: Timers, clock: FakeClock) -> None:
    timer = every(timers, 2.0)
    clock.now = 2.0
    with handing_out(timers, clock()) as callbacks:
        for _ in callbacks:
            assert timer.active
            timer.cancel()
    assert not timer.active and timers.next() is None and len(timers) == 0


def test_a_callback_may_put_its_repetition_off(timers: Timers, clock: FakeClock) -> None:
    timer = every(timers, 2.0, "tick")
    clock.now = 2.0
    with handing_out(timers, clock()) as callbacks:
        for _ in callbacks:
            timer.reset(0.5)
    assert timers.next() == 2.5
    clock.now = 2.5
    assert due(timers, 2.5) == ["tick"]
    assert timers.next() == 4.5
    timer.reset()
    assert timers.next() == 4.5 and timer.interval == 2.0


def test_a_repetition_goes_on_if_an_exception_leaves(timers: Timers, clock: FakeClock) -> None:
    every(timers, 2.0, "tick")
    clock.now = 2.0
    with pytest.raises(asynccore.ExitNow), handing_out(timers, clock()) as callbacks:
        next(callbacks)
        raise asynccore.ExitNow
    assert (len(timers), timers.next()) == (1, 4.0)


@pytest.mark.parametrize("interval", [1e-300, 5e-324, 1e-9])
def test_an_interval_too_small_for_the_clock_still_moves_on(interval: float) -> None:
    clock = FakeClock(1e9)
    timers = Timers(clock)
    every(timers, interval, "tick")
    assert due(timers, clock()) == ["tick"]
    when = timers.next()
    assert when is not None and when > clock()


def test_an_infinite_interval_is_never(timers: Timers) -> None:
    timer = every(timers, math.inf)
    assert due(timers, 1e300) == []
    timer.reset(1.0)
    timers.clock.advance(1.0)  # type: ignore[attr-defined]
    with handing_out(timers, 1.0) as callbacks:
        assert len(list(callbacks)) == 1
    assert timers.next() == math.inf


def test_repr_tells_the_interval(timers: Timers) -> None:
    timer = every(timers, 2.5)
    assert repr(timer) == "<Timer nothing in 2.500 s, every 2.5 s>"
    timer.reset(1.0)
    assert repr(timer) == "<Timer nothing in 1.000 s, every 2.5 s>"


def test_one_that_does_not_repeat_has_no_next_time(timers: Timers) -> None:
    timer = timers.call_later(0.0, nothing)
    timer._skip_to_next()
    assert timer.when == 0.0 and timer.interval is None


# What is due --------------------------------------------------------------------------------


def test_those_made_meanwhile_wait_for_the_next_time(timers: Timers) -> None:
    for tag in ("a", "b"):
        timers.call_at(0.0, nothing, tag)
    found = []
    with handing_out(timers, 0.0) as callbacks:
        for _, args in callbacks:
            found += args
            timers.call_at(-5.0, nothing, f"made by {args[0]}")
    assert found == ["a", "b"]
    assert due(timers, 0.0) == ["made by a", "made by b"]


@pytest.mark.parametrize("reached", [0, 1, 2])
def test_those_not_reached_because_of_an_exception_stay(timers: Timers, reached: int) -> None:
    for number in range(4):
        timers.call_at(float(number), nothing, number)
    found: list[int] = []
    with pytest.raises(ZeroDivisionError), handing_out(timers, 3.0) as callbacks:
        if reached == 0:
            raise ZeroDivisionError
        for _, (number,) in callbacks:
            found.append(number)
            if len(found) == reached:
                raise ZeroDivisionError
    assert found == list(range(reached))
    assert (len(timers), timers.next()) == (4 - reached, float(reached))
    assert due(timers, 3.0) == list(range(reached, 4))


def test_those_not_reached_may_have_been_cancelled_or_put_off(timers: Timers) -> None:
    _, cancelled, put_off, _ = [timers.call_at(0.0, nothing, number) for number in range(4)]
    with pytest.raises(ZeroDivisionError), handing_out(timers, 0.0) as callbacks:
        next(callbacks)
        cancelled.cancel()
        put_off.reset(7.0)
        raise ZeroDivisionError
    assert len(timers) == 2
    assert due(timers, 6.0) == [3]
    assert (len(timers), timers.next()) == (1, 7.0)
    assert due(timers, 7.0) == [2]


def test_what_another_loop_handed_out_is_not_handed_out_again(timers: Timers) -> None:
    """A callback runs a loop of its own, which looks for timers as well."""
    for tag in ("outer", "then"):
        timers.call_at(0.0, nothing, tag)
    with handing_out(timers, 0.0) as callbacks:
        assert next(callbacks)[1] == ("outer",)
        timers.call_at(0.0, nothing, "made")
        inner = due(timers, 0.0)
        assert "made" in inner and "outer" not in inner
        assert sorted(inner + [tag for _, (tag,) in callbacks]) == ["made", "then"]
    assert len(timers) == 0


# Memory -------------------------------------------------------------------------------------


def entries(timers: Timers) -> int:
    return len(timers.heap)


def test_cancelled_timers_do_not_pile_up(timers: Timers) -> None:
    for tag in range(10):
        timers.call_later(50.0, nothing, tag)
    most = 0
    for _ in range(100_000):
        timers.call_later(60.0, nothing).cancel()
        most = max(most, entries(timers))
    assert most <= 150
    assert due(timers, 60.0) == list(range(10))


def test_many_timers_are_cancelled_and_leave_nothing(timers: Timers) -> None:
    """Each rebuild of the heap is paid for: the work is linear, so this goes for millions too."""
    rebuilds = 0
    looked_at = 0

    class Counted(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            nonlocal rebuilds, looked_at
            rebuilds += 1
            looked_at += len(self)
            return super().__iter__()

    total = 200_000
    many = [timers.call_later(60.0, nothing) for _ in range(total)]
    assert len(timers) == entries(timers) == total
    timers.heap = Counted(timers.heap)
    while many:
        many.pop().cancel()
        if type(timers.heap) is not Counted:
            timers.heap = Counted(timers.heap)
    assert len(timers) == 0 and timers.next() is None
    assert entries(timers) == 0
    assert looked_at <= 2 * total and rebuilds < 40


def test_cancelling_most_of_many_frees_them(timers: Timers) -> None:
    many = [timers.call_later(60.0, nothing, tag) for tag in range(10_000)]
    for timer in many[100:]:
        timer.cancel()
        assert entries(timers) <= max(2 * len(timers) + 1, 250)
    assert due(timers, 60.0) == list(range(100))


def test_putting_off_keeps_one_entry(timers: Timers, clock: FakeClock) -> None:
    timer = timers.call_later(60.0, nothing)
    for _ in range(1_000):
        clock.advance(1.0)
        timer.reset()
        timers.next()
        assert entries(timers) == 1
    assert timers.next() == clock() + 60.0


def test_resetting_to_earlier_and_later_does_not_pile_up(timers: Timers) -> None:
    timer = timers.call_later(1.0, nothing, "reset")
    timers.call_later(500.0, nothing)
    for _ in range(1_000):
        timer.reset(1000.0)
        timers.next()
        timer.reset(1.0)
        timers.next()
    assert len(timers) == 2
    assert entries(timers) <= 202
    assert due(timers, 1.0) == ["reset"]
    assert len(timers) == 1


def test_clearing_in_the_middle_of_a_reset_keeps_the_count(timers: Timers) -> None:
    """The entry that is being replaced is a dead one too."""
    timer = timers.call_at(1e6, nothing)
    for number in range(1_000):
        timer.reset(1e5 - number)
        assert len(timers) == 1
    timer.cancel()
    assert timers.next() is None
    assert (len(timers), entries(timers)) == (0, 0)


@pytest.mark.parametrize("how", [Timer.cancel, lambda timer: None], ids=["cancelled", "ran"])
def test_a_timer_lets_its_callback_go(timers: Timers, how: Callable[[Timer], object]) -> None:
    class Callback:
        def __call__(self) -> None: ...

    callback = Callback()
    gone = weakref.ref(callback)
    timer = timers.call_later(1.0, callback)
    del callback
    how(timer)
    with handing_out(timers, 1.0) as callbacks:
        for what, _ in callbacks:
            what()
            del what
    gc.collect()
    assert gone() is None
    assert timer.active is False


def test_pending_are_those_that_are_still_to_run() -> None:
    clock = FakeClock()
    timers = Timers(clock)
    first, second, third = (timers.call_later(delay, print) for delay in (1.0, 2.0, 3.0))
    second.cancel()
    third.reset(5.0)
    assert {first, third} == set(timers.pending())
    assert timers.pending().count(third) == 1
    third.reset(0.5)  # put forward: its entry of before is still in the heap
    assert sorted(timers.pending(), key=id) == sorted([first, third], key=id)
    clock.advance(1.0)
    with handing_out(timers, clock()) as due:
        assert len(timers.pending()) == 2  # though both have been taken out of the heap
        next(due)
        assert timers.pending() == [first]
