"""Channels of other copies of asyncore: the standard library's, pyasyncore's, vendored ones.

Facts. Such a channel is of another class, its map is a plain dict, and nothing that it does is
reported. Closing, it takes itself out of `self._map` and then closes its descriptor, whose number
may be another's before anybody looks. Every copy since Python 2.4 keeps its map in `_map`.

Consequence. As soon as an engine meets such a channel in a plain mapping, the channel's `_map`
becomes a view of that mapping, which reports. So the poller, and a host that watches, let go of a
descriptor before it is closed. All else is found by asking and comparing before each wait.

Trade-off. A copy without `_map` is not known to have closed until it is compared, which is late for
a duplicate in another process: epoll(7) reports that under a number which may be another's by then.
The mapping itself stays what it is, and other code that holds it may change it
unreported: replacing it would leave that code with another one.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from ..channels import Map, MapObserver


class ReportingMap(MutableMapping[int, Any]):
    """A view of a plain mapping, which tells the engine of that mapping what is changed by it."""

    __slots__ = ("engine", "map")

    def __init__(self, map: Map, engine: MapObserver) -> None:
        self.map = map
        self.engine = engine

    def __getitem__(self, fd: int) -> Any:
        return self.map[fd]

    def __setitem__(self, fd: int, channel: object) -> None:
        self.map[fd] = channel
        self.engine.added(fd)

    def __delitem__(self, fd: int) -> None:
        del self.map[fd]
        self.engine.removed(fd)

    def __iter__(self) -> Iterator[int]:
        return iter(self.map)

    def __len__(self) -> int:
        return len(self.map)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.map!r})"


def is_foreign(channel: object) -> bool:
    """Whether a channel is of no class of this package, and so reports nothing."""
    return not hasattr(channel, "_ac_touch")


def follow(channel: Any, map: Map, observer: MapObserver | None) -> None:
    """Have a foreign channel report when it leaves `map`, if it knows that as its own."""
    if observer is not None and getattr(channel, "_map", None) is map:
        try:
            channel._map = ReportingMap(map, observer)
        except AttributeError:
            pass  # it can't be assigned: what the channel does is found by comparing
