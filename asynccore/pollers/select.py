"""select(2): everywhere, for descriptors below FD_SETSIZE only (1,024 on Linux and macOS)."""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import Any

from ..classic.genuine import genuine
from ..classic.namespace import package
from .base import INVALID, PRIORITY, READ, WRITE, Event, OutOfRange, Poller

# FD_SETSIZE of glibc, musl and Apple's libc. On Windows it counts sockets, of any number.
_FD_SETSIZE = 1024

# What select says of a closed descriptor; Winsock has a number of its own, WSAENOTSOCK.
_NOT_OPEN = frozenset({errno.EBADF, 10038})

# For whom exceptional conditions are looked for. Winsock reports a failed connect as such a one.
_EXCEPTIONAL = PRIORITY | WRITE if sys.platform == "win32" else PRIORITY

# gevent's monkey patching replaces it.
_select: Any = genuine("select", "select").select


class SelectPoller(Poller):
    """Readiness by select(2)."""

    name = "select"
    _limit = _FD_SETSIZE

    def set(self, fd: int, mask: int) -> None:
        if not mask:
            if self.interest.pop(fd, None) is not None and self.left is not None:
                self.left(fd)
            return
        if sys.platform != "win32" and fd not in self.interest:
            if fd >= self._limit:
                raise OutOfRange(
                    f"select() can't watch descriptor {fd}, only numbers below {self._limit}; "
                    "use the poller 'poll' or the platform's default"
                )
            os.fstat(fd)
        if fd not in self.interest:
            self._ranks = None
        self.interest[fd] = mask

    def wait(self, timeout: float | None) -> list[Event]:
        reading = [fd for fd, mask in self.interest.items() if mask & READ]
        writing = [fd for fd, mask in self.interest.items() if mask & WRITE]
        exceptional = [fd for fd, mask in self.interest.items() if mask & _EXCEPTIONAL]
        if sys.platform == "win32" and not self.interest:
            # Winsock refuses three empty sets. The caller waits again if time is left.
            time.sleep(1.0 if timeout is None else min(timeout, 1.0))
            return []
        try:
            ready = self._call(reading, writing, exceptional, timeout)
        except OSError as why:
            if why.errno not in _NOT_OPEN:
                raise
            # Somebody closed a descriptor. If none is found, it was a signal handler that closed
            # it in the middle of the call, and took it out as well.
            return self.share([(fd, INVALID) for fd in self.interest if not _is_open(fd)])
        masks: dict[int, int] = {}
        for bit, fds in zip((READ, WRITE, PRIORITY), ready, strict=True):
            for fd in fds:
                masks[fd] = masks.get(fd, 0) | bit
        return self.share(self.in_order(list(masks.items())))

    @staticmethod
    def _call(reading: object, writing: object, exceptional: object, timeout: float | None) -> Any:
        return _select(reading, writing, exceptional, timeout)

    def verify(self, fd: int) -> bool:
        # select(2) takes numbers, so nothing can be dropped; EBADF tells of closed ones.
        return True


class ProgramsSelectPoller(SelectPoller):
    """Readiness by the `select` that the program has put in the place of the module's.

    It is looked up at each wait. Those of gevent and eventlet have no limit.
    """

    _limit = sys.maxsize

    @staticmethod
    def _call(reading: object, writing: object, exceptional: object, timeout: float | None) -> Any:
        return package().select.select(reading, writing, exceptional, timeout)


def _is_open(fd: int) -> bool:
    """Ask select itself, for on Windows a socket is no file descriptor."""
    try:
        _select([fd], [], [], 0)
    except (OSError, ValueError):
        return False
    return True
