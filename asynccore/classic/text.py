"""What is said of text where bytes belong.

Facts. In Python 2 `str` was bytes, so programs of that time, and those that only went through a
converter of syntax, give text to channels. Python's own words for that name neither the place nor
a way out, and `asyncore` prints the innermost line, which is not the program's.

Consequence. The error names the line of the program, and the two commands that help.

Trade-off. Looking for that line takes some microseconds, in a case that is an error anyway.
"""

from __future__ import annotations

import os
import sys
from types import FrameType

from ..neighbours import is_ours

# How much of the text is shown: enough to find it in the line.
_SHOWN = 20


def place() -> str | None:
    """Return the file and line, as "server.py, line 7", from which this package was called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    if frame is None or not os.path.basename(frame.f_code.co_filename):
        return None
    return f"{frame.f_code.co_filename}, line {frame.f_lineno}"


def not_bytes(what: str, text: str, given: str | None = None) -> TypeError:
    """Return the error for a str where bytes belong.

    `what` is what took it, such as "push()", `given` the place where it was given, by default
    the line of the program that is running.
    """
    where = given or place()
    file = (where or "").rpartition(", line ")[0] or "SCRIPT"
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return TypeError(
        f"{what} takes bytes, not str: {shown!r}"
        + (f" in {where}" if where else "")
        + f". 'asynccore check {file}' finds each such place, and 'asynccore run --text latin-1"
        " SCRIPT' takes str as Python 2 did"
    )
