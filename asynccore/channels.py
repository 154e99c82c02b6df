"""The map of channels: descriptors and the objects that are called for them.

Any mutable mapping is a map, plain dicts first of all. `ChannelMap`, which the default
`socket_map` is, behaves as a dict and also tells the engine what changed, so that the engine
need not compare the whole map before each wait.

An object in a map need not be a dispatcher: `Channel` says what it has, and `ReportingChannel` what
those of this package have besides. The key that it is stored under is its descriptor. Who keeps
account of a map is known here as a `MapObserver` and no more, so that a map needs no engine.
"""

from __future__ import annotations

from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values

__all__ = ["ChannelMap", "reports_changes"]

Map = MutableMapping[Any, Any]

# What `bind` and `connect` take: host and port (and more of IPv6), or the path of a Unix socket.
Address = tuple[object, ...] | str | bytes

_Function = TypeVar("_Function", bound=Callable[..., object])

# Predicates whose answer follows from state that the channel reports when it changes. A channel
# that has these, and not its own, is asked only after it reported.
REPORTING_PREDICATES: set[object] = set()

_MISSING = object()

# Looked up once: every connection enters and leaves a map.
_set_item = dict.__setitem__
_delete_item = dict.__delitem__


def reports_changes(predicate: _Function) -> _Function:
    """Declare that a `readable` or `writable` need not be asked unless its channel reported.

    The channel's class then calls `dispatcher.touch()` whenever the answer may have changed.
    """
    REPORTING_PREDICATES.add(predicate)
    return predicate


# What is called with each channel that enters a map, that the loop asks, that listens and that
# accepts, before it does. Empty nearly always; a hot path looks whether it is.
inspectors: list[Callable[[Any], object]] = []


class Channel(Protocol):
    """What any map may hold: it is asked what it waits for, and called when that is there."""

    @property
    def accepting(self) -> object:
        """Whether it listens, and so never waits for writing, whatever `writable` says."""

    def readable(self) -> object:
        """Whether to wait for reading."""

    def writable(self) -> object:
        """Whether to wait for writing."""

    def handle_read_event(self) -> object:
        """Its descriptor is ready for reading."""

    def handle_write_event(self) -> object:
        """Its descriptor is ready for writing."""

    def handle_expt_event(self) -> object:
        """Something exceptional happened to its descriptor: urgent data, or an error."""

    def handle_close(self) -> object:
        """Its descriptor was closed by somebody else."""

    def handle_error(self) -> object:
        """One of its methods raised the exception that is being handled."""


class SocketLike(Protocol):
    """What passes for a socket: a dispatcher can take it over."""

    def fileno(self) -> int:
        """Return its descriptor, -1 once it is closed."""

    def close(self) -> object:
        """Close it; a second call does nothing."""


class ActivityTimes(Protocol):
    """What a channel's timeouts count from: the engine notes there what it sees happen.

    The times are those of the engine's clock.
    """

    active: float  # the last sign of life, either way
    sent: float  # the last time that the peer could take something
    received: float  # the last time that something came

    def wants_to_write(self, wants: bool) -> None:
        """The channel began to wait for writing, or does so no more."""


class ReportingChannel(Channel, Protocol):
    """A channel of this package, which reports what happens to it: all that others read of it.

    The state that its predicates may read unasked is named by its class, in `_ac_reporting_state`.
    """

    _ac_reporting_state: frozenset[str]

    @property
    def socket(self) -> Any:
        """Its socket, or what stands in for one; `None` without one."""

    @property
    def _ac_pause_reasons(self) -> int:
        """Why it isn't read from, 0 if it is."""

    @property
    def _ac_times(self) -> ActivityTimes | None:
        """What its timeouts count from, if it has any."""

    def _ac_is_unused(self) -> bool:
        """Whether its socket is a stream's that neither listens nor connects yet."""

    def _ac_unmute(self, why: int) -> None:
        """Read from it again, unless there is another reason not to."""

    def _ac_touch(self) -> None:
        """Report that the answer of a predicate may have changed."""


class MapObserver(Protocol):
    """Who is told of every change of a map: its engine."""

    def added(self, fd: int) -> None:
        """The map holds another object under `fd` now."""

    def removed(self, fd: int) -> None:
        """The map holds nothing under `fd` any more, which may be closed next."""


