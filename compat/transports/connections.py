"""Connections and servers on a classic loop: what the methods of `ClassicLoop` do."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl as _stdlib_ssl
import stat
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from asynccore.channels import Map
from asynccore.connecting.happy_eyeballs import ATTEMPT_DELAY
from asynccore.listening import socket_activation

from .servers import Server
from .streams import StreamChannel, StreamTransport, Timeouts, set_nodelay

if TYPE_CHECKING:
    from typing_extensions import TypedDict, Unpack

    from asynccore.ssl_ext import Context

    class TLSTimes(TypedDict, total=False):
        """How long TLS may take, in seconds."""

        ssl_handshake_timeout: float | None
        ssl_shutdown_timeout: float | None

    class ConnectionOptions(TLSTimes, total=False):
        """What `create_connection` takes by name."""

        ssl: bool | _stdlib_ssl.SSLContext | Context | None
        family: int
        sock: socket.socket | None
        local_addr: tuple[str | None, int] | None
        server_hostname: str | None
        happy_eyeballs_delay: float | None

    class ServerOptions(TLSTimes, total=False):
        """What `create_server` takes by name."""

        ssl: _stdlib_ssl.SSLContext | Context | None
        sock: socket.socket | None
        backlog: int
        reuse_address: bool | None
        reuse_port: bool | None
        keep_alive: bool | None
        start_serving: bool
        cleanup_socket: bool


# The protocol that a factory makes, and what is returned with it.
P = TypeVar("P", bound=asyncio.BaseProtocol)
Pair = tuple[asyncio.Transport, P]

# What `getaddrinfo` returns of an address.
AddressInfo = tuple[int, int, int, str, Any]

Path = str | bytes | os.PathLike[str]

# Windows has none.
SO_REUSEPORT: int | None = getattr(socket, "SO_REUSEPORT", None)

# Whether asyncio removes the file of a Unix socket when its server is closed.
CLEANS_UP = sys.version_info >= (3, 13)

# Whether asyncio's servers have the option `keep_alive`.
KEEPS_ALIVE = sys.version_info >= (3, 13)

# asyncio's default for `backlog`.
BACKLOG = 100


def check_tls_options(
    ssl: object = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **others: object,
) -> None:
    """Raise `ValueError` for what only TLS needs, without TLS."""
    if ssl:
        return
    given = {
        "server_hostname": server_hostname,
        "ssl_handshake_timeout": ssl_handshake_timeout,
        "ssl_shutdown_timeout": ssl_shutdown_timeout,
    }
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{name} is only meaningful with ssl")


def check_server_options(ssl: Any = None, **options: Any) -> None:
    """Raise `TypeError` or `ValueError` for what no server can have."""
    if isinstance(ssl, bool):
        raise TypeError("ssl argument must be an SSLContext, or one of ssl_ext, or None")
    check_tls_options(ssl, **options)
    if "keep_alive" in options and not KEEPS_ALIVE:
        raise TypeError("keep_alive is for Python 3.13 and later")


class TLSOptions:
    """What `ssl=` and its companions ask for, and the channels that it takes."""

    def __init__(
        self,
        ssl: bool | _stdlib_ssl.SSLContext | Context | None,
        server_side: bool,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        check_tls_options(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        # What the module `ssl` does was sorted out before.
        self.context: Context | None = ssl or None  # type: ignore[assignment]
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.timeouts = ssl_handshake_timeout, ssl_shutdown_timeout

    def channel(
        self, transport: StreamTransport, sock: socket.socket | None, map: Map
    ) -> StreamChannel:
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
    context: Context,
    server_side: bool,
    server_hostname: str | None,
    timeouts: Timeouts,
) -> StreamChannel:
    """Return a channel that goes on with a connection, with TLS.

    It is loaded for the first one: most programs have none, and OpenSSL takes its time.
    """
    from . import tls_streams

    return tls_streams.upgrade(channel, context, server_side, server_hostname, timeouts)


def channel_of(transport: StreamTransport, sock: socket.socket, map: Map) -> StreamChannel:
    """Make the channel of a transport that goes on with a socket, with its TLS if it has any."""
    if hasattr(type(sock), "_ac_poll_interest"):
        from .tls_streams import TLSStreamChannel

        return TLSStreamChannel(transport, sock, map)
    return StreamChannel(transport, sock, map)


# -- connections --------------------------------------------------------------------------------


def check_connection(
    host: object,
    port: object,
    sock: socket.socket | None,
    ssl: object,
    server_side: bool,
    server_hostname: str | None,
) -> None:
    """Raise `ValueError` or `TypeError` for what can't be connected."""
    if ssl and not server_side and server_hostname is None and not host:
        raise ValueError("You must set server_hostname when using ssl without a host")
    if host is None and port is None:
        if sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        check_stream(sock)
    elif sock is None:
        if port is None:
            raise ValueError("port was not specified")
    else:
        raise ValueError("host/port and sock can not be specified at the same time")


