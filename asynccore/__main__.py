"""`python -m asynccore`: the command line.

It lives in the package `compat`, a floor above this one, and is looked up at run time, here
alone. With -m the current folder comes first in `sys.path`, and a `compat.py` in the folder of
some program is not unlikely: the package is taken from beside this one.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path


def command_line() -> int:
    """Run the command line on `sys.argv`; return the exit status."""
    spec = PathFinder.find_spec("compat", [str(Path(__file__).absolute().parent.parent)])
    if spec is not None and spec.loader is not None:
        sys.modules["compat"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["compat"])
    status: int = import_module("compat.command_line.cli").main()
    return status


if __name__ == "__main__":
    sys.exit(command_line())
