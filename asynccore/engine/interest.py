"""What the channels of a map want, and telling the poller where it changed.

Facts. Asking every channel whether it wants to read or write, and building the poll set anew,
costs more than the work itself as soon as most connections are idle. But programs override the
predicates and give them side effects, keep plain dicts as maps and change them directly, store
objects in them that are no dispatchers, and close descriptors behind the loop's back.

Consequence. The poller is told only of differences.

- A channel with the predicates of this package is asked again when it reported a change (`touch`)
  and when it had an event.
- A channel with a predicate of its own is asked before every wait, unless the predicate only
  reads what reports its changes, or nothing, as so many do (`predicates`).
- What ran between two calls of `loop()` or `poll()` may have assigned anything, so on entering,
  the answers of all channels are compared; and once a second, if anything ran, everything is
  classified, asked and verified anew.

Trade-off. What a handler assigns to *another* channel behind the package's back (a predicate on
the instance, a descriptor closed with `os.close`) may be noticed a second late.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable, Mapping
from errno import EBADF, EINVAL
from math import inf
from typing import Any

from .. import pollers
from ..channels import UNUSED, Channel, ChannelMap, Map, MapObserver, ReportingChannel, inspectors
from ..classic import rebinding
from ..errors import leaves_loop, reraised
from ..pollers import EVENTS_PER_PASS, PRIORITY, READ, WRITE, PollerLost
from ..pollers.fileobj import FileobjPoller, has_descriptor, number
from ..pollers.layered import LayeredPoller, layered_socket, waits_for
from . import foreign
from .channel_table import ChannelTable
from .predicates import is_assigned, own_predicates
from .sweeps import OWN_READABLE, OWN_WRITABLE

# How long an assignment behind the package's back may go unnoticed, in seconds.
REVIEW_INTERVAL = 1.0

# What the poller is told for a channel that reads, and for one that writes: select() watches
# both for exceptional conditions too.
READS = READ | PRIORITY
WRITES = WRITE | PRIORITY

# A batch of so many events may have left some out: kqueue joins two of one descriptor.
_FULL = EVENTS_PER_PASS // 2

_plain = socket.socket

_REQUIRED = ("readable", "writable", "accepting", "handle_read_event", "handle_write_event")


class Interest:
    """Keeps a poller informed of what the channels of a map wait for."""

    def __init__(
        self, map: Map, now: float, observer: Callable[[], MapObserver | None] | None = None
    ) -> None:
        self.map = map
        self.table = ChannelTable()
        self.poller: pollers.Poller | None = None
        self._observer = observer  # whom foreign channels are to report to
        self.holds_foreign = False  # or has held some
        self.reports_moves = isinstance(map, ChannelMap)  # else it is compared with `_seen`
        # What a map that reports holds anew, or no more.
        # In their order, which is the map's.
        self.map_changes: dict[int, None] = dict.fromkeys(map) if self.reports_moves else {}
        self._seen: Mapping[int, Any] = {}
        self._compare_exactly = False
        self.compare_all = True  # code outside of handlers ran
        self.review_needed = False  # anything ran since the last review
        self.review_at = now + REVIEW_INTERVAL
        self.batch = 0  # how many events the batch has that is being handled
        # While batches are full: when the first of them was taken, and the events of all of them.
        self._full_batches: tuple[float, int] | None = None

    # -- before a wait --------------------------------------------------------------------------

    def settle(self, poller: pollers.Poller, now: float) -> bool:
        """Ask whom there is to ask, and tell the poller what changed.

        Returns whether more is to be asked before one may wait.
        """
        to_ask, sweeps = self.table.to_ask, self.table.sweeps
        # Once a second, what nobody reports is looked for: everything is asked anew.
        if self.review_needed and now >= self.review_at:
            self._review(poller, now)
        # Then the channels that came and went since the last wait are taken in and forgotten.
        self._sync(poller)
        if self.poller is not poller:
            return True  # One of them needs another kind of poller, which is told from the start.
        # Code outside of handlers may have assigned anything, so all answers are compared.
        if self.compare_all:
            self.compare_all = False
            self._compare_reporting(poller, now)
        # Channels that reported something, or had an event, are asked what they want now.
        if to_ask:
            self._ask_those_noted(poller)
        if not sweeps.kinds:
            return False
        # Programs' own predicates are asked before every wait.
        for fd, channel, kind, answer in sweeps.ask():
            self._apply(poller, fd, channel, kind, answer)
        # These may have changed the map, or other channels, which is then settled as well.
        self._sync(poller)
        if to_ask:
            self._ask_those_noted(poller)
        return sweeps.stale

    def is_known(self) -> bool:
        """Whether a map that doesn't report holds what it held when it was last compared."""
        return self.map == self._seen and not self._compare_exactly

    def is_settled(self, poller: pollers.Poller) -> bool:
        """Ask every channel, and tell the poller of the programs' own predicates.

        Returns false if there is more to be settled before one may wait.
        """
        table, told = self.table, poller.interest
        asked_always = table.asked_always
        for fd, channel in list(table.channels.items()):  # one of the instance may close channels
            present = told.get(fd, 0)
            kind = asked_always.get(fd, 0) if asked_always else 0
            if kind & OWN_READABLE:
                pass
            elif channel.readable():
                if not present & READ and fd not in table.paused:
                    table.to_ask[fd] = None
            elif present & READ:
                table.to_ask[fd] = None
            if kind & OWN_WRITABLE:
                pass
            elif channel.writable():
                if not present & WRITE and not channel.accepting:
                    table.to_ask[fd] = None
            elif present & WRITE:
                table.to_ask[fd] = None
        if asked_always and not table.to_ask:
            for fd, channel, kind, answer in table.sweeps.ask():
                self._apply(poller, fd, channel, kind, answer)
        return (
            not (table.to_ask or self.map_changes or table.sweeps.stale) and self.poller is poller
        )

    def _sync(self, poller: pollers.Poller) -> None:
        """Compare what was asked with what the map holds."""
        map = self.map
        if self.reports_moves:
            map_changes, channels = self.map_changes, self.table.channels
            plainly = (
                self.poller is poller and not isinstance(poller, LayeredPoller) and not inspectors
            )
            for fd in list(map_changes):
                if map_changes.pop(fd, True):
                    continue  # it was forgotten meanwhile
                channel = map.get(fd)
                known = channels.get(fd)
                if known is not None:
                    if known is channel:
                        self.table.to_ask[fd] = None  # it has entered once more
                        continue
                    self.forget(fd)
                if channel is None or (plainly and self._enter_simply(poller, fd, channel)):
                    continue
                try:
                    self._adopt(fd, channel)
                except TypeError:
                    map_changes[fd] = None  # it is no better the next time
                    raise
                plainly = False  # else those behind would be before it in the poller
            return
        for fd in list(self.map_changes):
            # The same object may be another channel by now.
            del self.map_changes[fd]
            self.forget(fd)
        if map == self._seen and not (self._compare_exactly and self._differs()):
            return
        for fd in [fd for fd in self.table.channels if fd not in map]:
            self.forget(fd)
        for fd, channel in list(map.items()):
            if self.table.channels.get(fd) is not channel:
                self.forget(fd)
                self._adopt(fd, channel)
        self._seen = dict(map)

    def _differs(self) -> bool:
        """Compare by identity: two channels may call themselves equal."""
        return any(self._seen.get(fd) is not channel for fd, channel in self.map.items())

    def _enter_simply(self, poller: pollers.Poller, fd: int, channel: ReportingChannel) -> bool:
        """Take in a channel that only wants to read, as nearly all do, without a detour.

        Returns whether that could be done; if not, it is still to be adopted.
        """
        table = self.table
        simple = table.simple.get(type(channel))
        if (
            simple is None
            or channel._ac_pause_reasons
            or channel._ac_times is not None
            or type(channel.socket) is not _plain
            or type(fd) is not int
            or (table.paused and fd in table.paused)
        ):
            return False
        readable: Any = channel.readable
        writable: Any = channel.writable
        try:
            if readable.__func__ is not simple[0] or writable.__func__ is not simple[1]:
                return False
        except AttributeError:
            return False
        # A predicate may raise, and then the channel has to be known already.
        table.channels[fd] = table.reporting[fd] = channel
        if not readable() or (writable() and not channel.accepting):
            return False
        try:
            poller.set(fd, READS)
        except (OSError, ValueError):
            return False  # it is told as all are
        table.read_only[fd] = channel
        if table.timed:
            table.timed.pop(fd, None)
        return True

    def _adopt(self, fd: int, channel: Channel) -> None:
        cls = type(channel)
        if cls not in self.table.kinds:
            missing = [name for name in _REQUIRED if not hasattr(channel, name)]
            if missing:
                raise TypeError(
                    f"the map holds {channel!r} under {fd!r}, which can't be a channel: "
                    f"it lacks {', '.join(missing)}"
                )
            if cls.__eq__ is not object.__eq__:
                self._compare_exactly = True
        self.table.add(fd, channel)
        if has_descriptor(fd):
            self._know_keys()
        if foreign.is_foreign(channel):
            self.holds_foreign = True
            if not self.reports_moves and self._observer is not None:
                foreign.follow(channel, self.map, self._observer())

    def _compare_reporting(self, poller: pollers.Poller, now: float) -> None:
        """Find, on entering, the channels whose predicates or answers changed without a report."""
        table, told = self.table, poller.interest
        if any(own_predicates(cls) != kind for cls, kind in table.kinds.items()):
            self._review(poller, now)  # a class has got another predicate
            return
        table.to_ask.update(
            {
                fd: None
                for fd, channel in table.reporting.items()
                if (
                    is_assigned(channel, type(channel), "readable")
                    or is_assigned(channel, type(channel), "writable")
                    or (
                        (READS if channel.readable() else 0) | (WRITES if channel.writable() else 0)
                    )
                    != told.get(fd, 0)
                )
            }
        )
        table.to_ask.update(dict.fromkeys(table.asked_always))

    def _ask_those_noted(self, poller: pollers.Poller) -> None:
        """Ask the channels to which something happened, for predicates that are not their own."""
        table = self.table
        channels, to_ask = table.channels, table.to_ask
        noted = list(to_ask)
        for fd in noted:
            if to_ask.pop(fd, True):
                continue  # it was forgotten meanwhile
            channel = channels.get(fd)
            if channel is None:
                continue
            kind = table.classify(fd, channel)
            self._look_at_socket(fd, channel)
            if self.poller is not poller:
                to_ask[fd] = None
                return  # begun anew with another one
            present = poller.interest.get(fd, 0)
            if kind:
                table.sweeps.unsettle(fd)
            if kind & OWN_READABLE:
                if not present and len(noted) > 1:
                    present = self._keep_place(poller, fd)
                mask = present & READ
            else:
                mask = READ if channel.readable() else 0
            if kind & OWN_WRITABLE:
                mask |= present & WRITE
            elif channel.writable():
                mask |= WRITE
            self._tell(poller, fd, channel, mask)
            if not kind and poller.interest.get(fd) == READS and channels.get(fd) is channel:
                table.read_only[fd] = channel
            else:
                table.read_only.pop(fd, None)

    def _keep_place(self, poller: pollers.Poller, fd: int) -> int:
        """Have a new channel in the poller before those behind it, though it is asked later.

        Returns what it is watched for.
        """
        if isinstance(fd, int) and fd >= 0:
            try:
                poller.set(fd, READS)
            except (OSError, ValueError):
                pass  # it is told as all are, if it wants to be watched at all
        return poller.interest.get(fd, 0)

    def _apply(
        self, poller: pollers.Poller, fd: int, channel: Channel, kind: int, answer: int
    ) -> None:
        """Tell the poller of an answer from a sweep."""
        if self.table.channels.get(fd) is channel:  # else closed by a predicate
            present = poller.interest.get(fd, 0)
            if not kind & OWN_READABLE:
                answer |= present & READ
            elif not kind & OWN_WRITABLE:
                answer |= present & WRITE
            self._tell(poller, fd, channel, answer)

    def _tell(self, poller: pollers.Poller, fd: int, channel: Channel, mask: int) -> None:
        table = self.table
        if mask & WRITE and channel.accepting:
            mask &= ~WRITE
        if table.paused and fd in table.paused:
            mask = self._while_paused(channel, mask)
        if mask and fd not in table.urgent:
            mask |= PRIORITY
        present = poller.interest.get(fd, 0)
        if mask == present:
            return
        if table.timed and (mask ^ present) & WRITE and fd in table.timed:
            table.timed[fd].wants_to_write(bool(mask & WRITE))
        if not isinstance(fd, int) and has_descriptor(fd) and number(fd) >= 0:
            self._know_keys()
        elif not isinstance(fd, int) or fd < 0:
            raise ValueError(
                f"{channel!r} wants to be watched, but the map holds it under {fd!r}, which is no "
                "descriptor: answer False in readable() and writable(), or open a socket first"
            )
        if self.poller is not poller:
            return  # this is a forked child, which begins anew
        try:
            poller.set(fd, mask)
        except OSError as why:
            if poller.is_lost():
                raise PollerLost from None
            # epoll says EINVAL where it has got the number of a closed descriptor itself.
            if why.errno in (EBADF, EINVAL):
                self.vanished(fd, channel)
            else:
                self._refuse(fd, channel)
        except ValueError:
            self._refuse(fd, channel)

    @staticmethod
    def _while_paused(channel: Channel, mask: int) -> int:
        """Return what is left to wait for of `mask`."""
        if not getattr(channel, "_ac_pause_reasons", 0) & UNUSED:
            return mask & ~READ
        reporting: ReportingChannel = channel  # type: ignore[assignment]  # it says so
        if not reporting._ac_is_unused():
            # The program has used it itself, and told nobody: it is asked again at once.
            reporting._ac_unmute(UNUSED)
        return 0

    def _refuse(self, fd: int, channel: Channel) -> None:
        """Tell a channel, once, that the poller can't watch it."""
        if fd not in self.table.refused:
            self.table.refused.add(fd)
            channel.handle_error()

    def may_change_unreported(self) -> bool:
        """Whether a channel may come, go or want something else without a report."""
        return bool(
            self.table.asked_always
            or self.holds_foreign
            or not (self.reports_moves or self.table.channels)
        )

    def forget(self, fd: int) -> None:
        """Stop watching `fd`, which may be closed next."""
        if self.table.forget(fd) and self._seen:
            self._seen = {}  # so that the same object under the same number is adopted anew
        poller = self.poller
        if poller is not None:
            if isinstance(poller, LayeredPoller):
                poller.discard(fd)
            poller.set(fd, 0)

    def seen_until(self, began: float, found: int) -> float:
        """Return up to when all events were looked at, after a wait that began at a time.

        A batch that is full may have left some out. Pollers report what they left out before what
        they have reported, so there is none any more after as many events as there are channels.
        """
        if found < _FULL:
            self._full_batches = None
            return began
        since, reported = self._full_batches or (began, 0)
        reported += found
        if self.poller is not None and reported < len(self.poller.interest):
            self._full_batches = since, reported
            return -math.inf
        self._full_batches = None
        return since

    # -- descriptors closed by others -----------------------------------------------------------

    def _review(self, poller: pollers.Poller, now: float) -> None:
        """Ask everything anew, for what was assigned or closed behind the package's back."""
        rebinding.look()
        self.review_needed = False
        self.review_at = now + REVIEW_INTERVAL
        self.table.kinds.clear()
        self.table.simple.clear()
        self.table.to_ask.update(dict.fromkeys(self.table.channels))
        for fd in list(poller.interest):
            if fd in poller.interest and not poller.verify(fd):
                channel = self.table.channels.get(fd)
                if channel is None:
                    poller.set(fd, 0)
                else:
                    self.vanished(fd, channel)

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

    def vanished(self, fd: int, channel: Channel) -> None:
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
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            channel.handle_error()
        if self._holds(fd, channel) and getattr(channel, "socket", None) is sock:
            del self.map[fd]  # neither closed nor connected anew

    def _holds(self, fd: int, channel: Channel) -> bool:
        return self.map.get(fd) is channel

    # -- keys that are no descriptors, and sockets that are layered -----------------------------

    def _know_keys(self) -> None:
        """Have a poller that knows keys with a descriptor."""
        poller = self.poller
        if isinstance(poller, LayeredPoller):
            if not isinstance(poller.real, FileobjPoller):
                poller.real = FileobjPoller(poller.real)
        elif poller is not None and not isinstance(poller, FileobjPoller):
            self.poller = FileobjPoller(poller)
            self.table.to_ask.update(dict.fromkeys(self.table.channels))

    def _look_at_socket(self, fd: int, channel: Channel) -> None:
        """Have a poller that knows layered sockets, if a channel has such a one."""
        if inspectors:
            try:
                for inspect in inspectors:
                    inspect(channel)
            except BaseException:
                self.table.to_ask[fd] = None  # it is no better the next time
                raise
        sock = getattr(channel, "socket", None)
        poller = self.poller
        if isinstance(poller, LayeredPoller):
            poller.add(fd, sock, self.map)
        elif type(sock) is not socket.socket and poller is not None and layered_socket(sock):
            self.poller = LayeredPoller(poller)
            self.table.to_ask.update(dict.fromkeys(self.table.channels))

    def must_wait(self, fd: int, channel: Channel, why: BaseException, doing: int) -> bool:
        """Whether an exception says no more than that a TLS socket must wait.

        It came out of the handler for `READ` or `WRITE`, or out of a call that does this.
        """
        mask = waits_for(why)
        if mask and self._holds(fd, channel):
            self.table.to_ask[fd] = None
            self._look_at_socket(fd, channel)
            if isinstance(self.poller, LayeredPoller):
                self.poller.add(fd, getattr(channel, "socket", None), self.map)
                self.poller.set_wait(fd, mask, doing)
        return bool(mask)

    def recover(self) -> None:
        """Have everything looked at anew, for an exception may have come between two steps."""
        table = self.table
        if self.reports_moves:
            self.map_changes.update(dict.fromkeys([*table.channels, *self.map]))
        self._seen = {}
        self.compare_all = self.review_needed = True
        self.review_at = -inf
        table.recover()

    # -- the poller -----------------------------------------------------------------------------

    def attach(self, poller: pollers.Poller) -> None:
        """Begin anew with a poller that knows nothing."""
        self.poller = poller
        poller.innermost.order = self.map
        self.table.read_only.clear()
        self.table.to_ask.update(dict.fromkeys(self.table.channels))

    def release(self) -> None:
        """Give the poller's descriptor back while there is nothing to watch."""
        if self.poller is not None:
            self.poller.give_up()
            self.poller = None
        self.table.clear()
        self._seen = {}
        self.holds_foreign = False
