"""What one connection does to a listener: nothing.

A client that resets its connection at once makes `getpeername` fail in whatever the program does
first with it; another one sends no TLS to a listener that wraps. Only what the system has run out
of makes a listener rest, for a second: who can make it rest at will keeps everybody out.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, dispatcher, dispatcher_with_send, smtpd
from tests.corners.support import Noting, drive, passes
from tests.field.support import server_context

RESET = struct.pack("ii", 1, 0)


class Child(dispatcher_with_send):
    """A channel that wants to know its peer, and fails if there is none."""

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.peer = sock.getpeername()

    def handle_read(self) -> None:
        self.send(self.recv(100))


class ChatChild(asynchat.async_chat):
    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.peer = sock.getpeername()
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.push(data)

    def found_terminator(self) -> None:
        self.push(b"\n")


class Server(dispatcher):
    """Keeps the inherited `handle_error`, and what that says."""

    child: Any = Child
    style = "accepted"

    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.said: list[str] = []
        self.refused: list[Any] = []
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(100)

    def log_info(self, message: Any, type: str = "info") -> None:
        self.said.append(str(message))

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.child(sock, self._map)


class OldServer(Server):
    """As programs were written before there was `handle_accepted`."""

    def handle_accept(self) -> None:
        pair = self.accept()
        if pair is not None:
            self.child(pair[0], self._map)


class OwnAccept(Server):
    """Goes around `accept`."""

    def handle_accept(self) -> None:
        sock, _ = self.socket.accept()
        self.child(sock, self._map)


def connect(server: Any) -> socket.socket:
    return socket.create_connection(server.socket.getsockname(), timeout=10)


def reset(server: Any) -> None:
    sock = connect(server)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


@pytest.mark.parametrize("kind", [Server, OldServer, OwnAccept])
@pytest.mark.parametrize("child", [Child, ChatChild])
def test_one_that_resets_keeps_nobody_out(
    channels: Any, engine: str, kind: Any, child: Any
) -> None:
    server = kind(channels)
    server.child = child
    for _ in range(3):
        for _ in range(3):
            reset(server)
        with connect(server) as honest:
            honest.setblocking(False)
            honest.send(b"hi\n")
            got: list[bytes] = []

            def answered(honest: Any = honest, got: Any = got) -> bool:
                try:
                    got.append(honest.recv(10))
                except BlockingIOError:
                    return False
                return True

            drive(answered, channels)
            assert b"".join(got)[:2] == b"hi"
    assert server.accept_counts.pauses == 0
    # Who was gone in the middle of its constructor left no channel behind.
    drive(lambda: len(channels) == 1, channels)
    assert list(channels.values()) == [server] and server.accepting
    asynccore.close_all(channels)


@pytest.mark.parametrize("kind", [Server, OldServer])
def test_the_connection_of_a_handler_that_fails_is_closed(
    channels: Any, engine: str, kind: Any
) -> None:
    kept: list[Any] = []

    def fails(sock: Any, map: Any) -> None:
        kept.append(sock)  # else nobody would have it any more
        raise ZeroDivisionError

    server = kind(channels)
    server.child = fails
    with connect(server) as client:
        client.settimeout(5)
        drive(lambda: kept, channels)
        assert client.recv(1) == b""
        assert kept[0].fileno() == -1
    assert any("ZeroDivisionError" in line for line in server.said)
    assert server.accept_counts.pauses == 0
    server.close()


def test_all_of_a_burst_are_told(channels: Any, engine: str) -> None:
    """Each one has its line, and the next is accepted in the same event or the next."""

    def fails(sock: Any, map: Any) -> None:
        raise ZeroDivisionError

    server = Server(channels)
    server.child = fails
    clients = [connect(server) for _ in range(5)]
    drive(lambda: len(server.said) >= 5, channels)
    for client in clients:
        client.close()
    assert len(server.said) == 5
    server.close()


class Smtp(smtpd.SMTPServer):
    class channel_class(smtpd.SMTPChannel):
        def __init__(self, server: Any, conn: Any, addr: Any, *more: Any, **options: Any) -> None:
            conn.getpeername()
            super().__init__(server, conn, addr, *more, **options)

    def process_message(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


def test_smtp_servers(channels: Any, engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = Smtp(("127.0.0.1", 0), None, map=channels)
    for _ in range(3):
        reset(server)
    with connect(server) as honest:
        drive(lambda: len(channels) == 2, channels)
        honest.settimeout(5)
        passes(channels, None)
        assert honest.recv(3) == b"220"
    assert server.accept_counts.pauses == 0
    asynccore.close_all(channels)
    capsys.readouterr()


class Wrapping(Noting, dispatcher):
    """Listens with a TLS socket, whose `accept` shakes hands and fails with its client."""

    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        listener = socket.create_server(("127.0.0.1", 0))
        self.set_socket(server_context().wrap_socket(listener, server_side=True))
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        sock.close()

    def handle_error(self) -> None:
        self.events.append(type(sys.exc_info()[1]).__name__)
        dispatcher.handle_error(self)


def test_a_listener_whose_accept_fails_with_the_client(channels: Any, engine: str) -> None:
    server = Wrapping(channels)
    for turn in (1, 2, 3):
        with connect(server) as client:
            client.send(b"no TLS at all\n" * 10)
            drive(lambda turn=turn: len(server.events) == turn, channels)  # type: ignore[misc]
    assert set(server.events) <= {"SSLError", "ConnectionResetError"}
    assert server.accept_counts.pauses == 0 and server.accepting
    server.close()


@pytest.mark.parametrize("name", ["EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ETIMEDOUT", "ECONNRESET"])
def test_an_error_that_was_the_connections_own(
    channels: Any, engine: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accept(2): "Linux passes already-pending network errors on the new socket"."""
    number = getattr(errno, name)
    server = Server(channels)
    sock = server.socket
    with connect(server) as client:

        class Failing:
            """Takes the connection, as the kernel would, and tells its error."""

            failed = False

            def __getattr__(self, name: str) -> Any:
                return getattr(sock, name)

            def accept(self) -> Any:
                pair = sock.accept()
                if self.failed:
                    return pair
                self.failed = True
                pair[0].close()
                raise OSError(number, os.strerror(number))

        server.socket = Failing()
        drive(lambda: server.socket.failed, channels)
        with connect(server) as other:
            other.settimeout(5)
            other.send(b"hi")
            drive(lambda: len(channels) == 2, channels)
            passes(channels, None)
            assert other.recv(2) == b"hi"
        del client
    assert server.accept_counts.pauses == 0
    asynccore.close_all(channels)


# -- what still makes a listener rest ------------------------------------------------------------


def test_a_handler_that_leaves_the_connection_where_it_is_does_not_spin(
    channels: Any, engine: str, waits: list[Any]
) -> None:
    """Nothing was accepted: the very same event would come again, at once and for ever."""

    class Broken(Server):
        calls = 0

        def handle_accept(self) -> None:
            self.calls += 1
            raise IndexError("no handler now")

    server = Broken(channels)
    with connect(server):
        over: list[int] = []
        asynccore.call_later(0.1, over.append, 1, map=channels)
        drive(lambda: over, channels, timeout=1)
        assert 1 <= server.calls < 20
        assert server.accepting and channels
    server.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_what_the_system_has_run_out_of(channels: Any, engine: str, number: int) -> None:
    server = Server(channels)
    sock = server.socket

    class Exhausted:
        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

        def accept(self) -> Any:
            raise OSError(number, os.strerror(number))

    server.socket = Exhausted()
    with connect(server):
        drive(lambda: server.accept_counts.pauses, channels)
        passes(channels, None)
        assert server.accept_counts.pauses == 1
        assert server.accepting and channels
    server.close()
