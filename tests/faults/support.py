"""A server with all that can go wrong around it, and the looks at what is left afterwards."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import asynccore
from asynccore import asynchat
from asynccore.engine import Engine, engine_for
from asynccore.testing import FakeClock

# A bound for what takes milliseconds; a test that reaches it fails.
PATIENCE = 20.0


class Tally:
    """The faults of one test: how many were tried, and how many survived."""

    def __init__(self) -> None:
        self.tried = self.survived = 0

    @contextlib.contextmanager
    def fault(self, number: int = 1) -> Iterator[None]:
        """Try so many faults inside; they are survived if nothing is raised."""
        self.tried += number
        yield
        self.survived += number


class Hooks:
    """What every channel here notes: its end, and its errors."""

    world: World
    ends = 0

    def handle_error(self) -> None:
        self.world.errors.append(sys.exc_info()[1])
        self.handle_close()

    def handle_close(self) -> None:
        self.ends += 1
        self.close()  # type: ignore[attr-defined]

    def handle_timeout(self, which: str) -> None:
        self.world.timeouts.append(which)
        self.ends += 1
        self.close()  # type: ignore[attr-defined]

    def log_info(self, message: Any, type: str = "info") -> None:
        self.world.said.append(str(message))


class Echo(Hooks, asynccore.dispatcher_with_send):
    """Sends back what it gets, all of it, also after the peer has ended its half."""

    ending = False

    def __init__(self, world: World, sock: Any = None) -> None:
        self.world = world
        self.got = b""
        super().__init__(sock, world.map)

    def handle_connect(self) -> None:
        pass

    def handle_read(self) -> None:
        assert not self._ac_closed, "an event for a channel that is closed"
        data = self.recv(4096)
        self.got += data
        self.send(data)

    def handle_write(self) -> None:
        assert not self._ac_closed, "an event for a channel that is closed"
        super().handle_write()
        if self.ending and not self.out_buffer:
            self.close()

    def handle_close(self) -> None:
        self.ends += 1
        self.ending = True
        if not self.out_buffer or self.world.errors:
            self.close()


class AskedEcho(Echo):
    """The same, with predicates that are asked before every wait."""

    limit = 1 << 30

    def readable(self) -> bool:
        return len(self.got) < self.limit

    def writable(self) -> bool:
        return not self.connected or len(self.out_buffer) > 0


class ChatEcho(Hooks, asynchat.async_chat):
    """Sends lines back."""

    def __init__(self, world: World, sock: Any = None) -> None:
        self.world = world
        self.got = b""
        super().__init__(sock, world.map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.got += data
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        assert not self._ac_closed, "a line for a channel that is closed"
        self.push(self._get_data() + b"\n")

    def handle_close(self) -> None:
        self.ends += 1
        if self.ends == 1 and self.producer_fifo and self.connected:
            self.close_when_done()
        else:
            self.close()


KINDS = [Echo, AskedEcho, ChatEcho]


class Server(Hooks, asynccore.dispatcher):
    def __init__(self, world: World, kind: Callable[..., Any]) -> None:
        self.world = world
        self.kind = kind
        super().__init__(None, world.map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(128)
        self.address: tuple[str, int] = self.socket.getsockname()

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.world.children.append(self.kind(self.world, sock))


class World:
    """One map with a server in it, on a named poller."""

    def __init__(self, poller: str, kind: Callable[..., Any] = Echo) -> None:
        self.poller = poller
        self.map: Any = asynccore.ChannelMap()
        self.errors: list[Any] = []
        self.said: list[str] = []
        self.timeouts: list[str] = []
        self.children: list[Any] = []
        self.peers: list[socket.socket] = []
        self.server = Server(self, kind)
        self.engine: Engine = engine_for(self.map)
        self.clock: FakeClock | None = None

    def fake_clock(self) -> FakeClock:
        """Let time pass only when the test says so; descriptors stay real."""
        self.clock = self.engine.clock = self.engine.timers.clock = FakeClock(time.monotonic())
        return self.clock

    def later(self, seconds: float) -> None:
        """Let so much time pass, and run what is due."""
        assert self.clock is not None
        self.clock.advance(seconds)
        self.passes(3)

    def passes(self, count: int = 5, timeout: float = 0) -> None:
        asynccore.loop(timeout, map=self.map, count=count, poller=self.poller)

    def until(self, done: Callable[[], object]) -> None:
        """Run passes until it is done. Fails if it never is."""
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, (self.errors, self.said, self.children)
            self.passes(1, 0 if self.clock else 0.01)

    def peer(self) -> socket.socket:
        """Return the other end of a new connection. It blocks, but not for ever."""
        sock = socket.create_connection(self.server.address, timeout=PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peers.append(sock)
        return sock

    def accepted(self, sock: socket.socket) -> Any:
        """Return the channel of a peer."""
        name = sock.getsockname()

        def find() -> Any:
            return next((child for child in self.children if child.addr == name), None)

        self.until(find)
        return find()

    def hears(self, sock: socket.socket, data: bytes) -> None:
        """Assert that a peer is sent exactly this next."""
        sock.setblocking(False)
        got = b""

        def all_there() -> bool:
            nonlocal got
            with contextlib.suppress(BlockingIOError):
                got += sock.recv(len(data) - len(got))
            return len(got) == len(data)

        self.until(all_there)
        assert got == data

    def echoes(self, sock: socket.socket, data: bytes = b"still there\n") -> None:
        """Assert that a connection works."""
        sock.sendall(data)
        self.hears(sock, data)

    def end_cleanly(self, sock: socket.socket, unread: bytes = b"") -> None:
        """End a peer's half, and assert that everything comes before the other half's end."""
        sock.shutdown(socket.SHUT_WR)
        self.hears(sock, unread)

        def at_end() -> bool:
            with contextlib.suppress(BlockingIOError):
                assert sock.recv(1) == b""
                return True
            return False

        self.until(at_end)
        sock.close()

    def idle(self) -> None:
        """Assert that nothing happens any more, and that the loop waits for it quietly."""
        self.passes(3)
        poller = self.engine.poller
        if poller is None:
            return
        wait, waits = poller.wait, 0

        def counted(timeout: float | None) -> Any:
            nonlocal waits
            waits += 1
            return wait(timeout)

        before = self.engine.events
        poller.wait = counted  # type: ignore[method-assign]
        try:
            if self.clock is None:
                self.passes(1, 0.02)
            else:
                self.passes(1)
        finally:
            del poller.wait
        assert self.engine.events == before, "events, though nobody does anything"
        assert waits <= 2, "the loop spins"

    def idle_but_for_timers(self) -> None:
        """Assert the same of a world with a fake clock, whose timers wait."""
        assert self.clock is not None and len(self.engine.timers)
        self.idle()

    def only(self, *channels: Any) -> None:
        """Assert that these, and the server, are all that is left."""
        self.until(lambda: len(self.map) <= len(channels) + 1)
        left = Counter(map(id, self.map.values()))
        assert left == Counter(map(id, (*channels, self.server)))
        assert len(self.engine.timers) == 0
        self.idle()

    def close(self) -> None:
        asynccore.close_all(self.map)
        for sock in self.peers:
            sock.close()
        assert not self.map and len(self.engine.timers) == 0


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN (socket(7), SO_LINGER with no time)."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()
