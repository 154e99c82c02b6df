"""What can go wrong with TLS, in the OSError family, told apart.

*Facts.* No exception of `OpenSSL.SSL` is an `OSError`, while legacy code says `except OSError`.
OpenSSL keeps what happened in a queue of `(library, function, reason)`, which is empty when a
connection is used again after its end.
*Consequence.* One table leads from OpenSSL's reasons to the classes here, and each keeps the queue.

    OSError
      TLSError               TLS failed: a damaged record, a protocol violation …
        TruncationError      the peer left without saying that it was done (no close_notify)
        HandshakeError       it failed before, or because of, who the two sides are
          CertificateError   our side does not accept the peer's certificate
          PeerRefused        the peer sent an alert: it does not accept us
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EPROTO

__all__ = ["CertificateError", "HandshakeError", "PeerRefused", "TLSError", "TruncationError"]

# One entry of OpenSSL's error queue (ERR_get_error(3)): library, function and reason. Since
# OpenSSL 3.0 the function is empty.
QueueEntry = tuple[str, str, str]
Queue = Sequence[QueueEntry]

# EPROTO, "Protocol error": the only errno that fits, and none of those that asyncore takes for a
# disconnection, so that a failure is never mistaken for a clean end.
TLS_ERRNO = EPROTO


class TLSError(OSError):
    """TLS failed.

    `reason` is text for people. `queue` is OpenSSL's error queue, oldest entry first; it may be
    empty. `errno` is EPROTO.
    """

    queue: list[QueueEntry]
    reason: str

    def __init__(self, reason: str, queue: Queue = ()) -> None:
        super().__init__(TLS_ERRNO, reason)
        self.reason = reason
        self.queue = [tuple(entry) for entry in queue]  # type: ignore[misc]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, self.queue)


class TruncationError(TLSError):
    """The connection ended without the peer's close_notify (RFC 8446 section 6.1).

    Whatever was received may have been cut short, by an attacker too.
    """


class HandshakeError(TLSError):
    """The handshake failed, or what it established is not acceptable."""


class CertificateError(HandshakeError):
    """The peer's certificate is missing, not valid, or not for the name we want.

    `code` is OpenSSL's X509_V_ERR number (X509_STORE_CTX_get_error(3)), 0 if it was found by other
    means (names, pins), and `depth` is where in the chain it was found: 0 is the peer's own.
    """

    depth: int
    code: int

    def __init__(self, reason: str, queue: Queue = (), *, depth: int = 0, code: int = 0) -> None:
        super().__init__(reason, queue)
        self.depth = depth
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        state = {"depth": self.depth, "code": self.code}
        return type(self), (self.reason, self.queue), state


class PeerRefused(HandshakeError):
    """The peer sent a fatal alert (RFC 8446 section 6.2): it does not accept us, or our offer.

    In TLS 1.3 a server refuses a client's certificate after the client's handshake has ended; the
    client then meets this error at its first read.
    """
