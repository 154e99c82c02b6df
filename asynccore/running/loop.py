"""`loop` and `poll`, and the functions by which a program drives channels itself."""

from __future__ import annotations

import select
from collections.abc import Callable
from errno import EBADF
from typing import TYPE_CHECKING, Any

from .. import pollers
from ..channels import ChannelMap, Map
from ..classic import rebinding
from ..classic.former import formerly
from ..classic.namespace import default_map, package
from ..engine import signals
from ..engine.by_names import EngineByNames
from ..engine.current import current_engine
from ..engine.engine import Engine, engine_for, starting
from ..engine.timers import Timer
from ..errors import disconnected, leaves_loop, reraised
from ..pollers.layered import waits_for
from . import graceful

if TYPE_CHECKING:
    from typing_extensions import TypeVarTuple, Unpack

    _Args = TypeVarTuple("_Args")

# The classic bits of `readwrite`; select() has none of its own on Windows.
_POLLIN = getattr(select, "POLLIN", pollers.READ)
_POLLPRI = getattr(select, "POLLPRI", pollers.PRIORITY)
_POLLOUT = getattr(select, "POLLOUT", pollers.WRITE)
_POLLGONE = (
    getattr(select, "POLLERR", pollers.ERROR)
    | getattr(select, "POLLHUP", pollers.HANGUP)
    | getattr(select, "POLLNVAL", pollers.INVALID)
)


def _note(obj: Any, writing: bool = False) -> None:
    """Note an event that a loop of the program's own hands over."""
    engine = getattr(obj, "_ac_engine", None)
    if isinstance(engine, Engine):
        engine.event_elsewhere(obj._ac_times, writing)


def _guarded(obj: Any, event: Callable[[], object], writing: bool = False) -> None:
    _note(obj, writing)
    try:
        event()
    except reraised():
        raise
    except BaseException as why:
        if leaves_loop(why):
            raise
        if not waits_for(why):  # else a TLS socket says that it must wait
            obj.handle_error()


def read(obj: Any) -> None:
    """Call a channel's `handle_read_event`; what it raises goes to its `handle_error`."""
    _guarded(obj, obj.handle_read_event)


def write(obj: Any) -> None:
    """Call a channel's `handle_write_event`; what it raises goes to its `handle_error`."""
    _guarded(obj, obj.handle_write_event, True)


def _exception(obj: Any) -> None:
    """Call a channel's `handle_expt_event`; what it raises goes to its `handle_error`."""
    _guarded(obj, obj.handle_expt_event)


def readwrite(obj: Any, flags: int) -> None:
    """Call a channel's event methods for the bits that poll(2) reported.

    A disconnection that is raised goes to its `handle_close`, anything else to `handle_error`.
    """
    _note(obj, bool(flags & _POLLOUT))
    try:
        if flags & _POLLIN:
            obj.handle_read_event()
        if flags & _POLLOUT:
            obj.handle_write_event()
        if flags & _POLLPRI:
            obj.handle_expt_event()
        if flags & _POLLGONE:
            obj.handle_close()
    except reraised():
        raise
    except OSError as why:
        if why.errno in disconnected():
            obj.handle_close()
        elif not waits_for(why):
            obj.handle_error()
    except BaseException as why:
        if leaves_loop(why):
            raise
        obj.handle_error()


def poll(timeout: float | None = 0.0, map: Map | None = None) -> None:
    """Wait up to `timeout` seconds for events, and handle one batch of them.

    If the map is empty, `poll` returns at once. With `None` it waits until an event comes.
    Raises `ValueError` for a negative timeout.
    """
    if map is None:
        map = default_map()
    if map:
        engine = _engine(map)
        if type(engine) is EngineByNames:
            engine.by_poll = False
        if timeout == 0:
            engine.pump()
            return
        timeout = _checked(timeout)
        engine.enter()
        engine.run_pass(timeout)


def poll2(timeout: float | None = 0.0, map: Map | None = None) -> None:
    """Do as `poll`, and wait for an event however long it takes if the timeout is negative.

    In classic asyncore this one used poll(2), for which -1 milliseconds are without end.
    """
    if map is None:
        map = default_map()
    if map:
        rebinding.look()  # it has another function of the module
        engine = engine_for(map)
        engine.enter()
        if type(engine) is EngineByNames:
            engine.by_poll = True
        engine.run_pass(_for_poll(timeout))


poll3 = poll2  # an alias from Python 2.x days

_OURS = frozenset({poll, poll2})


