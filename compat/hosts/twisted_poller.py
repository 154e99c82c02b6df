"""A script's own `loop()` on Twisted's reactor.

It was started once, without being entered (`reactor_state`), and each wait is some of its
iterations; threads take turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

from asynccore.classic.genuine import Clock
from asynccore.engine import Engine
from asynccore.running.hosting import Host

from .asyncio_poller import run_loop
from .host_poller import HostPoller
from .reactor_state import reactor_state


class TwistedPoller(HostPoller):
    """Waits in Twisted's reactor, the one that is installed or the default one.

    There is one, and one thread at a time can run it. While another one does, once it is stopped,
    in forked children, whose parent it belongs to, and where it is a `ClassicReactor`, waits are
    the inner poller's.
    """

    name: ClassVar[str] = "twisted"

    def _make_host(self) -> Host:
        from twisted.internet import reactor

        from .twisted_host import TwistedHost

        self.reactor: Any = reactor
        # The loop of asyncio that the reactor runs, if it is of that kind.
        self._loop: Any = getattr(reactor, "_asyncioEventloop", None)
        # A ClassicReactor is driven by a map's loop, and so runs without being waited in.
        self._is_driven = isinstance(getattr(reactor, "engine", None), Engine)
        if not self._is_driven:
            reactor_state.begin(reactor, self.name)
        return TwistedHost(reactor)

    def _look_at_host(self) -> bool:
        if (
            self._is_driven
            or not self.reactor.running
            or reactor_state.lost
            or reactor_state.pid != os.getpid()
        ):
            return False
        if reactor_state.claim(self):
            return True
        if self._watcher.watches():
            self._call_in_host(self._watcher.stop)  # else the other thread finds it ready
        return False

    def abandon(self) -> None:
        super().abandon()
        reactor_state.lost = True

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
            reactor_state.leave()
            return
        begin = Clock.monotonic()
        while True:
            left = None if timeout is None else max(0.0, timeout - (Clock.monotonic() - begin))
            due = reactor.timeout()
            wait = min((t for t in (left, due) if t is not None), default=None)
            reactor.iterate(wait)
            reactor_state.leave()
            if self._ready or left == 0 or not reactor.running:
                return
            if timeout is not None and Clock.monotonic() - begin >= timeout:
                return

    def _call_in_host(self, function: Callable[..., object], *args: object) -> None:
        self.reactor.callFromThread(function, *args)
