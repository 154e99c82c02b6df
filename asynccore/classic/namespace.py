"""Look-ups on the `asynccore` package at call time.

Programs rebind names on the module they know as `asyncore`: `asyncore.socket_map = MyDict()`,
`asyncore.socket = mock_socket`. A name imported into another module would not follow, so what a
program may rebind is read through `package()` whenever it is needed.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_PACKAGE = __name__.partition(".")[0]


def package() -> ModuleType:
    """Return the `asynccore` package as it stands now, even while it is being imported."""
    return sys.modules[_PACKAGE]


def default_map() -> Any:
    """Return the map in use where a caller names none: `asynccore.socket_map` of this moment."""
    return sys.modules[_PACKAGE].socket_map


def legacy_name(module: str) -> str:
    """Return the name under which the classic library had what is in `module` now.

    >>> legacy_name("asynccore.dispatchers.dispatcher")
    'asyncore'
    """
    name, _, rest = module.partition(".")
    if name != package().__name__:
        return module
    return rest if rest in ("asynchat", "smtpd") else "asyncore"
