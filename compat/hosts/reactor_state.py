"""Twisted's reactor, started without being run: a wait of `asyncore.loop()` is what runs it.

*Facts.* There is one reactor in a process, which can't be started twice, and which joins its
threads when it stops. What runs it is the thread that it believes to be its own. Its handler for
SIGCHLD would be in the way of the program's. What a callback raises, be it the `KeyboardInterrupt`
of Ctrl-C, it writes to its log, and goes on: it relies on a handler for SIGINT that stops it.
*Consequence.* It is started once, and stopped when the program ends. Child processes are watched
without a signal. Its log tells what is to leave the loop.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from asynccore.engine import Engine, engines
from asynccore.errors import reraised
from asynccore.pollers import Poller


class ReactorState:
    """The state of the only reactor: begun or not, in which process and thread."""

    def __init__(self) -> None:
        self.began = False
        self.pid = 0
        self.lost = False  # somebody has closed its descriptors, and there is no other
        self._name = ""  # of the pollers that wait in it
        self._thread = 0
        self._lock = threading.Lock()
        self._leaving: BaseException | None = None

    def begin(self, reactor: object, name: str) -> None:
        """Start a reactor without entering it, once, and stop it when the program ends.

        `name` is that of the pollers that wait in it.
        """
        with self._lock:
            if not self.began:
                self._begin(reactor, name)

    def _begin(self, reactor: Any, name: str) -> None:
        from twisted.logger import globalLogPublisher

        from . import processes

        if reactor.running:
            raise RuntimeError(
                "asyncore.loop() was called while Twisted's reactor runs, which would have to wait "
                "for itself: let compat.attach() drive the channels there"
            )
        self.began = True
        self._name = name
        self.pid = os.getpid()
        self._thread = threading.get_ident()
        # Signals stay the program's, as with asyncore. `run()` is this, and then many `iterate`.
        reactor.startRunning(installSignalHandlers=False)
        processes.watch_all(reactor)
        observer: Any = self._note
        globalLogPublisher.addObserver(observer)
        reactor.addSystemEventTrigger("after", "shutdown", _stop_loops, name)
        # Before the interpreter waits for the threads of the reactor's pool.
        register: Callable[..., object] = getattr(threading, "_register_atexit", atexit.register)
        register(self._end, reactor)

    def begin_on(self, loop: object, name: str) -> None:
        """Start the reactor that is installed, if it is one on this loop of asyncio's.

        `name` is that of the poller that waits in the loop.
        """
        reactor: Any = sys.modules.get("twisted.internet.reactor")
        if (
            not self.began
            and getattr(reactor, "_asyncioEventloop", None) is loop
            and not reactor._startedBefore
        ):
            self.begin(reactor, name)

    def _note(self, event: Any) -> None:
        """Something is logged."""
        failure = event.get("log_failure") or event.get("failure")  # of the older log
        if failure is not None and isinstance(failure.value, reraised()):
            self._leaving = failure.value
            # A reactor on a loop of asyncio's would go on until a channel is ready.
            for engine in _engines_of(self._name):
                engine.wake()

    def leave(self) -> None:
        """Raise what is to leave the loop, and was raised in a callback of the reactor."""
        if self._leaving is not None:
            why, self._leaving = self._leaving, None
            raise why

    def claim(self, poller: Poller) -> bool:
        """Let this thread run the reactor, unless another one does; return whether it may.

        Two that loop over one map take turns anyway.
        """
        me = threading.get_ident()
        if me == self._thread:
            return True
        from twisted.python import threadable

        with self._lock:
            others = [
                one
                for one in engines()
                if (present := one.poller)
                and present.name == poller.name
                and present.innermost is not poller
            ]
            if any(self._thread == thread for engine in others for thread, _ in engine.loops):
                return False
            self._thread = me
            threadable.registerAsIOThread()  # type: ignore[no-untyped-call]
            return True

    def _end(self, reactor: Any) -> None:
        if self.pid != os.getpid() or self.lost:
            return
        loop = getattr(reactor, "_asyncioEventloop", None)
        if loop is not None and loop.is_closed():
            # Nothing can be called any more; the threads would keep the process.
            if reactor.threadpool is not None:
                reactor.threadpool.stop()
            return
        if reactor.running:
            reactor.stop()
        reactor.iterate(0)


reactor_state = ReactorState()


def _stop_loops(name: str) -> None:
    """End the loops that wait in the reactor: the program has stopped it."""
    for engine in _engines_of(name):
        if engine.loops:
            engine.stopping = True


def _engines_of(name: str) -> list[Engine]:
    """Return the engines that wait in pollers of that name."""
    return [engine for engine in engines() if getattr(engine.poller, "name", None) == name]
