"""Plaintext in and out of an OpenSSL connection, record by record.

Facts. A record that was read whole leaves decrypted bytes that no poller sees, and half a record,
or a session ticket, is readable and holds no plaintext. What OpenSSL has begun to send must be
offered again, byte by byte the same, until it is gone; the caller may by then offer less, or
something else. OpenSSL takes one record at a time. What was decrypted or taken before a failure
still counts.

Consequence. A `RecordReader` reads one record ahead, and a `RecordWriter` keeps what OpenSSL
insists on (`pending`), offers it again when told to, and tells its caller by the next offer that it
is gone (`unreported`). Neither knows where its connection is in its life, nor anything of sockets
and loops: each says what it waits for and calls `report` when that changes. Failures are noted in
`error`, and not raised, for there may be bytes to be handed out or counted first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from OpenSSL import SSL

from asynccore.pollers import READ, WRITE

from .._openssl import SSL_read, SSL_write, direct, read, spare, write
from ..states import RECORD

# The most that one `send` takes, in bytes, so that other channels have their turn: encrypting that
# takes about as long as the plain sockets' share takes the kernel (`vectored.SEND_SHARE`).
SEND_LIMIT = 32 * RECORD

# How many events in turn may bring no data, before the peer is taken for one that keeps us busy: a
# record that arrives byte by byte takes RECORD of them, and some.
PATIENCE = 2 * RECORD

# What can be sent.
Data = bytes | bytearray | memoryview


def nothing() -> None:
    """Report to nobody."""


class RecordReader:
    """What a connection receives.

    `data` is plaintext that nobody has taken yet. After it comes what `ended` (the peer's
    close_notify) and `error` (a failure, as OpenSSL raised it) say. `waits_for` is what the
    descriptor must be ready for, `READ` or `WRITE`. `report()` is called when there may be
    something to be done without an event.
    """

    __slots__ = (
        "_barren",
        "connection",
        "data",
        "ended",
        "error",
        "more_decrypted",
        "report",
        "waits_for",
    )

    connection: SSL.Connection  # absent until there is one

    def __init__(self, connection: SSL.Connection | None = None) -> None:
        if connection is not None:
            self.connection = connection
        self.data = b""
        self.ended = False
        self.error: SSL.Error | None = None
        self.more_decrypted = False
        """Whether OpenSSL may hold more of what it has decrypted."""
        self.waits_for = READ
        self._barren = 0  # how many events in turn have brought no data
        self.report: Callable[[], None] = nothing

    def fill(self, size: int = RECORD) -> None:
        """Have OpenSSL decrypt up to `size` bytes into `data`, from which all was taken."""
        try:
            if direct and spare:
                # As `read` does it, without the calls.
                connection, pair = self.connection, spare.pop()
                count = SSL_read(connection._ssl, pair[0], size)
                data = pair[1][:count] if count > 0 else b""
                spare.append(pair)
                if not data:
                    connection._raise_ssl_error(connection._ssl, count)
            else:
                data = read(self.connection, size)
            self.data = data
        except SSL.WantReadError:
            self.waits_for = READ
        except SSL.WantWriteError:
            self.waits_for = WRITE
            self.report()
        except SSL.ZeroReturnError:
            self.end()
        except SSL.Error as why:
            received = self.connection.get_shutdown() & SSL.RECEIVED_SHUTDOWN
            if received and isinstance(why, SSL.SysCallError):
                # After a user_canceled (RFC 8446 section 6.1), with which Java's sockets end,
                # OpenSSL takes the close_notify in, and then speaks of an unexpected end.
                self.end()
            else:
                self.error = why.with_traceback(None)
        else:
            self.waits_for = READ
            self._barren = 0
            if self.more_decrypted or size < RECORD:
                # A record is read whole, unless less of it was asked for.
                self.more_decrypted = len(data) == size
                self.report()

    def count_barren(self) -> None:
        """Count an event that brought no data, of which there may be `PATIENCE` in turn."""
        self._barren += 1
        if self._barren > PATIENCE and self.error is None:
            self.error = SSL.Error([("ssl_ext", "", "the peer sends no data, but without end")])

    def end(self) -> None:
        """Take what was read so far for all that there is."""
        self.error = None
        self.ended = True
        self.report()

    def take(self, bufsize: int) -> bytes:
        """Return up to `bufsize` bytes of what `data` has, and of what follows a full record."""
        data = self.data
        if len(data) > bufsize:
            self.data = data[bufsize:]
            self.report()  # the caller may be no handler of its channel
            return data[:bufsize]
        self.data = b""
        if len(data) == RECORD and bufsize > RECORD:
            return self._take_more(data, bufsize - RECORD)
        return data

    def _take_more(self, data: bytes, left: int) -> bytes:
        """Add what follows a full record, for that is hardly ever the last one."""
        pieces = [data]
        while left and len(data) == RECORD and not self.ended and self.error is None:
            self.fill(min(left, RECORD))
            data, self.data = self.data, b""
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)


class RecordWriter:
    """What a connection sends.

    `pending` has been begun, and OpenSSL insists on it; it is `unreported` once it is sent, until
    its caller offers it again. `waits_for` is what the descriptor must be ready for, `WRITE` or
    `READ`; `ended` says that our close_notify is sent, and `error` why nothing more can be.
    `report()` is called when one of these has changed.
    """

    __slots__ = (
        "connection",
        "ended",
        "error",
        "pending",
        "report",
        "unreported",
        "waits_for",
    )

    connection: SSL.Connection  # absent until there is one

    def __init__(self, connection: SSL.Connection | None = None) -> None:
        if connection is not None:
            self.connection = connection
        self.pending = b""
        self.unreported = b""
        self.waits_for = WRITE
        self.ended = False
        self.error: SSL.Error | None = None
        self.report: Callable[[], None] = nothing

    def send(self, data: Data) -> int:
        """Send what fits, at most `SEND_LIMIT` bytes, and return how many bytes that is."""
        size = len(data)
        if self.pending or self.unreported or size > RECORD:
            return self._send_records(data)
        try:
            if direct and type(data) is bytes:
                # As `write` does it, without the call.
                connection = self.connection
                count: int = SSL_write(connection._ssl, data, size)
                if count <= 0:
                    connection._raise_ssl_error(connection._ssl, count)
            else:
                count = write(self.connection, data)
        except SSL.Error as why:
            self._keep(why, data)
            return 0
        if self.waits_for != WRITE:
            self._wait_for(WRITE)
        return count

    def _send_records(self, data: Data) -> int:
        """Send after what is pending, and record after record until one does not fit.

        OpenSSL takes one at a time (SSL_MODE_ENABLE_PARTIAL_WRITE, see SSL_CTX_set_mode(3)).
        """
        if self.pending and not self.flush():
            return 0
        sent = self._settle(data) if self.unreported else 0
        view = memoryview(data).cast("B")[: sent + SEND_LIMIT]
        while sent < len(view):
            count = self.send(view[sent : sent + RECORD])
            if not count:
                break
            sent += count
        return sent

    def _wait_for(self, mask: int) -> None:
        self.waits_for = mask
        self.report()

    def _keep(self, why: SSL.Error, data: Data) -> None:
        """Keep what has to be offered again, unless the connection has failed."""
        if isinstance(why, (SSL.WantWriteError, SSL.WantReadError)):
            # It is encrypted already: OpenSSL insists on these very bytes when it is asked again.
            self.pending = data if type(data) is bytes else bytes(data)
            self._wait_for(WRITE if isinstance(why, SSL.WantWriteError) else READ)
        else:
            self.error = why.with_traceback(None)

    def flush(self) -> bool:
        """Offer again what OpenSSL insists on; tell whether that is sent."""
        held, self.pending, self.unreported = self.pending, b"", b""
        count = self.send(held)
        if count:
            self.report()
            self.unreported = held[:count]
        return count > 0

    def _settle(self, data: Data) -> int:
        """Return how much of `data` went out already, when it was offered before.

        A caller that offers less than before is told of the rest the next time. One that offers
        something else has changed its mind too late.
        """
        ahead, self.unreported = self.unreported, b""
        count = min(len(data), len(ahead))
        if bytes(data[:count]) != ahead[:count]:
            return 0
        self.unreported = ahead[count:]
        return count

    def end(self) -> bool:
        """Say close_notify, after what is pending; tell whether that is done.

        Raises what OpenSSL raises if it has no way to say it, as in a handshake.
        """
        if self.pending and not self.flush():
            return False
        if not self.ended:
            try:
                self.connection.shutdown()
            except SSL.WantWriteError:
                self._wait_for(WRITE)
            except SSL.WantReadError:
                self._wait_for(READ)  # to renegotiate, where a context allows that
            else:
                self.ended = True  # a second call would choke on data that comes
                self.report()
        return self.ended

    def drop(self) -> None:
        """Forget what was to be offered again: the connection has failed."""
        self.pending = self.unreported = b""


class Pieces:
    """What a program wants sent, piece by piece: each is asked for when the one before is gone.

    The first empty piece ends it. A piece may be made by a producer of the program's, whose
    exceptions come out of `present`.
    """

    __slots__ = ("_piece", "_pieces")

    def __init__(self, pieces: Iterable[bytes] = ()) -> None:
        self._pieces = iter(pieces)
        self._piece = memoryview(b"")

    def present(self) -> memoryview:
        """Return what is left of the present piece; nothing at the end."""
        if not self._piece:
            self._piece = memoryview(next(self._pieces, b""))
        return self._piece

    def skip(self, count: int) -> None:
        """So many bytes of the present piece are gone."""
        self._piece = self._piece[count:]


def joined(buffers: Iterable[Data]) -> Data:
    """Return several pieces as one, for records as full as can be, up to `SEND_LIMIT` bytes."""
    pieces: list[Data] = []
    left = SEND_LIMIT
    for piece in buffers:
        pieces.append(piece if len(piece) <= left else memoryview(piece)[:left])
        left -= len(pieces[-1])
        if not left:
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
