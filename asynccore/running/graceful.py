"""Ending a loop without cutting anybody off: `graceful_close`, and `drain`.

Facts. A server that is told to end has listeners, which should take nobody more; connections with
nothing left to say; and others whose last answer is still in a buffer. When a buffer has been sent
is known to the channel alone, which is asked before every wait whether it wants to write.

Consequence. A channel with output gets a `writable` of ours in front of its own. Asked, that looks
whether the output is gone, and if so leaves word for the engine to close the channel. One timer
closes what is left.

Trade-off. Channels go on reading meanwhile, for output may depend on input (a producer, TLS); a
peer that keeps asking is answered until the time is up.

Nothing tells whether a connection without output is over, or between a question and its answer: a
program that ends by itself knows, and calls `graceful_close`. For one that doesn't, `drain` lets
the connections that it serves go on until nothing has passed for a while, or until they end.
What else is there, such as connections to other servers, may be what they need, and stays as long.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .. import logs
from ..channels import Map
from ..classic.former import warn_former
from ..classic.own_names import hook
from ..engine.current import current_engine
from ..engine.engine import Engine, engine_for
from ..engine.timers import Timer
from ..errors import reraised
from ..pollers import EVENTS_PER_PASS, READ
from ..pollers.single import readiness

_Function = TypeVar("_Function", bound=Callable[..., object])

# asyncio, gunicorn and systemd have 30, 30 and 90 seconds for the like.
GRACE = 30.0

# How often `drain` looks which connections are quiet, in seconds.
LOOK = 0.1


def _map_came_first(function: _Function) -> _Function:
    """Take `graceful_close(map, timeout)`, as it was, with a warning."""

    @functools.wraps(function)
    def call(*args: object, **options: object) -> object:
        if args and not isinstance(args[0], (int, float)) and "map" not in options:
            warn_former("graceful_close() takes the map by name: graceful_close(10, map=...)")
            options["map"], args = args[0], args[1:]
        return function(*args, **options)

    return cast(_Function, call)


@_map_came_first
def graceful_close(timeout: float = GRACE, *, map: Map | None = None) -> None:
    """Close all channels of a map, those with output when it is sent, and so end its `loop()`.

    Returns at once; safe from any thread and from signal handlers:

        signal.signal(signal.SIGTERM, lambda *args: asynccore.graceful_close(10))

    In a handler, `map` is by default the map of its loop. In a signal handler it is the map of the
    loop that the signal interrupts. Elsewhere it is `socket_map`. The rest happens in the loop. It
    calls each channel's `handle_shutdown`, closes listeners and channels without output, and closes
    the others when `out_buffer` and `producer_fifo` are empty. A channel whose `handle_shutdown`
    returns true closes itself. After `timeout` seconds the loop closes what is left, and one line
    says how many channels that were. A second call includes the channels that came since, and the
    earlier end counts.

    Raises `TypeError` and `ValueError` for what is no timeout, and `TypeError` for what is no map.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"a timeout is a number of seconds, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"a timeout is at least 0 seconds, not {timeout!r}")
    drain(current_engine(map).map, timeout, 0.0)


def drain(map: Map, timeout: float, quiet: float) -> None:
    """Do as `graceful_close`, and let connections go on until they were quiet for so long.

    `quiet` is in seconds; infinity lets them end by themselves. Who waits at a listener is
    accepted before that is closed. A class with a `handle_shutdown` of its own is asked that, as
    ever. Safe from any thread and from signal handlers.
    """
    engine = engine_for(map)
    engine.keep()
    engine.call_soon_threadsafe(_close, engine, engine.clock() + timeout, quiet)


def is_closing(engine: Engine) -> bool:
    """Whether a map is being closed gracefully, or drained."""
    return engine in _closings


def done(engine: Engine) -> None:
    """The map is empty: what comes into it later is not to be closed."""
    closing = _closings.pop(engine, None)
    if closing is not None:
        closing.end()


def _close(engine: Engine, when: float, quiet: float) -> None:
    closing = _closings.get(engine)
    if closing is None:
        closing = _closings[engine] = _Closing(engine, when, quiet)
    else:
        closing.quiet = min(closing.quiet, quiet)
        if when < closing.timer.when:
            closing.timer.reset(when - engine.clock())
    closing.go_on()


