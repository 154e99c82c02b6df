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

import os
import socket
import sys
from collections.abc import Callable, Mapping
from errno import EBADF, EINVAL
from typing import TYPE_CHECKING, Any

from . import foreign, pollers
from .channels import REPORTING_PREDICATES, ChannelMap, Map
from .errors import RERAISED, leaves_loop
from .pollers import PRIORITY, READ, WRITE
from .predicates import reports_its_changes
from .sweeps import OWN_BOTH, OWN_READABLE, OWN_WRITABLE, Sweeps
from .timeouts import Watch
from .wrapped import WrappedPoller, direction, wrapped

if TYPE_CHECKING:
    from .engine import Engine

# How long an assignment behind the package's back may go unnoticed, in seconds.
REVIEW_INTERVAL = 1.0

# What the poller is told for a channel that reads, and for one that writes: select() watches
# both for exceptional conditions too.
READS = READ | PRIORITY
WRITES = WRITE | PRIORITY

# What `_enter_simply` reads of a channel, which is in the classes of this package.
_STATE = ("_ac_mutes", "_ac_watch", "accepting", "socket")

_plain = socket.socket

_REQUIRED = ("readable", "writable", "accepting", "handle_read_event", "handle_write_event")


class Interest:
    """The channels of a map as the poller knows them."""

    def __init__(
        self, map: Map, now: float, engine: Callable[[], Engine | None] | None = None
    ) -> None:
        self.map = map
        self._engine = engine  # whom foreign channels are to report to
        self.holds_foreign = False  # or has held some
        self.poller: pollers.Poller | None = None
        self.asked: dict[int, Any] = {}
        self.quiet: dict[int, Any] = {}  # those of `asked` with no predicate of their own
        self.readers: dict[int, Any] = {}  # those of `quiet` that wait for reading alone
        self.dirty: set[int] = set()  # to be asked before the next wait
        # What a map that reports holds anew, or no more.
        self.moved: set[int] = set(map) if isinstance(map, ChannelMap) else set()
        self.gone: set[int] = set()  # forgotten since the present batch of events was taken
        self.entering = True  # code outside of handlers ran
        self.stirred = False  # anything ran since the last review
        self.review_at = now + REVIEW_INTERVAL
        self.reports_moves = isinstance(map, ChannelMap)  # else it is compared with `_seen`
        self._seen: Mapping[int, Any] = {}
        self._compare_exactly = False
        self.timed: dict[int, Watch] = {}  # the channels with timeouts
        self._sweeps = Sweeps()
        self.swept = self._sweeps.kinds
        self._muted: set[int] = set()
        self._refused: set[int] = set()  # the poller can't watch them
        self._kinds: dict[type, int] = {}
        # Of those without a predicate of their own, the predicates: what `_enter_simply` knows.
        self._simple: dict[type, tuple[Any, Any]] = {}

    # -- reports --------------------------------------------------------------------------------

    def forget(self, fd: int) -> None:
        """Stop watching `fd`, which may be closed next."""
        if self.asked.pop(fd, None) is not None:
            if self.quiet.pop(fd, None) is not None:
                self.readers.pop(fd, None)
            else:
                self._sweeps.remove(fd)
            self.gone.add(fd)
            if self._seen:
                self._seen = {}  # so that the same object under the same number is adopted anew
        if self.timed:
            self.timed.pop(fd, None)  # also of a channel that was gone before it was asked
        self.dirty.discard(fd)
        if self._muted:
            self._muted.discard(fd)
        if self._refused:
            self._refused.discard(fd)
        poller = self.poller
        if poller is not None:
            if isinstance(poller, WrappedPoller):
                poller.unwrap(fd)
            poller.set(fd, 0)

    def mute(self, fd: int) -> None:
        """Don't read from `fd`, whatever its channel says, until `unmute`."""
        self._muted.add(fd)
        self.dirty.add(fd)

    def unmute(self, fd: int) -> None:
        """Read from `fd` again, if its channel wants to."""
        self._muted.discard(fd)
        self.dirty.add(fd)

    # -- before a wait --------------------------------------------------------------------------

    def settle(self, poller: pollers.Poller, now: float) -> bool:
        """Ask whom there is to ask, and tell the poller what changed.

        Returns whether more is to be asked before one may wait.
        """
        if self.stirred and now >= self.review_at:
            self._review(poller, now)
        self._sync(poller)
        if self.entering:
            self.entering = False
            self._compare_quiet(poller)
        if self.dirty:
            self._ask_dirty(poller)
        if not self._sweeps.kinds:
            return False
        for fd, channel, kind, answer in self._sweeps.ask():
            self._apply(poller, fd, channel, kind, answer)
        # Predicates may have changed the map, or other channels.
        self._sync(poller)
        if self.dirty:
            self._ask_dirty(poller)
        return self._sweeps.stale

    def _sync(self, poller: pollers.Poller) -> None:
        """Compare what was asked with what the map holds."""
        map = self.map
        if self.reports_moves:
            moved, asked = self.moved, self.asked
            plainly = self.poller is poller and not isinstance(poller, WrappedPoller)
            while moved:
                fd = moved.pop()
                channel = map.get(fd)
                known = asked.get(fd)
                if known is not None:
                    if known is channel:
                        self.dirty.add(fd)  # it has entered once more
                        continue
                    self.forget(fd)
                if channel is None or (plainly and self._enter_simply(poller, fd, channel)):
                    continue
                try:
                    self._adopt(fd, channel)
                except TypeError:
                    moved.add(fd)  # it is no better the next time
                    raise
            return
        while self.moved:
            self.forget(self.moved.pop())  # the same object may be another channel by now
        if map == self._seen and not (self._compare_exactly and self._differs()):
            return
        for fd in [fd for fd in self.asked if fd not in map]:
            self.forget(fd)
        for fd, channel in list(map.items()):
            if self.asked.get(fd) is not channel:
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
            or channel._ac_mutes
            or channel._ac_watch is not None
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
        self.asked[fd] = self.quiet[fd] = channel  # known, should a predicate raise
        if not readable() or (writable() and not channel.accepting):
            return False
        try:
            poller.set(fd, READS)
        except (OSError, ValueError):
            return False  # it is told as all are
        self.readers[fd] = channel
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
        self.asked[fd] = channel
        self.dirty.add(fd)  # to be classified and asked
        if foreign.is_foreign(channel):
            self.holds_foreign = True
            if not self.reports_moves and self._engine is not None:
                foreign.follow(channel, self.map, self._engine())
        watch = getattr(channel, "_ac_watch", None)
        if watch is not None:
            self.timed[fd] = watch
        else:
            self.timed.pop(fd, None)
        if getattr(channel, "_ac_mutes", 0):
            self._muted.add(fd)
        else:
            self._muted.discard(fd)

    def _classify(self, fd: int, channel: Any) -> int:
        """Find out which predicates of a channel are its own."""
        cls = type(channel)
        kind = self._kinds.get(cls)
        if kind is None:
            kind = self._kinds[cls] = _own_predicates(cls)
            if not kind and all(hasattr(cls, name) for name in _STATE):
                self._simple[cls] = cls.readable, cls.writable
        if kind != OWN_BOTH:
            if _is_assigned(channel, cls, "readable"):
                kind |= OWN_READABLE
            if _is_assigned(channel, cls, "writable"):
                kind |= OWN_WRITABLE
        if kind:
            self._sweeps.set(fd, kind, channel)
        else:
            self._sweeps.remove(fd)
        if kind:
            self.quiet.pop(fd, None)
        else:
            self.quiet[fd] = channel
        return kind

    def reports(self, fd: int, channel: Any) -> bool:
        """Whether the channel under `fd` need not be asked before it is read from again."""
        known: Any = self.asked.get(fd)
        if known is not channel:
            return False
        simple = self._simple.get(type(known))
        if simple is not None:
            return getattr(known.readable, "__func__", None) is simple[0]
        return not self._sweeps.kinds.get(fd, 0) & OWN_READABLE and not _is_assigned(
            channel, type(channel), "readable"
        )

    def _compare_quiet(self, poller: pollers.Poller) -> None:
        """Find, on entering, the channels whose predicates or answers changed without a report."""
        if any(_own_predicates(cls) != kind for cls, kind in self._kinds.items()):
            self._kinds.clear()
            self._simple.clear()
            self.dirty.update(self.asked)
            return
        interest = poller.interest
        self.dirty.update(
            [
                fd
                for fd, channel in self.quiet.items()
                if (
                    _is_assigned(channel, type(channel), "readable")
                    or _is_assigned(channel, type(channel), "writable")
                    or (
                        (READS if channel.readable() else 0) | (WRITES if channel.writable() else 0)
                    )
                    != interest.get(fd, 0)
                )
            ]
        )
        self.dirty.update(self._sweeps.kinds)

    def _ask_dirty(self, poller: pollers.Poller) -> None:
        """Ask the channels to which something happened, for predicates that are not their own."""
        for _ in range(len(self.dirty)):
            if not self.dirty:
                return
            fd = self.dirty.pop()
            channel = self.asked.get(fd)
            if channel is None:
                continue
            kind = self._classify(fd, channel)
            self._look_at_socket(fd, channel)
            if self.poller is not poller:
                self.dirty.add(fd)
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
            if not kind and poller.interest.get(fd) == READS and self.asked.get(fd) is channel:
                self.readers[fd] = channel
            else:
                self.readers.pop(fd, None)

    def _apply(self, poller: pollers.Poller, fd: int, channel: Any, kind: int, answer: int) -> None:
        """Tell the poller of an answer from a sweep."""
        if self.asked.get(fd) is channel:  # else closed by a predicate
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
        if not isinstance(fd, int) or fd < 0:
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
        return bool(self.swept or self.holds_foreign or not (self.reports_moves or self.asked))

    # -- descriptors closed by others -----------------------------------------------------------

    def _review(self, poller: pollers.Poller, now: float) -> None:
        """Ask everything anew, for what was assigned or closed behind the package's back."""
        self.stirred = False
        self.review_at = now + REVIEW_INTERVAL
        self._kinds.clear()
        self._simple.clear()
        self.dirty.update(self.asked)
        for fd in list(poller.interest):
            if fd in poller.interest and not poller.verify(fd):
                channel = self.asked.get(fd)
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

    def vanished(self, fd: int, channel: Any) -> None:
        """Tell a channel that its descriptor was closed by somebody else."""
        self.forget(fd)
        if not self._holds(fd, channel):
            return
        self.stirred = True
        sock = getattr(channel, "socket", None)
        if getattr(channel, "_fileno", fd) != fd:
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

    # -- sockets with a will of their own -------------------------------------------------------

    def _look_at_socket(self, fd: int, channel: Any) -> None:
        sock = getattr(channel, "socket", None)
        poller = self.poller
        if isinstance(poller, WrappedPoller):
            poller.wrap(fd, sock, self.map)
        elif type(sock) is not socket.socket and poller is not None and wrapped(sock):
            self.poller = WrappedPoller(poller)
            self.dirty.update(self.asked)

    def waits(self, fd: int, channel: Any, why: BaseException) -> bool:
        """Whether what a handler let out says no more than that its TLS socket must wait."""
        mask = direction(why)
        if mask and self._holds(fd, channel):
            self.dirty.add(fd)
            self._look_at_socket(fd, channel)
            if isinstance(self.poller, WrappedPoller):
                self.poller.wrap(fd, getattr(channel, "socket", None), self.map)
                self.poller.waits_for(fd, mask)
        return bool(mask)

    # -- the poller -----------------------------------------------------------------------------

    def attach(self, poller: pollers.Poller) -> pollers.Poller:
        """Begin anew with a poller that knows nothing."""
        self.poller = poller
        self.readers.clear()
        self.dirty.update(self.asked)
        return poller

    def release(self) -> None:
        """Give the poller's descriptor back while there is nothing to watch."""
        if self.poller is not None:
            self.poller.close()
            self.poller = None
        self._sweeps.clear()
        for state in (
            self.asked,
            self.quiet,
            self.readers,
            self.timed,
            self.dirty,
            self._muted,
            self._refused,
        ):
            state.clear()
        self._seen = {}
        self.holds_foreign = False


def _is_assigned(channel: Any, cls: type, name: str) -> bool:
    """Whether an instance has a predicate of its own, in front of its class's.

    Not by `__dict__`: up to Python 3.12, looking at that makes every attribute slower for good.
    """
    found = getattr(channel, name, None)
    return getattr(found, "__func__", found) is not getattr(cls, name, None)


def _own_predicates(cls: type) -> int:
    kind = known = 0
    for name, bit in (("readable", OWN_READABLE), ("writable", OWN_WRITABLE)):
        predicate = getattr(cls, name, None)
        try:
            reports = predicate in REPORTING_PREDICATES
        except TypeError:  # unhashable
            reports = False
        if not reports and not reports_its_changes(predicate, cls):
            kind |= bit
        elif not reports and not reports_its_changes(predicate, object):
            known |= bit  # by the state that it reads, not as a constant
    # Beside one that is asked anyway, what handlers did to the other's state need not be found out.
    return kind | known if kind else 0