def check_stream(sock: socket.socket) -> None:
    """Raise for a socket that no stream can go over."""
    if isinstance(sock, _stdlib_ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def begin_connection(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], P],
    host: str | None = None,
    port: int | str | None = None,
    *,
    ssl: bool | _stdlib_ssl.SSLContext | Context | None = None,
    family: int = 0,
    sock: socket.socket | None = None,
    local_addr: tuple[str | None, int] | None = None,
    server_hostname: str | None = None,
    happy_eyeballs_delay: float | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    server_side: bool = False,
) -> asyncio.Future[Pair[P]]:
    """Begin to connect; the future's result is `(transport, protocol)`."""
    check_connection(host, port, sock, ssl, server_side, server_hostname)
    hostname = server_hostname or None
    tls = TLSOptions(ssl, server_side, hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    if sock is not None:
        return _begin(loop, protocol_factory, lambda made: _go_on(made, sock, tls, map))
    delay = ATTEMPT_DELAY if happy_eyeballs_delay is None else happy_eyeballs_delay

    def begin(local: tuple[str, int] | None) -> asyncio.Future[Pair[P]]:
        def dial(transport: StreamTransport) -> None:
            transport.channel = tls.channel(transport, None, map)
            transport.channel.connect_name(
                "localhost" if host is None else host,
                port or 0,
                local_addr=local,
                family=family,
                happy_eyeballs_delay=delay,
            )

        return _begin(loop, protocol_factory, dial)

    if local_addr is None:
        return begin(None)
    return loop.create_task(_connect_from(loop, local_addr, family, begin))


async def _connect_from(
    loop: asyncio.AbstractEventLoop,
    local_addr: tuple[str | None, int],
    family: int,
    begin: Callable[[tuple[str, int]], asyncio.Future[Pair[P]]],
) -> Pair[P]:
    """Connect from the first of the addresses of a name from which that is possible."""
    infos = await loop.getaddrinfo(*local_addr[:2], family=family, type=socket.SOCK_STREAM)
    errors: list[BaseException] = []
    for sockaddr in dict.fromkeys(info[4] for info in infos):
        try:
            return await begin(sockaddr[:2])  # type: ignore[arg-type]
        except OSError as why:
            errors.append(why)
    try:
        # An address of the other family can't be told from one that nobody has.
        raise next((why for why in errors if not isinstance(why, socket.gaierror)), errors[0])
    finally:
        errors.clear()


def _begin(
    loop: asyncio.AbstractEventLoop,
    protocol_factory: Callable[[], P],
    start: Callable[[StreamTransport], object],
) -> asyncio.Future[Pair[P]]:
    """Have a transport begin to connect; the protocol is made when the connection stands."""
    future: asyncio.Future[Pair[P]] = loop.create_future()

    def answer(why: BaseException | None) -> None:
        if future.done():
            transport.abort()
        elif why is None:
            future.set_result((transport, transport.protocol))
        else:
            future.set_exception(_as_asyncio_says(why))

    def ended(future: asyncio.Future[Pair[P]]) -> None:
        if future.cancelled():
            transport.abort()

    transport = StreamTransport(loop, None, upgrade, answer)
    transport.protocol_factory = protocol_factory
    start(transport)
    future.add_done_callback(ended)
    return future


def _go_on(transport: StreamTransport, sock: socket.socket, tls: TLSOptions, map: Map) -> None:
    """Go on with a socket that is connected."""
    sock.setblocking(False)
    set_nodelay(sock)
    transport.channel = tls.channel(transport, sock, map)
    if tls.context is None:
        transport.established()


def serve_connected(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    waiter: asyncio.Future[None] | None,
) -> StreamTransport:
    """Return the transport of a connection that stands, and tell its protocol soon."""

    def answer(why: BaseException | None) -> None:
        if waiter is not None and not waiter.done():
            if why is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(why)

    def begin() -> None:
        transport.channel.resume_reading()
        transport.established()

    transport = StreamTransport(loop, protocol, upgrade, answer)
    set_nodelay(sock)
    transport.channel = StreamChannel(transport, sock, map)
    transport.channel.pause_reading()  # A pass may come before the protocol knows of it all.
    loop.call_soon(begin)
    return transport


def _as_asyncio_says(why: BaseException) -> BaseException:
    """Return the one error that all attempts have met, such as `ConnectionRefusedError`."""
    errors: tuple[OSError, ...] = getattr(why, "errors", ())
    return errors[0] if len({type(error) for error in errors}) == 1 else why


async def connect(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], P],
    host: str | None,
    port: int | str | None,
    server_side: bool = False,
    **options: Unpack[ConnectionOptions],
) -> Pair[P]:
    """Connect, and return `(transport, protocol)`."""
    return await begin_connection(
        loop, map, protocol_factory, host, port, server_side=server_side, **options
    )


def check_path(path: Path | None, sock: socket.socket | None) -> None:
    """Raise `ValueError` unless there is either a path or a Unix socket."""
    if path is not None and sock is not None:
        raise ValueError("path and sock can not be specified at the same time")
    if path is None and sock is None:
        raise ValueError("path was not specified, and no sock specified")
    if sock is not None and (sock.family != unix_family() or sock.type != socket.SOCK_STREAM):
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")


