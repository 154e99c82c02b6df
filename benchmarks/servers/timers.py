"""Timers by the million, in the server's process alone: made, cancelled, and run."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.servers import common

# Timeouts of connections lie a few minutes ahead, spread over them.
AHEAD_SECONDS = 300.0
SEED = 1  # the same delays for every server


def _seconds(work: Callable[[], object]) -> float:
    """Processor time that `work` takes: the machine may be shared, and there is no I/O in it."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


class _Countdown:
    """Calls `done` at the last of so many calls."""

    def __init__(self, count: int, done: Callable[[], object]) -> None:
        self.left = count
        self.done = done

    def __call__(self) -> None:
        self.left -= 1
        if not self.left:
            self.done()


def measure(
    call_later: Callable[..., Any], run: Callable[[], object], stop: Callable[[], object]
) -> None:
    """Read how many timers from the standard input; say the seconds that they took.

    `call_later(delay, callback)` returns something with `cancel()`; `run()` runs the loop until
    `stop()` is called in it.
    """
    count = int(sys.stdin.readline())
    delays = [random.Random(SEED).uniform(1.0, AHEAD_SECONDS) for _ in range(count)]
    timers: list[Any] = []
    add = _seconds(lambda: timers.extend([call_later(delay, int) for delay in delays]))

    def cancel_all() -> None:
        for timer in timers:
            timer.cancel()

    cancel = _seconds(cancel_all)
    timers.clear()
    countdown = _Countdown(count, stop)
    for delay in delays:
        call_later(delay * 1e-9, countdown)  # all due at once, in an order of their own
    expire = _seconds(run)
    figures = {"add": add, "cancel": cancel, "expire": expire, "total": add + cancel + expire}
    common.say({"event": "end", **figures})


def on_asyncio(loop: asyncio.AbstractEventLoop, version: str) -> None:
    """Announce, and measure an asyncio or uvloop loop."""
    common.announce(0, version)
    measure(loop.call_later, loop.run_forever, loop.stop)
    loop.close()


def on_asynccore(asyncore: Any, version: str) -> None:
    """Announce, and measure asynccore's loop, which one channel keeps running."""
    keeper = asyncore.dispatcher()
    keeper.create_socket()
    keeper.readable = keeper.writable = lambda: False
    common.announce(0, version)
    measure(asyncore.call_later, asyncore.loop, asyncore.stop)
    keeper.close()
