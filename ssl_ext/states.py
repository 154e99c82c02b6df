"""Where a TLS connection is, where it can go from there, and the numbers that its parts share.

Facts. A socket connects, sends what comes before TLS, shakes hands, is open, perhaps goes back to
plaintext, and is closed; it can fail nearly everywhere. Timers, callbacks of OpenSSL and the
program itself all push it on, and the last may close it in the middle of anything.

Consequence. `TRANSITIONS` holds every step that there is, and one method takes them
(`OpenSSLSocket._enter`). What is not in the table is a defect.
"""

from __future__ import annotations

# Seconds that a handshake may take: asyncio's SSL_HANDSHAKE_TIMEOUT, which took it from nginx.
# Twisted's negotiations have no bound but the application's own, usually of the same order.
HANDSHAKE_TIMEOUT = 60.0

# Seconds until a connection is gone whose peer does not answer its end: asyncio's
# SSL_SHUTDOWN_TIMEOUT.
SHUTDOWN_TIMEOUT = 30.0

# The most plaintext in one record (RFC 8446 section 5.1).
RECORD = 16384

LISTENING = "listening"
CONNECTING = "connecting"
PRELUDE = "sending what comes before TLS"
HANDSHAKING = "handshaking"
OPEN = "open"
UNWRAPPING = "going back to plaintext"
PLAIN = "plain"
FAILED = "failed"
CLOSED = "closed"

TRANSITIONS: dict[str, frozenset[str]] = {
    CONNECTING: frozenset({LISTENING, PRELUDE, HANDSHAKING, FAILED, CLOSED}),
    LISTENING: frozenset({CLOSED}),
    PRELUDE: frozenset({HANDSHAKING, FAILED, CLOSED}),
    HANDSHAKING: frozenset({OPEN, FAILED, CLOSED}),
    OPEN: frozenset({UNWRAPPING, FAILED, CLOSED}),
    UNWRAPPING: frozenset({PLAIN, FAILED, CLOSED}),
    PLAIN: frozenset({CLOSED}),
    FAILED: frozenset({CLOSED}),
    CLOSED: frozenset(),
}
