"""What DTLS needs of datagram sockets: records cut into datagrams, and addresses that are shared.

Facts. OpenSSL works on memory buffers here, and takes one datagram at a time, which may hold
several records. A datagram that can't be sent is no more than a lost one, unless nobody is there.
The sockets of a server's clients have the listener's address. Unless each of them sets
SO_REUSEPORT, the second can't be bound (socket(7)). If a listener sets it before it is bound, so
can another listener, and the kernel deals out the clients between the two. A socket that is bound
to all addresses answers from the one that the routing table likes best, and a client that has
called another doesn't hear it. To which one a datagram came is told in ancillary data (ip(7),
ipv6(7)).

Consequence. A `DatagramLink` carries datagrams between a connection and its socket, for a
`DatagramReader` and a `DatagramWriter`, which are used as those of streams are. A listener is bound
first, and shares its address then. One that is bound to all addresses answers from the one that was
called, and binds a client's socket to that.

Trade-off. While clients of a listener that was closed are still served, another can't be bound to
its address, unless both call `set_reuse_port`.
"""

from __future__ import annotations

import socket as _socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator
from errno import ECONNREFUSED
from typing import Any, NamedTuple

from OpenSSL import SSL

from .._openssl import said
from ..states import RECORD
from .records import Data, RecordReader, RecordWriter, nothing

# The most that recv(2) can return of a datagram (RFC 768: the length field has 16 bits).
LARGEST = 65535

# How many datagrams are looked at in one accept() or recv(), so that a flood leaves others their
# turn.
SHARE = 64

# And how many bytes of them, after which no other is looked at: OpenSSL takes up to 3 ms for a full
# datagram of the smallest records that there are.
SHARE_BYTES = 16384

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


class DatagramLink:
    """The datagrams between an OpenSSL connection over memory buffers and a connected socket.

    `outgoing` has found no room yet. `received` is how many bytes have come. `undigested` says that
    OpenSSL was given what it has not said anything about. `refused` is how the system said that
    nobody is there. `report()` is called when there may be something to be done without an event.
    """

    connection: SSL.Connection  # absent until there is one

    def __init__(self, sock: _socket.socket, mtu: int) -> None:
        self.sock = sock
        self.mtu = mtu
        self.outgoing: deque[bytes] = deque()
        self.received = 0
        self.undigested = False
        self.refused: OSError | None = None
        self.report: Callable[[], None] = nothing

    def transmit(self) -> None:
        """Send what OpenSSL has to say."""
        self.outgoing.extend(datagrams(said(self.connection), self.mtu))
        while self.outgoing:
            try:
                self.sock.send(self.outgoing[0])
            except BlockingIOError:
                self.report()  # the rest goes as soon as there is room
                return
            except OSError as why:
                self._lose(why)
            self.outgoing.popleft()

    def share(self) -> Iterator[bool]:
        """Give OpenSSL the next datagrams, one by one, as many as a turn may have; tell each time
        whether there was one."""
        most = self.received + SHARE_BYTES
        for _ in range(SHARE):
            yield self.received < most and self.receive()
        yield False

    def receive(self) -> bool:
        """Give OpenSSL the next datagram; tell whether there was one."""
        for _ in range(SHARE):
            try:
                data, sender = self.sock.recvfrom(LARGEST)
            except BlockingIOError:
                return False
            except OSError as why:
                self._lose(why)
                continue
            if sender == self.sock.getpeername():
                self.feed(data)
                return True
            # Somebody else sent it before the socket was connected, and will send it again.
        return False

    def feed(self, data: bytes) -> None:
        """Take a datagram of the peer's, which may have come another way."""
        if data:
            self.received += len(data)
            self.connection.bio_write(data)
            self.undigested = True
            self.report()

    def _lose(self, why: OSError) -> None:
        """A datagram could not be sent, or one before came back."""
        if why.errno == ECONNREFUSED:
            self.refused = why


class DatagramReader(RecordReader):
    """What a DTLS connection receives: `data` is one datagram, of which `take` gives no rest."""

    __slots__ = ("link", "unheard")

    def __init__(self, link: DatagramLink) -> None:
        super().__init__()
        self.link = link
        self.unheard = True  # the peer has sent no data, so it may lack our end of the handshake

    def fill(self, size: int = RECORD) -> None:
        """Have OpenSSL decrypt the next datagram into `data`, from which all was taken."""
        link = self.link
        share = link.share()
        while True:
            link.undigested = False
            super().fill()
            link.transmit()  # OpenSSL may answer with an alert, or the end of a handshake once more
            if self.data or self.ended or self.error is not None or not next(share):
                break
        if self.data:
            link.undigested = True  # one datagram may hold several records
            self.unheard = False

    def count_barren(self) -> None:
        """Count nothing: anybody may have sent what is no data, and it is dropped (RFC 6347
        section 4.1.2.7)."""

    def take(self, bufsize: int) -> bytes:
        """Return a datagram, cut to `bufsize` bytes."""
        data, self.data = self.data, b""
        return data[:bufsize]


