"""`Trigger`: the channel by which other threads wake a loop and have it call things.

Nearly every asyncore project wrote one, after medusa's. It keeps its loop alive as long as it is
open, as any channel does, which `call_soon_threadsafe` alone does not.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import logs
from ..channels import Map
from ..classic.former import formerly
from ..engine.ownership import Call
from ..errors import reraised
from ..pollers.wakeup import Wakeup
from .dispatcher import dispatcher

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    _Args = TypeVarTuple("_Args")


class _Waker(Wakeup):
    """A wake-up that passes for a socket."""

    def getsockopt(self, *args: object) -> int:
        return 0


class Trigger(dispatcher):
    """A channel that is ready when `pull` was called, from whatever thread.

    `map` is the mapping that it enters, by default `asynccore.socket_map`. Override
    `handle_trigger`, or give `pull` a function to call, or both.
    """

    @formerly("map")
    def __init__(self, *, map: Map | None = None) -> None:
        super().__init__(None, map)
        self._ac_pulled: deque[Call] = deque()
        # A close on the loop's thread must not come between the look and the write of a pull;
        # a signal handler may pull while its own thread does.
        self._ac_lock = threading.RLock()
        self._ac_waker: _Waker | None = _Waker()
        self.connected = True
        self.set_socket(self._ac_waker, map)
        _triggers.add(self)

    def __repr__(self) -> str:
        state = "closed" if self._ac_waker is None else f"{len(self._ac_pulled)} callbacks waiting"
        return f"<{type(self).__qualname__}, {state}, at {id(self):#x}>"

    def pull(
        self, callback: Callable[[Unpack[_Args]], object] | None = None, *args: Unpack[_Args]
    ) -> None:
        """Wake the loop; it calls `callback(*args)`, and then `handle_trigger`.

        Safe from any thread and from signal handlers. Callbacks run on the loop's thread, in the
        order of the pulls, and none is lost; several pulls may be one wake-up. Exceptions are
        reported with their traceback and don't end the loop; `ExitNow`, `KeyboardInterrupt` and
        `SystemExit` do.

        Raises `RuntimeError` once it is closed, and `TypeError` if the callback can't be called.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"pull() needs something to call, not {callback!r}")
        with self._ac_lock:
            if self._ac_waker is None:
                raise RuntimeError(f"{self!r} can't be pulled: make a new one")
            if callback is not None:
                self._ac_pulled.append((callback, args))
            self._ac_waker.set()

    def pull_trigger(self, thunk: Callable[[], object] | None = None) -> None:
        """Do as `pull`; medusa's name."""
        self.pull(thunk)

    def handle_trigger(self) -> None:
        """The trigger was pulled, once or more: called once for each wake-up, after callbacks."""

    # -- as a channel ---------------------------------------------------------------------------

    def readable(self) -> bool:
        """Whether to wait for a pull: always."""
        return True

    def writable(self) -> bool:
        """Whether to wait for writing: never."""
        return False

    def handle_read_event(self) -> None:
        """Call what was pulled."""
        waker = self._ac_waker
        if waker is None:
            return
        waker.clear()
        try:
            # Those that wait now: one that pulls anew must not keep other channels waiting.
            for _ in range(len(self._ac_pulled)):
                if not self._ac_pulled:
                    break  # called by a loop inside of one of them
                callback, args = self._ac_pulled.popleft()
                _call(callback, args)
            if self._ac_waker is waker:
                _call(self.handle_trigger, ())
        finally:
            if self._ac_pulled and self._ac_waker is waker:
                waker.set()

    def _ac_close(self) -> None:
        with self._ac_lock:
            self._ac_waker = None
        if self._ac_engine is not None and self._ac_pulled:
            # What was pulled before counts.
            self._ac_engine.keep()
            while self._ac_pulled:
                callback, args = self._ac_pulled.popleft()
                self._ac_engine.call_soon_threadsafe(callback, *args)
        super()._ac_close()

    def _ac_after_fork(self) -> None:
        self._ac_lock = threading.RLock()
        if self._ac_waker is not None:
            self._ac_waker.renew()
            if self._ac_pulled:
                self._ac_waker.set()


def _call(callback: Callable[..., object], args: tuple[object, ...]) -> None:
    try:
        callback(*args)
    except reraised():
        raise
    except BaseException:
        logs.report_callback(callback)


_triggers: weakref.WeakSet[Trigger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for trigger in list(_triggers):
        trigger._ac_after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
