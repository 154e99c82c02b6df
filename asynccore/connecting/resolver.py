"""Names to addresses, without holding up the loop.

Facts. getaddrinfo(3) blocks, for 30 seconds and more if a name server is silent, and can't be
interrupted. The threads of `concurrent.futures` are waited for when the interpreter ends.

Consequence. Each look-up has a thread, which also does what was queued meanwhile, and ends. The
threads are daemons, so that nobody waits for a silent name server. What they find is handed to a
callback of the loop.

Trade-off. A thread costs some 50 µs, next to nothing beside a look-up, and in return none is there
while nothing is looked up.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..classic.namespace import package

# Look-ups at the same time; others wait for one to end. The most threads that asyncio's default
# executor, where its look-ups run, ever has.
MOST_THREADS = 32

# What getaddrinfo() returns, or the exception that it raised.
Answer = Any
Deliver = Callable[[Answer], object]
Resolver = Callable[[str, "int | str", int, Deliver], object]


class ThreadedResolver:
    """Looks names up by `socket.getaddrinfo`, in threads."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew: in a forked child there are no threads, and nobody waits for their answers.

        Who still wants one asks again.
        """
        self._lock = threading.RLock()  # a signal handler may connect, too
        self._queue: deque[tuple[str, int | str, int, Deliver]] = deque()
        self._threads = 0

    def __call__(self, host: str, port: int | str, family: int, deliver: Deliver) -> None:
        """Look a name up and call `deliver` with the answer, on some thread."""
        with self._lock:
            self._queue.append((host, port, family, deliver))
            if self._threads >= MOST_THREADS:
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name=f"look-up of {host}", daemon=True).start()
        except RuntimeError as why:  # the system has no thread left
            with self._lock:
                self._threads -= 1
                if self._threads:
                    return  # there is one that comes to it
                left, self._queue = self._queue, deque()
            for *_, tell in left:
                tell(why)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._threads -= 1
                    return
                host, port, family, deliver = self._queue.popleft()
            deliver(look_up(host, port, family))


def look_up(host: str | bytes, port: int | str | None, family: int, flags: int = 0) -> Answer:
    """Return what `socket.getaddrinfo` returns for TCP, or the exception that it raises."""
    try:
        return package().socket.getaddrinfo(
            host, port, family, int(socket.SOCK_STREAM), int(socket.IPPROTO_TCP), flags
        )
    except BaseException as why:
        return why


_threaded = ThreadedResolver()
_resolver: Resolver = _threaded

if sys.platform != "win32":
    os.register_at_fork(after_in_child=_threaded.after_fork)


def set_resolver(resolver: Resolver | None) -> None:
    """Have `connect_name` look names up by `resolver`; `None` means `getaddrinfo` in a thread.

    It is called as `resolver(host, port, family, deliver)`, on the loop's thread, and must not
    block: `host` is ASCII (an international name is encoded), `port` a number or a service's name,
    `family` 0 for any. Then or later, from any thread, it calls `deliver` with a list of tuples as
    `socket.getaddrinfo` returns them, or with an exception. Numeric addresses don't come to it.
    """
    global _resolver
    if resolver is not None and not callable(resolver):
        raise TypeError(f"a resolver is called with a name, which {resolver!r} can't be")
    _resolver = _threaded if resolver is None else resolver


def resolve(host: str, port: int | str, family: int, deliver: Deliver) -> None:
    """Look a name up by the resolver in use."""
    _resolver(host, port, family, deliver)
