"""Whose turn it is: the thread that runs a pass, and what other threads leave for it.

Facts. Programs call `push`, `send` and `close` from any thread. A descriptor that is closed while
another thread waits for it may be somebody else's when that thread looks again. Callbacks that
run under a lock can deadlock on what they call.

Consequence. A thread that runs a pass holds the turn. Others leave errands, and wake it. If nobody
holds the turn, they take it and do the errand at once. A channel's state is thus touched by one
thread at a time, and nobody waits for a lock that is held during a wait.
"""

from __future__ import annotations

import threading
from _thread import _count as _other_threads
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from .wakeup import Wakeup

Call = tuple[Callable[..., object], tuple[Any, ...]]


class Turn:
    """The turn of one map."""

    def __init__(self) -> None:
        self.owner: int | None = None  # the thread that holds it
        self.errands: deque[Call] = deque()
        self.wakeup: Wakeup | None = None
        self._lock = threading.RLock()
        self._wake_lock = threading.Lock()

    def take(self) -> int | None:
        """Wait for the turn and take it. Returns what `give` needs; the holder may take more."""
        self._lock.acquire()
        before, self.owner = self.owner, get_ident()
        return before

    def give(self, before: int | None) -> None:
        """Give a turn back."""
        self.owner = before
        self._lock.release()
        if self.errands and before is None:
            # Left between the holder's last look and now.
            self._do_errands_here()

    def run_on_loop(self, function: Callable[..., object], *args: Any) -> None:
        """Run a function where it can't meet a pass: here and now, or on the holder's thread."""
        if self.owner == get_ident():
            function(*args)
        else:
            self.errands.append((function, args))
            self.wake()
            self._do_errands_here()

    def _do_errands_here(self) -> None:
        while self.errands and self._lock.acquire(blocking=False):
            before, self.owner = self.owner, get_ident()
            try:
                self.do_errands()
            finally:
                self.owner = before
                self._lock.release()

    def do_errands(self) -> None:
        """Do what others have left. For the holder of the turn."""
        while self.errands:
            function, args = self.errands.popleft()
            function(*args)

    def wake(self) -> None:
        """End the holder's wait, if there is one. Safe from any thread."""
        with self._wake_lock:
            if self.wakeup is not None:
                self.wakeup.set()

    def needs_wakeup(self) -> bool:
        """Whether somebody could call from elsewhere and nothing is there yet to be woken by."""
        return self.wakeup is None and _other_threads() > 0

    def make_wakeup(self) -> int:
        """Make what the holder will be woken by, and return its descriptor."""
        with self._wake_lock:
            self.wakeup = Wakeup()
            return self.wakeup.fileno()

    def drop_wakeup(self) -> None:
        """Give the wake-up's descriptor back."""
        with self._wake_lock:
            wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            wakeup.close()

    def after_fork(self) -> None:
        """In a forked child only the thread that forked lives on."""
        self._wake_lock = threading.Lock()
        if self.owner != get_ident():
            self._lock = threading.RLock()
            self.owner = None
        self.drop_wakeup()
