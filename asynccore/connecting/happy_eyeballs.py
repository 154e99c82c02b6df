"""In which order the addresses of a name are tried, and when (RFC 8305). No I/O.

Facts. A name has addresses of two families, and one of the two may be broken without a word:
packets vanish, and a connect takes minutes to fail. The system has sorted the addresses by
RFC 6724 already.

Consequence. The families take turns (section 4). An attempt begins some time after the one before
it, though that is still under way (section 5), or at once when any has failed.

Trade-off. The look-up asks for both families in one call, as getaddrinfo(3) does, so the answers
can't be raced against each other as section 3 has it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

# RFC 8305 section 5, in seconds: the recommended delay between attempts, and the least allowed.
ATTEMPT_DELAY = 0.25
LEAST_ATTEMPT_DELAY = 0.01


class Address(NamedTuple):
    """A socket family, and an address as sockets of that family take it."""

    family: int
    sockaddr: Any


def interleave(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses with their families taking turns, each once (RFC 8305 section 4).

    The family of the first address comes first; within a family the order stays.
    """
    families: dict[int, deque[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address.family, deque()).append(address)
    ordered = []
    while families:
        for family, queue in list(families.items()):
            ordered.append(queue.popleft())
            if not queue:
                del families[family]
    return ordered


class Race:
    """The attempts to connect to one of several addresses.

    `delay` is how long the next attempt waits while others are under way, in seconds.
    """

    def __init__(self, addresses: Iterable[Address], delay: float = ATTEMPT_DELAY) -> None:
        self.delay = delay
        self._waiting = deque(interleave(addresses))
        self._running: set[Address] = set()
        self._next = float("-inf")

    @property
    def due(self) -> float | None:
        """When `begin` has the next address, by the clock; `None` if none is left."""
        return self._next if self._waiting else None

    @property
    def lost(self) -> bool:
        """Whether all attempts have failed."""
        return not self._waiting and not self._running

    def begin(self, now: float) -> Address | None:
        """Return the address whose attempt begins now, or `None` if it isn't time for one."""
        if not self._waiting or now < self._next:
            return None
        address = self._waiting.popleft()
        self._running.add(address)
        self._next = now + self.delay
        return address

    def failed(self, address: Address, now: float) -> None:
        """Note that an attempt has failed: the next one need not wait."""
        self._running.remove(address)
        self._next = now