class DatagramWriter(RecordWriter):
    """What a DTLS connection sends: one datagram for each `send`, all of it or nothing."""

    __slots__ = ("link",)

    def __init__(self, link: DatagramLink) -> None:
        super().__init__()
        self.link = link

    def send(self, data: Data) -> int:
        """Send a datagram, unless those before it have found no room; return its length or 0."""
        if self.link.outgoing:
            return 0
        count = super().send(data)
        self.link.transmit()
        return count

    def end(self) -> bool:
        """Say close_notify, if there is a way."""
        if not self.ended:
            self.ended = True
            try:
                self.connection.shutdown()
            except SSL.Error:
                pass
            self.link.transmit()
        return True


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


class _PacketInfo(NamedTuple):
    """How a family tells where a datagram came to, and is told where one is to come from."""

    wildcard: str
    level: int
    option: int
    kind: int
    layout: struct.Struct


# Python has the name since 3.12; the number is Linux's. Of the others nobody has tried it.
_IP_PKTINFO = 8 if sys.platform == "linux" else None


def _packet_info(sock: _socket.socket) -> _PacketInfo | None:
    if sock.family == _socket.AF_INET and _IP_PKTINFO is not None:
        # struct in_pktinfo: interface, our address for an answer, the one in the header
        layout = struct.Struct("@i4s4s")
        return _PacketInfo("0.0.0.0", _socket.IPPROTO_IP, _IP_PKTINFO, _IP_PKTINFO, layout)
    if sock.family == _socket.AF_INET6 and sys.platform != "win32":  # which has no recvmsg
        # struct in6_pktinfo: address, interface
        layout = struct.Struct("@16sI")
        option, kind = _socket.IPV6_RECVPKTINFO, _socket.IPV6_PKTINFO
        return _PacketInfo("::", _socket.IPPROTO_IPV6, option, kind, layout)
    return None


class ListenerDatagrams:
    """The datagrams of a listener: from whom, and to which of our addresses.

    That is `None` for a socket that is bound to one, and where the system doesn't tell.
    """

    def __init__(self, sock: _socket.socket) -> None:
        self._info: _PacketInfo | None = None
        info = _packet_info(sock)
        self._port = sock.getsockname()[1]
        if info is not None and sock.getsockname()[0] == info.wildcard:
            sock.setsockopt(info.level, info.option, 1)
            self._info = info

    def receive(self, sock: Any) -> tuple[bytes, Any, Any]:
        """Return a datagram, its sender, and the address of ours that it was sent to.

        Raises `OSError` as recvmsg(2) does.
        """
        info = self._info
        if info is None or sys.platform == "win32":
            return (*sock.recvfrom(LARGEST), None)
        space = _socket.CMSG_SPACE(info.layout.size)
        data, found, _, sender = sock.recvmsg(LARGEST, space)
        for level, type_, content in found:
            if (level, type_) == (info.level, info.kind) and len(content) == info.layout.size:
                return data, sender, self._address(info.layout.unpack(content))
        return data, sender, None

    def _address(self, told: tuple[Any, ...]) -> Any:
        if len(told) > 2:
            return _socket.inet_ntop(_socket.AF_INET, told[1]), self._port
        packed, interface = told
        local = packed[:2] == b"\xfe\x80"  # link-local addresses need their interface
        host = _socket.inet_ntop(_socket.AF_INET6, packed)
        return host, self._port, 0, interface if local else 0

    def answer(self, sock: Any, data: bytes, to: Any, here: Any) -> None:
        """Send a datagram from an address of ours. Raises `OSError` as sendmsg(2) does."""
        info = self._info
        if info is None or here is None:
            sock.sendto(data, to)
            return
        packed = _socket.inet_pton(sock.family, here[0])
        if sock.family == _socket.AF_INET:
            content = info.layout.pack(0, packed, bytes(4))
        else:
            content = info.layout.pack(packed, here[3])
        sock.sendmsg([data], [(info.level, info.kind, content)], 0, to)
