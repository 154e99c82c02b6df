"""The line that follows the error a program ends with, if `asynccore check` knows of such errors.

Facts: a program of twenty years ends with a SyntaxError, or because a module or a name is gone,
and Python says no more than that. Consequence: after Python's own words comes one line. Trade-off:
whoever is told of something that is no old program reads a line in vain; so it follows only what
a newer Python may be the reason of.
"""

from __future__ import annotations

import os
import shlex
import sys
from types import ModuleType, TracebackType

from .check import removal


def hint(value: BaseException, traceback: TracebackType | None) -> str | None:
    """Return the line that follows an error a program ends with; None if there is none to say."""
    file = _file_of(value, traceback)
    if file is None or not _is_of_age(value):
        return None
    return f"asynccore: more is told by: asynccore check {shlex.quote(file)}"


def _file_of(value: BaseException, traceback: TracebackType | None) -> str | None:
    """Return the program's file that an error came from."""
    if isinstance(value, SyntaxError):
        file = value.filename
    else:
        while traceback is not None and traceback.tb_next is not None:
            traceback = traceback.tb_next
        file = traceback.tb_frame.f_code.co_filename if traceback is not None else None
    if not file or not os.path.isfile(file):
        return None
    with_less = os.path.relpath(file) if os.path.isabs(file) else file
    return file if with_less.startswith(os.pardir) else with_less


def _is_of_age(value: BaseException) -> bool:
    """Whether an error may come from what Python had once."""
    target = sys.version_info[:2]
    if isinstance(value, SyntaxError):
        return "null bytes" not in str(value)  # a file that is no program of any time
    name = getattr(value, "name", None)
    if not isinstance(name, str):
        return False
    if isinstance(value, ModuleNotFoundError):
        return removal.module(name, target) is not None
    if isinstance(value, ImportError):
        # "cannot import name 'Mapping' from 'collections' (…)"; its `name_from` is of 3.12.
        words = str(value).split("'")
        return len(words) > 2 and removal.name(f"{name}.{words[1]}", target) is not None
    if isinstance(value, AttributeError):
        owner = value.obj
        if isinstance(owner, ModuleType):
            return removal.name(f"{owner.__name__}.{name}", target) is not None
        return removal.method(name, target) is not None
    return isinstance(value, NameError) and removal.builtin(name, target) is not None
