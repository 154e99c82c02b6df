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
from contextlib import suppress
from threading import get_ident
from types import MethodType
from typing import Any, TypeVar

from ..errors import leaves_loop, reraised
from ..pollers.wakeup import Wakeup
from . import signals

Call = tuple[Callable[..., object], tuple[object, ...]]

_T = TypeVar("_T")

# How long a thread waits for what the owner of a map has only to wake up for, in seconds: far
# longer than that takes, and less than people wait for an answer, should a signal handler that
# interrupts the owner's wait be waiting for this thread.
_PATIENCE = 0.5

# And how long if it does not wait: it may be just about to, or making the calls that were left.
_MOMENT = 0.01


def put_back(calls: deque[Call], call: Call) -> None:
    """Put a call back that was to be made next, unless it is still there."""
    if not calls or calls[0] is not call:
        calls.appendleft(call)


class Ownership:
    """Says which thread may touch the channels of one map, and keeps the calls of the others.

    Its owner may take it several times over: a handler runs a loop of its own.
    """

    def __init__(self) -> None:
        self.owner: int | None = None  # the thread that has it
        self.host_thread: int | None = None  # the thread of the host that waits between passes
        self.deferred: deque[Call] = deque()
        self.wakeup: Wakeup | None = None
        self._lock: Any = threading.RLock()  # what it has for Condition is not in typeshed
        self.waiting = False
        self._wake_lock = threading.RLock()  # a signal handler may come in between

    def owned(self, function: Callable[..., _T], *args: object) -> _T:
        """Own the map while a function runs, and return what it returns."""
        if self._is_owned_here():
            return function(*args)
        try:
            self._lock.acquire()
            self.owner = get_ident()
            result = function(*args)
        finally:
            self._disown()
        if self.deferred:
            self._run_deferred_here()
        return result

    def _is_owned_here(self) -> bool:
        return self.owner == get_ident() and self._lock._is_owned()

    def _disown(self) -> None:
        """Own the map no more, if this thread does."""
        try:
            if self.owner == get_ident():
                self.owner = None
        finally:
            with suppress(RuntimeError):  # it isn't acquired: a signal handler raised before
                self._lock.release()

    def run_on_loop(self, function: Callable[..., object], *args: object) -> None:
        """Run a function where it can't meet a pass: here and now, or on the owner's thread.

        What one thread asks for is done in the order in which it asks.
        """
        if self.owner == get_ident():
            function(*args)
            if self.waiting:  # this is a signal handler
                self.wake()
        elif self._run_here(function, args):
            self.nudge()
            if self.deferred:
                self._run_deferred_here()
        else:
            self.deferred.append((function, args))
            self.wake()
            self._run_deferred_here()

    def run_on_loop_at_once(self, function: Callable[..., object], *args: object) -> None:
        """Do as `run_on_loop`, and return when it is done, unless the owner is in a handler.

        That may be waiting for this very thread, and so must not be waited for.
        """
        done = threading.Event()

        def call() -> None:
            try:
                function(*args)
            finally:
                done.set()

        call.__self__ = getattr(function, "__self__", None)  # type: ignore[attr-defined]
        self.run_on_loop(call)
        if self.owner != get_ident():
            # An owner that is seen waiting here makes this call before that of any handler.
            done.wait(_PATIENCE if self.waiting else _MOMENT)

    def calls_left_for(self, channel: object) -> list[Call]:
        """Return the calls of a channel's methods that wait for the owner."""
        return [
            call for call in list(self.deferred) if getattr(call[0], "__self__", None) is channel
        ]

    def drop_calls_left_for(self, channel: object) -> None:
        """Forget what waits for the owner, except what somebody waits for to be done."""
        for call in self.calls_left_for(channel):
            if isinstance(call[0], MethodType):
                with suppress(ValueError):
                    self.deferred.remove(call)

    def _run_here(self, function: Callable[..., object], args: tuple[object, ...]) -> bool:
        """Own the map and call a function, after those that were left before; return whether this
        thread could."""
        if not self._may_own_here():
            return False
        try:
            if not self._lock.acquire(False):
                return False
            self.owner = get_ident()
            if self.deferred:
                self.run_deferred()
            function(*args)
        finally:
            self._disown()
        return True

    def _may_own_here(self) -> bool:
        """Whether this thread may own the map: the host's alone, if there is one."""
        return self.host_thread is None or self.host_thread == get_ident()

    def _run_deferred_here(self) -> None:
        while self.deferred and self._run_here(self.run_deferred, ()):
            pass

    def run_deferred(self) -> None:
        """Make the calls that others have left. For the owner.

        Who left a call can't be told of its exception any more: its channel is.
        """
        deferred = self.deferred
        while deferred:
            call = deferred[0]
            function, args = call
            begun = False
            try:
                deferred.popleft()
                # In one line, for a signal handler may raise between two.
                _ = (begun := True) and function(*args)
            except BaseException as why:
                if not begun:
                    put_back(deferred, call)
                    raise
                channel: object = getattr(function, "__self__", None)
                if isinstance(why, reraised()) or leaves_loop(why):
                    raise
                if not hasattr(channel, "handle_error"):
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
        self.deferred.clear()  # by other threads than this one's, for the parent's loop to make
        if self.owner != get_ident():
            self._lock = threading.RLock()
            self.owner = None
        self.drop_wakeup()
