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
from collections.abc import Callable, Iterator
from typing import Any, Protocol
from weakref import WeakKeyDictionary

# How many connections may be between accept(2) and the end of their handshake, unless the listener
# has a `max_handshakes`: half of the descriptors that a process has by default on Linux
# (getrlimit(2), 1,024), so that the program keeps the other half.
MAX_HANDSHAKES = 512

# One peer's share of that: a quarter, so that it takes several to crowd out the others.
SHARES = 4

# What is said of a handshake that was ended for another.
MADE_ROOM = "it made room for others"


class Handshake(Protocol):
    """What is counted: a socket, or what stands for one."""

    def has_heard(self) -> bool:
        """Tell whether the peer has said anything."""


class HandshakeTable:
    """The handshakes under way, by peer and age. `limit()` is as for `AcceptingSocket`.

    It keeps none of them: a program may forget what it has accepted.
    """

    def __init__(self, limit: Callable[[], int | None] = lambda: None) -> None:
        self._limit = limit
        # The peer of each, the oldest first.
        self._all: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
        # By peer, those not known to have spoken.
        self._silent: dict[Any, WeakKeyDictionary[Any, None]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._all)

    def has_room(self, waiting: int) -> bool:
        """Tell whether another may begin; `waiting` others are over, and not accepted yet."""
        return len(self._all) + waiting < self._most() or self._surplus() is not None

    def add(self, handshake: Handshake, address: Any, waiting: int = 0) -> Any:
        """Count a handshake with `address`; return the one that is to end for it, or `None`."""
        found = None
        if len(self._all) + waiting >= self._most():
            found = self._surplus()
        peer = peer_of(address)
        self._all[handshake] = peer
        silent = self._silent.setdefault(peer, WeakKeyDictionary())
        silent[handshake] = None
        if found is None and peer is not None and len(silent) > self._share():
            found = self._oldest_silent(peer)
            if found is handshake or len(self._silent.get(peer, ())) <= self._share():
                found = None  # the others have spoken
        return found

    def remove(self, handshake: Handshake) -> None:
        """Count a handshake no more."""
        peer = self._all.pop(handshake, None)
        theirs = self._silent.get(peer)
        if theirs is not None:
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
        while self._silent:
            found = self._oldest_silent(max(self._silent, key=self._silence))
            if found is not None:
                return found
        return None

    def _silence(self, peer: Any) -> int:
        return len(self._silent[peer])

    def _oldest_silent(self, peer: Any) -> Any:
        theirs = self._silent.get(peer)
        while theirs:
            oldest = next(iter(theirs))
            if not oldest.has_heard():
                return oldest
            theirs.pop(oldest, None)  # who has spoken once is silent no more
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
