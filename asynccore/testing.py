"""Parts for tests: a clock that jumps, a poller that is told what to report, leak checks.

Facts. A test that sleeps is slow, and fails on a busy machine. Whether a loop spins, sleeps too
long or asks too often can't be seen from outside. What a test leaves open is found much later, in
another test.

Consequence. `engine_with_fakes` gives a map an engine whose time moves only when it waits, or when
the test says so, and whose waits are written down. The leak checks compare before and after.

Trade-off. The fake poller knows nothing of descriptors: it reports what it was told to, even for
numbers that don't exist, so that what real sockets do is a matter for other tests.

    from asynccore import ChannelMap, call_later, loop, testing

    channels = ChannelMap()
    engine, clock, poller = testing.engine_with_fakes(channels)
    ...
    call_later(5.0, channel.give_up, map=channels)
    poller.report((channel.socket.fileno(), testing.READ), after=2.0)
    loop(timeout=60.0, map=channels)
    assert poller.waits == [5.0, 3.0]
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from .channels import Map
from .classic.former import formerly
from .classic.namespace import default_map
from .engine.engine import Engine, engine_for, give_engine
from .pollers import ERROR, EVENTS_PER_PASS, HANGUP, INVALID, PRIORITY, READ, WRITE, Event, Poller

__all__ = [
    "ERROR",
    "HANGUP",
    "INVALID",
    "PRIORITY",
    "READ",
    "WRITE",
    "FakeClock",
    "Fakes",
    "RecordingPoller",
    "engine_with_fakes",
    "no_channel_leaks",
    "no_descriptor_leaks",
    "no_leaks",
    "no_thread_leaks",
    "no_timer_leaks",
]

# A loop that looks so many times while nothing happens and no time passes would look for ever.
SPINS = 1000

# How long a thread that was told to end may take, in seconds. Nobody waits without a leak.
THREAD_GRACE = 5.0


# Time ---------------------------------------------------------------------------------------


class FakeClock:
    """A clock to be called, as `time.monotonic`, that stands still until it is advanced.

    `now` is the time it begins with, in seconds.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass. Raises `ValueError` for a negative number."""
        if not seconds >= 0:
            raise ValueError(f"time passes by 0 seconds or more, not {seconds!r}")
        self.now += seconds


# Readiness ----------------------------------------------------------------------------------


class RecordingPoller(Poller):
    """A poller that writes down what it is asked, and reports what it was told to.

    Nothing blocks: a wait moves `clock` by the time it would have taken. `sets` has the pairs of
    descriptor and mask that a kernel would be told, and `waits` the timeout of each `wait`.
    """

    name = "recording"

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__()
        self.clock = FakeClock() if clock is None else clock
        self.sets: list[tuple[int, int]] = []
        self.waits: list[float | None] = []
        self.closed = False
        self._script: deque[tuple[float, list[Event]]] = deque()
        self._refused: dict[int, OSError | ValueError] = {}
        self._looks = 0  # in a row, with no event and no time passed

    def report(self, *events: Event, after: float = 0.0) -> None:
        """Have `events`, pairs of descriptor and bits, come `after` seconds from now.

        They come after those of earlier calls, in a wait of their own. Only descriptors in the
        map are meant: at any other the engine would give this poller up for a new one.
        """
        self._script.append((self.clock() + after, list(events)))

    @formerly(why="exc")
    def refuse(self, fd: int, exc: OSError | ValueError | None = None) -> None:
        """Have `set` raise `exc` for a descriptor, and `verify` deny it; by default, EBADF."""
        self._refused[fd] = OSError(errno.EBADF, os.strerror(errno.EBADF)) if exc is None else exc

    def set(self, fd: int, mask: int) -> None:
        if mask or fd in self.interest:
            self.sets.append((fd, mask))
        if mask == 0:
            self.interest.pop(fd, None)
        elif fd in self._refused:
            raise self._refused[fd]
        else:
            self.interest[fd] = mask

    def wait(self, timeout: float | None) -> list[Event]:
        """Return the next events, if they come in time, and else none.

        Raises `AssertionError` where a loop would block or spin for ever.
        """
        self.waits.append(timeout)
        self._looks += 1
        until = None if timeout is None else self.clock() + timeout
        if self._script and (until is None or self._script[0][0] <= until):
            when, events = self._script.popleft()
            self.clock.advance(max(0.0, when - self.clock()))
            self._looks = 0
            if len(events) > EVENTS_PER_PASS:
                self._script.appendleft((when, events[EVENTS_PER_PASS:]))
            return events[:EVENTS_PER_PASS]
        if timeout is None:
            raise AssertionError("waits for ever: no timeout, and no more events to report")
        before = self.clock()
        self.clock.advance(timeout)
        if self.clock() > before:
            self._looks = 0
        elif self._looks > SPINS:
            raise AssertionError(f"spins: {SPINS} looks without an event, and no time passes")
        return []

    def verify(self, fd: int) -> bool:
        return fd not in self._refused

    def close(self) -> None:
        self.closed = True
        self.interest = {}


class Fakes(NamedTuple):
    """What `engine_with_fakes` returns."""

    engine: Engine
    clock: FakeClock
    poller: RecordingPoller


def engine_with_fakes(map: Map) -> Fakes:
    """Give a map an engine with a fake clock and a recording poller; `loop(map=map)` uses them.

    A plain dict keeps them as long as the result, or a dispatcher in it, is kept. A loop that has
    emptied the map gives its poller back, and makes a real one if the map is filled again.
    Raises `ValueError` if the map has an engine already, as it does once a dispatcher is in it.
    """
    clock = FakeClock()
    engine = Engine(map, clock)
    give_engine(map, engine)
    poller = RecordingPoller(clock)
    engine.attach(poller)
    return Fakes(engine, clock, poller)


# Leaks --------------------------------------------------------------------------------------


def no_descriptor_leaks() -> AbstractContextManager[None]:
    """Raise `AssertionError` for descriptors that are opened inside and not closed again.

    Sees nothing where the platform lists no descriptors (Windows).
    """
    return _compare("descriptor", _descriptors)


@formerly("map")
def no_channel_leaks(*, map: Map | None = None) -> AbstractContextManager[None]:
    """Raise `AssertionError` for channels that enter a map inside and stay.

    The map is `asynccore.socket_map` unless given.
    """
    channels = default_map() if map is None else map
    return _compare("channel", lambda: {(fd, id(c)): repr(c) for fd, c in list(channels.items())})


def no_thread_leaks() -> AbstractContextManager[None]:
    """Raise `AssertionError` for threads that are started inside and still run."""
    return _compare("thread", lambda: {thread: thread.name for thread in threading.enumerate()})


@formerly("map")
def no_timer_leaks(*, map: Map | None = None) -> AbstractContextManager[None]:
    """Raise `AssertionError` for timers of a map that are made inside and still wait.

    The map is `asynccore.socket_map` unless given.
    """
    timers = engine_for(default_map() if map is None else map).timers
    return _compare("timer", lambda: {timer: repr(timer) for timer in timers.pending()})


@formerly("map")
@contextlib.contextmanager
def no_leaks(*, map: Map | None = None) -> Iterator[None]:
    """All of the checks, for one map."""
    with (
        no_descriptor_leaks(),
        no_thread_leaks(),
        no_channel_leaks(map=map),
        no_timer_leaks(map=map),
    ):
        yield


@contextlib.contextmanager
def _compare(kind: str, look: Callable[[], Mapping[Any, str]]) -> Iterator[None]:
    before = look()
    yield  # what leaves the block goes on its way: it says more than what it left open
    after = look()
    if after.keys() - before.keys():
        # Perhaps only the garbage collector has not been there yet, or a thread is about to end.
        gc.collect()
        for item in after.keys() - before.keys():
            if isinstance(item, threading.Thread) and item is not threading.current_thread():
                item.join(THREAD_GRACE)
        after = look()
    left = [what for key, what in after.items() if key not in before]
    if left:
        raise AssertionError(f"left behind: {kind} {f', {kind} '.join(left)}")


def _descriptors() -> dict[Any, str]:
    found: dict[Any, str] = {}
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        # The descriptor by which the folder is listed is among them, and gone by now.
        with contextlib.suppress(OSError):
            status = os.fstat(int(name))
            found[int(name), status.st_dev, status.st_ino] = name
    return found
