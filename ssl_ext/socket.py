"""`OpenSSLSocket`: what looks like a non-blocking socket to a dispatcher, and speaks TLS.

Facts. OpenSSL wants to read while a program writes, and the other way round. What it has begun to
send must be offered again, byte by byte the same, until it is gone. A record that was read whole
leaves decrypted bytes that no poller sees. A handshake is several turns of the loop. What a legacy
handler knows is `recv`, `send`, `OSError`, and that it is called when there is something to do.

Consequence. This is a `asynccore.wrapped.Willful` socket: the engine asks it what to wait for, and
whether there is plaintext. One record is read ahead, for only that tells half a record, or a
session ticket, from plaintext. A connect is over when the handshake is. Errors come out of `recv`
and `send`, by the table in `translation`, and once only wake a channel up.

OpenSSL works on the socket itself and not on memory buffers. It then asks the kernel for the exact
bytes of a record, so that (a) nothing of what follows is ever taken out of the kernel, which makes
going back to plaintext and noticing hidden data simple, and (b) a small message costs fewer calls
between Python and C than it takes to carry it through two buffers. Measured by processor time with
`python -m benchmarks.tls_transport`: memory buffers take 2.0 times as long for 64 bytes there and
back, 1.6 times for 16,000, and 1.7 times the memory.

Trade-off. Two `read` calls for each record, one for its header, one for its body.
"""

from __future__ import annotations

import contextlib
import os
import socket as _socket
from collections.abc import Callable, Iterable
from errno import EINPROGRESS, EISCONN
from typing import Any

from OpenSSL import SSL

from asynccore.channels import Map
from asynccore.loop import call_later
from asynccore.pollers import ERROR, HANGUP, READ, WRITE
from asynccore.timers import Timer

from .closing import linger
from .errors import HandshakeError, TLSError, TruncationError
from .translation import adapted, blocked, translated

# Seconds that a handshake may take: asyncio's SSL_HANDSHAKE_TIMEOUT, which took it from nginx.
# Twisted's negotiations have no bound but the application's own, usually of the same order.
HANDSHAKE_TIMEOUT = 60.0

# Seconds until a connection is gone whose peer does not answer its end: asyncio's
# SSL_SHUTDOWN_TIMEOUT.
SHUTDOWN_TIMEOUT = 30.0

# The most plaintext in one record (RFC 8446 section 5.1).
RECORD = 16384

# The most that one `send` takes, in bytes, so that other channels have their turn: encrypting that
# takes about as long as the plain sockets' share takes the kernel (`asynccore.gather.SEND_SHARE`).
_SEND_LIMIT = 32 * RECORD

_GONE = ERROR | HANGUP

_TCP_FAMILIES = (_socket.AF_INET, _socket.AF_INET6)

# Where a connection is.
LISTENING = "listening"
CONNECTING = "connecting"
CLEAR = "sending what comes before TLS"
SHAKING = "handshaking"
OPEN = "open"
UNWRAPPING = "going back to plaintext"
PLAIN = "plain"
FAILED = "failed"
CLOSED = "closed"


