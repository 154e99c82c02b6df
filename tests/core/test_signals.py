"""Signal handlers run on the thread that waits: what they report must end the wait.

The signal is sent by the thread itself, in the middle of the poller's `wait`, so that its handler
runs there and nowhere else.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, loop, pollers
from asynccore.engine import engine_for, signals
from asynccore.engine.ownership import Ownership
from asynccore.pollers import PRIORITY, READ, Event
from asynccore.testing import FakeClock, Fakes, RecordingPoller
from tests.core.fakes import Channel, Quiet, give, take
from tests.corners.support import run_script

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
    engine.attach(poller)
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
    "stop": lambda map, channel: asynccore.stop(map=map),
    "call_soon_threadsafe": lambda map, channel: asynccore.call_soon_threadsafe(print, map=map),
    "call_later": lambda map, channel: asynccore.call_later(5.0, print, map=map),
    "touch": lambda map, channel: channel.touch(),
    "run_on_loop": lambda map, channel: channel._ac_engine.run_on_loop(channel.touch),
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
                engine.deferred.append((print, ()))
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
    engine.attach(poller)
    clock = FakeClock()  # review never comes
    engine.clock = clock
    if report == "stop":
        on_signal.append(lambda: asynccore.stop(map=map))
    elif report == "call":
        on_signal.append(lambda: asynccore.call_soon_threadsafe(asynccore.stop, map=map))
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


# Signals that other threads get ---------------------------------------------------------------


# The main thread blocks the signal, so that the kernel gives it to the other one, while the main
# one waits for ever.
CHILD = """
    import os, signal, socket, sys, threading
    import asynccore
    from asynccore.engine import engine_for

    what, number = sys.argv[1], signal.Signals[sys.argv[2]]
    map = asynccore.ChannelMap() if "own map" in what else None
    ends = socket.socketpair()

    class Reader(asynccore.dispatcher):
        def writable(self): return False

    channel = Reader(ends[0], map)
    engine = engine_for(asynccore.socket_map if map is None else map)

    def handle(*args):
        assert threading.current_thread() is threading.main_thread()
        if "stop" in what: asynccore.stop(map=map)
        if "exit" in what: raise SystemExit(0)
        if "close" in what: channel.close()
        if "graceful" in what: asynccore.graceful_close(map=map)

    if "default" not in what:
        signal.signal(number, handle)

    def other():
        tick = threading.Event()
        while not engine.waiting:
            tick.wait(0.001)
        if "directed" in what:
            signal.pthread_kill(threading.get_ident(), number)
        else:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=other)
    thread.start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        if "nested" in what:
            asynccore.call_soon_threadsafe(lambda: asynccore.loop(None, map=map, count=9), map=map)
        asynccore.loop(None, map=map)
    except KeyboardInterrupt:
        assert number == signal.SIGINT
    finally:
        thread.join()
        channel.close()
        ends[1].close()
        print("ended", signal.set_wakeup_fd(-1))
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no masks on Windows")
@pytest.mark.parametrize(
    ("what", "number"),
    [
        ("stop", "SIGTERM"),
        ("exit", "SIGTERM"),
        ("close, own map", "SIGTERM"),
        ("graceful", "SIGTERM"),
        ("directed, stop", "SIGUSR1"),
        ("directed, exit", "SIGTERM"),
        ("nested, exit", "SIGTERM"),
        ("default", "SIGINT"),
        ("default, directed", "SIGINT"),
    ],
)
def test_a_signal_that_another_thread_gets_ends_the_wait(
    poller_name: str, what: str, number: str
) -> None:
    assert run_script(CHILD, poller_name, what, number) == "ended -1\n"


def test_a_sigterm_without_a_handler_kills() -> None:
    script = """
        import os, signal
        import asynccore
        trigger = asynccore.Trigger()
        trigger.pull(os.kill, os.getpid(), signal.SIGTERM)
        asynccore.loop(None)
    """
    with pytest.raises(AssertionError, match=f"exit status -{int(signal.SIGTERM)}"):
        run_script(script)


def wakeup_fd() -> int:
    """Return what is set, leaving it."""
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    return fd


@pytest.fixture
def looped() -> Iterator[Callable[..., None]]:
    """Run something in a loop() of a map of its own."""

    def run(inside: Callable[[Any], object], timeout: float | None = 60.0) -> None:
        map = ChannelMap()
        trigger = asynccore.Trigger(map=map)
        failed: list[BaseException] = []

        def pulled() -> None:
            try:
                inside(map)
            except BaseException as why:  # would only be logged, and the loop go on
                failed.append(why)
            trigger.close()

        trigger.pull(pulled)
        loop(timeout, map=map)
        if failed:
            raise failed[0]

    yield run
    assert wakeup_fd() == -1, "not given back"
    assert signals._loops == []


