"""Connections, servers and datagram endpoints on a classic loop.

The coroutines here are what the methods of `ClassicLoop` do. The plain functions do the same for
whoever has no coroutine: servers and datagram endpoints are there when they return, connections
are a future of the map's loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl as _stdlib_ssl
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from asynccore.channels import Map

from .datagrams import DatagramTransport
from .servers import Server
from .streams import StreamChannel, StreamTransport

Pair = tuple[Any, Any]

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
        *("start_serving", "ssl_handshake_timeout", "ssl_shutdown_timeout"),
    }
)

# asyncio's default for `backlog`.
BACKLOG = 100


class _Secure:
    """What `ssl=` and its companions ask for."""

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
            from ssl_ext import client_context

            ssl = client_context()
        self.context = ssl or None
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.timeouts = ssl_handshake_timeout, ssl_shutdown_timeout

    def channel(self, transport: StreamTransport, sock: Any, map: Map) -> StreamChannel:
        """Make the channel of a transport."""
        if self.context is None:
            return StreamChannel(transport, sock, map)
        from .secured import TLSStreamChannel

        return TLSStreamChannel(
            transport,
            sock,
            map,
            context=self.context,
            server_side=self.server_side,
            server_hostname=self.server_hostname,
            timeouts=self.timeouts,
        )


# -- connections --------------------------------------------------------------------------------


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
    if (host is None) == (sock is None) or (host is not None and port is None):
        raise ValueError("say either host and port, or sock")
    if sock is not None and sock.type != socket.SOCK_STREAM:
        raise ValueError(f"a stream socket is needed, and {sock!r} is none")
    if ssl and sock is not None and server_hostname is None and not server_side:
        raise ValueError("server_hostname is needed: whom is the peer of sock to be?")
    hostname = server_hostname or None
    secure = _Secure(ssl, server_side, hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
    future: asyncio.Future[Pair] = loop.create_future()
    protocol = protocol_factory()

    def answer(why: BaseException | None) -> None:
        if future.done():
            transport.abort()
        elif why is None:
            future.set_result((transport, protocol))
        else:
            future.set_exception(_as_asyncio_says(why))

    transport = StreamTransport(loop, protocol, answer)
    if sock is not None:
        sock.setblocking(False)
        transport.channel = secure.channel(transport, sock, map)
        if secure.context is None:
            transport.established()
    else:
        assert host is not None and port is not None
        transport.channel = secure.channel(transport, None, map)
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
    loop: asyncio.AbstractEventLoop, path: Any, sock: socket.socket | None
) -> socket.socket:
    """Return a socket that is connected to a path, or `sock`."""
    if (path is None) == (sock is None):
        raise ValueError("say either path or sock")
    if sock is not None:
        return sock
    made = socket.socket(_unix(), socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        await loop.sock_connect(made, os.fspath(path))
    except BaseException:
        made.close()
        raise
    return made


# -- servers ------------------------------------------------------------------------------------


def hosts(host: Any) -> list[Any]:
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
) -> Server:
    """Listen at what `getaddrinfo` has found, or with `sock`."""
    secure = _Secure(ssl, True, None, ssl_handshake_timeout, ssl_shutdown_timeout)
    if sock is not None:
        if sock.type != socket.SOCK_STREAM:
            raise ValueError(f"a stream socket is needed, and {sock!r} is none")
        sock.setblocking(False)
        socks = [sock]
    else:
        socks = _listening_sockets(infos, reuse_address, reuse_port)
    server = Server(
        loop, map, protocol_factory, socks, backlog, secure.channel, secure.context is not None
    )
    if start_serving:
        try:
            server.begin()
        except BaseException:
            server.close()
            raise
    return server


def _listening_sockets(
    infos: Iterable[Any], reuse_address: bool | None, reuse_port: bool | None
) -> list[socket.socket]:
    made: list[socket.socket] = []
    if reuse_address is None:
        reuse_address = os.name == "posix"  # as asyncio; Windows means something else by it
    try:
        for family, kind, proto, _, address in dict.fromkeys(infos):
            sock = socket.socket(family, kind, proto)
            made.append(sock)
            sock.setblocking(False)
            if reuse_address:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                # The IPv4 addresses have a socket of their own.
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                sock.bind(address)
            except OSError as why:
                raise OSError(why.errno, f"can't listen at {address!r}: {why.strerror}") from why
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


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
    return make_server(loop, map, protocol_factory, infos, **options)


def unix_listener(path: Any, sock: socket.socket | None) -> socket.socket:
    """Return a socket that is bound to a path, or `sock`. A dead socket there is removed."""
    if (path is None) == (sock is None):
        raise ValueError("say either path or sock")
    if sock is not None:
        return sock
    path = os.fspath(path)
    made = socket.socket(_unix(), socket.SOCK_STREAM)
    try:
        if path[:1] not in ("\0", b"\0"):
            with suppress(FileNotFoundError):
                if stat.S_ISSOCK(os.stat(path).st_mode):
                    os.remove(path)
        made.bind(path)
    except BaseException:
        made.close()
        raise
    return made


def _unix() -> int:
    family = getattr(socket, "AF_UNIX", None)
    if family is None:
        raise NotImplementedError("this platform has no Unix sockets")
    return int(family)


# -- datagrams ----------------------------------------------------------------------------------


def datagram_socket(
    local: Any,
    remote: Any,
    family: int,
    proto: int,
    reuse_port: bool | None,
    allow_broadcast: bool | None,
) -> socket.socket:
    """Return a socket that is bound and connected as asked, of the first family that can be."""
    failure: OSError | None = None
    for info in local or remote:
        family, kind, proto = info[:3]
        peer = next((found for found in remote or () if found[0] == family), None)
        if remote and peer is None:
            continue
        sock = socket.socket(family, kind, proto)
        try:
            sock.setblocking(False)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if local:
                sock.bind(info[4])
            if peer is not None and not allow_broadcast:
                sock.connect(peer[4])
        except OSError as why:
            sock.close()
            failure = why
            continue
        except BaseException:
            sock.close()
            raise
        return sock
    raise failure or ValueError("the addresses have no family in common")


async def datagrams(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], Any],
    local_addr: Any = None,
    remote_addr: Any = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: socket.socket | None = None,
) -> Pair:
    """Look up the addresses, and make an endpoint."""
    infos = []
    for address in (local_addr, remote_addr):
        found: Any = None
        if address is not None and sock is None:
            found = _unix_datagrams(address) or await loop.getaddrinfo(
                *address[:2], family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
        infos.append(found)
    return make_datagrams(
        *(loop, map, protocol_factory, infos[0], infos[1]),
        family=family,
        proto=proto,
        reuse_port=reuse_port,
        allow_broadcast=allow_broadcast,
        sock=sock,
    )


def _unix_datagrams(address: Any) -> Any:
    if isinstance(address, (str, bytes)):
        return [(_unix(), socket.SOCK_DGRAM, 0, "", address)]
    return None


def make_datagrams(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], Any],
    local: Any,
    remote: Any,
    *,
    family: int,
    proto: int,
    reuse_port: bool | None,
    allow_broadcast: bool | None,
    sock: socket.socket | None,
) -> Pair:
    """Make an endpoint of addresses that were looked up."""
    if sock is not None:
        if local or remote:
            raise ValueError("say either addresses or sock")
        if sock.type != socket.SOCK_DGRAM:
            raise ValueError(f"a datagram socket is needed, and {sock!r} is none")
        sock.setblocking(False)
    elif local or remote:
        sock = datagram_socket(local, remote, family, proto, reuse_port, allow_broadcast)
    elif family:
        sock = socket.socket(family, socket.SOCK_DGRAM, proto)
        sock.setblocking(False)
    else:
        raise ValueError("say local_addr, remote_addr, family or sock")
    peer = None
    if remote:
        peer = next(found[4] for found in remote if found[0] == sock.family)
    try:
        protocol = protocol_factory()
        transport = DatagramTransport(loop, protocol, sock, map, peer)
    except BaseException:
        sock.close()
        raise
    return transport, protocol


# -- for whoever has no coroutine ---------------------------------------------------------------


def create_connection(
    protocol_factory: Callable[[], Any],
    host: str | None = None,
    port: int | str | None = None,
    *,
    map: Map | None = None,
    **options: Any,
) -> asyncio.Future[Pair]:
    """Connect a protocol of asyncio on a classic loop.

    As `loop.create_connection` of asyncio, but a plain function, to be called on the loop's thread:
    what it returns is a future of the map's loop (`event_loop`), which can be awaited there or
    given callbacks; its result is `(transport, protocol)`. Names are looked up without holding the
    loop up (`dispatcher.connect_name`). `map` is by default `asynccore.socket_map`.

    Options: `ssl` (`True`, or a context of `ssl_ext`), `server_hostname`, `family`, `sock`,
    `local_addr`, `happy_eyeballs_delay`, `ssl_handshake_timeout`, `ssl_shutdown_timeout`.

    Raises `TypeError` and `ValueError` for arguments that can't be right; the future has the
    `OSError` of a connect (`asynccore.ConnectError`) or of TLS.
    """
    from .loops import event_loop

    loop = event_loop(map)
    return begin_connection(loop, _map(map), protocol_factory, host, port, **options)


def create_server(
    protocol_factory: Callable[[], Any],
    host: Any = None,
    port: int | str | None = None,
    *,
    map: Map | None = None,
    family: int = 0,
    path: Any = None,
    **options: Any,
) -> Server:
    """Serve protocols of asyncio on a classic loop; returns the `Server`, which listens already.

    As `loop.create_server` of asyncio (with `path`, `create_unix_server`), but a plain function, to
    be called on the loop's thread: a name for `host` is looked up before it returns.

    Options: `ssl` (a context of `ssl_ext`), `family`, `sock`, `backlog`, `reuse_address`,
    `reuse_port`, `start_serving`, `ssl_handshake_timeout`, `ssl_shutdown_timeout`.

    Raises `OSError` if it can't listen there.
    """
    from .loops import event_loop

    infos: list[Any] = []
    if path is not None:
        options["sock"] = unix_listener(path, options.get("sock"))
    elif options.get("sock") is None:
        for name in hosts(host):
            infos += socket.getaddrinfo(
                name, port or 0, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
            )
    return make_server(event_loop(map), _map(map), protocol_factory, infos, **options)


def create_datagram_endpoint(
    protocol_factory: Callable[[], Any],
    local_addr: Any = None,
    remote_addr: Any = None,
    *,
    map: Map | None = None,
    family: int = 0,
    proto: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: socket.socket | None = None,
) -> Pair:
    """Serve a datagram protocol of asyncio on a classic loop; returns `(transport, protocol)`.

    As `loop.create_datagram_endpoint` of asyncio, but a plain function: names are looked up before
    it returns. Raises `OSError` and `ValueError` as that does.
    """
    from .loops import event_loop

    found: list[Any] = []
    for address in (local_addr, remote_addr):
        infos: Any = None
        if address is not None and sock is None:
            infos = _unix_datagrams(address) or socket.getaddrinfo(
                address[0], address[1], family, socket.SOCK_DGRAM, proto
            )
        found.append(infos)
    return make_datagrams(
        *(event_loop(map), _map(map), protocol_factory, found[0], found[1]),
        family=family,
        proto=proto,
        reuse_port=reuse_port,
        allow_broadcast=allow_broadcast,
        sock=sock,
    )


def _map(map: Map | None) -> Map:
    from asynccore.namespace import default_map

    return default_map() if map is None else map
