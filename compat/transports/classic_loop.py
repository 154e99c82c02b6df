"""`ClassicLoop`: the asyncio loop of a classic map, which runs along whenever that map does.

Facts. Protocols, tasks and futures find their loop by `asyncio.get_running_loop()`, and want
timers, executors, signals and sockets of it. asyncio's own loop class has all that, on any
selector. A classic loop does not know of it, and nobody can have two loops run at once.

Consequence. This is asyncio's loop class on a selector that is an engine. It can be run as any
other (`run_until_complete`), and then makes the passes of its map. When a classic loop runs
instead, whatever is due here has one round of this loop run within a pass: `stop()` before
`run_forever()` runs just one, as documented. Timers are the engine's own.

While a pass is made, this loop is the one that runs, for dispatchers, too: `create_task` works in
their handlers, and `asyncio.run` does not, as on a host.

Trade-off. A round costs some 10 µs. So our transports call their protocols without one.
"""

from __future__ import annotations

import asyncio
import errno
import inspect
import signal
import socket
import ssl as _stdlib_ssl
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextvars import Context
from threading import get_ident
from typing import IO, Any, TypeVar

import asynccore
from asynccore.channels import Map, SocketLike
from asynccore.classic.former import formerly
from asynccore.classic.namespace import default_map
from asynccore.engine import Engine, engine_for, engines, signals
from asynccore.engine.current import current_engine

from ..hosts.running_loop import Running, running, set_running
from . import connections, datagram_endpoints
from .connections import P
from .datagram_endpoints import D
from .datagrams import DatagramTransport
from .engine_selector import EngineSelector
from .servers import Server
from .streams import StreamTransport

T = TypeVar("T")

# Where an engine keeps its loop, so that both end together.
_PLACE = "_asyncio_loop"


class _TimerHandle(asyncio.TimerHandle):
    """A timer of asyncio on one of the engine's."""

    timer: asynccore.Timer | None = None
    handle: asyncio.Handle | None = None  # once it is due

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.handle is not None:
            self.handle.cancel()
        super().cancel()


class ClassicLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop on the engine of a map, by default `asynccore.socket_map`.

    `asynccore.loop()` on that map, or this loop's own `run_forever`, runs the tasks, timers and
    callbacks of this loop, and the dispatchers of the map. `stop()` ends either. Connections
    and servers that the loop makes are transports over dispatchers. With `ssl=True` or a context of
    the module `ssl`, TLS is asyncio's own. With options that only asyncio has, the whole transport
    is.

    An `ExitNow` that a protocol's method raises leaves the loop, as from any handler. In tasks and
    callbacks of `call_soon` it is an exception like any other.
    """

    @formerly("map")
    def __init__(self, *, map: Map | None = None) -> None:
        self.map = default_map() if map is None else map
        self.engine: Engine = engine_for(self.map)
        self._selecting = EngineSelector(self.engine)
        self._planned = True
        self._pumps = self._missed = self._implicit = self._in_pass = False
        self._leaving: BaseException | None = None
        self._signal_handlers: dict[int, asyncio.Handle]  # asyncio's
        self._before_signals: dict[int, signal._HANDLER] = {}  # what was there before those
        super().__init__(self._selecting)
        self._selecting.begin()
        self._selecting.before_wait = self._run_due
        self._selecting.on_found = self._plan
        self._selecting.on_pass = self._passing
        self._selecting.on_stop = self._stopped
        self.engine.within = Running(self)
        self._planned = False

    def _be_implicit(self) -> None:
        """Be one that nobody is to close: it ends with its engine, without a word."""
        self._implicit = True
        # The collector may finalize these before the loop, and they would complain of it.
        pair: Any = (self._ssock, self._csock)  # type: ignore[attr-defined]
        weakref.finalize(self, _close_both, *pair).atexit = False

    def __del__(self) -> None:
        if self._implicit and not self.is_closed():
            self.close()
        super().__del__()

    # -- running --------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Make passes, and run what is due in between, until `stop()` or `asynccore.stop()`.

        What leaves a handler comes out.
        """
        if self.is_running() or self.is_closed():
            super().run_forever()  # It raises the RuntimeError that says what is wrong.
        self.engine.enter(review=True)
        self.engine.begin_loop(False)
        depth = signals.begin(self.engine)
        self._selecting.drive(True)
        self._planned = True
        try:
            super().run_forever()
        finally:
            self._planned = False
            self._selecting.drive(False)
            if depth >= 0:
                signals.end(depth)
            self.engine.end_loop(False)
            self._plan()
        self._leave()

    def is_running(self) -> bool:
        """Whether this loop runs, or a classic loop runs its map, which runs this one along."""
        if super().is_running():
            return True
        # asyncio asks this before it begins to run, by either way.
        begins = self._pumps or self._selecting.runs
        return not begins and bool(self.engine.loops)

    def _check_thread(self) -> None:
        """Raise `RuntimeError` on another thread than the loop's (debug mode)."""
        super()._check_thread()  # type: ignore[misc]
        loops = self.engine.loops
        if loops and all(thread != get_ident() for thread, _ in loops):
            raise RuntimeError(
                "this is not the thread of the event loop: call_soon_threadsafe() is"
            )

    def stop(self) -> None:
        """End `run_forever`, or the classic `loop()` that runs the map."""
        if self._selecting.runs or not (self._pumps or self.engine.loops):
            super().stop()
        else:
            self.engine.stopping = True
            self.engine.wake()

    def _ac_leave(self, why: BaseException) -> None:
        """Have an exception come out of whatever runs this loop.

        In a callback of asyncio's it would not get that far: it is raised after the round.
        """
        if self._pumps or (self._selecting.runs and not self._in_pass):
            self._leaving = why
            super().stop()
        else:
            raise why

    def _leave(self) -> None:
        why, self._leaving = self._leaving, None
        if why is not None:
            raise why

    def _run_due(self) -> None:
        """Run what is due before a pass, which would have what it receives overtake that."""
        if self._ready:  # type: ignore[attr-defined]
            self._run_once()  # type: ignore[attr-defined]

    def _stopped(self) -> None:
        """`asynccore.stop()` was called."""
        self.engine.stopping = False
        super().stop()

    def _passing(self, begins: bool) -> None:
        """While a pass is made for this loop, what it calls for must end the wait."""
        self._in_pass = begins
        self._planned = not begins

    def _plan(self) -> None:
        """Have a round run in the next pass of the map."""
        if not self._planned and not self.is_closed():
            self._planned = True
            self.engine.keep()
            self.engine.calls.append((self._round, ()))
            self.engine.nudge()

    def _round(self) -> None:
        """Run what is due, within a pass of a classic loop."""
        if self._selecting.runs or self.is_closed():
            return  # asyncio's loop makes the passes, and its next round comes by itself.
        self._planned = False
        if super().is_running():
            self._missed = (
                True  # A callback runs a classic loop: its round has to wait for the end.
            )
            return
        before = running()
        set_running(None)
        super().stop()
        self._pumps = True
        try:
            super().run_forever()
        finally:
            self._pumps = False
            set_running(before)
            if self._missed:
                self._missed = False
                self._plan()
        self._leave()

    def close(self) -> None:
        """Let go of the map; its channels stay. Raises `RuntimeError` while it runs."""
        if self.is_closed():
            return
        super().close()
        while (self._round, ()) in self.engine.calls:
            self.engine.calls.remove((self._round, ()))
        self.engine.give_back()
        within = self.engine.within
        if isinstance(within, Running) and within.loop() is self:
            self.engine.within = None
        if getattr(self.engine, _PLACE, None) is self:
            delattr(self.engine, _PLACE)

    # -- callbacks and timers -------------------------------------------------------------------

    def time(self) -> float:
        """Return the engine's time, in seconds."""
        return self.engine.clock()

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback in the next round (asyncio)."""
        handle = super().call_soon(callback, *args, context=context)
        if self._debug:  # type: ignore[attr-defined]
            _leave_out_last_frame(handle)
        if not self._planned:
            self._plan()
        return handle

    def _write_to_self(self) -> None:
        """Wake the loop up for a callback that another thread left (`call_soon_threadsafe`)."""
        engine = getattr(self, "engine", None)
        if engine is not None and not self.is_closed():
            engine.keep()
            engine.call_soon_threadsafe(self._round)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a time of `time()` (asyncio)."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if when is None:
            raise TypeError("when is a time in seconds, not None")
        if self.get_debug():
            self._check_thread()
            self._check_callback(callback, "call_at")  # type: ignore[attr-defined]
        handle = _TimerHandle(when, callback, args, self, context)
        if self.get_debug():
            _leave_out_last_frame(handle)
        handle.timer = asynccore.call_at(
            when, self._due, handle, callback, args, context, map=self.map
        )
        return handle

    def _due(
        self,
        handle: _TimerHandle,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: Context | None,
    ) -> None:
        if not handle.cancelled() and not self.is_closed():
            handle.handle = self.call_soon(callback, *args, context=context)

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        """Run a function in a thread (asyncio). A classic loop goes on until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._selecting.hold(1)
        future.add_done_callback(lambda done: self._selecting.hold(-1))
        return future

    # -- signals --------------------------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: object) -> None:
        """Run a callback in the loop when a signal comes (asyncio). On the main thread only.

        Raises `ValueError` or `RuntimeError` if that signal can't be caught here.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)  # type: ignore[attr-defined]
        if self.is_closed():
            raise RuntimeError("Event loop is closed")

        def caught(number: int, frame: object) -> None:
            self.call_soon_threadsafe(self._handle_signal, number)  # type: ignore[attr-defined]

        try:
            before = signal.signal(sig, caught)
        except (OSError, ValueError) as why:  # ValueError: not on the main thread
            raise _not_caught(sig, why) from why
        self._before_signals.setdefault(sig, before)
        self._signal_handlers[sig] = asyncio.Handle(callback, args, self)

    def remove_signal_handler(self, sig: int) -> bool:
        """Give a signal back; tell whether there was a handler (asyncio)."""
        self._check_signal(sig)  # type: ignore[attr-defined]
        if self._signal_handlers.pop(sig, None) is None:
            return False
        before = self._before_signals.pop(sig, None)
        try:
            signal.signal(sig, signal.SIG_DFL if before is None else before)
        except (OSError, ValueError) as why:
            raise _not_caught(sig, why) from why
        return True

    # -- connections ----------------------------------------------------------------------------

    async def create_connection(
        self,
        protocol_factory: Callable[[], P],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> connections.Pair[P]:
        """Connect, and return `(transport, protocol)` (asyncio)."""
        if _is_ssl_ext(options):
            return await connections.connect(
                self, self.map, protocol_factory, host, port, **options
            )
        return await super().create_connection(protocol_factory, host, port, **options)

    async def create_unix_connection(
        self, protocol_factory: Callable[[], P], path: Any = None, **options: Any
    ) -> connections.Pair[P]:
        """Connect to a Unix socket, and return `(transport, protocol)` (asyncio)."""
        if _is_ssl_ext(options):
            options["sock"] = await connections.unix_socket(self, path, options.get("sock"))
            return await connections.connect(
                self, self.map, protocol_factory, None, None, **options
            )
        return await super().create_unix_connection(protocol_factory, path, **options)

    async def connect_accepted_socket(
        self, protocol_factory: Callable[[], P], sock: socket.socket, **options: Any
    ) -> connections.Pair[P]:
        """Serve a connection that was accepted elsewhere (asyncio)."""
        if _is_ssl_ext(options):
            return await connections.connect(
                self, self.map, protocol_factory, None, None, sock=sock, server_side=True, **options
            )
        return await super().connect_accepted_socket(protocol_factory, sock, **options)

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        context: Context | None = None,
        **others: object,
    ) -> StreamTransport:
        """Make the transport of a connection that stands: asyncio's methods call this.

        The context is given since Python 3.15.
        """
        transport = connections.serve_connected(self, self.map, sock, protocol, waiter)
        if context is not None:
            transport.context = context
        return transport

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> Any:
        """Listen, and return the server (asyncio)."""
        return await connections.listen(self, self.map, protocol_factory, host, port, **options)

    async def create_unix_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], path: Any = None, **options: Any
    ) -> Any:
        """Listen at a Unix socket, and return the server (asyncio)."""
        connections.check_server_options(**options)
        options["sock"] = connections.unix_listener(path, options.get("sock"))
        options.setdefault("cleanup_socket", connections.CLEANS_UP)
        return await connections.listen(self, self.map, protocol_factory, None, None, **options)

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], D],
        local_addr: Any = None,
        remote_addr: Any = None,
        **options: Any,
    ) -> tuple[DatagramTransport, D]:
        """Make a datagram endpoint, and return `(transport, protocol)` (asyncio)."""
        return await datagram_endpoints.datagrams(
            self, self.map, protocol_factory, local_addr, remote_addr, **options
        )

    def _ensure_fd_no_transport(self, fd: int | SocketLike) -> None:
        """Raise `RuntimeError` for a descriptor of a transport: `add_reader` of asyncio asks."""
        super()._ensure_fd_no_transport(fd)  # type: ignore[misc]
        self._selecting.check(fd if isinstance(fd, int) else fd.fileno())

    async def _sendfile_native(
        self, transp: asyncio.WriteTransport, file: IO[bytes], offset: int, count: int | None
    ) -> int:
        """Send a file by sendfile(2): `sendfile` of asyncio calls this."""
        if not isinstance(transp, StreamTransport):
            sent: int = await super()._sendfile_native(transp, file, offset, count)  # type: ignore[misc]
            return sent
        return await transp.send_file(
            lambda sock: self.sock_sendfile(sock, file, offset, count, fallback=False)
        )

    async def start_tls(
        self, transport: Any, protocol: Any, sslcontext: Any, **options: Any
    ) -> Any:
        """Speak TLS from now on, and return the transport for that (asyncio).

        With a context of `ssl_ext` that is the same one.
        """
        if isinstance(sslcontext, _stdlib_ssl.SSLContext) or not isinstance(
            transport, StreamTransport
        ):
            return await super().start_tls(transport, protocol, sslcontext, **options)
        await transport.start_tls(sslcontext, **options)
        transport.set_protocol(protocol)
        return transport


def _is_ssl_ext(options: Mapping[str, object]) -> bool:
    """Whether a connection is to speak TLS by a context that asyncio does not know."""
    ssl = options.get("ssl")
    return bool(ssl) and ssl is not True and not isinstance(ssl, _stdlib_ssl.SSLContext)


def _leave_out_last_frame(handle: Any) -> None:
    """Have a handle say, in debug mode, where the program made it, and not that we did."""
    if handle._source_traceback:
        del handle._source_traceback[-1]


def _not_caught(sig: int, why: Exception) -> Exception:
    """Return what asyncio raises for a signal that can't have a handler, or no other one."""
    if isinstance(why, OSError) and why.errno != errno.EINVAL:
        return why
    return RuntimeError(f"sig {sig} cannot be caught: {why}")


