"""kqueue(2), the default on macOS and the BSDs.

Facts. Reading and writing are two filters of a descriptor, each added and deleted by itself. The
kernel drops both when the descriptor is closed. End of file is a flag on either filter, which
comes with the data that is still to be read.

Consequence. `set` sends only the filters that changed. EV_EOF is reported as a hang-up beside
the readiness, and the engine delivers what is readable first.
"""

from __future__ import annotations

import sys

from ..classic.genuine import genuine
from .base import EVENTS_PER_PASS, HANGUP, READ, WRITE, Event, Poller

if sys.platform not in ("linux", "win32"):
    select = genuine("select", "kqueue", "kevent")  # which gevent's monkey patching deletes
    _kevent, _kqueue = select.kevent, select.kqueue

    _FILTERS = ((READ, select.KQ_FILTER_READ), (WRITE, select.KQ_FILTER_WRITE))
    _BITS = {select.KQ_FILTER_READ: READ, select.KQ_FILTER_WRITE: WRITE}

    class KqueuePoller(Poller):
        """Readiness by kqueue(2)."""

        name = "kqueue"

        def __init__(self) -> None:
            super().__init__()
            self._kqueue = _kqueue()

        def set(self, fd: int, mask: int) -> None:
            known = self.interest.get(fd, 0)
            for bit, kind in _FILTERS:
                if mask & bit and not known & bit:
                    self._kqueue.control([_kevent(fd, kind, select.KQ_EV_ADD)], 0)
                    known |= bit
                    self.interest[fd] = known
                elif known & bit and not mask & bit:
                    try:
                        self._kqueue.control([_kevent(fd, kind, select.KQ_EV_DELETE)], 0)
                    except OSError:
                        # ENOENT, EBADF: closed already, the kernel has forgotten it by itself.
                        pass
            if mask:
                self.interest[fd] = mask
            else:
                self.interest.pop(fd, None)

        def wait(self, timeout: float | None) -> list[Event]:
            masks: dict[int, int] = {}
            for event in self._kqueue.control(None, EVENTS_PER_PASS, timeout):
                bits = _BITS[event.filter]
                if event.flags & select.KQ_EV_EOF:
                    bits |= HANGUP
                masks[event.ident] = masks.get(event.ident, 0) | bits
            return list(masks.items())

        def verify(self, fd: int) -> bool:
            for bit, kind in _FILTERS:
                if self.interest[fd] & bit:
                    try:
                        self._kqueue.control([_kevent(fd, kind, select.KQ_EV_ADD)], 0)
                    except OSError:
                        return False
            return True

        def fileno(self) -> int:
            return int(self._kqueue.fileno())

        def close(self) -> None:
            self._kqueue.close()
            self.interest = {}

        def after_fork(self) -> None:
            # A kqueue is not inherited: its number belongs to nobody, or to somebody else.
            self.interest = {}
