"""Who owns a map now: the thread that runs a pass, and the calls that others leave for it.

Facts. Programs call `push`, `send` and `close` from any thread. A descriptor that is closed while
another thread waits for it may be somebody else's when that thread looks again. Callbacks that
run under a lock can deadlock on what they call.

A signal handler runs on the thread that waits, in the middle of the system call, which Python then
begins anew (PEP 475).

Consequence. A thread that runs a pass owns the map. Others leave a call for it, and wake it. If
nobody owns the map, they take it and make the call at once. The wake-up is a descriptor, so that a
signal handler can end the wait that it interrupted. A channel's state is thus touched by one
thread at a time, and nobody waits for a lock that is held during a wait.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Container
from threading import get_ident

from ..errors import leaves_loop, reraised
from ..pollers.wakeup import Wakeup
from . import signals

Call = tuple[Callable[..., object], tuple[object, ...]]


class Ownership:
    """Says which thread may touch the channels of one map, and keeps the calls of the others.

    Its owner may take it several times over: a handler runs a loop of its own.
    """

    def __init__(self) -> None:
        self.owner: int | None = None  # the thread that has it
        self.host_thread: int | None = None  # the thread of the host that waits between passes
        self.deferred: deque[Call] = deque()
        self.wakeup: Wakeup | None = None
        self._lock = threading.RLock()
        self.waiting = False
        self._wake_lock = threading.RLock()  # a signal handler may come in between

    def take(self) -> int | None:
        """Wait until nobody else owns the map, and own it. Returns what `give` needs."""
        self._lock.acquire()
        before, self.owner = self.owner, get_ident()
        return before

    def give(self, before: int | None) -> None:
        """Undo one `take`."""
        self.owner = before
        self._lock.release()
        if self.deferred and before is None:
            # They were left between the owner's last look and now.
            self._run_deferred_here()

    def run_on_loop(self, function: Callable[..., object], *args: object) -> None:
        """Run a function where it can't meet a pass: here and now, or on the owner's thread."""
        here, host_thread = get_ident(), self.host_thread
        if self.owner == here:
            function(*args)
            if self.waiting:  # this is a signal handler
                self.wake()
        elif (host_thread is None or host_thread == here) and self._lock.acquire(False):
            before, self.owner = self.owner, here
            try:
                function(*args)
            finally:
                self.give(before)
            self.nudge()
        else:
            self.deferred.append((function, args))
            self.wake()
            self._run_deferred_here()

    def _may_own_here(self) -> bool:
        """Whether this thread may own the map: the host's alone, if there is one."""
        return self.host_thread is None or self.host_thread == get_ident()

    def _run_deferred_here(self) -> None:
        while self.deferred and self._may_own_here() and self._lock.acquire(blocking=False):
            before, self.owner = self.owner, get_ident()
            try:
                self.run_deferred()
            finally:
                self.owner = before
                self._lock.release()

    def run_deferred(self) -> None:
        """Make the calls that others have left. For the owner.

        Who left a call can't be told of its exception any more: its channel is.
        """
        while self.deferred:
            function, args = self.deferred.popleft()
            try:
                function(*args)
            except reraised():
                raise
            except BaseException as why:
                channel: object = getattr(function, "__self__", None)
                if leaves_loop(why) or not hasattr(channel, "handle_error"):
                    raise
                channel.handle_error()

    def nudge(self) -> None:
        """End the present wait, if this is called in the middle of one.

        By another thread, by a signal handler, which runs on the very thread that waits, or by
        other code on a host's thread, which waits when no pass is running.
        """
        if (
            self.waiting
            or (self.owner is None and self.host_thread is not None)
            or (self.owner is not None and self.owner != get_ident())
        ):
            self.wake()

    def wake(self) -> None:
        """End the present wait, or the next one. Safe from any thread and from signal handlers."""
        with self._wake_lock:
            if self.wakeup is not None:
                self.wakeup.set()

    def make_wakeup(self, taken: Container[int] = ()) -> int:
        """Make what the owner will be woken by, and return its descriptor.

        It is not one of `taken`: the map may hold a number that somebody closed, and whoever
        closes that channel must not close this one.
        """
        refused = []
        wakeup = Wakeup()
        while (fd := wakeup.fileno()) in taken:
            refused.append(wakeup)
            wakeup = Wakeup()
        for other in refused:
            other.close()
        with self._wake_lock:
            self.wakeup = wakeup
        signals.made(self)
        return fd

    def drop_wakeup(self) -> None:
        """Give the wake-up's descriptor back."""
        with self._wake_lock:
            wakeup, self.wakeup = self.wakeup, None
        if wakeup is not None:
            signals.about_to_close(wakeup)
            wakeup.close()

    def after_fork(self) -> None:
        """In a forked child only the thread that forked lives on."""
        self._wake_lock = threading.RLock()
        if self.owner != get_ident():
            self._lock = threading.RLock()
            self.owner = None
        self.drop_wakeup()
