"""`compact_traceback`: the current exception in one line."""

from __future__ import annotations

import sys
import traceback
from typing import Any


def compact_traceback() -> tuple[tuple[str, str, str], Any, Any, str]:
    """Return where the current exception was raised, its type, its value, and the way there.

    The first item is the file, function and line of the innermost frame; the last one is
    `[file|function|line] [file|function|line] ...` from the outermost (classic asyncore).
    Raises `AssertionError` if there is no current exception.
    """
    kind, value, trace = sys.exc_info()
    if trace is None:
        raise AssertionError("traceback does not exist")
    way = [
        (frame.f_code.co_filename, frame.f_code.co_name, str(line))
        for frame, line in traceback.walk_tb(trace)
    ]
    text = "[" + "] [".join(f"{file}|{function}|{line}" for file, function, line in way) + "]"
    return way[-1], kind, value, text
