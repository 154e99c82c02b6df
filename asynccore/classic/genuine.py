"""Modules of the interpreter as they were before others put functions of theirs into them.

Facts. gevent and eventlet replace `select.select` by one that lets other green threads run, and
take `epoll` and `kqueue` away; freezegun lets `time.monotonic` stand still; both may have been
there before this package is imported. eventlet's `import_patched` even gives other modules under
these names.

Consequence. What this package itself needs is taken from a module made anew where that is so. What
programs mean by these names is looked up when it is needed, as ever (`namespace`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType


def is_genuine(module: ModuleType, name: str, *attributes: str) -> bool:
    """Whether a module is the interpreter's of that name, and these attributes are its own."""
    return all(
        getattr(getattr(module, attribute, None), "__module__", None) == name
        for attribute in attributes
    )


def genuine(name: str, *attributes: str) -> ModuleType:
    """Return the built-in or extension module `name`, with these attributes as they are in C."""
    __import__(name)
    module = sys.modules[name]
    if is_genuine(module, name, *attributes):
        return module
    # Hardly anybody gets here.
    from importlib.machinery import BuiltinImporter, PathFinder
    from importlib.util import module_from_spec

    spec = BuiltinImporter.find_spec(name) or PathFinder.find_spec(name)
    if spec is None or spec.loader is None:
        return module
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    return made if all(hasattr(made, attribute) for attribute in attributes) else module


class Clock:
    """The clock of loops and timers, in a class, where freezegun does not find it."""

    monotonic: Callable[[], float] = genuine("time", "monotonic").monotonic
