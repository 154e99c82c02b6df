"""Noticing the end of child processes without a signal handler.

Facts. Twisted's reactors have a handler for SIGCHLD, if they are run and may have it. Under
`asyncore.loop()` signals belong to the program, and handlers can only be set on the main thread.
Without one, a reactor looks for the end when the last pipe is closed, and never again.

Consequence. A child is watched by its own descriptor (pidfd_open(2), Linux 5.3), and where there is
none, all of them are looked at ten times in a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

# How often to look for children that have ended, in seconds: what is taken for "at once" in an
# interface (Nielsen, Usability Engineering, 1993).
INTERVAL = 0.1


@implementer(IReadDescriptor)
class ProcessDescriptor:
    """The descriptor of a process, which is readable once the process has ended."""

    def __init__(self, reactor: Any, fd: int) -> None:
        self._reactor = reactor
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._fd

    def logPrefix(self) -> str:
        """Return what the log calls us."""
        return "child process"

    def doRead(self) -> None:
        """The process has ended."""
        self.connectionLost(None)
        _reap()

    def connectionLost(self, reason: object) -> None:
        """Give the descriptor back; the reactor calls this when it shuts down."""
        fd, self._fd = self._fd, -1
        if fd != -1:
            self._reactor.removeReader(self)
            os.close(fd)


def watch_all(reactor: Any) -> None:
    """Watch every child that a reactor has or will have, from now on."""
    if sys.platform == "win32":
        return
    from twisted.internet.process import reapProcessHandlers

    for transport in list(reapProcessHandlers.values()):
        watch(reactor, transport)
    spawn = reactor.spawnProcess

    def spawn_and_watch(*args: object, **kw: object) -> Any:
        transport = spawn(*args, **kw)
        watch(reactor, transport)
        return transport

    reactor.spawnProcess = spawn_and_watch


def watch(reactor: Any, transport: Any) -> None:
    """Tell the protocol of a process that has just begun when it has ended.

    A reactor with `_ac_hold()` and `_ac_release()` is told that something is to be waited for.
    """
    if sys.platform == "win32" or not transport.pid:
        return  # Windows' transports look by themselves, and what has ended is known to have.
    fd = _open(transport.pid)
    if fd != -1:
        reactor.addReader(ProcessDescriptor(reactor, fd))
    else:
        ProcessTimer(reactor, transport).begin()


def _open(pid: int) -> int:
    pidfd_open: Callable[[int], int] | None = getattr(os, "pidfd_open", None)
    try:
        return -1 if pidfd_open is None else pidfd_open(pid)
    except OSError:
        return -1  # The kernel is too old for it, or a sandbox forbids it.


class ProcessTimer:
    """Looks for the end of one process by a timer, and keeps the loop meanwhile."""

    def __init__(self, reactor: Any, transport: Any) -> None:
        self._reactor = reactor
        self._transport = transport

    def begin(self) -> None:
        """Look from now on."""
        getattr(self._reactor, "_ac_hold", _nothing)()
        self._reactor.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        _reap()
        if self._transport.pid:
            self._reactor.callLater(INTERVAL, self._look)
        else:
            getattr(self._reactor, "_ac_release", _nothing)()


def _reap() -> None:
    from twisted.internet.process import reapAllProcesses

    reapAllProcesses()


def _nothing() -> None:
    """The reactor needs not be held: it is whoever waits in it that goes on."""
