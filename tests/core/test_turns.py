"""Ownership of a map: one thread at a time, calls left for the owner, wake-ups, forks."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import asynccore
from asynccore.engine import Engine
from asynccore.engine.ownership import Ownership
from asynccore.errors import RERAISED
from tests.core.fakes import give, take

# A bound for what should come at once; nobody waits that long unless a test fails.
LONG = 30.0


@pytest.fixture
def turn() -> Iterator[Ownership]:
    made = Ownership()
    yield made
    made.drop_wakeup()


class Holder:
    """A thread that holds the turn until it is told to look for errands, or to give it back."""

    def __init__(self, turn: Ownership) -> None:
        self.turn = turn
        self.holds = threading.Event()
        self.may_give = threading.Event()
        self.log: list[str] = []
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        before = take(self.turn)
        self.holds.set()
        assert self.may_give.wait(LONG)
        give(self.turn, before)

    def __enter__(self) -> Holder:
        self.thread.start()
        assert self.holds.wait(LONG)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.may_give.set()
        self.thread.join(LONG)
        assert not self.thread.is_alive()


def in_thread(function: Callable[[], object]) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as why:
            caught.append(why)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(LONG)
    assert not thread.is_alive()
    if caught:
        raise caught[0]


def woken(turn: Ownership) -> bool:
    assert turn.wakeup is not None
    return bool(select.select([turn.wakeup], [], [], 0)[0])


def test_the_holder_may_take_more(turn: Ownership) -> None:
    me = threading.get_ident()
    first = take(turn)
    assert (first, turn.owner) == (None, me)
    second = take(turn)
    assert (second, turn.owner) == (me, me)
    give(turn, second)
    assert turn.owner == me
    give(turn, first)
    assert turn.owner is None


def test_others_wait_for_the_turn(turn: Ownership) -> None:
    with Holder(turn) as holder:
        taken = threading.Event()

        def other() -> None:
            before = take(turn)
            taken.set()
            give(turn, before)

        thread = threading.Thread(target=other)
        thread.start()
        assert not taken.is_set()
        holder.may_give.set()
        thread.join(LONG)
        assert taken.is_set()


def test_without_a_holder_an_errand_is_done_here_and_now(turn: Ownership) -> None:
    owners = []
    turn.run_on_loop(lambda *args: owners.append((turn.owner, args)), 1, 2)
    assert owners == [(threading.get_ident(), (1, 2))]
    assert turn.owner is None


def test_the_holder_runs_it_itself_without_a_queue(turn: Ownership) -> None:
    done: list[str] = []
    turn.deferred.append((done.append, ("waits",)))
    before = take(turn)
    turn.run_on_loop(done.append, "at once")
    assert done == ["at once"]
    turn.run_deferred()
    assert done == ["at once", "waits"]
    give(turn, before)


def test_an_errand_waits_for_the_holder_and_wakes_it(turn: Ownership) -> None:
    done: list[int] = []
    turn.make_wakeup()
    with Holder(turn) as holder:
        turn.run_on_loop(lambda: done.append(threading.get_ident()))
        assert done == []
        assert woken(turn)
        holder.may_give.set()
        holder.thread.join(LONG)
        assert done == [holder.thread.ident]


def test_errands_are_done_in_their_order(turn: Ownership) -> None:
    done: list[int] = []
    before = take(turn)

    def leave() -> None:
        for number in range(5):
            turn.run_on_loop(done.append, number)

    in_thread(leave)
    assert done == []
    turn.run_deferred()
    assert done == [0, 1, 2, 3, 4]
    give(turn, before)


def test_an_errand_left_after_the_last_look_is_not_stranded(turn: Ownership) -> None:
    """Between the holder's last look and its giving the turn back."""
    done: list[int] = []
    before = take(turn)
    in_thread(lambda: turn.run_on_loop(lambda: done.append(threading.get_ident())))
    assert done == []
    give(turn, before)
    assert done == [threading.get_ident()]
    assert turn.owner is None


