"""A script's own `loop()` on somebody else's: pollers that wait inside of a host.

*Facts.* A script calls `loop()` with counts and timeouts, again after it returned, and within
handlers. Neither asyncio nor Twisted lets its loop be entered within itself.
*Consequence.* Dispatch stays where it is, in `loop()`. Only the wait is handed to the host: it runs
its own work until a channel is ready or the time is up. Handlers run outside of the host's loop,
and so may enter it again.
*Trade-off.* Entering a host costs more than a wait. Under load it is entered once in `SHARE`
seconds and not at every pass, so the host's own work may be so much later.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import ClassVar

from asynccore import pollers
from asynccore.classic.genuine import Clock
from asynccore.pollers import Events, Poller, PollerLost
from asynccore.running.hosting import Host, Watcher

# How long channels that are always ready may keep the host from its own work, in seconds. About a
# tenth of what is taken for an instant in an interface, and thirty times the cost of entering.
SHARE = 0.001


class HostPoller(Poller):
    """A poller of this platform, whose waits are a host's.

    `inner` names the poller; `None` takes the platform's best one.
    """

    inner: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._host = self._make_host()
        self._inner = pollers.make(self.inner or pollers.available()[0])
        self.interest = self._inner.interest
        self._ready = False
        self._watcher = Watcher(self._host, _weakly(self._on_ready))
        self._next_turn = 0.0

    def __del__(self) -> None:
        # A map that is dropped takes its engine with it; the host must not go on watching.
        watcher = getattr(self, "_watcher", None)
        if watcher is None or not watcher.watches():
            return
        if self._thread == threading.get_ident():
            watcher.stop()
        else:
            self._call_in_host(_stop, watcher, self._inner)

    def _make_host(self) -> Host:
        raise NotImplementedError

    def _run_host(self, timeout: float | None) -> None:
        """Run the host until `_on_ready`, or so many seconds."""
        raise NotImplementedError

    def _look_at_host(self) -> bool:
        """See to it that the host can be run, before it is; return False if it can't any more."""
        return True

    def _change_host(self) -> None:
        """Wait in another host from now on."""
        self._watcher.stop()
        self._thread = threading.get_ident()
        self._host = self._make_host()
        self._watcher = Watcher(self._host, _weakly(self._on_ready))

    def _call_in_host(self, function: Callable[..., object], *args: object) -> None:
        """Call a function on the host's thread, from another one."""
        raise NotImplementedError

    def _on_ready(self) -> None:
        """A channel is ready."""
        self._ready = True

    @property
    def always_ready(self) -> bool:  # type: ignore[override]
        """Whether the inner poller is."""
        return self._inner.always_ready

    def set(self, fd: int, mask: int) -> None:
        self._inner.set(fd, mask)

    def withdraw(self, fd: int) -> None:
        self._inner.withdraw(fd)

    def verify(self, fd: int) -> bool:
        return self._inner.verify(fd)

    def wait(self, timeout: float | None) -> Events:
        if Clock.monotonic() < self._next_turn:
            events = self._inner.wait(0)
            if events:
                return events
        if self.is_lost():
            raise PollerLost
        if not self._look_at_host():
            return self._inner.wait(timeout)
        self._ready = False
        self._watcher.follow(self._inner)
        at_once = self._inner.always_ready or self._watcher.refused
        self._run_host(0 if at_once else timeout)
        self._next_turn = Clock.monotonic() + SHARE
        return self._inner.wait(0)

    def fileno(self) -> int:
        return self._inner.fileno()

    def is_lost(self) -> bool:
        return super().is_lost() or self._inner.is_lost()

    def abandon(self) -> None:
        # So are the host's descriptors.
        self._watcher.abandon()
        self._inner.abandon()
        self.interest = {}

    def close(self) -> None:
        self._watcher.stop()
        self._inner.close()
        self.interest = {}

    def after_fork(self) -> None:
        # The host belongs to the parent: nothing is told to it.
        self._watcher.abandon()
        self._inner.after_fork()


def _weakly(method: Callable[[], object]) -> Callable[[], None]:
    """Return a callback that does not keep the object of a method."""
    reference = weakref.WeakMethod(method)

    def call() -> None:
        bound = reference()
        if bound is not None:
            bound()

    return call


def _stop(watcher: Watcher, poller: Poller) -> None:
    """Watch no more; what is watched stays open until then."""
    watcher.stop()
    poller.close()
