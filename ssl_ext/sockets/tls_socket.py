"""`OpenSSLSocket`: what looks like a non-blocking socket to a dispatcher, and speaks TLS.

Facts. OpenSSL wants to read while a program writes, and the other way round. A record that was
read whole leaves decrypted bytes that no poller sees. A handshake is several turns of the loop, can
be preceded by a connect and by bytes in clear, and fails in a callback, or by the check of a name
that OpenSSL doesn't make, as well as in OpenSSL. Both sides say close_notify, and each may still
receive after it has said its own; ours may not fit into a full socket. What a legacy handler knows
is `recv`, `send`, `OSError`, and that it is called when there is something to do.

Consequence. This is a `LayeredSocket`: the engine asks it what to wait for, and whether there is
plaintext. Where it is stands in `state`, and `states.TRANSITIONS` says where it may go. One record
is read ahead (`records`), for only that tells half a record, or a session ticket, from plaintext.
A connect is over when the handshake is. `_advance` goes on from wherever the connection is, as far
as that goes now. What fails is kept in `failure`, raised by the next `recv`, `send` and the like,
by the table in `translation`, and once only wakes a channel up. What can't be said at once when it
ends is said by the loop, as soon as there is room; `close` hands that to a channel of its own
(`lingering`).

After the handshake (`handshake_link`), OpenSSL works on the socket itself and not on memory
buffers. It then asks the kernel for the exact
bytes of a record, so that (a) nothing of what follows is ever taken out of the kernel, which makes
going back to plaintext and noticing hidden data simple, and (b) a small message costs fewer calls
between Python and C than it takes to carry it through two buffers. Measured by processor time with
`python -m benchmarks.tls_transport`: memory buffers take 2.0 times as long for 64 bytes there and
back, 1.6 times for 16,000, and 1.7 times the memory.

Reading alone by a buffer of our own takes 0.95 of the time for 64 bytes, 0.77 for 4,096 and 1.09
for 16,384: too little for what (a) is worth.

Whatever a record holds, a read ends with it (`read_by_records`): a peer that sends session tickets,
KeyUpdates or HelloRequests without end has one turn for each, as others have.

Trade-off. Two `read` calls for each record, one for its header, one for its body.
"""

from __future__ import annotations

import os
import socket as _socket
from collections.abc import Callable, Iterable
from errno import EAGAIN, EBADF, EINPROGRESS, EISCONN, ENOTCONN, EPIPE
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from cryptography import x509
from OpenSSL import SSL

from asynccore.channels import Map
from asynccore.classic.former import formerly, under_former_name
from asynccore.dispatchers.vectored import SEND_SHARE
from asynccore.engine import descriptor_changed
from asynccore.engine.timers import Timer
from asynccore.errors import judges_peer, reports_to_channel
from asynccore.monitoring.counts import failed_handshakes, handshakes
from asynccore.pollers import ERROR, HANGUP, PRIORITY, READ, WRITE
from asynccore.running.loop import call_later

from .. import peer
from .._openssl import moves, read_by_records
from ..certificates.hostnames import check_server_hostname
from ..errors import HandshakeError, TLSError, TruncationError
from ..states import (
    CLOSED,
    CONNECTING,
    FAILED,
    HANDSHAKE_TIMEOUT,
    HANDSHAKING,
    LISTENING,
    OPEN,
    PLAIN,
    PRELUDE,
    RECORD,
    SHUTDOWN_TIMEOUT,
    TRANSITIONS,
    UNWRAPPING,
)
from .handshake_link import HandshakeLink
from .handshake_table import MADE_ROOM, HandshakeTable
from .lingering import linger
from .proxy import SocketProxy
from .records import Data, Pieces, RecordReader, RecordWriter, joined, nothing
from .translation import AnyContext, adapted, as_handshake_error, blocked, not_ready, translated

_GONE = ERROR | HANGUP

# How many records without data may come before a server's first: the session tickets of TLS 1.3, of
# which OpenSSL's servers send two (SSL_CTX_set_num_tickets(3)), and twice that.
TICKETS = 4

# How a channel that waits for nothing is told of a failure: SO_ERROR has it (`getsockopt`).
_FAILURE_NEWS = ERROR | PRIORITY

# How often such a channel is told, for one that pays no heed must not keep the loop busy. Being
# found to be so, and then told, are two looks.
_REMINDERS = 8


