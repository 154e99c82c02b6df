"""Connections and servers on a classic loop: what the methods of `ClassicLoop` do."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl as _stdlib_ssl
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from asynccore.channels import Map
from asynccore.listening import socket_activation

from .servers import Server
from .streams import StreamChannel, StreamTransport, Timeouts, set_nodelay

Pair = tuple[Any, Any]
Path = str | bytes | os.PathLike[str]

# What these transports know of asyncio's options; with others, asyncio's own are made.
CONNECTION_OPTIONS = frozenset(
    {
        *("ssl", "sock", "family", "server_hostname", "local_addr", "happy_eyeballs_delay"),
        *("ssl_handshake_timeout", "ssl_shutdown_timeout"),
    }
)
SERVER_OPTIONS = frozenset(
    {
        *("ssl", "sock", "family", "flags", "backlog", "reuse_address", "reuse_port"),
        *("start_serving", "ssl_handshake_timeout", "ssl_shutdown_timeout", "cleanup_socket"),
    }
)

# Windows has none.
SO_REUSEPORT: int | None = getattr(socket, "SO_REUSEPORT", None)

# Whether asyncio removes the file of a Unix socket when its server is closed.
CLEANS_UP = sys.version_info >= (3, 13)

# asyncio's default for `backlog`.
BACKLOG = 100


class TLSOptions:
    """What `ssl=` and its companions ask for, and the channels that it takes."""

    def __init__(
        self,
        ssl: Any,
        server_side: bool,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        if isinstance(ssl, _stdlib_ssl.SSLContext):
            raise TypeError(
                "a context of ssl_ext is needed here; those of the module ssl are for the methods "
                "of ClassicLoop"
            )
        if not ssl:
            given = server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
            if any(value is not None for value in given):
                raise ValueError("server_hostname and the timeouts of TLS are for ssl=")
        elif ssl is True:
            if server_side:
                raise TypeError("a server needs a context: ssl_ext.server_context(...)")
            from asynccore.ssl_ext import client_context

            ssl = client_context()
        self.context = ssl or None
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.timeouts = ssl_handshake_timeout, ssl_shutdown_timeout

    def channel(self, transport: StreamTransport, sock: Any, map: Map) -> StreamChannel:
        """Make the channel of a transport."""
        if self.context is None:
            return StreamChannel(transport, sock, map)
        from .tls_streams import TLSStreamChannel

        return TLSStreamChannel(
            transport,
            sock,
            map,
            context=self.context,
            server_side=self.server_side,
            server_hostname=self.server_hostname,
            timeouts=self.timeouts,
        )


def upgrade(
    channel: StreamChannel,
    context: object,
    server_side: bool,
    server_hostname: str | None,
    timeouts: Timeouts,
) -> StreamChannel:
    """Return a channel that goes on with a connection, with TLS.

    It is loaded for the first one: most programs have none, and OpenSSL takes its time.
    """
    from . import tls_streams

    return tls_streams.upgrade(channel, context, server_side, server_hostname, timeouts)


def channel_of(transport: StreamTransport, sock: Any, map: Map) -> StreamChannel:
    """Make the channel of a transport that goes on with a socket, with its TLS if it has any."""
    if hasattr(type(sock), "poll_interest"):
        from .tls_streams import TLSStreamChannel

        return TLSStreamChannel(transport, sock, map)
    return StreamChannel(transport, sock, map)


# -- connections --------------------------------------------------------------------------------


def check_connection(
    host: object, port: object, sock: socket.socket | None, tls: bool, server_hostname: str | None
) -> None:
    """Raise `ValueError` for what can't be connected; `tls` for a client that speaks it."""
    if (host is None) == (sock is None) or (host is not None and port is None):
        raise ValueError("say either host and port, or sock")
    if sock is not None and sock.type != socket.SOCK_STREAM:
        raise ValueError(f"a stream socket is needed, and {sock!r} is none")
    if tls and sock is not None and server_hostname is None:
        raise ValueError("server_hostname is needed: whom is the peer of sock to be?")


