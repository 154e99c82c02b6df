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

import socket
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol
from weakref import ref

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

    def _ac_has_heard(self) -> bool:
        """Tell whether the peer has said anything."""


class HandshakeTable:
    """The handshakes under way, by peer and age. `limit()` is as for `AcceptingSocket`.

    It keeps none of them: a program may forget what it has accepted.
    """

    def __init__(self, limit: Callable[[], int | None] = lambda: None) -> None:
        self._limit = limit
        # References to each, the oldest first, with who its peer is; and by peer, to those not
        # known to have spoken.
        self._all: dict[ref[Any], bytes | None] = {}
        self._silent: dict[bytes | None, dict[ref[Any], None]] = {}
        self._forget = partial(_remove, self._all, self._silent)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Any]:
        return (reference() for reference in self._all)

    def has_room(self, waiting: int) -> bool:
        """Tell whether another may begin; `waiting` others are over, and not accepted yet."""
        return len(self._all) + waiting < self._most() or self._surplus() is not None

    def add(self, handshake: Handshake, address: object, waiting: int = 0) -> Any:
        """Count a handshake with `address`; return the one that is to end for it, or `None`."""
        found = None
        if len(self._all) + waiting >= self._most():
            found = self._surplus()
        peer = peer_of(address)
        reference = ref(handshake, self._forget)
        self._all[reference] = peer
        silent = self._silent.setdefault(peer, {})
        silent[reference] = None
        if found is None and peer is not None and len(silent) > self._share():
            found = self._oldest_silent(peer)
            if found is handshake or len(self._silent.get(peer, ())) <= self._share():
                found = None  # the others have spoken
        return found

    def remove(self, handshake: Handshake) -> None:
        """Count a handshake no more."""
        self._forget(ref(handshake))

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
            reference = next(iter(theirs))
            oldest = reference()
            if oldest is not None and not oldest._ac_has_heard():
                return oldest
            theirs.pop(reference, None)  # who has spoken once is silent no more
        self._silent.pop(peer, None)
        return None


def _remove(
    everybody: dict[ref[Any], bytes | None],
    silent: dict[bytes | None, dict[ref[Any], None]],
    reference: ref[Any],
) -> None:
    peer = everybody.pop(reference, None)
    theirs = silent.get(peer)
    if theirs is not None:
        theirs.pop(reference, None)
        if not theirs:
            silent.pop(peer, None)


# How an IPv4 address looks as one of IPv6 (RFC 4291 section 2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"


def peer_of(address: object) -> bytes | None:
    """Return who an address of accept(2) is for a limit: an IPv4 address or the first 64 bits of an
    IPv6 one, `None` for another family."""
    if not isinstance(address, tuple) or not address:
        return None
    host = str(address[0])
    try:
        if ":" not in host:
            return socket.inet_aton(host)
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return None
    return packed[12:] if packed[:12] == _MAPPED else packed[:8]
