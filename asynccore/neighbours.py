"""The packages that stand beside this one, whatever else a program calls by their names.

Facts. Two packages are shipped beside `asynccore` whose names are common ones: a program may have a
module of its own that is called so, in its folder or imported already. What the packages bring is
loaded in the program's process. Entry points name modules by their plain names.

Consequence. A neighbour is found by its place. It has its plain name if nobody else has it, and
else one that no program has, as a part of this package: `asynccore.compat`. So do its submodules,
which import their own package relatively and nothing else. Libraries, which know no program, use
the longer names: where the plain ones are given, these lead to the same modules (`lead_to`).

Trade-off. A program whose own module is found only later, by a path that it adds to `sys.path`,
gets the neighbour by that name.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

NEIGHBOURS = ("compat", "ssl_ext")

# Whose entry points name modules of neighbours.
_DISTRIBUTION = "asynccore"

_PACKAGE = __name__.rpartition(".")[0]

# What a neighbour is called where its plain name is somebody else's.
ALIAS = _PACKAGE + ".{}"

_loaded: dict[str, ModuleType] = {}  # the neighbours that have no plain name
_lock = RLock()  # a neighbour may need another one while it is imported


def neighbour(name: str) -> ModuleType:
    """Return the package that stands beside this one, imported if need be.

    Raises `ModuleNotFoundError` if there is none, and what importing it raises.
    """
    # Hardly anybody gets here, and this loads much.
    from importlib import import_module

    with _lock:
        if name in _loaded:
            return _loaded[name]
        if not _has_plain_name(name):
            spec = _beside(name)
            if spec is None:
                raise ModuleNotFoundError(
                    f"no package {name!r} stands beside {_PACKAGE}", name=name
                )
            return _load(spec, name if _is_nobodys(name) else ALIAS.format(name))
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


def lead_to(name: str, alias: str) -> None:
    """Put a neighbour in the place of the module `alias` of this package, which is being imported.

    Its submodules are found there as well. Raises as `neighbour`.
    """
    if AliasFinder not in sys.meta_path:
        sys.meta_path.insert(0, AliasFinder)  # before the one that would make a second copy
    # The import system hands on what it finds under that name once the module has run.
    sys.modules[alias] = neighbour(name)


def is_ours(module: str) -> bool:
    """Whether a name of a module, loaded by now, is of this package or of one beside it.

    A program's own module is not, whatever it is called.
    """
    top = module.partition(".")[0]
    if top == _PACKAGE:
        return True
    return top in NEIGHBOURS and _is_at_home(getattr(sys.modules.get(top), "__spec__", None))


class AliasFinder:
    """A meta path finder for what is in neighbours, asked for as a part of this package.

    >>> import asynccore.compat.engines  # which is `compat.engines`
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return how to get the neighbour's own submodule, if it is known by its plain name."""
        top, _, rest = name.partition(".")
        package, _, rest = rest.partition(".")
        if top != _PACKAGE or package not in NEIGHBOURS or not rest:
            return None
        home = sys.modules[ALIAS.format(package)].__name__
        if home != package:
            return None  # It is a part of this package, and found as any other.
        from importlib.machinery import ModuleSpec
        from importlib.util import find_spec

        own = f"{home}.{rest}"
        if find_spec(own) is None:
            return None
        return ModuleSpec(name, _AliasLoader(own))  # type: ignore[arg-type]


class _AliasLoader:
    def __init__(self, own: str) -> None:
        self.own = own

    def create_module(self, spec: ModuleSpec) -> None:
        """Have an empty module made, which gives way to the neighbour's own."""

    def exec_module(self, module: ModuleType) -> None:
        from importlib import import_module

        sys.modules[module.__name__] = import_module(self.own)


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


@functools.cache
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
    plain = found.name
    if name != plain:
        _loaded[plain] = module
    try:
        # `exec_module` of most loaders refuses another name than the one they were made for.
        exec(loader.get_code(plain), vars(module))
    except BaseException:
        del sys.modules[name]
        _loaded.pop(plain, None)
        raise
    return module