class OpenSSLSocket(SocketProxy):
    """TLS on a stream socket, for any dispatcher: give it to `set_socket`, or to its constructor.

    `context` is an `ssl_ext.Context` or a plain `OpenSSL.SSL.Context`. `sock` is a TCP or AF_UNIX
    stream socket, connected or not; it becomes non-blocking. One that listens hands out sockets of
    this class. `server_side` follows from an `ssl_ext.Context`. `server_hostname` is whom a client
    expects: a host name or an IP address; by default, what `connect` is given.

    `handshake_timeout` and `shutdown_timeout` are in seconds, `None` or 0 for none. With
    `suppress_ragged_eofs` an end without close_notify is an end like any other (the name is from
    `ssl.SSLContext.wrap_socket`): whoever can cut the connection can then cut the data. `prelude`,
    bytes or an iterable of such, is sent in clear before the handshake; each piece is asked for
    when the one before it is sent, and an empty one ends it.

    Raises `TypeError` and `ValueError` for a context or socket that can't be used, and for a
    client that does not say whom it expects.
    """

    # A dict of more than 30 attributes is shared by no instances, and slow.
    __slots__ = (
        "_ac_agreed",
        "_ac_map",
        "_ac_on_progress",
        "_ac_on_timeout",
        "_failure_raised",
        "_failure_reminders",
        "_handshake_link",
        "_handshake_tables",
        "_handshake_wants",
        "_last_pieces",
        "_listeners_table",
        "_may_be_refused",
        "_nothing_received",
        "_output_ends",
        "_pending_shutdown",
        "_pid",
        "_prelude",
        "_reader",
        "_report",
        "_timer",
        "_writer",
        "connection",
        "context",
        "failure",
        "handshake_timeout",
        "server_hostname",
        "server_side",
        "shutdown_timeout",
        "state",
        "suppress_ragged_eofs",
    )

    _kind, _needed = _socket.SOCK_STREAM, "stream socket"
    _tickets = TICKETS

    _ac_takes_pieces = True  # `asynccore.dispatchers.vectored`

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
    ) -> None:
        if sock.type != self._kind:
            raise ValueError(f"{type(self).__name__} needs a {self._needed}, not {sock!r}")
        if self._kind == _socket.SOCK_STREAM and getattr(context, "dtls", False):
            raise TypeError(
                f"{context!r} is for datagrams: make a context without dtls=True, or give a "
                "datagram socket to ssl_ext.DTLSSocket"
            )
        if hasattr(type(sock), "do_handshake"):
            raise ValueError(f"{sock!r} speaks TLS already: give the plain socket")
        if server_side is None:
            server_side = bool(getattr(context, "server_side", False))
        if server_side and server_hostname is not None:
            raise ValueError("server_hostname is for clients: whom they expect to find")
        self.context = adapted(context)
        if not server_side:
            check_server_hostname(server_hostname)  # this fails before anything is connected
        super().__init__(sock)
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.handshake_timeout = handshake_timeout
        self.shutdown_timeout = shutdown_timeout
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self.state = CONNECTING
        self.connection: SSL.Connection | None = None
        self.failure: OSError | None = None
        self._ac_agreed: peer.AnyConnection | None = None
        """The connection whose handshake is over, as `ssl_ext.peer` takes it, or `None`. When it
        has been closed, what was known of it stays: who has left can be told."""
        self._ac_map: Map | None = None  # in which it may linger
        # Called when `state` has changed, and instead of a failure when the handshake takes too
        # long.
        self._ac_on_progress: Callable[[], object] | None = None
        self._ac_on_timeout: Callable[[], object] | None = None
        self._reader, self._writer = self._ends()
        self._prelude = Pieces((prelude,) if isinstance(prelude, bytes) else prelude)
        self._last_pieces = Pieces()  # to be sent before going back to plaintext
        self._pid = os.getpid()
        self._failure_raised = False
        self._failure_reminders = 0  # yet to be given to a channel that wants nothing
        self._handshake_link: HandshakeLink | SSL.Connection | None = None
        self._handshake_tables: tuple[HandshakeTable, ...] = ()  # in which this one is counted
        self._handshake_wants = READ
        self._listeners_table: HandshakeTable | None = None
        # By a server that has said nothing yet: a client hears that even if it doesn't read.
        self._may_be_refused = False
        self._nothing_received = True
        self._output_ends = False  # shutdown() was called,
        self._pending_shutdown: int | None = None  # and how, while our close_notify has no room
        self._report: Callable[[], None] = nothing
        self._timer: Timer | None = None
        sock.setblocking(False)
        self._find_out()
        descriptor_changed(sock.fileno())

    def _ends(self) -> tuple[RecordReader, RecordWriter]:
        """Return the two ends of a connection that is still to come."""
        return RecordReader(), RecordWriter()

    def _find_out(self) -> None:
        """Find out what the socket is that was given."""
        try:
            self._raw.getpeername()
        except OSError:
            if self._raw.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                self._enter(LISTENING)
        else:
            self._begin()

    def __repr__(self) -> str:
        role = "server" if self.server_side else "client"
        return f"<{type(self).__name__} fd={self._raw.fileno()} {role} {self.state}>"

    # -- for the engine (`LayeredSocket`) -------------------------------------------------------

    # The engine asks for this at every event, and a property in Python would take longer.
    _ac_read_ahead = property(
        attrgetter("_reader.data"), doc="Plaintext that was not received yet."
    )

    def _ac_entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel in `map`."""
        self._ac_map = map
        self._report = self._reader.report = self._writer.report = report
        if self.state in (PRELUDE, HANDSHAKING):
            self._start_timer()

    def _ac_poll_interest(self, wanted: int) -> int:
        """Return what to wait for at the descriptor."""
        state, reader, writer = self.state, self._reader, self._writer
        if state is OPEN:
            # Each of the two waits for one direction, perhaps for the opposite of its own.
            mask = writer.waits_for if wanted & WRITE or writer.pending else 0
            if self._pending_shutdown is not None:
                mask |= writer.waits_for
            if (wanted & READ or self._may_be_refused) and not reader.ended:
                mask |= reader.waits_for
            return mask
        if state is HANDSHAKING:
            return self._handshake_wants
        if state is CONNECTING and self._kind != _socket.SOCK_STREAM:
            return 0  # it is always writable, and nothing but connect() connects it
        if state in (CONNECTING, PRELUDE):
            return WRITE
        if state is UNWRAPPING:
            if reader.data:
                return 0  # what its channel has not received yet comes first
            return reader.waits_for if writer.ended else writer.waits_for
        return 0 if state is FAILED else wanted

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        """Do what TLS needs, and return what of `wanted` can be done with plaintext."""
        if self.state is OPEN:
            reader = self._reader
            if mask == wanted == reader.waits_for == READ and self._writer.waits_for == WRITE:
                # Nearly all events are of this kind, so they take the shortest way.
                if not reader.data and not reader.ended:
                    reader.fill()
                    if not reader.data:
                        reader.count_barren()
                    if self._nothing_received or reader.error is not None:
                        self._review_reading()
                return READ if reader.data else self._ac_ready_now(wanted)
            return self._handle_open_event(mask, wanted)
        if self.state in (LISTENING, PLAIN):
            return mask
        self._advance()
        if self.state is CONNECTING:
            self._check_connect()
        if self.state is OPEN:
            return wanted & WRITE
        return self._ac_ready_now(wanted)

    def _handle_open_event(self, mask: int, wanted: int) -> int:
        reader, writer, ready = self._reader, self._writer, 0
        if (wanted & READ or self._may_be_refused) and mask & (reader.waits_for | _GONE):
            if not reader.data and not reader.ended:
                reader.fill()
                if not reader.data:
                    reader.count_barren()
                if self._nothing_received or reader.error is not None:
                    self._review_reading()
            if reader.data or reader.ended:
                ready = wanted & READ
        if mask & (writer.waits_for | _GONE) and self.failure is None:
            if writer.pending and not writer.flush():
                self._review_writing()
            if wanted & WRITE and not writer.pending:
                ready |= WRITE
            if self._pending_shutdown is not None and self.failure is None:
                try:
                    self._send_close_notify()
                except OSError:
                    pass  # the peer is gone, which reading tells
        if self.failure is not None:
            return self._ac_ready_now(wanted)
        return ready

    def _ac_ready_now(self, wanted: int) -> int:
        """Return what of `wanted` can be done without an event."""
        reader = self._reader
        if self.failure is not None and not self._failure_raised:
            if wanted or not self._failure_reminders or reader.data:
                return wanted
            self._failure_reminders -= 1
            return _FAILURE_NEWS
        if wanted & READ:
            if reader.data or (reader.ended and self.state is OPEN):
                return READ
            if reader.more_decrypted and self.state is OPEN:
                return READ if reader.connection.pending() else 0
        return 0

    # -- from state to state --------------------------------------------------------------------

    def _enter(self, state: str) -> None:
        assert state in TRANSITIONS[self.state], f"{self!r} can't become {state}"
        self.state = state
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if state is HANDSHAKING or state is PRELUDE:
            self._start_timer()
        elif self._handshake_tables:
            tables, self._handshake_tables = self._handshake_tables, ()
            for table in tables:
                table.remove(self)
        self._report()
        if self._ac_on_progress is not None:
            self._ac_on_progress()

    def _advance(self) -> None:
        """Go on towards an open connection, or back to plaintext, as far as that goes now."""
        if self.state is CONNECTING:
            try:
                self._raw.getpeername()
            except OSError:
                return
            self._begin_or_fail()
        if self.state is PRELUDE:
            self._send_prelude()
        if self.state is HANDSHAKING:
            self._handshake()
        elif self.state is UNWRAPPING:
            self._go_on_unwrapping()

    def _fail(self, why: OSError) -> None:
        if self.state is CLOSED:
            return  # a callback has closed the socket in the middle of what has failed
        # What fails later is found when its channel reads, as without TLS.
        later = self.state is OPEN and not self._may_be_refused
        self._failure_reminders = 0 if later else _REMINDERS
        self.failure = why
        self._writer.drop()
        if self.state is HANDSHAKING:
            failed_handshakes[type(why).__name__] += 1
        self._enter(FAILED)

    def _ac_acknowledge_failure(self) -> None:
        """Take the failure for known: it wakes nobody up any more."""
        self._failure_raised = True

    def _raise_failure(self) -> None:
        if self.failure is not None:
            self._failure_raised = True
            raise self.failure

    def _start_timer(self) -> None:
        if self._timer is None and self.handshake_timeout and self._ac_map is not None:
            self._timer = call_later(self.handshake_timeout, self._expire, map=self._ac_map)

    @judges_peer
    @reports_to_channel
    def _expire(self) -> None:
        self._timer = None
        if self._ac_on_timeout is not None:
            self._ac_on_timeout()
        else:
            self._fail(HandshakeError(f"no handshake within {self.handshake_timeout:g} s"))

    @property
    def _ac_inherited(self) -> bool:
        """Whether this is a forked child, and the connection its parent's: to be let go of, and
        not to be ended."""
        return self._pid != os.getpid()

    # -- connecting -----------------------------------------------------------------------------

    def connect_ex(self, address: Any) -> int:
        """Begin to connect; the end of the handshake is the end of that (connect(2)).

        A client that was not told whom to expect expects the host in `address`. Raises `ValueError`
        for one that no certificate could be for, and `OSError` (EAGAIN) if the backlog of an
        AF_UNIX listener is full: dispatchers would wait for ever.
        """
        if self.state is OPEN:
            return EISCONN
        if self.server_hostname is None and not self.server_side and isinstance(address, tuple):
            expected = str(address[0])
            check_server_hostname(expected)
            self.server_hostname = expected
        number = self._raw.connect_ex(address)
        if number == EAGAIN and not isinstance(address, tuple):
            # AF_UNIX: the listener's backlog is full, and nothing is under way (connect(2)).
            raise OSError(number, os.strerror(number))
        if number in (0, EISCONN):
            self._advance()
            return EINPROGRESS
        return number

    def connect(self, address: Any) -> None:
        """Begin to connect. Raises `BlockingIOError`, as it is never done at once."""
        number = self.connect_ex(address)
        if number:
            raise OSError(number, os.strerror(number))

    def _check_connect(self) -> None:
        """Find out whether a connect is still under way, or there is nothing that could come."""
        if self._raw.type != _socket.SOCK_STREAM:
            return
        try:
            number = self._raw.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if number:
                raise OSError(number, os.strerror(number))
            # A stream that was reset may have nothing to say of it any more.
            if not self._raw.recv(1, _socket.MSG_PEEK):
                raise OSError(ENOTCONN, os.strerror(ENOTCONN))
        except BlockingIOError:
            pass
        except OSError as why:
            self._fail(why)
        else:
            self._begin_or_fail()  # these are the peer's last words
            self._advance()

    def listen(self, backlog: int = 128) -> None:
        """Become a listener (listen(2)). Raises `ValueError` for a client's socket."""
        if not self.server_side:
            raise ValueError("a client's socket can't listen: say server_side=True")
        self._raw.listen(backlog)
        if self.state is not LISTENING:
            self._enter(LISTENING)

    def accept(self) -> tuple[OpenSSLSocket, Any]:
        """Return a new connection, whose handshake has yet to begin, and its peer's address."""
        sock, address = self._raw.accept()
        try:
            accepted = self._accepted(sock)
        except BaseException:
            sock.close()
            raise
        if self._listeners_table is None:
            self._listeners_table = HandshakeTable()
        accepted._ac_count_in(self._listeners_table, address)
        return accepted, address

    def _accepted(self, sock: _socket.socket) -> OpenSSLSocket:
        return type(self)(
            self.context,
            sock,
            server_side=self.server_side,
            server_hostname=self.server_hostname,
            handshake_timeout=self.handshake_timeout,
            shutdown_timeout=self.shutdown_timeout,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )

    # -- the handshake --------------------------------------------------------------------------

    def _begin(self) -> None:
        """The socket is connected: begin with what comes before TLS, or with TLS."""
        # A handshake is short writes that wait for one another, with Nagle's algorithm each for the
        # peer's delayed acknowledgement (RFC 1122 section 4.2.3.4; asyncio's default).
        try:
            self._raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError:
            pass  # AF_UNIX has no such option
        sock = None if moves else self._raw
        connection = self.context._ac_connection(sock, self.server_side, self.server_hostname)
        read_by_records(connection)
        self._adopt(connection, HandshakeLink(connection, self._raw) if moves else connection)

    def _adopt(self, connection: SSL.Connection, link: HandshakeLink | SSL.Connection) -> None:
        self._handshake_link = link
        self.connection = self._reader.connection = self._writer.connection = connection
        self._handshake_wants = READ if self.server_side else WRITE  # the client begins
        more = self._present(self._prelude)
        if self.state is CONNECTING:
            self._enter(PRELUDE if more else HANDSHAKING)

    def _begin_or_fail(self) -> None:
        try:
            self._begin()
        except Exception as why:
            self._fail(as_handshake_error(why))

    def _present(self, pieces: Pieces) -> memoryview:
        """Return what is next of what a program wants sent: nothing at the end, or if it fails.

        Afterwards the socket may be in another state, for the program may have closed it.
        """
        try:
            return pieces.present()
        except Exception as why:
            self._fail(as_handshake_error(why))
            return memoryview(b"")

    def _send_prelude(self) -> None:
        """Send what is to come before the handshake; the peer's time for that begins after it.

        A peer that takes nothing for as long as a handshake may take is given up.
        """
        share = SEND_SHARE
        while share > 0:
            piece = self._present(self._prelude)
            if self.state is not PRELUDE:
                return
            if not piece:
                self._enter(HANDSHAKING)
                return
            try:
                count = self._raw.send(piece)
            except BlockingIOError:
                return
            except OSError as why:
                self._fail(why)
                return
            self._prelude.skip(count)
            share -= count
            if self._timer is not None:
                self._timer.reset()

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises `BlockingIOError` while it is not over, or its error."""
        self._check_open()
        self._advance()
        self._raise_failure()
        if self.state is not OPEN:
            raise not_ready()

    def _handshake(self) -> None:
        connection = self.connection
        link = self._handshake_link
        assert connection is not None and link is not None
        try:
            link.do_handshake()
            self.context._ac_verify_peer(connection, self.server_hostname)
        except SSL.WantReadError:
            self._handshake_wants = READ
        except SSL.WantWriteError:
            self._handshake_wants = WRITE
        except SSL.WantX509LookupError:
            self._handshake_wants = WRITE  # which is nearly always so: the next pass tries again
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=True))
        except Exception as why:  # a callback raised it, or the check of a name
            self._fail(as_handshake_error(why))
        else:
            if self.state is not HANDSHAKING:
                return  # a callback has closed the socket
            version = connection.get_protocol_version()
            self._may_be_refused = not self.server_side and version == SSL.TLS1_3_VERSION
            self.context._ac_remember(connection)
            self._ac_agreed = connection
            self._handshake_link = None
            handshakes[connection.get_protocol_version_name()] += 1
            self._enter(OPEN)

    def _ac_count_in(self, table: HandshakeTable, address: object) -> None:
        """Be one of a listener's handshakes until it is over; `address` is the peer's. One that
        makes room for it fails."""
        if self.state in (PRELUDE, HANDSHAKING) and table not in self._handshake_tables:
            self._handshake_tables += (table,)
            surplus = table.add(self, address)
            if surplus is not None:
                surplus._fail(HandshakeError(MADE_ROOM))

    def _ac_has_heard(self) -> bool:
        """Tell whether the peer of a handshake has said anything."""
        link = self._handshake_link
        if self.state not in (PRELUDE, HANDSHAKING) or not isinstance(link, HandshakeLink):
            return True
        if link.received:
            return True
        try:
            self._raw.recv(1, _socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True  # be it its end

    # -- receiving ------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return up to `bufsize` bytes of plaintext, or `b""` at the peer's close_notify.

        Raises `BlockingIOError` if there is none, and during the handshake; `TruncationError` for
        an end without close_notify; `PeerRefused` and `TLSError`; and `OSError` as recv(2) does.
        `MSG_PEEK` is the only flag that counts.
        """
        reader = self._reader
        data = reader.data
        if data and not flags and len(data) < RECORD and len(data) <= bufsize:
            # This is how nearly all messages are received.
            reader.data = b""
            return data
        if not data:
            if self.state is not OPEN and self.state is not UNWRAPPING:
                if self.state is PLAIN:
                    return self._raw.recv(bufsize, flags)
                self._advance()
            if self.state is OPEN and not reader.ended:
                self._fill()
            if not reader.data:
                self._raise_failure()
                if reader.ended and self.state is OPEN:
                    return b""
                raise self._nothing_now()
        if flags and flags & _socket.MSG_PEEK:
            self._report()
            return reader.data[:bufsize]
        if self.state is not OPEN and bufsize > RECORD:
            bufsize = RECORD  # what was read ahead is all that there is
        data = reader.take(bufsize)
        if reader.error is not None:
            self._review_reading()
        return data

    read = recv

    def _ac_unread(self, data: bytes) -> None:
        """Put plaintext back, to be received before anything else."""
        self._reader.data = data + self._reader.data
        self._report()

    def pending(self) -> int:
        """Return how many bytes `recv` has without asking the kernel."""
        connection = self.connection
        more = connection.pending() if connection is not None and self.state is OPEN else 0
        return len(self._reader.data) + more

    def _fill(self) -> None:
        """Read a record ahead, and see to what came instead of plaintext."""
        reader = self._reader
        reader.fill()
        if self._nothing_received:
            for _ in range(self._tickets):
                if reader.data or reader.ended or reader.error is not None:
                    break
                reader.fill()
        if self._nothing_received or reader.error is not None:
            self._review_reading()

    def _review_reading(self) -> None:
        """See to what came instead of plaintext, and to what comes with the first of it."""
        reader = self._reader
        if reader.error is None:
            if reader.data:
                # With TLS 1.3, the session to be resumed comes after the handshake.
                self._nothing_received = self._may_be_refused = False
                self._report()
                self.context._ac_remember(reader.connection)
        elif self.failure is None:
            failure = translated(reader.error, self.context, reader.connection, shaking=False)
            if isinstance(failure, TruncationError) and self.suppress_ragged_eofs:
                reader.end()
            else:
                self._fail(failure)

    def _check_open(self) -> None:
        if self.state is CLOSED:
            raise OSError(EBADF, os.strerror(EBADF))

    def _nothing_now(self) -> OSError:
        """Return what a socket raises that can't do it now, or not any more."""
        if self.state is CLOSED:
            return OSError(EBADF, os.strerror(EBADF))
        return blocked() if self.state is OPEN else not_ready()

    # -- sending --------------------------------------------------------------------------------

    def send(self, data: Data, flags: int = 0) -> int:
        """Send what fits and return how many bytes that is. `flags` are ignored.

        Raises `BlockingIOError` if nothing fits, and during the handshake; and errors as `recv`.
        """
        if self.state is not OPEN:
            if self.state is PLAIN:
                return self._raw.send(data, flags)
            self._advance()
            self._raise_failure()
            if self.state is not OPEN:
                raise self._nothing_now()
        if not len(data):
            return 0  # OpenSSL takes an empty write for an error
        if self._output_ends:
            raise BrokenPipeError(EPIPE, f"{os.strerror(EPIPE)}: shutdown() has ended the output")
        if self._may_be_refused:
            self._listen_first()
        writer = self._writer
        count = writer.send(data)
        if writer.error is not None:
            self._review_writing()
        if not count:
            self._raise_failure()
            raise blocked()
        return count

    write = send

    def sendmsg(self, buffers: Iterable[Data]) -> int:
        """Send what fits of several pieces, in records as full as can be; as `send`."""
        return self.send(joined(buffers))

    def _listen_first(self) -> None:
        """Let a client that has heard nothing yet find out, before it writes, that it was refused.

        In TLS 1.3 that comes after its handshake, and the server leaves. A write that fails then
        has OpenSSL read nothing more, and its reason would lie there unread.
        """
        reader = self._reader
        if not reader.data and not reader.ended:
            self._fill()
            if reader.data:
                self._report()
            self._raise_failure()

    def _review_writing(self) -> None:
        """Fail if the connection has failed in writing."""
        writer = self._writer
        if writer.error is not None and self.failure is None:
            self._fail(translated(writer.error, self.context, writer.connection, shaking=False))

    # -- the end --------------------------------------------------------------------------------

    def shutdown(self, how: int = _socket.SHUT_RDWR) -> None:
        """Say close_notify, unless only reading is to end; then as shutdown(2).

        What the peer sends before its own close_notify can still be received after `SHUT_WR`.
        """
        if how == _socket.SHUT_RD and self.state not in (PLAIN, LISTENING):
            return
        if self.state in (PRELUDE, HANDSHAKING) and how == _socket.SHUT_WR:
            self._output_ends = True
            self._pending_shutdown = how  # it is said as soon as there is TLS to say it in
        elif self.state is UNWRAPPING and how == _socket.SHUT_WR:
            self._pending_shutdown = how  # the output that ends is that in plaintext
        elif self.state is OPEN and not self._writer.ended:
            self._output_ends = True
            self._pending_shutdown = how
            self._send_close_notify()
        else:
            self._raw.shutdown(how)

    def _send_close_notify(self) -> None:
        how = self._pending_shutdown
        assert how is not None
        writer = self._writer
        try:
            if not writer.end():
                self._review_writing()
                return
        except SSL.Error:
            writer.ended = True  # it can't be said any more, of which the kernel knows more
        self._pending_shutdown = None
        self._report()
        self._raw.shutdown(how)

    def unwrap(self) -> _socket.socket:
        """Go back to plaintext: say close_notify, wait for the peer's, return the plain socket.

        Raises `BlockingIOError` while the peer's is awaited, and `TLSError` if it can't be done.
        What arrives before is received as ever. What is held must have been sent: see `send`.
        """
        if self.state is PLAIN:
            return self._raw
        self._check_open()
        self._raise_failure()
        if self.state is OPEN:
            self._enter(UNWRAPPING)
        if self.state is not UNWRAPPING:
            raise HandshakeError(f"can't go back to plaintext while {self.state}")
        self._go_on_unwrapping()
        self._raise_failure()
        if self.state is not PLAIN:
            raise blocked()
        return self._raw

    def _ac_begin_unwrap(self, last: Iterable[bytes], timeout: float | None) -> None:
        """Go back to plaintext in the loop, after `last` is sent; `_ac_on_progress` tells the end.

        It fails if that takes longer than `timeout` seconds.
        """
        self._last_pieces = Pieces(last)
        self._enter(UNWRAPPING)
        if timeout and self._ac_map is not None:
            self._timer = call_later(timeout, self._give_up, map=self._ac_map)
        self._go_on_unwrapping()

    @judges_peer
    def _give_up(self) -> None:
        self._timer = None
        self._fail(TLSError("the peer does not go back to plaintext"))

    def _go_on_unwrapping(self) -> None:
        reader, writer, connection = self._reader, self._writer, self.connection
        assert connection is not None
        # Our close_notify follows the last of the output.
        try:
            if not self._send_last_pieces() or not writer.end():
                self._review_writing()
                return
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=False))
            return
        # The peer's may follow data, which the channel receives first.
        if not reader.ended and not reader.data:
            self._fill()
        if reader.ended and not reader.data:
            self.context._ac_remember(connection)
            if self._pending_shutdown is not None:
                self._raw.shutdown(self._pending_shutdown)
                self._pending_shutdown = None
            self._ac_agreed = None
            self._enter(PLAIN)

    def _send_last_pieces(self) -> bool:
        """Send what is to come before our close_notify; tell whether that is done."""
        writer, pieces = self._writer, self._last_pieces
        while not writer.pending or writer.flush():
            pieces.skip(len(writer.unreported))
            writer.unreported = b""
            piece = self._present(pieces)
            if self.state is not UNWRAPPING:
                return False
            if not piece:
                return True
            pieces.skip(writer.send(piece[:RECORD]))
            if writer.error is not None:
                break
        return False

    def close(self) -> None:
        """Say close_notify and close, in the background if need be; see `shutdown_timeout`.

        A forked child closes its copy of the descriptor, and says nothing in its parent's name.
        """
        state = self.state
        if state is CLOSED:
            return
        self._ac_on_progress = self._ac_on_timeout = None
        self._report = self._reader.report = self._writer.report = nothing
        self._enter(CLOSED)
        if self._ac_agreed is not None:
            self._ac_agreed = peer.EndedConnection(self._ac_agreed)
        self._leave(state)
        if self.connection is not None:
            # Tracebacks of what was raised here may last longer than the socket.
            del self._reader.connection
            if state is FAILED:
                del self._writer.connection
        self.connection = self._handshake_link = None
        self._reader, self._writer = self._ends()

    def _leave(self, state: str) -> None:
        """Let go of the socket underneath, which was in `state`."""
        if self.connection is None or self._ac_inherited:
            self._raw.close()
        elif state in (OPEN, UNWRAPPING):
            writer, ended = self._writer, self._reader.ended
            linger(self._ac_map, self._raw, writer, self.shutdown_timeout, ended=ended)
        elif (
            state is FAILED
            and isinstance(self.failure, TLSError)
            and not isinstance(self.failure, TruncationError)
            and self._has_spoken()
        ):
            linger(self._ac_map, self._raw, None, self.shutdown_timeout)  # our alert is on its way
        else:
            self._raw.close()

    def _has_spoken(self) -> bool:
        """Tell whether this side may have said something that the peer has yet to read."""
        link = self._handshake_link
        return not (self.server_side and isinstance(link, HandshakeLink) and not link.received)

    # -- what was agreed --------------------------------------------------------------------------

    def getsockopt(self, level: int, option: int, *buflen: int) -> Any:
        """Return an option (getsockopt(2)). SO_ERROR raises the failure of a handshake, so that a
        connect that fails on it is one that failed; and nothing that came after the handshake:
        reading tells, which finds the peer's last words first."""
        if (level, option) == (_socket.SOL_SOCKET, _socket.SO_ERROR):
            if self.state is OPEN:
                return 0
            if self.state is FAILED and not self._failure_raised:
                self._raise_failure()
        return self._raw.getsockopt(level, option, *buflen)

    # What a peer is, by the names that a channel has for it (`TLSMixin`).

    @property
    def peer_certificate(self) -> x509.Certificate | None:
        """The peer's certificate (`cryptography.x509.Certificate`), or `None`: if it showed none,
        and before the handshake's end. For a user's name, see `user_name`."""
        return None if self._ac_agreed is None else peer.peer_certificate(self._ac_agreed)

    @property
    def peer_chain(self) -> list[x509.Certificate]:
        """The peer's certificate and those that vouch for it (`peer.peer_chain`)."""
        return [] if self._ac_agreed is None else peer.peer_chain(self._ac_agreed)

    @property
    def peer_names(self) -> list[str]:
        """The names in the peer's certificate (`peer.peer_names`)."""
        return [] if self._ac_agreed is None else peer.peer_names(self._ac_agreed)

    @property
    def tls_version(self) -> str | None:
        """ "TLSv1.2" or "TLSv1.3", or `None` before the handshake's end."""
        return None if self._ac_agreed is None else self._ac_agreed.get_protocol_version_name()

    @property
    def cipher(self) -> peer.Cipher | None:
        """The cipher suite in use, or `None` before the handshake's end."""
        return None if self._ac_agreed is None else peer.cipher(self._ac_agreed)

    @property
    def alpn_protocol(self) -> str | None:
        """The application protocol that both sides want (RFC 7301), or `None`."""
        return None if self._ac_agreed is None else peer.alpn_protocol(self._ac_agreed)

    @property
    def session_reused(self) -> bool | None:
        """Whether the handshake was abbreviated; `None` if that is not known."""
        return None if self._ac_agreed is None else peer.session_reused(self._ac_agreed)

    @property
    def server_name(self) -> str | None:
        """The host name that the client asked for (RFC 6066 section 3), or `None`."""
        return None if self._ac_agreed is None else peer.server_name(self._ac_agreed)

    def user_name(self, mapping: peer.UserMapping = "common_name") -> str | None:
        """Return the user that the client's certificate stands for (`peer.user_name`)."""
        return peer.user_name(self.peer_certificate, mapping)

    # The same by the methods of `ssl.SSLSocket`, of which `cipher()` is one, too (`peer.Cipher`).

    def version(self) -> str | None:
        """Return `tls_version`."""
        return self.tls_version

    def selected_alpn_protocol(self) -> str | None:
        """Return `alpn_protocol`."""
        return self.alpn_protocol

    if not TYPE_CHECKING:  # to which any name would be one of ours

        def __getattr__(self, name: str) -> object:
            """Find what 0.1.0 had by a public name, and was not for programs."""
            return under_former_name(self, name, "a TLS socket")
