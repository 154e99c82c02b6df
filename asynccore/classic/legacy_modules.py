"""The modules of this package as programs find them, by other names than their own.

Facts. What stands in `sys.modules` under `smtpd` has its own name in its spec, and the loader there
has no code for any other name: `python -m smtpd` fails once the module is imported. A program may
put a module of its own under `asyncore` before it imports `asynchat`, which looks it up by that
name and derives from whatever it finds.

Consequence. The loaders answer to any name. Where another `dispatcher` stands under `asyncore`,
`asynchat` and `smtpd` are made anew, with classes that are derived from both.

Trade-off. Such classes have the package's methods before those of a dispatcher that is not derived
from the package's.
"""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any

from .genuine import is_genuine


class _AnyName(SourceFileLoader):
    """Has the code of its file for whoever asks, under whatever name."""

    def get_filename(self, name: str | None = None) -> str:
        return str(self.path)


def answer_to_any_name(module: ModuleType) -> None:
    """Have `runpy` and the like find the code of a module under its other names, too."""
    spec = module.__spec__
    if spec is not None and type(spec.loader) is SourceFileLoader:
        spec.loader = module.__loader__ = _AnyName(spec.loader.name, spec.loader.path)


def take_green(ours: ModuleType, modules: dict[str, ModuleType]) -> None:
    """Have the package use the modules that eventlet's `import_patched` shows for a moment.

    There is no second copy of the package that could have them instead.
    """
    if "select" in modules and not is_genuine(modules["select"], "select", "select"):
        for name in ("select", "socket", "time"):
            if name in modules and getattr(ours, name) is not modules[name]:
                setattr(ours, name, modules[name])


def base_of(modules: dict[str, ModuleType], ours: ModuleType) -> ModuleType | None:
    """Return what stands under `asyncore` and has another dispatcher than `ours`, if it does."""
    found = modules.get("asyncore")
    dispatcher = getattr(found, "dispatcher", ours.dispatcher)
    return None if dispatcher is ours.dispatcher or not isinstance(dispatcher, type) else found


def is_derived(base: ModuleType, ours: ModuleType) -> bool:
    """Whether the dispatcher of a program's module is derived from ours."""
    return issubclass(base.dispatcher, ours.dispatcher)


def derived(
    module: ModuleType, name: str, beneath: dict[str, tuple[ModuleType, ModuleType]]
) -> ModuleType:
    """Return a module like `module`, called `name`, on top of other modules.

    `beneath` has the names by which `module` knows what is beneath it; for each, the module that
    it knows and the one to derive from instead.
    """
    made = ModuleType(name, module.__doc__)
    own = {"__name__", "__doc__", "__package__", "__loader__", "__spec__"}
    vars(made).update({key: value for key, value in vars(module).items() if key not in own})
    instead: dict[type, Any] = {}
    for attribute, (known, other) in beneath.items():
        setattr(made, attribute, other)
        for key, value in vars(known).items():
            if isinstance(value, type) and getattr(other, key, value) is not value:
                instead[value] = getattr(other, key)
    for key, value in vars(module).items():
        if isinstance(value, type) and value not in instead:
            base = next((instead[cls] for cls in value.__mro__ if cls in instead), None)
            if isinstance(base, type):
                body = {"__module__": name, "__doc__": value.__doc__}
                instead[value] = type(value)(value.__name__, (value, base), body)
                setattr(made, key, instead[value])
    for cls in instead.values():
        if getattr(cls, "channel_class", None) in instead:
            cls.channel_class = instead[cls.channel_class]
    return made