def begin_connection(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], Any],
    host: str | None = None,
    port: int | str | None = None,
    *,
    ssl: Any = None,
    family: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str, int] | None = None,
    server_hostname: str | None = None,
    happy_eyeballs_delay: float | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    server_side: bool = False,
) -> asyncio.Future[Pair]:
    """Begin to connect; the future's result is `(transport, protocol)`."""
    check_connection(host, port, sock, bool(ssl) and not server_side, server_hostname)
    hostname = server_hostname or None
    tls = TLSOptions(ssl, server_side, hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    future: asyncio.Future[Pair] = loop.create_future()
    protocol = protocol_factory()

    def answer(why: BaseException | None) -> None:
        if future.done():
            transport.abort()
        elif why is None:
            future.set_result((transport, protocol))
        else:
            future.set_exception(_as_asyncio_says(why))

    transport = StreamTransport(loop, protocol, upgrade, answer)
    if sock is not None:
        sock.setblocking(False)
        set_nodelay(sock)
        transport.channel = tls.channel(transport, sock, map)
        if tls.context is None:
            transport.established()
    else:
        assert host is not None and port is not None
        transport.channel = tls.channel(transport, None, map)
        options: dict[str, Any] = {"family": family, "local_address": local_addr}
        if happy_eyeballs_delay is not None:
            options["attempt_delay"] = happy_eyeballs_delay
        transport.channel.connect_name(host, port, **options)

    def ended(future: asyncio.Future[Pair]) -> None:
        if future.cancelled():
            transport.abort()

    future.add_done_callback(ended)
    return future


def _as_asyncio_says(why: BaseException) -> BaseException:
    """Return the one error that all attempts have met, such as `ConnectionRefusedError`."""
    errors: tuple[OSError, ...] = getattr(why, "errors", ())
    return errors[0] if len({type(error) for error in errors}) == 1 else why


async def connect(
    loop: asyncio.AbstractEventLoop, map: Map, protocol_factory: Any, *args: Any, **options: Any
) -> Pair:
    """Connect, and return `(transport, protocol)`."""
    begin: Any = begin_connection
    pair: Pair = await begin(loop, map, protocol_factory, *args, **options)
    return pair


async def unix_socket(
    loop: asyncio.AbstractEventLoop, path: Path | None, sock: socket.socket | None
) -> socket.socket:
    """Return a socket that is connected to a path, or `sock`."""
    if (path is None) == (sock is None):
        raise ValueError("say either path or sock")
    if sock is not None:
        return sock
    assert path is not None
    made = socket.socket(unix_family(), socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await loop.sock_connect(made, os.fspath(path))
    except BaseException:
        made.close()
        raise
    return made


# -- servers ------------------------------------------------------------------------------------


def hosts(host: str | Iterable[str] | None) -> list[str | None]:
    """Return what `create_server` is to listen at: one host, several, or `None` for all."""
    if host is None or host == "":
        return [None]
    return [host] if isinstance(host, str) else list(host)


def make_server(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], Any],
    infos: Iterable[Any],
    *,
    sock: socket.socket | None = None,
    ssl: Any = None,
    backlog: int = BACKLOG,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    start_serving: bool = True,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    cleanup_socket: bool = False,
) -> Server:
    """Listen at what `getaddrinfo` has found, or with `sock`.

    With `cleanup_socket` the file of a Unix socket goes when the server is closed.
    """
    if isinstance(ssl, _stdlib_ssl.SSLContext):
        protocol_factory = _secured(
            loop, protocol_factory, ssl, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        ssl = ssl_handshake_timeout = ssl_shutdown_timeout = None
    tls = TLSOptions(ssl, True, None, ssl_handshake_timeout, ssl_shutdown_timeout)
    if sock is not None:
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"a stream socket is needed, and {sock!r} is none")
        sock.setblocking(False)
        socks = [sock]
    else:
        socks = _listening_sockets(infos, reuse_address, reuse_port)
    secured = tls.context is not None
    server = Server(loop, map, protocol_factory, socks, backlog, tls.channel, upgrade, secured)
    # The file of an inherited socket belongs to whoever made it.
    if cleanup_socket and socket_activation.arranged is None:
        server.note_file(socks[0].getsockname())
    if start_serving:
        try:
            server.begin()
        except BaseException:
            server.close()
            raise
    return server


