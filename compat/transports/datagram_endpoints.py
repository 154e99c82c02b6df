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
                share_port(sock)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if local and family == getattr(socket, "AF_UNIX", None):
                bind_path(sock, info[4])
            elif local:
                if not socket_activation.inherit(sock, info[4]):
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
            found = unix_datagrams(address) or await loop.getaddrinfo(
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


def unix_datagrams(address: Any) -> Any:
    if isinstance(address, (str, bytes)):
        return [(unix_family(), socket.SOCK_DGRAM, 0, "", address)]
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
