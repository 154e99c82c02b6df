"""The event loop that counts as running while passes are made.

Facts. Protocols and tasks find their loop by `asyncio.get_running_loop()`. Asking that costs a
system call, getpid(2), up to Python 3.11, and setting it two.

Consequence. It is asked and set once for a pass and not for each event, and the engine notes which
one it is.
"""

from __future__ import annotations

import asyncio
import weakref

from asynccore.engine import Engine, engines

running = asyncio._get_running_loop
set_running = asyncio._set_running_loop


def is_lent() -> bool:
    """Whether the running loop counts as such for a pass alone, whose wait may run another one."""
    loop = running()
    return loop is not None and any(engine.running is loop for engine in engines())


class Running:
    """Makes the passes of an engine (`Engine.within`) with a loop of asyncio as the running one.

    If another one runs in this thread, it stays.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = weakref.ref(loop)  # which ends when its program drops it

    def __call__(self, engine: Engine, timeout: float | None) -> None:
        loop, before, outer = self.loop(), running(), engine.running
        engine.running = loop if before is None or before is loop else None
        if before is None:
            set_running(loop)
        try:
            engine.make_pass(timeout)
        finally:
            if before is None:
                set_running(None)
            engine.running = outer
