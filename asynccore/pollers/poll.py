"""poll(2): no limit on descriptor numbers, a cost that grows with every descriptor watched."""

from __future__ import annotations

import os
import sys
from typing import Any, ClassVar

from ..classic.genuine import genuine
from ..classic.namespace import package
from .base import Event, Poller, milliseconds

if sys.platform != "win32":

    class PollPoller(Poller):
        """Readiness by poll(2)."""

        name = "poll"
        # gevent's monkey patching puts another in its place, eventlet's deletes it.
        _make: ClassVar[Any] = genuine("select", "poll").poll

        def __init__(self) -> None:
            super().__init__()
            self._poll = self._make()

        def set(self, fd: int, mask: int) -> None:
            if mask:
                if fd not in self.interest:
                    os.fstat(fd)  # poll itself would tell of a bad descriptor only when it waits
                    self._ranks = None
                self._poll.register(fd, mask)
                self.interest[fd] = mask
            elif self.interest.pop(fd, None) is not None:
                self._poll.unregister(fd)
                if self.left is not None:
                    self.left(fd)

        def wait(self, timeout: float | None) -> list[Event]:
            return self.share(self.in_order(self._poll.poll(milliseconds(timeout))))

        def verify(self, fd: int) -> bool:
            # poll(2) takes numbers, so nothing can be dropped; POLLNVAL tells of closed ones.
            return True

    class ProgramsPollPoller(PollPoller):
        """Readiness by the `poll` that the program has put in the place of the module's."""

        @staticmethod
        def _make() -> Any:
            return package().select.poll()
