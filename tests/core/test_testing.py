"""The parts for tests, tested."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, call_later, loop, testing
from asynccore.engine import engine_for
from asynccore.testing import FakeClock, Fakes, RecordingPoller, engine_with_fakes
from tests.core.fakes import Channel, Quiet


def test_a_fake_clock_moves_when_it_is_told_to() -> None:
    clock = FakeClock(5.0)
    assert clock() == clock() == 5.0
    clock.advance(1.5)
    assert clock() == clock.now == 6.5
    with pytest.raises(ValueError, match="0 seconds or more, not -1"):
        clock.advance(-1)
    with pytest.raises(ValueError):
        clock.advance(float("nan"))
    assert clock() == 6.5


# The poller ---------------------------------------------------------------------------------


@pytest.fixture
def poller() -> RecordingPoller:
    return RecordingPoller(FakeClock(0.0))


def test_interest_is_recorded(poller: RecordingPoller) -> None:
    poller.set(5, 1)
    poller.set(5, 5)
    poller.set(6, 0)
    poller.set(5, 0)
    assert poller.sets == [(5, 1), (5, 5), (5, 0)]
    assert poller.interest == {}


def test_a_wait_takes_its_time(poller: RecordingPoller) -> None:
    assert poller.wait(2.5) == []
    assert poller.wait(0) == []
    assert poller.clock() == 2.5
    with pytest.raises(AssertionError, match="waits for ever"):
        poller.wait(None)
    assert poller.waits == [2.5, 0, None]


def test_events_come_at_their_time(poller: RecordingPoller) -> None:
    poller.report((5, 1))
    poller.report((6, 4), (7, 1), after=3.0)
    poller.report((8, 1), after=1.0)
    assert poller.wait(10) == [(5, 1)]
    assert poller.wait(2) == [] and poller.clock() == 2.0
    assert poller.wait(None) == [(6, 4), (7, 1)] and poller.clock() == 3.0
    # Late, but in its turn.
    assert poller.wait(0) == [(8, 1)] and poller.clock() == 3.0


def test_a_wait_hands_out_64_events(poller: RecordingPoller) -> None:
    events = [(fd, 1) for fd in range(100)]
    poller.report(*events)
    assert poller.wait(0) == events[:64]
    assert poller.wait(0) == events[64:]
    assert poller.wait(0) == []


def test_a_loop_that_spins_is_found_out(poller: RecordingPoller) -> None:
    for _ in range(3):
        for _ in range(testing.SPINS):
            assert poller.wait(0) == []
        poller.report((5, 1))
        assert poller.wait(0) == [(5, 1)]
        for _ in range(testing.SPINS):
            assert poller.wait(0) == []
        assert poller.wait(0.001) == []
    with pytest.raises(AssertionError, match="spins: 1000 looks"):
        for _ in range(testing.SPINS + 1):
            poller.wait(0)


def test_a_descriptor_may_be_refused(poller: RecordingPoller) -> None:
    assert poller.verify(5)
    poller.refuse(5)
    poller.refuse(6, ValueError("too high"))
    with pytest.raises(OSError) as caught:
        poller.set(5, 1)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(ValueError, match="too high"):
        poller.set(6, 1)
    poller.set(5, 0)
    assert poller.interest == {}
    assert not poller.verify(5)


def test_close_is_recorded(poller: RecordingPoller) -> None:
    poller.set(5, 1)
    assert not poller.closed
    poller.close()
    assert poller.closed and poller.interest == {}


def test_a_poller_has_a_clock_of_its_own_unless_given() -> None:
    assert RecordingPoller().wait(1) == []


# The engine ---------------------------------------------------------------------------------


def test_a_loop_runs_on_the_fakes(any_fakes: Fakes) -> None:
    """The example of the module's docstring."""
    engine, clock, poller = any_fakes
    assert engine_for(engine.map) is engine
    channel = Quiet(1000, engine.map)
    call_later(5.0, channel.close, map=engine.map)
    poller.report((1000, testing.READ), after=2.0)
    loop(timeout=60.0, map=engine.map)
    assert channel.log == ["read"]
    assert clock() == 1005.0
    assert sum(poller.waits[1:]) == 3.0  # type: ignore[arg-type]


