"""Which descriptors Twisted wants watched: `IReactorFDSet` over a map, and what keeps its loop.

Facts. `loop()` ends when the map is empty. Between `connectTCP` and the moment when there is a
socket to watch, all that Twisted has is a call that is due at once, or a thread that looks a name
up.

Consequence. Work at hand keeps the loop, by a channel that is in the map as long as there is some:
calls without a delay, and jobs of threads. Delayed calls don't, as asynccore's timers don't.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.internet.posixbase import PosixReactorBase
from twisted.python.failure import Failure
from zope.interface import implementer

from asynccore.channels import Map, NullChannel
from asynccore.engine import engine_for, leave_map
from asynccore.pollers.wakeup import Wakeup

from .channel import TwistedChannel, is_open


class LoopKeeper(NullChannel):
    """A channel that keeps a loop alive and does nothing else."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave
        self.wakeup = Wakeup()  # a descriptor of its own: programs take the keys of maps for such

    def close(self) -> None:
        """Leave the map. The loop ends although there was work, for somebody wants it so."""
        self._leave()


@implementer(IReactorFDSet)
class DescriptorSet(PosixReactorBase):
    """The part of a reactor that watches descriptors, in a map."""

    def __init__(self, map: Map) -> None:
        self.map = map
        self.engine = engine_for(map)
        self._channels: dict[Any, TwistedChannel] = {}
        self._holds = 0
        self._keeper: LoopKeeper | None = None
        super().__init__()

    # -- IReactorFDSet --------------------------------------------------------------------------

    def addReader(self, reader: Any) -> None:
        """Read from `reader` when it is ready. Raises `OSError` if it is closed."""
        channel = self._enter(reader)
        if not channel.reading:
            channel.reading = True
            self.engine.touch(channel.fd)

    def addWriter(self, writer: Any) -> None:
        """Write to `writer` when it is ready. Raises `OSError` if it is closed."""
        channel = self._enter(writer)
        if not channel.writing:
            channel.writing = True
            self.engine.touch(channel.fd)

    def removeReader(self, reader: Any) -> None:
        """Read no more. Does nothing if it isn't watched."""
        channel = self._channels.get(reader)
        if channel is not None:
            channel.reading = False
            self._settle(channel)

    def removeWriter(self, writer: Any) -> None:
        """Write no more. Does nothing if it isn't watched."""
        channel = self._channels.get(writer)
        if channel is not None:
            channel.writing = False
            self._settle(channel)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """Watch nothing any more. Returns what was watched, connections that are paused included.

        The reactor's own descriptors stay.
        """
        removed = [it for it in self._channels if it not in self._internalReaders]
        for selectable in removed:
            self._leave(self._channels[selectable])
        return removed

    def getReaders(self) -> list[IReadDescriptor]:
        """Return what is read from."""
        return [it for it, channel in self._channels.items() if channel.reading]

    def getWriters(self) -> list[IWriteDescriptor]:
        """Return what is written to."""
        return [it for it, channel in self._channels.items() if channel.writing]

    # -- the map --------------------------------------------------------------------------------

    def _enter(self, selectable: Any) -> TwistedChannel:
        fd: int = selectable.fileno()
        known = self._channels.get(selectable)
        if known is not None and known.fd == fd:
            channel = known
        else:
            if known is not None:
                self._leave(known)
            if fd < 0:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            channel = self._channels[selectable] = TwistedChannel(self, selectable, fd)
        if self.map.get(fd) is not channel:
            self.map[fd] = channel
        return channel

    def _settle(self, channel: TwistedChannel) -> None:
        """Twisted asks for less: look whether the channel stays."""
        if channel.reading or channel.writing or is_open(channel.selectable):
            self.engine.touch(channel.fd)
        else:
            self._leave(channel)

    def _leave(self, channel: TwistedChannel) -> None:
        channel.reading = channel.writing = False
        if self._channels.get(channel.selectable) is channel:
            del self._channels[channel.selectable]
        leave_map(self.map, channel.fd, channel)

    def _ac_disconnect(self, selectable: object, why: BaseException, reading: bool) -> None:
        """Tell an object what its `doRead` or `doWrite` returned or raised: half-close included."""
        self._disconnectSelectable(selectable, why, reading)  # type: ignore[no-untyped-call]
        channel = self._channels.get(selectable)
        if channel is not None:
            self._settle(channel)

    def _ac_lose(self, selectable: Any, why: BaseException) -> None:
        """Take an object out, and tell it that its connection is lost."""
        channel = self._channels.get(selectable)
        if channel is not None:
            self._leave(channel)
        selectable.connectionLost(Failure(why))  # type: ignore[no-untyped-call]

    # -- keeping the loop -----------------------------------------------------------------------

    def _ac_hold(self) -> None:
        """Keep the loop alive until as many `_ac_release` calls."""
        self._holds += 1
        if self._holds == 1:
            self._enter_keeper()

    def _ac_release(self) -> None:
        """Let the loop end if there is nothing else to do."""
        self._holds -= 1
        if self._holds == 0:
            self._leave_keeper()
            self._give_back()

    def _enter_keeper(self) -> None:
        """See to it that the map isn't empty."""
        if self._keeper is None:
            self._keeper = LoopKeeper(self._leave_keeper)
        self.map[self._keeper.wakeup.fileno()] = self._keeper

    def _leave_keeper(self) -> None:
        if self._keeper is not None:
            leave_map(self.map, self._keeper.wakeup.fileno(), self._keeper)

    def _give_back(self) -> None:
        """Close the keeper's descriptor, which a reactor that isn't started may not need again."""
        if self._keeper is not None and self._holds == 0 and not self._started:
            self._keeper.wakeup.close()
            self._keeper = None
