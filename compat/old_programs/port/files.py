"""Files that are rewritten: what differs, and putting it in their place in one go."""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import stat
import sys
import tempfile
import tokenize
from pathlib import Path

from .. import sources


def read(path: Path) -> sources.Source:
    """Return a file that can be written again as it is.

    Raises `sources.Unreadable` for one that can't be opened, is no text, or is in another encoding
    than it says (`sources.read` has a guess for these, which is not good enough for writing).
    """
    found = sources.read(path)
    data = path.read_bytes()
    encoding = "utf-8"
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as why:
        if "unknown" in str(why.msg):
            raise sources.Unreadable(path, str(why.msg)) from None
    except LookupError as why:  # a codec from bytes to bytes, as hex, of which 3.15 tries a line
        raise sources.Unreadable(path, str(why)) from None
    try:
        data.decode(encoding)
    except LookupError as why:
        raise sources.Unreadable(path, str(why)) from None
    except UnicodeDecodeError as why:
        line = data.count(b"\n", 0, why.start) + 1
        words = f"line {line}: a byte that is not {encoding}; say in line 1 or 2 which coding it is"
        raise sources.Unreadable(path, words) from None
    if found.text.count("\r") not in (0, found.text.count("\r\n")) or (
        "\r\n" in found.text and found.text.count("\n") != found.text.count("\r\n")
    ):
        raise sources.Unreadable(path, "has line ends of more than one kind: make them the same")
    return found


def difference(path: Path, old: str, new: str) -> str:
    """Return a unified diff that `patch -p0` takes."""
    lines = difflib.unified_diff(
        old.splitlines(keepends=True), new.splitlines(keepends=True), str(path), str(path)
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def write(path: Path, text: str, encoding: str) -> None:
    """Put a text in the place of a file, all of it or nothing; mode and owner stay.

    A link stays a link: what it leads to is written. Raises `sources.Unreadable` if it can't be.
    """
    try:
        target = path.resolve(strict=True)
        status = target.stat()
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as why:
        raise sources.Unreadable(path, why.strerror or str(why)) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode(encoding))
            file.flush()
            os.fsync(file.fileno())
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # it takes root
                os.chown(temporary, status.st_uid, status.st_gid)
        os.chmod(temporary, stat.S_IMODE(status.st_mode))
        os.replace(temporary, target)
    except OSError as why:
        os.unlink(temporary)
        raise sources.Unreadable(path, why.strerror or str(why)) from None
