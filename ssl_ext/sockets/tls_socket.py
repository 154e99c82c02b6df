"""`OpenSSLSocket`: what looks like a non-blocking socket to a dispatcher, and speaks TLS.

Facts. OpenSSL wants to read while a program writes, and the other way round. What it has begun to
send must be offered again, byte by byte the same, until it is gone. A record that was read whole
leaves decrypted bytes that no poller sees. A handshake is several turns of the loop. What a legacy
handler knows is `recv`, `send`, `OSError`, and that it is called when there is something to do.

Consequence. This is a `LayeredSocket` socket: the engine asks it what to wait for, and
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

import os
import socket as _socket
from collections.abc import Callable, Iterable
from errno import EAGAIN, EINPROGRESS, EISCONN
from typing import Any

from asynccore.channels import Map
from asynccore.engine import descriptor_changed
from asynccore.pollers import ERROR, HANGUP, PRIORITY, READ, WRITE

from ..certificates.hostnames import check_server_hostname
from ..states import (
    CLEAR,
    CONNECTING,
    FAILED,
    HANDSHAKE_TIMEOUT,
    LISTENING,
    OPEN,
    PLAIN,
    RECORD,
    SHAKING,
    SHUTDOWN_TIMEOUT,
    UNWRAPPING,
)
from .socket_api import Facade
from .translation import adapted

_GONE = ERROR | HANGUP

# How a channel is told that waits for nothing: SO_ERROR has the failure (`Facade.getsockopt`).
_TOLD = ERROR | PRIORITY


class OpenSSLSocket(Facade):
    """TLS on a stream socket, for any dispatcher: give it to `set_socket`, or to its constructor.

    `context` is an `ssl_ext.Context` or a plain `OpenSSL.SSL.Context`. `sock` is a TCP or AF_UNIX
    stream socket, connected or not; it becomes non-blocking. One that listens hands out sockets of
    this class. `server_hostname` is whom a client expects: a host name or an IP address; by
    default, what `connect` is given.

    `handshake_timeout` and `shutdown_timeout` are in seconds, `None` or 0 for none. With
    `suppress_ragged_eofs` an end without close_notify is an end like any other (the name is from
    `ssl.SSLContext.wrap_socket`): whoever can cut the connection can then cut the data. `prelude`,
    bytes or an iterable of such, is sent in clear before the handshake; each piece is asked for
    when the one before it is sent, and an empty one ends it.

    Raises `TypeError` and `ValueError` for a context or socket that can't be used, and for a
    client that does not say whom it expects.
    """

    _kind, _needed = _socket.SOCK_STREAM, "stream socket"

    takes_pieces = True  # `asynccore.gather`

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
        if server_side and server_hostname is not None:
            raise ValueError("server_hostname is for clients: whom they expect to find")
        super().__init__(
            adapted(context), sock, server_side, server_hostname, handshake_timeout, prelude
        )
        self.shutdown_timeout = shutdown_timeout
        self.suppress_ragged_eofs = suppress_ragged_eofs
        sock.setblocking(False)
        self.phase = self._first_phase()
        descriptor_changed(sock.fileno())

    def _first_phase(self) -> str:
        try:
            self._raw.getpeername()
        except OSError:
            if self._raw.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                return LISTENING
            return CONNECTING
        self._begin()
        self._read_wants = READ if self.server_side else WRITE  # the client begins
        return self._phase_before_tls()

    def __repr__(self) -> str:
        role = "server" if self.server_side else "client"
        return f"<{type(self).__name__} fd={self._raw.fileno()} {role} {self.phase}>"

    # -- for the engine -------------------------------------------------------------------------

    def entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel in `map` (`LayeredSocket`)."""
        self.map = map
        self._report = report
        if self.phase in (CLEAR, SHAKING):
            self._start_timer()

    def poll_interest(self, wanted: int) -> int:
        """Return what to wait for at the descriptor (`LayeredSocket`)."""
        phase = self.phase
        if phase is OPEN:
            # Each of the two waits for one direction, perhaps for the opposite of its own.
            mask = self._write_wants if wanted & WRITE or self._pending_write else 0
            if self._pending_shutdown is not None:
                mask |= self._write_wants
            if wanted & READ and not self._peer_closed:
                mask |= self._read_wants
            return mask
        if phase is SHAKING:
            return self._read_wants
        if phase is CONNECTING and self._kind != _socket.SOCK_STREAM:
            return 0  # always writable, and connected by nothing but connect()
        if phase in (CONNECTING, CLEAR):
            return WRITE
        if phase is UNWRAPPING:
            if self.read_ahead:
                return 0  # its channel comes first
            return self._write_wants if self._pending_write else self._read_wants
        return 0 if phase is FAILED else wanted

    def handle_event(self, mask: int, wanted: int) -> int:
        """Do what TLS needs, and return what of `wanted` can be done with plaintext
        (`LayeredSocket`)."""
        if self.phase is OPEN:
            if mask == wanted == self._read_wants == READ and self._write_wants == WRITE:
                # Nearly all events are of this kind, so they take the shortest way.
                if not self.read_ahead and not self._peer_closed:
                    self.read_ahead = self._fetch(RECORD)
                if self.read_ahead:
                    return READ
                return self.ready_now(wanted)
            return self._open_event(mask, wanted)
        if self.phase in (LISTENING, PLAIN):
            return mask
        self._advance()
        if self.phase is CONNECTING:
            self._connect_on()
        if self.phase is OPEN:
            return wanted & WRITE
        return self.ready_now(wanted)

    def _open_event(self, mask: int, wanted: int) -> int:
        ready = 0
        if wanted & READ and mask & (self._read_wants | _GONE):
            if not self.read_ahead and not self._peer_closed:
                self.read_ahead = self._fetch(RECORD)
            if self.read_ahead or self._peer_closed:
                ready = READ
        if mask & (self._write_wants | _GONE):
            if self._pending_write:
                self._flush()
            if wanted & WRITE and not self._pending_write:
                ready |= WRITE
        if (
            self._pending_shutdown is not None
            and mask & (self._write_wants | _GONE)
            and not self._pending_write
        ):
            try:
                self._say_goodbye()
            except OSError:
                pass  # gone: reading tells
        if self.failure is not None:
            return self.ready_now(wanted)
        return ready

    def ready_now(self, wanted: int) -> int:
        """Return what of `wanted` can be done without an event (`LayeredSocket`)."""
        if self.failure is not None and not self._failure_raised:
            if wanted or not self._failure_reminders or self.read_ahead:
                return wanted
            self._failure_reminders -= 1
            return _TOLD
        if wanted & READ:
            if self.read_ahead or (self._peer_closed and self.phase is OPEN):
                return READ
            if self._more_decrypted and self.phase is OPEN and self.connection is not None:
                return READ if self.connection.pending() else 0
        return 0

    # -- as any socket --------------------------------------------------------------------------

    def connect_ex(self, address: Any) -> int:
        """Begin to connect; the end of the handshake is the end of that (connect(2)).

        A client that was not told whom to expect expects the host in `address`. Raises `ValueError`
        for one that no certificate could be for, and `OSError` (EAGAIN) if the backlog of an
        AF_UNIX listener is full: dispatchers would wait for ever.
        """
        if self.phase is OPEN:
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
