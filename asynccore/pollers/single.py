"""What one descriptor is ready for, asked of the kernel here and now.

Facts. What was ready when a batch of events was taken need not be so any more, once a handler ran.
Only a system call can tell whether the handler has consumed it.

Consequence. `readiness` asks for one descriptor, without a wait, where that decides whether the
same event would come again at once. It is for rare events: it costs as much as a whole wait.
"""

from __future__ import annotations

import select
import sys

from .base import PRIORITY, READ, WRITE
from .fileobj import number

# Taken at import: gevent's monkey patching deletes or replaces them.
_select = select.select
_poll = getattr(select, "poll", None)


def readiness(key: object, mask: int) -> int:
    """Return the bits of `mask` that a descriptor, or a key that tells one, is ready for.

    0 for one that is closed.
    """
    fd = number(key)
    try:
        if _poll is not None and sys.platform != "darwin":
            poller = _poll()
            poller.register(fd, mask)
            return sum(found & mask for _, found in poller.poll(0))
        read, write, priority = ([fd] if mask & bit else [] for bit in (READ, WRITE, PRIORITY))
        ready = _select(read, write, priority, 0)
    except (OSError, ValueError):
        return 0
    return sum(bit for bit, fds in zip((READ, WRITE, PRIORITY), ready, strict=True) if fds)
