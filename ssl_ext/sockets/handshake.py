"""The handshake of an `OpenSSLSocket`: from a connection in clear to one that is open.

Facts. A handshake is several turns of the loop, and OpenSSL wants now to read and now to write. It
can be preceded by a connect, and by bytes in clear. A failure is found wherever the socket is used,
and may be that of a callback, or of the check of a name that OpenSSL doesn't make.

Consequence. `_advance` goes on from wherever the connection is, as far as that goes now; every
other part of the socket calls it before anything else. What fails is kept in `failure`, and raised
by the next call of `recv`, `send` and the like.
"""

from __future__ import annotations

import os
import socket as _socket
from collections.abc import Callable, Iterable, Iterator
from errno import ENOTCONN

from OpenSSL import SSL

from asynccore.channels import Map
from asynccore.dispatchers.vectored import SEND_SHARE
from asynccore.engine.timers import Timer
from asynccore.errors import reports_to_channel
from asynccore.pollers import READ, WRITE
from asynccore.running.loop import call_later

from ..certificates.hostnames import check_server_hostname
from ..errors import HandshakeError
from ..states import CLEAR, CONNECTING, FAILED, OPEN, SHAKING, UNWRAPPING
from .translation import ConnectionContext, not_ready, translated

NOTHING = memoryview(b"")

# A failed handshake is told to a channel that waits for nothing, too; but one that pays no heed
# must not keep the loop busy. Being found to be so, and then told, are two looks.
_PRESSED = 8


class Handshake:
    """The part of an `OpenSSLSocket` that opens it."""

    # These are read at every event. A dict of more than 30 is shared by no instances, and slow.
    __slots__ = (
        "_failure_raised",
        "_failure_reminders",
        "_may_be_refused",
        "_pid",
        "_prelude",
        "_preludes",
        "_raw",
        "_read_wants",
        "_report",
        "_timer",
        "agreed",
        "connection",
        "context",
        "failure",
        "handshake_timeout",
        "map",
        "on_progress",
        "on_timeout",
        "phase",
        "server_hostname",
        "server_side",
    )

    def __init__(
        self,
        context: ConnectionContext,
        sock: _socket.socket,
        server_side: bool,
        server_hostname: str | None,
        handshake_timeout: float | None,
        prelude: bytes | Iterable[bytes],
    ) -> None:
        if not server_side:
            check_server_hostname(server_hostname)  # before anything is connected
        self.context = context
        self.server_side = server_side
        self.server_hostname = server_hostname
        self.handshake_timeout = handshake_timeout
        self.phase = CONNECTING
        self.connection: SSL.Connection | None = None
        self.failure: OSError | None = None
        self.agreed: SSL.Connection | None = None
        """The connection whose handshake is over, as `ssl_ext.peer` takes it, or `None`. It stays
        when the connection has ended: who has left can be told."""
        self.map: Map | None = None  # in which it may linger
        # Called when `phase` has changed, and instead of a failure when the handshake takes too
        # long.
        self.on_progress: Callable[[], object] | None = None
        self.on_timeout: Callable[[], object] | None = None
        self._raw = sock
        self._preludes = iter((prelude,) if isinstance(prelude, bytes) else prelude)
        self._prelude = NOTHING  # the present one
        self._pid = os.getpid()
        self._failure_raised = False  # the failure was raised
        self._failure_reminders = (
            0  # how often yet the failure is told to a channel that wants nothing
        )
        self._may_be_refused = False  # the server may still refuse this client
        self._read_wants = READ
        self._report: Callable[[], None] = _nothing
        self._timer: Timer | None = None

    def _unwrap_on(self) -> None:
        raise NotImplementedError

    def _begin(self) -> None:
        # A handshake is short writes that wait for one another, with Nagle's algorithm each for the
        # peer's delayed acknowledgement (RFC 1122 section 4.2.3.4; asyncio's default).
        try:
            self._raw.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        except OSError:
            pass  # AF_UNIX
        self.connection = self.context.connection(self._raw, self.server_side, self.server_hostname)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if phase is SHAKING or phase is CLEAR:
            self._start_timer()
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
            self._begin_or_fail()
        if self.phase is CLEAR:
            self._send_prelude()
        if self.phase is SHAKING:
            self._shake()
        elif self.phase is UNWRAPPING:
            self._unwrap_on()

    def _next_of(self, pieces: Iterator[bytes]) -> memoryview:
        """Return the next piece of what a program wants sent; empty at the end, or if that fails.

        It may be made by a producer of the program's.
        """
        try:
            return memoryview(next(pieces, b""))
        except Exception as why:
            self._fail(_as_handshake_error(why))
            return NOTHING

    def _has_prelude(self) -> bool:
        self._prelude = self._prelude or self._next_of(self._preludes)
        return bool(self._prelude)

    def _send_prelude(self) -> None:
        """Send what is to come before the handshake; the peer's time for that begins after it.

        A peer that takes nothing for as long as a handshake may take is given up.
        """
        share = SEND_SHARE
        while share > 0 and self._has_prelude():
            try:
                count = self._raw.send(self._prelude)
            except BlockingIOError:
                return
            except OSError as why:
                self._fail(why)
                return
            self._prelude = self._prelude[count:]
            share -= count
            if self._timer is not None:
                self._timer.reset()
        if self.phase is CLEAR and not self._prelude and share > 0:
            self._enter(SHAKING)

    def _begin_or_fail(self) -> None:
        try:
            self._begin()
        except Exception as why:
            self._fail(_as_handshake_error(why))
        else:
            phase = self._phase_before_tls()
            if phase is not FAILED:
                self._enter(phase)

    def _phase_before_tls(self) -> str:
        """Return where a connection is that has begun."""
        if self._has_prelude():
            return CLEAR
        return SHAKING if self.failure is None else FAILED

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
            self._may_be_refused = not self.server_side and version == SSL.TLS1_3_VERSION
            self.context.remember(connection)
            self.agreed = connection
            self._enter(OPEN)

    def _connect_on(self) -> None:
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
            self._begin_or_fail()  # the peer's last words
            self._advance()

    def _fail(self, why: OSError) -> None:
        # What fails later is found when its channel reads, as without TLS.
        self._failure_reminders = 0 if self.phase is OPEN else _PRESSED
        self.failure = why
        self._enter(FAILED)

    def _start_timer(self) -> None:
        if self._timer is None and self.handshake_timeout and self.map is not None:
            self._timer = call_later(self.handshake_timeout, self._expire, map=self.map)

    @reports_to_channel
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
            raise not_ready()

    @property
    def inherited(self) -> bool:
        """Whether this is a forked child, and the connection its parent's: to be let go of, and
        not to be ended."""
        return self._pid != os.getpid()

    def told(self) -> None:
        """Take the failure for known: it wakes nobody up any more."""
        self._failure_raised = True

    def _raise_failure(self) -> None:
        if self.failure is not None:
            self._failure_raised = True
            raise self.failure


def _nothing() -> None:
    pass


def _as_handshake_error(why: Exception) -> OSError:
    if isinstance(why, OSError):
        return why
    failure = HandshakeError(f"{type(why).__name__}: {why}")
    failure.__cause__ = why
    return failure
