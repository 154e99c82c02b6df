"""Timeouts of programs that wait by themselves, with a `select` over the map and `asyncore.read`.

Facts. Nobody runs the timers of such a program. It iterates over its map before it waits, and hands
events over afterwards, one by one: what it calls with one of them may come before the next.

Consequence. A timeout whose time is over is judged when the map is looked at, or an event handed
over, and only if its channel is ready for nothing that it waits for: else the program is about to
hear of that. Timers of the program's own are for a loop, and wait for one.

Trade-off. A plain dict tells nobody that it is looked at; there it takes an event of any channel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..pollers import READ, WRITE
from ..pollers.single import readiness

if TYPE_CHECKING:
    from .timers import Timers


def overdue(timers: Timers) -> list[Callable[..., object]]:
    """Take out what judges peers, is due, and need not wait for what has come."""
    return timers.take_out(timers.clock(), _is_to_be_judged)


def _is_to_be_judged(callback: object) -> bool:
    if not hasattr(callback, "_judges_peer"):
        return False
    channel = getattr(getattr(callback, "__self__", None), "channel", None)
    if channel is None or channel._fileno is None:
        return True
    waits_for = (READ if channel.readable() else 0) | (WRITE if channel.writable() else 0)
    return not readiness(channel._fileno, waits_for)
