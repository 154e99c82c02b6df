"""What OpenSSL says, as exceptions of this package; and plain OpenSSL contexts, as ours.

Facts. An end without close_notify is `SysCallError(-1, 'Unexpected EOF')`. A fatal alert from the
peer is an `Error` whose reason begins with a protocol and "alert". The queue is empty when a
connection is used after it failed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from errno import EWOULDBLOCK
from socket import socket
from typing import Any, Protocol

from OpenSSL import SSL

from asynccore.pollers.layered import NotReady

from .. import peer
from .._openssl import expect_address, expect_host, verify_error_text, verify_result
from ..certificates.hostnames import address, ascii_name
from ..errors import (
    CertificateError,
    HandshakeError,
    PeerRefused,
    Queue,
    QueueEntry,
    TLSError,
    TruncationError,
)

# How SysCallError says that there was no error, but an end.
_UNEXPECTED_EOF = -1

# "sslv3 alert bad certificate", "ssl/tls alert …", "tlsv1 alert …", "tlsv13 alert …": the spellings
# of OpenSSL 1.1 to 4.0 for what the peer sent, but for those of RFC 6066. "bad alert" and the like
# are found by ourselves.
_ALERT = re.compile(
    r"(ssl|tls)\S* alert |tlsv1 (unrecognized name|certificate unobtainable|unsupported extension"
    r"|bad certificate (status response|hash value))$"
)

# The reasons with which OpenSSL says that our side does not accept a certificate.
_CERTIFICATE_REASONS = frozenset(
    {"certificate verify failed", "peer did not return a certificate", "no certificate returned"}
)


class ConnectionContext(Protocol):
    """What makes connections: `ssl_ext.Context`, or a plain OpenSSL one in `RawContext`."""

    def _ac_connection(
        self, sock: socket | None, server_side: bool, server_hostname: str | None
    ) -> SSL.Connection:
        """Return a connection in the right state."""

    def _ac_verify_peer(self, connection: SSL.Connection, server_hostname: str | None) -> None:
        """Raise `HandshakeError` unless the peer is the right one."""

    def _ac_failure(self, connection: SSL.Connection, queue: Queue) -> HandshakeError | None:
        """Return what was wrong with the peer, if that was it."""

    def _ac_remember(self, connection: SSL.Connection) -> None:
        """Keep the session, if that is of use."""


class RawContext:
    """A plain `OpenSSL.SSL.Context`, with the check of the host name that pyOpenSSL lacks."""

    def __init__(self, context: SSL.Context) -> None:
        self.openssl = context

    def _ac_connection(
        self, sock: socket | None, server_side: bool, server_hostname: str | None
    ) -> SSL.Connection:
        connection = SSL.Connection(self.openssl, sock)
        if server_side:
            connection.set_accept_state()
            return connection
        connection.set_connect_state()
        if server_hostname is None and connection.get_verify_mode() & SSL.VERIFY_PEER:
            raise ValueError(
                "whose certificate is expected? Give server_hostname=..., "
                "or an empty one to accept every name"
            )
        if server_hostname:
            found = address(server_hostname)
            if found is None:
                host = ascii_name(server_hostname).encode("ascii")
                connection.set_tlsext_host_name(host)  # RFC 6066 section 3
                expect_host(connection, host)
            else:
                expect_address(connection, found.packed)
        return connection

    def _ac_verify_peer(self, connection: SSL.Connection, server_hostname: str | None) -> None:
        if not server_hostname or not connection.get_verify_mode() & SSL.VERIFY_PEER:
            return
        certificate = peer.peer_certificate(connection)
        if certificate is None:
            raise CertificateError("the peer showed no certificate")
        peer.check_name(certificate, server_hostname)

    def _ac_failure(self, connection: SSL.Connection, queue: Queue) -> CertificateError | None:
        for entry in queue:
            if entry[-1] in _CERTIFICATE_REASONS:
                code = verify_result(connection)
                if code in peer.MISMATCHES:
                    text = f"{entry[-1]}: {verify_error_text(code)}"
                    return CertificateError(text, queue, code=code)
                return CertificateError(entry[-1], queue)
        return None

    def _ac_remember(self, connection: SSL.Connection) -> None:
        pass


AnyContext = ConnectionContext | SSL.Context


def adapted(context: AnyContext) -> ConnectionContext:
    """Return a context that makes connections. Raises `TypeError` for what is none."""
    if isinstance(context, SSL.Context):
        return RawContext(context)
    if hasattr(context, "_ac_connection") and hasattr(context, "_ac_verify_peer"):
        found: ConnectionContext = context
        return found
    raise TypeError(
        f"{context!r} is no TLS context: make one with ssl_ext.client_context() or "
        "ssl_ext.server_context(); the ssl module's own can't be used"
    )


def blocked() -> BlockingIOError:
    """Return what a socket raises that can't do it now."""
    return BlockingIOError(EWOULDBLOCK, os.strerror(EWOULDBLOCK))


def not_ready() -> NotReady:
    """Return what a socket raises that can't do it before the handshake is over."""
    return NotReady(EWOULDBLOCK, os.strerror(EWOULDBLOCK))


def as_handshake_error(why: Exception) -> OSError:
    """Return what a callback or a producer raised, in the family of `OSError`."""
    if isinstance(why, TLSError):
        return why.with_traceback(None)  # it is our own, and would keep the connection
    if isinstance(why, OSError):
        return why
    failure = HandshakeError(f"{type(why).__name__}: {why}")
    failure.__cause__ = why
    return failure


def translated(
    why: SSL.Error, context: ConnectionContext, connection: SSL.Connection, shaking: bool
) -> OSError:
    """Return the `OSError` for what OpenSSL raised; `shaking` during the handshake."""
    if isinstance(why, SSL.SysCallError):
        return _translated_call(why, shaking)
    queue = _queue(why)
    alert = next((entry[-1] for entry in queue if _ALERT.match(entry[-1])), None)
    if alert is not None:
        return PeerRefused(f"the peer refused: {alert}", queue)
    failure = context._ac_failure(connection, queue)
    if failure is not None:
        return failure
    reason = queue[-1][-1] if queue else "the connection has failed before"
    return HandshakeError(reason, queue) if shaking else TLSError(reason, queue)


def _translated_call(why: SSL.SysCallError, shaking: bool) -> OSError:
    number = why.args[0] if why.args else _UNEXPECTED_EOF
    if isinstance(number, int) and number > 0:
        return OSError(number, os.strerror(number))
    when = " during the handshake" if shaking else ""
    return TruncationError(f"the peer left without close_notify{when}")


def _queue(why: SSL.Error) -> list[QueueEntry]:
    entries: Sequence[Any] = why.args[0] if why.args and isinstance(why.args[0], list) else ()
    return [(str(entry[0]), str(entry[1]), str(entry[2])) for entry in entries]
