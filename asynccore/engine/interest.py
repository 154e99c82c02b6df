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

import socket
from errno import EBADF, EINVAL
from typing import Any

from .. import pollers
from ..channels import inspectors
from ..dispatchers.timeouts import ChannelTimes
from ..pollers import PRIORITY, READ, WRITE
from ..pollers.fileobj import FileobjPoller, has_descriptor, number
from ..pollers.layered import LayeredPoller, layered_socket, waits_for
from . import foreign
from .channel_table import REVIEW_INTERVAL, ChannelTable
from .predicates import is_assigned, own_predicates
from .sweeps import OWN_READABLE, OWN_WRITABLE

# What the poller is told for a channel that reads, and for one that writes: select() watches
# both for exceptional conditions too.
READS = READ | PRIORITY
WRITES = WRITE | PRIORITY

_plain = socket.socket

_REQUIRED = ("readable", "writable", "accepting", "handle_read_event", "handle_write_event")


class Interest(ChannelTable):
    """The channels of a map as the poller knows them."""

    # -- before a wait --------------------------------------------------------------------------

    def settle(self, poller: pollers.Poller, now: float) -> bool:
        """Ask whom there is to ask, and tell the poller what changed.

        Returns whether more is to be asked before one may wait.
        """
        if self.review_needed and now >= self.review_at:
            self._review(poller, now)
        self._sync(poller)
        if self.poller is not poller:
            return True  # begun anew with another one, which knows keys
        if self.compare_all:
            self.compare_all = False
            self._compare_reporting(poller)
        if self.to_ask:
            self._ask_those_noted(poller)
        if not self._sweeps.kinds:
            return False
        for fd, channel, kind, answer in self._sweeps.ask():
            self._apply(poller, fd, channel, kind, answer)
        # Predicates may have changed the map, or other channels.
        self._sync(poller)
        if self.to_ask:
            self._ask_those_noted(poller)
        return self._sweeps.stale

    def _sync(self, poller: pollers.Poller) -> None:
        """Compare what was asked with what the map holds."""
        map = self.map
        if self.reports_moves:
            map_changes, channels = self.map_changes, self.channels
            plainly = (
                self.poller is poller and not isinstance(poller, LayeredPoller) and not inspectors
            )
            while map_changes:
                fd = map_changes.pop()
                channel = map.get(fd)
                known = channels.get(fd)
                if known is not None:
                    if known is channel:
                        self.to_ask.add(fd)  # it has entered once more
                        continue
                    self.forget(fd)
                if channel is None or (plainly and self._enter_simply(poller, fd, channel)):
                    continue
                try:
                    self._adopt(fd, channel)
                except TypeError:
                    map_changes.add(fd)  # it is no better the next time
                    raise
            return
        while self.map_changes:
            self.forget(self.map_changes.pop())  # the same object may be another channel by now
        if map == self._seen and not (self._compare_exactly and self._differs()):
            return
        for fd in [fd for fd in self.channels if fd not in map]:
            self.forget(fd)
        for fd, channel in list(map.items()):
            if self.channels.get(fd) is not channel:
                self.forget(fd)
                self._adopt(fd, channel)
        self._seen = dict(map)

    def _differs(self) -> bool:
        """Compare by identity: two channels may call themselves equal."""
        return any(self._seen.get(fd) is not channel for fd, channel in self.map.items())

    def _enter_simply(self, poller: pollers.Poller, fd: int, channel: Any) -> bool:
        """Take in a channel that only wants to read, as nearly all do, without a detour.

        Returns whether that could be done; if not, it is still to be adopted.
        """
        simple = self._simple.get(type(channel))
        if (
            simple is None
            or channel._ac_pause_reasons
            or channel._ac_times is not None
            or type(channel.socket) is not _plain
            or type(fd) is not int
            or (self._muted and fd in self._muted)
        ):
            return False
        readable, writable = channel.readable, channel.writable
        try:
            if readable.__func__ is not simple[0] or writable.__func__ is not simple[1]:
                return False
        except AttributeError:
            return False
        self.channels[fd] = self.reporting[fd] = channel  # known, should a predicate raise
        if not readable() or (writable() and not channel.accepting):
            return False
        try:
            poller.set(fd, READS)
        except (OSError, ValueError):
            return False  # it is told as all are
        self.read_only[fd] = channel
        if self.timed:
            self.timed.pop(fd, None)
        return True

    def _adopt(self, fd: int, channel: Any) -> None:
        cls = type(channel)
        if cls not in self._kinds:
            missing = [name for name in _REQUIRED if not hasattr(channel, name)]
            if missing:
                raise TypeError(
                    f"the map holds {channel!r} under {fd!r}, which can't be a channel: "
                    f"it lacks {', '.join(missing)}"
                )
            if cls.__eq__ is not object.__eq__:  # type: ignore[comparison-overlap]
                self._compare_exactly = True
        self.channels[fd] = channel
        self.to_ask.add(fd)  # to be classified and asked
        if has_descriptor(fd):
            self._know_keys()
        if foreign.is_foreign(channel):
            self.holds_foreign = True
            if not self.reports_moves and self._engine is not None:
                foreign.follow(channel, self.map, self._engine())
        watch = getattr(channel, "_ac_times", None)
        if isinstance(watch, ChannelTimes):
            self.timed[fd] = watch
        else:
            self.timed.pop(fd, None)
        mutes = getattr(channel, "_ac_pause_reasons", 0)
        if isinstance(mutes, int) and mutes:  # an object may have an answer to any name
            self._muted.add(fd)
        else:
            self._muted.discard(fd)

    def _compare_reporting(self, poller: pollers.Poller) -> None:
        """Find, on entering, the channels whose predicates or answers changed without a report."""
        if any(own_predicates(cls) != kind for cls, kind in self._kinds.items()):
            self._kinds.clear()
            self._simple.clear()
            self.to_ask.update(self.channels)
            return
        interest = poller.interest
        self.to_ask.update(
            [
                fd
                for fd, channel in self.reporting.items()
                if (
                    is_assigned(channel, type(channel), "readable")
                    or is_assigned(channel, type(channel), "writable")
                    or (
                        (READS if channel.readable() else 0) | (WRITES if channel.writable() else 0)
                    )
                    != interest.get(fd, 0)
                )
            ]
        )
        self.to_ask.update(self._sweeps.kinds)

    def _ask_those_noted(self, poller: pollers.Poller) -> None:
        """Ask the channels to which something happened, for predicates that are not their own."""
        for _ in range(len(self.to_ask)):
            if not self.to_ask:
                return
            fd = self.to_ask.pop()
            channel = self.channels.get(fd)
            if channel is None:
                continue
            kind = self._classify(fd, channel)
            self._look_at_socket(fd, channel)
            if self.poller is not poller:
                self.to_ask.add(fd)
                return  # begun anew with another one
            present = poller.interest.get(fd, 0)
            if kind:
                self._sweeps.unsettle(fd)
            if kind & OWN_READABLE:
                mask = present & READ
            else:
                mask = READ if channel.readable() else 0
            if kind & OWN_WRITABLE:
                mask |= present & WRITE
            elif channel.writable():
                mask |= WRITE
            self._tell(poller, fd, channel, mask)
            if not kind and poller.interest.get(fd) == READS and self.channels.get(fd) is channel:
                self.read_only[fd] = channel
            else:
                self.read_only.pop(fd, None)

    def _apply(self, poller: pollers.Poller, fd: int, channel: Any, kind: int, answer: int) -> None:
        """Tell the poller of an answer from a sweep."""
        if self.channels.get(fd) is channel:  # else closed by a predicate
            present = poller.interest.get(fd, 0)
            if not kind & OWN_READABLE:
                answer |= present & READ
            elif not kind & OWN_WRITABLE:
                answer |= present & WRITE
            self._tell(poller, fd, channel, answer)

    def _tell(self, poller: pollers.Poller, fd: int, channel: Any, mask: int) -> None:
        if mask & WRITE and channel.accepting:
            mask &= ~WRITE
        if mask & READ and fd in self._muted:
            mask &= ~READ
        if mask:
            mask |= PRIORITY
        present = poller.interest.get(fd, 0)
        if mask == present:
            return
        if self.timed and (mask ^ present) & WRITE and fd in self.timed:
            self.timed[fd].wants_to_write(bool(mask & WRITE))
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
            # EINVAL: epoll itself has the number now.
            if why.errno in (EBADF, EINVAL):
                self.vanished(fd, channel)
            else:
                self._refuse(fd, channel)
        except ValueError:
            self._refuse(fd, channel)

    def _refuse(self, fd: int, channel: Any) -> None:
        """Tell a channel, once, that the poller can't watch it."""
        if fd not in self._refused:
            self._refused.add(fd)
            channel.handle_error()

    def may_change_unreported(self) -> bool:
        """Whether a channel may come, go or want something else without a report."""
        return bool(
            self.asked_always or self.holds_foreign or not (self.reports_moves or self.channels)
        )

    # -- descriptors closed by others -----------------------------------------------------------

    def _review(self, poller: pollers.Poller, now: float) -> None:
        """Ask everything anew, for what was assigned or closed behind the package's back."""
        self.review_needed = False
        self.review_at = now + REVIEW_INTERVAL
        self._kinds.clear()
        self._simple.clear()
        self.to_ask.update(self.channels)
        for fd in list(poller.interest):
            if fd in poller.interest and not poller.verify(fd):
                channel = self.channels.get(fd)
                if channel is None:
                    poller.set(fd, 0)
                else:
                    self.vanished(fd, channel)

    def _know_keys(self) -> None:
        """Have a poller that knows keys with a descriptor."""
        poller = self.poller
        if isinstance(poller, LayeredPoller):
            if not isinstance(poller.real, FileobjPoller):
                poller.real = FileobjPoller(poller.real)
        elif poller is not None and not isinstance(poller, FileobjPoller):
            self.poller = FileobjPoller(poller)
            self.to_ask.update(self.channels)

    # -- sockets with a will of their own -------------------------------------------------------

    def _look_at_socket(self, fd: int, channel: Any) -> None:
        if inspectors:
            try:
                for inspect in inspectors:
                    inspect(channel)
            except BaseException:
                self.to_ask.add(fd)  # it is no better the next time
                raise
        sock = getattr(channel, "socket", None)
        poller = self.poller
        if isinstance(poller, LayeredPoller):
            poller.add(fd, sock, self.map)
        elif type(sock) is not socket.socket and poller is not None and layered_socket(sock):
            self.poller = LayeredPoller(poller)
            self.to_ask.update(self.channels)

    def waits(self, fd: int, channel: Any, why: BaseException, doing: int) -> bool:
        """Whether an exception says no more than that a TLS socket must wait.

        It came out of the handler for `READ` or `WRITE`, or out of a call that does this.
        """
        mask = waits_for(why)
        if mask and self._holds(fd, channel):
            self.to_ask.add(fd)
            self._look_at_socket(fd, channel)
            if isinstance(self.poller, LayeredPoller):
                self.poller.add(fd, getattr(channel, "socket", None), self.map)
                self.poller.set_wait(fd, mask, doing)
        return bool(mask)

    # -- the poller -----------------------------------------------------------------------------

    def attach(self, poller: pollers.Poller) -> pollers.Poller:
        """Begin anew with a poller that knows nothing."""
        self.poller = poller
        self.read_only.clear()
        self.to_ask.update(self.channels)
        return poller

    def release(self) -> None:
        """Give the poller's descriptor back while there is nothing to watch."""
        if self.poller is not None:
            self.poller.close()
            self.poller = None
        self._sweeps.clear()
        for state in (
            self.channels,
            self.reporting,
            self.read_only,
            self.timed,
            self.to_ask,
            self._muted,
            self._refused,
        ):
            state.clear()
        self._seen = {}
        self.holds_foreign = False
