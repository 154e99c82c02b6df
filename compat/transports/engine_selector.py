"""How asyncio's own loop class waits on an engine: a selector, as the module `selectors` has them.

Facts. `asyncio.SelectorEventLoop` takes any object with the interface of `selectors.BaseSelector`,
which is documented, and asks it for nothing else. A classic map ends its loop when it is empty.

Consequence. A descriptor that is registered becomes an entry of the map, beside the dispatchers.
`select` runs one pass of the engine when asyncio's loop is the one that runs; under a classic loop,
which makes the passes, it only hands over what they have found.

Trade-off. What asyncio's loop registers for itself while it is made, a socket to wake itself up,
is left out, as the engine has its own; but it stands in the map while asyncio's loop runs, which
has to wait though there be no channel.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from asynccore.channels import NullChannel, reports_changes
from asynccore.engine import Engine, leave_map


class HasFileno(Protocol):
    """What has a descriptor, such as a socket."""

    def fileno(self) -> int:
        """Return it; negative if it is closed."""


Fileobj = int | HasFileno

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class WatchedDescriptor(NullChannel):
    """A descriptor that asyncio watches, as a map sees it."""

    connected = True

    def __init__(self, selector: EngineSelector, fd: int, events: int) -> None:
        self.selector = selector
        self.fd = fd
        self.events = events

    def __repr__(self) -> str:
        return f"<descriptor {self.fd}, watched for asyncio>"

    @reports_changes
    def readable(self) -> bool:
        """Whether a reader was added."""
        return bool(self.events & _READ)

    @reports_changes
    def writable(self) -> bool:
        """Whether a writer was added."""
        return bool(self.events & _WRITE)

    def handle_read_event(self) -> None:
        """Note it for asyncio."""
        self.selector.found(self.fd, _READ)

    def handle_write_event(self) -> None:
        """Note it for asyncio."""
        self.selector.found(self.fd, _WRITE)

    def handle_expt_event(self) -> None:
        """Note it for asyncio."""
        self.selector.found(self.fd, _READ)

    def handle_close(self) -> None:
        """The descriptor was closed by others, and whoever watches it has to find out."""
        self.selector.found(self.fd, _READ | _WRITE)
        self.close()

    def handle_error(self) -> None:
        """The poller can't watch it."""
        raise

    def close(self) -> None:
        """Leave the map (`close_all`). The descriptor belongs to others."""
        self.selector.leave(self.fd)


