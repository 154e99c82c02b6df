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
import contextlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

from asynccore import pollers
from asynccore.engine import Engine, engines
from asynccore.hosting import Cancellable, Host, Watcher
from asynccore.listening import ACCEPT_PAUSE
from asynccore.pollers import Events, Poller

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

    def verify(self, fd: int) -> bool:
        return self._inner.verify(fd)

    def wait(self, timeout: float | None) -> Events:
        if time.monotonic() < self._next_turn:
            events = self._inner.wait(0)
            if events:
                return events
        if not self._look_at_host():
            return self._inner.wait(timeout)
        self._ready = False
        self._watcher.follow(self._inner)
        at_once = self._inner.always_ready or self._watcher.refused
        self._run_host(0 if at_once else timeout)
        self._next_turn = time.monotonic() + SHARE
        return self._inner.wait(0)

    def fileno(self) -> int:
        return self._inner.fileno()

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


class _Made:
    """An asyncio loop that was made here. It is closed with its thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._pid = os.getpid()

    def __del__(self) -> None:
        # The main thread's is closed at exit, when asyncio is still whole.
        if not sys.is_finalizing() and self._pid == os.getpid():
            _close_loop(self.loop)


class _Current(threading.local):
    """The asyncio loop that this thread's waits run, if it was made here."""

    made: _Made | None = None
    parents: asyncio.AbstractEventLoop | None = None  # the one that was set at the fork


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
        loop = _set_loop()
        if loop is None or loop.is_closed() or not self._takes(loop):
            made = _current.made
            if made is None or made.loop.is_closed():
                made = _current.made = _Made(self._new_loop())
                if threading.current_thread() is threading.main_thread():
                    atexit.register(_close_loop, made.loop)
            loop = made.loop
            asyncio.set_event_loop(loop)
        return loop

    def _takes(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a loop that the program has set is of the kind that was asked for."""
        return True

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def _look_at_host(self) -> bool:
        # The program may have set another loop since, or closed this one.
        loop = _set_loop()
        if (
            self._thread != threading.get_ident()
            or self.loop.is_closed()
            or (
                loop is not self.loop
                and loop is not None
                and not loop.is_closed()
                and self._takes(loop)
            )
        ):
            self._change_host()
        return True

    def _on_ready(self) -> None:
        """A channel is ready, or the time is up."""
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
        _run_loop(loop, self._host, timeout, self._on_ready)

    def _call_in_host(self, function: Callable[..., object], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # closed meanwhile
            self.loop.call_soon_threadsafe(function, *args)


def _run_loop(
    loop: asyncio.AbstractEventLoop,
    host: Host,
    timeout: float | None,
    over: Callable[[], object],
) -> None:
    """Run a loop until `over` stops it, which is called after so many seconds.

    It has to stop it once for each run: a second `stop` would end uvloop's next run.
    """
    handle: Cancellable | None = None
    if timeout == 0:
        handle = loop.call_soon(over)
    elif timeout is not None:
        handle = host.call_later(timeout, over)
    try:
        loop.run_forever()
    finally:
        if handle is not None:
            handle.cancel()


def _set_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that the program has set for this thread, without making one.

    The public `get_event_loop` makes one (3.10 to 3.13), and warns or not. A policy that keeps it
    elsewhere than asyncio's and uvloop's do is not asked.
    """
    local = getattr(asyncio.get_event_loop_policy(), "_local", None)
    loop: asyncio.AbstractEventLoop | None = getattr(local, "_loop", None)
    return None if loop is _current.parents else loop


def _after_fork_in_child() -> None:
    # A loop is shared across a fork: what the child took out of it would deafen the parent. Since
    # 3.12 asyncio forgets it by itself.
    _current.parents = _set_loop() or _current.parents
    _current.made = None
    atexit.unregister(_close_loop)


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)


class Spare:
    """As many descriptors as uvloop takes for each run, kept for it.

    On the main thread it makes a pair of sockets when it is run, for signals. If there are no
    descriptors left, the run fails, and so does every later one: the loop counts as running.
    """

    def __init__(self) -> None:
        self._kept: list[int] = []
        self.keep()

    def keep(self) -> None:
        """Take them, as far as there are any."""
        with contextlib.suppress(OSError):
            while len(self._kept) < 2:
                self._kept.append(os.open(os.devnull, os.O_RDONLY))

    def lend(self) -> bool:
        """Give them back for a moment; return False if they were not to be had."""
        self.keep()
        whole = len(self._kept) == 2
        if whole:
            self.close()
        return whole

    def close(self) -> None:
        """Give them back."""
        while self._kept:
            os.close(self._kept.pop())

    __del__ = close


