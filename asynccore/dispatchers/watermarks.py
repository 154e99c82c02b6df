"""High and low watermarks: telling a producer of output to stop, and to go on.

Facts. Whoever sends faster than the peer reads fills the memory. The hooks that say so may send,
discard, close and change the watermarks themselves.

Consequence. A hook is called when the buffers are whole, and everything is looked at again when it
returns. What a hook does inside of a hook is left to that second look, so hooks never nest.
Channels without watermarks pay for one test where output is buffered, and for none where it is
sent at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..classic.own_names import OverridableProperty, hook
from ..classic.settings import Setting, has_no_effect

if TYPE_CHECKING:
    from ..engine.engine import Engine

NAMES = ("high_watermark", "low_watermark")

# asyncio's set_write_buffer_limits() has the same default.
LOW_SHARE = 4


class Watermark(Setting[int]):
    """A number of bytes, or `None`; in a class body, on an instance, and at run time.

    What is none, or a low one that would be over the high one, has no effect (`classic.settings`).
    """

    def check(self, value: object) -> None:
        check(self.name, value)

    def __set__(self, channel: Any, size: int | None) -> None:
        both = {name: getattr(channel, f"_ac_{name}") for name in NAMES} | {self.name: size}
        try:
            found = marks(both["high_watermark"], both["low_watermark"])
        except (TypeError, ValueError) as why:
            self.leave(channel, size, why, depth=4)
            return
        channel._ac_marks = found
        super().__set__(channel, size)

    def changed(self, channel: Any) -> None:
        channel._ac_output_changed()


def check(name: str, size: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't be a watermark."""
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(f"{name} is None or a number of bytes, not {size!r}")
    if size < 0:
        raise ValueError(f"{name} is None or at least 0 bytes, not {size}")


def marks(high: int | None, low: int | None) -> tuple[int, int] | None:
    """Return both watermarks with the default in its place, or `None` if there is no high one."""
    for name, size in zip(NAMES, (high, low), strict=True):
        check(name, size)
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

    _ac_high_watermark: int | None
    _ac_low_watermark: int | None
    _ac_marks: tuple[int, int] | None = None
    _ac_paused = False
    _ac_telling = False  # a hook runs
    _ac_closed = False
    _ac_engine: Engine | None = None

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        Watermark.adopt(cls, NAMES)
        if any(name in cls.__dict__ for name in NAMES):
            try:
                cls._ac_marks = marks(cls._ac_high_watermark, cls._ac_low_watermark)
            except ValueError as why:
                has_no_effect(why)

    @OverridableProperty
    def write_buffer_size(self) -> int:
        """How many bytes of output wait for the socket."""
        return self._ac_write_buffer_size()

    def _ac_write_buffer_size(self) -> int:
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
                    if present is not None and self._ac_write_buffer_size() > present[1]:
                        return
                    self._ac_paused = False
                    if not self._ac_closed:
                        hook(self, "handle_resume", 0)()
                elif (
                    present is None or self._ac_closed or self._ac_write_buffer_size() <= present[0]
                ):
                    return
                else:
                    self._ac_paused = True
                    hook(self, "handle_pause", 0)()
        finally:
            self._ac_telling = False
