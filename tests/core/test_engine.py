"""The engine: how long it waits, what it delivers, and what it survives."""

from __future__ import annotations

import copy
import errno
import gc
import math
import os
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asynccore
from asynccore import ChannelMap, dispatcher, loop, pollers
from asynccore.engine import Engine, engine_for
from asynccore.engine.engine import _LONGEST_WAIT, give_engine
from asynccore.engine.interest import REVIEW_INTERVAL
from asynccore.pollers import ERROR, EVENTS_PER_PASS, HANGUP, INVALID, PRIORITY, READ, WRITE
from asynccore.testing import FakeClock, Fakes, RecordingPoller, engine_with_fakes
from tests.conftest import open_descriptors
from tests.core.fakes import PATIENT, Channel, FakeSocket, Quiet

LONG = 30.0


def idle(fakes: Fakes, fd: int = 1000) -> Quiet:
    """A channel that keeps the loop going."""
    return Quiet(fd, fakes.engine.map)


def run(fakes: Fakes, timeout: float | None = 0.0) -> list[float | None]:
    """Run one pass; return its waits."""
    before = len(fakes.poller.waits)
    fakes.engine.run_pass(timeout)
    return fakes.poller.waits[before:]


def stir(fakes: Fakes) -> None:
    fakes.engine.call_soon_threadsafe(lambda: None)
    run(fakes)


def bounded(limit: int = 1000) -> Callable[[], None]:
    """A function that may be called so often; then it leaves the loop."""
    calls = [0]

    def count() -> None:
        calls[0] += 1
        if calls[0] > limit:
            raise asynccore.ExitNow("it would never end")

    return count


# How long it waits --------------------------------------------------------------------------


def test_an_idle_pass_sleeps_its_whole_timeout_at_once(any_fakes: Fakes) -> None:
    idle(any_fakes)
    assert run(any_fakes, 30.0) == [30.0]
    assert any_fakes.clock() == 1030.0
    assert run(any_fakes, 0) == [0]
    with pytest.raises(AssertionError, match="waits for ever"):
        run(any_fakes, None)
    assert any_fakes.poller.waits[-1] is None


def test_a_pass_ends_with_the_next_timer(any_fakes: Fakes) -> None:
    idle(any_fakes)
    ran: list[float] = []
    for delay in (5.0, 2.0, 40.0):
        any_fakes.engine.timers.call_later(delay, lambda: ran.append(any_fakes.clock() - 1000.0))
    assert run(any_fakes, 30.0)[0] == 2.0
    assert ran == [2.0]
    loop(30.0, map=any_fakes.engine.map, count=2)
    assert ran == [2.0, 5.0]


@settings(PATIENT, max_examples=60)
@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=12),
    st.floats(0, 15),
    st.lists(st.floats(0, 30), max_size=4),
)
def test_a_wait_neither_overshoots_nor_spins(
    delays: list[float], timeout: float, events: list[float]
) -> None:
    map = ChannelMap()
    engine, clock, poller = engine_with_fakes(map)
    Quiet(1000, map)
    for after in sorted(events):
        poller.report((1000, READ), after=after)
    ran = []
    due = []
    for delay in delays:
        when = clock() + delay
        due.append(when)
        engine.timers.call_at(when, lambda when=when: ran.append((when, clock())))
    # Rounding may cost a second look at the same time, more would be spinning.
    most = 4 * (len(delays) + len(events) + 20 / max(timeout, 0.1) + 25)
    end = clock() + 20.0
    while clock() < end and len(poller.waits) < most:
        engine.run_pass(max(timeout, 0.1))
    assert len(poller.waits) < most
    assert [when for when, _ in ran] == sorted(due)
    for when, at in ran:
        assert when <= at <= when + 1e-6 * when
    map.clear()
    engine.drop_wakeup()


def test_a_due_timer_does_not_keep_events_out(any_fakes: Fakes) -> None:
    channel = idle(any_fakes)
    any_fakes.engine.timers.call_later(0, lambda: channel.log.append("timer"))
    any_fakes.poller.report((1000, READ))
    run(any_fakes, 30.0)
    assert channel.log == ["read", "timer"]


def test_after_something_ran_everything_is_reviewed_once(any_fakes: Fakes) -> None:
    """Then the idle loop sleeps the whole rest."""
    channel = idle(any_fakes)
    asked: list[float] = []
    any_fakes.poller.report((1000, READ))
    run(any_fakes, 30.0)
    verified: list[int] = []
    any_fakes.poller.verify = lambda fd: not verified.append(fd)  # type: ignore[method-assign]
    assert run(any_fakes, 30.0) == [1.0, 29.0]
    assert verified.count(1000) == 1
    assert run(any_fakes, 30.0) == [30.0]
    assert verified.count(1000) == 1
    assert channel.log == ["read"] and asked == []


def test_under_load_a_review_comes_once_a_second(any_fakes: Fakes) -> None:
    idle(any_fakes)
    verified: list[float] = []

    def verify(fd: int) -> bool:
        if fd == 1000:
            verified.append(any_fakes.clock() - 1000.0)
        return True

    any_fakes.poller.verify = verify  # type: ignore[method-assign]
    for number in range(1, 51):
        any_fakes.poller.report((1000, READ), after=number / 10)
    while any_fakes.clock() < 1005.0:
        run(any_fakes, 30.0)
    assert len(verified) in (4, 5)
    assert all(b - a >= REVIEW_INTERVAL - 1e-9 for a, b in pairwise(verified))