def loop(
    timeout: float | None = 30.0,
    use_poll: bool = False,
    map: Map | None = None,
    count: float | None = None,
    *,
    poller: str | None = None,
    until_idle: bool = False,
) -> None:
    """Handle events until the map is empty, `stop` is called, or `count` passes are done.

    With `until_idle` it also goes on without channels, as long as a timer or a callback waits. A
    timer of `call_every` waits until you cancel it.

    `timeout` is the longest wait of one pass, in seconds. `poller` ("epoll", "kqueue", "poll",
    "select") or the environment's `ASYNCCORE_ENGINE` names the poller. The default is the best one
    of the platform. Old programs may give `use_poll`: the poller stays the same, but a negative
    timeout means none, as in poll(2).

    Raises `ValueError` for an unknown poller or a negative timeout. Exceptions that leave
    `handle_error` come out, and so do `ExitNow`, `KeyboardInterrupt` and `SystemExit` from any
    handler.
    """
    if map is None:
        map = default_map()
    if (
        count == 1
        and timeout == 0
        and map
        and not (starting or use_poll or until_idle)
        and poller is None
        and package().poll is poll
        and not _engine(map).stopping
    ):
        # A turn of a program's own loop.
        poll(0, map)
        if not map:
            graceful.done(_engine(map))
        return
    if poller is not None:
        pollers.check(poller)
    if starting:
        for begin in list(starting):
            begin()
    poll_once: Any = package().poll2 if use_poll else package().poll
    if poll_once not in _OURS:
        # The program has put a poll function of its own in place, which runs no timers.
        engine = engine_for(map)
        while map and not engine.stopping and (count is None or count > 0):
            poll_once(timeout, map)
            engine.after_poll_elsewhere()
            if count is not None:
                count -= 1
        engine.stopping = False
        return
    if not map and not until_idle:
        return
    timeout = _for_poll(timeout) if use_poll else _checked(timeout)
    if use_poll:
        rebinding.look()  # it has another function of the module
    engine = engine_for(map)
    engine.use(poller)
    engine.enter(review=True)
    if type(engine) is EngineByNames:
        engine.by_poll = use_poll
    depth = -1
    try:
        engine.begin_loop(until_idle)
        if timeout != 0:  # without a wait there is none to end
            depth = signals.begin(engine)
        while (
            (map or (until_idle and _is_busy(engine)))
            and not engine.stopping
            and (count is None or count > 0)
        ):
            engine.run_pass(timeout)
            if count is not None:
                count -= 1
    finally:
        try:
            engine.stopping = False
            if depth >= 0:
                signals.end(depth)
        finally:
            engine.end_loop(until_idle)
        if not map:
            graceful.done(engine)


def _is_busy(engine: Engine) -> bool:
    """Whether there is something to wait for without channels."""
    graceful.done(engine)  # its timer is for channels alone
    return engine.busy()


@formerly("map")
def stop(*, map: Map | None = None) -> None:
    """End the `loop()` that runs on a map, after its present pass. Safe from any thread.

    The default for `map` is the map whose pass runs on this thread, or else `socket_map`. The
    channels stay as they are. If no loop runs, the next `loop()` ends at once.
    """
    engine = current_engine(map)
    engine.stopping = True
    engine.wake()


def close_all(map: Map | None = None, ignore_all: bool = False) -> None:
    """Close every channel of a map and empty it.

    With `ignore_all`, exceptions of `close` are ignored; otherwise those but EBADF come out.
    """
    if map is None:
        map = default_map()
    for channel in list(map.values()):
        try:
            channel.close()
        except OSError as why:
            if why.errno != EBADF and not ignore_all:
                raise
        except reraised():
            raise
        except BaseException as why:
            if not ignore_all or leaves_loop(why):
                raise
    map.clear()


def call_later(
    delay: float,
    callback: Callable[[Unpack[_Args]], object],
    *args: Unpack[_Args],
    map: Map | None = None,
) -> Timer:
    """Call `callback(*args)` in the loop of a map, `delay` seconds from now. Safe from any thread.

    In a handler, `map` is by default the map of its loop. Elsewhere it is `socket_map`. The loop
    goes on while there are channels; timers alone keep it going only with `until_idle`. Exceptions
    are reported with their traceback and do not end the loop. Raises `TypeError` if the callback
    can't be called.
    """
    engine = current_engine(map)
    return _start(engine, engine.timers.new(None, callback, args, delay=delay))


def call_at(
    when: float,
    callback: Callable[[Unpack[_Args]], object],
    *args: Unpack[_Args],
    map: Map | None = None,
) -> Timer:
    """Call `callback(*args)` in the loop of a map when `time.monotonic()` has reached `when`.

    See `call_later`.
    """
    engine = current_engine(map)
    return _start(engine, engine.timers.new(when, callback, args))


def _start(engine: Engine, timer: Timer) -> Timer:
    if type(engine.map) is not ChannelMap:
        engine.keep()
    engine.run_on_loop(engine.timers.add, timer)
    return timer


def call_every(
    interval: float,
    callback: Callable[[Unpack[_Args]], object],
    *args: Unpack[_Args],
    map: Map | None = None,
) -> Timer:
    """Call `callback(*args)` in the loop of a map every `interval` seconds, first after one.

    The times are multiples of the interval from now, so they do not drift. If a handler takes too
    long, the times that nobody could keep are left out. An exception is reported with its
    traceback, and the repetition goes on until `cancel()`. `reset(delay)` moves the next call,
    and the later ones with it. Safe from any thread.

    Raises `ValueError` if the interval is not above 0, and `TypeError` if the callback can't be
    called.
    """
    if not interval > 0:
        raise ValueError(f"an interval is more than 0 seconds, not {interval!r}")
    engine = current_engine(map)
    return _start(engine, engine.timers.new(None, callback, args, interval, interval))


def call_soon_threadsafe(
    callback: Callable[[Unpack[_Args]], object], *args: Unpack[_Args], map: Map | None = None
) -> None:
    """Call `callback(*args)` on the thread of the loop of a map, at once. Safe from any thread.

    `map` is by default the one whose pass runs on this thread, or else `socket_map`; another
    thread that means a map of its own has to say which. Exceptions are reported with their
    traceback and don't end the loop.
    """
    engine = current_engine(map)
    engine.call_soon_threadsafe(callback, *args)


def _engine(map: Map) -> Engine:
    engine: Any = map.engine if type(map) is ChannelMap else None
    return engine_for(map) if engine is None else engine


def _for_poll(timeout: float | None) -> float | None:
    """Return what poll(2) makes of a timeout, which counts in whole milliseconds."""
    if timeout is None or timeout >= 0:
        return timeout
    return 0.0 if timeout > -0.001 else None if timeout < 0 else _checked(timeout)


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"a timeout is None or at least 0 seconds, not {timeout!r}")
    return timeout
