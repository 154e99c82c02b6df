"""`IReactorTime` over asynccore's timers.

Facts. Twisted's delayed calls carry the time since the epoch, which code compares with
`reactor.seconds()`, and which twisted.web writes into its logs. The system's clock is stepped, by
hours where a machine begins without the right time.

Consequence. The timers are those of the engine, which are monotonic. The time since the epoch is
that of the engine's clock, and an offset; when that is out of date, it is corrected, and the calls
that wait with it. So no step of the clock delays a call or brings it on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.python import log

import asynccore
from asynccore.channels import Map
from asynccore.engine.timers import Timer
from asynccore.errors import reraised

from .descriptor_set import DescriptorSet

# How far `seconds()` may be from the system's clock, in seconds. NTP slews what is less than 0.128
# (RFC 5905, STEPT), which the monotonic clock takes part in; logs have whole seconds.
_STEP = 0.128


class DelayedCalls(DescriptorSet):
    """The part of a reactor that has a clock. `wall` is by default `time.time`."""

    def __init__(self, map: Map, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._offset = 0.0
        self._calls: dict[DelayedCall, Timer] = {}
        self._at_once: set[DelayedCall] = set()  # those that keep the loop
        super().__init__(map)

    def seconds(self) -> float:
        """Return the time since the epoch in seconds."""
        now = self.engine.clock()
        step = self._wall() - now - self._offset
        if abs(step) > _STEP:
            self._offset += step
            for call in self._calls:
                call.time += step
        return now + self._offset

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> DelayedCall:
        """Call back after so many seconds. Raises `AssertionError` as Twisted's reactors do."""
        if not delay >= 0:
            raise AssertionError(f"a delay is at least 0 seconds, not {delay!r}")
        call = DelayedCall(
            self.seconds() + delay,
            callable,
            args,
            kw,
            self._cancelled,
            self._moved_up,
            seconds=self.seconds,
        )
        self._calls[call] = asynccore.call_later(delay, self._run_call, call, map=self.map)
        if delay == 0:
            self._at_once.add(call)
            self._ac_hold()
        return call

    def getDelayedCalls(self) -> Any:
        """Return the calls that wait."""
        return list(self._calls)

    def timeout(self) -> float | None:
        """Return how long one may wait before a timer is due, `None` if there is none."""
        due = self.engine.timers.next()
        return None if due is None else max(0.0, due - self.engine.clock())

    def _run_call(self, call: DelayedCall) -> None:
        self._calls.pop(call, None)
        if call in self._at_once:
            self._at_once.remove(call)
            self._ac_release()
        if call.delayed_time > 0:
            call.activate_delay()
            left = max(0.0, call.time - self.seconds())
            self._calls[call] = asynccore.call_later(left, self._run_call, call, map=self.map)
            return
        call.called = 1
        try:
            call.func(*call.args, **call.kw)
        except reraised():
            raise
        except BaseException:
            log.err(None, f"in a delayed call of {call.func!r}")  # type: ignore[no-untyped-call]

    def _cancelled(self, call: DelayedCall) -> None:
        self._calls.pop(call).cancel()
        if call in self._at_once:
            self._at_once.remove(call)
            self._ac_release()

    def _moved_up(self, call: DelayedCall) -> None:
        self._calls[call].reset(max(0.0, call.time - self.seconds()))
