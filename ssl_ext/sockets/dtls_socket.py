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
from collections import OrderedDict, deque
from collections.abc import Callable
from errno import EADDRNOTAVAIL, ECONNREFUSED, EINPROGRESS, EINVAL, EMSGSIZE
from typing import Any

from OpenSSL import SSL

from asynccore.channels import Map
from asynccore.engine.timers import Timer
from asynccore.pollers import READ, WRITE
from asynccore.running.loop import call_later

from ..contexts.context import Context
from ..contexts.handshake_notes import notes_of
from ..errors import HandshakeError
from ..states import CLOSED, FAILED, LISTENING, OPEN, RECORD, SHAKING
from .datagrams import LARGEST, Post, datagrams, drain, keep_address, share_address
from .tls_socket import OpenSSLSocket
from .translation import blocked, translated

# Bytes in a datagram: what IPv6 carries everywhere, less its header and UDP's (RFC 8200 section 5).
MTU = 1280 - 40 - 8

# What may be set for that: OpenSSL sends nothing with less (dtls1_link_min_mtu), and IPv4 carries
# no more (RFC 791 and 768).
_MTUS = 256, 65535 - 20 - 8

# How many datagrams are looked at in one accept() or recv(), so that a flood leaves others their
# turn.
_SHARE = 64

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

    _kind, _needed = _socket.SOCK_DGRAM, "datagram socket"
    takes_pieces = False  # each piece is a datagram of its own,
    keeps_bounds = True  # and each send() is one

    def __init__(
        self,
        context: Any,
        sock: _socket.socket,
        *args: Any,
        mtu: int = MTU,
        connection: SSL.Connection | None = None,
        **options: Any,
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
        self._given = connection  # of a client whose cookie was verified
        self._outgoing: deque[bytes] = deque()
        self._more = False  # OpenSSL was given what it has not said anything about
        self._unheard = True  # the peer has sent no data: it may lack our end of the handshake
        self._repeat: Timer | None = None
        self._hearing: SSL.Connection | None = None  # what a listener makes of first datagrams
        self._post: Post | None = None
        self._recent: OrderedDict[Any, DTLSSocket] = OrderedDict()
        super().__init__(context, sock, *args, **options)
        if context.server_side != self.server_side:
            side = "a server's" if self.server_side else "a client's"
            raise ValueError(f"{context!r} is not for {side} socket")

    def _first_phase(self) -> str:
        try:
            self._raw.getpeername()
        except OSError:
            pass
        else:
            return super()._first_phase()
        return LISTENING if self.server_side else super()._first_phase()

    # -- for the engine -------------------------------------------------------------------------

    def entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel in `map`, and say the first word (`LayeredSocket`)."""
        super().entered(map, report)
        if self.phase is SHAKING:
            self._advance()  # to a server, the client's first word came another way

    def poll_interest(self, wanted: int) -> int:
        """Return what to wait for at the descriptor (`LayeredSocket`)."""
        if self.phase is SHAKING or self._listens_on():
            wanted |= READ
        if self._outgoing:
            return WRITE | (wanted & READ)
        if self.phase is SHAKING:
            return READ
        return super().poll_interest(wanted)

    def handle_event(self, mask: int, wanted: int) -> int:
        """Do what DTLS needs (`LayeredSocket`)."""
        if self._outgoing:
            self._transmit()
        if mask != WRITE and not wanted & READ and self._listens_on():
            self.read_ahead = self._fetch(LARGEST)
        return super().handle_event(mask, wanted)

    def _listens_on(self) -> bool:
        """Whether to read even for a channel that doesn't: until the peer has sent data, it may
        say its part of the handshake again, and needs ours once more (RFC 6347 section 4.2.4). The
        first datagram of data ends that, and is kept."""
        return self.phase is OPEN and self._unheard and not self._peer_closed

    def ready_now(self, wanted: int) -> int:
        """Return what can be done without an event (`LayeredSocket`)."""
        if self._more and not self.read_ahead and self.phase is OPEN:
            if wanted & READ or self._listens_on():
                self.read_ahead = self._fetch(LARGEST)
        return super().ready_now(wanted)

    # -- datagrams ------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.connection = self._given or self._new_connection()

    def _new_connection(self) -> SSL.Connection:
        connection = self.context.connection(None, self.server_side, self.server_hostname)
        connection.set_ciphertext_mtu(self.mtu)
        return connection

    def _transmit(self) -> None:
        """Send what OpenSSL has to say."""
        connection = self.connection
        if connection is not None:
            self._outgoing.extend(datagrams(drain(connection), self.mtu))
        while self._outgoing:
            try:
                self._raw.send(self._outgoing[0])
            except BlockingIOError:
                self._report()  # as soon as there is room
                return
            except OSError as why:
                self._lost(why)
            self._outgoing.popleft()

    def _lost(self, why: OSError) -> None:
        """A datagram could not be sent, or one before came back: no more than a loss, usually."""
        if why.errno == ECONNREFUSED and self.phase is SHAKING and not self.server_side:
            # Nobody is there. Later on the same word may be anybody's (RFC 5927), and is ignored.
            self._fail(why)

    def _take_in(self) -> bool:
        """Give OpenSSL the next datagram; tell whether there was one."""
        while True:
            try:
                data, sender = self._raw.recvfrom(LARGEST)
            except BlockingIOError:
                return False
            except OSError as why:
                self._lost(why)
                if self.phase is FAILED:
                    return False
                continue
            if sender == self._raw.getpeername():
                self.feed(data)
                return True
            # Somebody else's: it came before the socket was connected. It will be said again.

    def feed(self, data: bytes) -> None:
        """Take a datagram of the peer's that came another way."""
        if data and self.connection is not None:
            self.connection.bio_write(data)
            self._more = True
            self._report()

    # -- the handshake --------------------------------------------------------------------------

    def _shake(self) -> None:
        connection = self.connection
        assert connection is not None
        while True:
            super()._shake()
            self._transmit()
            if self.phase is not SHAKING or not self._take_in():
                break
        self._plan_repetition()

    def _plan_repetition(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None
        if self.phase is SHAKING and self.connection is not None and self.map is not None:
            delay = self.connection.DTLSv1_get_timeout()
            if delay is not None:
                self._repeat = call_later(delay, self._say_again, map=self.map)

    def _start_timer(self) -> None:
        super()._start_timer()
        self._plan_repetition()

    def _say_again(self) -> None:
        self._repeat = None
        connection = self.connection
        if connection is None or self.phase is not SHAKING:
            return
        try:
            connection.DTLSv1_handle_timeout()
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=True))
            return
        self._transmit()
        self._plan_repetition()

    # -- receiving and sending ------------------------------------------------------------------

    def _fetch(self, size: int) -> bytes:
        data = b""
        for _ in range(_SHARE):
            self._more = False
            data = super()._fetch(LARGEST)
            self._transmit()  # an alert, or the end of a handshake that is said once more
            if data or self._peer_closed or self.failure is not None or not self._take_in():
                break
        if data:
            self._more = True  # one datagram may hold several records
            self._unheard = False
        return data

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return the next datagram, cut to `bufsize` bytes (`OpenSSLSocket.recv`)."""
        data = super().recv(RECORD, flags)  # not more: a full one would be joined with another
        return data[:bufsize]

    def _is_peer(self, address: Any, known: Any) -> bool:
        if address == self._called:
            return True
        # Perhaps without an IPv6 address's last two numbers.
        named = isinstance(address, (tuple, list))
        return named and bool(tuple(address) == known[: max(len(address), 2)])

    def send(self, data: Any, flags: int = 0) -> int:
        """Send one datagram (`OpenSSLSocket.send`). Raises `OSError` (EMSGSIZE) for a large one."""
        self.check_message(data)
        if self.phase is OPEN and self._outgoing:
            raise blocked()
        return super().send(data, flags)

    def check_message(self, data: Any) -> None:
        """Raise `OSError` (EMSGSIZE) for what is too large for a datagram
        (`asynccore.gather.keeps_bounds`)."""
        if self.phase is OPEN and self.connection is not None:
            largest = self.connection.get_cleartext_mtu()
        else:
            largest = self.mtu - _OVERHEAD  # as it will be, with the usual cipher suites
        largest = min(largest, RECORD)
        if len(data) > largest:
            raise OSError(EMSGSIZE, f"a datagram holds {largest} bytes here, not {len(data)}")

    write = send

    def _write(self, data: Any) -> int:
        count = super()._write(data)
        self._transmit()
        return count

    # -- the end --------------------------------------------------------------------------------

    def shutdown(self, how: int = _socket.SHUT_RDWR) -> None:
        """Say close_notify."""
        if how != _socket.SHUT_RD and self.phase is OPEN and not self._close_notify_sent:
            self._say_last()

    def _say_last(self) -> None:
        self._close_notify_sent = True
        assert self.connection is not None
        try:
            self.connection.shutdown()
        except SSL.Error:
            pass
        self._transmit()

    def unwrap(self) -> _socket.socket:
        """Raise `HandshakeError`: there is no way back to plain datagrams."""
        raise HandshakeError("datagrams can't go back to plaintext")

    def close(self) -> None:
        """Say close_notify, and close."""
        if self.phase is OPEN and not self._close_notify_sent and not self.inherited:
            self._say_last()
        for timer in (self._timer, self._repeat):
            if timer is not None:
                timer.cancel()
        self._timer = self._repeat = None
        self.phase = CLOSED
        self.connection = self._hearing = None
        self._outgoing.clear()
        self._recent.clear()
        self.read_ahead = self._pending_write = self._unreported = b""
        self.on_progress = self.on_timeout = None
        self._raw.close()

    # -- listening ------------------------------------------------------------------------------

    def connect_ex(self, address: Any) -> int:
        """Begin the handshake with an address (`OpenSSLSocket.connect_ex`)."""
        if self.server_side:
            return EADDRNOTAVAIL  # who serves is called, and doesn't call
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
        self._post = Post(self._raw)
        self.phase = LISTENING

    def accept(self) -> tuple[DTLSSocket, Any]:
        """Return the socket of a new client that has returned its cookie, and its address.

        Raises `BlockingIOError` if there is none, `OSError` (EINVAL) before `listen`, and others
        as socket(2) does; then the client tries again by itself.
        """
        post = self._post
        if post is None:
            raise OSError(EINVAL, "this socket doesn't listen: call bind() and listen() first")
        for _ in range(_SHARE):
            try:
                data, sender, here = post.receive(self._raw)
            except ConnectionError:
                continue  # one of our answers came back
            if not data:
                continue
            known = self._recent.get((sender, here))
            if known is not None and known.phase is not CLOSED:
                known.feed(data)
                continue
            verified = self._hear(data, post, sender, here)
            if verified is not None:
                return self._client(verified, sender, here), sender
        raise blocked()

    def _hear(self, data: bytes, post: Post, sender: Any, here: Any) -> SSL.Connection | None:
        """Answer a stranger's datagram; return the connection of one that returned its cookie."""
        connection, self._hearing = self._hearing or self._new_connection(), None
        notes_of(connection).address = repr(sender).encode()
        try:
            connection.bio_write(data)
            connection.DTLSv1_listen()
        except SSL.WantReadError:
            answer = drain(connection)
            if answer:
                self._hearing = connection
                try:
                    post.answer(self._raw, answer, sender, here)
                except OSError:
                    pass  # no room, or no way there: a loss
            return None
        except SSL.Error:
            return None  # nonsense
        return connection

    def _client(self, connection: SSL.Connection, address: Any, here: Any) -> DTLSSocket:
        raw = _socket.socket(self._raw.family, self._kind)
        try:
            share_address(raw, False)
            raw.bind(here or self._raw.getsockname())
            raw.connect(address)
            client = type(self)(
                self.context,
                raw,
                True,
                connection=connection,
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
