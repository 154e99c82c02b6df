"""The handshakes of a listener that are under way, and which of them makes room for a new one.

Facts. Whoever opens connections and says nothing holds what he opened until `handshake_timeout`. A
listener that refuses new ones meanwhile is closed to everybody; one address is enough for that,
and whoever has IPv6 has 2**64 of them (RFC 4291 section 2.5.1).

Consequence. A client that has said nothing yet is silent. Of one peer, which is an IPv4 address or
a /64, no more than a share may be silent: its oldest makes room. Where there are as many handshakes
as there may be, the oldest silent one of the peer that has most of these makes room. If nobody is
silent, the listener waits.

Trade-off. An honest client behind a crowded address whose first word was lost has to come again.
Who says half a word is taken for honest until `handshake_timeout`: to end those for others would,
at a crowd of honest ones, end everybody.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

# How many connections may be between accept(2) and the end of their handshake, unless the listener
# has a `max_handshakes`: half of the descriptors that a process has by default on Linux
# (getrlimit(2), 1,024), so that the program keeps the other half.
MAX_HANDSHAKES = 512

# One peer's share of that: a quarter, so that it takes several to crowd out the others.
SHARES = 4


class HandshakeTable:
    """The handshakes under way, by peer and age. `limit()` is as for `AcceptingSocket`."""

    def __init__(self, limit: Callable[[], int | None]) -> None:
        self._limit = limit
        self._all: dict[Any, Any] = {}  # the peer of each, the oldest first
        self._silent: dict[Any, dict[Any, None]] = {}  # by peer, those not known to have spoken

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Any:
        return iter(self._all)

    def has_room(self, waiting: int) -> bool:
        """Tell whether another may begin; `waiting` others are over, and not accepted yet."""
        return len(self._all) + waiting < self._most() or self._surplus() is not None

    def add(self, handshake: Any, waiting: int) -> Any:
        """Count a handshake; return the one that is to end for it, or `None`."""
        found = None
        if len(self._all) + waiting >= self._most():
            found = self._surplus()
        peer = peer_of(handshake.addr)
        self._all[handshake] = peer
        silent = self._silent.setdefault(peer, {})
        silent[handshake] = None
        if found is None and peer is not None and len(silent) > self._share():
            found = self._oldest_silent(peer)
            if found is handshake or len(self._silent.get(peer, ())) <= self._share():
                found = None  # the others have spoken
        return found

    def remove(self, handshake: Any) -> None:
        """Count a handshake no more."""
        peer = self._all.pop(handshake, None)
        theirs = self._silent.get(peer, {})
        theirs.pop(handshake, None)
        if not theirs:
            self._silent.pop(peer, None)

    def _most(self) -> int:
        most = self._limit()
        return MAX_HANDSHAKES if most is None else most

    def _share(self) -> int:
        return max(1, self._most() // SHARES)

    def _surplus(self) -> Any:
        """Return the handshake that is to make room, or `None`."""
        for peer in sorted(self._silent, key=lambda peer: -len(self._silent[peer])):
            found = self._oldest_silent(peer)
            if found is not None:
                return found
        return None

    def _oldest_silent(self, peer: Any) -> Any:
        theirs = self._silent.get(peer, {})
        while theirs:
            oldest = next(iter(theirs))
            if not oldest.socket.has_heard():
                return oldest
            del theirs[oldest]  # who has spoken once is silent no more
        self._silent.pop(peer, None)
        return None


def peer_of(address: Any) -> Any:
    """Return who an address of accept(2) is for a limit: an IPv4 address or the first 64 bits of an
    IPv6 one, `None` for another family."""
    if not isinstance(address, tuple) or not address:
        return None
    try:
        found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        return found.ipv4_mapped or found.packed[:8]
    return found
