"""Where certificates, keys and lists come from: the path of a file, or its content as bytes.

*Facts.* PEM text in a `str` looks like a path, and the error for a file that is not there shows the
whole of it, a key too. An empty path is the current folder to `pathlib`. Who debugs a program looks
at the `repr` of its settings.
*Consequence.* A `str` is a path and bytes are content, always; what can be neither is refused
before anything is opened. Content is never shown.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePath

# A path, or the content of the file itself.
Source = str | os.PathLike[str] | bytes


class Content(bytes):
    """Bytes that don't show in a `repr`, for there may be a key among them."""

    argument: str  # as what they were given

    def __repr__(self) -> str:
        return f"<{len(self):,} bytes>"

    __str__ = __repr__


def checked_path(argument: str, given: str | os.PathLike[str]) -> str:
    """Return a path as text. Raises `TypeError` and `ValueError` for what is none."""
    path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else None
    if not isinstance(path, str):
        raise TypeError(f"{argument} is the path of a file, not of the type {_kind(given)}")
    if "-----BEGIN" in path:
        raise ValueError(
            f"{argument} is PEM text in a str, which is taken for a path: give it as bytes "
            "(text.encode()), or the path of a file"
        )
    if not path or (isinstance(given, PurePath) and path == "."):
        raise ValueError(
            f"{argument} is an empty path: leave it out if there is none "
            "(the current folder is '.' as text)"
        )
    if "\0" in path:
        raise ValueError(f"{argument}: there is no path with a zero byte like {path!r}")
    return path


def checked_source(argument: str, given: Source) -> str | Content:
    """Return a path as text, or content. Raises `TypeError` and `ValueError` for what is none."""
    if isinstance(given, Content):
        return given
    if isinstance(given, (bytes, bytearray)):
        content = Content(given)
        content.argument = argument
        return content
    if not isinstance(given, (str, os.PathLike)):
        raise TypeError(
            f"{argument} is the path of a file, or its content as bytes, "
            f"not of the type {_kind(given)}"
        )
    return checked_path(argument, given)


def checked_sources(argument: str, given: Source | Iterable[Source]) -> tuple[str | Content, ...]:
    """Return one or several sources. Raises as `checked_source`, and `ValueError` for none."""
    if isinstance(given, (str, bytes, bytearray, os.PathLike)) or not isinstance(given, Iterable):
        return (checked_source(argument, given),)
    found = tuple(checked_source(argument, part) for part in given)
    if not found:
        raise ValueError(f"{argument} is empty: leave it out, or say which")
    return found


def place(source: str | Content) -> str:
    """Return what a source is called in an error."""
    return f"the bytes given as {source.argument}" if isinstance(source, Content) else source


def read(source: str | Content, what: str) -> bytes:
    """Return the content. Raises `OSError`, which says `what` could not be read."""
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as why:
        raise type(why)(why.errno, f"can't read the {what}: {why.strerror}", source) from None


def _kind(given: object) -> str:
    return type(given).__name__
