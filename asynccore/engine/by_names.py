"""An engine that goes by what the program has put in the place of the module's own names.

Facts. A classic loop looks up `select.select`, `read`, `write`, `_exception` and `readwrite` in its
module at every pass. Programs replace them: gevent and eventlet, so that a wait lets other green
threads run; tracers and tests, which count calls.

Consequence. While there is such a replacement, engines are of the class in this module. It waits by
one call of the program's `select`, which is given the very timeout, and a call ends the pass
whether it found anything or not, as in the classic loop. Other engines never look.

Trade-off. That poller is as slow as the classic one, and knows no review: what is closed behind the
loop's back is found by its select(2) itself.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import pollers
from ..channels import Channel
from ..classic import rebinding
from ..classic.namespace import package
from ..pollers import ERROR, HANGUP, INVALID, PRIORITY, READ, WRITE
from ..pollers.select import ProgramsSelectPoller
from .engine import Engine, engines


class EngineByNames(Engine):
    """Does what its base does, by the program's functions."""

    by_poll = False  # whether loop() was told to use poll(2), or poll2() was called
    replaced_poller: str | None = None  # the name of the poller that was in use before

    def enter(self, review: bool = False) -> None:
        if self.owner is None:
            self._go_back()
        Engine.enter(self, review)  # of whichever class it is now

    def pump(self) -> None:
        self.enter()
        self.run_pass(0)

    def _go_back(self) -> bool:
        """Become a plain engine once nothing is replaced any more. For who holds it."""
        by_select = self._waits_by_program()
        present = self.interest.poller
        if present is not None and not by_select and isinstance(present.innermost, _PROGRAMS):
            present.close()
            self.interest.poller = None
            self._chosen, self.replaced_poller = self.replaced_poller, None
        if by_select or rebinding.is_replaced():
            return False
        self.__class__ = Engine  # type: ignore[assignment]
        return True

    def _waits_by_program(self) -> bool:
        return self.hosting is None and rebinding.select_is_replaced(self.by_poll)

    def _new_poller(self) -> pollers.Poller:
        return self._kind()() if self._waits_by_program() else Engine._new_poller(self)

    def _kind(self) -> type[pollers.Poller]:
        """Return the kind of poller that waits by what the program has."""
        if self.by_poll and hasattr(package().select, "poll"):
            return _PROGRAMS[-1]
        return ProgramsSelectPoller

    def make_pass(self, timeout: float | None) -> None:
        if self._go_back() or not self._waits_by_program():
            Engine.make_pass(self, timeout)
        else:
            self._make_pass_by_program(timeout)

    def _make_pass_by_program(self, timeout: float | None) -> None:
        self.passes += 1
        interest, timers = self.interest, self.timers
        if self.calls or self.deferred:
            self._run_calls()
        present = interest.poller
        if present is not None and type(present.innermost) is not self._kind():
            if not isinstance(present.innermost, _PROGRAMS):
                self.replaced_poller = present.name
            self.attach(self._kind()())
        poller = self._ready_poller()
        interest.compare_all = True
        now = self.clock()
        while (unsettled := interest.settle(poller, now)) and interest.poller is not poller:
            poller = self._ready_poller()
        if not self.map and not (self._outstays and self.busy()):
            return
        due = timers.next()
        wait = timeout
        if due is not None:
            left = max(0.0, due - now)
            wait = left if wait is None else min(wait, left)
        interest.table.forgotten.clear()
        self.waiting = True
        try:
            if (
                unsettled
                or self.calls
                or self.deferred
                or self.stopping
                or interest.table.to_ask
                or interest.map_changes
            ):
                wait = 0
            events = poller.wait(wait)
        finally:
            self.waiting = False
        if events:
            self._dispatch(events)
            self._signalled = False
        if self.calls or self.deferred:
            self._run_calls()
        if timers.heap:
            self._run_timers(self.clock())

    def _dispatch(self, events: pollers.Events) -> bool:
        if not rebinding.functions_are_replaced():
            return Engine._dispatch(self, events)
        interest, table = self.interest, self.interest.table
        serial = self.passes
        interest.review_needed = True
        interest.batch = len(events)
        self.events += interest.batch
        fd: int | None = None
        holder: Callable[[int], Channel | None] = self.map.get
        for fd, mask in events:
            channel = table.channels.get(fd)
            if channel is None:
                self._unknown(fd)
            elif holder(fd) is channel:
                times = table.timed.get(fd)
                if times is not None:
                    times.active = self.clock()
                    if mask & READ:
                        times.received = times.active
                    if mask & WRITE:
                        times.sent = times.active
                table.to_ask[fd] = None
                self._deliver_by_name(fd, channel, mask, serial)
                if self.passes != serial:
                    break
        interest.batch = 0
        return fd is not None

    def _deliver_by_name(self, fd: int, channel: Channel, mask: int, serial: int) -> None:
        """Call the module's functions for an event. What these raise leaves the loop."""
        if mask & INVALID:
            self.interest.vanished(fd, channel)
            return
        poller = self.interest.poller
        wanted = poller.interest.get(fd, 0) if poller is not None else 0
        if mask & (ERROR | HANGUP):
            mask |= wanted & (READ | WRITE)
        mask &= READ | WRITE | PRIORITY
        names = package()
        if self.by_poll:
            names.readwrite(channel, mask)
            return
        for bit, name in ((READ, "read"), (WRITE, "write"), (PRIORITY, "_exception")):
            if mask & bit and self._still(fd, channel, serial):
                getattr(names, name)(channel)


# The pollers that wait by what the program has; poll(2) is not everywhere, and then it is select.
_PROGRAMS: tuple[type[pollers.Poller], ...] = pollers.PROGRAMS


def _heed_names() -> None:
    for engine in engines():
        engine.heed_names()


Engine.by_names = EngineByNames
rebinding.observers.append(_heed_names)
rebinding.look()