class _Closing:
    """The graceful close of one map."""

    def __init__(self, engine: Engine, when: float, quiet: float) -> None:
        self.engine = engine
        self.quiet = quiet
        self.began = engine.clock()
        self.timer = engine.timers.call_at(when, self.expire)
        self.look_timer: Timer | None = None
        self.served: set[object] = set()  # where the listeners listened
        self.going_on: dict[int, tuple[int, Any]] = {}  # they were not quiet for long enough
        self.told: dict[int, object] = {}  # by identity: their handle_shutdown was called
        self.flushing: dict[
            int, tuple[int, Any, object]
        ] = {}  # descriptor, channel, its `writable`
        self.staying: list[tuple[int, object]] = []  # they end by themselves

    def go_on(self) -> None:
        """Begin with the channels that are there and were not told yet, listeners first."""
        if self.quiet:
            self.accept_the_last()
        new = [(fd, c) for fd, c in list(self.engine.map.items()) if id(c) not in self.told]
        if self.quiet:
            new = self.without_going_on(new)
        new.sort(key=lambda item: not _listens(item[1]))
        self.told.update((id(channel), channel) for _, channel in new)
        for fd, channel in new:
            if not self.holds(fd, channel):
                continue
            if _guarded(channel, _hook_of(channel)):
                self.staying.append((fd, channel))
            elif _listens(channel) or not has_output(channel) or not self.watch(fd, channel):
                self.close(fd, channel)
        self.end_if_empty()

    def accept_the_last(self) -> None:
        """Accept who waits at the listeners, and note where these are."""
        for fd, channel in list(self.engine.map.items()):
            if not _listens(channel) or id(channel) in self.told:
                continue
            self.served.add(_own_port(channel))
            for _ in range(EVENTS_PER_PASS):
                if not (self.holds(fd, channel) and readiness(fd, READ)):
                    break
                _guarded(channel, channel.handle_read_event)
            # Between accept(2) and the program there may be a handshake, or a header of a proxy.
            accept_no_more = getattr(type(channel.socket), "_ac_accept_no_more", None)
            if accept_no_more is not None:
                accept_no_more(channel.socket)

    def without_going_on(self, new: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Return those whose time has come, and look at the others again a little later."""
        self.going_on = {id(c): (fd, c) for fd, c in new if self.goes_on(fd, c)}
        if not self.going_on:
            return new
        if self.look_timer is None or not self.look_timer.active:
            self.look_timer = self.engine.timers.call_later(LOOK, self.go_on)
        return [
            (fd, channel)
            for fd, channel in new
            if id(channel) not in self.going_on and (_listens(channel) or self.serves(channel))
        ]

    def serves(self, channel: object) -> bool:
        """Whether a channel is a connection that one of the listeners accepted."""
        return _own_port(channel) in self.served

    def goes_on(self, fd: int, channel: Any) -> bool:
        """Whether a connection is served on for now, or a listener has some that it is not known of
        yet."""
        if _listens(channel):
            return bool(getattr(channel.socket, "_ac_unfinished", 0))
        if not self.serves(channel) or _ends_its_own_way(channel):
            return False
        times = channel._ac_timing() if hasattr(type(channel), "_ac_timing") else None
        since = self.began if times is None else times.active
        return bool(
            self.engine.clock() - since < self.quiet or has_output(channel) or readiness(fd, READ)
        )

    def holds(self, fd: object, channel: object) -> bool:
        return self.engine.map.get(fd) is channel

    def watch(self, fd: int, channel: Any) -> bool:
        """Have a channel closed when its output is gone; return whether that can be done."""
        ask = channel.writable

        def writable() -> object:
            if id(channel) in self.flushing and not has_output(channel):
                self.engine.calls.append((self.flushed, (channel,)))
            return ask()

        try:
            own = vars(channel).get("writable")
            channel.writable = writable
        except (AttributeError, TypeError):
            return False  # its class has __slots__
        self.flushing[id(channel)] = fd, channel, own
        self.engine.touch(fd)
        return True

    def flushed(self, channel: object) -> None:
        """Close a channel whose output was sent."""
        fd = self.release(channel)
        if fd is not None:
            self.close(fd, channel)
            self.end_if_empty()

    def release(self, channel: Any) -> int | None:
        """Give a channel its own `writable` back; return its descriptor, `None` if done before."""
        fd, _, own = self.flushing.pop(id(channel), (None, None, None))
        if fd is not None:
            if own is not None:
                channel.writable = own
            else:
                del channel.writable
        return fd

    def close(self, fd: int, channel: object) -> None:
        """Close a channel, and see to it that the map no longer holds it."""
        if self.holds(fd, channel):
            _guarded(channel, getattr(channel, "close", _nothing))
            if self.holds(fd, channel):
                del self.engine.map[fd]

    def expire(self) -> None:
        """Close what is left, if it is what was there, or if a loop waits for it to end."""
        left = list(self.engine.map.items())
        awaited = [*self.staying, *self.going_on.values()]
        awaited += [(fd, channel) for fd, channel, _ in self.flushing.values()]
        ours = any(self.holds(fd, channel) for fd, channel in awaited)
        done(self.engine)
        if not left or not (ours or self.engine.loops):
            return
        logs.warn(f"graceful_close: the time is up, closing the last channels ({len(left)})")
        for fd, channel in left:
            self.close(fd, channel)

    def end_if_empty(self) -> None:
        if not self.engine.map:
            done(self.engine)

    def end(self) -> None:
        """Leave no trace."""
        self.timer.cancel()
        if self.look_timer is not None:
            self.look_timer.cancel()
        for _, channel, _ in list(self.flushing.values()):
            self.release(channel)


def has_output(channel: Any) -> bool:
    """Whether a channel holds bytes or producers that are still to be sent."""
    if _is_ours(channel) and channel._ac_has_output():
        return True
    # A program's class, derived from ours or not, may have a buffer of its own by either name.
    if getattr(channel, "out_buffer", None):
        return True
    if _tells_size(channel):
        return False  # to look at the `producer_fifo` of ours counts as a change of it
    return bool(getattr(channel, "producer_fifo", None)) or bool(output_size(channel))


def output_size(channel: Any) -> int | None:
    """Return how many bytes of output a channel holds; `None` if it doesn't tell."""
    if _tells_size(channel):
        ours: int = channel._ac_write_buffer_size()
        return ours
    if _is_ours(channel):
        return None  # what its class calls so is the program's own
    size: object = getattr(channel, "write_buffer_size", None)
    return size if isinstance(size, int) else None


# The classes are asked, for an object may have an answer to any name.


def _is_ours(channel: object) -> bool:
    return hasattr(type(channel), "_ac_has_output")


def _tells_size(channel: object) -> bool:
    return hasattr(type(channel), "_ac_write_buffer_size")


def _hook_of(channel: object) -> Callable[[], object]:
    if _is_ours(channel):
        return hook(channel, "handle_shutdown", 0)
    return getattr(channel, "handle_shutdown", _nothing)


def _ends_its_own_way(channel: object) -> bool:
    """Whether a class of ours has a `handle_shutdown` other than the dispatcher's."""
    if not _is_ours(channel):
        return False
    first = next(
        cls.__dict__["handle_shutdown"]
        for cls in reversed(type(channel).__mro__)
        if "handle_shutdown" in cls.__dict__
    )
    return getattr(_hook_of(channel), "__func__", None) is not first


def _own_port(channel: object) -> object:
    """Return what a listener and the connections it accepts have in common; a new object without.

    It is the family and the port, for a listener may have been bound to any address.
    """
    sock = getattr(channel, "socket", None)
    try:
        name = sock.getsockname()  # type: ignore[union-attr]
        family = sock.family  # type: ignore[union-attr]
    except (AttributeError, OSError):
        return object()  # equal to nothing
    return family, name[1] if isinstance(name, tuple) and len(name) > 1 else name


def _listens(channel: object) -> bool:
    return bool(getattr(channel, "accepting", False))


def _nothing() -> None:
    pass


def _guarded(channel: object, method: Callable[[], object]) -> object:
    try:
        return method()
    except reraised():
        raise
    except BaseException:
        if hasattr(channel, "handle_error"):
            channel.handle_error()
        else:
            logs.report_callback(method)
        return None


_closings: weakref.WeakKeyDictionary[Engine, _Closing] = weakref.WeakKeyDictionary()
