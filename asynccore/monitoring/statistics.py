"""What a loop is doing: numbers of channels, bytes, passes and events, and the slowest handler."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..channels import Map
from ..classic.former import formerly
from ..connecting.target import show
from ..dispatchers.timeouts import check
from ..engine.current import current_engine
from ..engine.engine import Engine
from ..engine.meter import Meter
from ..running.graceful import output_size

STATES = ("listening", "connecting", "connected", "other")


class ChannelStatistics(NamedTuple):
    """One channel, as `statistics` found it."""

    fd: Any
    """The key that the map has it under: the descriptor."""
    name: str
    """The name of its class."""
    address: str | None
    """The peer's address, a listener's own; `None` if there is none."""
    state: str
    """"listening", "connecting", "connected" or "other"."""
    bytes_received: int | None
    """Bytes that `recv` returned since they are counted; `None` if they aren't."""
    bytes_sent: int | None
    """Bytes that the socket took from `send` since they are counted; `None` if they aren't."""
    pending: int | None
    """Its `write_buffer_size`; `None` if it has none, for it keeps its output its own way."""


class Statistics(NamedTuple):
    """A map and its loop at one moment, as `asynccore.statistics` found them."""

    time: float
    """When this was, by the engine's clock (`time.monotonic`), for rates from two of these."""
    poller: str | None
    """"epoll", "kqueue", "poll" or "select"; `None` before the first wait."""
    listening: int
    connecting: int
    connected: int
    other: int
    """Channels that are neither, such as closing ones, and what is no dispatcher."""
    passes: int
    """How many passes ran, one wait each at least."""
    events: int
    """How many descriptors were reported as ready."""
    callbacks: int
    """How many timers and callbacks of other threads ran."""
    timers: int
    """How many timers are pending."""
    accept_pauses: int
    """How often a listener stopped accepting for a while: no descriptors left, or a limit."""
    bytes_received: int | None
    """Of all channels that were there since they are counted; `None` if they aren't."""
    bytes_sent: int | None
    longest_seconds: float | None
    """How long the slowest handler, timer or callback took; `None` if nothing was measured."""
    longest_handler: str | None
    """Which one that was: `Class.method`, or the function's name."""
    channels: tuple[ChannelStatistics, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as what `json.dumps` takes."""
        return {**self._asdict(), "channels": [channel._asdict() for channel in self.channels]}


@formerly("map")
def statistics(*, map: Map | None = None) -> Statistics:
    """Return a snapshot of a map and its loop.

    `map` is by default the one whose pass runs on this thread, or else `socket_map`. Bytes are
    counted, and handlers measured, only after `collect_statistics()`. Called on another thread than
    the loop's, it may find a channel in the middle of a change.
    """
    engine = current_engine(map)
    channels = engine.map
    found = tuple(_look_at(engine, fd, channel) for fd, channel in list(channels.items()))
    states = {state: sum(it.state == state for it in found) for state in STATES}
    meter = engine.meter
    counted = engine.counts_bytes
    poller = engine.poller
    return Statistics(
        time=engine.clock(),
        poller=None if poller is None else poller.name,
        **states,
        passes=engine.passes,
        events=engine.events,
        callbacks=engine.callbacks,
        timers=len(engine.timers),
        accept_pauses=engine.accept_pauses,
        bytes_received=_total(engine.bytes_received, found, "received") if counted else None,
        bytes_sent=_total(engine.bytes_sent, found, "sent") if counted else None,
        longest_seconds=meter.longest if meter is not None and meter.longest_name else None,
        longest_handler=None if meter is None else meter.longest_name,
        channels=found,
    )


@formerly("map")
def collect_statistics(on: bool = True, *, map: Map | None = None) -> None:
    """Begin, or end, to count the bytes of each channel and to measure handlers.

    Bytes are what passes through the `recv` and `send` of `dispatcher`, so with TLS they are those
    of the plaintext; a class that goes to its socket directly is not seen. What was counted before
    is forgotten. Safe from any thread. While this is on, each event costs two readings of the
    clock, and the engine of a plain dict stays.
    """
    engine = current_engine(map)
    engine.run_on_loop(_collect, engine, on)


@formerly("map")
def warn_slow_handlers(seconds: float | None, *, map: Map | None = None) -> None:
    """Tell of each handler, timer or callback that holds the loop for longer than `seconds`.

    One line for each, on the standard error and by `use_logging`; what a loop inside of a handler
    runs counts for both. `None` turns it off. Safe from any thread. Raises `TypeError` or
    `ValueError` for what is no number of seconds.
    """
    check("the limit of slow handlers", seconds)
    engine = current_engine(map)
    engine.run_on_loop(_warn, engine, seconds)


def _warn(engine: Engine, seconds: float | None) -> None:
    if engine.meter is None:
        engine.meter = Meter(engine.clock)
    engine.meter.limit = seconds
    _settle(engine)


def _collect(engine: Engine, on: bool) -> None:
    limit = None if engine.meter is None else engine.meter.limit
    engine.meter = Meter(engine.clock)
    engine.meter.limit = limit
    engine.counts_bytes = on
    for channel in list(engine.map.values()):
        if hasattr(channel, "_ac_count_bytes"):
            channel._ac_count_bytes(on)
    # What channels that are gone by now had.
    engine.bytes_received = engine.bytes_sent = 0
    _settle(engine)


def _settle(engine: Engine) -> None:
    """Drop a meter that is not needed, and keep an engine that is."""
    meter = engine.meter
    if meter is not None and meter.limit is None and not engine.counts_bytes:
        engine.meter = None
    elif meter is not None:
        engine.keep()


def _look_at(engine: Engine, fd: object, channel: object) -> ChannelStatistics:
    counts = getattr(channel, "_ac_counts", None) if engine.counts_bytes else None
    return ChannelStatistics(
        fd=fd,
        name=type(channel).__name__,
        address=address_of(channel),
        state=_state(channel),
        bytes_received=None if counts is None else counts.received,
        bytes_sent=None if counts is None else counts.sent,
        pending=_pending(channel),
    )


def _total(before: int, channels: tuple[ChannelStatistics, ...], what: str) -> int:
    return before + sum(getattr(channel, f"bytes_{what}") or 0 for channel in channels)


def _state(channel: object) -> str:
    for attribute, state in (
        ("accepting", "listening"),
        ("connecting", "connecting"),
        ("connected", "connected"),
    ):
        if getattr(channel, attribute, False):
            return state
    return "other"


def address_of(channel: Any) -> str | None:
    address = getattr(channel, "addr", None)
    if getattr(channel, "accepting", False):
        try:
            address = channel.socket.getsockname()  # it may have been bound to port 0
        except (AttributeError, OSError):
            pass  # what stands in for a socket, or it is closed
    if not address:
        return None
    return address if isinstance(address, str) else show(address)


def _pending(channel: object) -> int | None:
    return output_size(channel)
