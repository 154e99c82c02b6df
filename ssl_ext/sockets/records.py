"""Plaintext in and out of an `OpenSSLSocket`, record by record.

Facts. A record that was read whole leaves decrypted bytes that no poller sees, and half a record,
or a session ticket, is readable and holds no plaintext. What OpenSSL has begun to send must be
offered again, byte by byte the same, until it is gone; the caller may by then offer less, or
something else. OpenSSL takes one record at a time.

Consequence. One record is read ahead. What OpenSSL insists on is kept here and offered by the loop
(`_pending_write`); when it is gone, its caller is told so by its next offer (`_unreported`).
"""

from __future__ import annotations

import os
import socket as _socket
from collections.abc import Iterable
from errno import EBADF, EPIPE
from typing import Any

from OpenSSL import SSL

from asynccore.pollers import READ, WRITE

from .._openssl import read, write
from ..errors import TruncationError
from ..states import CLOSED, OPEN, PLAIN, RECORD, UNWRAPPING
from .handshake import Handshake
from .translation import blocked, not_ready, translated

# The most that one `send` takes, in bytes, so that other channels have their turn: encrypting that
# takes about as long as the plain sockets' share takes the kernel (`asynccore.gather.SEND_SHARE`).
SEND_LIMIT = 32 * RECORD


