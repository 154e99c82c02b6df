"""One pass over a map: ask, wait, dispatch, timers.

Facts. Signals, other threads and forks come in between any two steps. A map may live as long as
the process without a loop, and a descriptor that nobody needs is missing elsewhere. Handlers close
other channels, whose descriptors come back under the same numbers, and run loops of their own, all
while a batch of events is being handled. select(2) and poll(2) disagree about what a hang-up is.

Consequence. What was reported since everything was settled is looked at again right before the
wait. Poller and wake-up are made when a pass first needs them, and given back once the map is
empty and nobody loops over it.

An event is delivered only to the object that was asked, and only while the map still holds it;
that is looked at again after every call that leaves this module. A batch ends where a handler ran
a loop of its own, for the rest of it is out of date. Readiness has the meaning that select gives
it, whatever the poller: a hang-up makes a channel readable, an error makes it readable and
writable. So a read handler finds the bytes that arrived before the end, then the end itself, and
the error in `recv` or `send`.

Trade-off. A pass polls once and takes one bounded batch, though draining the poller would save
system calls under load: timers, and a host loop, get their turn. Nearly all events are for
reading, and take a way of their own, which says some of this twice.
"""

from __future__ import annotations

import math
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from functools import partial
from threading import TIMEOUT_MAX, RLock, get_ident
from typing import Any, Protocol

from .. import logs, pollers
from ..channels import ActivityTimes, Channel, ChannelMap, Map
from ..classic import rebinding
from ..classic.genuine import Clock
from ..errors import leaves_loop, reraised
from ..pollers import ERROR, HANGUP, INVALID, PRIORITY, READ, WRITE, PollerLost
from ..pollers.single import readiness
from . import elsewhere
from .foreign import ReportingMap
from .interest import Interest
from .meter import Meter
from .ownership import Call, Ownership, put_back
from .predicates import is_assigned
from .sweeps import OWN_READABLE
from .timers import Timers

# A wait is at most so long, in seconds, and then begun anew: system calls count in milliseconds
# or nanoseconds, and fail with numbers that don't fit. A day.
_LONGEST_WAIT = 86400.0

_ALL = range(1)  # stands for any doubtful descriptor: not empty

# What is called when a loop begins, and before a map is first waited for by any other function, on
# that thread: nothing, unless somebody entered himself. It may be called again.
starting: list[Callable[[], object]] = []


class Hosting(Protocol):
    """What an engine tells whoever drives it from another event loop (`running.hosting`)."""

    def poller_closes(self) -> None:
        """The poller is about to be closed."""

    def forked(self) -> None:
        """This is a forked child, and the other event loop is the parent's."""


