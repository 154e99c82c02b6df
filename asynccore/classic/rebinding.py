"""Names of the package by which a loop works, where programs put something of their own.

Facts. Tracers replace `asyncore.read` and its like; gevent, eventlet and tests replace the `select`
of the module, or `asyncore.select` itself. A loop that looked each of them up at every event would
pay for what hardly anybody does.

Consequence. The package is a module that sees assignments to these names, and then tells those who
entered themselves in `observers`. What is assigned to `select.select` nobody can see: that is
looked at when a loop begins, at each `poll()`, and once a second.

Trade-off. Attributes of such a module take a hundredth of a microsecond longer to find.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from .genuine import genuine, is_genuine

# The functions that a loop calls for an event. Their values, as long as they are the package's.
_ours: dict[str, object] = {"read": None, "write": None, "_exception": None, "readwrite": None}

# Called, from any thread, when something has another value than before.
observers: list[Callable[[], object]] = []

# What `select.select` was when it was last looked at.
select_module: ModuleType = genuine("select", "select")
select_seen: object = select_module.select

# Whether there was anything that is not ours when it was last looked at.
replaced = False

_package: ModuleType | None = None
_has_poll = hasattr(select_module, "poll")


class _Observed(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        ModuleType.__setattr__(self, name, value)
        if name in _ours or name == "select":
            look()

    def __delattr__(self, name: str) -> None:
        ModuleType.__delattr__(self, name)
        if name in _ours or name == "select":
            look()


def observe(package: ModuleType) -> None:
    """See assignments to the package from now on; what it has at present is ours."""
    global _package, select_module
    _package = package
    for name in _ours:
        _ours[name] = getattr(package, name)
    select_module = package.select
    package.__class__ = _Observed
    look()


def look() -> None:
    """Look at everything, and tell the observers if there is something that is not ours."""
    global select_seen, replaced
    select_seen = getattr(select_module, "select", None)
    replaced = is_replaced()
    if replaced:
        for tell in observers:
            tell()


def is_replaced() -> bool:
    """Whether there is anything that is not ours now."""
    return functions_are_replaced() or select_is_replaced() or select_is_replaced(by_poll=True)


def functions_are_replaced() -> bool:
    """Whether the program has put a function of its own in the place of one for events."""
    return any(getattr(_package, name, None) is not ours for name, ours in _ours.items())


def select_is_replaced(by_poll: bool = False) -> bool:
    """Whether the wait is to go through what the program has under the name `select`.

    With `by_poll`, through the `poll` there, as classic `poll2` has it.
    """
    module: Any = getattr(_package, "select", None)
    if by_poll and _has_poll and hasattr(module, "poll"):
        return not is_genuine(module, "select", "poll")
    return module is not None and not is_genuine(module, "select", "select")
