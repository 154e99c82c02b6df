"""Whether `asynccore top` may look at this process; loads what serves it only then."""

from __future__ import annotations

import os

# Where to open the socket: a path, or `USUAL`. Set by `asynccore run --top`, or by hand.
VARIABLE = "ASYNCCORE_TOP"

# The value for the usual place, see `asynccore.watched.usual_path`.
USUAL = "1"

wanted = os.environ.get(VARIABLE, "")

_begun_by = 0  # the process id; a forked child begins anew


def begin() -> None:
    """Open the socket of `wanted`, once in each process. What fails is said, and not raised."""
    global _begun_by
    if _begun_by != os.getpid():
        _begun_by = os.getpid()
        from . import watched

        watched.begin(wanted)
