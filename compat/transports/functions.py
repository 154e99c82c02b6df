"""Connections, servers and datagram endpoints for whoever has no coroutine.

Servers and endpoints are there when these functions return; a connection is a future of the map's
loop. Both do what the methods of `ClassicLoop` do.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container, Iterable
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from asynccore.channels import Map

from .classic_loop import event_loop, present_map
from .connections import (
    CLEANS_UP,
    AddressInfo,
    P,
    Pair,
    Path,
    begin_connection,
    check_connection,
    check_server_options,
    hosts,
    make_server,
    unix_listener,
)
from .datagram_endpoints import (
    D,
    EndpointAddress,
    Infos,
    Options,
    check,
    make_datagrams,
    unix_datagrams,
)
from .datagrams import DatagramTransport
from .servers import Server

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .connections import ConnectionOptions, ServerOptions


def create_connection(
    protocol_factory: Callable[[], P],
    host: str | None = None,
    port: int | str | None = None,
    *,
    map: Map | None = None,
    **options: Unpack[ConnectionOptions],
) -> asyncio.Future[Pair[P]]:
    """Connect a protocol of asyncio on a classic loop.

    As `loop.create_connection` of asyncio, but a plain function, to be called on the loop's thread:
    what it returns is a future of the map's loop (`event_loop`), which can be awaited there or
    given callbacks; its result is `(transport, protocol)`. Names are looked up without holding the
    loop up (`dispatcher.connect_name`). `map` is by default that of `event_loop`.

    Options: `ssl` (`True` or a context of the module `ssl`, which mean what they mean to asyncio,
    or a context of `ssl_ext`), `server_hostname`, `family`, `sock`,
    `local_addr`, `happy_eyeballs_delay`, `ssl_handshake_timeout`, `ssl_shutdown_timeout`.

    Raises `TypeError` and `ValueError` for arguments that can't be right; the future has the
    `OSError` of a connect (`asynccore.ConnectError`) or of TLS.
    """
    map = present_map(map)
    loop = event_loop(map=map)
    ssl = options.get("ssl")
    if ssl is True or isinstance(ssl, SSLContext):
        # What the module `ssl` does, asyncio's own transports do.
        given = options.get("sock"), ssl, False, options.get("server_hostname")
        check_connection(host, port, *given)
        connect: Any = loop.create_connection
        return loop.create_task(connect(protocol_factory, host, port, **options))
    _check_names("create_connection", options, begin_connection, ["server_side"])
    return begin_connection(loop, map, protocol_factory, host, port, **options)


def create_server(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | Iterable[str] | None = None,
    port: int | str | None = None,
    *,
    map: Map | None = None,
    family: int = 0,
    path: Path | None = None,
    **options: Unpack[ServerOptions],
) -> Server:
    """Serve protocols of asyncio on a classic loop; returns the `Server`, which listens already.

    As `loop.create_server` of asyncio (with `path`, `create_unix_server`), but a plain function, to
    be called on the loop's thread: a name for `host` is looked up before it returns.

    Options: `ssl` (a context of `ssl_ext` or of the module `ssl`), `family`, `sock`, `backlog`,
    `reuse_address`, `reuse_port`, `keep_alive` (Python 3.13 and later, as in asyncio),
    `start_serving`, `ssl_handshake_timeout`, `ssl_shutdown_timeout`,
    `cleanup_socket` (with `path`; by default since Python 3.13, as in asyncio).

    Raises `OSError` if it can't listen there, `TypeError` and `ValueError` for arguments that
    can't be right.
    """
    infos: list[AddressInfo] = []
    _check_names("create_server", options, make_server)
    check_server_options(**options)
    if path is not None:
        options["sock"] = unix_listener(path, options.get("sock"))
        options.setdefault("cleanup_socket", CLEANS_UP)
    else:
        for name in hosts(host, port, options.get("sock")):
            infos += socket.getaddrinfo(
                name, port or 0, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
            )
    map = present_map(map)
    return make_server(event_loop(map=map), map, protocol_factory, infos, **options)


def create_datagram_endpoint(
    protocol_factory: Callable[[], D],
    local_addr: EndpointAddress | None = None,
    remote_addr: EndpointAddress | None = None,
    *,
    map: Map | None = None,
    family: int = 0,
    proto: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: socket.socket | None = None,
) -> tuple[DatagramTransport, D]:
    """Serve a datagram protocol of asyncio on a classic loop; returns `(transport, protocol)`.

    As `loop.create_datagram_endpoint` of asyncio, but a plain function: names are looked up before
    it returns. Raises `OSError` and `ValueError` as that does.
    """
    map = present_map(map)
    options: Options = {
        "family": family,
        "proto": proto,
        "reuse_port": reuse_port,
        "allow_broadcast": allow_broadcast,
    }
    check(local_addr, remote_addr, sock, options)
    found: list[Infos] = []
    for address in (local_addr, remote_addr):
        infos: Infos = None
        if address:
            infos = unix_datagrams(address, family) or socket.getaddrinfo(
                address[0], address[1], family, socket.SOCK_DGRAM, proto
            )
        found.append(infos)
    local, remote = found
    loop = event_loop(map=map)
    return make_datagrams(loop, map, protocol_factory, local, remote, sock=sock, **options)


def _check_names(
    function: str,
    options: Iterable[str],
    taken_by: Callable[..., object],
    not_for_programs: Container[str] = (),
) -> None:
    """Raise `TypeError` for an option that the function which carries it out does not take."""
    known = [name for name in taken_by.__kwdefaults__ or () if name not in not_for_programs]
    for option in options:
        if option not in known:
            raise TypeError(
                f"{function}() has no option {option!r}: the options are {', '.join(known)}"
            )
