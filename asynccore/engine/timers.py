"""Timers: a heap of the callbacks that wait for their time.

Facts. Timeouts are set and cancelled far more often than they expire. `heapq` can't take an
entry out of the middle. A signal handler may raise between any two steps.

Consequence. A cancelled timer stays in the heap, empty, until its time comes or until cancelled
ones are the larger half; then the heap is built anew from the rest. A timer that is put off
keeps its entry, and is put in again when the old time comes. One that repeats is put off before it
runs, so that its callback may cancel it or put it off, and counts its times from the first one, so
that they don't drift. Those that are due leave the heap one by one, each when its callback is about
to run, so that a callback may run a loop or raise.

Trade-off. Memory for at most as many cancelled timers as live ones, and O(1) amortised for
cancelling and putting off.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

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

    def _skip_to_next(self) -> None:
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
        self.heap: list[_Entry] = []  # empty: there is nothing to look at
        self._order = itertools.count()  # timers of the same time run in the order they were made
        self._dead = 0
        self.emptied: Callable[[], object] | None = None  # called when the last one is cancelled

    def __len__(self) -> int:
        return len(self.heap) - self._dead

    def pending(self) -> list[Timer]:
        """Return the timers that are still to run, in no order."""
        return [entry[2] for entry in list(self.heap) if entry[2]._entry is entry]

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

    def add(self, timer: Timer, when: float | None = None) -> Timer:
        """Put a timer in the heap by its time; an entry that it had before is dead from now on.

        `when` is a later time to look at it.
        """
        if timer.callback is not None:
            # It is in the heap before its old entry dies: nothing that interrupts this loses it.
            entry = (timer.when if when is None else when, next(self._order), timer)
            heappush(self.heap, entry)
            before, timer._entry = timer._entry, entry
            if before is not None:
                self._dead += 1
                self._clear_dead()
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
            self.recover()

    def recover(self) -> None:
        """Build the heap from what counts, also after an exception came between two steps."""
        self.heap = [entry for entry in self.heap if entry[2]._entry is entry]
        heapify(self.heap)
        self._dead = 0

    def next(self) -> float | None:
        """Return the time of the next timer, or `None` if there is none."""
        while self.heap:
            entry = self.heap[0]
            when, _, timer = entry
            if timer._entry is entry and timer.when <= when:
                return when
            self._settle(entry)
        return None

    def _settle(self, entry: _Entry) -> None:
        """Take the first entry of the heap out, which is dead, or whose timer was put off."""
        _, order, timer = entry
        if timer._entry is entry:
            # It is no new timer, so it keeps its number; the next look takes the old entry out.
            put_off = (timer.when, order, timer)
            heappush(self.heap, put_off)
            timer._entry = put_off
            self._dead += 1
        else:
            heappop(self.heap)
            self._dead -= 1

    def next_judges(self) -> bool:
        """Whether the next timer, which `next` has told of, judges a peer."""
        return hasattr(self.heap[0][2].callback, "_judges_peer")

    def mark(self) -> int:
        """Return what tells the timers there are now from those made afterwards."""
        return next(self._order)

    def next_due(self, now: float, mark: int, seen: float = math.inf) -> Timer | None:
        """Return the next timer whose time has come by `now`, to be given to `begin`.

        Those that judge peers (`errors.judges_peer`) wait until their time is over by `seen`, up
        to which everything that came was looked at. Those made since the `mark` wait for the next
        one, however short their delay.
        """
        while self.heap:
            entry = self.heap[0]
            when, order, timer = entry
            if when > now or (when == now and order > mark):
                break
            if timer._entry is not entry or timer.when > when:
                self._settle(entry)
            elif order > mark or (timer.when > seen and hasattr(timer.callback, "_judges_peer")):
                self.add(timer, now)  # behind all that are due
            else:
                return timer
        return None

    def begin(self, timer: Timer) -> None:
        """Note that the callback of a timer is about to run, which may set it anew or cancel it."""
        if timer.interval is None:
            timer.callback, timer.args = None, ()
            timer._entry = None
            self._dead += 1
        else:
            timer._skip_to_next()
            self.add(timer)

    def put_back(
        self, timer: Timer, callback: Callable[..., object], args: tuple[object, ...]
    ) -> None:
        """Undo `begin`, however much of it was done: the callback could not be called."""
        timer.callback, timer.args = callback, args
        self.add(timer)
        self.recover()

    def take_out(
        self, now: float, wanted: Callable[[Callable[..., object]], bool]
    ) -> list[Callable[..., object]]:
        """Take out those without arguments whose time has come by `now` and that are `wanted`."""
        due: list[_Entry] = []
        places = [0]
        while places:
            place = places.pop()
            if place < len(self.heap) and self.heap[place][0] <= now:
                due.append(self.heap[place])
                places += (2 * place + 1, 2 * place + 2)  # what comes after it in the heap
        found: list[Callable[..., object]] = []
        for entry in sorted(due):
            timer = entry[2]
            callback = timer.callback
            if timer._entry is not entry or timer.when > now or callback is None or timer.args:
                continue
            if wanted(callback) and timer._entry is entry:
                self.begin(timer)
                found.append(callback)
        return found


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
