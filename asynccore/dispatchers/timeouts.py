"""Timeouts of a dispatcher: connecting, idle, reading, writing, and an absolute deadline.

Facts. Nearly every event of a channel puts its timeouts off, and nearly none of them ever expire.
A peer that trickles one byte a minute puts an idle timeout off for ever, and so does what we send
ourselves, to a peer that may be dead.

Consequence. An event only notes the time. One timer per channel looks later, at the earliest time
that anything could have expired, and sets itself anew if nothing has. For what must end whatever
the peer does, there is the deadline.

Trade-off. A dispatcher that changes its timeouts downwards pays for a timer; upwards it is free.
"""

from __future__ import annotations

from collections.abc import Callable
from errno import ETIMEDOUT
from typing import TYPE_CHECKING, Any, Literal

from ..channels import Map
from ..classic.own_names import hook
from ..classic.settings import Setting
from ..engine.engine import Engine, engine_for
from ..engine.timers import LazyTimer, Timer, Timers
from ..errors import judges_peer, leaves_loop, reports_to_channel, reraised

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    _Args = TypeVarTuple("_Args")

# Below this number of timers of a channel, those that are done need not be looked for.
_FEW_TIMERS = 16

# What `handle_timeout` is told of, "handshake" by TLS alone.
TimeoutName = Literal["connect", "idle", "read", "write", "deadline", "handshake"]

NAMES = ("connect_timeout", "idle_timeout", "read_timeout", "write_timeout")


class Timeout(Setting[float]):
    """A number of seconds, or `None` for never; on a class, an instance, and at run time.

    Assigned to an instance it counts from the last activity, or from then on if it is the first.
    What is none, or negative, is the program's own and has no effect (`classic.settings`).
    """

    def check(self, value: object) -> None:
        check(self.name, value)

    def changed(self, channel: Timed | Any) -> None:
        channel._ac_has_timeouts = True
        channel._ac_timeouts_changed()


def check(name: str, seconds: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't be a timeout."""
    if seconds is None:
        return
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} is None or a number of seconds, not {seconds!r}")
    if not seconds >= 0:
        raise ValueError(f"{name} is None or at least 0 seconds, not {seconds!r}")


class ChannelTimes(LazyTimer):
    """The times that one channel's timeouts count from, and the timer that looks at them."""

    __slots__ = (
        "active",
        "channel",
        "clock",
        "connecting_since",
        "deadline",
        "pending",
        "received",
        "sent",
    )

    def __init__(self, channel: Any, timers: Timers) -> None:
        super().__init__(timers)
        self.channel = channel
        self.clock = timers.clock
        self.active = timers.clock()  # the last sign of life, either way
        self.sent = self.active  # the last time that the peer took something
        self.received = self.active  # the last time that something came
        self.connecting_since: float | None = None
        self.pending: float | None = None  # since when output waits, if it does
        self.deadline: float | None = None

    def next_expiry(self) -> tuple[float, TimeoutName] | None:
        """Return when something expires, if nothing happens until then, and what it is."""
        channel = self.channel
        expiries: list[tuple[float, TimeoutName]] = []
        if self.deadline is not None:
            expiries.append((self.deadline, "deadline"))
        if self.connecting_since is not None:
            if channel._ac_connect_timeout is not None:
                expiries.append((self.connecting_since + channel._ac_connect_timeout, "connect"))
        elif not channel.accepting:
            if channel._ac_idle_timeout is not None:
                expiries.append((self.active + channel._ac_idle_timeout, "idle"))
            if channel._ac_read_timeout is not None and not channel._ac_pause_reasons:
                expiries.append((self.received + channel._ac_read_timeout, "read"))
            if self.pending is not None and channel._ac_write_timeout is not None:
                since = max(self.pending, self.sent)
                expiries.append((since + channel._ac_write_timeout, "write"))
        return min(expiries, default=None)

    def sent_now(self) -> None:
        """The peer took something."""
        self.active = self.sent = self.clock()

    def set_deadline(self, when: float | None) -> None:
        """Expire at this time of the clock, whatever happens; `None`: don't."""
        self.deadline = when
        self.rearm()

    def connecting(self) -> None:
        """Count the connect timeout from now."""
        self.connecting_since = self.clock()
        self.rearm()

    def connected(self) -> None:
        """The connection is established: count the other timeouts from now."""
        self.connecting_since = None
        self.active = self.sent = self.received = self.clock()
        self.rearm()

    def reading_resumed(self) -> None:
        """Nobody has listened to the peer meanwhile: count the read timeout from now."""
        self.received = self.clock()
        self.rearm()

    def wants_to_write(self, wants: bool) -> None:
        """Output began to wait, or none is left."""
        self.pending = self.clock() if wants else None
        self.rearm()

    def rearm(self) -> None:
        """Look when the next thing could expire, if that is sooner than planned."""
        expiry = self.next_expiry()
        if expiry is not None:
            self.look_by(expiry[0])

    @judges_peer
    @reports_to_channel
    def _look(self) -> None:
        self._timer = None
        expiry = self.next_expiry()
        now = self.clock()
        if expiry is not None and expiry[0] <= now:
            which = expiry[1]
            # Each expires once; the others count anew if the channel stays.
            if which == "deadline":
                self.deadline = None
            elif which == "connect":
                self.connecting_since = None
            elif which == "write":
                self.pending = now
            elif which == "read":
                self.received = now
            else:
                self.active = now
            try:
                self._tell(which)
            finally:
                if self.channel._ac_times is self:
                    self.rearm()
        else:
            self.rearm()

    def _tell(self, which: TimeoutName) -> None:
        channel = self.channel
        channel._ac_reason = TimeoutError(ETIMEDOUT, f"{which} timeout")
        try:
            hook(channel, "handle_timeout", 1)(which)
        except reraised():
            raise
        except BaseException:
            channel.handle_error()
        finally:
            channel._ac_reason = None


