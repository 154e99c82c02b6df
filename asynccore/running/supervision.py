"""A process that somebody supervises: it ends with him, and says that its loops answer.

Facts. `asynccore run --workers` may be killed, and its workers would serve on with nobody to end
them. Linux can signal a process when the other end of a pipe is closed (fcntl(2), F_SETSIG);
others can't. A map with one more channel in it would end no loop, and one with one more timer no
`loop(until_idle=True)`. A handler that hangs can't say so.

Consequence. The environment names the pipe, and the first wait of this process starts a thread
that does nothing but read from it. At its end this process gets the signal that ends it. If the
environment names a time, another thread asks all running loops several times as often, and tells
the parent as long as all of them have answered. The parent decides what silence means.

Trade-off. A thread, on these systems, under `--workers` alone; another one with `--watchdog`.
Loops that a program makes of `poll()` are not asked.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import MutableMapping

from .. import worker
from ..engine.engine import Engine, engines, starting
from . import recycling

# "PID:FD": the reading end of a pipe, for the process PID alone.
VARIABLE = "ASYNCCORE_SUPERVISOR"

# After how many seconds of silence the parent replaces a worker.
WATCHDOG_VARIABLE = "ASYNCCORE_WATCHDOG"

# So many answers are due within these seconds: one may be late.
ANSWERS = 4


def watch(environ: MutableMapping[str, str]) -> None:
    """End this process as soon as its supervisor has ended, if an environment says who that is."""
    pid, _, number = environ.get(VARIABLE, "").partition(":")
    if pid == str(os.getpid()):
        del environ[VARIABLE]
        threading.Thread(target=_wait, args=(int(number),), daemon=True).start()


def _wait(fd: int) -> None:
    try:
        while os.read(fd, 1):
            pass
    except OSError:
        return  # closed by a program that has become a daemon
    os.kill(os.getpid(), signal.SIGTERM)


class Watchdog:
    """Asks the running loops of this process whether they answer, and tells the parent."""

    def __init__(self, place: worker.Place) -> None:
        self._place = place
        self._asked: dict[Engine, threading.Event] = {}

    def ask(self) -> None:
        """Tell the parent that all loops have answered, if so, and ask those anew."""
        looping = [engine for engine in engines() if engine.loops]
        silent = {
            engine: answered
            for engine, answered in self._asked.items()
            if engine in looping and not answered.is_set()
        }
        self._asked = silent
        if silent:
            return
        for engine in looping:
            answered = self._asked[engine] = threading.Event()
            engine.call_soon_threadsafe(answered.set)
        self._place.tell(worker.ANSWERS)

    def run(self, interval: float) -> None:
        """Ask every `interval` seconds, for ever."""
        if sys.platform != "win32":
            # A signal is to end the wait of the loop, not this one.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            self.ask()
            time.sleep(interval)


def _begin() -> None:
    starting.remove(_begin)
    watch(os.environ)
    place = worker.present
    if place is not None:
        place.drop_handed_down()
        place.tell(worker.BEGINS)
        seconds = os.environ.get(WATCHDOG_VARIABLE)
        if seconds:
            run = Watchdog(place).run
            threading.Thread(target=run, args=(float(seconds) / ANSWERS,), daemon=True).start()
        most = os.environ.get(recycling.VARIABLE)
        if most:
            threading.Thread(target=recycling.Wear(place, int(most)).run, daemon=True).start()


def enter() -> None:
    """Have the first wait of this process watch."""
    starting.append(_begin)