def test_a_map_that_is_in_use_is_refused(any_map: Any) -> None:
    channel = Quiet(1000, any_map)
    with pytest.raises(ValueError, match="has an engine already"):
        engine_with_fakes(any_map)
    any_map.clear()
    del channel


def test_the_names() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__class__ is not None
        if callable(getattr(testing, name)):
            assert getattr(testing, name).__doc__


# Leaks --------------------------------------------------------------------------------------


def test_what_is_put_back_is_no_leak() -> None:
    map = ChannelMap()
    with testing.no_leaks(map=map), testing.no_leaks():
        fd = os.dup(0)
        os.close(fd)
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        map[1000] = Channel()
        del map[1000]
        call_later(1.0, print, map=map).cancel()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lists no descriptors")
def test_a_descriptor_that_is_left_is_named() -> None:
    with pytest.raises(AssertionError, match=r"left behind: descriptor \d+$") as caught:
        with testing.no_descriptor_leaks():
            fd = os.dup(0)
    assert str(fd) in str(caught.value)
    os.close(fd)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lists no descriptors")
def test_a_number_that_was_taken_over_is_a_leak() -> None:
    fd = os.dup(0)
    mine, other = socket.socketpair()
    with pytest.raises(AssertionError, match=f"left behind: descriptor {fd}"):
        with testing.no_descriptor_leaks():
            os.dup2(mine.fileno(), fd)
    for end in (mine, other):
        end.close()
    os.close(fd)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lists no descriptors")
def test_what_only_waits_for_the_collector_is_no_leak() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.itself = self
            self.fd = os.dup(0)

        def __del__(self) -> None:
            os.close(self.fd)

    with testing.no_descriptor_leaks():
        Cycle()


@pytest.mark.parametrize("given", [True, False])
def test_a_channel_that_stays_is_named(monkeypatch: pytest.MonkeyPatch, given: bool) -> None:
    map = ChannelMap()
    monkeypatch.setattr(asynccore, "socket_map", map)
    map[5] = Channel()
    with pytest.raises(AssertionError, match=r"left behind: channel <.*Channel"):
        with testing.no_channel_leaks(map=map if given else None):
            map[5] = Channel()


def test_a_thread_that_runs_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "THREAD_GRACE", 0.0)
    may_end = threading.Event()
    with pytest.raises(AssertionError, match="left behind: thread the culprit"):
        with testing.no_thread_leaks():
            thread = threading.Thread(target=may_end.wait, name="the culprit")
            thread.start()
    may_end.set()
    thread.join()


def test_a_thread_that_is_about_to_end_is_waited_for() -> None:
    may_end = threading.Event()
    with testing.no_thread_leaks():
        thread = threading.Thread(target=may_end.wait)
        thread.start()
        releaser = threading.Thread(target=may_end.set)
        releaser.start()


def test_a_timer_that_waits_is_named() -> None:
    map = ChannelMap()
    timers = [call_later(100.0, print, map=map)]
    with pytest.raises(AssertionError, match="left behind: timer <Timer print in "):
        with testing.no_timer_leaks(map=map):
            timers.append(call_later(100.0, print, map=map))
            call_later(100.0, print, map=map).cancel()
    with testing.no_timer_leaks(map=map):
        for timer in timers:
            timer.cancel()


@pytest.mark.parametrize(
    "check",
    [
        testing.no_leaks,
        testing.no_descriptor_leaks,
        testing.no_channel_leaks,
        testing.no_thread_leaks,
        testing.no_timer_leaks,
    ],
)
def test_what_leaves_the_block_goes_on_its_way(check: Callable[[], Any]) -> None:
    fds: list[int] = []
    with pytest.raises(ZeroDivisionError):
        with check():
            fds.append(os.dup(0))
            raise ZeroDivisionError
    os.close(fds[0])