def _close_both(one: socket.socket, two: socket.socket) -> None:
    one.close()
    two.close()


@formerly("map")
def event_loop(*, map: Map | None = None) -> asyncio.AbstractEventLoop:
    """Return the asyncio loop of a map.

    That is the loop that it is attached to (`compat.attach`), or else a `ClassicLoop`, made at the
    first call. `map` is by default the one whose pass, or whose loop, runs on this thread, or else
    `asynccore.socket_map`. Call it on the thread of the map's loop.
    """
    engine = engine_for(present_map(map))
    host = getattr(engine.hosting, "loop", None)
    if isinstance(host, asyncio.AbstractEventLoop):
        return host
    present = running()
    if isinstance(present, ClassicLoop) and present.engine is engine:
        return present
    loop: ClassicLoop | None = getattr(engine, _PLACE, None)
    if loop is None or loop.is_closed():
        loop = ClassicLoop(map=engine.map)
        loop._be_implicit()
        setattr(engine, _PLACE, loop)
    return loop


def present_map(map: Map | None) -> Map:
    """Return a map, by default the one whose pass, or whose loop, runs on this thread."""
    engine, loop = current_engine(map), running()
    if map is not None or loop is None or engine.owner == get_ident():
        return engine.map
    if isinstance(loop, ClassicLoop):
        return loop.map
    hosted = [it for it in engines() if getattr(it.hosting, "loop", None) is loop]
    return hosted[0].map if len(hosted) == 1 else engine.map


__all__ = ["ClassicLoop", "Server", "event_loop"]
