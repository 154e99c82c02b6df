"""One pass over a map: ask, wait, dispatch, timers.

Facts. Asking every channel whether it wants to read or write, and building the poll set anew,
costs more than the work itself as soon as most connections are idle. But programs override the
predicates and give them side effects, keep plain dicts as maps and change them directly, store
objects in them that are no dispatchers, and close descriptors behind the loop's back.

Consequence. One poller per map is kept between passes and told only of differences.

- A channel with the predicates of this package is asked again when something happened to it: an
  event, or a change that it reported by `touch()`.
- A channel with a predicate of its own is asked before every wait, in one sweep whose answers are
  compared with the last ones.
- What ran between two calls of `loop()` or `poll()` may have assigned anything, so on entering,
  the answers of all channels are compared; and once a second, if anything ran, everything is
  classified, asked and verified anew.
- An event is delivered only to the object that was asked, and only while the map still holds it.
  That is looked at again after every call that leaves this module.

Trade-off. What a handler assigns to *another* channel behind the package's back (a predicate on
the instance, a descriptor closed with `os.close`) may be noticed a second late.

Readiness has the meaning that select(2) gives it, whatever the poller: a hang-up makes a channel
readable, an error makes it readable and writable. So the read handler finds the bytes that
arrived before the end, then the end itself, and the error in `recv` or `send`.

Threads. A thread that runs a pass holds `turn`. Other threads leave `errands`, or do them at once
if nobody holds it; so the state of a channel is touched by one thread at a time, and no callback
runs under a lock that its own effects need.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import weakref
from _thread import _count as _other_threads
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any

from . import logs, pollers
from .channels import REPORTING_PREDICATES, ChannelMap, Map
from .pollers import ERROR, HANGUP, INVALID, PRIORITY, READ, WRITE
from .timers import Timers
from .wakeup import Wakeup

# How long an assignment behind the package's back may go unnoticed, in seconds.
REVIEW_INTERVAL = 1.0

# What the poller is told for a channel that reads, and for one that writes: select() watches
# both for exceptional conditions too.
_READS = READ | PRIORITY
_WRITES = WRITE | PRIORITY
_BOTH = READ | WRITE

# Which predicates of a channel are asked before every wait.
_OWN_READABLE = 1
_OWN_WRITABLE = 2
_OWN_BOTH = _OWN_READABLE | _OWN_WRITABLE

_UNKNOWN = -1  # no answer of a predicate equals it

_REQUIRED = ("readable", "writable", "accepting", "handle_read_event", "handle_write_event")


class ExitNow(Exception):
    """Raised in a handler to leave `loop()`; the channels stay as they are (classic asyncore)."""


# What passes through the loop instead of being handed to `handle_error`.
RERAISED = (ExitNow, KeyboardInterrupt, SystemExit)


class _Sweep:
    """The channels that are asked for the same predicates before every wait."""

    __slots__ = ("answers", "channels", "fds", "index")

    def __init__(self) -> None:
        self.fds: list[int] = []
        self.channels: list[Any] = []
        self.index: dict[int, int] = {}
        self.answers: list[int] = []

    def add(self, fd: int, channel: Any) -> None:
        self.index[fd] = len(self.fds)
        self.fds.append(fd)
        self.channels.append(channel)
        self.answers.append(_UNKNOWN)

    def remove(self, fd: int) -> None:
        # The last one takes the place, so that churn among thousands stays cheap.
        place = self.index.pop(fd)
        last = self.fds.pop()
        channel = self.channels.pop()
        answer = self.answers.pop()
        if last != fd:
            self.index[last] = place
            self.fds[place] = last
            self.channels[place] = channel
            self.answers[place] = answer

    def unsettle(self, fd: int | None = None) -> None:
        """Apply the next answer, of one channel or of all, even if it is the same as the last."""
        if fd is None:
            self.answers = [_UNKNOWN] * len(self.fds)
        elif fd in self.index:
            self.answers[self.index[fd]] = _UNKNOWN

    def ask(self, kind: int) -> list[int]:
        # One comprehension per kind: with thousands of channels this is most of a pass.
        if kind == _OWN_BOTH:
            return [
                (1 if channel.readable() else 0) | (4 if channel.writable() else 0)
                for channel in self.channels
            ]
        if kind == _OWN_READABLE:
            return [1 if channel.readable() else 0 for channel in self.channels]
        return [4 if channel.writable() else 0 for channel in self.channels]


assert (READ, WRITE) == (1, 4)  # as `_Sweep.ask` spells them


class Engine:
    """Polls and dispatches for one map."""

    def __init__(self, map: Map, clock: Callable[[], float] = time.monotonic) -> None:
        self.map = map
        self.clock = clock
        self.timers = Timers(clock)
        self.passes = 0
        self.events = 0
        self.stopping = False
        self.poller: pollers.Poller | None = None
        self.wakeup: Wakeup | None = None
        self.calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.errands: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self.turn = threading.RLock()
        self.owner: int | None = None  # the thread that holds `turn`
        self._wake_lock = threading.Lock()
        self._reports = isinstance(map, ChannelMap)  # else it is compared with `_seen`
        self._seen: dict[int, Any] = {}
        self._moved: set[int] = set(map) if self._reports else set()
        self._dirty: set[int] = set()
        self._muted: set[int] = set()
        self._asked: dict[int, Any] = {}
        self._quiet: dict[int, Any] = {}  # those of `_asked` that report their changes
        self._own: dict[int, int] = {}  # the others, and which predicates are their own
        self._sweeps: dict[int, _Sweep] = {}
        self._sweeps_stale = False
        self._sweeping = 0
        self._gone: set[int] = set()  # since the present batch of events was taken
        self._kinds: dict[type, int] = {}
        self._compare_exactly = False
        self._entering = True
        self._ran = False
        self._again = False
        self._review_at = clock() + REVIEW_INTERVAL
        _engines.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled or copied dispatcher finds the engine of its map anew.
        return type(None), ()

    # -- what channels and maps report ---------------------------------------------------------

    def added(self, fd: int) -> None:
        """Note that the map now holds another object under `fd`."""
        self._moved.add(fd)
        if self.owner is not None and self.owner != get_ident():
            self.wake()

    def removed(self, fd: int) -> None:
        """Stop watching `fd`, which the map no longer holds and which may be closed next."""
        if self.owner is not None and self.owner != get_ident():
            self.run_on_loop(self._moved.add, fd)
        else:
            self._forget(fd)

    def touch(self, fd: int | None) -> None:
        """Ask the channel under `fd` again before the next wait."""
        if fd is None:
            return
        if self.owner is not None and self.owner != get_ident():
            self.run_on_loop(self._dirty.add, fd)
        else:
            self._dirty.add(fd)

    def mute(self, fd: int | None, seconds: float | None = None) -> None:
        """Don't read from `fd`, whatever its channel says: for so long, or until `unmute`."""
        if fd is not None:
            self._muted.add(fd)
            self.touch(fd)
            if seconds is not None:
                self.timers.call_later(seconds, self.unmute, fd)

    def unmute(self, fd: int) -> None:
        """Read from `fd` again, if its channel wants to."""
        self._muted.discard(fd)
        self.touch(fd)

    def use(self, name: str | None) -> None:
        """Use the named poller from the next wait on; `None` keeps the present one."""
        if name is None or (self.poller is not None and self.poller.name == name):
            return
        fresh = pollers.make(name)
        with self.turn:
            if self.poller is not None:
                self.poller.close()
            self._attach(fresh)

    def keep(self) -> None:
        """Stay until the timers and callbacks are done, though no channel holds the engine."""
        if not self._reports:
            _kept.add(self)

    # -- other threads --------------------------------------------------------------------------

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any) -> None:
        """Run a callback on the thread of the loop, in its present or next pass."""
        self.calls.append((callback, args))
        self.wake()

    def run_on_loop(self, function: Callable[..., object], *args: Any) -> None:
        """Run a function where it can't meet a pass: here and now, or on the loop's thread."""
        if self.owner == get_ident():
            function(*args)
            return
        self.errands.append((function, args))
        self.wake()
        self._run_errands_here()

    def _run_errands_here(self) -> None:
        # After every release somebody looks again, so that nothing is left behind by a loop
        # that ended between an append and its last look.
        while self.errands and self.turn.acquire(blocking=False):
            before, self.owner = self.owner, get_ident()
            try:
                while self.errands:
                    function, args = self.errands.popleft()
                    function(*args)
            finally:
                self.owner = before
                self.turn.release()

    def wake(self) -> None:
        """End the present wait, if there is one. Safe from any thread."""
        with self._wake_lock:
            if self.wakeup is not None:
                self.wakeup.set()

    # -- one pass -------------------------------------------------------------------------------

    def enter(self) -> None:
        """Note that code outside of handlers ran, which may have assigned anything."""
        self._entering = True

    def run_pass(self, timeout: float | None) -> None:
        """Wait up to `timeout` seconds for events (`None`: for ever) and dispatch one batch.

        Due timers and the callbacks of other threads run too. What `handle_error` raises, what a
        predicate raises, and `ExitNow`, `KeyboardInterrupt` and `SystemExit` come out.
        """
        with self.turn:
            before, self.owner = self.owner, get_ident()
            try:
                self._pass(timeout)
            finally:
                self.owner = before
                if before is None:
                    if not self.map:
                        self._release()
                    if self in _kept and not (self.calls or len(self.timers)):
                        _kept.discard(self)
        if self.errands:
            self._run_errands_here()

    def _pass(self, timeout: float | None) -> None:
        self.passes += 1
        if self.calls or self.errands:
            self._run_calls()
        now = self.clock()
        deadline = None if timeout is None else now + timeout
        while True:
            poller = self._ask(now)
            if not self.map:
                return
            limit = deadline
            due = self.timers.next()
            if due is not None and (limit is None or due < limit):
                limit = due
            if self._ran and (limit is None or self._review_at < limit):
                limit = self._review_at
            if self._again or self.calls or self.errands:
                events = poller.wait(0)
            else:
                events = poller.wait(None if limit is None else max(0.0, limit - self.clock()))
            if events:
                self._dispatch(events)
                break
            now = self.clock()
            if (
                self.calls
                or self.errands
                or (due is not None and due <= now)
                or (deadline is not None and deadline <= now)
            ):
                break
        if self.calls or self.errands:
            self._run_calls()
        if len(self.timers):
            self._run_timers()

    def _dispatch(self, events: list[pollers.Event]) -> None:
        asked = self._asked
        map = self.map
        dirty = self._dirty
        serial = self.passes
        self._gone.clear()
        self._ran = True
        self.events += len(events)
        for fd, mask in events:
            channel = asked.get(fd)
            if channel is None:
                self._unknown(fd)
                continue
            if map.get(fd) is not channel:
                continue
            dirty.add(fd)
            try:
                if mask == READ:
                    channel.handle_read_event()
                else:
                    self._deliver(fd, channel, mask, serial)
            except RERAISED:
                raise
            except BaseException:
                channel.handle_error()
            if self.passes != serial:
                # A handler ran a loop of its own: the rest of this batch is out of date.
                break

    def _deliver(self, fd: int, channel: Any, mask: int, serial: int) -> None:
        if mask & INVALID:
            self._vanished(fd, channel)
            return
        interest = self.poller.interest.get(fd, 0) if self.poller is not None else 0
        if mask & (ERROR | HANGUP):
            # As select(2) has it. To a channel that only writes, a hang-up means an error too.
            mask |= interest & _BOTH
        elif not mask & interest:
            return
        if mask & READ:
            channel.handle_read_event()
            if not self._still(fd, channel, serial):
                return
        if mask & WRITE:
            channel.handle_write_event()
            if not self._still(fd, channel, serial):
                return
        if mask & PRIORITY:
            channel.handle_expt_event()
            if not self._still(fd, channel, serial):
                return
        if mask & HANGUP and not interest & READ and not getattr(channel, "connected", True):
            # A peer that was gone before we knew it, on a channel that never reads: it would be
            # writable for ever.
            if not getattr(channel, "connecting", False):
                channel.handle_close()

    def _still(self, fd: int, channel: Any, serial: int) -> bool:
        """Look again, after a handler ran, whether the rest of an event is for this channel."""
        return (
            self.passes == serial
            and self._asked.get(fd) is channel
            and self.map.get(fd) is channel
        )

    def _unknown(self, fd: int) -> None:
        if self.wakeup is not None and fd == self.wakeup.fileno():
            self.wakeup.clear()
            return
        if self.poller is None or fd in self._gone:
            return
        if fd in self.poller.interest:
            self.poller.set(fd, 0)
        else:
            # A duplicate of a closed descriptor lives on in the kernel's set, where its old
            # number can't reach it. A new set is the only way to be rid of it.
            self._renew()

    def _renew(self) -> None:
        assert self.poller is not None
        name = self.poller.name
        self.poller.close()
        self._attach(pollers.make(name))

    def _run_calls(self) -> None:
        self._ran = True
        while self.errands:
            function, args = self.errands.popleft()
            function(*args)
        # Only those that wait now: a callback that calls for itself must not keep events out.
        for _ in range(len(self.calls)):
            function, args = self.calls.popleft()
            self._call(function, args)

    def _run_timers(self) -> None:
        now = self.clock()
        while (timer := self.timers.pop_due(now)) is not None:
            callback, args = timer.callback, timer.args
            timer.callback, timer.args = None, ()
            if callback is not None:
                self._ran = True
                self._call(callback, args)

    def _call(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except RERAISED:
            raise
        except BaseException:
            logs.report_callback(callback)

    # -- asking ---------------------------------------------------------------------------------

    def _ask(self, now: float) -> pollers.Poller:
        """Bring the poller up to date with what the channels want, and return it."""
        poller = self.poller
        if poller is None:
            poller = self._attach(pollers.make())
        if self.wakeup is None and _other_threads():
            self._make_wakeup(poller)
        if self._ran and now >= self._review_at:
            self._review(now)
        self._sync()
        if self._entering:
            self._entering = False
            self._compare_quiet(poller)
        self._ask_dirty(poller)
        self._again = False
        if self._own:
            self._sweep(poller)
            # Predicates may have changed the map, or other channels.
            self._again = self._sweeps_stale
            self._sync()
            self._ask_dirty(poller)
        return poller

    def _sync(self) -> None:
        """Compare what was asked with what the map holds."""
        map = self.map
        if self._reports:
            while self._moved:
                fd = self._moved.pop()
                channel = map.get(fd)
                if self._asked.get(fd) is not channel:
                    self._forget(fd)
                    if channel is not None:
                        self._adopt(fd, channel)
            return
        if map == self._seen and not (self._compare_exactly and self._differs()):
            return
        for fd in [fd for fd in self._asked if fd not in map]:
            self._forget(fd)
        for fd, channel in list(map.items()):
            if self._asked.get(fd) is not channel:
                self._forget(fd)
                self._adopt(fd, channel)
        self._seen = dict(map)

    def _differs(self) -> bool:
        """Compare by identity: two channels may call themselves equal."""
        return any(self._seen.get(fd) is not channel for fd, channel in self.map.items())

    def _adopt(self, fd: int, channel: Any) -> None:
        cls = type(channel)
        if cls not in self._kinds:
            missing = [name for name in _REQUIRED if not hasattr(channel, name)]
            if missing:
                raise TypeError(
                    f"the map holds {channel!r} under {fd!r}, which can't be a channel: "
                    f"it lacks {', '.join(missing)}"
                )
            if cls.__eq__ is not object.__eq__:
                self._compare_exactly = True
        self._asked[fd] = channel
        self._dirty.add(fd)
        self._classify(fd, channel)

    def _forget(self, fd: int) -> None:
        if self._asked.pop(fd, None) is not None:
            self._quiet.pop(fd, None)
            self._gone.add(fd)
            self._not_own(fd)
        self._seen.pop(fd, None)
        self._dirty.discard(fd)
        self._muted.discard(fd)
        if self.poller is not None:
            self.poller.set(fd, 0)

    def _classify(self, fd: int, channel: Any) -> int:
        """Find out which predicates of a channel are its own."""
        cls = type(channel)
        kind = self._kinds.get(cls)
        if kind is None:
            kind = self._kinds[cls] = _own_predicates(cls)
        assigned = getattr(channel, "__dict__", ())
        if "readable" in assigned:
            kind |= _OWN_READABLE
        if "writable" in assigned:
            kind |= _OWN_WRITABLE
        if kind:
            if self._own.get(fd) != kind:
                self._not_own(fd)
                self._quiet.pop(fd, None)
                self._own[fd] = kind
                if self._sweeping:
                    self._sweeps_stale = True
                else:
                    self._sweeps.setdefault(kind, _Sweep()).add(fd, channel)
        elif fd not in self._quiet:
            self._quiet[fd] = channel
            self._not_own(fd)
        return kind

    def _not_own(self, fd: int) -> None:
        kind = self._own.pop(fd, None)
        if kind is not None:
            if self._sweeping or self._sweeps_stale:
                self._sweeps_stale = True  # its lists are being walked
            else:
                self._sweeps[kind].remove(fd)

    def _compare_quiet(self, poller: pollers.Poller) -> None:
        """Find, on entering, the channels whose answers changed without a report."""
        interest = poller.interest
        self._dirty.update(
            [
                fd
                for fd, channel in self._quiet.items()
                if ((_READS if channel.readable() else 0) | (_WRITES if channel.writable() else 0))
                != interest.get(fd, 0)
            ]
        )
        self._dirty.update(self._own)

    def _ask_dirty(self, poller: pollers.Poller) -> None:
        """Ask the channels to which something happened, for predicates that are not their own."""
        dirty = self._dirty
        asked = self._asked
        while dirty:
            fd = dirty.pop()
            channel = asked.get(fd)
            if channel is None:
                continue
            kind = self._classify(fd, channel)
            present = poller.interest.get(fd, 0)
            if kind:
                sweep = self._sweeps.get(kind)
                if sweep is not None:
                    sweep.unsettle(fd)
            if kind & _OWN_READABLE:
                mask = present & READ
            else:
                mask = READ if channel.readable() else 0
            if kind & _OWN_WRITABLE:
                mask |= present & WRITE
            elif channel.writable() and not channel.accepting:
                mask |= WRITE
            if mask:
                mask |= PRIORITY
                if fd in self._muted:
                    mask = mask & WRITE and _WRITES
            if mask != present:
                self._tell(poller, fd, channel, mask)

    def _sweep(self, poller: pollers.Poller) -> None:
        """Ask every channel for the predicates that are its own."""
        if self._sweeps_stale and not self._sweeping:
            self._make_sweeps()
        for kind, sweep in list(self._sweeps.items()):
            self._sweeping += 1
            try:
                answers = sweep.ask(kind)
                last = sweep.answers
                if answers == last:
                    continue
                sweep.answers = answers
                for place, answer in enumerate(answers):
                    if answer != last[place]:
                        self._apply(poller, sweep.fds[place], sweep.channels[place], kind, answer)
            finally:
                self._sweeping -= 1

    def _make_sweeps(self) -> None:
        """Sort the channels anew, after they changed while they were being asked."""
        self._sweeps_stale = False
        self._sweeps = {}
        for fd, kind in self._own.items():
            self._sweeps.setdefault(kind, _Sweep()).add(fd, self._asked[fd])

    def _apply(
        self, poller: pollers.Poller, fd: int, channel: Any, kind: int, answer: int
    ) -> None:
        if self._asked.get(fd) is not channel:
            return  # closed by a predicate
        present = poller.interest.get(fd, 0)
        if not kind & _OWN_READABLE:
            answer |= present & READ
        elif not kind & _OWN_WRITABLE:
            answer |= present & WRITE
        if answer & WRITE and channel.accepting:
            answer &= READ
        if answer & READ and fd in self._muted:
            answer &= WRITE
        if answer:
            answer |= PRIORITY
        if answer != present:
            self._tell(poller, fd, channel, answer)

    def _tell(self, poller: pollers.Poller, fd: int, channel: Any, mask: int) -> None:
        if mask and (not isinstance(fd, int) or fd < 0):
            raise ValueError(
                f"{channel!r} wants to be watched, but the map holds it under {fd!r}, which is no "
                "descriptor: answer False in readable() and writable(), or open a socket first"
            )
        try:
            poller.set(fd, mask)
        except RERAISED:
            raise
        except OSError as why:
            if why.errno == errno.EBADF:
                self._vanished(fd, channel)
            else:
                channel.handle_error()
        except ValueError:
            channel.handle_error()

    def _review(self, now: float) -> None:
        """Ask everything anew, for what was assigned or closed behind the package's back."""
        self._ran = False
        self._review_at = now + REVIEW_INTERVAL
        self._kinds.clear()
        self._dirty.update(self._asked)
        poller = self.poller
        assert poller is not None
        for fd in list(poller.interest):
            if fd in poller.interest and not poller.verify(fd):
                channel = self._asked.get(fd)
                if channel is None:
                    poller.set(fd, 0)
                else:
                    self._vanished(fd, channel)

    def _vanished(self, fd: int, channel: Any) -> None:
        """Tell a channel that its descriptor was closed by somebody else."""
        self._forget(fd)
        if self.map.get(fd) is not channel:
            return
        self._ran = True
        if getattr(channel, "_fileno", fd) != fd:
            # It lives on under another number: only this entry is out of date.
            del self.map[fd]
            return
        try:
            channel.handle_close()
        except RERAISED:
            raise
        except BaseException:
            channel.handle_error()
        if self.map.get(fd) is channel and fd not in self._asked and fd not in self._moved:
            del self.map[fd]

    # -- the poller -----------------------------------------------------------------------------

    def _attach(self, poller: pollers.Poller) -> pollers.Poller:
        """Begin with a poller that knows nothing."""
        self.poller = poller
        self._dirty.update(self._asked)
        for sweep in self._sweeps.values():
            sweep.unsettle()
        if self.wakeup is not None:
            poller.set(self.wakeup.fileno(), READ)
        return poller

    def _make_wakeup(self, poller: pollers.Poller) -> None:
        with self._wake_lock:
            self.wakeup = Wakeup()
        poller.set(self.wakeup.fileno(), READ)

    def _release(self) -> None:
        """Give the descriptors back while there is nothing to watch."""
        with self._wake_lock:
            wakeup, self.wakeup = self.wakeup, None
        if self.poller is not None:
            self.poller.close()
            self.poller = None
        if wakeup is not None:
            wakeup.close()
        for state in (self._asked, self._quiet, self._own, self._sweeps, self._seen):
            state.clear()
        self._dirty.clear()
        self._muted.clear()

    def after_fork(self) -> None:
        """Part from the parent's poller and wake-up, in a forked child.

        An epoll is shared across a fork: a child that took its descriptors out would deafen the
        parent.
        """
        self._wake_lock = threading.Lock()
        if self.owner != get_ident():
            self.turn = threading.RLock()
            self.owner = None
        self.passes += 1  # the events at hand are the parent's
        poller, self.poller = self.poller, None
        if poller is not None:
            poller.after_fork()
        if self.wakeup is not None:
            self.wakeup.close()
            self.wakeup = None


def _own_predicates(cls: type) -> int:
    kind = 0
    for name, bit in (("readable", _OWN_READABLE), ("writable", _OWN_WRITABLE)):
        try:
            reports = getattr(cls, name, None) in REPORTING_PREDICATES
        except TypeError:  # unhashable
            reports = False
        if not reports:
            kind |= bit
    return kind


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_kept: set[Engine] = set()
_by_id: weakref.WeakValueDictionary[int, Engine] = weakref.WeakValueDictionary()


def engine_for(map: Map) -> Engine:
    """Return the engine of a map, a new one if it has none yet.

    The engine of a plain dict lives as long as the channels in it, which keep it.
    """
    if isinstance(map, ChannelMap):
        if map.engine is None:
            map.engine = Engine(map)
        engine: Engine = map.engine
        return engine
    found = _by_id.get(id(map))
    if found is None:
        found = _by_id[id(map)] = Engine(map)
    return found


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