def test_nothing_is_waited_for_while_a_call_waits(any_fakes: Fakes) -> None:
    idle(any_fakes)
    engine = any_fakes.engine
    ran: list[int] = []

    def again() -> None:
        ran.append(1)
        if len(ran) < 3:
            engine.call_soon_threadsafe(again)

    engine.call_soon_threadsafe(again)
    assert run(any_fakes, 30.0) == [0]
    assert ran == [1, 1]


def test_calls_that_call_for_themselves_do_not_keep_events_out(any_fakes: Fakes) -> None:
    channel = idle(any_fakes)
    engine = any_fakes.engine
    limit = bounded()

    def again() -> None:
        limit()
        engine.call_soon_threadsafe(again)

    again()
    any_fakes.poller.report((1000, READ))
    run(any_fakes, 30.0)
    assert channel.log == ["read"]
    assert len(engine.calls) == 1


@pytest.mark.parametrize("delay", [0.0, -5.0], ids=["now", "in the past"])
def test_timers_that_are_due_again_at_once_do_not_keep_events_out(
    any_fakes: Fakes, delay: float
) -> None:
    channel = idle(any_fakes)
    engine = any_fakes.engine
    limit = bounded()
    others: list[int] = []
    engine.timers.call_later(0, others.append, 1)

    def again() -> None:
        limit()
        engine.timers.call_later(delay, again)

    again()
    any_fakes.poller.report((1000, READ))
    for _ in range(3):
        run(any_fakes, 30.0)
    assert channel.log == ["read"]
    assert others == [1]


# What it delivers ---------------------------------------------------------------------------

BOTH = READ | WRITE


@pytest.mark.parametrize(
    ("wants", "mask", "log"),
    [
        ("r", READ, ["read"]),
        ("w", WRITE, ["write"]),
        ("rw", BOTH, ["read", "write"]),
        ("r", PRIORITY, ["expt"]),
        ("rw", BOTH | PRIORITY, ["read", "write", "expt"]),
        # As select(2) has it: a hang-up is readable, an error is both.
        ("r", HANGUP, ["read"]),
        ("r", READ | HANGUP, ["read"]),
        ("r", ERROR, ["read"]),
        ("rw", HANGUP, ["read", "write"]),
        ("rw", ERROR | HANGUP, ["read", "write"]),
        ("w", HANGUP, ["write"]),
        ("w", ERROR, ["write"]),
        # Nobody asked.
        ("r", WRITE, []),
        ("rw", INVALID, ["close"]),
    ],
)
def test_readiness_means_what_select_says(
    any_fakes: Fakes, wants: str, mask: int, log: list[str]
) -> None:
    channel = any_fakes.engine.map[1000] = Channel("r" in wants, "w" in wants)
    any_fakes.engine.map[1001] = Channel()
    run(any_fakes)
    any_fakes.poller.report((1000, mask))
    run(any_fakes)
    assert channel.log == log


@pytest.mark.parametrize("mask", [HANGUP, ERROR | HANGUP, WRITE | HANGUP])
@pytest.mark.parametrize("state", ["connected", "connecting", "datagram", "never connected"])
def test_a_hang_up_ends_a_channel_that_never_reads_and_was_never_connected(
    any_fakes: Fakes, state: str, mask: int
) -> None:
    class WriteOnly(dispatcher):
        def readable(self) -> bool:
            return False

        def handle_write(self) -> None:
            log.append("write")

        def handle_connect(self) -> None:
            log.append("connect")

        def handle_close(self) -> None:
            log.append("close")
            self.close()

    log: list[str] = []
    sock = FakeSocket(1000, receives=[OSError(errno.ENOTCONN, "not connected")])
    sock.peer = OSError(errno.ENOTCONN, "not connected")
    sock.kind = socket.SOCK_DGRAM if state == "datagram" else socket.SOCK_STREAM
    channel = WriteOnly(sock, any_fakes.engine.map)
    channel.connected = state == "connected"
    channel.connecting = state == "connecting"
    any_fakes.engine.map[1001] = Channel()
    run(any_fakes)
    any_fakes.poller.report((1000, mask))
    run(any_fakes)
    first = ["connect"] if state == "connecting" else []
    assert log == [*first, "write"] + ["close"] * (state == "never connected")
    channel.close()


def test_a_hang_up_is_no_more_than_readiness_to_a_channel_of_another_kind(
    any_fakes: Fakes,
) -> None:
    channel: Any = Channel(False, True)
    channel.connected = channel.connecting = False
    any_fakes.engine.map[1000] = channel
    run(any_fakes)
    any_fakes.poller.report((1000, HANGUP))
    run(any_fakes)
    assert channel.log == ["write"]


@pytest.mark.parametrize("first", ["read", "write"])
def test_the_rest_of_an_event_is_dropped_once_the_channel_is_gone(
    any_fakes: Fakes, first: str
) -> None:
    channel = any_fakes.engine.map[1000] = Channel(True, True)
    any_fakes.engine.map[1001] = Channel()

    def leave() -> None:
        del any_fakes.engine.map[1000]

    setattr(channel, f"on_{first}", leave)
    run(any_fakes)
    any_fakes.poller.report((1000, BOTH | PRIORITY))
    run(any_fakes)
    assert channel.log == ["read", "write"][: 1 if first == "read" else 2]


