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

import asyncio
import atexit
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

from asynccore import pollers
from asynccore.hosting import Host, Watcher
from asynccore.pollers import Event, Poller

# How long channels that are always ready may keep the host from its own work, in seconds. About a
# tenth of what is taken for an instant in an interface, and thirty times the cost of entering.
SHARE = 0.001


class HostPoller(Poller):
    """A poller of this platform, whose waits are a host's."""

    def __init__(self) -> None:
        super().__init__()
        self._inner = pollers.make(pollers.available()[0])
        self.interest = self._inner.interest
        self._ready = False
        self._host = self._make_host()
        self._watcher = Watcher(self._host, self._on_ready)
        self._next_turn = 0.0

    def _make_host(self) -> Host:
        raise NotImplementedError

    def _run_host(self, timeout: float | None) -> None:
        """Run the host until `_on_ready`, or so many seconds."""
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

    def verify(self, fd: int) -> bool:
        return self._inner.verify(fd)

    def wait(self, timeout: float | None) -> list[Event]:
        if time.monotonic() < self._next_turn:
            events = self._inner.wait(0)
            if events:
                return events
        self._ready = False
        self._watcher.follow(self._inner)
        self._run_host(0 if self._inner.always_ready else timeout)
        self._next_turn = time.monotonic() + SHARE
        return self._inner.wait(0)

    def close(self) -> None:
        self._watcher.stop()
        self._inner.close()
        self.interest = {}

    def after_fork(self) -> None:
        # The host belongs to the parent: nothing is told to it.
        self._inner.after_fork()


class _Current(threading.local):
    """The asyncio loop that this thread's waits run, if it was made here."""

    loop: asyncio.AbstractEventLoop | None = None


_current = _Current()


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End a loop that was made here, with the tasks that are left in it."""
    if loop.is_closed() or loop.is_running():
        return
    loop.call_soon(loop.stop)  # takes in a stop that came after the last wait
    loop.run_forever()
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


class AsyncioPoller(HostPoller):
    """Waits in the thread's asyncio loop: the one that is set, or a new one."""

    name: ClassVar[str] = "asyncio"

    def _make_host(self) -> Host:
        from compat.hosts.asyncio_host import AsyncioHost

        self.loop = self._find_loop()
        return AsyncioHost(self.loop)

    def _find_loop(self) -> asyncio.AbstractEventLoop:
        loop = _current.loop
        if loop is None or loop.is_closed():
            loop = self._set_loop()
        if loop is None or loop.is_closed():
            loop = _current.loop = self._new_loop()
            asyncio.set_event_loop(loop)
            atexit.register(_close_loop, loop)
        return loop

    def _set_loop(self) -> asyncio.AbstractEventLoop | None:
        """Return the loop that the program has set for this thread."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: where none is set
            try:
                return asyncio.get_event_loop_policy().get_event_loop()
            except RuntimeError:
                return None

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _on_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self.loop.stop()

    def _run_host(self, timeout: float | None) -> None:
        loop = self.loop
        try:
            running: object = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is not None:
            raise RuntimeError(
                "asyncore.loop() was called in a coroutine or callback of asyncio, which would "
                "have to wait for itself: let compat.attach() drive the channels there"
            )
        handle = None
        if timeout == 0:
            loop.call_soon(loop.stop)
        elif timeout is not None:
            handle = loop.call_later(timeout, loop.stop)
        try:
            loop.run_forever()
        finally:
            if handle is not None:
                handle.cancel()


class UvloopPoller(AsyncioPoller):
    """The same with uvloop's loop."""

    name: ClassVar[str] = "uvloop"

    def _set_loop(self) -> asyncio.AbstractEventLoop | None:
        loop = super()._set_loop()
        return loop if type(loop).__module__.partition(".")[0] == "uvloop" else None

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop


class TwistedPoller(HostPoller):
    """Waits in Twisted's reactor, the one that is installed or the default one."""

    name: ClassVar[str] = "twisted"

    def _make_host(self) -> Host:
        from twisted.internet import reactor

        from compat.hosts.twisted_host import TwistedHost

        self.reactor: Any = reactor
        if not _reactor_began:
            _begin(self.reactor)
        return TwistedHost(self.reactor)

    def _run_host(self, timeout: float | None) -> None:
        reactor = self.reactor
        begin = time.monotonic()
        while True:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - begin))
            due = reactor.timeout()
            wait = min((t for t in (left, due) if t is not None), default=None)
            reactor.iterate(wait)
            if self._ready or left == 0:
                return
            if timeout is not None and time.monotonic() - begin >= timeout:
                return


_reactor_began: list[Any] = []


def _begin(reactor: Any) -> None:
    """Start a reactor without entering it, and stop it when the program ends."""
    if reactor.running:
        raise RuntimeError(
            "asyncore.loop() was called while Twisted's reactor runs, which would have to wait for "
            "itself: let compat.attach() drive the channels there"
        )
    _reactor_began.append(reactor)
    # Signals stay the program's, as with asyncore. `run()` is this, and then a loop of `iterate`.
    reactor.startRunning(installSignalHandlers=False)
    # Before the interpreter waits for the threads of the reactor's pool.
    register: Callable[..., object] = getattr(threading, "_register_atexit", atexit.register)
    register(_end, reactor)


def _end(reactor: Any) -> None:
    if reactor.running:
        reactor.stop()
    reactor.iterate(0)


POLLERS: dict[str, Callable[[], Poller]] = {
    poller.name: poller for poller in (AsyncioPoller, UvloopPoller, TwistedPoller)
}
