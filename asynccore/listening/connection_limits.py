"""What a listener's limits count: open connections, by peer too, and unfinished handshakes.

Facts. A program does with an accepted socket what it likes: makes a dispatcher of it, wraps it,
detaches its descriptor for a TLS socket, hands it to a thread, forgets it. A descriptor's number is
given out again at once.

Consequence. A connection is counted under its descriptor, together with a weak reference to the
socket: it is open as long as that socket has that number. Dispatchers tell when they have closed
one (`told`). What nobody tells is found by looking, once a second, while somebody waits for it.

Trade-off. A connection that was detached later than in `handle_accepted` is no longer counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ..classic.settings import Setting

# A descriptor, which a channel may not have, or what `_key` makes of a channel.
_Key = int | tuple[int] | None

# Who counts what may be closed: ledgers, by the descriptor of a connection, or by `_key` of a
# channel with an unfinished handshake. Empty unless some listener has a limit.
counted: dict[_Key, ConnectionLedger] = {}

NAMES = ("max_connections", "max_connections_per_peer", "max_handshakes")

_Reference = Callable[[], object]


class Limit(Setting[int]):
    """A number of at least 1, or `None` for none; on a class, an instance, and at run time.

    What is none is the program's own, and has no effect (`classic.settings`).
    """

    def check(self, value: object) -> None:
        check(self.name, value)

    def changed(self, channel: Any) -> None:
        channel._ac_limits_changed()


def check(name: str, number: object) -> None:
    """Raise `TypeError` or `ValueError` for what can't be a limit."""
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} is None or a whole number, not {number!r}")
    if number < 1:
        raise ValueError(f"{name} is None or at least 1, not {number!r}")


class ConnectionLedger:
    """The open connections and the unfinished handshakes of one listener."""

    def __init__(self, listener: Any) -> None:
        # Those that outlive the listener must not keep it.
        self._listener = weakref.ref(listener, self._forget_all)
        self._open: dict[int, tuple[_Reference, object]] = {}  # socket and peer, by descriptor
        self._by_peer: dict[object, set[int]] = {}
        self._fresh: list[int] = []  # accepted since `settle`
        self._handshakes: dict[_Key, _Reference] = {}

    @property
    def connections(self) -> int:
        """How many connections are open, as far as is known."""
        return len(self._open)

    @property
    def handshakes(self) -> int:
        """How many handshakes are unfinished, as far as is known."""
        return len(self._handshakes)

    def from_peer(self, peer: object) -> int:
        """How many connections of one peer are open. Looks at each of them."""
        for fd in tuple(self._by_peer.get(peer, ())):
            self.remove_if_closed(fd)
        return len(self._by_peer.get(peer, ()))

    # -- connections ----------------------------------------------------------------------------

    def opened(self, sock: object, peer: object) -> None:
        """Count a connection. What has no descriptor is not counted."""
        fd = _descriptor(sock)
        if fd is None:
            return
        self._remove(fd)  # another one had the number, and nobody told
        self._open[fd] = _reference(sock), peer
        if peer is not None:
            self._by_peer.setdefault(peer, set()).add(fd)
        self._fresh.append(fd)
        counted[fd] = self

    def settle(self, channels: Mapping[int, object]) -> None:
        """Look what `handle_accepted` did with the sockets: closed them, or took them over."""
        for fd in self._fresh:
            entry = self._open.get(fd)
            if entry is None or _has(entry[0](), fd):
                continue
            # A TLS socket of the standard library takes the descriptor, and leaves -1.
            sock = getattr(channels.get(fd), "socket", None)
            if _has(sock, fd):
                self._open[fd] = _reference(sock), entry[1]
            else:
                self._remove(fd)
        self._fresh.clear()

    def remove_if_closed(self, fd: int) -> None:
        """Count a connection no more if its socket has the number no longer."""
        entry = self._open.get(fd)
        if entry is not None and not _has(entry[0](), fd):
            self._remove(fd)

    def _remove(self, fd: int) -> None:
        entry = self._open.pop(fd, None)
        if entry is not None:
            fds = self._by_peer.get(entry[1], set())
            fds.discard(fd)
            if not fds:
                self._by_peer.pop(entry[1], None)
            if counted.get(fd) is self:
                del counted[fd]

    # -- handshakes -----------------------------------------------------------------------------

    def handshake_begun(self, channel: object) -> None:
        """Count a channel until `handshake_ended`, or until it is closed."""
        key = _key(channel)
        self._handshakes[key] = _reference(channel)
        counted[key] = self

    def handshake_ended(self, channel: object) -> None:
        """Count a channel no more. Does nothing if it isn't counted."""
        self._drop_handshake(_key(channel))

    def _drop_handshake(self, key: _Key) -> None:
        self._handshakes.pop(key, None)
        if counted.get(key) is self:
            del counted[key]

    # -- what was closed ------------------------------------------------------------------------

    def look(self) -> None:
        """Find what was closed without a word."""
        for fd in tuple(self._open):
            self.remove_if_closed(fd)
        for key, reference in tuple(self._handshakes.items()):
            channel = reference()
            if channel is None or _descriptor(getattr(channel, "socket", None)) is None:
                self._drop_handshake(key)

    def freed(self, key: _Key) -> None:
        """A dispatcher has closed what is counted under `key`."""
        if key in self._handshakes:
            self._drop_handshake(key)
        elif isinstance(key, int):
            self.remove_if_closed(key)
        listener = self._listener()
        if listener is not None:
            listener._ac_look_for_room()

    def run_on_loop(self, key: _Key) -> None:
        """Have `freed` run on the thread of the listener's loop."""
        listener = self._listener()
        if listener is not None:
            listener._ac_on_loop(self.freed, key)

    def _forget_all(self, _: object) -> None:
        for key in (*self._open, *self._handshakes):
            if counted.get(key) is self:
                del counted[key]


def told(channel: object, fd: int | None) -> None:
    """Tell the ledgers that a channel and its socket, which had the number `fd`, are closed."""
    for key in (fd, _key(channel)):
        ledger = counted.get(key)
        if ledger is not None:
            ledger.run_on_loop(key)


def _key(channel: object) -> tuple[int]:
    # No number, for those are descriptors; and a program's own __hash__ may do anything.
    return (id(channel),)


def _reference(thing: object) -> _Reference:
    try:
        return weakref.ref(thing)
    except TypeError:
        return lambda: thing


def _descriptor(sock: Any) -> int | None:
    try:
        fd = sock.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return fd if isinstance(fd, int) and fd >= 0 else None


def _has(sock: object, fd: int) -> bool:
    return sock is not None and _descriptor(sock) == fd
