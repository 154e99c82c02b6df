"""Handing a batch of events to the channels.

Facts. Handlers close other channels, whose descriptors come back under the same numbers, and run
loops of their own, all while a batch of events is being handled. select(2) and poll(2) disagree
about what a hang-up is.

Consequence. An event is delivered only to the object that was asked, and only while the map still
holds it; that is looked at again after every call that leaves this module. A batch ends where a
handler ran a loop of its own, for the rest of it is out of date. Readiness has the meaning that
select gives it, whatever the poller: a hang-up makes a channel readable, an error makes it
readable and writable. So a read handler finds the bytes that arrived before the end, then the end
itself, and the error in `recv` or `send`.

Trade-off. Nearly all events are for reading, and take a way of their own, which says some of this
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

from . import pollers
from .channels import Map
from .errors import RERAISED, leaves_loop
from .interest import Interest
from .meters import Meter
from .pollers import ERROR, HANGUP, INVALID, PRIORITY, READ, WRITE
from .turns import Turn

_ALL = range(1)  # stands for any doubtful descriptor: not empty


class Delivery(Turn):
    """The part of an engine that calls the handlers."""

    map: Map
    clock: Callable[[], float]
    interest: Interest
    passes: int
    events: int
    meter: Meter | None
    _signalled: bool
    _doing = READ  # what the last handler of several was to do

    if TYPE_CHECKING:

        def _attach(self, poller: pollers.Poller) -> pollers.Poller: ...

    def _dispatch(self, events: pollers.Events) -> bool:
        """Call the handlers for a batch of events; tell whether there was anything to handle."""
        interest = self.interest
        asked, quiet, readers = interest.asked, interest.quiet, interest.readers
        dirty = interest.dirty
        holder: Callable[[int], Any] = self.map.get
        serial = self.passes
        interest.gone.clear()
        interest.stirred = True
        self.events += len(events)
        timed = interest.timed
        # While this is empty, the map holds what was asked.
        doubtful: Container[int] = interest.moved if interest.reports_moves else _ALL
        now = self.clock() if timed else 0.0
        meter = self.meter
        if meter is not None:
            readers = {}  # the short way has no clock
        fd: int | None = None
        for fd, mask in events:
            if timed:
                watch = timed.get(fd)
                if watch is not None:
                    # Its timeouts are put off.
                    watch.active = now
                    if mask & WRITE:
                        watch.sent = now
            channel: Any = readers.get(fd)
            if mask == READ and channel is not None and (not doubtful or holder(fd) is channel):
                # Nearly all events are of this kind, so they take the shortest way.
                try:
                    channel.handle_read_event()
                except RERAISED:
                    raise
                except BaseException as why:
                    if leaves_loop(why):
                        raise
                    if not interest.waits(fd, channel, why, READ):
                        channel.handle_error()
                if self.passes != serial:
                    break
                # Its handler may have assigned a predicate, or state that one looks at.
                if (channel.writable() or not channel.readable()) and fd in readers:
                    # What a listener answers to `writable` counts for nothing.
                    if not (channel.accepting and channel.readable()):
                        dirty.add(fd)
                continue
            channel = asked.get(fd)
            if channel is None:
                self._unknown(fd)
            elif holder(fd) is channel:
                if mask != READ or fd in quiet:
                    dirty.add(fd)
                try:
                    if mask != READ:
                        self._deliver(fd, channel, mask, serial)
                    elif meter is None:
                        channel.handle_read_event()
                    else:
                        meter.call(channel.handle_read_event, fd=fd)
                except RERAISED:
                    raise
                except BaseException as why:
                    if leaves_loop(why):
                        raise
                    doing = READ if mask == READ else self._doing
                    if not interest.waits(fd, channel, why, doing):
                        channel.handle_error()
                if self.passes != serial:
                    break
        return fd is not None

    def _deliver(self, fd: int, channel: Any, mask: int, serial: int) -> None:
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
        meter = self.meter
        self._doing = READ
        if mask & READ:
            if meter is None:
                channel.handle_read_event()
            else:
                meter.call(channel.handle_read_event, fd=fd)
            if not self._still(fd, channel, serial):
                return
        if mask & WRITE:
            self._doing = WRITE
            if meter is None:
                channel.handle_write_event()
            else:
                meter.call(channel.handle_write_event, fd=fd)
            if not self._still(fd, channel, serial):
                return
        if mask & PRIORITY:
            if meter is None:
                channel.handle_expt_event()
            else:
                meter.call(channel.handle_expt_event, fd=fd)

    def _still(self, fd: int, channel: Any, serial: int) -> bool:
        """Look again, after a handler ran, whether the rest of an event is for this channel."""
        return (
            self.passes == serial
            and self.interest.asked.get(fd) is channel
            and self.map.get(fd) is channel
        )

    def _unknown(self, fd: int) -> None:
        """Sort out an event for a descriptor without a channel."""
        poller = self.interest.poller
        if poller is None or fd in self.interest.gone:
            return  # closed by a handler in this batch
        if self.wakeup is not None and fd == self.wakeup.fileno():
            self._signalled = not self.wakeup.clear()
        elif fd in poller.interest:
            poller.set(fd, 0)
        else:
            # A duplicate of a closed descriptor lives on in the kernel's set, where its old
            # number can't reach it. A new set is the only way to be rid of it.
            self._attach(pollers.make(poller.name))
