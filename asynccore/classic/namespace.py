"""Look-ups on the `asynccore` package at call time.

Programs rebind names on the module they know as `asyncore`: `asyncore.socket_map = MyDict()`,
`asyncore.socket = mock_socket`. A name imported into another module would not follow, so what a
program may rebind is read through `package()` whenever it is needed.
"""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

_PACKAGE = __name__.rpartition(".classic.")[0]  # under a longer name where it is vendored

# The classic library's names of the modules that take the place of its own.
_LEGACY_NAMES = {
    _PACKAGE: "asyncore",
    f"{_PACKAGE}.asynchat": "asynchat",
    f"{_PACKAGE}.smtpd": "smtpd",
}


def package() -> ModuleType:
    """Return the `asynccore` package as it stands now, even while it is being imported."""
    return sys.modules[_PACKAGE]


def default_map() -> Any:
    """Return the map in use where a caller names none: `asynccore.socket_map` of this moment."""
    return sys.modules[_PACKAGE].socket_map


def legacy_name(module: str) -> str:
    """Return the name under which the classic library had what is in `module` now.

    >>> legacy_name("asynccore")
    'asyncore'
    """
    return _LEGACY_NAMES.get(module, module)


def publish(face: dict[str, Any]) -> None:
    """Have the public classes and functions of this package say that they are from a face.

    `face` is its namespace. Neither tracebacks nor pickles then show where something is written,
    and both last if that changes. `inspect.getsource` finds functions and methods as ever, and
    says that it has no source for such a class.
    """
    for name, thing in face.items():
        if name.startswith("_") or not isinstance(thing, (type, FunctionType)):
            continue
        if thing.__module__.startswith(f"{_PACKAGE}."):
            thing.__module__ = face["__name__"]
            if "__firstlineno__" in vars(thing):
                # Python 3.13 would show the lines of that number in the face.
                del thing.__firstlineno__  # type: ignore[union-attr]
