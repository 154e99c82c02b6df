"""What `asynccore top` shows of what it was told: rows, their order, rates; without a screen.

A look is what one process answers (`asynccore.monitoring.server`). Rates are differences between
two looks at the same process; a descriptor whose class or peer has changed is another channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Look = dict[str, Any]

# A handler that takes so long, in seconds, makes itself felt: it is in colour. Twice a frame of
# video, and a third of what a person takes for at once.
SLOW = 0.03


def amount(number: float | None) -> str:
    """Return a number with three digits or so, and the letter of its power of 1000."""
    if number is None:
        return ""
    for letter in ("", "k", "M", "G", "T"):
        if abs(number) < 999.5:
            return f"{number:.3g}{letter}"
        number /= 1000
    return f"{number:.3g}P"


def duration(seconds: float | None) -> str:
    """Return a time with its unit: "2.5 ms"."""
    if seconds is None:
        return ""
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds / 1e-6:.0f} µs"


class Row(NamedTuple):
    """A channel, as the table shows it."""

    pid: int
    worker: int | None
    channel: Mapping[str, Any]
    rates: Mapping[str, float]  # of what grew since the look before, each second

    @property
    def key(self) -> str:
        """What tells it apart as long as it lives."""
        return f"{self.pid}:{self.channel['fd']}:{self.channel['name']}"

    @property
    def listens(self) -> bool:
        """Whether it listens: such ones stand on top."""
        return bool(self.channel["state"] == "listening")

    def cell(self, column: str) -> str:
        """Return the text of a column."""
        value = self.value(column)
        if value is None:
            return ""
        return value if isinstance(value, str) else amount(value)

    def value(self, column: str) -> Any:
        """Return what a column is sorted by; `None` if there is nothing."""
        if column == "w":
            return self.worker
        if column.endswith("/s"):
            # A listener's is how many it accepts.
            name = "accepted" if self.listens and column == "in/s" else _FIELDS[column[:-2]]
            return self.rates.get(name)
        if column == "address" and self.channel.get("paused"):
            return f"{self.channel.get('address') or ''} {', '.join(self.channel['paused'])}"
        if column == "in" and self.listens:
            return self.channel.get("accepted")
        return self.channel.get(_FIELDS.get(column, column))


_FIELDS = {"class": "name", "in": "bytes_received", "out": "bytes_sent", "tls": "tls"}
_GROWS = ("bytes_received", "bytes_sent", "accepted")

WORDS = ("class", "state", "address", "tls")
_NARROW = ("fd", "class", "state", "address", "in/s", "out/s", "pending")
_WIDE = ("fd", "class", "state", "address", "tls", "in", "in/s", "out", "out/s", "pending", "quiet")

# From so many columns on there is room for all.
WIDE = 110


def columns(width: int, workers: bool) -> tuple[str, ...]:
    """Return the columns that fit into so many characters."""
    return (("w",) if workers else ()) + (_WIDE if width >= WIDE else _NARROW)


def rows(looks: Sequence[Look], before: Mapping[int, Look], seconds: float) -> list[Row]:
    """Return the channels of several processes; `before` are the looks of `seconds` ago."""
    found = []
    for look in looks:
        earlier = {
            (channel["fd"], channel["name"], channel["address"]): channel
            for map in before.get(look["pid"], {}).get("maps", ())
            for channel in map.get("channels", ())
        }
        for map in look["maps"]:
            for channel in map.get("channels", ()):
                then = earlier.get((channel["fd"], channel["name"], channel["address"]))
                rates = {} if then is None else _rates(channel, then, seconds)
                found.append(Row(look["pid"], look.get("worker"), channel, rates))
    return found


def _rates(now: Mapping[str, Any], then: Mapping[str, Any], seconds: float) -> dict[str, float]:
    return {
        name: (now[name] - then[name]) / seconds
        for name in _GROWS
        if seconds > 0 and now.get(name) is not None and then.get(name) is not None
    }


def order(found: Iterable[Row], column: str, text: str = "") -> list[Row]:
    """Return the rows that contain a text: listeners first, then by a column, most on top."""
    shown = [row for row in found if text.lower() in _words(row).lower()]

    def rank(row: Row) -> tuple[Any, ...]:
        value = row.value(column)
        if isinstance(value, str):
            return (not row.listens, 0, value)
        return (not row.listens, value is None, -(value or 0), row.channel["fd"])

    return sorted(shown, key=rank)


def _words(row: Row) -> str:
    return " ".join(str(row.channel.get(_FIELDS.get(name, name)) or "") for name in WORDS)


def summary(look: Look, before: Look | None, seconds: float) -> str:
    """Return one line about a process: its channels, rates, loop."""
    maps = [map for map in look["maps"] if "channels" in map]
    parts = [f"{sum(len(map['channels']) for map in maps)} channels"]
    earlier = before["maps"] if before is not None else []
    for key, word in (("bytes_received", "in"), ("bytes_sent", "out"), ("events", "events")):
        now = sum(map.get(key) or 0 for map in maps)
        then = sum(map.get(key) or 0 for map in earlier)
        per_second = f" {amount((now - then) / seconds)}/s" if earlier and seconds > 0 else ""
        parts.append(f"{word}{per_second or ' ' + amount(now)}")
    for map in maps:
        parts.append(f"{map.get('poller')}, {map.get('timers')} timers")
        if map.get("accept_pauses"):
            parts.append(f"{map['accept_pauses']} accept pauses")
        if map.get("draining"):
            parts.append("draining")
    if "lag" in look:
        parts.append(f"lag {duration(look['lag'])}")
    return " · ".join(parts)


def classes(looks: Iterable[Look]) -> list[tuple[str, int, float, float]]:
    """Return the classes whose handlers took longest: name, calls, mean and longest seconds."""
    found: dict[str, list[float]] = {}
    for look in looks:
        for map in look["maps"]:
            for name, (count, seconds, longest) in (map.get("classes") or {}).items():
                times = found.setdefault(name, [0, 0.0, 0.0])
                times[0] += count
                times[1] += seconds
                times[2] = max(times[2], longest)
    measured = [
        (name.rpartition(".")[2], int(count), seconds / count, longest)
        for name, (count, seconds, longest) in found.items()
        if count
    ]
    return sorted(measured, key=lambda it: -it[3])


def details(row: Row) -> list[tuple[str, str]]:
    """Return all that is known of one channel, as names and texts."""
    channel = row.channel
    found = [
        ("class", str(channel.get("class") or channel["name"])),
        ("descriptor", f"{channel['fd']} of process {row.pid}"),
        ("state", ", ".join([channel["state"], *channel.get("paused", ())])),
    ]
    for key, name in (("sock", "here"), ("peer", "there"), ("tls", "TLS")):
        if channel.get(key):
            found.append((name, str(channel[key])))
    for key, name in (
        *(("bytes_received", "bytes in"), ("bytes_sent", "bytes out"), ("pending", "buffered")),
        *(("accepted", "accepted"), ("refused", "refused"), ("pauses", "accept pauses")),
    ):
        if channel.get(key) is not None:
            found.append((name, f"{channel[key]:,}"))
    if channel.get("quiet") is not None:
        found.append(("quiet for", duration(channel["quiet"])))
    for name, seconds in channel.get("timeouts", {}).items():
        found.append((name.replace("_", " "), f"{seconds:g} s"))
    return found
