"""What the tests of this folder share: driving a loop, noting channels, scripts in a child."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asynccore
from asynccore import asynchat
from tests.ports import free_port

ROOT = Path(__file__).parents[2]

# A bound for what should take milliseconds; a test that reaches it fails.
PATIENCE = 5.0


def drive(
    until: Callable[[], object],
    map: Any = None,
    poller: str | None = None,
    *,
    timeout: float = 0.02,
) -> None:
    """Run passes of a loop until `until()` is true. Fails if that takes too long."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, "the loop never got there"
        channels = asynccore.socket_map if map is None else map
        if not channels:
            assert until(), "the map is empty, and nothing more can happen"
            return
        asynccore.loop(timeout=timeout, map=map, count=1, poller=poller)


def passes(map: Any, poller: str | None, count: int = 3) -> None:
    """Run some passes that don't wait."""
    asynccore.loop(timeout=0, map=map, count=count, poller=poller)


class Noting:
    """Hooks that keep what happened in `events`, for any dispatcher class behind it."""

    _events: list[Any]

    @property
    def events(self) -> list[Any]:
        return self.__dict__.setdefault("_events", [])

    @property
    def said(self) -> list[tuple[str, str]]:
        return self.__dict__.setdefault("_said", [])

    def log_info(self, message: Any, type: str = "info") -> None:
        self.said.append((type, str(message)))

    def handle_connect(self) -> None:
        self.events.append("connect")

    def handle_close(self) -> None:
        self.events.append("close")
        self.close()  # type: ignore[attr-defined]

    def handle_expt(self) -> None:
        self.events.append("expt")

    def handle_error(self) -> None:
        self.events.append(sys.exc_info()[1])
        self.close()  # type: ignore[attr-defined]


class Foreign:
    """No dispatcher: as little as a loop can do with. Keeps what `sock` receives."""

    accepting = False

    def __init__(self, sock: Any = None) -> None:
        self.sock = sock
        self.received = b""
        self.events: list[Any] = []

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self.events.append("read")
        if self.sock is not None:
            self.received += self.sock.recv(100)

    def handle_write_event(self) -> None:
        self.events.append("write")

    def handle_expt_event(self) -> None:
        self.events.append("expt")

    def handle_close(self) -> None:
        self.events.append("close")

    def handle_error(self) -> None:
        self.events.append("error")

    def close(self) -> None:
        pass


class Reader(Noting, asynccore.dispatcher):
    """Keeps what it receives; its predicates are its own, and constant."""

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        self.received = b""
        super().__init__(sock, map)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        data = self.recv(8192)
        if data:
            self.received += data
            self.events.append("read")


class AskedReader(Reader):
    """Keeps what it receives; its predicates are its own, and depend on its state."""

    reading = True
    writing = False

    def readable(self) -> bool:
        return self.reading

    def writable(self) -> bool:
        return self.writing


class QuietReader(Noting, asynccore.dispatcher_with_send):
    """Keeps what it receives, with the predicates of the package."""

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        self.received = b""
        super().__init__(sock, map)

    def handle_read(self) -> None:
        data = self.recv(8192)
        if data:
            self.received += data
            self.events.append("read")


READERS = (Reader, AskedReader, QuietReader)


class Listener(Noting, asynccore.dispatcher):
    """Accepts on the loopback, and makes a channel of `child_class` for each connection."""

    child_class: Any = Reader

    def __init__(self, map: Any = None, family: int = socket.AF_INET) -> None:
        super().__init__(map=map)
        self.children: list[Any] = []
        self.create_socket(family, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self.listen(5)

    def writable(self) -> bool:
        return False

    @property
    def address(self) -> Any:
        return self.socket.getsockname()

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        self.children.append(self.child_class(sock, self._map))


class Chat(Noting, asynchat.async_chat):
    def __init__(self, sock: Any = None, map: Any = None) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)

    def found_terminator(self) -> None:
        self.events.append("terminator")


class Occupied(Reader):
    """Its handler holds the loop's thread until it is told to go on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.busy = threading.Event()
        self.go_on = threading.Event()

    def handle_read(self) -> None:
        super().handle_read()
        self.busy.set()
        assert self.go_on.wait(PATIENCE)


def free_address() -> tuple[str, int]:
    """Return a loopback address that refuses connections."""
    return "127.0.0.1", free_port()


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def fill(sock: socket.socket) -> int:
    """Write to a socket until it takes no more; it is non-blocking afterwards."""
    sock.setblocking(False)
    size = 0
    try:
        while True:
            size += sock.send(b"x" * 65536)
    except BlockingIOError:
        return size


def drain(sock: socket.socket) -> bytes:
    """Read what has arrived, up to the end or until there is no more for now."""
    sock.setblocking(False)
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except BlockingIOError:
        pass
    return data


@contextmanager
def background(function: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run a function in a thread; what it raises fails the test, as does its not ending."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as why:
            raised.append(why)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield thread
    thread.join(PATIENCE)
    assert not thread.is_alive(), "the thread did not end"
    if raised:
        raise raised[0]


def wait_for(condition: Callable[[], object]) -> None:
    """Give other threads turns until a condition holds. Fails if that takes too long."""
    end = time.monotonic() + PATIENCE
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < end, "the other thread never got there"
        tick.wait(0.001)


def run_script(text: str, engine: str | None = None, *arguments: str) -> str:
    """Run a program in a fresh interpreter, with warnings as errors; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("ASYNCCORE_ENGINE", None)
    if engine is not None:
        environment["ASYNCCORE_ENGINE"] = engine
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(text), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    assert done.stderr == "", done.stderr
    return done.stdout
