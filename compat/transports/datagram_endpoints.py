"""Datagram endpoints on a classic loop: what `ClassicLoop.create_datagram_endpoint` does."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from asynccore.channels import Map
from asynccore.listening import socket_activation

from .connections import AddressInfo, bind_path, share_port, unix_family
from .datagrams import DatagramTransport

D = TypeVar("D", bound=asyncio.BaseProtocol)

# What the look-up of an address has found, `None` for no address.
Infos = Sequence[AddressInfo] | None

# Host and port, or the path of a Unix socket.
EndpointAddress = tuple[str | None, int] | str


class Options(TypedDict):
    """What an endpoint is asked to be."""

    family: int
    proto: int
    reuse_port: bool | None
    allow_broadcast: bool | None


def datagram_socket(
    infos: Iterable[tuple[Any, ...]],
    local: object,
    remote: Infos,
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
    protocol_factory: Callable[[], D],
    local_addr: EndpointAddress | None = None,
    remote_addr: EndpointAddress | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
    sock: socket.socket | None = None,
) -> tuple[DatagramTransport, D]:
    """Look up the addresses, and make an endpoint."""
    options: Options = {
        "family": family,
        "proto": proto,
        "reuse_port": reuse_port,
        "allow_broadcast": allow_broadcast,
    }
    check(local_addr, remote_addr, sock, {**options, "flags": flags})
    infos = []
    for address in (local_addr, remote_addr):
        found: Infos = None
        if address:
            found = unix_datagrams(address, family) or await loop.getaddrinfo(
                *address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
            if not found:
                raise OSError(f"getaddrinfo({address[0]!r}) returned empty list")
        infos.append(found)
    local, remote = infos
    return make_datagrams(loop, map, protocol_factory, local, remote, sock=sock, **options)


def check(
    local_addr: object,
    remote_addr: object,
    sock: socket.socket | None,
    options: Mapping[str, object],
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


def unix_datagrams(address: object, family: int) -> Infos:
    """Return what the look-up of a Unix socket's path would find, and `None` for others."""
    if family and family == _AF_UNIX:
        return [(unix_family(), socket.SOCK_DGRAM, 0, "", address)]
    return None


# Windows has none.
_AF_UNIX: int | None = getattr(socket, "AF_UNIX", None)


def make_datagrams(
    loop: asyncio.AbstractEventLoop,
    map: Map,
    protocol_factory: Callable[[], D],
    local: Infos,
    remote: Infos,
    *,
    family: int,
    proto: int,
    reuse_port: bool | None,
    allow_broadcast: bool | None,
    sock: socket.socket | None,
) -> tuple[DatagramTransport, D]:
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
