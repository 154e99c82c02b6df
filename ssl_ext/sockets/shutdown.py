"""How an `OpenSSLSocket` ends: half, by going back to plaintext, or for good.

Facts. Both sides say close_notify, and each may still receive after it has said its own. Ours may
not fit into a full socket. During a handshake OpenSSL refuses to say it. In plaintext after TLS,
every byte that OpenSSL took out of the kernel too much would be missing.

Consequence. What can't be said at once is said by the loop, as soon as there is room. `close` hands
the rest to a channel of its own (`closing`).
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Iterator
from typing import Any

from OpenSSL import SSL

from asynccore.pollers import READ, WRITE
from asynccore.running.loop import call_later

from ..errors import HandshakeError, TLSError, TruncationError
from ..states import CLEAR, CLOSED, FAILED, LISTENING, OPEN, PLAIN, RECORD, SHAKING, UNWRAPPING
from .handshake import NOTHING
from .lingering import linger
from .records import Records
from .translation import blocked, translated

_NO_MORE: Iterator[bytes] = iter(())


class Ending(Records):
    """The part of an `OpenSSLSocket` that ends it."""

    __slots__ = ("_last", "_piece", "shutdown_timeout")
    shutdown_timeout: float | None

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._last = _NO_MORE  # to be sent before going back to plaintext
        self._piece = NOTHING  # the present one of these

    def shutdown(self, how: int = _socket.SHUT_RDWR) -> None:
        """Say close_notify, unless only reading is to end; then as shutdown(2).

        What the peer sends before its own close_notify can still be received after `SHUT_WR`.
        """
        if how == _socket.SHUT_RD and self.phase not in (PLAIN, LISTENING):
            return
        if self.phase in (CLEAR, SHAKING) and how == _socket.SHUT_WR:
            self._output_ends = True
            self._pending_shutdown = how  # as soon as there is TLS to say it in
        elif self.phase is UNWRAPPING and how == _socket.SHUT_WR:
            self._pending_shutdown = how  # the output that ends is that in plaintext
        elif self.phase is OPEN and not self._close_notify_sent:
            self._output_ends = True
            self._pending_shutdown = how
            self._say_goodbye()
        else:
            self._raw.shutdown(how)

    def _say_goodbye(self) -> None:
        connection, how = self.connection, self._pending_shutdown
        assert connection is not None and how is not None
        if self._pending_write:
            self._flush()
            if self._pending_write or self.failure is not None:
                return
        try:
            connection.shutdown()
        except SSL.WantWriteError:
            self._write_wants = WRITE
            self._report()  # as soon as there is room
            return
        except SSL.Error:
            pass  # gone: the kernel knows
        self._pending_shutdown = None
        self._report()
        self._close_notify_sent = True
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

    def begin_unwrap(self, last: Iterator[bytes], timeout: float | None) -> None:
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
        if self._pending_write:
            self._flush()
        while not self._pending_write and self.failure is None:
            self._piece = self._piece[len(self._unreported) :]
            self._unreported = b""
            if not self._piece:
                self._piece = self._next_of(self._last)
                if not self._piece:
                    return self.failure is None
            self._piece = self._piece[self._write(self._piece[:RECORD]) :]
        return False

    def _unwrap_on(self) -> None:
        connection = self.connection
        assert connection is not None
        try:
            if not self._send_last():
                return
            if not self._close_notify_sent:
                connection.shutdown()
                self._close_notify_sent = True  # a second call would choke on data that comes
                self._read_wants = READ
            if not self._peer_closed and not self.read_ahead:
                self.read_ahead = self._fetch(RECORD)
        except SSL.WantWriteError:
            self._read_wants = WRITE
            return
        except SSL.WantReadError:
            self._read_wants = READ
            return
        except SSL.Error as why:
            self._fail(translated(why, self.context, connection, shaking=False))
            return
        if self._peer_closed and not self.read_ahead:
            self.context.remember(connection)
            if self._pending_shutdown is not None:
                self._raw.shutdown(self._pending_shutdown)
                self._pending_shutdown = None
            self.agreed = None
            self._enter(PLAIN)

    def close(self) -> None:
        """Say close_notify and close, in the background if need be; see `shutdown_timeout`.

        A forked child closes its copy of the descriptor, and says nothing in its parent's name.
        """
        phase, self.phase = self.phase, CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connection, self.connection = self.connection, None
        held, self._pending_write = self._pending_write, b""
        self.read_ahead = self._unreported = b""
        self.on_progress = self.on_timeout = None
        if connection is None or phase in (PLAIN, SHAKING, CLEAR, CLOSED) or self.inherited:
            self._raw.close()
        elif phase is FAILED:
            if isinstance(self.failure, TLSError) and not isinstance(self.failure, TruncationError):
                # Our alert is on its way.
                linger(self.map, self._raw, None, b"", self.shutdown_timeout)
            else:
                self._raw.close()
        else:
            linger(
                self.map,
                self._raw,
                None if self._close_notify_sent else connection,
                held,
                self.shutdown_timeout,
                ended=self._peer_closed,
            )
