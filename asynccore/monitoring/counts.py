"""What this process has counted, whoever looks: TLS handshakes, which only floors above know of."""

from __future__ import annotations

from collections import Counter

# By what came of a handshake: the version of the protocol, or the name of the exception.
handshakes: Counter[str] = Counter()
failed_handshakes: Counter[str] = Counter()
