"""What stream and datagram transports have in common: a protocol, its loop, and the water level.

Callbacks of a protocol that an engine's pass leads to find their loop running, whoever makes the
pass (`asyncio._set_running_loop` is there for event loops like this one), and the context of their
connection, so that no `ContextVar` tells one connection about another. What they raise goes to the
loop's exception handler, as in asyncio; `ExitNow` leaves the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import Any

from asynccore.engine import engine_for
from asynccore.errors import ExitNow, leaves_loop

from ..hosts.running_loop import running, set_running

# asyncio's defaults, so that a protocol that was tuned there finds the same: 64 KiB, and a quarter.
HIGH_WATER = 64 * 1024
LOW_SHARE = 4


def water_levels(high: int | None, low: int | None) -> tuple[int, int]:
    """Return both limits in bytes, with asyncio's defaults. Raises `ValueError` if they are not
    in order."""
    if high is None:
        high = HIGH_WATER if low is None else low * LOW_SHARE
    if low is None:
        low = high // LOW_SHARE
    if not high >= low >= 0:
        raise ValueError(f"limits are high >= low >= 0 bytes, not high={high!r} and low={low!r}")
    return high, low


class Flow:
    """The part of a transport that is about its protocol and not about its socket."""

    loop: asyncio.AbstractEventLoop
    channel: Any  # of what kind the transport says
    protocol: Any
    context: Context  # a copy of the one in which the connection was made
    in_context = False  # whether a callback runs in it now
    writing_paused = False
    closing = False
    lost = False  # connection_lost() is due, or was called
    levels = (HIGH_WATER, HIGH_WATER // LOW_SHARE)

    def in_loop(self, function: Callable[..., object], *args: object) -> None:
        """Call something that finds its loop running, and the connection's context."""
        if self.in_context:
            # A context can't be entered twice: write() in a callback may lead to pause_writing().
            self.context.copy().run(function, *args)
            return
        engine = self.channel._ac_engine
        self.in_context = True
        if engine is not None and engine.running is self.loop:
            try:
                self.context.run(function, *args)
            finally:
                self.in_context = False
            return
        before = running()
        set_running(self.loop)
        try:
            self.context.run(function, *args)
        finally:
            set_running(before)
            self.in_context = False

    def pause_protocol(self) -> None:
        """The water has risen over the high mark."""
        self.writing_paused = True
        self.tell("pause_writing", self.protocol.pause_writing)

    def resume_protocol(self) -> None:
        """The water has fallen to the low mark, and not because all is lost."""
        if self.lost:
            return
        self.writing_paused = False
        self.tell("resume_writing", self.protocol.resume_writing)

    def tell(self, name: str, callback: Callable[..., object], *args: object) -> None:
        """Call a protocol that may fail without consequences for the connection."""
        try:
            self.in_loop(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as why:
            if isinstance(why, ExitNow) or leaves_loop(why):
                self._leave(why)
            else:
                self.report(f"the protocol's {name}() failed", why)

    def _leave(self, why: BaseException) -> None:
        """Have an exception leave the loop, which would not come out of asyncio's callbacks."""
        leave = getattr(self.loop, "_ac_leave", None)
        engine = engine_for(self.channel._map)
        if leave is not None:
            leave(why)
        elif engine.owner == get_ident():
            raise why
        else:  # a callback of a host's loop
            engine.call_soon_threadsafe(_reraise, why)

    def report(self, message: str, why: BaseException) -> None:
        """Hand an exception to the loop's exception handler."""
        self.loop.call_exception_handler(
            {
                "message": message,
                "exception": why,
                "transport": self,
                "protocol": self.protocol,
            }
        )


def _reraise(why: BaseException) -> None:
    raise why
