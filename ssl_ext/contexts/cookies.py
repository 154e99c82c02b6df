"""Cookies of DTLS servers: who returns one has the address that it says (RFC 6347 section 4.2.1).

Nothing is kept for a client before that. The cookie is a keyed hash of its address, with a secret
that changes; the one before counts, too, so that nobody is cut off in the middle.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable

# Seconds that a secret is used for new cookies. A client returns its cookie at once; RFC 6347
# leaves the time open.
LIFETIME = 600.0


class Cookies:
    """The cookies of one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._secret = self._before = secrets.token_bytes(32)
        self._since = clock()

    def make(self, address: bytes) -> bytes:
        """Return the cookie for an address."""
        now = self._clock()
        if now - self._since >= LIFETIME:
            self._before, self._secret = self._secret, secrets.token_bytes(32)
            self._since = now
        return hmac.digest(self._secret, address, "sha256")

    def match(self, address: bytes, cookie: bytes) -> bool:
        """Tell whether a cookie was made for this address, not long ago."""
        return any(
            hmac.compare_digest(hmac.digest(secret, address, "sha256"), cookie)
            for secret in (self._secret, self._before)
        )
