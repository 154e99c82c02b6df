"""What DTLS needs of datagram sockets: records cut into datagrams, and addresses that are shared.

Facts. The sockets of a server's clients have the listener's address. Unless each of them sets
SO_REUSEPORT, the second can't be bound (socket(7)). If a listener sets it before it is bound, so
can another listener, and the kernel deals out the clients between the two. A socket that is bound
to all addresses answers from the one that the routing table likes best, and a client that has
called another doesn't hear it. To which one a datagram came is told in ancillary data (ip(7),
ipv6(7)).

Consequence. A listener is bound first, and shares its address then. One that is bound to all
addresses answers from the one that was called, and binds a client's socket to that.

Trade-off. While clients of a listener that was closed are still served, another can't be bound to
its address, unless both call `set_reuse_port`.
"""

from __future__ import annotations

import socket as _socket
import struct
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from OpenSSL import SSL

# The most that recv(2) can return of a datagram (RFC 768: the length field has 16 bits).
LARGEST = 65535

_HEADER = struct.Struct("!BHHIHH")  # type, version, epoch, sequence number (6 bytes), length


def datagrams(records: bytes, mtu: int) -> Iterator[bytes]:
    """Cut a run of DTLS records into datagrams of at most `mtu` bytes, each of whole records."""
    begin = end = 0
    while end < len(records):
        _, _, _, _, _, length = _HEADER.unpack_from(records, end)
        following = end + _HEADER.size + length
        if following - begin > mtu and end > begin:
            yield records[begin:end]
            begin = end
        end = following
    if end > begin:
        yield records[begin:end]


def drain(connection: SSL.Connection) -> bytes:
    """Return the records that a connection over memory buffers has to say."""
    pieces = []
    try:
        while True:
            pieces.append(connection.bio_read(LARGEST))
    except SSL.WantReadError:
        return b"".join(pieces)


# Addresses ---------------------------------------------------------------------------------------


def keep_address(sock: _socket.socket) -> None:
    """Have a socket that is not bound yet share its address with nobody: for datagrams,
    SO_REUSEADDR means what SO_REUSEPORT does."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)


def share_address(sock: _socket.socket, bound: bool) -> None:
    """Let the same user's sockets share the address of one that is bound, or is to be."""
    if hasattr(_socket, "SO_REUSEPORT"):
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    elif not bound:  # Windows asks only who comes later
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)


class _Kind(NamedTuple):
    """How a family tells where a datagram came to, and is told where one is to come from."""

    wildcard: str
    level: int
    option: int
    kind: int
    layout: struct.Struct


# Python has the name since 3.12; the number is Linux's. Of the others nobody has tried it.
_IP_PKTINFO = 8 if sys.platform == "linux" else None


def _kind_of(sock: _socket.socket) -> _Kind | None:
    if sock.family == _socket.AF_INET and _IP_PKTINFO is not None:
        # struct in_pktinfo: interface, our address for an answer, the one in the header
        layout = struct.Struct("@i4s4s")
        return _Kind("0.0.0.0", _socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO, layout)
    if sock.family == _socket.AF_INET6 and sys.platform != "win32":  # which has no recvmsg
        # struct in6_pktinfo: address, interface
        layout = struct.Struct("@16sI")
        option, kind = _socket.IPV6_RECVPKTINFO, _socket.IPV6_PKTINFO
        return _Kind("::", _socket.IPPROTO_IPV6, option, kind, layout)
    return None


class Post:
    """The datagrams of a listener: from whom, and to which of our addresses.

    That is `None` for a socket that is bound to one, and where the system doesn't tell.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self._kind: _Kind | None = None
        kind = _kind_of(sock)
        self._port = sock.getsockname()[1]
        if kind is not None and sock.getsockname()[0] == kind.wildcard:
            sock.setsockopt(kind.level, kind.option, 1)
            self._kind = kind

    def receive(self, sock: Any) -> tuple[bytes, Any, Any]:
        """Return a datagram, its sender, and the address of ours that it was sent to.

        Raises `OSError` as recvmsg(2) does.
        """
        kind = self._kind
        if kind is None or sys.platform == "win32":
            return (*sock.recvfrom(LARGEST), None)
        space = _socket.CMSG_SPACE(kind.layout.size)
        data, found, _, sender = sock.recvmsg(LARGEST, space)
        for level, type_, content in found:
            if (level, type_) == (kind.level, kind.kind) and len(content) == kind.layout.size:
                return data, sender, self._address(kind.layout.unpack(content))
        return data, sender, None

    def _address(self, told: tuple[Any, ...]) -> Any:
        if len(told) > 2:
            return _socket.inet_ntop(_socket.AF_INET, told[1]), self._port
        packed, interface = told
        local = packed[:2] == b"\xfe\x80"  # link-local: to be told apart by the interface
        host = _socket.inet_ntop(_socket.AF_INET6, packed)
        return host, self._port, 0, interface if local else 0

    def answer(self, sock: Any, data: bytes, to: Any, here: Any) -> None:
        """Send a datagram from an address of ours. Raises `OSError` as sendmsg(2) does."""
        kind = self._kind
        if kind is None or here is None:
            sock.sendto(data, to)
            return
        packed = _socket.inet_pton(sock.family, here[0])
        if sock.family == _socket.AF_INET:
            content = kind.layout.pack(0, packed, bytes(4))
        else:
            content = kind.layout.pack(packed, here[3])
        sock.sendmsg([data], [(kind.level, kind.kind, content)], 0, to)
