"""`Trigger`: other threads and signal handlers have the loop call things."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, Trigger, loop
from asynccore.testing import READ, Fakes


@pytest.fixture
def trigger(any_map: Any) -> Iterator[Trigger]:
    made = Trigger(map=any_map)
    yield made
    made.close()


def one_pass(trigger: Trigger, poller: str | None = None) -> None:
    loop(0, map=trigger._map, count=1, poller=poller)


def test_callbacks_run_in_order_then_the_hook(trigger: Trigger) -> None:
    ran: list[object] = []
    trigger.handle_trigger = lambda: ran.append("hook")  # type: ignore[method-assign]
    trigger.pull(ran.append, 1)
    trigger.pull()
    trigger.pull_trigger(lambda: ran.append(2))
    trigger.pull_trigger()
    assert ran == []
    one_pass(trigger)
    assert ran == [1, 2, "hook"]
    one_pass(trigger)
    assert ran == [1, 2, "hook"]
    trigger.pull()
    one_pass(trigger)
    assert ran == [1, 2, "hook", "hook"]


def test_by_default_nothing_happens(trigger: Trigger, capsys: pytest.CaptureFixture[str]) -> None:
    trigger.pull()
    one_pass(trigger)
    asynccore.write(trigger)
    assert capsys.readouterr() == ("", "")
    assert trigger.readable() and not trigger.writable()


def test_it_keeps_the_loop_until_it_is_closed(any_map: Any, poller_name: str) -> None:
    trigger = Trigger(map=any_map)
    ran: list[int] = []
    threads: list[threading.Thread] = []

    def work() -> None:
        here = threading.get_ident()
        trigger.pull(lambda: ran.append(here))
        trigger.pull(lambda: ran.append(threading.get_ident()))
        trigger.pull(trigger.close)

    threads.append(threading.Thread(target=work))
    trigger.pull(threads[0].start)
    loop(None, map=any_map, poller=poller_name)
    threads[0].join()
    assert ran[0] != ran[1] == threading.get_ident()
    assert not any_map


def test_many_threads_lose_nothing(any_map: Any) -> None:
    trigger = Trigger(map=any_map)
    ran: list[tuple[int, int]] = []

    def work(number: int) -> None:
        for count in range(200):
            trigger.pull(ran.append, (number, count))
        trigger.pull(finished)

    def finished() -> None:
        left.pop()
        if not left:
            trigger.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    left = list(threads)
    for thread in threads:
        thread.start()
    loop(None, map=any_map)
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [count for who, count in ran if who == number] == list(range(200))


def test_exceptions_are_reported_and_the_rest_goes_on(
    trigger: Trigger, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ZeroDivisionError("oops")

    ran: list[int] = []
    trigger.handle_trigger = fail  # type: ignore[method-assign]
    trigger.pull(fail)
    trigger.pull(ran.append, 1)
    one_pass(trigger)
    assert ran == [1] and trigger._fileno is not None
    err = capsys.readouterr().err
    assert err.count("uncaptured python exception in callback") == 2
    assert err.count("ZeroDivisionError: oops") == 2


@pytest.mark.parametrize("why", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
def test_what_ends_a_loop_ends_it_and_the_rest_waits(trigger: Trigger, why: Any) -> None:
    def leave() -> None:
        raise why

    ran: list[int] = []
    trigger.pull(leave)
    trigger.pull(ran.append, 1)
    with pytest.raises(why):
        one_pass(trigger)
    assert ran == []
    one_pass(trigger)
    assert ran == [1]


def test_one_that_pulls_anew_waits_for_the_next_pass(trigger: Trigger) -> None:
    ran: list[int] = []

    def again() -> None:
        ran.append(1)
        trigger.pull(again)

    trigger.pull(again)
    one_pass(trigger)
    assert ran == [1]
    one_pass(trigger)
    assert ran == [1, 1]


def test_a_loop_inside_of_a_callback_runs_the_others(trigger: Trigger) -> None:
    ran: list[object] = []

    def inside() -> None:
        trigger.pull()
        one_pass(trigger)
        ran.append("inside")

    trigger.pull(inside)
    trigger.pull(ran.append, 1)
    one_pass(trigger)
    assert ran == [1, "inside"]


def test_a_closed_one_refuses(trigger: Trigger) -> None:
    assert "0 callbacks waiting" in repr(trigger)
    trigger.close()
    trigger.close()
    with pytest.raises(RuntimeError, match=r"<Trigger, closed, .*can't be pulled: make a new one"):
        trigger.pull()
    with pytest.raises(RuntimeError, match="closed"):
        trigger.pull_trigger(print)
    trigger.handle_read_event()  # an event that is late
    assert not trigger._map


@pytest.mark.parametrize("callback", [5, "print"])
def test_what_cannot_be_called_is_refused(trigger: Trigger, callback: Any) -> None:
    with pytest.raises(TypeError, match="pull\\(\\) needs something to call, not"):
        trigger.pull(callback)


def test_what_was_pulled_before_the_close_still_runs(trigger: Trigger) -> None:
    ran: list[int] = []
    hooks: list[int] = []
    trigger.handle_trigger = lambda: hooks.append(1)  # type: ignore[method-assign]
    trigger.pull(trigger.close)
    trigger.pull(ran.append, 1)
    trigger.pull(ran.append, 2)
    one_pass(trigger)
    assert ran == [1, 2] and hooks == []


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")
def test_a_signal_handler_may_pull(any_map: Any, poller_name: str) -> None:
    trigger = Trigger(map=any_map)
    before = signal.signal(signal.SIGUSR1, lambda *args: trigger.pull(trigger.close))
    try:
        trigger.pull(os.kill, os.getpid(), signal.SIGUSR1)
        loop(None, map=any_map, poller=poller_name)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not any_map


def test_the_default_map_is_the_one_of_the_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    map = ChannelMap()
    monkeypatch.setattr(asynccore, "socket_map", map)
    trigger = Trigger()
    assert list(map.values()) == [trigger]
    trigger.close()


def test_a_program_with_a_select_of_its_own_reads_it_as_any_channel() -> None:
    map: dict[int, Any] = {}
    trigger = Trigger(map=map)
    ran: list[int] = []
    trigger.pull(ran.append, 1)
    [(fd, channel)] = map.items()
    assert asynccore.select.select([fd], [], [], 0)[0] == [fd]
    asynccore.read(channel)
    assert ran == [1]
    assert asynccore.select.select([fd], [], [], 0)[0] == []
    trigger.close()


def test_with_fakes_it_is_asked_once(fakes: Fakes) -> None:
    """Its predicates are constant: an idle one costs nothing."""
    engine, _, poller = fakes
    trigger = Trigger(map=engine.map)
    fd = trigger._fileno
    assert fd is not None
    poller.report((fd, READ))
    ran: list[int] = []
    trigger.pull(ran.append, 1)
    loop(5.0, map=engine.map, count=3)
    assert ran == [1]
    assert len([one for one in poller.sets if one[0] == fd]) == 1
    trigger.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_childs_pull_does_not_reach_the_parent(any_map: Any) -> None:
    """And the child's own loop goes on with it, under the number it had."""
    trigger = Trigger(map=any_map)
    closed = Trigger(map=any_map)
    closed.close()
    ran: list[str] = []
    trigger.pull(ran.append, "before")
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            trigger.pull(ran.append, "child")
            one_pass(trigger)
            status = 0 if ran == ["before", "child"] else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    one_pass(trigger)
    assert ran == ["before"]
    # The child's wake-ups are not in the pipe either.
    fd = trigger._fileno
    assert asynccore.select.select([fd], [], [], 0)[0] == []
    trigger.close()


def test_what_was_pulled_runs_though_it_is_closed_before_its_turn(any_map: Any) -> None:
    trigger, other = Trigger(map=any_map), Trigger(map=any_map)
    ran: list[int] = []
    trigger.pull(ran.append, 1)
    trigger.pull(ran.append, 2)
    trigger.close()
    assert ran == []
    one_pass(other)
    assert ran == [1, 2]
    other.close()
