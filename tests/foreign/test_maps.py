"""Maps of other copies of asyncore, on every driver and poller, with real sockets."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

import asynccore
from tests.foreign.copies import CHATTING, COPIES, Program
from tests.foreign.drivers import PATIENCE, available, drive

every_driver = pytest.mark.parametrize(("driver", "poller"), available())
every_copy = pytest.mark.parametrize("copy", COPIES)


def dial(address: Any) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE)


def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := sock.recv(size - len(data))):
        data += piece
    return bytes(data)


@every_driver
@every_copy
def test_an_echo_server(driver: str, poller: str, copy: str) -> None:
    channels: dict[int, Any] = {}
    program = Program(COPIES[copy], channels)

    def talk() -> None:
        with dial(program.address) as one, dial(program.address) as two:
            for size in (1, 50_000, 1_000_000):
                one.sendall(b"x" * size)
                two.sendall(b"y" * 10)
                assert receive(one, size) == b"x" * size
                assert receive(two, 10) == b"y" * 10
            two.sendall(b"fail")
            assert two.recv(1) == b""
        with dial(program.address) as three:
            three.sendall(b"end")
            assert three.recv(1) == b""

    drive(driver, poller, channels, talk)
    assert channels == {}
    assert [type(error) for error in program.errors] == [ValueError]
    assert program.closed >= 1
    assert program.asked > 5


@every_driver
@every_copy
def test_its_own_exit_now_leaves_the_loop(driver: str, poller: str, copy: str) -> None:
    channels: dict[int, Any] = {}
    program = Program(COPIES[copy], channels)

    def talk() -> None:
        with dial(program.address) as sock:
            sock.sendall(b"exit")

    with pytest.raises(program.asyncore.ExitNow, match="so told"):
        drive(driver, poller, channels, talk)
    assert program.errors == []
    assert len(channels) == 2  # they stay as they are
    program.asyncore.close_all(channels)


@every_driver
@every_copy
def test_a_refused_connection(driver: str, poller: str, copy: str) -> None:
    channels: dict[int, Any] = {}
    program = Program(COPIES[copy], channels)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = program.echo(None, channels)
        client.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        client.connect(nobody.getsockname())
        program.server.close()
        drive(driver, poller, channels, lambda: None)
    (error,) = program.errors
    assert isinstance(error, ConnectionRefusedError)


@every_driver
@every_copy
def test_a_number_that_comes_back_within_a_pass(driver: str, poller: str, copy: str) -> None:
    """One channel closes another, whose number a new one gets, while a duplicate lives on.

    Not the latter for a copy without `_map`: nobody knows when it closes what, and epoll(7) goes on
    to report the duplicate under that number.
    """
    channels: dict[int, Any] = {}
    program = Program(COPIES[copy], channels)
    got: list[bytes] = []
    ends = [socket.socketpair() for _ in range(3)]
    for ours, _ in ends:
        ours.settimeout(PATIENCE)

    class Closer(program.echo):  # type: ignore[misc, name-defined]
        def handle_read(self) -> None:
            self.recv(100)
            number = victim.socket.fileno()
            victim.close()
            os.dup2(ends[2][1].fileno(), number)
            ends[2][1].close()
            heir = socket.socket(fileno=number)
            Heir(heir, channels)
            self.close()

    class Heir(program.echo):  # type: ignore[misc, name-defined]
        def handle_read(self) -> None:
            got.append(self.recv(100))
            self.close()

    victim = program.echo(ends[0][1], channels)
    duplicate = socket.socket() if copy == "vendored" else ends[0][1].dup()
    Closer(ends[1][1], channels)
    program.server.close()

    def talk() -> None:
        ends[1][0].sendall(b"now")
        assert ends[1][0].recv(1) == b""
        if copy != "vendored":
            ends[0][0].sendall(b"for the one that is gone")
        ends[2][0].sendall(b"for the new one")
        assert ends[2][0].recv(1) == b""

    drive(driver, poller, channels, talk)
    assert got == [b"for the new one"]
    assert program.errors == []
    duplicate.close()
    for ours, theirs in ends:
        ours.close()
        theirs.close()


@every_driver
@pytest.mark.parametrize("copy", CHATTING)
def test_a_conversation_in_lines(driver: str, poller: str, copy: str) -> None:
    channels: dict[int, Any] = {}
    program = Program(CHATTING[copy], channels)

    class Lines(program.asynchat.async_chat):  # type: ignore[misc, name-defined]
        def __init__(self, sock: Any, map: Any) -> None:
            super().__init__(sock, map)
            self.set_terminator(b"\r\n")
            self.line = b""

        def collect_incoming_data(self, data: bytes) -> None:
            self.line += data

        def found_terminator(self) -> None:
            line, self.line = self.line, b""
            self.push(line.upper() + b"\r\n")
            if line == b"quit":
                self.push_with_producer(program.asynchat.simple_producer(b"." * 300_000))
                self.close_when_done()
                program.server.close()

    program.echo = Lines

    def talk() -> None:
        with dial(program.address) as sock, sock.makefile("rb") as file:
            for line in (b"one", b"two", b"quit"):
                sock.sendall(line[:1])
                sock.sendall(line[1:] + b"\r\n")
                assert file.readline() == line.upper() + b"\r\n"
            assert file.read() == b"." * 300_000

    drive(driver, poller, channels, talk)
    assert channels == {}


@every_copy
def test_poll_per_frame(copy: str, poller_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As games do: one call of `poll` for each frame, and what it made is given back at the end."""
    monkeypatch.setenv("ASYNCCORE_ENGINE", poller_name)
    channels: dict[int, Any] = {}
    program = Program(COPIES[copy], channels)
    with dial(program.address) as sock:
        sock.sendall(b"hello")
        for _ in range(1000):
            asynccore.poll(0.01, channels)
            if len(channels) == 2 and program.asked > 10:
                break
        assert sock.recv(100) == b"hello"
        sock.sendall(b"end")
        while channels:
            asynccore.poll(PATIENCE, channels)


@every_copy
def test_our_channels_beside_theirs(copy: str) -> None:
    """One map may hold channels of both; theirs may hand theirs on to ours."""
    channels: dict[int, Any] = {}
    program = Program(COPIES[copy], channels)

    class Ours(asynccore.dispatcher_with_send):
        def handle_read(self) -> None:
            data = self.recv(100)
            if data:
                self.send(data + b" and ours")

    def accepted() -> None:
        sock, _ = program.server.accept()
        Ours(sock, getattr(program.server, "_map", channels))
        asynccore.call_later(0, program.server.close, map=channels)

    program.server.handle_accept = accepted

    def talk() -> None:
        with dial(program.address) as sock:
            sock.sendall(b"theirs")
            assert receive(sock, 15) == b"theirs and ours"

    drive("own", "select", channels, talk)
    assert channels == {}