class ByteCounts:
    """How many bytes one channel has moved since somebody counts them.

    It is no part of `ChannelTimes`, for a channel without timeouts needs no clock to count.
    """

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class ChannelTimers:
    """The timers that a program has set on a channel, until that is closed."""

    __slots__ = ("_limit", "_timers")

    def __init__(self) -> None:
        self._timers: list[Timer] = []
        self._limit = _FEW_TIMERS

    def add(self, timer: Timer) -> None:
        """Keep a timer, and forget those that are done whenever there are twice as many."""
        self._timers.append(timer)
        if len(self._timers) > self._limit:
            self._timers = [timer for timer in self._timers if timer.active]
            self._limit = max(_FEW_TIMERS, 2 * len(self._timers))

    def cancel(self) -> None:
        """Cancel them all."""
        while self._timers:
            self._timers.pop().cancel()


class ChannelCall:
    """A timer's callback whose exceptions are its channel's."""

    __slots__ = ("_callback", "_channel")

    _reports_to_channel = True

    def __init__(self, channel: Any, callback: Callable[..., object]) -> None:
        self._channel = channel
        self._callback = callback

    def __repr__(self) -> str:
        return getattr(self._callback, "__qualname__", None) or repr(self._callback)

    def __call__(self, *args: object) -> None:
        try:
            self._callback(*args)
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            self._channel.handle_error()


