"""What Python 3.11's modules carry to announce their own removal, for programs that read it."""

from __future__ import annotations

import sys
import warnings

_DEPRECATION_MSG = "{name} is no longer part of Python as of 3.12; this is asynccore in its place"


def _deprecated(
    name: str,
    message: str = "{name!r} is deprecated since Python {remove}",
    *,
    remove: tuple[int, int],
    _version: object = sys.version_info,
) -> None:
    """Warn with `DeprecationWarning` that a name goes away, as `warnings._deprecated` does."""
    text = message.format(name=name, remove=".".join(map(str, remove)))
    warnings.warn(text, DeprecationWarning, stacklevel=3)
