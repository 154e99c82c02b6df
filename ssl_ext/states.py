"""Where a TLS connection is, and the sizes and times that its parts share."""

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
CLEAR = "sending what comes before TLS"
SHAKING = "handshaking"
OPEN = "open"
UNWRAPPING = "going back to plaintext"
PLAIN = "plain"
FAILED = "failed"
CLOSED = "closed"