class Timed:
    """What a dispatcher has for its timeouts and timers."""

    connect_timeout = Timeout()
    """Seconds that a connect may take; `None` for as long as the system tries."""
    idle_timeout = Timeout()
    """Seconds without an event either way; `None` for any number."""
    read_timeout = Timeout()
    """Seconds in which nothing comes, whatever is sent, while reading isn't paused; `None` for any
    number. What notices a peer that is gone although it is sent to."""
    write_timeout = Timeout()
    """Seconds that output may wait while the peer takes nothing; `None` for any number."""

    _map: Map
    _ac_has_timeouts = False
    _ac_timers: ChannelTimers | None = None
    _ac_times: ChannelTimes | None = None
    _ac_counts: ByteCounts | None = None
    _ac_engine: Engine | None = None
    _fileno: int | None = None
    connecting = False

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        # `idle_timeout = 30` in a class body becomes what it is here.
        if Timeout.adopt(cls, NAMES):
            cls._ac_has_timeouts = True

    def call_later(
        self, delay: float, callback: Callable[[Unpack[_Args]], object], *args: Unpack[_Args]
    ) -> Timer:
        """Call `callback(*args)` in `delay` seconds, unless the channel is closed before.

        In the loop of the channel's map. What it raises goes to `handle_error`. What is set after
        `close()` counts, for one that is to connect again. Safe from any thread. Returns a `Timer`.
        Raises `TypeError` if the callback can't be called.
        """
        if not callable(callback):
            raise TypeError(f"a timer needs something to call, not {callback!r}")
        engine = engine_for(self._map)
        engine.keep()
        timer = engine.timers.new(None, ChannelCall(self, callback), args, delay=delay)
        engine.run_on_loop(self._ac_start_timer, timer, engine.timers)
        return timer

    def _ac_start_timer(self, timer: Timer, timers: Timers) -> None:
        if self._ac_timers is None:
            self._ac_timers = ChannelTimers()
        self._ac_timers.add(timer)
        timers.add(timer)

    def set_deadline(self, seconds: float | None) -> None:
        """Call `handle_timeout("deadline")` so many seconds from now, whatever happens until then.

        `None` takes it back, and so does `close()`. It counts from now on while `connect_name`
        looks a name up, too. Raises `ValueError` for a negative number, and `RuntimeError` without
        a socket that is there or on its way.
        """
        check("a deadline", seconds)
        if self._ac_engine is None or not self._ac_is_under_way():
            raise RuntimeError(f"{self!r} has no socket yet that a deadline could be for")
        when = None if seconds is None else self._ac_engine.clock() + seconds
        self._ac_engine.run_on_loop(self._ac_set_deadline, when)

    def _ac_is_under_way(self) -> bool:
        """Whether there is a socket, or will be one."""
        return self._fileno is not None

    def _ac_set_deadline(self, when: float | None) -> None:
        times = self._ac_timing()
        if times is not None:
            times.set_deadline(when)

    def handle_timeout(self, which: TimeoutName) -> None:
        """A timeout has expired: "connect", "idle", "read", "write" or "deadline".

        Unless overridden, that is logged, and `handle_close` called. A channel that stays is idle
        anew from now on.
        """
        self.log_info(f"{which} timeout, closing channel {self!r}", "error")
        self.handle_close()

    def log_info(self, message: str | Any, type: str = "info") -> None:
        """Print a message (`dispatcher`)."""
        raise NotImplementedError

    def handle_close(self) -> None:
        """End the channel (`dispatcher`)."""
        raise NotImplementedError

    def _ac_timeouts_changed(self) -> None:
        if self._ac_engine is not None:
            self._ac_engine.run_on_loop(self._ac_rearm)

    def _ac_rearm(self) -> None:
        times = self._ac_timing()
        if times is not None:
            times.rearm()

    def _ac_timing(self) -> ChannelTimes | None:
        """Return the times of the present socket, made if need be; `None` without a socket."""
        if self._ac_times is None and self._ac_engine is not None and self._fileno is not None:
            self._ac_times = ChannelTimes(self, self._ac_engine.timers)
            self._ac_engine.watch_times(self._fileno, self._ac_times)
            if self.connecting:
                self._ac_times.connecting()
        return self._ac_times

    def _ac_drop_times(self) -> None:
        """Give up the times, and add the counts to those of channels that are gone."""
        if self._ac_times is not None:
            self._ac_times.stop()
            self._ac_times = None
        counts = self._ac_counts
        if counts is not None:
            self._ac_counts = None
            if self._ac_engine is not None:
                self._ac_engine.bytes_received += counts.received
                self._ac_engine.bytes_sent += counts.sent

    def _ac_note_sent(self, count: int) -> None:
        """The peer took so many bytes."""
        if self._ac_counts is not None:
            self._ac_counts.sent += count
        if self._ac_times is not None and count:
            self._ac_times.sent_now()

    def _ac_count_bytes(self, on: bool) -> None:
        """Begin anew to count what is received and sent, or end that."""
        self._ac_counts = ByteCounts() if on else None