# Why a channel isn't read from (`_ac_pause_reasons`).
PAUSED = 1  # pause_reading()
ENDED = 2  # there is nothing more
RESTING = 4  # a listener ran into a limit of the system
FULL = 8  # a listener ran into a limit of its own
UNUSED = 32  # another thread than the loop's has made its socket, and not used it yet
UNREAD = 16  # the peer doesn't read the replies to what it has sent
BACKLOG = 32  # what had come before a pause is still to be delivered


class NullChannel:
    """What a map can hold that waits for nothing, and keeps its loop alive."""

    accepting = False
    connected = False
    closing = False

    def readable(self) -> bool:
        """Nothing is ever to be read."""
        return False

    def writable(self) -> bool:
        """Nothing is ever to be written."""
        return False

    def handle_read_event(self) -> None:
        """Nothing is waited for."""

    def handle_write_event(self) -> None:
        """Nothing is waited for."""

    def handle_expt_event(self) -> None:
        """Nothing is waited for."""

    def handle_close(self) -> None:
        """The descriptor was closed by somebody else: let go of it."""
        self.close()

    def handle_error(self) -> None:
        """Nothing can fail."""

    def close(self) -> None:
        """Leave the map."""
        raise NotImplementedError


class ChannelMap(dict[int, Any]):
    """A dict of descriptors and channels which tells its engine of every change.

    Negative descriptors are refused with `ValueError` (a closed socket's number is -1).
    """

    __slots__ = ("__weakref__", "_ac_looked_at", "engine")

    # Called before the map is gone through, if a program waits by itself (`engine`).
    _ac_looked_at: Callable[[], object] | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.engine: MapObserver | None = None  # set when the map first needs one
        self._ac_looked_at = None
        super().__init__()
        if args or kwargs:
            self.update(*args, **kwargs)

    def __reduce__(self) -> tuple[type[ChannelMap], tuple[dict[int, Any]]]:
        # Pickled and copied as what it looks like; an engine belongs to one map and one process.
        return type(self), (dict(self),)

    def __setitem__(self, fd: int, channel: object) -> None:
        self._ac_enter(fd, channel)

    def __delitem__(self, fd: int) -> None:
        self._ac_leave(fd)

    def _ac_enter(self, fd: int, channel: object) -> MapObserver | None:
        """Do what `map[fd] = channel` does, and return the engine, if there is one.

        This is how dispatchers enter, for Python is slow to find `__setitem__`. Raises
        `ValueError` for a negative descriptor.
        """
        if isinstance(fd, int) and fd < 0:
            raise ValueError(
                f"can't map {channel!r} under descriptor {fd}: it is closed, or was never open"
            )
        _set_item(self, fd, channel)
        engine = self.engine
        if engine is not None:
            engine.added(fd)
        return engine

    def _ac_leave(self, fd: int) -> None:
        """Do what `del map[fd]` does. Raises `KeyError` if nothing is there."""
        _delete_item(self, fd)
        engine = self.engine
        if engine is not None:
            engine.removed(fd)

    def pop(self, fd: int, default: object = _MISSING) -> Any:
        if fd not in self and default is not _MISSING:
            return default
        channel = super().pop(fd)
        if self.engine is not None:
            self.engine.removed(fd)
        return channel

    def popitem(self) -> tuple[int, Any]:
        fd, channel = super().popitem()
        if self.engine is not None:
            self.engine.removed(fd)
        return fd, channel

    def clear(self) -> None:
        fds = list(self)
        super().clear()
        if self.engine is not None:
            for fd in fds:
                self.engine.removed(fd)

    def __iter__(self) -> Iterator[int]:
        self._look()
        return super().__iter__()

    def keys(self) -> dict_keys[int, Any]:
        self._look()
        return super().keys()

    def values(self) -> dict_values[int, Any]:
        self._look()
        return super().values()

    def items(self) -> dict_items[int, Any]:
        self._look()
        return super().items()

    def _look(self) -> None:
        if self._ac_looked_at is not None:
            self._ac_looked_at()

    def setdefault(self, fd: int, default: object = None) -> Any:
        if fd not in self:
            self[fd] = default
        return self[fd]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for fd, channel in dict(*args, **kwargs).items():
            self[fd] = channel

    def __ior__(self, other: Mapping[int, Any] | Iterable[tuple[int, Any]]) -> ChannelMap:  # type: ignore[override,misc]
        self.update(other)
        return self
