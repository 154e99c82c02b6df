"""The surface of a module as lines of text: each name, and how it is called."""

from __future__ import annotations

import enum
import inspect
from types import FunctionType, ModuleType
from typing import Any

# Every class has these; they say nothing about how it is used.
_GENERAL = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __qualname__ __annotations__ __slots__ "
    "__firstlineno__ __static_attributes__".split()
)


def shape(function: Any) -> str:
    """Return the parameters of a function with their defaults, without annotations."""
    words = []
    for parameter in inspect.signature(function).parameters.values():
        word = {
            inspect.Parameter.VAR_POSITIONAL: "*",
            inspect.Parameter.VAR_KEYWORD: "**",
        }.get(parameter.kind, "") + parameter.name
        default = parameter.default
        if default is not inspect.Parameter.empty:
            # Enumerations have been shown differently from version to version.
            word += f"={int(default) if isinstance(default, enum.IntEnum) else default!r}"
        words.append(word)
    return f"({', '.join(words)})"


def without_new_keywords(function: Any) -> Any:
    """Return a signature without the keyword-only parameters that have defaults."""

    def like() -> None: ...

    signature = inspect.signature(function)
    like.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            parameter
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            or parameter.default is inspect.Parameter.empty
        ]
    )
    return like


def entries(module: ModuleType) -> dict[str, str]:
    """Return the surface of a classic module: dotted name to call signature or kind."""
    found: dict[str, str] = {}
    for name in dir(module):
        if name.startswith("__") and name not in ("__version__", "__all__"):
            continue
        item = getattr(module, name)
        found[name] = "name"
        if getattr(item, "__module__", None) != module.__name__:
            continue
        if isinstance(item, FunctionType):
            found[name] = shape(item)
        elif inspect.isclass(item):
            found[name] = "class"
            for member, value in vars(item).items():
                if member in _GENERAL:
                    continue
                if isinstance(value, FunctionType):
                    found[f"{name}.{member}"] = shape(value)
                else:
                    found[f"{name}.{member}"] = "property" if _is_property(value) else "name"
    return found


def _is_property(value: Any) -> bool:
    return isinstance(value, property)


def star_names(module: str) -> set[str]:
    """Return what `from module import *` gives."""
    namespace: dict[str, Any] = {}
    exec(f"from {module} import *", namespace)
    return set(namespace) - {"__builtins__"}


def lines(module: ModuleType) -> list[str]:
    """Return the surface as it is written down in `table.py`."""
    return [
        f"{name}{what}" if what.startswith("(") else f"{name}: {what}"
        for name, what in sorted(entries(module).items())
    ]
