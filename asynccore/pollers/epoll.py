"""epoll(7), the default on Linux.

Facts. The kernel keeps the interest set, so a wait costs by the descriptors that are ready, not
by those that are watched. It keeps it by open file description, not by number: closing the last
number of a description takes it out silently, closing one while a duplicate lives on does not.
Regular files and directories are refused with EPERM.

Consequence. Descriptors are taken out before they are closed (the engine sees to it), `verify`
asserts the registration again, and what is refused is reported as ready at every wait, which is
what select(2) says of such files.

Trade-off. Level-triggered, though edge-triggered would save a few calls: a handler may read as
little as it likes, as classic handlers do, and is told again.
"""

from __future__ import annotations

import errno
import os
import sys

from ..classic.genuine import genuine
from .base import (
    ERROR,
    EVENTS_PER_PASS,
    HANGUP,
    PRIORITY,
    Event,
    Poller,
    PollerLost,
    identity,
)

if sys.platform == "linux":
    _select = genuine("select", "epoll")  # which gevent's monkey patching deletes
    _epoll = _select.epoll

    # What would close, when it is deleted, a number that is somebody else's by now.
    _abandoned: list[object] = []

    class EpollPoller(Poller):
        """Readiness by epoll(7)."""

        name = "epoll"

        def __init__(self) -> None:
            super().__init__()
            self._epoll = _epoll()
            self._identity = identity(self._epoll.fileno())
            self._always: dict[int, int] = {}

        def set(self, fd: int, mask: int) -> None:
            if mask == 0:
                if fd in self.interest:
                    if not self._always or self._always.pop(fd, None) is None:
                        # As `withdraw`, without the call.
                        try:
                            self._epoll.unregister(fd)
                        except (OSError, ValueError):
                            pass
                    self.interest.pop(fd, None)
                return
            if fd in self._always:
                self._always[fd] = mask
            elif fd not in self.interest:
                self._register(fd, mask)
            else:
                try:
                    self._epoll.modify(fd, mask)
                except FileNotFoundError:
                    # ENOENT: the number was closed and opened anew since.
                    self._register(fd, mask)
            self.interest[fd] = mask

        def withdraw(self, fd: int) -> None:
            try:
                self._epoll.unregister(fd)
            except (OSError, ValueError):
                pass  # it is closed already, and the kernel has forgotten it by itself

        @property
        def always_ready(self) -> bool:  # type: ignore[override]
            return bool(self._always)

        def _register(self, fd: int, mask: int) -> None:
            try:
                self._epoll.register(fd, mask)
            except FileExistsError:
                # EEXIST: it came back under the same number, by a duplicate for example.
                self._epoll.modify(fd, mask)
            except PermissionError:
                # EPERM: a regular file or directory, always ready.
                self._always[fd] = mask

        def wait(self, timeout: float | None) -> list[Event]:
            if not self._always:
                try:
                    return self._epoll.poll(timeout, EVENTS_PER_PASS)  # type: ignore[no-any-return]
                except OSError:
                    if self.is_lost():
                        raise PollerLost from None
                    raise
            events = [(fd, mask & ~PRIORITY) for fd, mask in self._always.items()]
            events += self._epoll.poll(0, EVENTS_PER_PASS)
            return self.share(events)

        def verify(self, fd: int) -> bool:
            if fd in self._always:
                return _is_open(fd)
            mask = self.interest[fd]
            try:
                self._epoll.modify(fd, mask)
            except FileNotFoundError:
                return self._reopened(fd, mask)
            except PermissionError:
                # The number belongs to a regular file now.
                self._always[fd] = mask
            except OSError as why:
                if self.is_lost():
                    raise PollerLost from None
                if why.errno != errno.EBADF:
                    raise
                return False
            return True

        def _reopened(self, fd: int, mask: int) -> bool:
            try:
                self._register(fd, mask)
            except OSError:
                return False
            return True

        def fileno(self) -> int:
            return int(self._epoll.fileno())

        def is_lost(self) -> bool:
            try:
                fd = self._epoll.fileno()
            except ValueError:
                return False  # it was closed here
            return identity(fd) != self._identity or super().is_lost()

        def abandon(self) -> None:
            super().abandon()
            _abandoned.append(self._epoll)

        def close(self) -> None:
            self._epoll.close()
            self.interest = {}

        def __del__(self) -> None:
            # An engine goes with its map, without a word.
            epoll = getattr(self, "_epoll", None)
            if epoll is not None and not sys.is_finalizing() and self.is_lost():
                _abandoned.append(epoll)

    assert (ERROR, HANGUP) == (_select.EPOLLERR, _select.EPOLLHUP)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
