"""Twisted's reactors as hosts: select, poll, epoll, kqueue and asyncio ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadWriteDescriptor
from twisted.python import log
from zope.interface import implementer

from asynccore.engine import Engine
from asynccore.running.hosting import Attachment


@implementer(IReadWriteDescriptor)
class _Descriptor:
    """A descriptor in the form that reactors watch."""

    def __init__(
        self,
        fd: int,
        callback: Callable[[], object],
        lost: Callable[[_Descriptor, bool, bool], object],
    ) -> None:
        self.fd = fd
        self._callback = callback
        self._lost = lost
        self.read = self.write = False

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.fd

    def doRead(self) -> None:
        """Call back. Returns nothing, for a true value would drop the descriptor."""
        self._callback()

    def doWrite(self) -> None:
        """Call back."""
        self._callback()

    def connectionLost(self, reason: object) -> None:
        """The reactor watches no more: it ends, or found a hang-up, an error, or `fd` closed."""
        sides = self.read, self.write
        self.read = self.write = False
        self._lost(self, *sides)

    def logPrefix(self) -> str:
        """Return what the log calls us."""
        return "asynccore"


class TwistedHost:
    """The `Host` of one reactor."""

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._descriptors: dict[int, _Descriptor] = {}

    def watch(self, fd: int, read: bool, write: bool, callback: Callable[[], object]) -> None:
        """Call back while `fd` is ready."""
        descriptor = self._descriptors.get(fd)
        if descriptor is None:
            descriptor = self._descriptors[fd] = _Descriptor(fd, callback, self._lost)
        if read and not descriptor.read:
            self.reactor.addReader(descriptor)
        elif descriptor.read and not read:
            self.reactor.removeReader(descriptor)
        if write and not descriptor.write:
            self.reactor.addWriter(descriptor)
        elif descriptor.write and not write:
            self.reactor.removeWriter(descriptor)
        descriptor.read, descriptor.write = read, write

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
        descriptor = self._descriptors.pop(fd)
        reactor = self.reactor
        for side, remove in (
            (descriptor.read, reactor.removeReader),
            (descriptor.write, reactor.removeWriter),
        ):
            if side:
                try:
                    remove(descriptor)
                except OSError:
                    _forget(reactor, fd)

    def _lost(self, descriptor: _Descriptor, read: bool, write: bool) -> None:
        # At a hang-up without input the poll and epoll reactors tell their transports to end, and
        # don't call doRead. What it means to a channel is the poller's to say. When the reactor
        # shuts down, this is called no more.
        self.reactor.callLater(0, self._again, descriptor, read, write)

    def _again(self, descriptor: _Descriptor, read: bool, write: bool) -> None:
        descriptor.doRead()
        if self._descriptors.get(descriptor.fd) is descriptor:
            with contextlib.suppress(OSError, ValueError):  # Others may have closed it.
                self.watch(
                    descriptor.fd, read or descriptor.read, write or descriptor.write, _nothing
                )

    def call_later(self, delay: float, callback: Callable[[], object]) -> CancellableCall:
        """Call back once."""
        return CancellableCall(self.reactor.callLater(delay, callback))


def _forget(reactor: object, fd: int) -> None:
    """Strike a descriptor out that was closed already, by another copy of asyncore.

    EPollReactor fails halfway then, and would never watch that number again.
    """
    for name in ("_reads", "_writes"):
        fds = getattr(reactor, name, None)
        if isinstance(fds, set):
            fds.discard(fd)
    getattr(reactor, "_selectables", {}).pop(fd, None)


def _nothing() -> None:
    """The descriptor has its callback already."""


class CancellableCall:
    """A delayed call that may be cancelled when it is over, too."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def cancel(self) -> None:
        """Don't call."""
        if self._call.active():
            self._call.cancel()


class TwistedAttachment(Attachment):
    """A map that a reactor drives."""

    def __init__(self, engine: Engine, reactor: object) -> None:
        super().__init__(engine, TwistedHost(reactor))
        self._waiters: list[Deferred[None]] = []

    def wait_empty(self) -> Deferred[None]:
        """Return a Deferred that fires when the map is empty, `asynccore.stop()` is called, or
        it is detached; and fails with what left a handler: `ExitNow` and the like.
        """
        waiter: Deferred[None] = Deferred()
        if self.exception is not None:
            waiter.errback(self.exception)
        elif self.attached and self.engine.map:
            self._waiters.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def emptied(self) -> None:
        """Fire the Deferreds."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def ended(self) -> None:
        """Fire the Deferreds, with what left a handler; if there are none, log that."""
        if self.exception is None:
            self.emptied()
            return
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(self.exception)
        if not waiters:
            log.err(self.exception, "an attached map of channels ended")  # type: ignore[no-untyped-call]


def attach(engine: Engine, reactor: Any) -> TwistedAttachment:
    """Let a reactor drive a map's engine; on the reactor's thread, before or while it runs."""
    attachment = TwistedAttachment(engine, reactor)
    attachment.begin()
    return attachment
