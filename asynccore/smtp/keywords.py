"""`process_message` as programs have it that know of no keywords.

Facts. Until Python 3.4 `process_message` had four arguments, and the message was text; since 3.5 it
gets two keywords more, and the message as bytes, unless the server was made with `decode_data`.
Programs of before refuse each mail with a TypeError, and their clients are dropped.

Consequence. It is called with the keywords that it takes. If it takes none of them, it is of that
time, and gets text. One warning says so.

Trade-off. Such a program is not told of the options with which a client sent its message.
"""

from __future__ import annotations

import warnings
from types import CodeType
from typing import Any

_HAS_VARKEYWORDS = 0x08  # inspect.CO_VARKEYWORDS, without importing inspect

_told: set[CodeType] = set()


def adapted(
    process_message: object, data: Any, options: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the message and the keywords as a `process_message` takes them."""
    code = getattr(getattr(process_message, "__func__", process_message), "__code__", None)
    if not isinstance(code, CodeType) or code.co_flags & _HAS_VARKEYWORDS:
        return data, options
    names = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    taken = {name: value for name, value in options.items() if name in names}
    if len(taken) < len(options) and code not in _told:
        _told.add(code)
        _warn(process_message, code, bool(taken))
    return (data, taken) if taken else (as_text(data), {})


def as_text(data: bytes) -> str:
    """Return a message as text: UTF-8, as classic smtpd had it, or else Latin-1, which all is."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _warn(process_message: object, code: CodeType, takes_some: bool) -> None:
    name = getattr(process_message, "__qualname__", "process_message")
    says = "without those it does not take" if takes_some else "as before Python 3.5, with text"
    warnings.warn_explicit(
        f"{name} takes no **kwargs: it is called {says}; add **kwargs to get the options of each"
        " mail, and the message as bytes",
        RuntimeWarning,
        code.co_filename,
        code.co_firstlineno,
    )
