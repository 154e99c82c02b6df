"""asyncio and uvloop as hosts.

A loop that can't watch descriptors (Windows' ProactorEventLoop) is refused.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from asynccore.engine import Engine
from asynccore.running.hosting import Attachment

from .running_loop import Running


class AsyncioHost:
    """The `Host` of one asyncio loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._sides: dict[int, tuple[bool, bool]] = {}
        # uvloop rounds to milliseconds, and a call that comes early would be asked for again.
        self._whole = type(loop).__module__.partition(".")[0] == "uvloop"

    def watch(self, fd: int, read: bool, write: bool, callback: Callable[[], object]) -> None:
        """Call back while `fd` is ready."""
        reads, writes = self._sides.get(fd, (False, False))
        if read:
            self.loop.add_reader(fd, callback)
        elif reads:
            self.loop.remove_reader(fd)
        if write:
            self.loop.add_writer(fd, callback)
        elif writes:
            self.loop.remove_writer(fd)
        self._sides[fd] = read, write

    def unwatch(self, fd: int) -> None:
        """Call back no more."""
        read, write = self._sides.pop(fd)
        if self.loop.is_closed():
            return
        for side, remove in ((read, self.loop.remove_reader), (write, self.loop.remove_writer)):
            if side:
                try:
                    remove(fd)
                except OSError:
                    pass  # Another copy of asyncore has closed it, and asyncio has let go of it.

    def call_later(self, delay: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call back once."""
        if self._whole:
            delay = math.ceil(delay * 1000) / 1000
        return self.loop.call_later(delay, callback)


class AsyncioAttachment(Attachment):
    """A map that an asyncio loop drives.

    `await attachment`, or `await attachment.wait_empty()`, waits until the map is empty. `async
    with attachment:` detaches at the end.
    """

    def __init__(self, engine: Engine, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(engine, AsyncioHost(loop))
        self.loop = loop
        self._within = engine.within
        self._waiters: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        """Let the loop drive the map; it is what runs during the passes."""
        super().begin()
        self.engine.within = Running(self.loop)

    def forked(self) -> None:
        """This is a forked child: the loop runs in the parent alone."""
        super().forked()
        self.engine.within = self._within

    async def wait_empty(self) -> None:
        """Wait until the map is empty, `asynccore.stop()` is called, or it is detached.

        Raises what left a handler: `ExitNow` and the like.
        """
        if self.exception is not None:
            raise self.exception
        if self.attached and self.engine.map:
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def __await__(self) -> Generator[Any, None, None]:
        return self.wait_empty().__await__()

    async def __aenter__(self) -> AsyncioAttachment:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    def emptied(self) -> None:
        """Wake who waits."""
        self._release(None)

    def ended(self) -> None:
        """Wake who waits, with what left a handler; if nobody waits, report it to the loop."""
        self.engine.within = self._within
        if isinstance(self.exception, (KeyboardInterrupt, SystemExit)):
            # asyncio lets these two end its loop. A waiting task would end it a second time, while
            # `asyncio.run` on 3.10 waits for the tasks it has cancelled.
            for waiter in self._waiters:
                waiter.cancel()
            raise self.exception
        if not self._release(self.exception) and self.exception is not None:
            self.loop.call_exception_handler(
                {"message": "an attached map of channels ended", "exception": self.exception}
            )

    def _release(self, exception: BaseException | None) -> bool:
        waiters, self._waiters = self._waiters, []
        waiters = [waiter for waiter in waiters if not waiter.done()]
        for waiter in waiters:
            if exception is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(exception)
        return bool(waiters)


def attach(engine: Engine, loop: asyncio.AbstractEventLoop) -> AsyncioAttachment:
    """Let a loop drive a map's engine; on the loop's thread, before or while it runs."""
    attachment = AsyncioAttachment(engine, loop)
    try:
        attachment.begin()
    except NotImplementedError:
        raise RuntimeError(
            f"{type(loop).__name__} can't watch descriptors: use asyncio.SelectorEventLoop"
        ) from None
    return attachment
