"""Channels and sockets that do what a test tells them, and load modules for another platform."""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import get_ident
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from asynccore import dispatcher
from asynccore.engine.ownership import Ownership

# A busy machine is no reason to fail.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def take(turn: Ownership) -> int | None:
    """Own a map, as a pass does. Returns what `give` needs."""
    before = turn.owner if turn.owner == get_ident() else None
    if before is None:
        turn._lock.acquire()
        turn.owner = get_ident()
    return before


def give(turn: Ownership, before: int | None) -> None:
    """Undo one `take`."""
    if before is None:
        turn._disown()
        turn._run_deferred_here()


@contextmanager
def owning(turn: Ownership) -> Iterator[None]:
    """Own a map meanwhile."""
    before = take(turn)
    try:
        yield
    finally:
        give(turn, before)


class Channel:
    """The least that a map may hold, which writes down how it is called."""

    accepting = False

    def __init__(self, readable: object = True, writable: object = False) -> None:
        self.wants_read = readable
        self.wants_write = writable
        self.asked = 0
        self.log: list[str] = []
        self.on_read: Callable[[], object] = lambda: None
        self.on_write: Callable[[], object] = lambda: None
        self.on_ask: Callable[[], object] = lambda: None

    def readable(self) -> object:
        self.asked += 1
        self.on_ask()
        return self.wants_read

    def writable(self) -> object:
        return self.wants_write

    def handle_read_event(self) -> None:
        self.log.append("read")
        self.on_read()

    def handle_write_event(self) -> None:
        self.log.append("write")
        self.on_write()

    def handle_expt_event(self) -> None:
        self.log.append("expt")

    def handle_close(self) -> None:
        self.log.append("close")

    def handle_error(self) -> None:
        self.log.append(f"error {sys.exc_info()[1]!r}")


class Quiet(dispatcher):
    """A dispatcher with the package's own predicates, under a descriptor that need not exist."""

    def __init__(self, fd: int, map: Any, *, wants_write: bool = False) -> None:
        self.log: list[str] = []
        self.on_read: Callable[[], object] = lambda: None
        self.accepting = not wants_write  # the package's own way not to write
        super().__init__(None, map)
        self.set_socket(FakeSocket(fd))

    def handle_read_event(self) -> None:
        self.log.append("read")
        self.on_read()

    def handle_write_event(self) -> None:
        self.log.append("write")

    def handle_expt_event(self) -> None:
        self.log.append("expt")

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log.append(f"error {sys.exc_info()[1]!r}")


class FakeSocket:
    """A socket without a network: what is received and what fits is scripted.

    An exception among `receives` or `takes` is raised; without `takes` everything fits.
    """

    type = socket.SOCK_STREAM
    family = socket.AF_INET

    def __init__(
        self,
        fd: int = 1000,
        receives: Iterable[bytes | Exception] = (),
        takes: Iterable[int | Exception] = (),
    ) -> None:
        self.fd = fd
        self.receives = deque(receives)
        self.takes = deque(takes)
        self.sent: list[bytes] = []
        self.closed = 0
        self.error = 0
        self.kind = int(socket.SOCK_STREAM)
        self.peer: Any = ("192.0.2.1", 25)
        self.connect_result = 0
        self.accepts: deque[Any] = deque()
        self.blocking: bool | None = None
        self.backlog: int | None = None
        self.bound: Any = None

    def fileno(self) -> int:
        return -1 if self.closed else self.fd

    def setblocking(self, flag: bool) -> None:
        self.blocking = flag

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.receives:
            raise BlockingIOError(11, "nothing there")
        item = self.receives.popleft()
        if flags & socket.MSG_PEEK:
            self.receives.appendleft(item)
        if isinstance(item, Exception):
            raise item
        if len(item) > size and not flags & socket.MSG_PEEK:
            self.receives.appendleft(item[size:])
        return item[:size]

    def send(self, data: Any) -> int:
        if self.closed:
            raise OSError(9, "closed")
        fits = self.takes.popleft() if self.takes else len(data)
        if isinstance(fits, Exception):
            raise fits
        self.sent.append(bytes(data[:fits]))
        return min(fits, len(data))

    @property
    def output(self) -> bytes:
        return b"".join(self.sent)

    def getsockopt(self, level: int, option: int) -> int:
        return {socket.SO_ERROR: self.error, socket.SO_TYPE: self.kind}.get(option, 0)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self.option = (level, option, value)

    def getpeername(self) -> Any:
        if isinstance(self.peer, Exception):
            raise self.peer
        return self.peer

    def connect_ex(self, address: Any) -> int:
        self.address = address
        return self.connect_result

    def listen(self, backlog: int) -> None:
        self.backlog = backlog

    def bind(self, address: Any) -> None:
        self.bound = address

    def accept(self) -> Any:
        item = self.accepts.popleft()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


def fresh_module(name: str, platform: str | None = None) -> ModuleType:
    """Load a module of the package once more, beside the one in use, as on another platform."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        if platform is not None:
            patch.setattr(sys, "platform", platform)
        spec.loader.exec_module(module)
    return module
