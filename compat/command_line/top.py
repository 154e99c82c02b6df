"""`asynccore top`: what the channels of a running program do, in the terminal.

The other end is `asynccore.monitoring.server`, in the program. Rates are differences between two
looks.
"""

from __future__ import annotations

import io
import json
import socket
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from asynccore.monitoring import address

from . import top_rows
from .top_rows import Look

if TYPE_CHECKING:
    from rich.console import RenderableType

# How long the program may take to answer, in seconds: well over `server.PATIENCE` for each loop.
ANSWER_TIME = 30.0

Looks = list[Look]


class NotThere(OSError):
    """No program answers; the text says what to do."""


def main(
    target: str | None,
    interval: float = 1.0,
    once: bool = False,
    as_json: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Show what the program `target` (a process id, or a path) does, every `interval` seconds.

    For the parent of workers that is what these do. Without a target, the programs that can be
    looked at are listed. With `once`, look once; with `as_json`, print what was seen, one line for
    each look at each process. Returns the exit status; Ctrl-C, or the program's end, is the normal
    end. Raises `NotThere` if nothing answers at first, `ValueError` for an interval that is not
    above 0.
    """
    if not interval > 0:
        raise ValueError(f"an interval is more than 0 seconds, not {interval!r}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that know ASCII alone
    if target is None:
        return _list(as_json)
    seen = look_at(target)  # This comes first, for its errors are the likely ones.
    if as_json:
        show: Callable[[Looks, Looks, float], object] = _print_json
    elif once or not sys.stdout.isatty():
        show = _printer()
    else:
        return _live(target, interval)
    show(seen, [], interval)
    return 0 if once else _follow(target, seen, interval, sleep, show)


def look_at(target: str) -> Looks:
    """Return what a program, or each of its workers, says. Raises `NotThere`."""
    paths = family(int(target)) if target.isdecimal() else []
    if not paths:
        return [ask(socket_of(target))]
    looks = []
    for path in paths:
        began = time.monotonic()
        try:
            seen = ask(path)
        except NotThere:
            if len(paths) == 1:
                raise
            continue  # a worker that has ended
        looks.append({**seen, "lag": time.monotonic() - began})
    return sorted(looks, key=lambda seen: (seen.get("worker") or 0, seen["pid"]))


def _list(as_json: bool) -> int:
    found = programs()
    if as_json:
        print(json.dumps(found))
    elif not found:
        print("no program can be looked at: start one with 'asynccore run --top'")
    else:
        print(f"{'process':>8}  {'worker':>6}  program")
        for who in found:
            worker = "" if who["worker"] is None else f"{who['worker']} of {who['parent']}"
            print(f"{who['pid']:>8}  {worker:>6}  {' '.join(who['program'])}")
    return 0


def socket_of(target: str) -> Path:
    """Return the socket that a process id, or a path, stands for."""
    return address.socket_of(int(target)) if target.isdecimal() else Path(target)


def ask(path: Path, request: str = "statistics") -> Look:
    """Return what the program that serves `path` says. Raises `NotThere`."""
    try:
        path.stat()  # before its folder is looked at, whoever that belongs to
        address.check_private(path.parent, for_root=True)
        with socket.socket(getattr(socket, "AF_UNIX", -1), socket.SOCK_STREAM) as conn:
            conn.settimeout(ANSWER_TIME)
            conn.connect(str(path))
            conn.sendall(request.encode() + b"\n")
            with conn.makefile("rb") as lines:
                line = lines.readline()
    except address.NotPrivate:
        raise
    except OSError as why:
        raise NotThere(
            f"nothing answers at {path} ({why.strerror or why}): start the program with"
            " 'asynccore run --top', or ASYNCCORE_TOP=1 in its environment; it answers once its"
            " loop runs"
        ) from None
    if not line:
        raise NotThere(f"{path} ended the connection: does the program belong to another user?")
    try:
        found: Look = json.loads(line)
    except ValueError:  # a process was killed within its answer, or it is another server's socket
        raise NotThere(f"what {path} answers is not from asynccore, or not whole") from None
    return found


def programs(folder: Path | None = None) -> list[Look]:
    """Return which programs can be looked at in a folder, or the usual one (`server.who`)."""
    found = []
    for path in (folder or address.usual_folder()).glob("*.sock"):
        try:
            found.append(ask(path, "who"))
        except OSError:
            continue  # it has ended
    return sorted(found, key=lambda seen: int(seen["pid"]))


def family(pid: int) -> list[Path]:
    """Return the sockets of a process, or of the workers whose parent it is."""
    own = address.socket_of(pid)
    if own.exists():
        return [own]
    # A worker has the environment of its parent, and so the folder, whoever that belongs to.
    return [
        own.with_name(f"{seen['pid']}.sock")
        for seen in programs(own.parent)
        if seen["parent"] == pid and seen["worker"] is not None
    ]


def _follow(
    target: str,
    seen: Looks,
    interval: float,
    sleep: Callable[[float], object],
    show: Callable[[Looks, Looks, float], object],
) -> int:
    before, then = seen, time.monotonic()
    try:
        while True:
            sleep(interval)
            seen, now = look_at(target), time.monotonic()
            show(seen, before, now - then)
            before, then = seen, now
    except NotThere:
        return 0  # The program has ended, which is a normal end of watching it.
    except KeyboardInterrupt:
        return 0


def _print_json(seen: Looks, before: Looks, seconds: float) -> None:
    for look in seen:
        print(json.dumps(look), flush=True)


def _need(package: str) -> None:
    if find_spec(package) is None:
        raise ValueError(
            f"this needs the package {package}: pip install 'asynccore[top]', or use --json"
        )


def _printer() -> Callable[[Looks, Looks, float], object]:
    _need("rich")
    from rich.console import Console

    console = Console()
    return lambda seen, before, seconds: console.print(
        frame(seen, before, seconds, console.width), soft_wrap=False
    )


def _live(target: str, interval: float) -> int:
    _need("textual")
    from . import top_screen

    def look() -> Looks:
        try:
            return look_at(target)
        except NotThere:
            return []

    top_screen.Screen(look, interval).run()
    return 0


def frame(seen: Looks, before: Looks, seconds: float, width: int = 80) -> RenderableType:
    """Return what `--once` prints of a look; rates need the look `seconds` before."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    earlier = {look["pid"]: look for look in before}
    parts: list[RenderableType] = []
    for look in seen:
        parts.append(Text(f"process {look['pid']}: {' '.join(look['program'])}", style="bold"))
        parts.append(Text(top_rows.summary(look, earlier.get(look["pid"]), seconds)))
        for map in look["maps"]:
            if "stuck" in map:
                text = Text("the loop does not answer; it is at\n", style="bold red")
                parts.append(text.append("\n".join(f"  {where}" for where in map["stuck"])))
            elif "error" in map:
                parts.append(Text(f"no statistics: {map['error']}", style="red"))
    found = top_rows.order(top_rows.rows(seen, earlier, seconds), "in/s")
    table = Table(expand=False)
    names = top_rows.columns(width, len(seen) > 1)
    for name in names:
        left = name in top_rows.WORDS
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for row in found:
        table.add_row(*(row.cell(name) for name in names))
    parts.append(table if found else Text("no channels"))
    return Group(*parts)