async def unix_socket(
    loop: asyncio.AbstractEventLoop, path: Path | None, sock: socket.socket | None
) -> socket.socket:
    """Return a socket that is connected to a path, or `sock`."""
    check_path(path, sock)
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


def hosts(
    host: str | Iterable[str] | None, port: object, sock: socket.socket | None
) -> list[str | None]:
    """Return what `create_server` is to listen at: one host, several, or `None` for all; and none
    of these with `sock`.

    Raises `ValueError` if there is nothing to listen at, or too much.
    """
    if host is None and port is None:
        if sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        return []
    if sock is not None:
        raise ValueError("host/port and sock can not be specified at the same time")
    if host is None or host == "":
        return [None]
    return [host] if isinstance(host, str) else list(host)


def make_server(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    infos: Iterable[AddressInfo],
    *,
    sock: socket.socket | None = None,
    ssl: _stdlib_ssl.SSLContext | Context | None = None,
    backlog: int = BACKLOG,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    keep_alive: bool | None = None,
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
        check_stream(sock)
        sock.setblocking(False)
        socks = [sock]
    else:
        socks = _listening_sockets(infos, reuse_address, reuse_port, keep_alive)
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
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    context: _stdlib_ssl.SSLContext,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> Callable[[], asyncio.BaseProtocol]:
    """Return what makes asyncio's own TLS protocol for each protocol of a factory."""
    from asyncio.sslproto import SSLProtocol

    options: dict[str, float | None] = {"ssl_handshake_timeout": handshake_timeout}
    if sys.version_info >= (3, 11):
        options["ssl_shutdown_timeout"] = shutdown_timeout
    elif shutdown_timeout is not None:
        raise TypeError("ssl_shutdown_timeout is for Python 3.11 and later")
    make: Callable[..., asyncio.BaseProtocol] = SSLProtocol

    def secured() -> asyncio.BaseProtocol:
        # Nobody waits for the handshake: how it ends is told to the protocol, or not at all.
        waiter = loop.create_future()
        waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        return make(loop, protocol_factory(), context, waiter, server_side=True, **options)

    return secured


def _listening_sockets(
    infos: Iterable[AddressInfo],
    reuse_address: bool | None,
    reuse_port: bool | None,
    keep_alive: bool | None,
) -> list[socket.socket]:
    made: list[socket.socket] = []
    missing: OSError | None = None
    if reuse_address is None:
        # This is asyncio's default: on Windows the option lets others take the port over.
        reuse_address = os.name == "posix"
    try:
        for family, kind, proto, _, address in dict.fromkeys(infos):
            try:
                sock = socket.socket(family, kind, proto)
            except OSError as why:
                missing = why  # This system does not know the family.
                continue
            made.append(sock)
            sock.setblocking(False)
            if reuse_address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                share_port(sock)
            if keep_alive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if family == socket.AF_INET6:
                # The IPv4 addresses have a socket of their own.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                if socket_activation.arranged is not None:
                    socket_activation.arranged.check_listener(address)
                if not socket_activation.inherit(sock, address):
                    sock.bind(address)
            except OSError as why:
                said = OSError(why.errno, f"can't listen at {address!r}: {why.strerror}")
                if why.errno != errno.EADDRNOTAVAIL:
                    raise said from why
                # IPv6 may be turned off, and "localhost" has both addresses nevertheless.
                made.pop().close()
                missing = said
        if not made:
            raise missing or OSError("there is no address to listen at")
    except BaseException:
        for sock in made:
            sock.close()
        raise
    finally:
        missing = None
    return made


def share_port(sock: socket.socket) -> None:
    """Let several sockets be bound to one port. Raises `ValueError` where that can't be."""
    if SO_REUSEPORT is None:
        raise ValueError("reuse_port is not possible on this platform")
    sock.setsockopt(socket.SOL_SOCKET, SO_REUSEPORT, 1)


async def listen(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | Iterable[str] | None,
    port: int | str | None,
    *,
    family: int = 0,
    flags: int = socket.AI_PASSIVE,
    **options: Unpack[ServerOptions],
) -> Server:
    """Look up where to listen, and do."""
    check_server_options(**options)
    infos: list[AddressInfo] = []
    for name in hosts(host, port, options.get("sock")):
        found = await loop.getaddrinfo(
            name, port or 0, family=family, type=socket.SOCK_STREAM, flags=flags
        )
        if not found:
            raise OSError(f"getaddrinfo({name!r}) returned empty list")
        infos += found
    return make_server(loop, map, protocol_factory, infos, **options)


def unix_listener(path: Path | None, sock: socket.socket | None) -> socket.socket:
    """Return a socket that is bound to a path, or `sock`. A dead socket there is removed."""
    check_path(path, sock)
    if sock is not None:
        return sock
    assert path is not None
    place = os.fspath(path)
    made = socket.socket(unix_family(), socket.SOCK_STREAM)
    try:
        bind_path(made, place)
    except OSError as why:
        made.close()
        if why.errno == errno.EADDRINUSE:
            raise OSError(why.errno, f"Address {place!r} is already in use") from None
        raise
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