def test_the_wake_up_is_where_signals_write(looped: Any) -> None:
    seen: list[int] = []

    def inside(map: Any) -> None:
        seen.append(wakeup_fd())
        assert seen == [engine_for(map).wakeup.signal_fileno()]  # type: ignore[union-attr]

    looped(inside)
    assert len(seen) == 1


def test_a_wake_up_that_is_there_already_is_used_at_once(looped: Any) -> None:
    map = ChannelMap()
    trigger = asynccore.Trigger(map=map)
    seen: list[int] = []
    loop(0, map=map, count=1)
    trigger.pull(lambda: (seen.append(wakeup_fd()), trigger.close()))
    wakeup = engine_for(map).wakeup
    assert wakeup is not None
    expected = wakeup.signal_fileno()
    loop(60.0, map=map)
    assert seen == [expected]


def test_a_loop_inside_of_another_takes_the_signals_and_gives_them_back(looped: Any) -> None:
    fds: list[int] = []

    def inner(map: Any) -> None:
        fds.append(wakeup_fd())

    def outer(map: Any) -> None:
        fds.append(wakeup_fd())
        looped_inside(inner)
        fds.append(wakeup_fd())

    def looped_inside(inside: Any) -> None:
        map = ChannelMap()
        trigger = asynccore.Trigger(map=map)
        trigger.pull(lambda: (inside(map), trigger.close()))
        loop(60.0, map=map)

    looped(outer)
    assert fds[0] == fds[2] != fds[1] and -1 not in fds


def test_a_descriptor_that_the_program_has_set_stays(looped: Any) -> None:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    mine = ends[0].fileno()
    seen: list[int] = []
    signal.set_wakeup_fd(mine)
    try:
        looped(lambda map: seen.append(wakeup_fd()))
        assert seen == [mine] == [wakeup_fd()]
        signal.set_wakeup_fd(-1)
        # Set while a loop runs, as a handler does that runs asyncio.
        looped(lambda map: signal.set_wakeup_fd(mine))
        assert wakeup_fd() == mine
    finally:
        signal.set_wakeup_fd(-1)
        for end in ends:
            end.close()


