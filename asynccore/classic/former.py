"""Forms of a call that have had their time, and are taken with a warning."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def formerly(by_position: int | None = None, /, **renamed: str) -> Callable[[_Function], _Function]:
    """Have a function take what it took before, with a `DeprecationWarning`.

    That is `map` as the argument number `by_position`, counted from 0, where it is given by name
    now; and parameters by former names: `former="present"`.
    """

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if by_position is not None and len(args) == by_position + 1 and "map" not in options:
                warn_former(f"{function.__qualname__}() takes the map by name: map=...")
                *args, options["map"] = args  # type: ignore[assignment]
            for former, present in renamed.items():
                if former in options:
                    warn_former(f"{function.__qualname__}() has {former} as {present} now")
                    if present in options:
                        raise TypeError(f"{former} and {present} are the same")
                    options[present] = options.pop(former)
            return function(*args, **options)

        return call

    return decorate


def warn_former(text: str, depth: int = 3) -> None:
    """Say what a call should be, to whoever made the call `depth` functions up from here."""
    warnings.warn(text, DeprecationWarning, stacklevel=depth)
