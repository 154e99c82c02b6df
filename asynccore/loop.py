"""`loop` and `poll`, and the functions by which a program drives channels itself."""

from __future__ import annotations

import select
from collections.abc import Callable
from errno import EBADF
from typing import Any

from . import pollers
from .channels import Map
from .engine import Engine, engine_for
from .errors import _DISCONNECTED, RERAISED
from .namespace import default_map, package
from .timers import Timer
from .wrapped import direction

# The classic bits of `readwrite`; select() has none of its own on Windows.
_POLLIN = getattr(select, "POLLIN", pollers.READ)
_POLLPRI = getattr(select, "POLLPRI", pollers.PRIORITY)
_POLLOUT = getattr(select, "POLLOUT", pollers.WRITE)
_POLLGONE = (
    getattr(select, "POLLERR", pollers.ERROR)
    | getattr(select, "POLLHUP", pollers.HANGUP)
    | getattr(select, "POLLNVAL", pollers.INVALID)
)


def _guarded(obj: Any, event: Callable[[], object]) -> None:
    try:
        event()
    except RERAISED:
        raise
    except BaseException as why:
        if not direction(why):  # else a TLS socket says that it must wait
            obj.handle_error()


def read(obj: Any) -> None:
    """Call a channel's `handle_read_event`; what it raises goes to its `handle_error`."""
    _guarded(obj, obj.handle_read_event)


def write(obj: Any) -> None:
    """Call a channel's `handle_write_event`; what it raises goes to its `handle_error`."""
    _guarded(obj, obj.handle_write_event)


def _exception(obj: Any) -> None:
    """Call a channel's `handle_expt_event`; what it raises goes to its `handle_error`."""
    _guarded(obj, obj.handle_expt_event)


def readwrite(obj: Any, flags: int) -> None:
    """Call a channel's event methods for the bits that poll(2) reported.

    A disconnection that is raised goes to its `handle_close`, anything else to `handle_error`.
    """
    try:
        if flags & _POLLIN:
            obj.handle_read_event()
        if flags & _POLLOUT:
            obj.handle_write_event()
        if flags & _POLLPRI:
            obj.handle_expt_event()
        if flags & _POLLGONE:
            obj.handle_close()
    except RERAISED:
        raise
    except OSError as why:
        if why.errno in _DISCONNECTED:
            obj.handle_close()
        elif not direction(why):
            obj.handle_error()
    except BaseException:
        obj.handle_error()


def poll(timeout: float | None = 0.0, map: Map | None = None) -> None:
    """Wait up to `timeout` seconds for events and handle one batch of them.

    Returns at once if the map is empty. `None` waits for an event however long it takes.
    Raises `ValueError` for a negative timeout.
    """
    if map is None:
        map = default_map()
    if map:
        engine = engine_for(map)
        engine.enter()
        engine.run_pass(_checked(timeout))


def poll2(timeout: float | None = 0.0, map: Map | None = None) -> None:
    """Do as `poll`; in classic asyncore this one used poll(2)."""
    poll(timeout, map)


poll3 = poll2  # an alias from Python 2.x days

_OURS = frozenset({poll, poll2})


def loop(
    timeout: float | None = 30.0,
    use_poll: bool = False,
    map: Map | None = None,
    count: float | None = None,
    *,
    poller: str | None = None,
) -> None:
    """Handle events until the map is empty, `stop` is called, or `count` passes are done.

    `timeout` is how long one pass waits at the most, in seconds. `use_poll` is accepted for old
    programs; the best poller of the platform is taken anyway, or the one named by `poller`
    ("epoll", "kqueue", "poll", "select") or by the environment's `ASYNCCORE_ENGINE`.

    Raises `ValueError` for an unknown poller or a negative timeout, and whatever leaves
    `handle_error`; `ExitNow`, `KeyboardInterrupt` and `SystemExit` from any handler come out.
    """
    if map is None:
        map = default_map()
    timeout = _checked(timeout)
    if poller is not None:
        pollers.check(poller)
    poll_once: Any = package().poll2 if use_poll else package().poll
    if poll_once not in _OURS:
        # The program has put a poll function of its own in place.
        while map and (count is None or count > 0):
            poll_once(timeout, map)
            if count is not None:
                count -= 1
        return
    if not map:
        return
    engine = engine_for(map)
    engine.use(poller)
    engine.enter(review=True)
    try:
        while map and not engine.stopping and (count is None or count > 0):
            engine.run_pass(timeout)
            if count is not None:
                count -= 1
    finally:
        engine.stopping = False


def stop(map: Map | None = None) -> None:
    """End the `loop()` that runs on a map, after its present pass. Safe from any thread.

    The channels stay as they are. Without a loop running, the next one ends at once.
    """
    engine = _engine(map)
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
        except RERAISED:
            raise
        except BaseException:
            if not ignore_all:
                raise
    map.clear()


def call_later(
    delay: float, callback: Callable[..., object], *args: Any, map: Map | None = None
) -> Timer:
    """Call `callback(*args)` in the loop of a map, `delay` seconds from now. Safe from any thread.

    The loop goes on while there are channels; timers alone don't keep it. Exceptions are
    reported with their traceback and don't end the loop. Raises `TypeError` if the callback
    can't be called.
    """
    engine = _engine(map)
    return call_at(engine.clock() + delay, callback, *args, map=map)


def call_at(
    when: float, callback: Callable[..., object], *args: Any, map: Map | None = None
) -> Timer:
    """Call `callback(*args)` in the loop of a map when `time.monotonic()` has reached `when`.

    See `call_later`.
    """
    engine = _engine(map)
    timer = engine.timers.new(when, callback, args)
    engine.keep()
    engine.run_on_loop(engine.timers.add, timer)
    return timer


def call_soon_threadsafe(
    callback: Callable[..., object], *args: Any, map: Map | None = None
) -> None:
    """Call `callback(*args)` on the thread of the loop of a map, at once. Safe from any thread.

    Exceptions are reported with their traceback and don't end the loop.
    """
    engine = _engine(map)
    engine.keep()
    engine.call_soon_threadsafe(callback, *args)


def _engine(map: Map | None) -> Engine:
    return engine_for(default_map() if map is None else map)


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"a timeout is None or at least 0 seconds, not {timeout!r}")
    return timeout