def test_a_wake_up_that_others_put_back_is_taken_away(looped: Any) -> None:
    """uvloop sets one of its own while it runs, and then the one from before again."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)

    def inside(map: Any) -> None:
        before = signal.set_wakeup_fd(ends[0].fileno())
        assert before == engine_for(map).wakeup.signal_fileno()  # type: ignore[union-attr]
        loop(0, map=map, count=1)
        assert wakeup_fd() == ends[0].fileno()
        signal.set_wakeup_fd(before)

    try:
        looped(inside)  # and afterwards none is set
    finally:
        for end in ends:
            end.close()


def test_a_wake_up_that_is_closed_under_another_is_forgotten(looped: Any) -> None:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    mine = ends[0].fileno()

    def inside(map: Any) -> None:
        engine = engine_for(map)
        signal.set_wakeup_fd(mine)
        loop(0, map=map, count=1)
        number = engine.wakeup.signal_fileno()  # type: ignore[union-attr]
        engine.drop_wakeup()
        assert wakeup_fd() == mine
        # The program gets the number, and has it told of signals.
        os.dup2(mine, number)
        signal.set_wakeup_fd(number)
        loop(0, map=map, count=1)
        assert wakeup_fd() == number
        signal.set_wakeup_fd(-1)
        os.close(number)

    try:
        looped(inside)
    finally:
        signal.set_wakeup_fd(-1)
        for end in ends:
            end.close()


@pytest.mark.parametrize("what", ["closed", "somebody else's"])
def test_a_descriptor_of_others_that_is_gone_is_no_obstacle(looped: Any, what: str) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    theirs = fcntl.fcntl(writer, fcntl.F_DUPFD_CLOEXEC, 500)  # nobody gets this number next
    signal.set_wakeup_fd(theirs)
    if what == "closed":
        os.close(theirs)
    else:
        os.set_blocking(theirs, True)  # what is no wake-up blocks, as a rule
    seen: list[bool] = []

    def inside(map: Any) -> None:
        wakeup = engine_for(map).wakeup
        assert wakeup is not None
        seen.append(wakeup_fd() == wakeup.signal_fileno())

    try:
        looped(inside)
    finally:
        os.close(reader)
        os.close(writer)
        if what != "closed":
            os.close(theirs)
    assert seen == [True]


def test_a_loop_that_does_not_wait_costs_no_signals(looped: Any) -> None:
    seen: list[int] = []
    looped(lambda map: seen.append(wakeup_fd()), 0)
    assert seen == [-1]


def test_another_thread_leaves_signals_alone(looped: Any) -> None:
    seen: list[int] = []

    def in_thread() -> None:
        map = ChannelMap()
        trigger = asynccore.Trigger(map=map)
        trigger.pull(lambda: (seen.append(len(signals._loops)), trigger.close()))
        loop(60.0, map=map)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert seen == [0]


def test_an_exception_that_leaves_a_loop_gives_the_signals_back(looped: Any) -> None:
    map = ChannelMap()
    trigger = asynccore.Trigger(map=map)

    def leave() -> None:
        raise asynccore.ExitNow

    trigger.pull(leave)
    with pytest.raises(asynccore.ExitNow):
        loop(60.0, map=map)
    assert wakeup_fd() == -1
    trigger.close()


def test_a_wake_up_that_is_closed_gets_no_more_signals(looped: Any) -> None:
    def inside(map: Any) -> None:
        engine = engine_for(map)
        engine.drop_wakeup()
        assert wakeup_fd() == -1
        engine.poller.set(engine.make_wakeup(), READ)  # type: ignore[union-attr]
        assert wakeup_fd() == engine.wakeup.signal_fileno()  # type: ignore[union-attr]

    looped(inside)


def test_a_sub_interpreter_without_signals_does_without(
    looped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **options: object) -> int:
        raise ValueError("set_wakeup_fd only works in main thread of the main interpreter")

    with monkeypatch.context() as patch:
        patch.setattr(signal, "set_wakeup_fd", refuse)
        map = ChannelMap()
        trigger = asynccore.Trigger(map=map)
        trigger.pull(trigger.close)
        loop(60.0, map=map)


def test_a_signal_that_concerns_nobody_does_not_end_a_pass(
    fakes: Fakes, on_signal: list[Any]
) -> None:
    """`loop(count=1)` waits its time, as the classic one did since PEP 475."""
    interrupted = with_signal(fakes)
    map = interrupted.engine.map
    Quiet(1000, map)
    seen: list[int] = []
    on_signal.append(lambda: seen.append(1))
    loop(60.0, map=map, count=1)
    assert seen == [1] and interrupted.clock() == 1060.0
    assert len(interrupted.poller.waits) >= 2, "the byte of the signal was not seen"


FORKS = """
    import os, signal, sys, threading
    import asynccore
    from asynccore.engine import signals

    def in_child():
        # Forked in the middle of a loop: it goes on here, with a wake-up of its own.
        before = signal.set_wakeup_fd(-1)
        assert before == -1, before
        asynccore.call_later(0, then)

    def then():
        if asynccore.socket_map.engine.wakeup is None:
            asynccore.call_later(0, then)  # the next wait makes it
            return
        trigger.close()
        before = signal.set_wakeup_fd(-1)
        mine = asynccore.socket_map.engine.wakeup.signal_fileno()
        assert before == mine, (before, mine)

    def fork():
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
            trigger.close()
        else:
            in_child()
            if not here:
                assert signals._loops == []
                asynccore.loop(None)
                os._exit(0)

    here = sys.argv[1] == "here"
    trigger = asynccore.Trigger()
    if here:
        trigger.pull(fork)
        asynccore.loop(None)
    else:
        thread = threading.Thread(target=fork)
        trigger.pull(thread.start)
        asynccore.loop(None)
        thread.join()
    assert not asynccore.socket_map
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
@pytest.mark.parametrize(
    "where",
    [
        "here",
        pytest.param(
            "in a thread",
            marks=pytest.mark.skipif(
                sys.version_info >= (3, 12), reason="Python 3.12 warns of a fork beside threads"
            ),
        ),
    ],
)
def test_a_forked_child_has_a_wake_up_of_its_own(where: str) -> None:
    assert run_script(FORKS, None, where) == ""


# Turns --------------------------------------------------------------------------------------


class Wakes(Ownership):
    def __init__(self) -> None:
        super().__init__()
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1


def test_a_nudge_wakes_who_waits_and_whoever_else_has_the_turn() -> None:
    turn = Wakes()
    turn.nudge()
    assert turn.wakes == 0, "nobody has the turn"
    before = take(turn)
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
    give(turn, before)


def test_an_errand_of_the_holder_nudges_if_it_waits() -> None:
    turn = Wakes()
    done: list[int] = []
    before = take(turn)
    turn.run_on_loop(done.append, 1)
    assert (done, turn.wakes) == ([1], 0)
    turn.waiting = True
    turn.run_on_loop(done.append, 2)
    assert (done, turn.wakes) == ([1, 2], 1)
    give(turn, before)