class UvloopPoller(AsyncioPoller):
    """The same with uvloop's loop."""

    name: ClassVar[str] = "uvloop"

    def __init__(self) -> None:
        super().__init__()
        self._spare = Spare()

    def _run_host(self, timeout: float | None) -> None:
        if threading.current_thread() is not threading.main_thread():
            super()._run_host(timeout)
        elif self._spare.lend():
            try:
                super()._run_host(timeout)
            finally:
                self._spare.keep()
        else:
            # Soon there may be some, and the loop's own work goes on.
            longest = ACCEPT_PAUSE
            self._inner.wait(longest if timeout is None else min(timeout, longest))

    def close(self) -> None:
        super().close()
        self._spare.close()

    def _takes(self, loop: asyncio.AbstractEventLoop) -> bool:
        return type(loop).__module__.partition(".")[0] == "uvloop"

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop


class TwistedPoller(HostPoller):
    """Waits in Twisted's reactor, the one that is installed or the default one.

    There is one, and one thread at a time can run it. Once it is stopped, and in forked children,
    whose parent it belongs to, waits are the inner poller's.
    """

    name: ClassVar[str] = "twisted"

    def _make_host(self) -> Host:
        from twisted.internet import reactor

        from compat.hosts.twisted_host import TwistedHost

        self.reactor: Any = reactor
        # The loop of asyncio that the reactor runs, if it is of that kind.
        self._loop: Any = getattr(reactor, "_asyncioEventloop", None)
        if not _reactor.began:
            _reactor.begin(reactor)
        return TwistedHost(reactor)

    def _look_at_host(self) -> bool:
        if not self.reactor.running or _reactor.pid != os.getpid():
            return False
        _reactor.claim(self)
        return True

    def _on_ready(self) -> None:
        """A channel is ready, or the time is up."""
        if not self._ready:
            self._ready = True
            if self._loop is not None:
                self._loop.stop()

    def _run_host(self, timeout: float | None) -> None:
        reactor = self.reactor
        if self._loop is not None:
            # Its `iterate` sleeps for all of the time that it is given, whatever happens.
            _run_loop(self._loop, self._host, timeout, self._on_ready)
            return
        begin = time.monotonic()
        while True:
            left = None if timeout is None else max(0.0, timeout - (time.monotonic() - begin))
            due = reactor.timeout()
            wait = min((t for t in (left, due) if t is not None), default=None)
            reactor.iterate(wait)
            if self._ready or left == 0 or not reactor.running:
                return
            if timeout is not None and time.monotonic() - begin >= timeout:
                return

    def _call_in_host(self, function: Callable[..., object], *args: object) -> None:
        self.reactor.callFromThread(function, *args)


class _Reactor:
    """The state of the only reactor: begun or not, in which process and thread."""

    def __init__(self) -> None:
        self.began = False
        self.pid = 0
        self._thread = 0
        self._lock = threading.Lock()

    def begin(self, reactor: Any) -> None:
        """Start a reactor without entering it, and stop it when the program ends."""
        if reactor.running:
            raise RuntimeError(
                "asyncore.loop() was called while Twisted's reactor runs, which would have to wait "
                "for itself: let compat.attach() drive the channels there"
            )
        self.began = True
        self.pid = os.getpid()
        self._thread = threading.get_ident()
        # Signals stay the program's, as with asyncore. `run()` is this, and then many `iterate`.
        reactor.startRunning(installSignalHandlers=False)
        reactor.addSystemEventTrigger("after", "shutdown", _stop_loops)
        # Before the interpreter waits for the threads of the reactor's pool.
        register: Callable[..., object] = getattr(threading, "_register_atexit", atexit.register)
        register(self._end, reactor)

    def claim(self, poller: Poller) -> None:
        """Let this thread run the reactor. Raises `RuntimeError` while another one does.

        Two that loop over one map take turns anyway.
        """
        me = threading.get_ident()
        if me == self._thread:
            return
        from twisted.python import threadable

        with self._lock:
            others = [
                one
                for one in _waiting()
                if (present := one.interest.poller) and present.innermost is not poller
            ]
            if any(self._thread == thread for engine in others for thread, _ in engine.loops):
                raise RuntimeError(
                    "another thread's loop() runs Twisted's reactor, which can't run in two: name "
                    "a poller in this thread, as in loop(map=..., poller='select')"
                )
            self._thread = me
            threadable.registerAsIOThread()  # type: ignore[no-untyped-call]

    def _end(self, reactor: Any) -> None:
        if self.pid == os.getpid():
            if reactor.running:
                reactor.stop()
            reactor.iterate(0)


_reactor = _Reactor()


def _waiting() -> list[Engine]:
    """Return the engines that wait in the reactor."""
    name = TwistedPoller.name
    return [one for one in engines() if getattr(one.interest.poller, "name", None) == name]


def _stop_loops() -> None:
    """End the loops that wait in the reactor: the program has stopped it."""
    for engine in _waiting():
        if engine.loops:
            engine.stopping = True


POLLERS: dict[str, Callable[[], Poller]] = {
    poller.name: poller for poller in (AsyncioPoller, UvloopPoller, TwistedPoller)
}
