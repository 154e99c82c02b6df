"""Where the socket is that `asynccore top` asks, and that nobody else can reach it."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from pathlib import Path

# Where to open the socket: a path, or `USUAL`. Set by `asynccore run --top`, or by hand.
VARIABLE = "ASYNCCORE_TOP"

# The value for the usual place, see `usual_path`.
USUAL = "1"


class NotPrivate(OSError):
    """Others could reach what is in a folder; the text says why, and what to do."""


def usual_folder() -> Path:
    """Return the folder for sockets that were given no path: this user's alone."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return Path(runtime, "asynccore")
    return Path(tempfile.gettempdir(), f"asynccore-{user_id()}")


def usual_path(pid: int) -> Path:
    """Return the socket of a process that was given no path."""
    return usual_folder() / f"{pid}.sock"


def check_private(folder: Path) -> None:
    """Raise `NotPrivate` unless a folder is this user's, and nobody else can enter it."""
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise NotPrivate(errno.ENOTDIR, f"{folder} is no folder")
    if status.st_uid != user_id():
        raise NotPrivate(errno.EPERM, f"{folder} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise NotPrivate(errno.EPERM, f"{folder} is open to others: chmod 700 {folder}")


def user_id() -> int:
    """Return whose process this is (geteuid(2)). Raises `OSError` on Windows."""
    if sys.platform == "win32":
        raise OSError(errno.EAFNOSUPPORT, "Windows has no sockets that one user alone can open")
    return os.geteuid()
