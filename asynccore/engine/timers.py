"""Timers: a heap of the callbacks that wait for their time.

Facts. Timeouts are set and cancelled far more often than they expire. `heapq` can't take an
entry out of the middle.

Consequence. A cancelled timer stays in the heap, empty, until its time comes or until cancelled
ones are the larger half; then the heap is built anew from the rest. A timer that is put off
keeps its entry, and is put in again when the old time comes. One that repeats is put in again
before it runs, so that its callback may cancel it or put it off, and counts its times from the
first one, so that they don't drift.

Trade-off. Memory for at most as many cancelled timers as live ones, and O(1) amortised for
cancelling and putting off.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..classic.genuine import Clock

# Below this number of entries a rebuild isn't worth its overhead; asyncio uses the same value.
_FEW = 100


class Timer:
    """A callback that runs at its time, or at each of its times, unless it is cancelled before.

    Made by `asynccore.call_later`, `asynccore.call_at` and `asynccore.call_every`. Its methods
    are for the thread of the loop; from another one, `call_soon_threadsafe(timer.cancel)`.
    """

    __slots__ = ("_entry", "_since", "_timers", "args", "callback", "delay", "interval", "when")

    def __init__(
        self,
        timers: Timers,
        when: float,
        delay: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        interval: float | None = None,
    ) -> None:
        self.when = when
        self.delay = delay
        self.interval = interval  # None: it runs once
        self._since = when  # what the times of a repeated one are counted from
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self._timers = timers
        self._entry: _Entry | None = None  # the one in the heap that counts

    @property
    def active(self) -> bool:
        """Whether the callback is still to run."""
        return self.callback is not None

    def cancel(self) -> None:
        """Don't run the callback (any more). Has no effect once it ran for the last time."""
        if self.callback is not None:
            self.callback = None
            self.args = ()
            self._timers.cancelled(self)

    def reset(self, delay: float | None = None) -> None:
        """Run `delay` seconds from now instead; without `delay`, as long as when it was made.

        A repeated timer goes on from there by its interval. Raises `RuntimeError` if the timer is
        no longer active, and `ValueError` for NaN.
        """
        if self.callback is None:
            raise RuntimeError(f"{self!r} can't be reset: make a new timer")
        if delay is not None:
            if delay != delay:
                raise ValueError("a timer's delay can't be NaN")
        if self.interval is None:
            self.delay = delay = self.delay if delay is None else delay
        elif delay is None:
            delay = self.interval
        self.when = self._since = self._timers.clock() + delay
        if self._entry is None or self.when < self._entry[0]:
            self._timers.add(self)

    def __repr__(self) -> str:
        if self.callback is None:
            return "<Timer, done>"
        name = getattr(self.callback, "__qualname__", None) or repr(self.callback)
        left = self.when - self._timers.clock()
        every = "" if self.interval is None else f", every {self.interval:g} s"
        return f"<Timer {name} in {left:.3f} s{every}>"

    def skip_to_next(self) -> None:
        """Put a repeated timer off to the first of its times that is yet to come."""
        interval = self.interval
        now = self._timers.clock()
        if interval is None or self.callback is None or self.when > now:
            return
        when = self._since + ((now - self._since) // interval + 1) * interval
        if not now < when <= now + interval:  # rounded: the interval is tiny beside the clock
            when = max(now + interval, math.nextafter(now, math.inf))
        self.when = when


_Entry = tuple[float, int, Timer]


class Timers:
    """The timers of one engine, by the clock given."""

    def __init__(self, clock: Callable[[], float] = Clock.monotonic) -> None:
        self.clock = clock
        self.heap: list[_Entry] = []  # empty: there is nothing to look at but `batch`
        self._order = itertools.count()  # timers of the same time run in the order they were made
        self._dead = 0
        self.batch: deque[Timer] = deque()  # those that are due and being handed out
        self.emptied: Callable[[], object] | None = None  # called when the last one is cancelled

    def __len__(self) -> int:
        return len(self.heap) - self._dead

    def pending(self) -> list[Timer]:
        """Return the timers that are still to run, in no order."""
        in_heap = [entry[2] for entry in list(self.heap) if entry[2]._entry is entry]
        return in_heap + [it for it in self.batch if it.active and it._entry is None]

    def call_at(self, when: float, callback: Callable[..., object], *args: object) -> Timer:
        """Return a new timer for the time `when` of the clock."""
        return self.add(self.new(when, callback, args))

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Timer:
        """Return a new timer for `delay` seconds from now."""
        return self.add(self.new(None, callback, args, delay=delay))

    def new(
        self,
        when: float | None,
        callback: Callable[..., object],
        args: tuple[object, ...],
        interval: float | None = None,
        delay: float = 0.0,
    ) -> Timer:
        """Return a timer that is still to be handed to `add`.

        It is for the time `when` of the clock, or `delay` seconds from now if that is `None`. With
        an `interval` in seconds it repeats. Raises `TypeError` if the callback can't be called,
        `ValueError` if the time is not a number.
        """
        if not callable(callback):
            raise TypeError(f"a timer needs something to call, not {callback!r}")
        now = self.clock()
        if when is None:
            when = now + delay
        else:
            delay = when - now
        if when != when:
            raise ValueError("a timer's time can't be NaN")
        return Timer(self, when, delay, callback, args, interval)

    def add(self, timer: Timer) -> Timer:
        """Put a timer in the heap by its time; an entry that it had before is dead from now on."""
        if timer.callback is None:
            return timer
        if timer._entry is not None:
            timer._entry = None
            self._dead += 1
            self._clear_dead()
        timer._entry = (timer.when, next(self._order), timer)
        heapq.heappush(self.heap, timer._entry)
        return timer

    def cancelled(self, timer: Timer) -> None:
        """Count a timer that was cancelled, and clear the dead ones out once they prevail."""
        if timer._entry is None:
            return
        timer._entry = None
        self._dead += 1
        self._clear_dead()
        if self.emptied is not None and not len(self):
            self.emptied()

    def _clear_dead(self) -> None:
        if self._dead > _FEW and self._dead * 2 > len(self.heap):
            self.heap = [entry for entry in self.heap if entry[2]._entry is entry]
            heapq.heapify(self.heap)
            self._dead = 0

    def next(self) -> float | None:
        """Return the time of the next timer, or `None` if there is none."""
        while self.batch:
            # A loop inside of a callback: the others of its batch are not to wait for it to end.
            timer = self.batch.popleft()
            if timer._entry is None:
                self.add(timer)
        heap = self.heap
        while heap:
            entry = heap[0]
            when, _, timer = entry
            if timer._entry is not entry:
                heapq.heappop(heap)
                self._dead -= 1
            elif timer.when > when:
                heapq.heappop(heap)
                timer._entry = None
                self.add(timer)
            else:
                return when
        return None

    def next_judges(self) -> bool:
        """Whether the next timer, which `next` has told of, judges a peer."""
        return hasattr(self.heap[0][2].callback, "_judges_peer")

    @contextmanager
    def due(
        self, now: float, seen: float = math.inf
    ) -> Iterator[Iterator[tuple[Callable[..., object], tuple[object, ...]]]]:
        """Hand out the callbacks whose time has come by `now`, and their arguments, in order.

        Those that judge peers (`errors.judges_peer`) wait until their time is over by `seen`, up
        to which everything that came was looked at. Those made meanwhile wait for the next time,
        however short their delay. Those that were not reached, because an exception came out of a
        callback, stay.
        """
        batch: deque[Timer] = deque()
        early: list[Timer] = []
        while (when := self.next()) is not None and when <= now:
            timer = heapq.heappop(self.heap)[2]
            timer._entry = None
            if when > seen and hasattr(timer.callback, "_judges_peer"):
                early.append(timer)
            else:
                batch.append(timer)
        for timer in early:
            self.add(timer)
        before, self.batch = self.batch, batch
        try:
            yield self._take_from(batch)
        finally:
            self.batch = before
            for timer in batch:
                if timer._entry is None:
                    self.add(timer)

    def take_out(
        self, now: float, wanted: Callable[[Callable[..., object]], bool]
    ) -> list[Callable[..., object]]:
        """Take out those without arguments whose time has come by `now` and that are `wanted`."""
        found: list[Callable[..., object]] = []
        others: list[Timer] = []
        while (when := self.next()) is not None and when <= now:
            timer = heapq.heappop(self.heap)[2]
            timer._entry = None
            callback = timer.callback
            if callback is not None and not timer.args and wanted(callback):
                timer.callback = None
                found.append(callback)
            else:
                others.append(timer)
        for timer in others:
            self.add(timer)
        return found

    def _take_from(
        self, batch: deque[Timer]
    ) -> Iterator[tuple[Callable[..., object], tuple[object, ...]]]:
        while batch:
            timer = batch.popleft()
            # Looked at again: another callback may have cancelled it or put it off.
            if timer.callback is None or timer._entry is not None:
                continue
            callback, args = timer.callback, timer.args
            if timer.interval is None:
                timer.callback, timer.args = None, ()
                yield callback, args
            else:
                timer.skip_to_next()
                self.add(timer)
                yield callback, args
                timer.skip_to_next()  # past those that the callback itself took the time of


class LazyTimer:
    """One timer for a time that is put off again and again: it looks, and is set anew (`_look`)."""

    __slots__ = ("_timer", "_timers")

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._timer: Timer | None = None

    def look_by(self, when: float) -> None:
        """Look at this time of the clock, unless that is planned for an earlier one."""
        if self._timer is not None and self._timer.active:
            if when >= self._timer.when:
                return
            self._timer.cancel()
        self._timer = self._timers.call_at(when, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """See whether the time is up."""
        raise NotImplementedError
