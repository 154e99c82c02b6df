"""`DTLSSocket`: what looks like a non-blocking socket to a dispatcher, and speaks DTLS.

Facts. Datagrams are lost, doubled and reordered; whoever waits for an answer in the handshake says
its part again after a while. A sender's address can be made up, so a server that answered a first
word with its certificates would flood whom a liar names. One server socket gets everybody's
datagrams.

Consequence. OpenSSL works on memory buffers here, one datagram at a time, and a timer of the loop
makes it say again what got no answer. A listening socket keeps nothing of a client until that has
returned a cookie (RFC 6347 section 4.2.1). Then the client gets a socket of its own, bound to the
same address and connected to it: the kernel sorts the datagrams, and the channel is one like any
other, with timeouts, limits and statistics.

Trade-off. A descriptor for each client. Datagrams that arrive between bind(2) and connect(2) of
that may be dropped, which clients make up for. A client that begins anew from the same port while
its old channel lives is not heard; give channels an `idle_timeout`. If a client's very first
datagram is lost, the handshake takes a second longer than it need: OpenSSL 4.0 then gives its
answer the number of the datagram with the cookie, and the client takes it for a copy. What finds
no room when a socket is closed is lost, and what was lost of a handshake before is not said again.
"""

from __future__ import annotations

import socket as _socket
from collections import OrderedDict
from collections.abc import Callable, Iterable
from errno import EADDRNOTAVAIL, EINPROGRESS, EINVAL, EMSGSIZE
from typing import Any

from OpenSSL import SSL

from asynccore.channels import Map
from asynccore.classic.former import formerly
from asynccore.engine.timers import Timer
from asynccore.pollers import READ, WRITE
from asynccore.running.loop import call_later

from .._openssl import said
from ..contexts.context import Context
from ..contexts.handshake_notes import notes_of
from ..errors import HandshakeError
from ..states import (
    CLOSED,
    CONNECTING,
    HANDSHAKE_TIMEOUT,
    HANDSHAKING,
    LISTENING,
    OPEN,
    RECORD,
    SHUTDOWN_TIMEOUT,
)
from .datagrams import (
    SHARE,
    SHARE_BYTES,
    DatagramLink,
    DatagramReader,
    DatagramWriter,
    ListenerDatagrams,
    keep_address,
    share_address,
)
from .records import Data, nothing
from .tls_socket import OpenSSLSocket
from .translation import AnyContext, blocked, translated

# Bytes in a datagram: what IPv6 carries everywhere, less its header and UDP's (RFC 8200 section 5).
MTU = 1280 - 40 - 8

# What may be set for that: OpenSSL sends nothing with less (dtls1_link_min_mtu), and IPv4 carries
# no more (RFC 791 and 768).
_MTUS = 256, 65535 - 20 - 8

_FAMILIES = (_socket.AF_INET, _socket.AF_INET6)

# How many recent clients a listener knows whose first datagrams may still come to it.
_RECENT = 1024

# What of a datagram is not the program's: the record's header, and the nonce and tag of AES-GCM
# (RFC 6347 section 4.3.1, RFC 5288 section 3). CHACHA20-POLY1305 has no nonce there.
_OVERHEAD = 13 + 8 + 16


