"""Ending with the process that supervises this one, where the kernel doesn't see to that.

Facts. `asynccore run --workers` may be killed, and its workers would serve on with nobody to end
them. Linux can signal a process when the other end of a pipe is closed (fcntl(2), F_SETSIG);
others can't. A map with one more channel in it would end no loop.

Consequence. The environment names the pipe, and the first loop of this process starts a thread
that does nothing but read from it. At its end this process gets the signal that ends it.

Trade-off. A thread, on these systems, under `--workers` alone.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import MutableMapping

from . import loop

# "PID:FD": the reading end of a pipe, for the process PID alone.
VARIABLE = "ASYNCCORE_SUPERVISOR"


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


def _begin() -> None:
    loop.starting.remove(_begin)
    watch(os.environ)


def enter() -> None:
    """Have the first loop of this process watch."""
    loop.starting.append(_begin)