class Engine(Ownership):
    """Makes the passes over one map: asks its channels, waits, and calls their handlers.

    It belongs to whom `Ownership` says. What its channels want, and who of them is to be asked, is
    known to `interest`, which is for this room alone.
    """

    def __init__(self, map: Map, clock: Callable[[], float] = Clock.monotonic) -> None:
        super().__init__()
        # Python 3.11 to 3.13 find the attributes of an object quickly if these are at most 29.
        self.map = map
        self.clock = clock
        self.timers = Timers(clock)
        self.calls: deque[Call] = deque()
        self.interest = Interest(map, clock(), weakref.ref(self))
        self.passes = 0
        self.events = 0
        self.callbacks = 0  # timers and calls that ran
        self.accept_pauses = 0
        self.meter: Meter | None = None  # as long as somebody wants to know how long handlers take
        self.counts_bytes = False
        self.bytes_received = self.bytes_sent = 0  # of channels that are gone
        self.stopping = False
        self.hosting: Hosting | None = None  # while another event loop drives this engine
        # Makes the passes, by `make_pass`, where an event loop is to be seen as running meanwhile.
        self.within: Callable[[Engine, float | None], None] | None = None
        self.running: object = None  # that loop, during such a pass
        self._kept = False  # it stays, though no channel may hold it
        # The loop() calls on this map: the thread, and whether it goes on without channels.
        self.loops: list[tuple[int, bool]] = []
        self._outstays = False  # whether one of these does
        self._signalled = False  # the wake-up told of signals alone
        self._chosen: str | None = None  # the name of the poller to be made, None for the default
        _engines.add(weakref.ref(self, _engines.discard))
        if rebinding.replaced:
            self.heed_names()

    def __reduce__(self) -> tuple[object, ...]:
        # A pickled or copied dispatcher finds the engine of its map anew.
        return type(None), ()

    def keep(self) -> None:
        """Stay until the timers and callbacks are done, though no channel holds the engine.

        And as long as there is a meter.
        """
        if not self._kept and not isinstance(self.map, ChannelMap):
            self._kept = True
            _kept.add(self)
            self.timers.emptied = self._timers_emptied

    # -- the poller -----------------------------------------------------------------------------

    @property
    def poller(self) -> pollers.Poller | None:
        """The present poller, which may stand in front of the real one; `None` before a wait."""
        return self.interest.poller

    def poller_name(self) -> str:
        """Return the name of the poller, or of the one that would be made."""
        present = self.interest.poller
        return present.name if present is not None else self._chosen or pollers.default_name()

    @property
    def is_crowded(self) -> bool:
        """Whether the batch that is being handled has more than one event."""
        return self.interest.batch > 1

    def use(self, name: str | None) -> None:
        """Use the named poller from the next wait on; `None` keeps the present one."""
        present = self.interest.poller
        if name is None:
            return
        if present is None:
            pollers.check(name)
            self._chosen = name
        elif present.name != name:
            self.attach(pollers.make(name))

    def use_later(self, name: str) -> None:
        """Use the named poller from the next wait on; it is made when it is needed."""
        present = self.interest.poller
        self._chosen = name
        if present is not None and present.name != name:
            self.interest.poller = None
            present.give_up()

    def attach(self, poller: pollers.Poller) -> None:
        """Put a new poller in the place of the present one, which stays if that can't be.

        Raises `ValueError` if it can't watch the wake-up.
        """
        if self.wakeup is not None:
            self._watch_wakeup(poller, self.wakeup.fileno())
        before = self.interest.poller
        if before is not None and self.hosting is not None:
            # Else a later descriptor of the same number is silently deaf at the host's.
            self.hosting.poller_closes()
        self.interest.attach(poller)
        if before is not None:
            before.give_up()

    def release(self) -> None:
        """Give poller and wake-up back, and forget all channels; what is needed is made anew."""
        self._chosen = None
        self.interest.release()
        self.drop_wakeup()

    # -- what channels and maps report, from any thread -----------------------------------------

    def added(self, fd: int) -> None:
        """Note that the map now holds another object under `fd`."""
        self.interest.map_changes[fd] = None
        if self.waiting or self.owner != get_ident():
            self.nudge()

    def removed(self, fd: int) -> None:
        """Stop watching `fd`, which the map no longer holds and which may be closed next."""
        owner, host_thread = self.owner, self.host_thread
        if (
            owner is not None
            and owner == get_ident()
            and (host_thread is None or host_thread == owner)
            and not self.waiting
        ):
            self.interest.forget(fd)  # by a handler, as nearly always
        elif not self._may_own_here() or (self.owner is not None and self.owner != get_ident()):
            self.interest.map_changes[fd] = None
            self.wake()
        else:
            self.interest.forget(fd)
            if self.owner is None and self.hosting is None:
                self._tidy_up()
            else:
                self.nudge()

    def touch(self, fd: int | None) -> None:
        """Ask the channel under `fd` again before the next wait."""
        if fd is not None:
            self.interest.table.to_ask[fd] = None
            if self.waiting or self.owner != get_ident():
                self.nudge()

    def withdraw(self, fd: int) -> None:
        """Have the kernel watch `fd` no more, which another thread than the owner's is to close."""
        poller = self.interest.poller
        if poller is not None:
            poller.withdraw(fd)

    # What follows is for the thread that holds the engine, or where nobody does.

    def has_just_entered(self, fd: int) -> bool:
        """Whether the map holds something new under `fd`, which is asked without a `touch`."""
        return fd in self.interest.map_changes

    def pause(self, fd: int) -> None:
        """Don't read from `fd`, whatever its channel says, until `resume`."""
        self.interest.table.pause(fd)

    def resume(self, fd: int) -> None:
        """Read from `fd` again, if its channel wants to."""
        self.interest.table.resume(fd)

    def watch_times(self, fd: int, times: ActivityTimes) -> None:
        """Note the activity of the channel under `fd` in these times, as long as it stays there."""
        self.interest.table.timed[fd] = times

    def must_wait(self, fd: int, channel: Channel, why: BaseException, doing: int) -> bool:
        """Whether an exception says no more than that a socket must wait, and see to that.

        It came out of a call that does `READ` or `WRITE` with the socket of `channel`.
        """
        return self.interest.must_wait(fd, channel, why, doing)

    def need_not_ask(self, fd: int, channel: object) -> bool:
        """Whether a channel need not be asked before it is read from again: it would report."""
        table = self.interest.table
        known = table.channels.get(fd)
        if known is None or known is not channel:
            return False
        simple = table.simple.get(type(known))
        if simple is not None:
            return getattr(known.readable, "__func__", None) is simple[0]
        return not table.asked_always.get(fd, 0) & OWN_READABLE and not is_assigned(
            known, type(known), "readable"
        )

    def may_change_unreported(self) -> bool:
        """Whether a channel may come, go or want something else, and nothing tells."""
        return self.interest.may_change_unreported()

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: object) -> None:
        """Run a callback on the thread of the loop, in its present or next pass."""
        self.calls.append((callback, args))
        self.keep()
        self.wake()

    # -- one pass -------------------------------------------------------------------------------

    by_names: type[Engine]  # what an engine is while the program has replaced functions of ours

    def heed_names(self) -> None:
        """Go by the program's functions from the next pass on, and end a wait that does not."""
        if type(self) is Engine:
            self.__class__ = Engine.by_names
            self.wake()

    def enter(self, review: bool = False) -> None:
        """Note that code outside of handlers ran, which may have assigned or closed anything.

        With `review`, look for closed descriptors at once, and else within a second.
        """
        if rebinding.select_module.select is not rebinding.select_seen:
            rebinding.look()
        self.interest.compare_all = self.interest.review_needed = True
        if review:
            self.interest.review_at = self.clock()

    def busy(self) -> bool:
        """Whether a callback or a timer is still to run."""
        return bool(self.calls or self.deferred or len(self.timers))

    def begin_loop(self, outstay: bool) -> None:
        """Keep poller and wake-up from now on; with `outstay`, wait without channels too."""
        if self._lock._is_owned() and not _owns_in_a_frame():
            # A signal handler has raised at the very end of a pass.
            self.owner = None
            self._lock.release()
        self.loops.append((get_ident(), outstay))
        self._outstays = self._outstays or outstay

    def end_loop(self, outstay: bool) -> None:
        """Undo `begin_loop`, and give back what nobody needs any more."""
        with suppress(ValueError):  # a signal handler has raised before
            self.loops.remove((get_ident(), outstay))
        if outstay:
            self._outstays = any(outstays for _, outstays in self.loops)
        if not self.loops and self.owner is None and not self.map:
            self.run_on_loop(self._tidy_up)

    def loops_elsewhere(self) -> bool:
        """Whether another thread than this one goes through the map again and again."""
        here = get_ident()
        return self.host_thread not in (None, here) or any(one != here for one, _ in self.loops)

    def run_pass(self, timeout: float | None, short: bool = False) -> None:
        """Wait up to `timeout` seconds for events (`None`: for ever) and dispatch one batch.

        Due timers and the callbacks of other threads run too. What `handle_error` raises, what a
        predicate raises, and `ExitNow`, `KeyboardInterrupt` and `SystemExit` come out. `short`
        is for `pump`.
        """
        here = get_ident()
        if self.owner == here and self._lock._is_owned():
            self._run_inner_pass(timeout)
            return
        # As `owned`, without the calls, for this is done at every pass. A signal handler may raise
        # between any two lines.
        try:
            if not self._lock.acquire(False) and not self._await_ownership(timeout):
                return
            self.owner = here
            if short:
                self._make_short_pass()
            elif self.within is None:
                self.make_pass(timeout)
            else:
                self.within(self, timeout)
        except BaseException:
            if self.owner == here:
                self._recover()
            raise
        finally:
            try:
                if self.owner == here:
                    try:
                        if self._kept or not self.map:
                            self._tidy_up()
                    finally:
                        self.owner = None
            finally:
                try:
                    self._lock.release()
                except RuntimeError:
                    pass  # it isn't acquired
        if self.deferred:
            # They were left between the last look and now.
            self._run_deferred_here()

    def _run_inner_pass(self, timeout: float | None) -> None:
        """Do the same inside of a handler, whose thread owns the map."""
        try:
            if self.within is None:
                self.make_pass(timeout)
            else:
                self.within(self, timeout)
        except BaseException:
            self._recover()
            raise

    def pump(self) -> None:
        """Make a pass that waits for nothing, where code outside of handlers may have run.

        Does what `enter` and `run_pass(0)` do. Programs with a loop of their own, of a game or a
        window, call this at every turn, so it is to cost no more than the classic pass: each
        channel is asked, as there, and all that is not needed for nothing to do is left out.
        """
        interest = self.interest
        if (
            interest.poller is None
            or self.wakeup is None
            or self.calls
            or self.deferred
            or interest.table.to_ask
            or interest.map_changes
            or (interest.review_needed and self.clock() >= interest.review_at)
            or not (interest.reports_moves or interest.is_known())
            or self.within is not None
            or self.owner is not None
            or self.hosting is not None
            or rebinding.select_module.select is not rebinding.select_seen
        ):
            self.enter()
            self.run_pass(0)
        else:
            self.run_pass(0, short=True)

    def _make_short_pass(self) -> None:
        interest, timers, poller = self.interest, self.timers, self.interest.poller
        interest.review_needed = True
        if poller is None or not interest.is_settled(poller):
            interest.compare_all = True  # a class may have got another predicate
            self.make_pass(0)
            return
        self.passes += 1
        if interest.table.forgotten:
            interest.table.forgotten.clear()
        events = poller.wait(0)
        if events:
            self._dispatch(events)
            self._signalled = False
        if self.calls or self.deferred:
            self._run_calls()
        if timers.heap:
            self._run_timers(self.clock())

    def _await_ownership(self, timeout: float | None) -> bool:
        """Wait until the other thread that owns the map comes to an end with it, so long at most.

        What happens meanwhile is for that one to handle.
        """
        if timeout is None or timeout > TIMEOUT_MAX:
            timeout = -1
        return bool(timeout) and bool(self._lock.acquire(True, timeout))

    def _recover(self) -> None:
        """See to it that everything is looked at anew, after a pass that was left halfway.

        The exception may be a signal handler's, and have come between any two steps.
        """
        self.waiting = False
        self.timers.recover()
        self.interest.recover()
        wakeup, poller = self.wakeup, self.interest.poller
        if wakeup is not None and (poller is None or wakeup.fileno() not in poller.interest):
            self.drop_wakeup()

    def _disown(self) -> None:
        """Own the map no more, and give back what nobody needs any more."""
        try:
            if self.owner == get_ident() and (
                self._kept or (self.wakeup is not None and not self.map)
            ):
                self._tidy_up()
        finally:
            Ownership._disown(self)

    def _tidy_up(self) -> None:
        if self.wakeup is not None and not (self.map or self.loops or self.hosting is not None):
            self.release()
        if self._kept and self.meter is None and not self.busy():
            self._kept = False
            self.timers.emptied = None  # it would hold the engine
            _kept.discard(self)
            if self.busy():  # by another thread, meanwhile
                self.keep()

    def _timers_emptied(self) -> None:
        if self.owner is None:  # else the end of the pass sees to it
            self.run_on_loop(self._tidy_up)

    def make_pass(self, timeout: float | None) -> None:
        """Do what `run_pass` does, for the owner of the map."""
        # What is used twice or less is not kept at hand: every pass pays for that.
        self.passes += 1
        interest = self.interest
        table = interest.table
        timers = self.timers
        calls = self.calls
        deferred = self.deferred
        # What others have left runs first, for it may change what is to be waited for.
        if calls or deferred:
            self._run_calls()
        now = self.clock()
        deadline = None if timeout is None else now + timeout
        while True:
            # Poller and wake-up are made when they are first needed.
            poller = interest.poller
            if poller is None or self.wakeup is None:
                poller = self._ready_poller()
            # The poller is told what changed, unless it can be seen here that nothing did.
            unsettled = False
            if (
                table.asked_always
                or table.to_ask
                or interest.map_changes
                or interest.compare_all
                or (interest.review_needed and now >= interest.review_at)
                or not interest.reports_moves
            ):
                try:
                    unsettled = interest.settle(poller, now)
                except PollerLost:
                    self._renew()
                    continue
                if interest.poller is not poller:
                    continue  # A predicate forked, and this is the child.
                now = self.clock()
            # A loop ends without channels, unless its caller wants to see timers and calls done.
            if not self.map and not (self._outstays and self.busy()):
                return
            # The wait ends with the first of the deadline, the next timer and the next review.
            limit = deadline
            due = timers.next() if timers.heap else None
            if due is not None and (limit is None or due < limit):
                limit = due
            if interest.review_needed and (limit is None or interest.review_at < limit):
                limit = interest.review_at
            wait = None if limit is None else limit - now
            if wait is not None and not 0 < wait < _LONGEST_WAIT:
                wait = _LONGEST_WAIT if wait > 0 else 0.0
            # Whoever reports from here on ends the wait; who did so before is looked at once more.
            if table.forgotten:
                table.forgotten.clear()
            self.waiting = True
            try:
                if (
                    unsettled
                    or calls
                    or deferred
                    or self.stopping
                    or table.to_ask
                    or interest.map_changes
                ):
                    wait = 0
                events = poller.wait(wait)
            except PollerLost:
                self._renew()
                continue
            finally:
                self.waiting = False
            # Somebody who saw this thread wait may wait until it has done what he left.
            if deferred:
                self.run_deferred()
                if not events:
                    break
            # A batch that told of anything is the last thing that a pass waits for.
            if events and self._dispatch(events):
                if not self._signalled:
                    break
                self._signalled = False
                if len(events) > 1:
                    break
                # It was a signal alone, whose handler has run: if it reports nothing, this goes on.
            # So is whatever ended the wait without an event.
            after = self.clock()
            if due is not None and due <= after:
                # Python doesn't look again where a wait was interrupted for longer than it was to
                # last, as it is in a process that was stopped.
                if now < due < after and timers.next_judges():
                    now = after
                    continue
                if due == after:
                    now = after
                break
            if calls or deferred or self.stopping or (deadline is not None and deadline <= after):
                break
            now = after
        # Calls and timers run after the events, and once in each pass, so that neither starves.
        if calls or deferred:
            self._run_calls()
        if timers.heap:
            # What came until the wait began was looked at.
            after = self.clock()
            if timers.heap[0][0] <= after:
                self._run_timers(after, interest.seen_until(now, len(events)))

    def prepare(self) -> float | None:
        """Settle everything, for a host that waits by itself until the poller is ready.

        Returns by what time of the clock there is to be a pass whether it is ready or not; `None`
        if it may wait for ever. What predicates raise comes out.
        """
        return self.owned(self._prepare)

    def _prepare(self) -> float | None:
        try:
            now = self.clock()
            poller = self._ready_poller()
            unsettled = self.interest.settle(poller, now)
            if (
                unsettled
                or self.calls
                or self.deferred
                or self.stopping
                or self.interest.table.to_ask
                or self.interest.map_changes
                or self.interest.poller is not poller
                or poller.always_ready
            ):
                return now
            limit = self.timers.next()
            if self.interest.review_needed and (limit is None or self.interest.review_at < limit):
                limit = self.interest.review_at
            return limit
        except PollerLost:
            self._renew()
            return self.clock()

    def _renew(self) -> None:
        """Have poller and wake-up made anew, which somebody has closed by their numbers.

        What has these numbers now is neither closed nor written to.
        """
        poller = self.interest.poller
        if poller is not None:
            self._chosen = poller.name
            self.interest.poller = None
            poller.abandon()
        self.drop_wakeup()
        self.interest.recover()

    def _ready_poller(self) -> pollers.Poller:
        """Return the poller, with the wake-up in it; both are made if need be."""
        poller = self.interest.poller
        if poller is None:
            # Before new descriptors are made, which could get the numbers of closed ones.
            self.interest.bury_closed()
            for begin in list(starting):
                begin()
            poller = self._new_poller()
            self.attach(poller)
        if self.wakeup is None:
            fd = self.make_wakeup(self.map)
            try:
                self._watch_wakeup(poller, fd)
            except ValueError:
                self.drop_wakeup()  # else the next pass would take it for watched
                raise
        return poller

    def _new_poller(self) -> pollers.Poller:
        return pollers.make(self._chosen)

    def _watch_wakeup(self, poller: pollers.Poller, fd: int) -> None:
        """Have a poller watch the wake-up. Raises `ValueError` if select(2) can't."""
        assert self.wakeup is not None
        poller.wakeup_is_whole = self.wakeup.is_whole
        try:
            poller.set(fd, READ)
        except pollers.OutOfRange as why:
            first = not (self.loops and self.interest.table.channels)
            when = "were open before the loop began, which" if first else "are open: the loop"
            said = f"too many descriptors {when} needs one to be woken by: {why}"
            raise ValueError(said) from None

    def run_due(self, seen: float = math.inf) -> None:
        """Run the callbacks and timers that are due, without looking for events.

        Those that judge peers run if everything that came by their time, up to `seen`, was looked
        at.
        """
        self.owned(self._run_due, seen)

    def _run_due(self, seen: float) -> None:
        if self.wakeup is not None:
            self.wakeup.clear()
        if self.calls or self.deferred:
            self._run_calls()
        self._run_timers(self.clock(), seen)

    def give_back(self) -> None:
        """Give back what nobody needs any more."""
        self.owned(self._tidy_up)

    def event_elsewhere(self, times: ActivityTimes | None, writing: bool) -> None:
        """Note that a program's own loop hands an event over, for whoever has these times."""
        if self.owner is None and self.hosting is None:
            if times is not None:
                times.active = self.clock()
                if writing:
                    times.sent = times.active
                else:
                    times.received = times.active
            if isinstance(self.map, ChannelMap):
                self.map._ac_looked_at = self.judge_elsewhere
            self.judge_elsewhere()

    def judge_elsewhere(self) -> None:
        """Judge whom there is to judge, for a program whose own loop runs no timers."""
        if self.timers.heap and self.owner is None and self.hosting is None:
            due = self.timers.next()
            if due is not None and due <= self.clock():
                self.owned(self._run_overdue)

    def _run_overdue(self) -> None:
        for callback in elsewhere.overdue(self.timers):
            self.callbacks += 1
            try:
                callback()
            except BaseException as why:
                _report(callback, why)

    def after_poll_elsewhere(self) -> None:
        """Run what is due, after a poll of the program's own."""
        self.run_due(-math.inf)
        self.judge_elsewhere()

    def _run_calls(self) -> None:
        self.interest.review_needed = True
        self.run_deferred()
        calls, meter = self.calls, self.meter
        # Only those that wait now: a callback that calls for itself must not keep events out.
        for _ in range(len(calls)):
            if not calls:
                break  # done by a loop inside of one of them
            call = calls[0]
            callback, args = call
            begun = False
            try:
                run = callback if meter is None else partial(meter.call, callback)
                calls.popleft()
                self.callbacks += 1
                # In one line, for a signal handler may raise between two.
                _ = (begun := True) and run(*args)
            except BaseException as why:
                if not begun:
                    put_back(calls, call)
                    raise
                _report(callback, why)

    def _run_timers(self, now: float, seen: float = math.inf) -> None:
        timers, meter = self.timers, self.meter
        mark = timers.mark()
        while (timer := timers.next_due(now, mark, seen)) is not None:
            callback, args = timer.callback, timer.args
            assert callback is not None
            begun = False
            try:
                run = callback if meter is None else partial(meter.call, callback)
                self.interest.review_needed = True
                self.callbacks += 1
                timers.begin(timer)
                # In one line, for a signal handler may raise between two.
                _ = (begun := True) and run(*args)
            except BaseException as why:
                if not begun:
                    timers.put_back(timer, callback, args)
                    raise
                _report(callback, why)
            if timer.interval is not None:
                timer._skip_to_next()  # past those that the callback itself took the time of

    # -- handing a batch of events to the channels -------------------------------------------------

    def _dispatch(self, events: pollers.Events) -> bool:
        """Call the handlers for a batch of events; tell whether there was anything to handle."""
        interest = self.interest
        table = interest.table
        read_only = table.read_only
        timed = table.timed
        holder: Callable[[int], Channel | None] = self.map.get
        serial = self.passes
        interest.review_needed = True
        interest.batch = size = len(events)
        self.events += size
        # While this is empty, the map holds what was asked.
        doubtful: Container[int] = interest.map_changes if interest.reports_moves else _ALL
        now = self.clock() if timed else 0.0
        meter = self.meter
        if meter is not None:
            read_only = {}  # The shortest way has no clock.
        fd: int | None = None
        for fd, mask in events:
            # Whatever an event is for, it puts the timeouts of its channel off; but for urgent
            # data, which nobody need consume.
            if timed:
                times = timed.get(fd)
                if times is not None and mask != PRIORITY:
                    times.active = now
                    if mask & READ:
                        times.received = now
                    if mask & WRITE:
                        times.sent = now
            # Nearly all events are for reading from a channel that reports, and waits for that
            # alone, so they take the shortest way.
            channel = read_only.get(fd)
            if mask == READ and channel is not None and (not doubtful or holder(fd) is channel):
                try:
                    channel.handle_read_event()
                except reraised():
                    raise
                except BaseException as why:
                    if leaves_loop(why):
                        raise
                    if not interest.must_wait(fd, channel, why, READ):
                        channel.handle_error()
                # Its handler may have run a loop, and then the rest of this batch is out of date.
                if self.passes != serial:
                    break
                # It may have assigned a predicate, or state that one looks at. What a listener
                # answers to `writable` counts for nothing.
                if (channel.writable() or not channel.readable()) and fd in read_only:
                    if not (channel.accepting and channel.readable()):
                        table.to_ask[fd] = None
                continue
            # All others take the longer one, if the map still holds who was asked.
            channel = table.channels.get(fd)
            if channel is None:
                self._unknown(fd)
            elif holder(fd) is channel:
                # After a read there may be urgent data that was not told.
                if table.urgent and mask & READ and fd in table.urgent:
                    table.urgent.discard(fd)
                    table.to_ask[fd] = None
                if mask != READ:
                    table.to_ask[fd] = None
                    self._deliver(fd, channel, mask, serial)
                else:
                    if fd in table.reporting:
                        table.to_ask[fd] = None
                    try:
                        if meter is None:
                            channel.handle_read_event()
                        else:
                            meter.call(channel.handle_read_event, fd=fd)
                    except reraised():
                        raise
                    except BaseException as why:
                        if leaves_loop(why):
                            raise
                        if not interest.must_wait(fd, channel, why, READ):
                            channel.handle_error()
                if self.passes != serial:
                    break
        interest.batch = 0
        return fd is not None

    def _deliver(self, fd: int, channel: Channel, mask: int, serial: int) -> None:
        """Call the handlers of one channel for an event that is for more than reading."""
        meter = self.meter
        doing = READ  # what an exception came out of
        try:
            if mask & INVALID:
                self.interest.vanished(fd, channel)
                return
            poller = self.interest.poller
            wanted = poller.interest.get(fd, 0) if poller is not None else 0
            if mask & (ERROR | HANGUP):
                # As select(2) has it. To a channel that only writes, a hang-up means an error too.
                mask |= wanted & (READ | WRITE)
            elif not mask & wanted:
                return
            # Input comes first, so that what arrived before a hang-up is not lost.
            if mask & READ:
                if meter is None:
                    channel.handle_read_event()
                else:
                    meter.call(channel.handle_read_event, fd=fd)
                if not self._still(fd, channel, serial):
                    return
            if mask & WRITE:
                doing = WRITE
                if meter is None:
                    channel.handle_write_event()
                else:
                    meter.call(channel.handle_write_event, fd=fd)
                if not self._still(fd, channel, serial):
                    return
            # An exceptional condition that nobody ends would come again at once, and for ever: it
            # is told once, until the next read.
            if mask & PRIORITY:
                urgent = self.interest.table.urgent
                urgent.add(fd)
                if meter is None:
                    channel.handle_expt_event()
                else:
                    meter.call(channel.handle_expt_event, fd=fd)
                if fd in urgent and not readiness(fd, PRIORITY):
                    urgent.discard(fd)
                    times = self.interest.table.timed.get(fd)
                    if times is not None:
                        times.active = times.received = self.clock()
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            if not self.interest.must_wait(fd, channel, why, doing):
                channel.handle_error()

    def _still(self, fd: int, channel: Channel, serial: int) -> bool:
        """Look again, after a handler ran, whether the rest of an event is for this channel."""
        return (
            self.passes == serial
            and self.interest.table.channels.get(fd) is channel
            and self.map.get(fd) is channel
        )

    def _unknown(self, fd: int) -> None:
        """Sort out an event for a descriptor without a channel."""
        poller = self.interest.poller
        if poller is None or fd in self.interest.table.forgotten:
            return  # closed by a handler in this batch
        if self.wakeup is not None and fd == self.wakeup.fileno():
            if self.wakeup.is_whole():
                self._signalled = not self.wakeup.clear()
            else:
                self._renew()
        elif fd in poller.interest:
            poller.set(fd, 0)
        else:
            # A duplicate of a closed descriptor lives on in the kernel's set, where its old
            # number can't reach it. A new set is the only way to be rid of it.
            self.attach(pollers.make(poller.name))

    # -- forks ----------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Part from the parent's poller and wake-up, in a forked child.

        An epoll is shared across a fork: a child that took its descriptors out would deafen the
        parent.
        """
        if self.owner not in (None, get_ident()):
            self.calls.clear()  # of the parent's loop, which is in another thread
        poller, self.interest.poller = self.interest.poller, None
        if poller is not None:
            if poller.is_lost():
                poller.abandon()
            else:
                poller.after_fork()
        super().after_fork()
        self.loops = [loop for loop in self.loops if loop[0] == get_ident()]
        self._outstays = any(outstays for _, outstays in self.loops)
        if self.hosting is not None:
            self.hosting.forked()  # the host's loop is the parent's
        self.passes += 1  # the events at hand are the parent's


def _owns_in_a_frame() -> bool:
    """Whether something that owns a map is under way on this thread, such as a pass."""
    frame = sys._getframe()
    while frame is not None and frame.f_code not in _OWNING:
        frame = frame.f_back  # type: ignore[assignment]  # None at the end
    return frame is not None


_OWNING = {
    function.__code__ for function in (Engine.run_pass, Ownership.owned, Ownership._run_here)
}


def _report(callback: Callable[..., object], why: BaseException) -> None:
    """Report the current exception of a callback, unless it is one that leaves the loop."""
    if isinstance(why, reraised()) or leaves_loop(why) or hasattr(callback, "_reports_to_channel"):
        raise
    logs.report_callback(callback)


# A set of references, and no WeakSet: to go through one takes longer than all of
# `descriptor_changed`.
_engines: set[weakref.ref[Engine]] = set()
_kept: set[Engine] = set()
_by_id: weakref.WeakValueDictionary[int, Engine] = weakref.WeakValueDictionary()

# Two threads may be the first to use a map, and a signal handler may come in between.
_first_use = RLock()


def engine_for(map: Map) -> Engine:
    """Return the engine of a map, a new one if it has none yet.

    The engine of a plain dict lives as long as the channels in it, which keep it. Raises
    `TypeError` for what is no map.
    """
    if isinstance(map, ChannelMap):
        if map.engine is None:
            with _first_use:
                if map.engine is None:
                    map.engine = Engine(map)
        return map.engine  # type: ignore[return-value]  # nobody else observes it
    found = _by_id.get(id(map))
    if found is None:
        if isinstance(map, ReportingMap):
            return map.engine  # type: ignore[return-value]  # nobody else observes it
        with _first_use:
            found = _by_id.get(id(map))
            if found is None:
                check_map(map)
                found = _by_id[id(map)] = Engine(map)
    return found


def check_map(map: object) -> None:
    """Raise `TypeError` for what can't be a map of channels."""
    if not (hasattr(type(map), "__setitem__") and hasattr(type(map), "items")):
        raise TypeError(
            f"a map is a dict of channels, such as asynccore.socket_map, and not {map!r}"
        )


