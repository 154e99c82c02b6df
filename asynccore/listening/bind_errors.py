"""Why a program can't listen: with the address, and in one line where `asynccore run` started it.

Facts. bind(2) says "Address already in use", and not which. A program that doesn't catch that ends
with a traceback of its own code, in which nothing is wrong; several workers do so again and again.

Consequence. The `OSError` gets the address where it has room for a file's name, so that it is
printed; all else about it stays. In a process that `asynccore run` started, one that is caught by
nobody is told in one line, by the parent of workers if there is one, which then tries no more.

Trade-off. Who wants the traceback has to say so: `python -X dev -m asynccore run`.
"""

from __future__ import annotations

import errno
import os
import sys
from types import TracebackType

from .. import logs, worker

# The process that `asynccore run` has become, by its id.
VARIABLE = "ASYNCCORE_RUN"

# What has to do with the address, and not with the program.
_OF_ADDRESS = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES})

_told: list[OSError] = []  # the last of them, if the process is one of `asynccore run`


def explain(why: OSError, address: str) -> None:
    """Add the address to an `OSError` of `bind`, which is to be raised again."""
    if why.filename is None and why.errno in _OF_ADDRESS:
        why.filename = address
        if os.environ.get(VARIABLE) == str(os.getpid()) and not sys.flags.dev_mode:
            if not _told:
                _Hook()
            _told[:] = [why]


class _Hook:
    """In the place of `sys.excepthook`, for one kind of exception."""

    def __init__(self) -> None:
        self._before = sys.excepthook
        sys.excepthook = self

    def __call__(
        self, kind: type[BaseException], why: BaseException, trace: TracebackType | None
    ) -> None:
        if not (isinstance(why, OSError) and why in _told):
            self._before(kind, why, trace)
            return
        text = f"can't listen at {why.filename}: {why.strerror}"
        if worker.present is not None:
            worker.present.tell(worker.HOPELESS + text.encode())
        else:
            logs.emit("error", text)
            logs.put(f"asynccore run: {text}", sys.stderr)
