"""`Server`: listeners of a map whose connections are given to protocols of asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from typing import Any

from asynccore.channels import Map
from asynccore.dispatchers.dispatcher import dispatcher

from ..hosts.running_loop import running, set_running
from .streams import StreamChannel, StreamTransport, Upgrade, set_nodelay


class _Listener(dispatcher):
    """One listening socket of a server."""

    def __init__(self, server: Server, sock: socket.socket, map: Map) -> None:
        super().__init__(None, map)
        self.server = server
        self.set_socket(sock)
        self.addr = sock.getsockname()

    def handle_accepted(self, sock: socket.socket | Any, addr: object) -> None:
        self.server.accepted(sock)


class Server(asyncio.AbstractServer):
    """What `create_server` returns: `asyncio.Server`'s contract, over dispatchers that listen.

    `async with server:` closes it at the end. `close` ends the listening alone; connections go on.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        map: Map,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        socks: Sequence[socket.socket],
        backlog: int,
        make_channel: Callable[[StreamTransport, socket.socket, Map], StreamChannel],
        upgrade: Upgrade,
        secured: bool,
    ) -> None:
        self._loop = loop
        self._context = copy_context()
        self._map = map
        self._factory = protocol_factory
        self._backlog = backlog
        self._make_channel = make_channel
        self._upgrade = upgrade
        self._secured = secured
        self._serving = False
        self._closed = False
        self._transports: set[StreamTransport] = set()
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None
        self._socks = list(socks)
        self._listeners: list[_Listener] = []
        self._file: tuple[str | bytes, int] | None = None  # a Unix socket's, and its number

    def note_file(self, path: str | bytes) -> None:
        """Remove the file of a Unix socket at the end, unless another one stands there then."""
        if path[:1] not in ("\0", b"\0"):
            with suppress(FileNotFoundError):
                self._file = path, os.stat(path).st_ino

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    # -- connections ----------------------------------------------------------------------------

    def accepted(self, sock: socket.socket) -> None:
        """Give a connection to a protocol."""
        try:
            transport = self._context.copy().run(self._make_transport)
            transport._on_lost = lambda: self._lost(transport)
            sock.setblocking(False)
            set_nodelay(sock)
            transport.channel = self._make_channel(transport, sock, self._map)
        except BaseException:
            sock.close()
            raise
        self._transports.add(transport)
        if not self._secured:
            transport.established()
        else:
            transport._on_established = lambda why: self._shaken(transport, why)

    def _make_transport(self) -> StreamTransport:
        before = running()
        set_running(self._loop)
        try:
            return StreamTransport(self._loop, self._factory(), self._upgrade)
        finally:
            set_running(before)

    def _shaken(self, transport: StreamTransport, why: BaseException | None) -> None:
        if why is not None:
            self._lost(transport)

    def _lost(self, transport: StreamTransport) -> None:
        self._transports.discard(transport)
        self._look()

    def _look(self) -> None:
        if self._closed and not self._transports:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # -- asyncio.Server -------------------------------------------------------------------------

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; none once it is closed."""
        if self._closed:
            return ()
        return tuple(self._socks)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return its loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._serving

    def begin(self) -> None:
        """Accept connections from now on. A second call does nothing.

        Raises `RuntimeError` once it is closed.
        """
        if self._closed:
            raise RuntimeError(f"{self!r} is closed")
        if not self._serving:
            self._serving = True
            for sock in self._socks:
                listener = _Listener(self, sock, self._map)
                self._listeners.append(listener)
                listener.listen(self._backlog)

    async def start_serving(self) -> None:
        """Accept connections from now on (`begin`)."""
        self.begin()

    async def serve_forever(self) -> None:
        """Accept connections until this is cancelled, and close then; since Python 3.14, the
        connections as well (asyncio).

        Raises `RuntimeError` if it is closed, or if this runs already.
        """
        if self._forever is not None:
            raise RuntimeError(f"{self!r} is already being awaited on serve_forever()")
        self.begin()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            if sys.version_info >= (3, 14):
                self.close_clients()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    def close(self) -> None:
        """Listen no more; what is connected stays. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._serving = False
        for listener in self._listeners:
            listener.close()
        if not self._listeners:
            for sock in self._socks:
                sock.close()
        if self._file is not None:
            path, number = self._file
            with suppress(FileNotFoundError):
                if os.stat(path).st_ino == number:
                    os.unlink(path)
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._look()

    async def wait_closed(self) -> None:
        """Wait until it is closed and all of its connections have ended.

        Up to Python 3.11 there is no wait once it is closed, as in asyncio's.
        """
        if self._closed and (sys.version_info < (3, 12) or not self._transports):
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def close_clients(self) -> None:
        """Close all connections, once what is left is sent (asyncio 3.13)."""
        for transport in list(self._transports):
            transport.close()

    def abort_clients(self) -> None:
        """Close all connections at once (asyncio 3.13)."""
        for transport in list(self._transports):
            transport.abort()
