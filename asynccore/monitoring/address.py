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


def socket_of(pid: int, processes: str = "/proc") -> Path:
    """Return the socket of a process that was given no path, where it is to be expected.

    Root may ask the programs of everybody, whose folders are where their own environment says
    (proc(5); elsewhere than on Linux, and for a process that has gone, root's own folder).
    """
    path = usual_path(pid)
    if user_id() != 0 or path.exists():
        return path
    try:
        owner = os.stat(f"{processes}/{pid}").st_uid
        words = Path(processes, str(pid), "environ").read_bytes().split(b"\0")
    except OSError:
        return path
    environ = dict(os.fsdecode(word).partition("=")[::2] for word in words)
    runtime = environ.get("XDG_RUNTIME_DIR")
    temporary = environ.get("TMPDIR") or tempfile.gettempdir()
    folder = Path(runtime, "asynccore") if runtime else Path(temporary, f"asynccore-{owner}")
    return folder / path.name


def check_private(folder: Path, for_root: bool = False) -> None:
    """Raise `NotPrivate` unless a folder is this user's, and nobody else can enter it.

    With `for_root`, root may look into those of others.
    """
    status = os.lstat(folder)
    if not stat.S_ISDIR(status.st_mode):
        raise NotPrivate(errno.ENOTDIR, f"{folder} is no folder")
    if status.st_uid != user_id() and not (for_root and user_id() == 0):
        raise NotPrivate(errno.EPERM, f"{folder} belongs to another user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise NotPrivate(errno.EPERM, f"{folder} is open to others: chmod 700 {folder}")


def user_id() -> int:
    """Return whose process this is (geteuid(2)). Raises `OSError` on Windows."""
    if sys.platform == "win32":
        raise OSError(errno.EAFNOSUPPORT, "Windows has no sockets that one user alone can open")
    return os.geteuid()
