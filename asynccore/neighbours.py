"""The packages that stand beside this one, whatever else a program calls by their names.

Facts. Two packages are shipped beside `asynccore` whose names are common ones: a program may have a
module of its own that is called so, in its folder or imported already. What the packages bring is
loaded in the program's process. Entry points name modules by their plain names.

Consequence. A neighbour is found by its place. It has its plain name if nobody else has it, and
else one that no program has (`ALIAS`); so do its submodules, which import their own package
relatively and nothing else.

Trade-off. A program whose own module is found only later, by a path that it adds to `sys.path`,
gets the neighbour by that name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

# What a neighbour is called where its plain name is somebody else's.
ALIAS = "_asynccore_{}"

# Whose entry points name modules of neighbours.
_DISTRIBUTION = "asynccore"

_PACKAGE = __name__.partition(".")[0]
_lock = RLock()  # a neighbour may need another one while it is imported


def neighbour(name: str) -> ModuleType:
    """Return the package that stands beside this one, imported if need be.

    Raises `ModuleNotFoundError` if there is none, and what importing it raises.
    """
    # Hardly anybody gets here, and this loads much.
    from importlib import import_module

    alias = ALIAS.format(name)
    with _lock:
        if alias in sys.modules:
            return sys.modules[alias]
        if not _has_plain_name(name):
            spec = _beside(name)
            if spec is None:
                raise ModuleNotFoundError(
                    f"no package {name!r} stands beside {_PACKAGE}", name=name
                )
            return _load(spec, name if _is_nobodys(name) else alias)
    # Without the lock, for who imports it by its plain name holds the one of the import system.
    return import_module(name)


def resolve(target: str) -> Any:
    """Return what "PACKAGE.MODULE:NAME", or "PACKAGE.MODULE", stands for; PACKAGE is a neighbour.

    Raises `ImportError` if there is none, or not such a module, and `AttributeError` for a NAME
    that isn't in there.
    """
    from importlib import import_module

    module, _, name = target.partition(":")
    package, _, rest = module.partition(".")
    found = neighbour(package)
    if rest:
        found = import_module(f"{found.__name__}.{rest}")
    return getattr(found, name) if name else found


def plug_ins(group: str, name: str | None = None) -> Iterator[Any]:
    """Yield what the entry points of a group stand for: of all, or of those of one name.

    Raises what loading one raises.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        if name is not None and entry.name != name:
            continue
        ours = entry.dist is not None and entry.dist.name == _DISTRIBUTION
        yield resolve(entry.value) if ours else entry.load()


def _has_plain_name(name: str) -> bool:
    """Whether an import by the plain name gives the neighbour, or was forbidden."""
    from importlib.util import find_spec

    if name in sys.modules:
        module: Any = sys.modules[name]
        return module is None or _is_at_home(getattr(module, "__spec__", None))
    return _is_at_home(find_spec(name))


def _is_nobodys(name: str) -> bool:
    """Whether no import finds anything by a plain name."""
    from importlib.util import find_spec

    return name not in sys.modules and find_spec(name) is None


def _is_at_home(spec: ModuleSpec | None) -> bool:
    """Whether what is found by a plain name is a package that stands beside this one."""
    if spec is None or spec.submodule_search_locations is None:
        return False
    home = _home()
    if home is None:
        # This package has no place, for it is part of an image, as its neighbours then are.
        return not spec.has_location
    return spec.origin is not None and _folder_of(spec.origin) == home


def _home() -> str | None:
    """Return the folder, or the archive, that this package stands in."""
    spec: ModuleSpec | None = sys.modules[_PACKAGE].__spec__
    if spec is None or not spec.has_location or spec.origin is None:
        return None
    return _folder_of(spec.origin)


def _folder_of(face: str) -> str:
    # The folder is what matters: an installation may consist of links to single files.
    return os.path.realpath(os.path.dirname(os.path.dirname(os.path.abspath(face))))


def _beside(name: str) -> ModuleSpec | None:
    from importlib.machinery import PathFinder

    home = _home()
    return None if home is None else PathFinder.find_spec(name, [home])


def _load(found: ModuleSpec, name: str) -> ModuleType:
    """Import a package under the given name."""
    from importlib.util import module_from_spec, spec_from_file_location

    loader: Any = found.loader
    spec = spec_from_file_location(
        name,
        found.origin,
        loader=loader,
        submodule_search_locations=found.submodule_search_locations,
    )
    assert spec is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        # `exec_module` of most loaders refuses another name than the one they were made for.
        exec(loader.get_code(found.name), vars(module))
    except BaseException:
        del sys.modules[name]
        raise
    return module
