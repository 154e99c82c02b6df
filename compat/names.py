"""The legacy names in this process: asyncore, asynchat and smtpd mean asynccore's modules.

Facts: an `import` statement looks into `sys.modules` first; what a module bound by
`import asyncore` or `from asyncore import …`, and what a class was derived from, is never looked
up again. Consequence: installing early changes everything, installing late changes later
imports only, so a late installation names who keeps the earlier modules. The modules are not
patched to hide that: half-swapped classes would share a name and no socket map.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from types import ModuleType
from typing import NamedTuple

from asynccore.classic import legacy_modules

from . import engines
from .legacy_names import _asynccore_names
from .legacy_names._asynccore_names import TARGETS


class LegacyModuleWarning(UserWarning):
    """A legacy module was imported from elsewhere before `install()`, and stays in use."""


class _Before(NamedTuple):
    """What `install()` found."""

    modules: dict[str, ModuleType]
    engine: str | None


_before: _Before | None = None


def install(engine: str | None = None) -> None:
    """Make `import asyncore`, `import asynchat` and `import smtpd` give asynccore's modules.

    `engine` becomes the default engine of this process and of its children
    (`ASYNCCORE_ENGINE` in `os.environ`): "epoll", "kqueue", "poll", "select", "asyncio", "uvloop"
    or "twisted". The names are installed in this process and in its forks. Installing again is
    harmless and may change the engine.

    Raises ValueError for an engine that cannot be used here; nothing is installed then. Warns
    with LegacyModuleWarning when a legacy module was imported from elsewhere before.
    """
    global _before
    if engine is not None:
        engines.check(engine)
    ours = {name: importlib.import_module(target) for name, target in TARGETS.items()}
    earlier = {
        name: found
        for name in TARGETS
        if (found := sys.modules.get(name)) is not None and found is not ours[name]
    }
    if _before is None:
        there = {name: sys.modules[name] for name in TARGETS if name in sys.modules}
        _before = _Before(there, os.environ.get(engines.VARIABLE))
    sys.modules.update(ours)
    for module in ours.values():
        legacy_modules.answer_to_any_name(module)
    # For a program that takes them out of `sys.modules`, and imports them anew.
    sys.modules.setdefault(_asynccore_names.__name__.rpartition(".")[2], _asynccore_names)
    _asynccore_names.enable()
    if engine is not None:
        os.environ[engines.VARIABLE] = engine
        engines.begin(engine)
    if earlier:
        warnings.warn(_what_stays(earlier), LegacyModuleWarning, stacklevel=2)


def uninstall() -> None:
    """Put back what `install()` found: modules, their absence, and the default engine.

    A name that was rebound in `sys.modules` since is left alone. Does nothing when the names
    are not installed.
    """
    global _before
    if _before is None:
        return
    before, _before = _before, None
    if _asynccore_names.Finder in sys.meta_path:
        sys.meta_path.remove(_asynccore_names.Finder)
    for name, target in TARGETS.items():
        if sys.modules.get(name) is sys.modules[target]:
            del sys.modules[name]
            if name in before.modules:
                sys.modules[name] = before.modules[name]
    if before.engine is None:
        os.environ.pop(engines.VARIABLE, None)
    else:
        os.environ[engines.VARIABLE] = before.engine


def _what_stays(earlier: dict[str, ModuleType]) -> str:
    where = ", ".join(
        f"{name} (from {getattr(module, '__file__', None) or 'an unknown place'})"
        for name, module in earlier.items()
    )
    users = ", ".join(_users_of(earlier)) or "none found"
    return (
        f"imported before compat.install(): {where}. From now on an import gives asynccore, but"
        " names bound earlier by 'import' or 'from … import …' and classes already derived from"
        f" the earlier ones do not change. Modules that still use them: {users}."
        " Call compat.install() before these are imported."
    )


def _users_of(earlier: dict[str, ModuleType]) -> list[str]:
    """Name the modules that hold one of the earlier modules, or something defined in one."""
    held = {id(module) for module in earlier.values()}
    for module in earlier.values():
        held.update(
            id(thing)
            for thing in vars(module).values()
            if getattr(thing, "__module__", None) == module.__name__
        )
    return sorted(
        name
        for name, module in sys.modules.items()
        if isinstance(module, ModuleType)
        and module not in earlier.values()
        and any(id(thing) in held for thing in list(vars(module).values()))
    )