def _secured(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: Callable[[], Any],
    context: _stdlib_ssl.SSLContext,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> Callable[[], Any]:
    """Return what makes asyncio's own TLS protocol for each protocol of a factory."""
    from asyncio.sslproto import SSLProtocol

    options: dict[str, Any] = {"ssl_handshake_timeout": handshake_timeout}
    if sys.version_info >= (3, 11):
        options["ssl_shutdown_timeout"] = shutdown_timeout
    elif shutdown_timeout is not None:
        raise TypeError("ssl_shutdown_timeout is for Python 3.11 and later")
    make: Any = SSLProtocol

    def secured() -> Any:
        # Nobody waits for the handshake: how it ends is told to the protocol, or not at all.
        waiter = loop.create_future()
        waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        return make(loop, protocol_factory(), context, waiter, server_side=True, **options)

    return secured


def _listening_sockets(
    infos: Iterable[Any], reuse_address: bool | None, reuse_port: bool | None
) -> list[socket.socket]:
    made: list[socket.socket] = []
    if reuse_address is None:
        # This is asyncio's default: on Windows the option lets others take the port over.
        reuse_address = os.name == "posix"
    try:
        for family, kind, proto, _, address in dict.fromkeys(infos):
            sock = socket.socket(family, kind, proto)
            made.append(sock)
            sock.setblocking(False)
            if reuse_address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                share_port(sock)
            if family == socket.AF_INET6:
                # The IPv4 addresses have a socket of their own.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                if socket_activation.arranged is not None:
                    socket_activation.arranged.check_listener(address)
                if not socket_activation.inherit(sock, address):
                    sock.bind(address)
            except OSError as why:
                raise OSError(why.errno, f"can't listen at {address!r}: {why.strerror}") from why
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


def share_port(sock: socket.socket) -> None:
    """Let several sockets be bound to one port. Raises `ValueError` where that can't be."""
    if SO_REUSEPORT is None:
        raise ValueError("reuse_port is not possible on this platform")
    sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)


async def listen(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Any,
    host: Any,
    port: Any,
    *,
    family: int = 0,
    flags: int = socket.AI_PASSIVE,
    **options: Any,
) -> Server:
    """Look up where to listen, and do."""
    infos: list[Any] = []
    if options.get("sock") is None:
        for name in hosts(host):
            infos += await loop.getaddrinfo(
                name, port or 0, family=family, type=socket.SOCK_STREAM, flags=flags
            )
    elif host is not None or port is not None:
        raise ValueError("say either host and port, or sock")
    if host is None and port is None and options.get("sock") is None:
        raise ValueError("say host, port or sock: where is it to listen?")
    return make_server(loop, map, protocol_factory, infos, **options)


def unix_listener(path: Path | None, sock: socket.socket | None) -> socket.socket:
    """Return a socket that is bound to a path, or `sock`. A dead socket there is removed."""
    if (path is None) == (sock is None):
        raise ValueError("say either path or sock")
    if sock is not None:
        return sock
    assert path is not None
    place = os.fspath(path)
    made = socket.socket(unix_family(), socket.SOCK_STREAM)
    try:
        bind_path(made, place)
    except BaseException:
        made.close()
        raise
    return made


def bind_path(sock: socket.socket, path: str | bytes) -> None:
    """Bind a Unix socket to a path. A dead socket there is removed, as by asyncio."""
    if socket_activation.inherit(sock, path):
        return
    if path[:1] not in ("\0", b"\0"):
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(path).st_mode):
                os.remove(path)
    sock.bind(path)


def unix_family() -> int:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise NotImplementedError("this platform has no Unix sockets")
    return int(family)
