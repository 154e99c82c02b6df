"""Signals end the wait of a loop at once, whichever thread the kernel gave them to.

Facts. The kernel hands a signal to any thread that does not block it; Python runs the handler on
the main thread, and there only between two instructions. A main thread that waits in epoll_wait
is interrupted only by a signal that it gets itself, and only once it is inside: a signal that
another thread got, or that came an instant before the call, waits for the next event. On Windows
select() is never interrupted. What `signal.set_wakeup_fd` is given gets a byte for every signal,
from the C part of the handler, at once. There is one such descriptor in a process.

Consequence. While `loop()` runs on the main thread, that descriptor is the wake-up of its map,
which the poller watches anyway. Loops inside of handlers take it over, and give it back.

Trade-off. A descriptor that the program has set stays, and then it is the program that is told of
signals. `poll()` doesn't pay for this: a loop of the program's own looks after itself.

Who takes the descriptor over for a while may put ours back afterwards, as uvloop does when its loop
has run, so ours is remembered until it was seen again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from threading import get_ident
from typing import Protocol

from ..pollers.wakeup import Wakeup


class Woken(Protocol):
    """What has a wake-up while it waits: an engine."""

    wakeup: Wakeup | None


_loops: list[Woken] = []  # those of the main thread, the innermost last
_ours = -1  # the descriptor that this module has set
_beneath = -1  # the one it had set, under one that others have set since
_thread = 0  # the main thread, as the loops know it


def begin(engine: Woken) -> int:
    """Have signals wake the loop that begins now. Returns what `end` needs.

    On other threads than the main one no handler runs: -1, and nothing to end.
    """
    global _thread
    thread = get_ident()
    if thread != threading.main_thread().ident:
        return -1
    _thread = thread
    depth = len(_loops)
    try:
        _loops.append(engine)
        _point()
    except BaseException:  # a signal handler's
        del _loops[depth:]
        raise
    return depth


def end(depth: int) -> None:
    """Have signals wake the loop around the one that ended, if there is one."""
    del _loops[depth:]
    _point()


def made(engine: Woken) -> None:
    """The engine has a new wake-up."""
    if _loops and _loops[-1] is engine and get_ident() == _thread:
        _point()


def about_to_close(wakeup: Wakeup) -> None:
    """A wake-up is given up: no signal may be written to who gets its number next."""
    global _beneath
    fd = wakeup.signal_fileno()
    if fd != -1 and fd in (_ours, _beneath):
        _set(-1)
        if _beneath == fd:
            _beneath = -1


def _point() -> None:
    wakeup = _loops[-1].wakeup if _loops else None
    _set(-1 if wakeup is None else wakeup.signal_fileno())


def _set(fd: int) -> None:
    global _ours, _beneath
    if fd == _ours == _beneath == -1:
        return
    try:
        before = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    except (OSError, ValueError):
        return  # a sub-interpreter has no signals, or somebody has closed it
    if before in (-1, _ours, _beneath):
        _beneath = -1
    else:
        try:
            signal.set_wakeup_fd(before)
        except (OSError, ValueError):
            pass  # closed since by who had set it, or somebody else's by now
        else:
            fd = -1
            _beneath = _beneath if _ours == -1 else _ours
    _ours = fd


def _after_fork_in_child() -> None:
    if _thread != get_ident():
        _loops.clear()  # their thread is the parent's


if sys.platform != "win32":

    def has_terminal() -> bool:
        """Return whether there is a controlling terminal; not any more, once it hung up."""
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return False
        return True

    os.register_at_fork(after_in_child=_after_fork_in_child)