def give_engine(map: Map, engine: Engine) -> None:
    """Make an engine that of its map. Raises `ValueError` if the map has one already."""
    present = map.engine if isinstance(map, ChannelMap) else _by_id.get(id(map))
    if present is not None:
        raise ValueError("the map has an engine already: begin with a new map")
    if isinstance(map, ChannelMap):
        map.engine = engine
    else:
        _by_id[id(map)] = engine


def leave_map(map: Map, fd: Any, channel: object) -> bool:
    """Take a channel out of a map before its descriptor is closed; return whether it was there.

    The engine of the map is told, for a poller must know while the descriptor is open.
    """
    if map.get(fd) is not channel:
        return False
    try:
        if type(map) is ChannelMap:
            map._ac_leave(fd)
            return True
        del map[fd]
    except KeyError:
        return False  # another thread was faster
    if not isinstance(map, ChannelMap):  # a plain mapping doesn't tell
        engine_for(map).removed(fd)
    return True


def engines() -> list[Engine]:
    """Return the engines there are now. Safe from any thread."""
    found = [reference() for reference in list(_engines)]  # a copy is made at one go
    return [engine for engine in found if engine is not None]


def descriptor_changed(fd: int) -> None:
    """Have the channels under a descriptor looked at before the next wait, if there are any.

    Another socket stands for it now, or is about to. Safe from any thread.
    """
    for engine in engines():
        if fd in engine.interest.table.channels:
            engine.touch(fd)


def _after_fork_in_child() -> None:
    global _first_use
    _first_use = RLock()  # A thread of the parent's may have had it, and is not here.
    for engine in engines():
        engine.after_fork()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork_in_child)
