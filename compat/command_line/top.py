"""`asynccore top`: what the channels of a running program do, in the terminal.

The other end is `asynccore.monitoring.server`, in the program. Rates are differences between two
looks.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asynccore.monitoring import address

if TYPE_CHECKING:
    from rich.console import RenderableType

# How long the program may take to answer, in seconds: well over `server.PATIENCE` for each loop.
ANSWER_TIME = 30.0

Look = dict[str, Any]


class NotThere(OSError):
    """No program answers; the text says what to do."""


def main(
    target: str,
    interval: float = 1.0,
    once: bool = False,
    as_json: bool = False,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """Show what the program `target` (a process id, or a path) does, every `interval` seconds.

    With `once`, look once; with `as_json`, print what was seen, one line for each look. Returns
    the exit status; Ctrl-C, or the program's end, is the normal end. Raises `NotThere` if nothing
    answers at first, `ValueError` for an interval that is not above 0.
    """
    if not interval > 0:
        raise ValueError(f"an interval is more than 0 seconds, not {interval!r}")
    path = socket_of(target)
    seen = ask(path)  # This comes first, for its errors are the likely ones.
    if as_json:
        show: Callable[[Look, Look | None, float], object] = _print_json
    elif once:
        show = _printer()
    else:
        return _live(path, seen, interval, sleep)
    show(seen, None, interval)
    return 0 if once else _follow(path, seen, interval, sleep, show)


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
    found: Look = json.loads(line)
    return found


def programs() -> list[Look]:
    """Return which programs can be looked at where they usually are (`server.who`)."""
    found = []
    for path in address.usual_folder().glob("*.sock"):
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
    return [
        address.usual_path(seen["pid"])
        for seen in programs()
        if seen["parent"] == pid and seen["worker"] is not None
    ]


def _follow(
    path: Path,
    seen: Look,
    interval: float,
    sleep: Callable[[float], object],
    show: Callable[[Look, Look | None, float], object],
) -> int:
    before, then = seen, time.monotonic()
    try:
        while True:
            sleep(interval)
            seen, now = ask(path), time.monotonic()
            show(seen, before, now - then)
            before, then = seen, now
    except NotThere:
        return 0  # The program has ended, which is a normal end of watching it.
    except KeyboardInterrupt:
        return 0


def _print_json(seen: Look, before: Look | None, seconds: float) -> None:
    print(json.dumps(seen), flush=True)


def _need_rich() -> None:
    try:
        import rich  # noqa: F401
    except ImportError:
        raise ValueError(
            "the table needs the package rich: pip install 'asynccore[top]', or use --json"
        ) from None


def _printer() -> Callable[[Look, Look | None, float], object]:
    _need_rich()
    from rich.console import Console

    console = Console()
    return lambda seen, before, seconds: console.print(frame(seen, before, seconds))


def _live(path: Path, seen: Look, interval: float, sleep: Callable[[float], object]) -> int:
    _need_rich()
    from rich.live import Live

    with Live(frame(seen, None, interval), screen=sys.stdout.isatty(), auto_refresh=False) as live:
        return _follow(
            path,
            seen,
            interval,
            sleep,
            lambda *look: live.update(frame(*look), refresh=True),
        )


def frame(seen: Look, before: Look | None, seconds: float) -> RenderableType:
    """Return a table for each map of a look; rates need the look `seconds` before."""
    from rich.console import Group
    from rich.text import Text

    head = f"process {seen['pid']}: {' '.join(seen['program'])}"
    earlier = before["maps"] if before is not None else []
    parts: list[RenderableType] = [Text(head, style="bold")]
    for at, map in enumerate(seen["maps"]):
        # A map that came or went between the looks shifts the others: no rates then.
        same = len(earlier) == len(seen["maps"])
        parts.append(_map(map, earlier[at] if same else {}, seconds))
    if not seen["maps"]:
        parts.append(Text("no channels"))
    return Group(*parts)


def _map(map: Mapping[str, Any], before: Mapping[str, Any], seconds: float) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if "stuck" in map:
        text = Text("the loop does not answer; it is at\n", style="bold red")
        return text.append("\n".join(f"  {where}" for where in map["stuck"]))
    if "error" in map:
        return Text(f"no statistics: {map['error']}", style="red")
    table = Table(expand=False)
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in _WORDS else "right", no_wrap=True)
    earlier = {channel["fd"]: channel for channel in before.get("channels", ())}
    for channel in sorted(
        map.get("channels", ()), key=lambda c: _traffic(c, earlier), reverse=True
    ):
        table.add_row(*_row(channel, earlier.get(channel["fd"]), seconds))
    return Group(Text(_summary(map, before, seconds)), table)


_COLUMNS = ("fd", "class", "state", "address", "in", "in/s", "out", "out/s", "pending")
_WORDS = ("class", "state", "address")


def _traffic(channel: Mapping[str, Any], earlier: Mapping[int, Mapping[str, Any]]) -> int:
    before = earlier.get(channel["fd"], {})
    return sum((channel.get(key) or 0) - (before.get(key) or 0) for key in _BYTES)


_BYTES = ("bytes_received", "bytes_sent")


def _row(channel: Mapping[str, Any], before: Mapping[str, Any] | None, seconds: float) -> list[str]:
    # The process may have ended, and its number be somebody else's since.
    if before is not None and any(before.get(k) != channel.get(k) for k in ("name", "address")):
        before = None
    cells = [str(channel["fd"])]
    cells += [str(channel.get(key) or "") for key in ("name", "state", "address")]
    for key in _BYTES:
        cells += [amount(channel.get(key)), rate(channel, before, key, seconds)]
    return [*cells, amount(channel.get("pending"))]


def _summary(map: Mapping[str, Any], before: Mapping[str, Any], seconds: float) -> str:
    words = [f"{len(map.get('channels', ()))} channels"]
    for key, name in (
        ("passes", "passes"),
        ("events", "events"),
        *((k, _IN_OUT[k]) for k in _BYTES),
    ):
        if key in map:
            per_second = rate(map, before or None, key, seconds)
            words.append(
                f"{name} {amount(map[key])}" + (f" ({per_second}/s)" if per_second else "")
            )
    words += [f"{name} {map[key]}" for key, name in _OTHERS.items() if map.get(key) is not None]
    return " · ".join(words)


_IN_OUT = {"bytes_received": "in", "bytes_sent": "out"}
_OTHERS = {
    "poller": "poller",
    "timers": "timers",
    "accept_pauses": "accept pauses",
    "longest_handler": "longest in",
    "longest_seconds": "for s",
}


def rate(now: Mapping[str, Any], before: Mapping[str, Any] | None, key: str, seconds: float) -> str:
    """Return how much a number of `now` grew each second, "" if that is not known."""
    value = now.get(key)
    if before is None or value is None or before.get(key) is None or seconds <= 0:
        return ""
    return amount((value - before[key]) / seconds)


def amount(number: float | None) -> str:
    """Return a number with three digits or so, and the letter of its power of 1000."""
    if number is None:
        return ""
    for letter in ("", "k", "M", "G", "T"):
        if abs(number) < 999.5:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:.3g}P"
