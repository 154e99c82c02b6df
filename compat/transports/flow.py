"""What stream and datagram transports have in common: a protocol, its loop, and the water level.

Callbacks of a protocol that an engine's pass leads to find their loop running, whoever makes the
pass (`asyncio._set_running_loop` is there for event loops like this one). What they raise goes to
the loop's exception handler, as in asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

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
    channel: Any
    protocol: Any
    writing_paused = False
    closing = False
    lost = False  # connection_lost() is due, or was called
    levels = (HIGH_WATER, HIGH_WATER // LOW_SHARE)

    def in_loop(self, function: Callable[..., object], *args: Any) -> None:
        """Call something that finds its loop running."""
        engine = self.channel._ac_engine
        if engine is not None and engine.running is self.loop:
            function(*args)
            return
        before = running()
        set_running(self.loop)
        try:
            function(*args)
        finally:
            set_running(before)

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

    def tell(self, name: str, callback: Callable[..., object], *args: Any) -> None:
        """Call a protocol that may fail without consequences for the connection."""
        try:
            self.in_loop(callback, *args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as why:
            self.report(f"the protocol's {name}() failed", why)

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
