"""`ClassicReactor`: a Twisted reactor that a classic loop drives.

Facts. A transport of Twisted's is a socket, buffers, producers, half-close, TLS and reasons for its
end, some thousand lines with tests of their own. Protocols use the reactor, too: `TimeoutMixin` and
`deferToThread` the one that is installed. Twisted has a public base for reactors of others,
`PosixReactorBase`, to which a reactor is no more than a set of descriptors, a clock and a wake-up.

Consequence. So that is what is built here, and not transports over dispatchers: the descriptors
become channels of the map, the delayed calls timers of its engine, and a wake-up its wake-up. All
else is Twisted's own: TCP, UDP, Unix sockets, TLS, processes, endpoints. Who drives the map drives
Twisted, be it `asyncore.loop()`, `poll()`, an `attach`ed event loop, or `reactor.run()`.

Trade-off. `dispatcher` has no part in these connections, nor have its timeouts and limits, nor has
ssl_ext: Twisted has its own, and its own TLS on the same OpenSSL.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.main import installReactor
from twisted.python.threadpool import ThreadPool

import asynccore
from asynccore.channels import Map
from asynccore.classic.former import formerly
from asynccore.classic.namespace import default_map
from asynccore.listening import socket_activation

from ..hosts import processes
from . import shared_ports
from .delayed_calls import DelayedCalls
from .thread_pool import CountedPool


class ClassicReactor(DelayedCalls):
    """A reactor for the channels of one map, by default `asynccore.socket_map` of now.

    It starts with the first pass of a loop over that map and goes on whenever one runs. `loop()`
    ends as ever when the map is empty: when Twisted has no connection, port, call without delay or
    job in a thread, and the program no channel. `run()` ends with `stop()`, and with
    `asynccore.stop()` and `graceful_close()`. `stop()` disconnects what is Twisted's, and
    leaves dispatchers alone. `ExitNow`, `KeyboardInterrupt` and `SystemExit` from a protocol or a
    delayed call leave the loop; other exceptions are logged, as by any reactor.

    There may be several, each with a map and a thread of its own. `wall` is for tests: a clock of
    the time since the epoch.
    """

    @formerly("map", "wall")
    def __init__(self, *, map: Map | None = None, wall: Callable[[], float] = time.time) -> None:
        self._woken = False
        self._stops = False
        self._running_loop = False
        self._begun_by_loop = False
        super().__init__(default_map() if map is None else map, wall)
        asynccore.call_soon_threadsafe(self._begin, map=self.map)

    # -- beginning and end ----------------------------------------------------------------------

    def _begin(self) -> None:
        """A loop drives this reactor: start it, without handlers for the program's signals."""
        if not self._started and not self._startedBefore:
            self._begun_by_loop = True
            _end_with_the_program(self)
            self.startRunning(installSignalHandlers=False)

    def run(self, installSignalHandlers: bool = True) -> None:
        """Run the loop until `stop()`.

        A reactor that `loop()` has started goes on, and signals stay as they are. Raises
        `ReactorAlreadyRunning` within itself, and `ReactorNotRestartable` after `stop()`.
        """
        if self._begun_by_loop and self._started and not self._running_loop:
            self.mainLoop()
        else:
            super().run(installSignalHandlers)

    def mainLoop(self) -> None:
        """Run the loop until `stop()` or `crash()`; `startRunning` was called before."""
        self._running_loop = True
        self._ac_hold()
        try:
            while self._started:
                self._enter_keeper()
                asynccore.loop(map=self.map)
                if self._started and not self._stopped:
                    self.stop()  # asynccore.stop() or graceful_close() has ended the loop.
        except BaseException:
            self.crash()
            raise
        finally:
            self._running_loop = False
            self._ac_release()

    def doIteration(self, delay: float | None) -> None:
        """Wait up to `delay` seconds for events, and handle them; `None` means for ever."""
        self._ac_hold()
        try:
            asynccore.poll(0 if self._woken else delay, self.map)
        finally:
            self._ac_release()

    def stop(self) -> None:
        """Stop: shutdown triggers run, and what is Twisted's is disconnected."""
        super().stop()
        self._stops = True
        self._ac_hold()  # `_turn` releases it, once the shutdown triggers have run.
        self.wakeUp()

    def crash(self) -> None:
        """End `run()` at once."""
        super().crash()
        self._give_back()
        if self._running_loop and self.engine.loops:
            asynccore.stop(map=self.map)

    # -- waking ---------------------------------------------------------------------------------

    def installWaker(self) -> None:
        """Do nothing: the engine has a wake-up of its own."""

    def wakeUp(self) -> None:
        """Have the loop look at what was left for it. Safe from any thread."""
        if not self._woken:
            self._woken = True
            asynccore.call_soon_threadsafe(self._turn, map=self.map)

    def _turn(self) -> None:
        self._woken = False  # This precedes the look, so that what comes meanwhile wakes anew.
        self.runUntilCurrent()
        if self._stops and not self._justStopped:
            self._stops = False
            self._ac_release()

    # -- threads --------------------------------------------------------------------------------

    def getThreadPool(self) -> ThreadPool:
        """Return the pool of threads. The loop goes on while it has work."""
        pool = super().getThreadPool()
        if not isinstance(pool, CountedPool):
            CountedPool.adopt(pool, self)  # Twisted has just made it, and no thread runs yet.
        return pool

    # -- ports ----------------------------------------------------------------------------------

    def listenTCP(self, port: int, factory: object, backlog: int = 50, interface: str = "") -> Any:
        """Listen; with `asynccore run --workers` and the like, at a shared or inherited socket."""
        arranged = socket_activation.arranged
        if arranged is None:
            return super().listenTCP(port, factory, backlog, interface)  # type: ignore[no-untyped-call]
        return shared_ports.stream_port(self, arranged, port, factory, backlog, interface)

    def listenUDP(
        self, port: int, protocol: object, interface: str = "", maxPacketSize: int = 8192
    ) -> Any:
        """Receive datagrams; with `asynccore run --workers` and the like, as `listenTCP`."""
        if socket_activation.arranged is None:
            return super().listenUDP(port, protocol, interface, maxPacketSize)  # type: ignore[no-untyped-call]
        return shared_ports.datagram_port(self, port, protocol, interface, maxPacketSize)

    def listenUNIX(
        self,
        address: object,
        factory: object,
        backlog: int = 50,
        mode: int = 0o666,
        wantPID: int = 0,
    ) -> Any:
        """Listen at a path, or at an inherited socket that is bound to it."""
        port = None
        if socket_activation.arranged is not None:
            port = shared_ports.unix_port(self, address, factory, backlog)
        if port is None:
            port = super().listenUNIX(address, factory, backlog, mode, wantPID)  # type: ignore[no-untyped-call]
        return port

    # -- processes ------------------------------------------------------------------------------

    def spawnProcess(self, *args: object, **kw: object) -> Any:
        """Start a child process; its end is noticed without a signal handler, too."""
        transport = super().spawnProcess(*args, **kw)  # type: ignore[no-untyped-call]
        processes.watch(self, transport)
        return transport


_begun: weakref.WeakSet[ClassicReactor] = weakref.WeakSet()
_registered: list[bool] = []


def _end_with_the_program(reactor: ClassicReactor) -> None:
    _begun.add(reactor)
    if not _registered:
        _registered.append(True)
        # This comes before the interpreter waits for the threads of the pools.
        register: Callable[..., object] = getattr(threading, "_register_atexit")  # noqa: B009
        register(_end_all)


def _end_all() -> None:
    for reactor in list(_begun):
        if reactor.running:
            reactor.stop()
            reactor._turn()


@formerly("map")
def install(*, map: Map | None = None) -> None:
    """Do as `install_reactor`, under the name by which Twisted knows it.

    The module of a reactor's class has an `install`.
    """
    install_reactor(map=map)


@formerly("map")
def install_reactor(*, map: Map | None = None) -> ClassicReactor:
    """Make a `ClassicReactor` for a map and install it as `twisted.internet.reactor`.

    Returns it. Raises `ReactorAlreadyInstalledError` if there is a reactor already: call this
    before anything imports `twisted.internet.reactor`.
    """
    reactor = ClassicReactor(map=map)
    installReactor(reactor)  # type: ignore[no-untyped-call]
    return reactor
