"""`python -m asynccore`: the command line.

It lives in the package `compat`, a floor above this one, and is looked up at run time. With -m the
current folder comes first in `sys.path`, and a `compat.py` in the folder of some program is not
unlikely: the package is taken from beside this one. So does the command `asynccore`, for such a
folder may be in PYTHONPATH.
"""

from __future__ import annotations

import sys

from .neighbours import resolve


def command_line() -> int:
    """Run the command line on `sys.argv`; return the exit status."""
    status: int = resolve("compat.command_line.cli:main")()
    return status


if __spec__ is not None and __spec__.parent == "asyncore":
    # runpy, asked for a module that is a package now. The classic one does nothing as a script.
    globals().update(vars(sys.modules["asyncore"]))
elif __name__ == "__main__":
    sys.exit(command_line())