def test_an_inner_turn_does_not_do_the_outer_ones_errands(turn: Ownership) -> None:
    done: list[int] = []
    first = take(turn)
    second = take(turn)
    in_thread(lambda: turn.run_on_loop(done.append, 1))
    give(turn, second)
    assert done == []
    give(turn, first)
    assert done == [1]


def test_an_errand_may_leave_another(turn: Ownership) -> None:
    done: list[str] = []

    def first() -> None:
        turn.run_on_loop(done.append, "second")
        done.append("first")

    turn.run_on_loop(first)
    assert done == ["second", "first"]


def test_an_errand_that_raises_gives_the_turn_back(turn: Ownership) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        turn.run_on_loop(fail)
    assert turn.owner is None
    done: list[int] = []
    in_thread(lambda: turn.run_on_loop(done.append, 1))
    assert done == [1]


class Owner:
    """Has errands of its own, and hears of what they raise."""

    def __init__(self, why: BaseException | type[BaseException]) -> None:
        self.why = why
        self.heard: list[object] = []

    def fail(self) -> None:
        raise self.why

    def handle_error(self) -> None:
        self.heard.append(sys.exc_info()[1])


def left(turn: Ownership, *errands: Callable[[], object]) -> int | None:
    """Take the turn and have another thread leave errands for it."""
    before = take(turn)
    in_thread(lambda: [turn.run_on_loop(errand) for errand in errands] and None)
    assert len(turn.deferred) == len(errands)
    return before


def test_what_an_errand_raises_goes_to_its_channel(turn: Ownership) -> None:
    owner = Owner(ZeroDivisionError("oops"))
    done: list[int] = []
    before = left(turn, owner.fail, lambda: done.append(1))
    turn.run_deferred()
    assert owner.heard == [owner.why] and done == [1]
    give(turn, before)


def test_also_where_it_is_done_on_giving_the_turn_back(turn: Ownership) -> None:
    owner = Owner(ZeroDivisionError("oops"))
    give(turn, left(turn, owner.fail))
    assert owner.heard == [owner.why]
    assert turn.owner is None


def test_but_one_done_here_and_now_raises_where_it_was_called(turn: Ownership) -> None:
    owner = Owner(ZeroDivisionError("oops"))
    with pytest.raises(ZeroDivisionError):
        turn.run_on_loop(owner.fail)
    assert owner.heard == []


@pytest.mark.parametrize("why", RERAISED)
def test_what_leaves_the_loop_leaves_an_errand(turn: Ownership, why: type[BaseException]) -> None:
    owner = Owner(why)
    before = left(turn, owner.fail)
    with pytest.raises(why):
        turn.run_deferred()
    assert owner.heard == []
    give(turn, before)


