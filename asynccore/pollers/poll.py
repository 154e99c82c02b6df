"""poll(2): no limit on descriptor numbers, a cost that grows with every descriptor watched."""

from __future__ import annotations

import os
import sys

from .base import Event, Poller, milliseconds

if sys.platform != "win32":
    # Taken at import: gevent's monkey patching deletes or replaces it.
    from select import poll as _poll

    class PollPoller(Poller):
        """Readiness by poll(2)."""

        name = "poll"

        def __init__(self) -> None:
            super().__init__()
            self._poll = _poll()

        def set(self, fd: int, mask: int) -> None:
            if mask:
                if fd not in self.interest:
                    os.fstat(fd)  # poll itself would tell of a bad descriptor only when it waits
                self._poll.register(fd, mask)
                self.interest[fd] = mask
            elif self.interest.pop(fd, None) is not None:
                self._poll.unregister(fd)
                if self.left is not None:
                    self.left(fd)

        def wait(self, timeout: float | None) -> list[Event]:
            return self.share(self._poll.poll(milliseconds(timeout)))

        def verify(self, fd: int) -> bool:
            # poll(2) takes numbers, so nothing can be dropped; POLLNVAL tells of closed ones.
            return True