def test_the_last_part_of_an_event_may_take_the_channel_out(any_fakes: Fakes) -> None:
    class Leaves(Channel):
        def handle_expt_event(self) -> None:
            super().handle_expt_event()
            del any_fakes.engine.map[1000]

    channel: Any = Leaves(False, True)
    channel.connected = False
    any_fakes.engine.map.update({1000: channel, 1001: Channel()})
    run(any_fakes)
    any_fakes.poller.report((1000, PRIORITY | HANGUP))
    run(any_fakes)
    assert channel.log == ["write", "expt"]


def test_the_rest_of_an_event_is_not_for_a_successor(any_fakes: Fakes) -> None:
    map = any_fakes.engine.map
    channel, successor = Channel(True, True), Channel(True, True)
    map[1000] = channel
    channel.on_read = lambda: map.__setitem__(1000, successor)
    run(any_fakes)
    any_fakes.poller.report((1000, BOTH))
    run(any_fakes)
    assert (channel.log, successor.log) == (["read"], [])


@pytest.mark.parametrize("kind", [Quiet, Channel])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_stale_event_reaches_nobody(any_fakes: Fakes, kind: Any, how: str) -> None:
    map = any_fakes.engine.map
    first, second, successor = Channel(), Channel(), Channel()
    if kind is Quiet:
        first, second, successor = Quiet(1000, map), Quiet(1001, map), Quiet(1002, map)
    map.update({1000: first, 1001: second})

    def act() -> None:
        del map[1001]
        if how == "replaced":
            map[1001] = successor

    first.on_read = act
    run(any_fakes)
    any_fakes.poller.report((1000, READ), (1001, READ))
    run(any_fakes)
    assert (first.log, second.log, successor.log) == (["read"], [], [])


@pytest.mark.parametrize("mask", [READ, BOTH])
@pytest.mark.parametrize("kind", [Quiet, Channel])
def test_what_a_handler_raises_goes_to_handle_error(any_fakes: Fakes, kind: Any, mask: int) -> None:
    map = any_fakes.engine.map
    channel = Quiet(1000, map, wants_write=mask == BOTH) if kind is Quiet else Channel(True, True)
    other = map[1001] = Channel()
    map[1000] = channel

    def fail() -> None:
        raise ZeroDivisionError("oops")

    channel.on_read = fail
    run(any_fakes)
    any_fakes.poller.report((1000, mask), (1001, READ))
    run(any_fakes)
    assert channel.log == ["read", "error ZeroDivisionError('oops')"]
    assert other.log == ["read"]


