"""SIGTERM that cuts nobody off, for programs that know nothing of it: `asynccore run --drain`.

Facts. A classic program has no handler for SIGTERM, and ends in the middle of whatever it does. One
that has a handler knows what it wants. A program may go on after its `loop()`, or call it again and
again, also when there is nothing left to wait for.

Consequence. The environment says how long an end may take. The first `loop()` or `poll()` of the
main thread then puts a handler in the place of the default action, which drains all maps
(`graceful.drain`) and puts the default action back: so the second SIGTERM ends the program, as does
a thread once the time is up and the program is still there. One that makes a loop of `poll()` may
go round in it for ever: there the thread comes as soon as there is nothing left to wait for.

Trade-off. Programs that wait in other threads alone, or by what is not ours, are not reached.
"""

from __future__ import annotations

import _thread
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence

from .. import logs, worker
from ..channels import Map
from ..engine.engine import engines, starting
from . import graceful, service_manager

# How long an end may take, in seconds. Set by `asynccore run --drain`, or by hand.
VARIABLE = "ASYNCCORE_DRAIN"

# A connection on which nothing passed for so long, in seconds, has ended what it was about.
QUIET = 1.0

# How long the program may take to end once its channels are closed, in seconds.
LAST_WORDS = 1.0


def seconds_of(text: str) -> float:
    """Return the seconds that a text says. Raises `ValueError` if it says none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"a drain is a number of seconds, at least 0, not {text!r}")
    return seconds


class Draining:
    """Has this process drain at SIGTERM from its next wait on, `default` seconds at most.

    The environment may say otherwise.
    """

    def __init__(self, environ: Mapping[str, str], default: float = graceful.GRACE) -> None:
        text = environ.get(VARIABLE, "")
        self.seconds = seconds_of(text) if text else default
        self._begun_by = 0  # the process: a forked child begins anew
        starting.append(self.begin)

    def begin(self) -> None:
        """Put the handler in the place of the default action, once in each process."""
        if self._begun_by != os.getpid() and threading.current_thread() is threading.main_thread():
            self._begun_by = os.getpid()
            if signal.getsignal(signal.SIGTERM) in (signal.SIG_DFL, self.drain):
                signal.signal(signal.SIGTERM, self.drain)

    def drain(self, signum: int, frame: object) -> None:
        """Drain every map: the handler of SIGTERM."""
        busy = [engine for engine in engines() if engine.map]
        maps = [engine.map for engine in busy]
        replaced = worker.present is not None and worker.present.leave()
        if service_manager.present is not None:
            service_manager.present.say(service_manager.STOPPING)
        if not replaced:
            signal.signal(signum, signal.SIG_DFL)
        if not maps or self._begun_by != os.getpid():  # a child of the program's
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
            return
        for map in maps:
            graceful.drain(map, self.seconds, math.inf if replaced else QUIET)
        # `threading.Thread` takes locks, which the code that was interrupted may hold.
        polled = [] if any(engine.loops for engine in busy) else maps
        _thread.start_new_thread(_end, (self.seconds, signum, polled))


def _end(seconds: float, signum: int, polled: Sequence[Map]) -> None:
    """End this process after so many seconds, or when what was polled is empty."""
    latest = time.monotonic() + seconds
    while polled and any(polled) and time.monotonic() < latest:
        time.sleep(graceful.LOOK)
    time.sleep(LAST_WORDS if polled else seconds + LAST_WORDS)
    os.kill(os.getpid(), signum)


def enter() -> None:
    """Have this process drain, if it has not been told before.

    A time that is none is told, and the program goes on without: this is an import.
    """
    global _entered
    if _entered is None and sys.platform != "win32":  # which has no such signal
        try:
            _entered = Draining(os.environ)
        except ValueError as why:
            logs.warn(f"{VARIABLE} is ignored: {why}")


_entered: Draining | None = None
