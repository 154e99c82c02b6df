"""High and low watermarks: telling a producer of output to stop, and to go on.

Facts. Whoever sends faster than the peer reads fills the memory. The hooks that say so may send,
discard, close and change the watermarks themselves.

Consequence. A hook is called when the buffers are whole, and everything is looked at again when it
returns. What a hook does inside of a hook is left to that second look, so hooks never nest.
Channels without watermarks pay for one test where output is buffered, and for none where it is
sent at once.
"""

from __future__ import annotations

from typing import Any

from .adjusting import Adjustable

NAMES = ("high_watermark", "low_watermark")

# asyncio's set_write_buffer_limits() has the same default.
LOW_SHARE = 4


class Watermark(Adjustable[int]):
    """A number of bytes, or `None`; in a class body, on an instance, and at run time.

    Raises `TypeError` for what is no integer, and `ValueError` for a negative one or if the low
    watermark would be over the high one.
    """

    def __set__(self, channel: Any, size: int | None) -> None:
        both = {name: getattr(channel, name) for name in NAMES} | {self.name: size}
        channel._ac_marks = marks(both["high_watermark"], both["low_watermark"])
        super().__set__(channel, size)

    def changed(self, channel: Any) -> None:
        channel._ac_output_changed()


def marks(high: int | None, low: int | None) -> tuple[int, int] | None:
    """Return both watermarks with the default in its place, or `None` if there is no high one."""
    for name, size in zip(NAMES, (high, low), strict=True):
        if size is None:
            continue
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} is None or a number of bytes, not {size!r}")
        if size < 0:
            raise ValueError(f"{name} is None or at least 0 bytes, not {size}")
    if high is None:
        return None
    if low is None:
        return high, high // LOW_SHARE
    if low > high:
        raise ValueError(f"low_watermark ({low} bytes) can't be over high_watermark ({high} bytes)")
    return high, low


class Watermarked:
    """What a dispatcher with buffered output has for its watermarks.

    Assigned to a class after its body they have no effect: assign to instances, or in the body.
    """

    high_watermark = Watermark()
    """Over so many bytes of buffered output, `handle_pause` is called; `None` for never."""
    low_watermark = Watermark()
    """At so many bytes or fewer again, `handle_resume` is; `None` for a quarter of the other."""

    _ac_marks: tuple[int, int] | None = None
    _ac_paused = False
    _ac_telling = False  # a hook runs
    _ac_closed = False
    _ac_engine: Any = None

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Watermark.adopt(cls, NAMES, (int, float, str))  # of these, marks() tells which are wrong
        if any(name in cls.__dict__ for name in NAMES):
            cls._ac_marks = marks(cls.high_watermark, cls.low_watermark)

    @property
    def write_buffer_size(self) -> int:
        """How many bytes of output wait for the socket."""
        raise NotImplementedError

    def handle_pause(self) -> None:
        """Buffered output rose over `high_watermark`: stop producing. Nothing unless overridden.

        Called once, on the loop's thread, until `handle_resume` was.
        """

    def handle_resume(self) -> None:
        """Buffered output fell to `low_watermark`: go on. Nothing unless overridden."""

    def _ac_output_changed(self) -> None:
        """Look at the watermarks, on the loop's thread."""
        if self._ac_engine is None:
            self._ac_look_at_marks()
        else:
            self._ac_engine.run_on_loop(self._ac_look_at_marks)

    def _ac_look_at_marks(self) -> None:
        """Call the hooks for what was crossed, with the buffers whole."""
        if self._ac_telling:
            return  # the hook that runs is followed by another look
        self._ac_telling = True
        try:
            while True:
                present = self._ac_marks
                if self._ac_paused:
                    if present is not None and self.write_buffer_size > present[1]:
                        return
                    self._ac_paused = False
                    if not self._ac_closed:
                        self.handle_resume()
                elif present is None or self._ac_closed or self.write_buffer_size <= present[0]:
                    return
                else:
                    self._ac_paused = True
                    self.handle_pause()
        finally:
            self._ac_telling = False
