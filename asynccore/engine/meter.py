"""Measuring what a map's loop runs, while somebody wants to know.

Facts. Reading a clock twice for each event would cost a tenth of what the event itself costs, and
hardly anybody looks.

Consequence. An engine has no meter until `collect_statistics` or `warn_slow_handlers` gives it one,
and asks for it once in a batch of events. Bytes are counted without a clock, by channels that have
counts, which `send` and `recv` look for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from .. import logs

# Up to how many seconds a handler's time counts for each bucket of the histogram: what a turn of a
# loop should take, and what a person notices, on a scale of about three each.
BOUNDS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


class Meter:
    """Times handlers, timers and callbacks by the clock of an engine."""

    __slots__ = ("buckets", "by_class", "clock", "limit", "longest", "longest_name", "seconds")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.limit: float | None = None  # in seconds; what takes longer is told of
        self.longest = 0.0
        self.longest_name: str | None = None
        self.buckets = [0] * (len(BOUNDS) + 1)  # the last is for all that took longer
        self.seconds = 0.0  # of all of them
        # How often, for how many seconds, and the longest of these.
        self.by_class: dict[type, list[float]] = {}

    def call(self, function: Callable[..., object], *args: object, fd: object = None) -> None:
        """Call a function, and note how long that takes. What it raises comes out."""
        began = self.clock()
        try:
            function(*args)
        finally:
            took = self.clock() - began
            self.buckets[bisect_left(BOUNDS, took)] += 1
            self.seconds += took
            cls = type(getattr(function, "__self__", function))
            times = self.by_class.get(cls)
            if times is None:
                times = self.by_class[cls] = [0, 0.0, 0.0]
            times[0] += 1
            times[1] += took
            if took > times[2]:
                times[2] = took
            if took > self.longest or self.longest_name is None:
                self.longest, self.longest_name = took, name_of(function)
            if self.limit is not None and took > self.limit:
                where = "" if fd is None else f" of descriptor {fd}"
                logs.warn(f"{name_of(function)}{where} held the loop for {took:.3f} s")


def name_of(function: object) -> str:
    """Return `Class.method` of a method, by the class of its object, and else what it is called."""
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__name__", None)
    if name is not None and owner is not None and not isinstance(owner, type(logs)):
        return f"{type(owner).__name__}.{name}"
    return getattr(function, "__qualname__", None) or repr(function)
