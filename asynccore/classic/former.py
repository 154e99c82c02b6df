"""Forms of a call that have had their time, and are taken with a warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def formerly(*by_position: str, **renamed: str) -> Callable[[_Function], _Function]:
    """Have a function take what it took before, with a `DeprecationWarning`.

    That is parameters that are given by name now, and could be given by position, in this order,
    after those that still can; and parameters by former names: `former="present"`.
    """

    def decorate(function: Any) -> Any:
        most = function.__code__.co_argcount

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if most < len(args) <= most + len(by_position):
                named = dict(zip(by_position, args[most:], strict=False))
                if not options.keys() & named.keys():
                    said = ", ".join(f"{name}=..." for name in named)
                    warn_former(f"{_shown(function)}() takes by name: {said}")
                    args, options = args[:most], {**options, **named}
            for former, present in renamed.items():
                if former in options:
                    warn_former(f"{_shown(function)}() has {former} as {present} now")
                    if present in options:
                        raise TypeError(f"{former} and {present} are the same")
                    options[present] = options.pop(former)
            return function(*args, **options)

        return call

    return decorate


def _shown(function: Any) -> str:
    """Return what a function is called: for a constructor, its class."""
    name: str = function.__qualname__
    return name.removesuffix(".__init__")


def warn_former(text: str, depth: int = 3) -> None:
    """Say what a call should be, to whoever made the call `depth` functions up from here."""
    warnings.warn(text, DeprecationWarning, stacklevel=depth)


def under_former_name(thing: object, name: str, what: str) -> object:
    """Return what `thing`, which is `what` in words, had by a name that begins with `_ac_` now.

    For a `__getattr__`: raises `AttributeError` for any other name. It was public in 0.1.0.
    """
    present = f"_ac_{name}"
    if not hasattr(type(thing), present):
        raise AttributeError(
            f"{type(thing).__name__!r} object has no attribute {name!r}", name=name, obj=thing
        )
    warn_former(f"{name} of {what} is not for programs, and will not stay", 4)
    return getattr(thing, present)