def test_an_errand_of_nobody_raises_and_the_others_stay(turn: Ownership) -> None:
    done: list[int] = []

    def fail() -> None:
        raise ZeroDivisionError

    before = left(turn, fail, lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        turn.run_deferred()
    assert done == []
    turn.run_deferred()
    assert done == [1]
    give(turn, before)


def test_many_threads_leave_nothing_undone(turn: Ownership) -> None:
    done: list[int] = []
    inside: list[int] = []
    barrier = threading.Barrier(5)

    def work(number: int) -> None:
        barrier.wait(LONG)
        for _ in range(200):
            turn.run_on_loop(enter, number)

    def enter(number: int) -> None:
        inside.append(number)
        assert inside == [number]  # nobody else is in here
        done.append(number)
        inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait(LONG)
    for _ in range(200):
        give(turn, take(turn))
    for thread in threads:
        thread.join(LONG)
    give(turn, take(turn))
    assert sorted(done) == sorted(list(range(4)) * 200)


# Waking -------------------------------------------------------------------------------------


def test_wake_without_a_wakeup_does_nothing(turn: Ownership) -> None:
    turn.wake()
    assert turn.wakeup is None


def test_a_wakeup_is_found_by_its_descriptor(turn: Ownership) -> None:
    fd = turn.make_wakeup()
    assert turn.wakeup is not None and turn.wakeup.fileno() == fd
    assert not woken(turn)
    turn.wake()
    assert woken(turn)


def test_a_dropped_wakeup_is_closed(turn: Ownership) -> None:
    fd = turn.make_wakeup()
    turn.drop_wakeup()
    assert turn.wakeup is None
    with pytest.raises(OSError):
        os.fstat(fd)
    turn.drop_wakeup()
    turn.wake()


def test_wake_may_be_called_while_it_is_being_called(
    turn: Ownership, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a signal handler, which interrupts whatever the main thread is doing."""
    calls: list[str] = []
    blocked: list[bool] = []

    class Wakeup:
        def set(self) -> None:
            calls.append("set")
            if len(calls) == 1:
                lock: Any = turn._wake_lock
                # Where a handler would wait for ever, say so instead.
                if lock.acquire(blocking=False):
                    lock.release()
                    turn.wake()
                else:
                    blocked.append(True)

        def close(self) -> None: ...

    monkeypatch.setattr(turn, "wakeup", Wakeup())
    turn.wake()
    assert not blocked, "a signal handler that wakes the loop would wait for ever here"


# Forks --------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork()")


def run_in_child(check: Callable[[], object]) -> None:
    """Run `check` in a forked child; fail if it fails there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        except BaseException as why:
            os.write(writer, repr(why).encode())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as report:
        said = report.read().decode()
    assert os.waitpid(child, 0)[1] == 0, said


@needs_fork
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_turn_of_another_thread_does_not_bind_the_child(turn: Ownership) -> None:
    with Holder(turn):

        def check() -> None:
            turn.after_fork()
            assert turn.owner is None
            done: list[int] = []
            turn.run_on_loop(done.append, 1)
            assert done == [1]
            give(turn, take(turn))

        run_in_child(check)


def test_after_a_fork_only_the_forking_threads_turn_counts(turn: Ownership) -> None:
    """What the child does, without a child."""
    before = take(turn)
    turn.make_wakeup()
    turn.after_fork()
    assert turn.owner == threading.get_ident() and turn.wakeup is None
    give(turn, before)
    turn.owner = -1  # a thread that the fork left behind
    turn.after_fork()
    assert turn.owner is None
    done: list[int] = []
    in_thread(lambda: turn.run_on_loop(done.append, 1))
    assert done == [1]


@needs_fork
def test_a_turn_of_the_forking_thread_goes_on_in_the_child(turn: Ownership) -> None:
    before = take(turn)

    def check() -> None:
        turn.after_fork()
        assert turn.owner == threading.get_ident()
        give(turn, before)
        assert turn.owner is None
        give(turn, take(turn))

    run_in_child(check)
    give(turn, before)


@needs_fork
def test_the_childs_wakeup_is_not_the_parents(turn: Ownership) -> None:
    turn.make_wakeup()

    def check() -> None:
        turn.after_fork()
        assert turn.wakeup is None
        turn.make_wakeup()
        turn.wake()
        assert woken(turn)

    run_in_child(check)
    assert not woken(turn)
    turn.wake()
    assert woken(turn)


# Engines ------------------------------------------------------------------------------------


def test_who_loops_elsewhere() -> None:
    engine = Engine(asynccore.ChannelMap())
    assert not engine.loops_elsewhere()
    engine.begin_loop(False)
    assert not engine.loops_elsewhere()
    found: list[bool] = []
    in_thread(lambda: found.append(engine.loops_elsewhere()))
    engine.end_loop(False)
    engine.host_thread = threading.get_ident()
    assert not engine.loops_elsewhere()
    in_thread(lambda: found.append(engine.loops_elsewhere()))
    assert found == [True, True]


def test_what_nobody_needs_is_given_back() -> None:
    engine = Engine(asynccore.ChannelMap())
    engine.make_wakeup()
    engine.hosting = SimpleNamespace()  # type: ignore[assignment]
    engine.give_back()
    assert engine.wakeup is not None
    engine.hosting = None
    engine.give_back()
    assert engine.wakeup is None and engine.owner is None
