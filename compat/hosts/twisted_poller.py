"""A script's own `loop()` on Twisted's reactor.

*Facts.* There is one reactor in a process, which can't be started twice. What runs it is the
thread that it believes to be its own.
*Consequence.* It is started once, without being entered, and each wait is some of its iterations;
threads take turns.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Any, ClassVar

from asynccore.classic.genuine import Clock
from asynccore.engine import Engine, engines
from asynccore.pollers import Poller
from asynccore.running.hosting import Host

from .asyncio_poller import run_loop
from .host_poller import HostPoller


class TwistedPoller(HostPoller):
    """Waits in Twisted's reactor, the one that is installed or the default one.

    There is one, and one thread at a time can run it. Once it is stopped, and in forked children,
    whose parent it belongs to, waits are the inner poller's.
    """

    name: ClassVar[str] = "twisted"

    def _make_host(self) -> Host:
        from twisted.internet import reactor

        from .twisted_host import TwistedHost

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
            run_loop(self._loop, self._host, timeout, self._on_ready)
            return
        begin = Clock.monotonic()
        while True:
            left = None if timeout is None else max(0.0, timeout - (Clock.monotonic() - begin))
            due = reactor.timeout()
            wait = min((t for t in (left, due) if t is not None), default=None)
            reactor.iterate(wait)
            if self._ready or left == 0 or not reactor.running:
                return
            if timeout is not None and Clock.monotonic() - begin >= timeout:
                return

    def _call_in_host(self, function: Callable[..., object], *args: object) -> None:
        self.reactor.callFromThread(function, *args)


class ReactorState:
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
                if (present := one.poller) and present.innermost is not poller
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


_reactor = ReactorState()


def _waiting() -> list[Engine]:
    """Return the engines that wait in the reactor."""
    name = TwistedPoller.name
    return [one for one in engines() if getattr(one.poller, "name", None) == name]


def _stop_loops() -> None:
    """End the loops that wait in the reactor: the program has stopped it."""
    for engine in _waiting():
        if engine.loops:
            engine.stopping = True