class _Keys(Mapping[Fileobj, selectors.SelectorKey]):
    """What is watched. Python 3.13's asyncio asks it for sockets."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Fileobj) -> selectors.SelectorKey:
        try:
            return self._keys[_number(fileobj)]
        except ValueError:
            raise KeyError(fileobj) from None

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class EngineSelector(selectors.BaseSelector):
    """Waits by passes of an engine.

    `before_wait` is called before a pass that is made here, `on_pass` when it begins (true) and
    ends, `on_stop` when `asynccore.stop` was called in it, `on_found` when a classic loop has found
    something.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.before_wait: Callable[[], object] = _nothing
        self.on_found: Callable[[], object] = _nothing
        self.on_pass: Callable[[bool], object] = _nothing
        self.on_stop: Callable[[], object] = _nothing
        self.runs = False  # asyncio's loop runs, and makes the passes
        self.waits = True  # unless what is due runs first
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._entries: dict[int, WatchedDescriptor] = {}
        self._found: dict[int, int] = {}
        self._beginning = True
        self._keeper: WatchedDescriptor | None = None
        self._holds = 0

    def begin(self) -> None:
        """Take what was registered so far for asyncio's own."""
        self._beginning = False
        for fd, key in self._keys.items():
            self._keeper = WatchedDescriptor(self, fd, key.events)

    def drive(self, runs: bool) -> None:
        """Make the passes from now on, or no more."""
        self.runs = runs
        self._look_at_keeper()

    def hold(self, more: int) -> None:
        """Let a classic loop wait for something that no channel stands for, or no more (-1)."""
        self._holds += more
        self._look_at_keeper()

    def _look_at_keeper(self) -> None:
        keeper = self._keeper
        if keeper is None:
            return
        if not self.runs and not self._holds:
            self.leave(keeper.fd)
        elif keeper.fd not in self.engine.map:
            self._enter(keeper)

    # -- the interface of selectors.BaseSelector ------------------------------------------------

    def register(self, fileobj: Fileobj, events: int, data: object = None) -> selectors.SelectorKey:
        """Watch a descriptor. Raises `KeyError` if it is watched, and `RuntimeError` if a channel
        has it, as asyncio does for transports."""
        fd = _number(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self.check(fd)
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        if not self._beginning:
            self._entries[fd] = WatchedDescriptor(self, fd, events)
            self._enter(self._entries[fd])
        return key

    def unregister(self, fileobj: Fileobj) -> selectors.SelectorKey:
        """Watch it no more. Raises `KeyError` if it wasn't."""
        fd = _number(fileobj)
        key = self._keys.pop(fd)
        self._found.pop(fd, None)
        self._entries.pop(fd, None)
        self.leave(fd)
        return key

    def modify(self, fileobj: Fileobj, events: int, data: object = None) -> selectors.SelectorKey:
        """Watch it for something else. Raises `KeyError` if it wasn't watched."""
        fd = _number(fileobj)
        key = self._keys[fd]._replace(events=events, data=data)
        self._keys[fd] = key
        entry = self._entries.get(fd)
        if entry is not None:
            entry.events = events
            self.engine.touch(fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Run a pass of up to `timeout` seconds, if that is up to asyncio; return what is ready."""
        if self.runs and self.waits and not self._found:
            self.waits = False
            try:
                self.before_wait()
            finally:
                self.waits = True
            self._look_at_keeper()
            self.on_pass(True)
            try:
                self.engine.run_pass(None if timeout is None else max(timeout, 0.0))
            finally:
                self.on_pass(False)
            if self.engine.stopping:
                self.on_stop()
        found, self._found = self._found, {}
        ready = []
        for fd, mask in found.items():
            key = self._keys.get(fd)
            if key is not None and key.events & mask:
                ready.append((key, key.events & mask))
        return ready

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in list(self._keys):
            self.leave(fd)
        for state in (self._keys, self._entries, self._found):
            state.clear()
        self._keeper = None

    def get_map(self) -> Mapping[Fileobj, selectors.SelectorKey]:
        """Return what is watched, by descriptor or file object."""
        return _Keys(self._keys)

    def get_key(self, fileobj: Fileobj) -> selectors.SelectorKey:
        """Return what is known of a descriptor. `KeyError` if it isn't watched or is closed."""
        return self.get_map()[fileobj]

    # -- entries --------------------------------------------------------------------------------

    def found(self, fd: int, event: int) -> None:
        """A descriptor is ready."""
        if self._keeper is not None and fd == self._keeper.fd:
            return  # The keeper only stands in the map: nobody needs its bytes.
        self._found[fd] = self._found.get(fd, 0) | event
        if not self.runs:
            self.on_found()

    def leave(self, fd: int) -> None:
        """Take an entry of ours out of the map."""
        entry = self.engine.map.get(fd)
        if isinstance(entry, WatchedDescriptor):
            leave_map(self.engine.map, fd, entry)

    def _enter(self, entry: WatchedDescriptor) -> None:
        self.engine.map[entry.fd] = entry
        self.engine.added(entry.fd)

    def check(self, fd: int) -> None:
        """Raise `RuntimeError` for a descriptor that a channel has."""
        other = self.engine.map.get(fd)
        if other is not None and not isinstance(other, WatchedDescriptor):
            user = getattr(other, "transport", None) or other
            raise RuntimeError(f"File descriptor {fd} is used by transport {user!r}")


def _number(fileobj: Fileobj) -> int:
    fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if fd < 0:
        raise ValueError(f"{fileobj!r} has no descriptor: it is closed")
    return fd


def _nothing(begins: bool = False) -> None:
    pass