@pytest.mark.parametrize("why", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("kind", [Quiet, Channel])
def test_what_leaves_the_loop_leaves_it(any_fakes: Fakes, kind: Any, why: Any) -> None:
    map = any_fakes.engine.map
    channel = Quiet(1000, map) if kind is Quiet else Channel()
    map[1000] = channel

    def leave() -> None:
        raise why

    channel.on_read = leave
    run(any_fakes)
    any_fakes.poller.report((1000, READ))
    with pytest.raises(why):
        run(any_fakes)
    assert channel.log == ["read"]
    assert any_fakes.engine.owner is None
    assert map[1000] is channel


def test_what_handle_error_raises_comes_out(any_fakes: Fakes) -> None:
    class Failing(Channel):
        def handle_error(self) -> None:
            raise

    channel = any_fakes.engine.map[1000] = Failing()

    def fail() -> None:
        raise ZeroDivisionError

    channel.on_read = fail
    run(any_fakes)
    any_fakes.poller.report((1000, READ))
    with pytest.raises(ZeroDivisionError):
        run(any_fakes)


# Batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["poll", "loop"])
@pytest.mark.parametrize("kind", [Quiet, Channel])
def test_a_nested_loop_ends_the_batch(any_fakes: Fakes, kind: Any, inner: str) -> None:
    """The events that are left may be out of date; what is still ready is reported again."""
    map = any_fakes.engine.map
    channels = {fd: Quiet(fd, map) if kind is Quiet else Channel() for fd in (1000, 1001)}
    map.update(channels)

    def nested() -> None:
        channels[1000].on_read = lambda: None
        if inner == "poll":
            asynccore.poll(0, map)
        else:
            loop(0, map=map, count=1)

    channels[1000].on_read = nested
    run(any_fakes)
    any_fakes.poller.report((1000, READ), (1001, READ))
    run(any_fakes)
    assert channels[1001].log == []
    any_fakes.poller.report((1001, READ))
    run(any_fakes)
    assert channels[1001].log == ["read"]


def test_a_nested_loop_ends_an_event(any_fakes: Fakes) -> None:
    map = any_fakes.engine.map
    channel = map[1000] = Channel(True, True)
    channel.on_read = lambda: asynccore.poll(0, map)
    run(any_fakes)
    any_fakes.poller.report((1000, BOTH))
    run(any_fakes)
    assert channel.log == ["read"]


def test_a_nested_loop_in_a_call_or_a_timer(any_fakes: Fakes) -> None:
    idle(any_fakes)
    engine = any_fakes.engine
    ran: list[str] = []

    def nested(name: str) -> None:
        ran.append(name)
        asynccore.poll(0, engine.map)

    for name in ("a", "b", "c"):
        engine.call_soon_threadsafe(nested, name)
        engine.timers.call_later(0, nested, f"timer {name}")
    run(any_fakes)
    assert sorted(ran) == ["a", "b", "c", "timer a", "timer b", "timer c"]


def test_a_timer_that_runs_a_loop_does_not_hold_the_others_up(any_fakes: Fakes) -> None:
    """Due at the same time, for which the inner loop may be waiting."""
    idle(any_fakes)
    engine = any_fakes.engine
    done: list[int] = []
    seen: list[bool] = []

    def nested() -> None:
        for _ in range(3):
            if not done:
                asynccore.poll(1.0, engine.map)
        seen.append(bool(done))

    engine.timers.call_later(1.0, nested)
    engine.timers.call_later(1.0, done.append, 1)
    run(any_fakes, 30.0)
    assert seen == [True]
    assert done == [1]


def test_at_most_64_events_in_a_pass(any_fakes: Fakes) -> None:
    map = any_fakes.engine.map
    channels = [Quiet(fd, map) for fd in range(1000, 1100)]
    run(any_fakes)
    any_fakes.poller.report(*((fd, READ) for fd in range(1000, 1100)))
    before = any_fakes.engine.events
    run(any_fakes, 30.0)
    assert EVENTS_PER_PASS == any_fakes.engine.events - before == 64
    assert sum(len(channel.log) for channel in channels) == 64
    run(any_fakes, 30.0)
    assert all(channel.log == ["read"] for channel in channels)


def test_at_most_64_events_in_a_pass_of_any_poller(poller_name: str) -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    channels = [Quiet(end.fileno(), map) for end in (mine, other)]
    ends = [mine.dup() for _ in range(100)]
    other.send(b"x")
    channels = [Quiet(end.fileno(), map) for end in ends]
    try:
        loop(0, map=map, count=1, poller=poller_name)
        assert sum(len(channel.log) for channel in channels) <= 64
        loop(0, map=map, count=5)
        assert all(channel.log for channel in channels)
    finally:
        map.clear()
        engine_for(map).run_pass(0)
        for end in [mine, other, *ends]:
            end.close()


def test_an_event_of_an_unknown_descriptor_makes_a_new_poller(
    any_fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A duplicate of a closed descriptor, which keeps sending under a number of the past."""
    engine, clock, poller = any_fakes
    channel = idle(any_fakes)
    run(any_fakes)
    made: list[RecordingPoller] = []

    def make(name: str) -> RecordingPoller:
        assert name == "recording"
        made.append(RecordingPoller(clock))
        return made[-1]

    monkeypatch.setattr(pollers, "make", make)
    poller.report((1234, READ), (1000, READ))
    run(any_fakes)
    (new,) = made
    assert poller.closed and engine.poller is new
    new.report((1000, READ))
    engine.run_pass(0)
    assert new.interest[1000] == READ | PRIORITY
    assert "read" in channel.log


@pytest.mark.skipif(sys.platform != "linux", reason="only epoll(7) keeps duplicates")
def test_a_duplicate_that_lives_on_does_not_make_epoll_spin() -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    keeper = Quiet(other.fileno(), map)
    engine = engine_for(map)
    fd = os.dup(mine.fileno())
    channel = Quiet(fd, map)
    loop(0, map=map, count=1)
    # Closed behind our back, and forgotten too late: `mine` is the same description.
    os.close(fd)
    channel.del_channel()
    other.send(b"x")
    before = engine.poller
    for _ in range(3):
        engine.run_pass(0)
    assert engine.poller is not before
    events = engine.events
    engine.run_pass(0)
    assert engine.events == events
    assert keeper.log == []
    map.clear()
    engine.run_pass(0)
    mine.close()
    other.close()


def test_an_event_for_what_a_handler_closed_makes_no_new_poller(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    map = engine.map
    first, second = Quiet(1000, map), Quiet(1001, map)
    first.on_read = second.close
    run(any_fakes)
    poller.report((1000, READ), (1001, READ))
    run(any_fakes)
    assert second.log == []
    assert engine.poller is poller


def test_an_event_for_interest_without_a_channel_is_taken_out(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    idle(any_fakes)
    run(any_fakes)
    poller.set(1234, READ)
    poller.report((1234, READ))
    run(any_fakes)
    assert 1234 not in poller.interest
    assert engine.poller is poller


# Calls and timers ---------------------------------------------------------------------------


def schedule(fakes: Fakes, how: str, callback: Callable[..., object], *args: Any) -> None:
    map = fakes.engine.map
    if how == "call_later":
        asynccore.call_later(1.0, callback, *args, map=map)
    elif how == "call_at":
        asynccore.call_at(fakes.clock() + 1.0, callback, *args, map=map)
    else:
        asynccore.call_soon_threadsafe(callback, *args, map=map)


HOW = pytest.mark.parametrize("how", ["call_later", "call_at", "call_soon_threadsafe"])


@HOW
def test_a_callback_gets_its_arguments_once(any_fakes: Fakes, how: str) -> None:
    idle(any_fakes)
    got: list[Any] = []
    schedule(any_fakes, how, lambda *args: got.append(args), 1, "two")
    for _ in range(3):
        run(any_fakes, 2.0)
    assert got == [(1, "two")]


@HOW
def test_what_a_callback_raises_is_reported_and_the_loop_goes_on(
    any_fakes: Fakes, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    idle(any_fakes)
    done: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError("in a callback")

    schedule(any_fakes, how, fail)
    schedule(any_fakes, how, done.append, 1)
    run(any_fakes, 2.0)
    assert done == [1]
    err = capsys.readouterr().err
    assert "uncaptured python exception in callback" in err
    assert "fail" in err and "ZeroDivisionError: in a callback" in err


@HOW
@pytest.mark.parametrize("why", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
def test_exit_now_leaves_a_callback_and_the_others_are_kept(
    any_fakes: Fakes, how: str, why: Any
) -> None:
    idle(any_fakes)
    done: list[int] = []

    def leave() -> None:
        raise why

    schedule(any_fakes, how, leave)
    schedule(any_fakes, how, done.append, 1)
    with pytest.raises(why):
        run(any_fakes, 2.0)
    assert done == []
    run(any_fakes, 2.0)
    assert done == [1]


def test_a_timer_may_cancel_or_put_off_one_that_is_due_too(any_fakes: Fakes) -> None:
    idle(any_fakes)
    timers = any_fakes.engine.timers
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        doomed.cancel()
        later.reset(5.0)

    timers.call_later(1.0, first)
    doomed = timers.call_later(1.0, ran.append, "doomed")
    later = timers.call_later(1.0, ran.append, "later")
    run(any_fakes, 2.0)
    assert ran == ["first"]
    assert later.active and not doomed.active
    loop(10.0, map=any_fakes.engine.map, count=3)
    assert ran == ["first", "later"]


def test_a_timer_is_done_while_its_callback_runs(any_fakes: Fakes) -> None:
    idle(any_fakes)
    seen: list[Any] = []

    def callback() -> None:
        seen.append(timer.active)
        with pytest.raises(RuntimeError):
            timer.reset()
        timer.cancel()

    timer = any_fakes.engine.timers.call_later(1.0, callback)
    run(any_fakes, 2.0)
    assert seen == [False]
    assert len(any_fakes.engine.timers) == 0


def test_a_call_from_another_thread_ends_a_wait(poller_name: str) -> None:
    map: dict[int, Any] = {}
    mine, other = socket.socketpair()
    channel = Quiet(mine.fileno(), map)
    waits = threading.Event()
    ran: list[int] = []

    def from_elsewhere() -> None:
        assert waits.wait(LONG)
        asynccore.call_soon_threadsafe(lambda: ran.append(threading.get_ident()), map=map)
        asynccore.call_later(0, asynccore.stop, map=map)

    thread = threading.Thread(target=from_elsewhere)
    thread.start()
    asynccore.call_soon_threadsafe(waits.set, map=map)
    loop(None, map=map, poller=poller_name)
    thread.join(LONG)
    assert ran == [threading.get_ident()]
    map.clear()
    engine_for(map).run_pass(0)
    del channel
    mine.close()
    other.close()


def test_channels_added_removed_and_touched_elsewhere_are_noticed_in_a_wait() -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    added, source = socket.socketpair()
    Quiet(mine.fileno(), map)
    source.send(b"x")

    def from_elsewhere() -> None:
        late.__init__(added.fileno(), map)  # type: ignore[misc]
        assert got.wait(LONG)
        late.touch()
        late.close()
        assert gone.wait(LONG)
        asynccore.stop(map=map)

    got, gone = threading.Event(), threading.Event()

    class Late(Quiet):
        def handle_read_event(self) -> None:
            got.set()

        def del_channel(self, map: Any = None) -> None:
            super().del_channel(map)
            gone.set()

    late = Late.__new__(Late)
    thread = threading.Thread(target=from_elsewhere)
    asynccore.call_soon_threadsafe(thread.start, map=map)
    loop(None, map=map)
    thread.join(LONG)
    assert added.fileno() not in map
    map.clear()
    engine_for(map).run_pass(0)
    for end in (mine, other, added, source):
        end.close()


def test_a_map_may_be_changed_by_another_thread_during_a_pass(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel, doomed = idle(any_fakes), Channel()
    engine.map[1001] = doomed

    def change() -> None:
        del engine.map[1001]
        engine.map[1002] = Channel()
        channel.touch()

    def in_thread() -> None:
        thread = threading.Thread(target=change)
        thread.start()
        thread.join()

    channel.on_read = in_thread
    run(any_fakes)
    poller.report((1000, READ), (1001, READ))
    run(any_fakes)
    run(any_fakes)
    assert doomed.log == []
    assert 1001 not in poller.interest and poller.interest[1002] == READ | PRIORITY


needs_alarm = pytest.mark.skipif(
    not hasattr(signal, "setitimer"), reason="Windows has no interval timers"
)


@needs_alarm
def test_a_signal_handler_can_stop_a_loop(poller_name: str) -> None:
    """PEP 475: after the handler, the interrupted wait goes on."""
    map = ChannelMap()
    mine, other = socket.socketpair()
    Quiet(mine.fileno(), map)
    alarms = [0]

    def alarm(*args: object) -> None:
        alarms[0] += 1
        if alarms[0] > 20:
            raise AssertionError("stop() from a signal handler did not end the wait")
        asynccore.stop(map=map)

    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        loop(None, map=map, poller=poller_name)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        map.clear()
        engine_for(map).run_pass(0)
        mine.close()
        other.close()


# Loops and stopping -------------------------------------------------------------------------


def test_stop_ends_the_loop_after_its_pass(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    channel = idle(any_fakes)
    other = idle(any_fakes, 1001)
    channel.on_read = lambda: asynccore.stop(map=engine.map)
    poller.report((1000, READ), (1001, READ))
    loop(30.0, map=engine.map)
    assert (channel.log, other.log) == (["read"], ["read"])
    assert dict(engine.map) == {1000: channel, 1001: other}
    # And it may be run again.
    poller.report((1000, READ))
    loop(30.0, map=engine.map)
    assert channel.log == ["read", "read"]


def test_stop_before_a_loop_ends_the_next_one(any_fakes: Fakes) -> None:
    idle(any_fakes)
    asynccore.stop(map=any_fakes.engine.map)
    loop(30.0, map=any_fakes.engine.map)
    assert any_fakes.poller.waits == []
    loop(30.0, map=any_fakes.engine.map, count=1)
    assert any_fakes.poller.waits == [30.0]


def test_an_empty_map_gives_everything_back(poller_name: str) -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    channel = Quiet(mine.fileno(), map)
    other.send(b"x")
    channel.on_read = channel.close
    loop(LONG, map=map, poller=poller_name)
    assert map.engine.poller is None and map.engine.wakeup is None
    mine.close()
    other.close()


@pytest.mark.parametrize("threads", [False, True], ids=["alone", "beside a thread"])
def test_a_wakeup_is_made_at_the_first_pass(any_fakes: Fakes, threads: bool) -> None:
    idle(any_fakes)
    engine = any_fakes.engine
    assert engine.wakeup is None
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    if threads:
        thread.start()
    run(any_fakes)
    done.set()
    if threads:
        thread.join()
    assert engine.wakeup is not None
    fd = engine.wakeup.fileno()
    assert any_fakes.poller.interest[fd] == READ
    run(any_fakes)
    assert engine.wakeup.fileno() == fd


@pytest.mark.parametrize("how", ["close", "del_channel", "close_all"])
def test_what_empties_the_map_outside_of_a_pass_gives_everything_back(
    any_fakes: Fakes, how: str
) -> None:
    engine, _, poller = any_fakes
    first, second = idle(any_fakes), idle(any_fakes, 1001)
    run(any_fakes)
    if how == "close_all":
        asynccore.close_all(engine.map)
    else:
        getattr(first, how)()
        assert engine.wakeup is not None and not poller.closed
        getattr(second, how)()
    assert engine.wakeup is None and poller.closed and engine.poller is None


def test_what_empties_the_map_in_a_pass_gives_everything_back_at_its_end(
    any_fakes: Fakes,
) -> None:
    engine, _, poller = any_fakes
    channel = idle(any_fakes)
    states: list[bool] = []

    def leave() -> None:
        channel.close()
        states.append(poller.closed)

    channel.on_read = leave
    run(any_fakes)
    poller.report((1000, READ))
    run(any_fakes)
    assert states == [False]
    assert engine.wakeup is None and poller.closed and engine.poller is None


def test_the_poller_may_be_changed(fakes: Fakes) -> None:
    engine, _, poller = fakes
    engine.use(None)
    assert engine.poller is poller
    engine.use("recording")
    assert engine.poller is poller
    engine.make_wakeup()
    engine.use("select")
    assert poller.closed
    present = engine.poller
    assert present is not None and present.name == "select"
    assert engine.wakeup is not None and engine.wakeup.fileno() in present.interest


def test_a_failed_change_leaves_the_present_poller(fakes: Fakes) -> None:
    with pytest.raises(ValueError, match="unknown engine 'iocp'"):
        fakes.engine.use("iocp")
    assert fakes.engine.poller is fakes.poller and not fakes.poller.closed


# Engines and their maps ---------------------------------------------------------------------


def test_a_map_has_one_engine(any_map: Any) -> None:
    engine = engine_for(any_map)
    assert engine_for(any_map) is engine
    assert engine.map is any_map
    assert engine_for(ChannelMap()) is not engine


def test_two_threads_that_use_a_map_first_get_one_engine(
    any_map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    other = threading.Thread(target=lambda: found.append(engine_for(any_map)))
    make = Engine.__init__

    def slow(self: Engine, *args: Any) -> None:
        if not other.ident:
            other.start()
            other.join(0.05)  # it gets no further than to the one that is being made
        make(self, *args)

    monkeypatch.setattr(Engine, "__init__", slow)
    found.append(engine_for(any_map))
    other.join()
    assert found[0] is found[1]


def test_an_engine_of_a_plain_dict_lives_as_long_as_its_channels() -> None:
    map: dict[int, Any] = {}
    channel = Quiet(1000, map)
    ref = weakref.ref(engine_for(map))
    gc.collect()
    assert ref() is engine_for(map)
    map.clear()
    del channel
    gc.collect()
    assert ref() is None


def test_an_engine_stays_for_its_timers_and_calls() -> None:
    map: dict[int, Any] = {}
    ran: list[int] = []
    asynccore.call_soon_threadsafe(ran.append, 1, map=map)
    asynccore.call_later(0, ran.append, 2, map=map)
    gc.collect()
    map[1000] = Channel(False, False)
    asynccore.poll(0, map)
    ref = weakref.ref(engine_for(map))
    assert ran == [1, 2]
    gc.collect()
    map.clear()
    if (engine := ref()) is not None:
        engine.run_pass(0)
    del engine
    gc.collect()
    assert ref() is None


def test_an_engine_that_is_dropped_gives_its_descriptors_back() -> None:
    map: dict[int, Any] = {}
    mine, other = socket.socketpair()
    channel = Quiet(mine.fileno(), map)
    engine = engine_for(map)
    asynccore.poll(0, map)
    assert engine.wakeup is not None
    fd = engine.wakeup.fileno()
    map.clear()
    del engine, channel, map
    gc.collect()
    mine.close()
    other.close()
    try:
        os.close(fd)
    except OSError:
        return
    pytest.fail("the descriptor of the wake-up was left open")


@pytest.mark.parametrize("timers", [1, 3])
def test_cancelling_the_last_timer_of_a_plain_dict_lets_its_engine_go(timers: int) -> None:
    """Nothing else would: the map holds no channel any more, and there is no further pass."""
    before = open_descriptors()
    map: dict[int, Any] = {}
    mine, other = socket.socketpair()
    with mine, other:
        channel = Quiet(mine.fileno(), map)
        asynccore.poll(0, map)
        engine = weakref.ref(engine_for(map))
        waiting = [asynccore.call_later(100 + n, map.clear, map=map) for n in range(timers)]
        del channel
        map.clear()
        gc.collect()
    assert len(open_descriptors()) > len(before)
    for timer in waiting:
        assert engine() is not None
        timer.cancel()
    assert open_descriptors() == before
    del waiting, timer
    assert engine() is None


def test_cancelling_the_last_timer_in_a_pass_of_a_plain_dict() -> None:
    before = open_descriptors()
    map: dict[int, Any] = {}
    mine, other = socket.socketpair()
    with mine, other:
        Quiet(mine.fileno(), map)
        asynccore.poll(0, map)
        later = asynccore.call_later(100, map.clear, map=map)

        def end() -> None:
            map.clear()
            later.cancel()

        asynccore.call_soon_threadsafe(end, map=map)
        asynccore.poll(0, map)
    assert open_descriptors() == before


def test_an_engine_is_not_copied_or_pickled() -> None:
    assert copy.copy(engine_for(ChannelMap())) is None


def test_the_default_clock_is_monotonic() -> None:
    assert Engine({}).clock is asynccore.time.monotonic


@pytest.mark.parametrize("timeout", [None, math.inf, 1e30])
def test_a_wait_is_at_most_a_day_and_begun_anew(any_fakes: Fakes, timeout: float | None) -> None:
    channel = idle(any_fakes)
    any_fakes.engine.timers.call_later(3 * _LONGEST_WAIT, print)
    any_fakes.poller.report((1000, READ), after=2.5 * _LONGEST_WAIT)
    assert run(any_fakes, timeout) == [_LONGEST_WAIT] * 3
    assert channel.log == ["read"]
    assert any_fakes.clock() == 1000.0 + 2.5 * _LONGEST_WAIT


def test_a_longer_timeout_is_kept_to_the_second(any_fakes: Fakes) -> None:
    idle(any_fakes)
    assert run(any_fakes, _LONGEST_WAIT + 5.0) == [_LONGEST_WAIT, 5.0]


@pytest.mark.parametrize("timeout", [math.inf, 1e300])
def test_a_kernel_takes_any_timeout(poller_name: str, timeout: float) -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    channel = Quiet(mine.fileno(), map)
    other.send(b"x")
    loop(timeout, map=map, count=1, poller=poller_name)
    assert channel.log == ["read"]
    map.clear()
    mine.close()
    other.close()


def test_infinite_timeouts_and_times_are_no_error(any_fakes: Fakes) -> None:
    idle(any_fakes)
    any_fakes.engine.timers.call_at(math.inf, print)
    any_fakes.poller.report((1000, READ), after=5.0)
    run(any_fakes, 60.0)
    assert any_fakes.clock() == 1005.0


# Forks --------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork()")
def test_a_child_goes_on_without_disturbing_the_parent(poller_name: str) -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    channel = Quiet(mine.fileno(), map)
    engine = engine_for(map)
    engine.make_wakeup()
    loop(0, map=map, count=1, poller=poller_name)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert engine.poller is None and engine.wakeup is None
            other.send(b"x")
            loop(LONG, map=map, count=1)
            assert channel.log == ["read"]
            mine.recv(1)
            channel.close()
            loop(LONG, map=map)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    other.send(b"x")
    loop(LONG, map=map, count=1)
    assert channel.log == ["read"]
    map.clear()
    engine.run_pass(0)
    mine.close()
    other.close()


def test_after_a_fork_a_new_poller_is_told_everything(fakes: Fakes) -> None:
    """What the child does, without a child."""
    engine, clock, poller = fakes
    idle(fakes)
    run(fakes)
    engine.after_fork()
    assert engine.poller is None and engine.wakeup is None and poller.closed
    new = RecordingPoller(clock)
    engine.attach(new)
    engine.run_pass(0)
    assert new.interest[1000] == READ | PRIORITY
    engine.interest.poller = None
    engine.after_fork()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork()")
def test_a_fork_in_a_handler_ends_the_childs_batch(fakes: Fakes) -> None:
    engine, _, poller = fakes
    first, second = idle(fakes), idle(fakes, 1001)
    child: list[int] = []
    first.on_read = lambda: child.append(os.fork())
    run(fakes)
    poller.report((1000, READ), (1001, READ))
    status = 1
    try:
        run(fakes)
        if child == [0]:
            assert second.log == []
            assert engine.poller is None
            status = 0
    finally:
        if child == [0]:
            os._exit(status)
    assert os.waitpid(child[0], 0)[1] == 0
    assert second.log == ["read"]


def test_a_clock_of_ones_own() -> None:
    clock = FakeClock(5.0)
    engine = Engine(ChannelMap(), clock)
    assert engine.timers.call_later(1.0, print).when == 6.0
    assert isinstance(dispatcher(), dispatcher)


def test_a_loop_keeps_poller_and_wake_up_though_the_map_is_empty(fakes: Fakes) -> None:
    engine = fakes.engine
    engine.begin_loop(True)
    engine.call_soon_threadsafe(int)
    engine.run_pass(0)
    wakeup = engine.wakeup
    assert wakeup is not None and not engine.busy()
    engine.begin_loop(False)
    engine.end_loop(False)
    assert engine.wakeup is wakeup and engine.poller is fakes.poller
    engine.end_loop(True)
    assert engine.wakeup is None and engine.poller is None


def test_passes_can_be_made_within_something_else(fakes: Fakes) -> None:
    seen: list[Any] = []

    def within(engine: Engine, timeout: float | None) -> None:
        seen.append(timeout)
        engine.make_pass(timeout)
        seen.append("over")

    fakes.engine.within = within
    fakes.engine.call_soon_threadsafe(seen.append, "called")
    fakes.engine.run_pass(7.0)
    fakes.engine.within = None
    fakes.engine.call_soon_threadsafe(seen.append, "called")
    fakes.engine.run_pass(7.0)
    assert seen == [7.0, "called", "over", "called"]


# What others ask of an engine ---------------------------------------------------------------


def test_the_attributes_of_an_engine_are_found_quickly(fakes: Fakes) -> None:
    """From the thirtieth on, Python 3.11 to 3.13 need a tenth more for each timer."""
    assert len(vars(fakes.engine)) < 30


def test_times_that_are_watched_are_told_what_happens(fakes: Fakes) -> None:
    """By whatever has what `ActivityTimes` asks for, until the channel leaves."""

    class Times:
        active = sent = 0.0
        wanted: list[bool] = []

        def wants_to_write(self, wants: bool) -> None:
            self.wanted.append(wants)

    engine, clock, poller = fakes
    channel = engine.map[1000] = Channel()
    times = Times()
    engine.run_pass(0)
    engine.watch_times(1000, times)
    clock.advance(5)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert (times.active, times.sent) == (clock(), 0.0)
    channel.wants_write = True
    engine.run_pass(0)
    clock.advance(5)
    poller.report((1000, WRITE))
    engine.run_pass(0)
    assert times.active == times.sent == clock() and times.wanted == [True]
    del engine.map[1000]
    engine.map[1000] = channel
    clock.advance(5)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert times.active == clock() - 5


def test_what_has_just_entered_is_told_from_what_was_asked(fakes: Fakes) -> None:
    engine, _, _ = fakes
    assert not engine.has_just_entered(1000)
    engine.map[1000] = Channel()
    assert engine.has_just_entered(1000)
    engine.run_pass(0)
    assert not engine.has_just_entered(1000)


def test_a_released_engine_begins_anew(fakes: Fakes) -> None:
    engine, clock, poller = fakes
    channel = engine.map[1000] = Channel()
    engine.run_pass(0)
    del engine.map[1000]
    engine.release()
    assert poller.closed and engine.poller is None and engine.wakeup is None
    new = RecordingPoller(clock)
    engine.attach(new)
    engine.map[1000] = channel
    engine.run_pass(0)
    assert new.interest[1000] == READ | PRIORITY


def test_who_reports_need_not_be_asked(fakes: Fakes) -> None:
    class Own(dispatcher):
        def readable(self) -> bool:
            return self.addr is None

    engine, _, _ = fakes
    reports, asked = Quiet(1000, engine.map), Own(FakeSocket(1001), engine.map)
    engine.run_pass(0)
    assert engine.need_not_ask(1000, reports)
    assert not engine.need_not_ask(1001, asked)
    assert not engine.need_not_ask(1001, reports)  # another one is there
    reports.readable = lambda: True  # type: ignore[method-assign]
    assert not engine.need_not_ask(1000, reports)


def test_a_socket_that_must_wait_is_no_error(fakes: Fakes) -> None:
    class SSLWantWriteError(OSError):
        """As a TLS library raises it."""

    engine, _, poller = fakes
    channel = engine.map[1000] = Channel()
    channel.socket = LayeredByItsProgram(1000)  # type: ignore[attr-defined]
    engine.run_pass(0)
    assert not engine.must_wait(1000, channel, OSError("broken"), READ)
    engine.run_pass(0)
    assert poller.interest[1000] == READ
    assert engine.must_wait(1000, channel, SSLWantWriteError(), READ)
    engine.run_pass(0)
    assert poller.interest[1000] == WRITE


class LayeredByItsProgram(FakeSocket):
    def pending(self) -> int:
        return 0

    def do_handshake(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [ChannelMap, dict])
def test_what_may_change_unreported(with_fakes: Callable[[Any], Fakes], kind: Any) -> None:
    engine, _, _ = with_fakes(kind())
    # What enters an empty plain dict tells nobody.
    assert engine.may_change_unreported() is (kind is dict)
    Quiet(1000, engine.map)
    engine.run_pass(0)
    assert not engine.may_change_unreported()
    engine.map[1001] = Channel()  # its predicates are its own
    engine.run_pass(0)
    assert engine.may_change_unreported()


def test_an_engine_is_given_to_a_map_without_one(any_map: Any) -> None:
    engine = Engine(any_map)
    give_engine(any_map, engine)
    assert engine_for(any_map) is engine
    with pytest.raises(ValueError, match="has an engine already"):
        give_engine(any_map, Engine(any_map))