class Records(Handshake):
    """The part of an `OpenSSLSocket` that receives and sends."""

    __slots__ = (
        "_close_notify_sent",
        "_more_decrypted",
        "_nothing_received",
        "_output_ends",
        "_peer_closed",
        "_pending_shutdown",
        "_pending_write",
        "_unreported",
        "_write_wants",
        "read_ahead",
        "suppress_ragged_eofs",
    )
    suppress_ragged_eofs: bool

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read_ahead = b""  # plaintext that was not received yet
        self._more_decrypted = False  # OpenSSL may hold more of what it has decrypted
        self._peer_closed = False  # the peer said close_notify
        self._nothing_received = True  # nothing was received yet
        self._write_wants = WRITE
        self._output_ends = False  # shutdown() was called
        self._close_notify_sent = False  # our close_notify is sent
        self._pending_shutdown: int | None = (
            None  # how shutdown() was called, while there is no room for it
        )
        self._pending_write = b""  # begun to be sent, and not reported as sent
        self._unreported = b""  # sent, and not yet reported as sent

    def _fail(self, why: OSError) -> None:
        self._pending_write = self._unreported = b""
        super()._fail(why)

    # -- receiving ------------------------------------------------------------------------------

    def _fetch(self, size: int) -> bytes:
        """Have OpenSSL decrypt something; nothing if there is nothing, the end, or a failure."""
        connection = self.connection
        assert connection is not None
        try:
            data = read(connection, size)
        except SSL.WantReadError:
            self._read_wants = READ
            return b""
        except SSL.WantWriteError:
            self._read_wants = WRITE
            self._report()
            return b""
        except SSL.ZeroReturnError:
            self._end()
            return b""
        except SSL.Error as why:
            failure = translated(why, self.context, connection, shaking=False)
            if isinstance(failure, TruncationError) and self.suppress_ragged_eofs:
                self._end()
            else:
                self._fail(failure)
            return b""
        self._read_wants = READ
        if self._more_decrypted or size < RECORD:
            # A record is read whole, unless less of it was asked for.
            self._more_decrypted = len(data) == size
            self._report()
        if self._nothing_received:
            # With TLS 1.3, the session to be resumed comes after the handshake.
            self._nothing_received = self._may_be_refused = False
            self.context.remember(connection)
        return data

    def _end(self) -> None:
        self._peer_closed = True
        self._report()

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return up to `bufsize` bytes of plaintext, or `b""` at the peer's close_notify.

        Raises `BlockingIOError` if there is none, and during the handshake; `TruncationError` for
        an end without close_notify; `PeerRefused` and `TLSError`; and `OSError` as recv(2) does.
        `MSG_PEEK` is the only flag that counts.
        """
        data = self.read_ahead
        if not data:
            if self.phase is not OPEN and self.phase is not UNWRAPPING:
                if self.phase is PLAIN:
                    return self._raw.recv(bufsize, flags)
                self._advance()
            if self.phase is OPEN and not self._peer_closed:
                data = self._fetch(RECORD)
            if not data:
                self._raise_failure()
                if self._peer_closed and self.phase is OPEN:
                    return b""
                raise self._nothing_now()
        if flags and flags & _socket.MSG_PEEK:
            self.read_ahead = data
            self._report()
            return data[:bufsize]
        if len(data) > bufsize:
            self.read_ahead = data[bufsize:]
            self._report()  # the caller may be no handler of its channel
            return data[:bufsize]
        self.read_ahead = b""
        if len(data) == RECORD and bufsize > RECORD:
            return self._recv_more(data, bufsize)
        return data

    def _nothing_now(self) -> OSError:
        """Return what a socket raises that can't do it now, or not any more."""
        if self.phase is CLOSED:
            return OSError(EBADF, os.strerror(EBADF))
        return blocked() if self.phase is OPEN else not_ready()

    def _recv_more(self, data: bytes, bufsize: int) -> bytes:
        """Add what follows a full record: that is hardly ever the last one."""
        pieces = [data]
        left = bufsize - len(data)
        while left and len(data) == RECORD and self.phase is OPEN and not self._peer_closed:
            data = self._fetch(min(left, RECORD))
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def unread(self, data: bytes) -> None:
        """Put plaintext back, to be received before anything else."""
        self.read_ahead = data + self.read_ahead
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
        return len(self.read_ahead) + more

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
                raise self._nothing_now()
        size = len(data)
        if not size:
            return 0  # OpenSSL takes an empty write for an error
        if self._output_ends:
            raise BrokenPipeError(EPIPE, f"{os.strerror(EPIPE)}: shutdown() has ended the output")
        if self._may_be_refused:
            self._look_first()
        if self._pending_write:
            self._flush()
            self._raise_failure()
            if self._pending_write:
                raise blocked()
        count = self._settle(data) if self._unreported else 0
        if size > RECORD or count:
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
        left = SEND_LIMIT
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
        if not self.read_ahead and not self._peer_closed:
            self.read_ahead = self._fetch(RECORD)
            if self.read_ahead:
                self._report()
            self._raise_failure()

    def _write_records(self, data: Any, start: int) -> int:
        """Write record after record until one does not fit; return how much was written.

        OpenSSL takes one at a time (SSL_MODE_ENABLE_PARTIAL_WRITE, see SSL_CTX_set_mode(3)).
        """
        view = memoryview(data).cast("B")[start : start + SEND_LIMIT]
        size, sent = len(view), 0
        while sent < size:
            count = self._write(view[sent : sent + RECORD])
            if not count:
                break
            sent += count
        return sent

    def _write(self, data: Any) -> int:
        connection = self.connection
        assert connection is not None
        try:
            count = write(connection, data)
        except SSL.Error as why:
            self._not_written(why, data)
            return 0
        if self._write_wants != WRITE:
            self._write_wants = WRITE
            self._report()
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
        self._pending_write = data if type(data) is bytes else bytes(data)
        self._report()

    def _flush(self) -> None:
        """Offer again what OpenSSL insists on."""
        held, self._pending_write = self._pending_write, b""
        count = self._write(held)
        if count:
            self._report()
            self._unreported = held[:count]

    def _settle(self, data: Any) -> int:
        """Return how much of `data` went out already, when it was offered before.

        A caller that offers less than before is told of the rest the next time. One that offers
        something else has changed its mind too late.
        """
        ahead, self._unreported = self._unreported, b""
        count = min(len(data), len(ahead))
        if bytes(data[:count]) != ahead[:count]:
            return 0
        self._unreported = ahead[count:]
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send everything. Raises `BlockingIOError` as soon as it does not fit, as a non-blocking
        socket does: nobody knows then how much was sent."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view) :]
