"""Datagram endpoints on a classic loop: what `ClassicLoop.create_datagram_endpoint` does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from asynccore.channels import Map
from asynccore.listening import socket_activation

from .connections import Pair, bind_path, share_port, unix_family
from .datagrams import DatagramTransport


def datagram_socket(
    infos: Any,
    local: object,
    remote: Any,
    reuse_port: bool | None,
    allow_broadcast: bool | None,
) -> socket.socket:
    """Return a socket that is bound and connected as asked, of the first family that can be."""
    failure: OSError | None = None
    for info in infos:
        family, kind, proto = info[:3]
        peer = next((found for found in remote or () if found[0] == family), None)
        if remote and peer is None:
            continue
        sock = socket.socket(family, kind, proto)
        try:
            if reuse_port:
                share_port(sock)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if local and family == _AF_UNIX:
                bind_path(sock, info[4])
            elif local:
                if not socket_activation.inherit(sock, info[4]):
                    sock.bind(info[4])
            if peer is not None and not allow_broadcast:
                sock.connect(peer[4])
        except OSError as why:
            sock.close()
            failure = failure or why
            continue
        except BaseException:
            sock.close()
            raise
        return sock
    try:
        raise failure or ValueError("can not get address information: no family in common")
    finally:
        failure = None


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
    options = {
        "family": family,
        "proto": proto,
        "flags": flags,
        "reuse_port": reuse_port,
        "allow_broadcast": allow_broadcast,
    }
    check(local_addr, remote_addr, sock, options)
    infos = []
    for address in (local_addr, remote_addr):
        found: Any = None
        if address:
            found = unix_datagrams(address, family) or await loop.getaddrinfo(
                *address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
            if not found:
                raise OSError(f"getaddrinfo({address[0]!r}) returned empty list")
        infos.append(found)
    del options["flags"]
    make: Any = make_datagrams
    pair: Pair = make(loop, map, protocol_factory, *infos, sock=sock, **options)
    return pair


def check(
    local_addr: object, remote_addr: object, sock: socket.socket | None, options: dict[str, Any]
) -> None:
    """Raise `TypeError` or `ValueError` for what no endpoint can be made of."""
    family = options["family"]
    if sock is not None:
        if sock.type == socket.SOCK_STREAM:
            raise ValueError(f"A datagram socket was expected, got {sock!r}")
        given = {"local_addr": local_addr, "remote_addr": remote_addr, **options}
        if problems := ", ".join(f"{name}={value}" for name, value in given.items() if value):
            raise ValueError(f"either sock, or what one is to be made of: {problems}")
        return
    if not (local_addr or remote_addr or family):
        raise ValueError("unexpected address family")
    for address in (local_addr, remote_addr):
        if not address:
            continue
        if family and family == _AF_UNIX:
            if not isinstance(address, str):
                raise TypeError(f"the address of a Unix socket is a string, not {address!r}")
        elif not (isinstance(address, tuple) and len(address) == 2):
            raise TypeError(f"an address is a 2-tuple of host and port, not {address!r}")


def unix_datagrams(address: object, family: int) -> Any:
    """Return what the look-up of a Unix socket's path would find, and `None` for others."""
    if family and family == _AF_UNIX:
        return [(unix_family(), socket.SOCK_DGRAM, 0, "", address)]
    return None


# Windows has none.
_AF_UNIX: int | None = getattr(socket, "AF_UNIX", None)


def make_datagrams(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], Any],
    local: object,
    remote: Any,
    *,
    family: int,
    proto: int,
    reuse_port: bool | None,
    allow_broadcast: bool | None,
    sock: socket.socket | None,
) -> Pair:
    """Make an endpoint of addresses that were looked up."""
    if sock is None:
        nowhere = [(family, socket.SOCK_DGRAM, proto)]
        infos = local or remote or nowhere
        sock = datagram_socket(infos, local, remote, reuse_port, allow_broadcast)
    sock.setblocking(False)
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
