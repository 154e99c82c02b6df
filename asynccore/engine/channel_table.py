"""The channels of a map, each by its descriptor, and what was found out about them.

Facts. A class may override a predicate, and an instance may have one of its own; looking at that
costs more than an event. Numbers of descriptors come back under other channels.

Consequence. What was found out about a class is kept until the next review, and each channel is
known by its number: among those that are to be asked, those that are always asked, those that are
paused or have timeouts. Whatever is forgotten is forgotten in all of these at once.

Trade-off. The table knows neither the map nor the poller. What is in it is public to this room,
and none of its dicts and sets is ever replaced, so that a pass may keep them at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..channels import ActivityTimes, Channel
from .predicates import is_assigned, own_predicates
from .sweeps import OWN_BOTH, OWN_READABLE, OWN_WRITABLE, Sweeps

# What `Interest` reads of a channel that it takes in without a detour (`simple`).
_STATE = ("_ac_pause_reasons", "_ac_times", "accepting", "socket")

Predicate = Callable[..., object]


class ChannelTable:
    """What is known of each channel of one map."""

    def __init__(self) -> None:
        self.channels: dict[int, Channel] = {}
        self.reporting: dict[int, Channel] = {}  # those with no predicate of their own
        self.read_only: dict[int, Channel] = {}  # those of them that wait for reading alone
        self.to_ask: dict[int, None] = {}  # to be asked before the next wait, in this order
        self.forgotten: set[int] = set()  # since the present batch of events was taken
        self.timed: dict[int, ActivityTimes] = {}  # of the channels with timeouts
        self.paused: set[int] = set()  # not read from, whatever they say
        self.refused: set[int] = set()  # the poller can't watch them
        # They were told of an exceptional condition that lasts, and have not been read since.
        self.urgent: set[int] = set()
        self.sweeps = Sweeps()  # those with predicates of their own
        self.asked_always = self.sweeps.kinds
        self.kinds: dict[type, int] = {}  # which predicates of a class are its own
        # The predicates of a class of this package that has none of its own.
        self.simple: dict[type, tuple[Predicate, Predicate]] = {}

    def add(self, fd: int, channel: Channel) -> None:
        """Know a channel, which is to be classified and asked before the next wait."""
        self.channels[fd] = channel
        self.to_ask[fd] = None
        # An object may have an answer to any name, so what it answers has to be of the right kind.
        times: Any = getattr(channel, "_ac_times", None)
        if hasattr(type(times), "wants_to_write"):
            self.timed[fd] = times
        else:
            self.timed.pop(fd, None)
        reasons = getattr(channel, "_ac_pause_reasons", 0)
        if isinstance(reasons, int) and reasons:
            self.paused.add(fd)
        else:
            self.paused.discard(fd)

    def forget(self, fd: int) -> bool:
        """Know nothing of a descriptor any more. Returns whether it stood for a channel."""
        known = self.channels.pop(fd, None) is not None
        if known:
            if self.reporting.pop(fd, None) is not None:
                self.read_only.pop(fd, None)
            else:
                self.sweeps.remove(fd)
            self.forgotten.add(fd)
        if self.timed:
            self.timed.pop(fd, None)  # also of a channel that was gone before it was asked
        self.to_ask.pop(fd, None)
        if self.paused:
            self.paused.discard(fd)
        if self.refused:
            self.refused.discard(fd)
        if self.urgent:
            self.urgent.discard(fd)
        return known

    def clear(self) -> None:
        """Forget all channels. What is known of classes stays."""
        self.sweeps.clear()
        for state in (self.channels, self.reporting, self.read_only, self.timed, self.to_ask):
            state.clear()
        for noted in (self.paused, self.refused, self.urgent):
            noted.clear()

    def recover(self) -> None:
        """Make whole what an exception may have left halfway."""
        self.read_only.clear()
        for fd in [fd for fd, it in self.reporting.items() if self.channels.get(fd) is not it]:
            del self.reporting[fd]
        self.sweeps.recover(self.channels)

    def pause(self, fd: int) -> None:
        """Don't read from `fd`, whatever its channel says, until `resume`."""
        self.paused.add(fd)
        self.to_ask[fd] = None

    def resume(self, fd: int) -> None:
        """Read from `fd` again, if its channel wants to."""
        self.paused.discard(fd)
        self.to_ask[fd] = None

    # -- predicates -----------------------------------------------------------------------------

    def classify(self, fd: int, channel: Channel) -> int:
        """Find out which predicates of a channel are its own, and return that."""
        cls = type(channel)
        kind = self.kinds.get(cls)
        if kind is None:
            kind = self.kinds[cls] = own_predicates(cls)
            if not kind and all(hasattr(cls, name) for name in _STATE):
                self.simple[cls] = cls.readable, cls.writable
        if kind != OWN_BOTH:
            if is_assigned(channel, cls, "readable"):
                kind |= OWN_READABLE
            if is_assigned(channel, cls, "writable"):
                kind |= OWN_WRITABLE
        if kind:
            self.sweeps.set(fd, kind, channel)
            self.reporting.pop(fd, None)
        else:
            self.sweeps.remove(fd)
            self.reporting[fd] = channel
        return kind
