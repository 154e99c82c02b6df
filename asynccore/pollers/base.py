"""What every poller offers to the engine, and the readiness bits they speak.

A poller keeps one copy of what the kernel was told (`interest`) and changes it only after the
system call succeeded. The bits are those of poll(2), which are the same numbers on Linux, macOS,
the BSDs and Solaris; a poller whose system call speaks otherwise translates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar, Protocol

# poll(2): POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP, POLLNVAL.
READ = 0x01
PRIORITY = 0x02
WRITE = 0x04
ERROR = 0x08
HANGUP = 0x10
INVALID = 0x20

# More than this many events are left to the next pass: measured with 1,000 busy dispatchers
# beside one other connection, whose 99th percentile was 3.5 ms at 64, 12-15 ms at 256 and
# 25-30 ms at 1,024, at the same throughput.
EVENTS_PER_PASS = 64

Event = tuple[int, int]


class OutOfRange(ValueError):
    """A poller can't watch a descriptor of so large a number."""


class Events(Protocol):
    """A batch of events: a list, or what finds them while they are handled, one by one."""

    def __len__(self) -> int:
        """Return how many there are, or may be."""

    def __iter__(self) -> Iterator[Event]:
        """Return the events."""


class PollerLost(Exception):
    """The descriptors that a poller needs were closed by others, or are others' by now."""


def identity(fd: int) -> tuple[int, int, int] | None:
    """Return what tells an open file from others under the same number; `None` if it is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mode


class Poller:
    """Readiness of descriptors, by one system call.

    `interest` maps a descriptor to the bits (`READ`, `PRIORITY`, `WRITE`) that are waited for.
    A descriptor without interest is not in it, and not in the kernel's set either: most pollers
    report hang-ups for an empty interest and would spin.
    """

    name: ClassVar[str]
    interest: dict[int, int]
    always_ready: bool = False
    """Whether it holds a file that the kernel won't watch, and so reports at every wait."""

    def __init__(self) -> None:
        self.interest = {}
        # Called with a descriptor that is taken out, by pollers that have none of their own.
        self.left: Callable[[int], object] | None = None
        # The map whose order the events are to have, for pollers that can keep one.
        self.order: Iterable[int] | None = None
        self._ranks: dict[int, int] | None = None  # by that order, while `interest` has the same
        # Whether the wake-up, which it watches, is still there.
        self.wakeup_is_whole: Callable[[], bool] | None = None
        self._turn = 0

    def set(self, fd: int, mask: int) -> None:
        """Wait for `mask` on `fd` from now on; a mask of 0 takes the descriptor out.

        Taking out never fails, for the descriptor may be closed already. Otherwise an `OSError`
        (EBADF: no such descriptor) or `ValueError` (the poller can't hold it) is raised, and the
        interest stays as it was.
        """
        raise NotImplementedError

    def withdraw(self, fd: int) -> None:
        """Have the kernel watch `fd` no more; `interest` stays until `set` is told.

        Safe while another thread waits.
        """

    def wait(self, timeout: float | None) -> Events:
        """Return at most `EVENTS_PER_PASS` pairs of a descriptor and its readiness bits.

        `timeout` is in seconds; `None` waits for an event however long it takes.
        """
        raise NotImplementedError

    def verify(self, fd: int) -> bool:
        """Tell whether `fd`, which is in `interest`, is still open, and watch it again if the
        kernel has dropped it (closed behind our back and opened anew under the same number)."""
        raise NotImplementedError

    @property
    def innermost(self) -> Poller:
        """The poller that asks the kernel: this one, unless it is in front of another."""
        return self

    def fileno(self) -> int:
        """Return a descriptor that polls readable while events wait, or -1 if there is none."""
        return -1

    def close(self) -> None:
        """Give up the kernel's resources. The poller is not used afterwards."""

    def is_lost(self) -> bool:
        """Whether somebody has closed its descriptors by their numbers, as daemons do."""
        return self.wakeup_is_whole is not None and not self.wakeup_is_whole()

    def abandon(self) -> None:
        """Give nothing up, for its descriptors are somebody else's. It is not used afterwards."""
        self.interest = {}

    def give_up(self) -> None:
        """Close it, or abandon it, if it is lost."""
        if self.is_lost():
            self.abandon()
        else:
            self.close()

    def after_fork(self) -> None:
        """Let go, in a forked child, of what the parent goes on using."""
        self.close()

    def in_order(self, events: list[Event]) -> list[Event]:
        """Sort events by the order of the map, those of what is not in it first.

        For system calls that report in the order that they were told of descriptors in.
        """
        if len(events) < 2 or self.order is None:
            return events
        if self._ranks is None:
            self._ranks = {fd: rank for rank, fd in enumerate(list(self.order))}
        rank = self._ranks.get
        return sorted(events, key=lambda event: rank(event[0], -1))

    def share(self, events: list[Event]) -> list[Event]:
        """Cut `events` to one pass, beginning where the last cut ended, so that none starves.

        For system calls that report everything, always in the same order.
        """
        if len(events) <= EVENTS_PER_PASS:
            return events
        start = self._turn % len(events)
        self._turn = start + EVENTS_PER_PASS
        return (events[start:] + events[:start])[:EVENTS_PER_PASS]


def milliseconds(timeout: float | None) -> int | None:
    """Convert seconds to whole milliseconds, rounded up so that a short wait never spins."""
    return None if timeout is None else math.ceil(timeout * 1000)