class OpenSSLSocket:
    """TLS on a stream socket, for any dispatcher: give it to `set_socket`, or to its constructor.

    `context` is an `ssl_ext.Context` or a plain `OpenSSL.SSL.Context`. `sock` is a TCP or AF_UNIX
    stream socket, connected or not; it becomes non-blocking. One that listens hands out sockets of
    this class. `server_hostname` is whom a client expects: a host name or an IP address; by
    default, what `connect` is given.

    `handshake_timeout` and `shutdown_timeout` are in seconds, `None` or 0 for none. With
    `suppress_ragged_eofs` an end without close_notify is an end like any other (the name is from
    `ssl.SSLContext.wrap_socket`): whoever can cut the connection can then cut the data. `prelude`
    is sent in clear before the handshake.

    Raises `TypeError` and `ValueError` for a context or socket that can't be used, and for a
    client that does not say whom it expects.
    """

    _kind, _needed = _socket.SOCK_STREAM, "stream socket"

    takes_pieces = True  # `asynccore.gather`

    # Called when `phase` has changed, and instead of a failure when the handshake takes too long.
    on_progress: Callable[[], object] | None = None
    on_timeout: Callable[[], object] | None = None

    def __init__(
        self,
        context: Any,
        sock: _socket.socket,
        server_side: bool = False,
        server_hostname: str | None = None,
        *,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
        suppress_ragged_eofs: bool = False,
        prelude: bytes = b"",
    ) -> None:
        if sock.type != self._kind:
            raise ValueError(f"{type(self).__name__} needs a {self._needed}, not {sock!r}")
        if server_side and server_hostname is not None:
            raise ValueError("server_hostname is for clients: whom they expect to find")
        self.context = adapted(context)
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.handshake_timeout = handshake_timeout
        self.shutdown_timeout = shutdown_timeout
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self.connection: SSL.Connection | None = None
        self.failure: OSError | None = None
        self._raw = sock
        self._prelude = prelude
        self._plain = b""  # read ahead
        self._deep = False  # OpenSSL may hold more of what it has decrypted
        self._ended = False  # the peer said close_notify
        self._said_goodbye = False  # our close_notify is sent
        self._goodbye: int | None = None  # how shutdown() was called, while there is no room for it
        self._told = False  # the failure was raised
        self._read_wants = READ
        self._write_wants = WRITE
        self._held = b""  # begun to be sent, and not reported as sent
        self._last = b""  # to be sent before going back to plaintext
        self._ahead = b""  # sent, and not yet reported as sent
        self._fresh = True  # nothing was received yet
        self._unsure = False  # the server may still refuse this client
        self.map: Map | None = None  # in which it may linger
        self._report: Callable[[], None] = _nothing
        self._timer: Timer | None = None
        sock.setblocking(False)
        self.phase = self._first_phase()

    def _first_phase(self) -> str:
        try:
            self._raw.getpeername()
        except OSError:
            if self._raw.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                return LISTENING
            return CONNECTING
        self._begin()
        self._read_wants = READ if self.server_side else WRITE  # the client begins
        return CLEAR if self._prelude else SHAKING

    def __repr__(self) -> str:
        role = "server" if self.server_side else "client"
        return f"<OpenSSLSocket fd={self._raw.fileno()} {role} {self.phase}>"

    # -- for the engine -------------------------------------------------------------------------

    def entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel in `map` (`asynccore.wrapped.Willful`)."""
        self.map = map
        self._report = report
        if self.phase in (CLEAR, SHAKING):
            self._start_timer()

    def poll_interest(self, wanted: int) -> int:
        """Return what to wait for at the descriptor (`asynccore.wrapped.Willful`)."""
        phase = self.phase
        if phase is OPEN:
            # Each of the two waits for one direction, perhaps for the opposite of its own.
            mask = self._write_wants if wanted & WRITE or self._held else 0
            if self._goodbye is not None:
                mask |= WRITE
            if wanted & READ and not self._ended:
                mask |= self._read_wants
            return mask
        if phase is SHAKING:
            return self._read_wants
        if phase in (CONNECTING, CLEAR):
            return WRITE
        if phase is UNWRAPPING:
            if self._plain:
                return 0  # its channel comes first
            return self._write_wants if self._held else self._read_wants
        return 0 if phase is FAILED else wanted

    def handle_event(self, mask: int, wanted: int) -> int:
        """Do what TLS needs, and return what of `wanted` can be done with plaintext
        (`asynccore.wrapped.Willful`)."""
        if self.phase is OPEN:
            if mask == wanted == self._read_wants == READ and self._write_wants == WRITE:
                # Nearly all events are of this kind, so they take the shortest way.
                if not self._plain and not self._ended:
                    self._plain = self._fetch(RECORD)
                if self._plain:
                    return READ
                return self.ready_now(wanted)
            return self._open_event(mask, wanted)
        if self.phase in (LISTENING, PLAIN):
            return mask
        if self.phase is CONNECTING and mask & _GONE:
            return mask  # its channel asks for the error
        self._advance()
        if self.phase is OPEN:
            return wanted & WRITE
        return self.ready_now(wanted)

    def _open_event(self, mask: int, wanted: int) -> int:
        ready = 0
        if wanted & READ and mask & (self._read_wants | _GONE):
            if not self._plain and not self._ended:
                self._plain = self._fetch(RECORD)
            if self._plain or self._ended:
                ready = READ
        if mask & (self._write_wants | _GONE):
            if self._held:
                self._flush()
            if wanted & WRITE and not self._held:
                ready |= WRITE
        if self._goodbye is not None and mask & (WRITE | _GONE) and not self._held:
            try:
                self._say_goodbye()
            except OSError:
                pass  # gone: reading tells
        if self.failure is not None:
            return self.ready_now(wanted)
        return ready

    def ready_now(self, wanted: int) -> int:
        """Return what of `wanted` can be done without an event (`asynccore.wrapped.Willful`)."""
        if self.failure is not None and not self._told:
            return wanted
        if wanted & READ:
            if self._plain or (self._ended and self.phase is OPEN):
                return READ
            # A record is read whole, unless less of it was asked for.
            if self._deep and self.phase is OPEN and self.connection is not None:
                return READ if self.connection.pending() else 0
        return 0

    # -- the handshake --------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._raw.family in _TCP_FAMILIES:
            # A handshake is short writes that wait for one another: with Nagle's algorithm, each
            # for the peer's delayed acknowledgement (RFC 1122 section 4.2.3.4; asyncio's default).
            with contextlib.suppress(OSError):
                self._raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.connection = self.context.connection(self._raw, self.server_side, self.server_hostname)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        if phase is SHAKING or phase is CLEAR:
            self._start_timer()
        elif self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._report()
        if self.on_progress is not None:
            self.on_progress()

    def _advance(self) -> None:
        """Go on towards an open connection, as far as that goes now."""
        if self.phase is CONNECTING:
            try:
                self._raw.getpeername()
            except OSError:
                return
            try:
                self._begin()
            except Exception as why:
                self._fail(_as_handshake_error(why))
                return
            self._enter(CLEAR if self._prelude else SHAKING)
        if self.phase is CLEAR:
            try:
                self._prelude = self._prelude[self._raw.send(self._prelude) :]
            except BlockingIOError:
                return
            except OSError as why:
                self._fail(why)
                return
            if self._prelude:
                return
            self._enter(SHAKING)
        if self.phase is SHAKING:
            self._shake()
        elif self.phase is UNWRAPPING:
            self._unwrap_on()

    def _shake(self) -> None:
        connection = self.connection
        assert connection is not None
        try:
            connection.do_handshake()
            self.context.verify_peer(connection, self.server_hostname)
        except SSL.WantReadError:
            self._read_wants = READ
        except SSL.WantWriteError:
            self._read_wants = WRITE
        except SSL.WantX509LookupError:
            self._read_wants = WRITE  # come again soon
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=True))
        except Exception as why:  # of a callback, or a name that is no name
            self._fail(_as_handshake_error(why))
        else:
            self._read_wants = READ
            version = connection.get_protocol_version()
            self._unsure = not self.server_side and version == SSL.TLS1_3_VERSION
            self.context.remember(connection)
            self._enter(OPEN)

    def _fail(self, why: OSError) -> None:
        self.failure = why
        self._held = self._ahead = b""
        self._enter(FAILED)

    def _start_timer(self) -> None:
        if self._timer is None and self.handshake_timeout and self.map is not None:
            self._timer = call_later(self.handshake_timeout, self._expire, map=self.map)

    def _expire(self) -> None:
        self._timer = None
        if self.on_timeout is not None:
            self.on_timeout()
        else:
            self._fail(HandshakeError(f"no handshake within {self.handshake_timeout:g} s"))

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises `BlockingIOError` while it is not over, or its error."""
        self._advance()
        self._raise_failure()
        if self.phase is not OPEN:
            raise blocked()

    def has_input(self) -> bool:
        """Whether plaintext is left that came before a failure."""
        return bool(self._plain)

    def told(self) -> None:
        """Take the failure for known: it wakes nobody up any more."""
        self._told = True

    def _raise_failure(self) -> None:
        if self.failure is not None:
            self._told = True
            raise self.failure

    # -- receiving ------------------------------------------------------------------------------

    def _fetch(self, size: int) -> bytes:
        """Have OpenSSL decrypt something; nothing if there is nothing, the end, or a failure."""
        connection = self.connection
        assert connection is not None
        try:
            data: bytes = connection.recv(size)
        except SSL.WantReadError:
            self._read_wants = READ
            return b""
        except SSL.WantWriteError:
            self._read_wants = WRITE
            return b""
        except SSL.ZeroReturnError:
            self._ended = True
            return b""
        except SSL.Error as why:
            failure = translated(why, self.context, connection, shaking=False)
            if isinstance(failure, TruncationError) and self.suppress_ragged_eofs:
                self._ended = True
            else:
                self._fail(failure)
            return b""
        self._read_wants = READ
        self._deep = len(data) == size
        if self._fresh:
            # With TLS 1.3, the session to be resumed comes after the handshake.
            self._fresh = self._unsure = False
            self.context.remember(connection)
        return data

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return up to `bufsize` bytes of plaintext, or `b""` at the peer's close_notify.

        Raises `BlockingIOError` if there is none, and during the handshake; `TruncationError` for
        an end without close_notify; `PeerRefused` and `TLSError`; and `OSError` as recv(2) does.
        `MSG_PEEK` is the only flag that counts.
        """
        data = self._plain
        if not data:
            if self.phase is not OPEN and self.phase is not UNWRAPPING:
                if self.phase is PLAIN:
                    return self._raw.recv(bufsize, flags)
                self._advance()
            if self.phase is OPEN and not self._ended:
                data = self._fetch(RECORD)
            if not data:
                self._raise_failure()
                if self._ended and self.phase is OPEN:
                    return b""
                raise blocked()
        if flags & _socket.MSG_PEEK:
            self._plain = data
            return data[:bufsize]
        if len(data) > bufsize:
            self._plain = data[bufsize:]
            return data[:bufsize]
        self._plain = b""
        if len(data) == RECORD and bufsize > RECORD:
            return self._recv_more(data, bufsize)
        return data

    def _recv_more(self, data: bytes, bufsize: int) -> bytes:
        """Add what follows a full record: that is hardly ever the last one."""
        pieces = [data]
        left = bufsize - len(data)
        while left and len(data) == RECORD and self.phase is OPEN and not self._ended:
            data = self._fetch(min(left, RECORD))
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def unread(self, data: bytes) -> None:
        """Put plaintext back, to be received before anything else."""
        self._plain = data + self._plain
        self._report()

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a writable buffer, at most `nbytes` if given; see `recv`."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    read = recv

    def pending(self) -> int:
        """Return how many bytes `recv` has without asking the kernel."""
        connection = self.connection
        more = connection.pending() if connection is not None and self.phase is OPEN else 0
        return len(self._plain) + more

    # -- sending --------------------------------------------------------------------------------

    def send(self, data: Any, flags: int = 0) -> int:
        """Send what fits and return how many bytes that is. `flags` are ignored.

        Raises `BlockingIOError` if nothing fits, and during the handshake; and errors as `recv`.
        """
        if self.phase is not OPEN:
            if self.phase is PLAIN:
                return self._raw.send(data, flags)
            self._advance()
            self._raise_failure()
            if self.phase is not OPEN:
                raise blocked()
        if not len(data):
            return 0  # OpenSSL takes an empty write for an error
        if self._unsure:
            self._look_first()
        if self._held:
            self._flush()
            self._raise_failure()
            if self._held:
                raise blocked()
        count = self._settle(data) if self._ahead else 0
        if len(data) > RECORD or count:
            count += self._write_records(data, count)
        else:
            count = self._write(data)
        if not count:
            self._raise_failure()
            raise blocked()
        return count

    write = send

    def sendmsg(self, buffers: Iterable[Any]) -> int:
        """Send what fits of several pieces, in records as full as can be; as `send`."""
        pieces: list[Any] = []
        left = _SEND_LIMIT
        for piece in buffers:
            pieces.append(piece if len(piece) <= left else memoryview(piece)[:left])
            left -= len(pieces[-1])
            if not left:
                break
        return self.send(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _look_first(self) -> None:
        """Let a client that has heard nothing yet find out, before it writes, that it was refused.

        In TLS 1.3 that comes after its handshake, and the server leaves. A write that fails then
        has OpenSSL read nothing more, and its reason would lie there unread.
        """
        if not self._plain and not self._ended:
            self._plain = self._fetch(RECORD)
            if self._plain or self._ended:
                self._report()
            self._raise_failure()

    def _write_records(self, data: Any, start: int) -> int:
        """Write record after record until one does not fit; return how much was written.

        OpenSSL takes one at a time (SSL_MODE_ENABLE_PARTIAL_WRITE, see SSL_CTX_set_mode(3)).
        """
        connection = self.connection
        assert connection is not None
        view = memoryview(data).cast("B")[start : start + _SEND_LIMIT]
        size, sent = len(view), 0
        try:
            while sent < size:
                sent += connection.send(view[sent : sent + RECORD])
        except SSL.Error as why:
            self._not_written(why, view[sent : sent + RECORD])
        else:
            self._write_wants = WRITE
        return sent

    def _write(self, data: Any) -> int:
        connection = self.connection
        assert connection is not None
        try:
            count = connection.send(data)
        except SSL.Error as why:
            self._not_written(why, data)
            return 0
        self._write_wants = WRITE
        return count

    def _not_written(self, why: SSL.Error, data: Any) -> None:
        """Keep what has to be offered again, unless the connection has failed."""
        if isinstance(why, SSL.WantWriteError):
            self._write_wants = WRITE
        elif isinstance(why, SSL.WantReadError):
            self._write_wants = READ
        else:
            assert self.connection is not None
            self._fail(translated(why, self.context, self.connection, shaking=False))
            return
        # Encrypted already: OpenSSL insists on these very bytes when it is asked again.
        self._held = data if type(data) is bytes else bytes(data)
        self._report()

    def _flush(self) -> None:
        """Offer again what OpenSSL insists on."""
        held, self._held = self._held, b""
        count = self._write(held)
        if count:
            self._ahead = held[:count]

    def _settle(self, data: Any) -> int:
        """Return how much of `data` went out already, when it was offered before.

        A caller that offers less than before is told of the rest the next time. One that offers
        something else has changed its mind too late.
        """
        ahead, self._ahead = self._ahead, b""
        count = min(len(data), len(ahead))
        if bytes(data[:count]) != ahead[:count]:
            return 0
        self._ahead = ahead[count:]
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything. Raises `BlockingIOError` as soon as it does not fit, as a non-blocking
        socket does: nobody knows then how much was sent."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view) :]

    # -- the end --------------------------------------------------------------------------------

    def shutdown(self, how: int = _socket.SHUT_RDWR) -> None:
        """Say close_notify, unless only reading is to end; then as shutdown(2).

        What the peer sends before its own close_notify can still be received after `SHUT_WR`.
        """
        if how == _socket.SHUT_RD and self.phase not in (PLAIN, LISTENING):
            return
        if self.phase in (CLEAR, SHAKING) and how == _socket.SHUT_WR:
            self._goodbye = how  # as soon as there is TLS to say it in
        elif self.phase is OPEN and not self._said_goodbye:
            self._goodbye = how
            self._say_goodbye()
        else:
            self._raw.shutdown(how)

    def _say_goodbye(self) -> None:
        connection, how = self.connection, self._goodbye
        assert connection is not None and how is not None
        try:
            connection.shutdown()
        except SSL.WantWriteError:
            self._report()  # as soon as there is room
            return
        except SSL.Error:
            pass  # gone: the kernel knows
        self._goodbye = None
        self._said_goodbye = True
        self._raw.shutdown(how)

    def unwrap(self) -> _socket.socket:
        """Go back to plaintext: say close_notify, wait for the peer's, return the plain socket.

        Raises `BlockingIOError` while the peer's is awaited, and `TLSError` if it can't be done.
        What arrives before is received as ever. What is held must have been sent: see `send`.
        """
        if self.phase is PLAIN:
            return self._raw
        self._raise_failure()
        if self.phase is OPEN:
            self._enter(UNWRAPPING)
        if self.phase is not UNWRAPPING:
            raise HandshakeError(f"can't go back to plaintext while {self.phase}")
        self._unwrap_on()
        self._raise_failure()
        if self.phase is not PLAIN:
            raise blocked()
        return self._raw

    def begin_unwrap(self, last: bytes, timeout: float | None) -> None:
        """Go back to plaintext in the loop, after `last` is sent; `on_progress` tells the end.

        It fails if that takes longer than `timeout` seconds.
        """
        self._last = last
        self._enter(UNWRAPPING)
        if timeout and self.map is not None:
            self._timer = call_later(timeout, self._give_up, map=self.map)
        self._unwrap_on()

    def _give_up(self) -> None:
        self._timer = None
        self._fail(TLSError("the peer does not go back to plaintext"))

    def _send_last(self) -> bool:
        """Send what is to come before our close_notify; tell whether that is done."""
        if self._held:
            self._flush()
        while not self._held and self.failure is None:
            self._last = self._last[len(self._ahead) :]
            self._ahead = b""
            if not self._last:
                return True
            self._last = self._last[self._write(self._last) :]
        return False

    def _unwrap_on(self) -> None:
        connection = self.connection
        assert connection is not None
        try:
            if not self._send_last():
                return
            if not self._said_goodbye:
                connection.shutdown()
                self._said_goodbye = True  # a second call would choke on data that comes
                self._read_wants = READ
            if not self._ended and not self._plain:
                self._plain = self._fetch(RECORD)
        except SSL.WantWriteError:
            self._read_wants = WRITE
            return
        except SSL.WantReadError:
            self._read_wants = READ
            return
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=False))
            return
        if self._ended and not self._plain:
            self.context.remember(connection)
            self._enter(PLAIN)

    def close(self) -> None:
        """Say close_notify and close, in the background if need be; see `shutdown_timeout`."""
        phase, self.phase = self.phase, CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self.connection = self.connection, None
        held, self._held = self._held, b""
        self._plain = self._ahead = b""
        self.on_progress = self.on_timeout = None
        if connection is None or phase in (PLAIN, SHAKING, CLEAR, CLOSED):
            self._raw.close()
        elif phase is FAILED:
            if isinstance(self.failure, TLSError) and not isinstance(self.failure, TruncationError):
                # Our alert is on its way.
                linger(self.map, self._raw, None, b"", self.shutdown_timeout)
            else:
                self._raw.close()
        else:
            timeout = None if self._ended and not held else self.shutdown_timeout
            linger(self.map, self._raw, connection, held, timeout)

    # -- as any socket --------------------------------------------------------------------------

    def connect_ex(self, address: Any) -> int:
        """Begin to connect; the end of the handshake is the end of that (connect(2)).

        A client that was not told whom to expect expects the host in `address`.
        """
        if self.phase is OPEN:
            return EISCONN
        if self.server_hostname is None and not self.server_side and isinstance(address, tuple):
            self.server_hostname = str(address[0])
        number = self._raw.connect_ex(address)
        if number in (0, EISCONN):
            self._advance()
            return EINPROGRESS
        return number

    def connect(self, address: Any) -> None:
        """Begin to connect. Raises `BlockingIOError`, as it is never done at once."""
        number = self.connect_ex(address)
        if number:
            raise OSError(number, os.strerror(number))

    def accept(self) -> tuple[OpenSSLSocket, Any]:
        """Return a new connection, whose handshake has yet to begin, and its peer's address."""
        sock, address = self._raw.accept()
        try:
            return self._sibling(sock), address
        except BaseException:
            sock.close()
            raise

    def _sibling(self, sock: _socket.socket) -> OpenSSLSocket:
        return type(self)(
            self.context,
            sock,
            self.server_side,
            self.server_hostname,
            handshake_timeout=self.handshake_timeout,
            shutdown_timeout=self.shutdown_timeout,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        )

    def listen(self, backlog: int = 128) -> None:
        """Become a listener (listen(2)). Raises `ValueError` for a client's socket."""
        if not self.server_side:
            raise ValueError("a client's socket can't listen: say server_side=True")
        self._raw.listen(backlog)
        self.phase = LISTENING

    @property
    def plain(self) -> _socket.socket:
        """The socket underneath."""
        return self._raw

    def bind(self, address: Any) -> None:
        """Bind to an address (bind(2))."""
        self._raw.bind(address)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._raw.fileno()

    def setblocking(self, flag: bool) -> None:
        """Stay non-blocking. Raises `ValueError` for anything else."""
        if flag:
            raise ValueError("an OpenSSLSocket is for a loop, and never blocks")

    def settimeout(self, value: float | None) -> None:
        """Stay non-blocking: only 0 is possible. Raises `ValueError` for anything else."""
        self.setblocking(value != 0)

    def gettimeout(self) -> float:
        """Return 0.0: it never blocks."""
        return 0.0

    def getpeername(self) -> Any:
        """Return the peer's address (getpeername(2))."""
        return self._raw.getpeername()

    def getsockname(self) -> Any:
        """Return our own address (getsockname(2))."""
        return self._raw.getsockname()

    def getsockopt(self, level: int, option: int, *buflen: int) -> Any:
        """Return an option (getsockopt(2)). SO_ERROR raises the failure of a handshake, so that a
        connect that fails on it is one that failed; and nothing that came after the handshake:
        reading tells, which finds the peer's last words first."""
        if (level, option) == (_socket.SOL_SOCKET, _socket.SO_ERROR):
            if self.phase is OPEN:
                return 0
            if self.phase is FAILED and not self._told:
                self._raise_failure()
        return self._raw.getsockopt(level, option, *buflen)

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        """Set an option (setsockopt(2))."""
        self._raw.setsockopt(level, option, *value)

    @property
    def family(self) -> int:
        """The address family."""
        return self._raw.family

    @property
    def type(self) -> int:
        """SOCK_STREAM."""
        return self._raw.type

    @property
    def proto(self) -> int:
        """The protocol number."""
        return self._raw.proto

    # -- what was agreed, by the names that `ssl.SSLSocket` has for it ---------------------------

    def version(self) -> str | None:
        """Return "TLSv1.2" or "TLSv1.3", or `None` before the handshake's end."""
        connection = self.agreed
        return None if connection is None else connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int] | None:
        """Return the name, protocol and secret bits of the cipher suite, or `None`."""
        connection = self.agreed
        if connection is None:
            return None
        name = connection.get_cipher_name() or ""
        return name, connection.get_cipher_version() or "", connection.get_cipher_bits() or 0

    def selected_alpn_protocol(self) -> str | None:
        """Return the protocol that ALPN settled on (RFC 7301), or `None`."""
        connection = self.agreed
        if connection is None:
            return None
        return connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace") or None

    @property
    def agreed(self) -> SSL.Connection | None:
        """The connection whose handshake is over, as `ssl_ext.peer` takes it, or `None`."""
        return self.connection if self.phase in (OPEN, UNWRAPPING) else None


def _nothing() -> None:
    pass


def _as_handshake_error(why: Exception) -> OSError:
    if isinstance(why, OSError):
        return why
    failure = HandshakeError(f"{type(why).__name__}: {why}")
    failure.__cause__ = why
    return failure
