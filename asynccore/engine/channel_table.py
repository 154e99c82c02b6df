"""What is known of the channels of a map: whom the poller watches, and who need not be asked.

Facts. A class may override a predicate, and an instance may have one of its own; looking at that
costs more than an event. Descriptors are closed by others, behind everybody's back.

Consequence. What was found out about a class is kept until the next review, and each channel is
known by its number: among those that are asked, swept, muted, timed. Whatever is forgotten is
forgotten in all of these at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .. import pollers
from ..channels import ChannelMap, Map
from ..dispatchers.timeouts import ChannelTimes
from ..errors import RERAISED, leaves_loop
from ..pollers.fileobj import has_descriptor
from ..pollers.layered import LayeredPoller
from .predicates import is_assigned, own_predicates
from .sweeps import OWN_BOTH, OWN_READABLE, OWN_WRITABLE, Sweeps

if TYPE_CHECKING:
    from .engine import Engine

# How long an assignment behind the package's back may go unnoticed, in seconds.
REVIEW_INTERVAL = 1.0

# What `Interest._enter_simply` reads of a channel, which is in the classes of this package.
_STATE = ("_ac_pause_reasons", "_ac_times", "accepting", "socket")


class ChannelTable:
    """The channels of a map, by what was found out about them."""

    def __init__(
        self, map: Map, now: float, engine: Callable[[], Engine | None] | None = None
    ) -> None:
        self.map = map
        self._engine = engine  # whom foreign channels are to report to
        self.holds_foreign = False  # or has held some
        self.poller: pollers.Poller | None = None
        self.channels: dict[int, Any] = {}
        self.reporting: dict[int, Any] = {}  # those of `channels` with no predicate of their own
        self.read_only: dict[int, Any] = {}  # those of `reporting` that wait for reading alone
        self.to_ask: set[int] = set()  # to be asked before the next wait
        # What a map that reports holds anew, or no more.
        self.map_changes: set[int] = set(map) if isinstance(map, ChannelMap) else set()
        self.forgotten: set[int] = set()  # forgotten since the present batch of events was taken
        self.compare_all = True  # code outside of handlers ran
        self.review_needed = False  # anything ran since the last review
        self.review_at = now + REVIEW_INTERVAL
        self.reports_moves = isinstance(map, ChannelMap)  # else it is compared with `_seen`
        self._seen: Mapping[int, Any] = {}
        self._compare_exactly = False
        self.timed: dict[int, ChannelTimes] = {}  # the channels with timeouts
        self._sweeps = Sweeps()
        self.asked_always = self._sweeps.kinds
        self._muted: set[int] = set()
        self._refused: set[int] = set()  # the poller can't watch them
        self._kinds: dict[type, int] = {}
        # Of those without a predicate of their own, the predicates: what `_enter_simply` knows.
        self._simple: dict[type, tuple[Any, Any]] = {}

    def forget(self, fd: int) -> None:
        """Stop watching `fd`, which may be closed next."""
        if self.channels.pop(fd, None) is not None:
            if self.reporting.pop(fd, None) is not None:
                self.read_only.pop(fd, None)
            else:
                self._sweeps.remove(fd)
            self.forgotten.add(fd)
            if self._seen:
                self._seen = {}  # so that the same object under the same number is adopted anew
        if self.timed:
            self.timed.pop(fd, None)  # also of a channel that was gone before it was asked
        self.to_ask.discard(fd)
        if self._muted:
            self._muted.discard(fd)
        if self._refused:
            self._refused.discard(fd)
        poller = self.poller
        if poller is not None:
            if isinstance(poller, LayeredPoller):
                poller.discard(fd)
            poller.set(fd, 0)

    def mute(self, fd: int) -> None:
        """Don't read from `fd`, whatever its channel says, until `unmute`."""
        self._muted.add(fd)
        self.to_ask.add(fd)

    def unmute(self, fd: int) -> None:
        """Read from `fd` again, if its channel wants to."""
        self._muted.discard(fd)
        self.to_ask.add(fd)

    # -- predicates -----------------------------------------------------------------------------

    def _classify(self, fd: int, channel: Any) -> int:
        """Find out which predicates of a channel are its own."""
        cls = type(channel)
        kind = self._kinds.get(cls)
        if kind is None:
            kind = self._kinds[cls] = own_predicates(cls)
            if not kind and all(hasattr(cls, name) for name in _STATE):
                self._simple[cls] = cls.readable, cls.writable
        if kind != OWN_BOTH:
            if is_assigned(channel, cls, "readable"):
                kind |= OWN_READABLE
            if is_assigned(channel, cls, "writable"):
                kind |= OWN_WRITABLE
        if kind:
            self._sweeps.set(fd, kind, channel)
        else:
            self._sweeps.remove(fd)
        if kind:
            self.reporting.pop(fd, None)
        else:
            self.reporting[fd] = channel
        return kind

    def reports(self, fd: int, channel: Any) -> bool:
        """Whether the channel under `fd` need not be asked before it is read from again."""
        known: Any = self.channels.get(fd)
        if known is not channel:
            return False
        simple = self._simple.get(type(known))
        if simple is not None:
            return getattr(known.readable, "__func__", None) is simple[0]
        return not self._sweeps.kinds.get(fd, 0) & OWN_READABLE and not is_assigned(
            channel, type(channel), "readable"
        )

    # -- descriptors closed by others -----------------------------------------------------------

    def bury_closed(self) -> None:
        """Find the channels whose sockets were closed by others, before there is a poller."""
        for fd, channel in list(self.map.items()):
            if sys.platform == "win32":
                return  # a socket is no descriptor there, and a poller has none
            if getattr(channel, "socket", None) is not None and isinstance(fd, int) and fd >= 0:
                try:
                    os.fstat(fd)
                except OSError:
                    self.vanished(fd, channel)

    def vanished(self, fd: int, channel: Any) -> None:
        """Tell a channel that its descriptor was closed by somebody else."""
        self.forget(fd)
        if not self._holds(fd, channel):
            return
        self.review_needed = True
        sock = getattr(channel, "socket", None)
        if getattr(channel, "_fileno", fd) != fd and not has_descriptor(fd):
            # It lives on under another number: only this entry is out of date.
            del self.map[fd]
            return
        try:
            channel.handle_close()
        except RERAISED:
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            channel.handle_error()
        if self._holds(fd, channel) and getattr(channel, "socket", None) is sock:
            del self.map[fd]  # neither closed nor connected anew

    def _holds(self, fd: int, channel: object) -> bool:
        return self.map.get(fd) is channel
