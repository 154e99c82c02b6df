"""Accepting: limits, failing handlers, peers that are gone."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

import pytest

import asynccore
from tests.corners.support import READERS, Listener, Noting, Reader, drive, passes, run_script


class Classic(asynccore.dispatcher):
    """A listener with the package's handle_error, whose lines it keeps."""

    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.said: list[tuple[str, str]] = []
        self.accepted: list[Any] = []
        self.trouble: BaseException | None = None
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)

    def log_info(self, message: Any, type: str = "info") -> None:
        self.said.append((type, message))

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.accepted.append(sock)
        if self.trouble is not None:
            trouble, self.trouble = self.trouble, None
            raise trouble
        self.child = Reader(sock, self._map)


@pytest.fixture(autouse=True)
def short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a listener rests is not the point here."""
    monkeypatch.setattr(sys.modules["asynccore.listening.acceptor"], "ACCEPT_PAUSE", 0.02)


def connect(listener: Any) -> socket.socket:
    return socket.create_connection(listener.socket.getsockname(), timeout=10)


EMFILE_SCRIPT = """
    import os, resource, socket, sys
    import asynccore
    from asynccore import pollers

    sys.modules["asynccore.listening.acceptor"].ACCEPT_PAUSE = 0.3
    channels = eval(sys.argv[1])
    old_style = sys.argv[2] == "old"

    class Child(asynccore.dispatcher):
        received = b""
        def writable(self):
            return False
        def handle_read(self):
            self.received += self.recv(100)

    class Server(asynccore.dispatcher):
        child = None
        said = []
        def log_info(self, message, type="info"):
            self.said.append(type)
        def handle_accepted(self, sock, addr):
            self.child = Child(sock, channels)
        if old_style:
            def handle_accept(self):
                pair = self.accept()
                if pair is None:
                    return
                sock, addr = pair
                self.child = Child(sock, channels)

    server = Server(map=channels)
    server.create_socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    peer = socket.socket()
    asynccore.loop(timeout=0, map=channels, count=2)
    waits = []
    kind = type(pollers.make())
    original = kind.wait
    def wait(self, timeout):
        events = original(self, timeout)
        waits.append(events)
        return events
    kind.wait = wait

    taken = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    peer.connect(server.socket.getsockname())
    peer.send(b"hello")
    asynccore.loop(timeout=0.02, map=channels, count=3)
    assert server.child is None and server.accepting and server.socket.fileno() != -1
    # One event was the attempt; after it the listener rests, for longer than these waits. Event
    # loops round, and may come back a little early, once for a wait.
    busy = [events for events in waits if events]
    assert len(busy) == 1 and 3 <= len(waits) <= 6, waits
    assert server.said == ["error"], server.said
    for fd in taken:
        os.close(fd)
    for _ in range(100):
        asynccore.loop(timeout=0.1, map=channels, count=1)
        if server.child is not None and server.child.received:
            break
    assert server.child.received == b"hello"
    assert server.said == ["error"], server.said
    assert len(waits) < 40, len(waits)
    asynccore.close_all(channels)
    peer.close()
    print("survived")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no setrlimit() on Windows")
@pytest.mark.parametrize(("map", "style"), [("{}", "old"), ("asynccore.socket_map", "new")])
def test_out_of_descriptors(map: str, style: str, poller_name: str) -> None:
    assert run_script(EMFILE_SCRIPT, poller_name, map, style) == "survived\n"


@pytest.mark.parametrize("trouble", [ValueError, OSError, MemoryError])
def test_an_exception_in_handle_accepted_closes_the_child_alone(
    trouble: type[Exception], channels: Any, engine: str
) -> None:
    listener = Classic(channels)
    listener.trouble = trouble(errno.EIO, "no")
    with connect(listener) as first, connect(listener) as second:
        drive(lambda: listener.accepted, channels, engine)
        assert first.recv(1) == b""
        assert listener.accepted[0].fileno() == -1
        ((type_, message),) = listener.said
        assert type_ == "error" and "uncaptured python exception" in message
        # It goes on with the others.
        second.send(b"x")
        drive(lambda: hasattr(listener, "child") and listener.child.received, channels, engine)
    assert listener.accepting and len(listener.said) == 1


def test_an_exception_after_the_childs_channel_was_made(channels: Any, engine: str) -> None:
    class FailsLate(Classic):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            raise ValueError

    listener = FailsLate(channels)
    with connect(listener) as peer:
        drive(lambda: listener.accepted, channels, engine)
        assert peer.recv(1) == b""
    assert list(channels.values()) == [listener]


def test_an_exception_after_the_childs_channel_was_made_in_another_map(
    channels: Any, engine: str
) -> None:
    other: dict[int, Any] = {}

    class FailsLate(Classic):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            self.accepted.append(sock)
            Reader(sock, other)
            raise ValueError

    listener = FailsLate(channels)
    with connect(listener) as peer:
        drive(lambda: listener.accepted, channels, engine)
        assert peer.recv(1) == b""
    passes(other, None)
    assert not other


