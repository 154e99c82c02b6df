"""A worker that has accepted enough is replaced: `asynccore run --max-connections-per-worker`.

Facts. What leaks a little with each connection, in a program or a library that nobody mends, fills
the memory in the end. To count connections for that would cost each of them something; a listener
counts what it accepts anyway.

Consequence. A thread looks at the listeners' counts once a second, and tells the parent, which
replaces the worker as SIGHUP would: the next one listens before this one drains. It is told again
later, for the parent may not have been able to.

Trade-off. A worker accepts for up to a second more, and for as long as its successor takes to come
up. The count of a listener goes with it when it is closed.
"""

from __future__ import annotations

import signal
import sys
import time

from .. import worker
from ..engine.engine import engines

# How many connections the process may accept; set by `asynccore run --workers`.
VARIABLE = "ASYNCCORE_MAX_CONNECTIONS_PER_WORKER"

# How often the counts are looked at, in seconds.
INTERVAL = 1.0

# When the parent is told again, in seconds. It says each time why it could not replace the worker.
AGAIN = 60.0


class Wear:
    """Tells the parent once the listeners of this process have accepted `most` connections."""

    def __init__(self, place: worker.Place, most: int) -> None:
        self._place = place
        self._most = most

    def accepted(self) -> int:
        """Return how many connections the present listeners have accepted."""
        total = 0
        for engine in engines():
            try:
                channels = list(engine.map.values())
            except RuntimeError:
                continue  # the loop has changed it meanwhile
            for channel in channels:
                # The class is asked, for an object may have an answer to any name.
                if getattr(type(channel), "_ac_acceptor", self) is None:
                    acceptor = channel._ac_acceptor
                    total += 0 if acceptor is None else acceptor.accepted
        return total

    def look(self) -> float:
        """Tell the parent if it is time to; return in how many seconds to look again."""
        if self.accepted() < self._most:
            return INTERVAL
        self._place.tell(worker.WORN)
        return AGAIN

    def run(self) -> None:
        """Look again and again, for ever."""
        if sys.platform != "win32":
            # A signal is to end the wait of the loop, not this one.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            time.sleep(self.look())