class DTLSSocket(OpenSSLSocket):
    """DTLS on a datagram socket, for any dispatcher (`OpenSSLSocket` says how).

    `context` is an `ssl_ext.Context` made with `dtls=True`. A client's socket is to be connected.
    A server's is to be bound, and listens: `listen()`, then `accept()`. Each `send` is one datagram
    and each `recv` returns one, of which what does not fit is lost, as recv(2) has it.

    `mtu` is how many bytes a datagram may have, without the headers of IP and UDP: 256 to 65,507,
    by default 1,232. A `send` may have 37 less, and 16,384 at most.

    Raises `TypeError` and `ValueError` as `OpenSSLSocket` does.
    """

    _reader: DatagramReader
    _kind, _needed = _socket.SOCK_DGRAM, "datagram socket"
    _tickets = 0  # they come in the handshake
    _ac_takes_pieces = False  # each piece is a datagram of its own,
    _ac_keeps_bounds = True  # and each send() is one

    @formerly("server_side", "server_hostname")
    def __init__(
        self,
        context: AnyContext,
        sock: _socket.socket,
        *,
        server_side: bool | None = None,
        server_hostname: str | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
        suppress_ragged_eofs: bool = False,
        prelude: bytes | Iterable[bytes] = b"",
        mtu: int = MTU,
        _verified: SSL.Connection | None = None,
    ) -> None:
        if not isinstance(context, Context) or not context.dtls:
            raise TypeError(f"{context!r} is not for datagrams: make a context with dtls=True")
        if sock.type == self._kind and sock.family not in _FAMILIES:
            raise ValueError(f"datagrams are for IPv4 and IPv6, which {sock!r} is not")
        if isinstance(mtu, bool) or not isinstance(mtu, int):
            raise TypeError(f"mtu is a number of bytes, not {mtu!r}")
        if not _MTUS[0] <= mtu <= _MTUS[1]:
            raise ValueError(f"mtu is {_MTUS[0]} to {_MTUS[1]} bytes, not {mtu}")
        self.mtu = mtu
        self._called: Any = None  # what `connect` was given, perhaps by name
        self._verified = _verified  # of a client that has returned its cookie
        self._link = DatagramLink(sock, mtu)
        self._retransmission: Timer | None = None
        self._first_hello: SSL.Connection | None = None  # what a listener reads strangers' with
        self._datagrams: ListenerDatagrams | None = None
        self._recent: OrderedDict[tuple[Any, Any], DTLSSocket] = OrderedDict()
        super().__init__(
            context,
            sock,
            server_side=server_side,
            server_hostname=server_hostname,
            handshake_timeout=handshake_timeout,
            shutdown_timeout=shutdown_timeout,
            suppress_ragged_eofs=suppress_ragged_eofs,
            prelude=prelude,
        )
        if context.server_side != self.server_side:
            side = "a server's" if self.server_side else "a client's"
            raise ValueError(f"{context!r} is not for {side} socket")

    def _ends(self) -> tuple[DatagramReader, DatagramWriter]:
        return DatagramReader(self._link), DatagramWriter(self._link)

    def _find_out(self) -> None:
        super()._find_out()
        if self.state is CONNECTING and self.server_side:
            self._enter(LISTENING)

    # -- for the engine (`LayeredSocket`) -------------------------------------------------------

    def _ac_entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel in `map`, and say the first word."""
        super()._ac_entered(map, report)
        self._link.report = report
        if self.state is HANDSHAKING:
            self._advance()  # to a server, the client's first word came another way

    def _ac_poll_interest(self, wanted: int) -> int:
        """Return what to wait for at the descriptor."""
        if self.state is HANDSHAKING or self._listens_on():
            wanted |= READ
        if self._link.outgoing:
            return WRITE | (wanted & READ)
        if self.state is HANDSHAKING:
            return READ
        return super()._ac_poll_interest(wanted)

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        """Do what DTLS needs."""
        if self._link.outgoing:
            self._link.transmit()
        if mask != WRITE and not wanted & READ and self._listens_on():
            self._fill()
        return super()._ac_handle_event(mask, wanted)

    def _listens_on(self) -> bool:
        """Whether to read even for a channel that doesn't: until the peer has sent data, it may
        say its part of the handshake again, and needs ours once more (RFC 6347 section 4.2.4). The
        first datagram of data ends that, and is kept."""
        return self.state is OPEN and self._reader.unheard and not self._reader.ended

    def _ac_ready_now(self, wanted: int) -> int:
        """Return what can be done without an event."""
        if self._link.undigested and not self._reader.data and self.state is OPEN:
            if wanted & READ or self._listens_on():
                self._fill()
        return super()._ac_ready_now(wanted)

    # -- the handshake --------------------------------------------------------------------------

    def _begin(self) -> None:
        connection = self._verified or self._new_connection()
        self._adopt(connection, connection)

    def _new_connection(self) -> SSL.Connection:
        connection = self.context._ac_connection(None, self.server_side, self.server_hostname)
        connection.set_ciphertext_mtu(self.mtu)
        return connection

    def _adopt(self, connection: SSL.Connection, link: Any) -> None:
        self._link.connection = connection
        super()._adopt(connection, link)

    def _feed(self, data: bytes) -> None:
        """Take a datagram of the peer's that came another way."""
        if self.connection is not None:
            self._link.feed(data)

    def _handshake(self) -> None:
        share = self._link.share()
        while True:
            super()._handshake()
            self._transmit()
            if self.state is not HANDSHAKING or not next(share):
                break
        self._give_up_if_refused()
        self._plan_retransmission()

    def _transmit(self) -> None:
        if self.connection is not None:  # nobody has closed it meanwhile
            self._link.transmit()

    def _give_up_if_refused(self) -> None:
        """Fail a client if nobody is there. Later on the same word of the network may be anybody's
        (RFC 5927), and is ignored."""
        why = self._link.refused
        if why is not None and self.state is HANDSHAKING and not self.server_side:
            self._fail(why)

    def _plan_retransmission(self) -> None:
        if self._retransmission is not None:
            self._retransmission.cancel()
            self._retransmission = None
        if self.state is HANDSHAKING and self.connection is not None and self._ac_map is not None:
            delay = self.connection.DTLSv1_get_timeout()
            if delay is not None:
                self._retransmission = call_later(delay, self._retransmit, map=self._ac_map)

    def _start_timer(self) -> None:
        super()._start_timer()
        self._plan_retransmission()

    def _retransmit(self) -> None:
        self._retransmission = None
        connection = self.connection
        if connection is None or self.state is not HANDSHAKING:
            return
        try:
            connection.DTLSv1_handle_timeout()
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=True))
            return
        self._link.transmit()
        self._give_up_if_refused()
        self._plan_retransmission()

    # -- receiving and sending ------------------------------------------------------------------

    def _is_peer(self, address: Any, known: Any) -> bool:
        if address == self._called:
            return True
        # Perhaps without an IPv6 address's last two numbers.
        named = isinstance(address, (tuple, list))
        return named and bool(tuple(address) == known[: max(len(address), 2)])

    def send(self, data: Data, flags: int = 0) -> int:
        """Send one datagram (`OpenSSLSocket.send`). Raises `OSError` (EMSGSIZE) for a large one."""
        self._ac_check_message(data)
        return super().send(data, flags)

    def _ac_check_message(self, data: Data) -> None:
        """Raise `OSError` (EMSGSIZE) for what is too large for a datagram
        (`vectored._ac_keeps_bounds`)."""
        if self.state is OPEN and self.connection is not None:
            largest = self.connection.get_cleartext_mtu()
        else:
            largest = self.mtu - _OVERHEAD  # as it will be, with the usual cipher suites
        largest = min(largest, RECORD)
        if len(data) > largest:
            raise OSError(EMSGSIZE, f"a datagram holds {largest} bytes here, not {len(data)}")

    write = send

    # -- the end --------------------------------------------------------------------------------

    def shutdown(self, how: int = _socket.SHUT_RDWR) -> None:
        """Say close_notify."""
        self._check_open()
        if how != _socket.SHUT_RD and self.state is OPEN:
            self._writer.end()

    def unwrap(self) -> _socket.socket:
        """Raise `HandshakeError`: there is no way back to plain datagrams."""
        raise HandshakeError("datagrams can't go back to plaintext")

    def _leave(self, state: str) -> None:
        self._link.report = nothing
        if state is OPEN and not self._ac_inherited:
            self._writer.end()  # what finds no room is lost, as any datagram may be
        if self._retransmission is not None:
            self._retransmission.cancel()
            self._retransmission = None
        self._verified = self._first_hello = None
        self._recent.clear()
        self._link = DatagramLink(self._raw, self.mtu)  # the old one has the connection
        self._raw.close()

    # -- listening ------------------------------------------------------------------------------

    def connect_ex(self, address: object) -> int:
        """Begin the handshake with an address (`OpenSSLSocket.connect_ex`)."""
        if self.server_side:
            return EADDRNOTAVAIL  # a server's socket doesn't connect
        number = super().connect_ex(address)
        if number == EINPROGRESS:
            self._called = address
        return number

    def bind(self, address: Any) -> None:
        """Bind to an address (bind(2)). A server's is shared with no other, unless `set_reuse_port`
        was called."""
        if self.server_side:
            keep_address(self._raw)
        super().bind(address)

    def listen(self, backlog: int = 128) -> None:
        """Become a listener. Raises `ValueError` for a client's socket."""
        if not self.server_side:
            raise ValueError("a client's socket can't listen: say server_side=True")
        share_address(self._raw, True)
        self._datagrams = ListenerDatagrams(self._raw)
        if self.state is not LISTENING:
            self._enter(LISTENING)

    def accept(self) -> tuple[DTLSSocket, Any]:
        """Return the socket of a new client that has returned its cookie, and its address.

        Raises `BlockingIOError` if there is none, `OSError` (EINVAL) before `listen`, and others
        as socket(2) does; then the client tries again by itself.
        """
        self._check_open()
        incoming = self._datagrams
        if incoming is None:
            raise OSError(EINVAL, "this socket doesn't listen: call bind() and listen() first")
        left = SHARE_BYTES
        for _ in range(SHARE):
            if left <= 0:
                break
            try:
                data, sender, here = incoming.receive(self._raw)
            except ConnectionError:
                continue  # one of our answers has come back
            left -= len(data)
            if not data:
                continue
            known = self._recent.get((sender, here))
            if known is not None and known.state is not CLOSED:
                known._feed(data)
                continue
            verified = self._answer(data, incoming, sender, here)
            if verified is not None:
                return self._client_socket(verified, sender, here), sender
        raise blocked()

    def _answer(
        self, data: bytes, incoming: ListenerDatagrams, sender: object, here: object
    ) -> SSL.Connection | None:
        """Answer a stranger's datagram; return the connection of one that returned its cookie."""
        connection, self._first_hello = self._first_hello or self._new_connection(), None
        notes_of(connection).address = repr(sender).encode()
        try:
            connection.bio_write(data)
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            answer = said(connection)
            if answer:
                self._first_hello = connection
                try:
                    incoming.answer(self._raw, answer, sender, here)
                except OSError:
                    pass  # there is no room, or no way there: the answer is lost
            return None
        except SSL.Error:
            return None  # it was nonsense
        return connection

    def _client_socket(self, connection: SSL.Connection, address: Any, here: Any) -> DTLSSocket:
        raw = _socket.socket(self._raw.family, self._kind)
        try:
            share_address(raw, False)
            raw.bind(here or self._raw.getsockname())
            raw.connect(address)
            client = type(self)(
                self.context,
                raw,
                server_side=True,
                _verified=connection,
                mtu=self.mtu,
                handshake_timeout=self.handshake_timeout,
                shutdown_timeout=self.shutdown_timeout,
            )
        except BaseException:
            raw.close()
            raise
        self._recent[address, here] = client
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)
        return client

    def getsockopt(self, level: int, option: int, *buflen: int) -> Any:
        """Return an option (getsockopt(2)). SO_TYPE is a stream's, for there is an end: that a
        `recv` of nothing is one, dispatchers tell by this."""
        if (level, option) == (_socket.SOL_SOCKET, _socket.SO_TYPE):
            return int(_socket.SOCK_STREAM)
        return super().getsockopt(level, option, *buflen)