@pytest.mark.parametrize("kind", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
def test_exit_exceptions_in_handle_accepted_leave_the_child_open(
    kind: type[BaseException], channels: Any, engine: str
) -> None:
    """A program accepts one connection, leaves the loop, and goes on with it."""

    class One(Classic):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            raise kind

    listener = One(channels)
    with connect(listener) as peer:
        with pytest.raises(kind):
            drive(lambda: False, channels, engine)
        assert len(channels) == 2 and listener.said == []
        peer.send(b"x")
        drive(lambda: listener.child.received, channels, engine)


def test_an_exception_in_an_old_style_handle_accept(channels: Any, engine: str) -> None:
    class Old(Classic):
        tries = 0

        def handle_accept(self) -> None:
            sock, _addr = self.accept()  # type: ignore[misc]
            self.tries += 1
            if self.tries == 1:
                sock.close()
                raise ValueError
            self.child = Reader(sock, self._map)

    listener = Old(channels)
    with connect(listener), connect(listener) as second:
        second.send(b"x")
        drive(lambda: hasattr(listener, "child") and listener.child.received, channels, engine)
    assert [type_ for type_, _ in listener.said] == ["error"]


def test_nobody_there_any_more(channels: Any) -> None:
    listener = Classic(channels)
    assert listener.accept() is None

    class Fake:
        def __init__(self, sock: Any, why: BaseException) -> None:
            self.sock, self.why = sock, why

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

        def accept(self) -> Any:
            raise self.why

    real = listener.socket
    for why in (
        BlockingIOError(errno.EAGAIN, ""),
        ConnectionAbortedError(errno.ECONNABORTED, ""),
        TypeError(),
    ):
        listener.socket = Fake(real, why)
        assert listener.accept() is None
        listener.handle_accept()
    listener.socket = Fake(real, OSError(errno.EBADF, ""))
    with pytest.raises(OSError):
        listener.accept()
    listener.socket = real
    assert listener.accepted == []


def test_a_listener_may_be_writable_by_default_and_does_not_spin(
    channels: Any, engine: str, waits: list[Any]
) -> None:
    Classic(channels)
    asynccore.loop(timeout=0.001, map=channels, count=3, poller=engine)
    assert not any(wait.events for wait in waits)


def test_handle_close_restarts_a_listener(channels: Any, engine: str) -> None:
    class Restarts(Noting, asynccore.dispatcher):
        children: list[Any] = []

        def start(self) -> None:
            self.create_socket()
            self.set_reuse_addr()
            self.bind(("127.0.0.1", 0))
            self.listen(5)

        def handle_close(self) -> None:
            self.events.append("close")
            self.close()
            self.start()

        def handle_error(self) -> None:
            self.events.append(sys.exc_info()[0])
            self.handle_close()

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            if len(self.events) < 2:
                raise ValueError
            self.child = Reader(sock, self._map)

    listener = Restarts(map=channels)
    listener.start()
    with connect(listener):
        drive(lambda: listener.events, channels, engine)
    assert listener.events == [ValueError, "close"]
    assert list(channels.values()) == [listener]
    with connect(listener) as peer:
        peer.send(b"x")
        drive(lambda: hasattr(listener, "child") and listener.child.received, channels, engine)


@pytest.mark.parametrize("kind", READERS)
def test_many_at_once(kind: Any, channels: Any, engine: str) -> None:
    listener = Listener(channels)
    listener.child_class = kind
    peers = [connect(listener) for _ in range(6)]
    try:
        for peer in peers:
            peer.send(b"hello")
        drive(
            lambda: len(listener.children) == 6 and all(it.received for it in listener.children),
            channels,
            engine,
        )
    finally:
        for peer in peers:
            peer.close()
    drive(lambda: len(channels) == 1, channels, engine)
    passes(channels, engine)


@pytest.mark.parametrize("own_readable", [False, True])
def test_a_batch_of_connections(own_readable: bool, channels: Any, engine: str) -> None:
    """A listener takes what has come at one event; one with a limit of its own is asked again."""

    class Bare(asynccore.dispatcher):
        taken = 0

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            self.taken += 1
            sock.close()

    class Limited(Bare):
        def readable(self) -> bool:
            return self.taken < 2

    listener = (Limited if own_readable else Bare)(map=channels)
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(10)
    peers = [connect(listener) for _ in range(5)]
    try:
        asynccore.loop(timeout=5, map=channels, count=1, poller=engine)
        assert listener.taken == (1 if own_readable else 5)
        passes(channels, engine, 8)
        assert listener.taken == (2 if own_readable else 5)
    finally:
        for peer in peers:
            peer.close()


def test_default_handle_accepted_closes_and_says_so(channels: Any, engine: str) -> None:
    class Bare(asynccore.dispatcher):
        said: list[Any] = []

        def log_info(self, message: Any, type: str = "info") -> None:
            self.said.append((type, message))

    listener = Bare(map=channels)
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    with connect(listener) as peer:
        drive(lambda: listener.said, channels, engine)
        assert peer.recv(1) == b""
    assert listener.said == [("warning", "unhandled accepted event")]
