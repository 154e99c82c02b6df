"""A connection that the test carries itself, byte by byte, and a loop that is never waited for.

Facts. What a proxy passes on, and when, is a matter of chance. Whether a loop sleeps or spins can't
be seen from outside, but by what it asks of its poller.

Consequence. Each side of a `Wire` has a socket of its own. What a side writes is taken out at once,
and delivered when the test says so, in the pieces that it says. A `Watch` never lets the poller
sleep, and writes down whether it would have.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from asynccore import ChannelMap, loop, pollers
from asynccore.testing import engine_with_fakes
from ssl_ext import TLSError, tls_dispatcher_with_send

# Passes in a row after which a loop that still finds something to do spins: nothing here has more
# than some twenty things to do without a word from the peer.
SPINS = 300

# What takes a moment, in seconds, takes no longer.
PATIENCE = 20.0

# How long a loop is let sleep to see that it does, in the seconds of its own clock: far from any
# timeout, however often it is done.
A_MOMENT = 1e-6


class Noting(tls_dispatcher_with_send):
    """Writes down what happens, and ends with its connection."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.log: list[str] = []
        self.got = b""
        self.error: BaseException | None = None
        self.reused: bool | None = None
        self.begin: Callable[[], object] = lambda: None
        super().__init__(*args, **options)

    def note(self, what: str) -> None:
        if self.log[-1:] != [what]:
            self.log.append(what)

    def handle_handshake(self) -> None:
        self.note("handshake")
        self.reused = self.session_reused
        self.begin()

    def handle_read(self) -> None:
        data = self.recv(65536)
        self.got += data
        if data:
            self.note("read")

    def handle_tls_error(self, exc: TLSError) -> None:
        self.error = exc
        self.note(type(exc).__name__)
        self.close()

    def handle_error(self) -> None:
        self.error = sys.exc_info()[1]
        self.note(f"error {type(self.error).__name__}")
        self.close()

    def handle_close(self) -> None:
        self.note("close")
        self.close()

    def log_info(self, message: Any, type: str = "info") -> None:
        self.note(str(message))


def connected_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


class Wait(NamedTuple):
    """What a poller was asked, and how many events it had."""

    timeout: float | None
    events: int


class Watch:
    """The loop of a map on a real poller, which never sleeps: its clock jumps instead.

    The map must be new.
    """

    def __init__(self, channels: ChannelMap, poller: str | None = None) -> None:
        self.channels = channels
        self.waits: list[Wait] = []
        self.engine, self.clock, _ = engine_with_fakes(channels)
        self._real = pollers.make(poller)
        self._wait = self._real.wait
        self._real.wait = self.wait  # type: ignore[method-assign]
        self.engine.attach(self._real)

    def wait(self, timeout: float | None) -> list[pollers.Event]:
        events = self._wait(0)
        self.waits.append(Wait(timeout, len(events)))
        if len(self.waits) > SPINS:  # in one pass, of events that are nothing to the channels
            raise AssertionError(f"spins: {dict(self.channels)}")
        if not events and timeout:
            self.clock.advance(timeout)
        return events

    def close(self) -> None:
        """Give the poller back."""
        del self._real.wait
        self._real.close()

    def one(self, timeout: float = A_MOMENT) -> bool:
        """Run one pass; tell whether it would have slept."""
        if not self.channels:
            return True
        del self.waits[:]
        loop(timeout=timeout, map=self.channels, count=1)
        return bool(self.waits) and self.waits[-1].timeout != 0 and not self.waits[-1].events

    def settle(self) -> int:
        """Run until the loop would sleep, and return the passes; fail if it never does."""
        for passes in range(SPINS):
            if self.one():
                return passes
        raise AssertionError(f"spins: {dict(self.channels)}")


class Wire:
    """A connection between `client` and `server`, two sockets; `up` leads to the server.

    What is to be delivered in each direction is in `waiting`, and what was, in `passed`.
    """

    def __init__(self, tcp: bool = False) -> None:
        self._tcp = tcp
        make = connected_pair if tcp else socket.socketpair
        self.client, one = make()
        self.server, two = make()
        self._ends = {"up": (one, two), "down": (two, one)}
        self.waiting = {"up": bytearray(), "down": bytearray()}
        self.passed = {"up": bytearray(), "down": bytearray()}
        self.ended = {"up": False, "down": False}
        one.setblocking(False)
        two.setblocking(False)

    def take(self) -> None:
        """Take what both sides have written."""
        for way, (source, _) in self._ends.items():
            while not self.ended[way]:
                try:
                    data = source.recv(65536)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                self.waiting[way] += data
                self.ended[way] = not data

    def deliver(self, way: str, most: int = sys.maxsize) -> int:
        """Hand on up to `most` bytes; return how many there were."""
        waiting = self.waiting[way]
        data = bytes(waiting[:most])
        if data:
            try:
                count = self._ends[way][1].send(data)
            except BlockingIOError:
                count = 0
            except OSError:
                count = len(data)  # nobody is there
            del waiting[:count]
            self.passed[way] += data[:count]
            self._await(way)
            return count
        return 0

    def _await(self, way: str) -> None:
        """Have TCP hand over what was sent; pairs of AF_UNIX do that at once."""
        sock = self.server if way == "up" else self.client
        if self._tcp and sock.fileno() >= 0:
            assert select.select([sock], [], [], PATIENCE)[0]

    def cut(self, way: str) -> None:
        """End one direction: the side that listens there finds an end."""
        try:
            self._ends[way][1].shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self, way: str) -> None:
        """Break the connection to the side that listens there: only TCP can."""
        end = self._ends[way][1]
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
        self._await(way)
        self.ended[way] = self.ended["down" if way == "up" else "up"] = True

    def close(self) -> None:
        for sock in (self.client, self.server, *self._ends["up"]):
            sock.close()


def whole_records(data: bytes | bytearray) -> int:
    """Return how many whole records of TLS there are (RFC 8446 section 5.1)."""
    found = at = 0
    while at + 5 <= len(data):
        at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
        found += at <= len(data)
    return found
