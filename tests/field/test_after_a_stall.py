"""What came in time is looked at before anybody is told that it did not come.

A handler that takes longer than a timeout, or a process that was stopped (SIGSTOP) and goes on,
finds every timeout expired and everybody's input waiting. Here the clock jumps while real sockets
have real input, and the loop is told not to wait.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, dispatcher, dispatcher_with_send
from asynccore.engine import engine_for
from asynccore.hardened_smtpd import HardenedSMTPServer
from asynccore.pollers import EVENTS_PER_PASS
from asynccore.testing import FakeClock
from ssl_ext import tls_dispatcher
from tests.conftest import connected_pair
from tests.corners.support import Noting, drain
from tests.field.support import client_context
from tests.tls.support import HOST, server_raw

# More than two batches of events.
MANY = 2 * EVENTS_PER_PASS + 20

# As many passes as it takes to look at so many channels, and at each timeout afterwards.
ENOUGH = 10


@pytest.fixture
def clock(channels: Any) -> Any:
    """A clock for the map's engine, which stands still until it is told to jump."""
    made = FakeClock()
    found = engine_for(channels)
    found.clock = found.timers.clock = made
    yield made
    del found  # which kept the engine of a plain dict


def go_on(channels: Any, passes: int = ENOUGH) -> None:
    asynccore.loop(timeout=0, map=channels, count=passes)


class Stall(dispatcher):
    """Takes too long over its event, while others do something."""

    meanwhile: Callable[[], object]
    clock: FakeClock

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.close()
        self.meanwhile()
        self.clock.advance(2)


def stall(channels: Any, clock: FakeClock, meanwhile: Callable[[], object]) -> None:
    """Make a pass in which a handler takes two seconds, and `meanwhile()` is called at once."""
    ours, theirs = socket.socketpair()
    channel = Stall(ours, channels)
    channel.meanwhile, channel.clock = meanwhile, clock
    theirs.send(b"x")
    go_on(channels, 1)
    assert not channel.socket.fileno() >= 0
    theirs.close()


class Timed(Noting):
    def handle_timeout(self, which: str) -> None:
        self.events.append(which)
        self.close()  # type: ignore[attr-defined]


class Echo(Timed, dispatcher_with_send):
    idle_timeout: float | None = 1.0

    def handle_read(self) -> None:
        data = self.recv(4096)
        if data:
            self.events.append(data)
            self.send(data)


class Chat(Timed, asynchat.async_chat):
    idle_timeout: float | None = 1.0
    terminator = b"\n"

    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)

    def found_terminator(self) -> None:
        self.push(b"ok\n")


@pytest.mark.parametrize("kind", [Echo, Chat])
@pytest.mark.parametrize("how", ["handler", "stopped"])
def test_nobody_is_idle_who_has_spoken(
    channels: Any, engine: str, clock: Any, kind: Any, how: str
) -> None:
    pairs = [socket.socketpair() for _ in range(MANY)]
    made = [kind(ours, channels) for ours, _ in pairs]
    go_on(channels, 1)

    def speak() -> None:
        for _, theirs in pairs:
            theirs.send(b"ping\n")

    if how == "handler":
        stall(channels, clock, speak)
    else:
        speak()
        clock.advance(2)
    go_on(channels)
    assert [len(channel.events) for channel in made] == [1] * MANY
    assert {event.strip() for channel in made for event in channel.events} == {b"ping"}
    # Who says nothing from now on is idle, all the same.
    clock.advance(2)
    go_on(channels)
    assert [channel.events[1:] for channel in made] == [["idle"]] * MANY
    for _, theirs in pairs:
        theirs.close()


def test_the_one_that_is_silent_among_many_that_talk(
    channels: Any, engine: str, clock: Any
) -> None:
    """Batches that are always full put nothing off for ever."""

    class Leaves(Echo):
        """Never takes what it is told, and so is ready at every wait."""

        idle_timeout = None

        def handle_read(self) -> None:
            self.events.append("ready")

    pairs = [socket.socketpair() for _ in range(MANY)]
    for ours, theirs in pairs:
        Leaves(ours, channels)
        theirs.send(b"x")
    ours, theirs = socket.socketpair()
    silent = Echo(ours, channels)
    go_on(channels, 2)
    clock.advance(2)
    go_on(channels)
    assert silent.events == ["idle"]
    theirs.close()
    for _, theirs in pairs:
        theirs.close()


def test_a_connection_that_was_made_in_time(channels: Any, engine: str, clock: Any) -> None:
    class Client(Timed, dispatcher):
        connect_timeout = 1.0

        def writable(self) -> bool:
            return not self.connected

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(map=channels)

        def connect() -> None:
            client.create_socket()
            client.connect(listener.getsockname())

        stall(channels, clock, connect)
        go_on(channels)
        assert client.events == ["connect"] and client.connected
        client.close()


def test_one_that_was_not(channels: Any, engine: str, clock: Any) -> None:
    class Client(Timed, dispatcher):
        connect_timeout = 1.0

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
        contextlib.ExitStack() as full,
    ):
        for _ in range(3):  # a backlog that is full answers nobody (listen(2))
            waiting = full.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        client = Client(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        go_on(channels, 2)
        clock.advance(2)
        go_on(channels)
        assert client.events == ["connect"] and not channels  # the name of the timeout


def test_output_that_was_taken_in_time(channels: Any, engine: str, clock: Any) -> None:
    class Sender(Timed, dispatcher_with_send):
        write_timeout = 1.0

        def readable(self) -> bool:
            return False

    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    sender = Sender(ours, channels)
    sender.send(bytes(4_000_000))
    go_on(channels, 2)
    assert sender.out_buffer
    stall(channels, clock, lambda: drain(theirs))
    go_on(channels, 3)
    assert sender.events == []
    clock.advance(2)
    go_on(channels)
    assert sender.events == ["write"]
    theirs.close()


def test_a_deadline_that_the_input_would_have_lifted(
    channels: Any, engine: str, clock: Any
) -> None:
    class Client(Timed, dispatcher):
        def handle_read(self) -> None:
            self.events.append(self.recv(100))
            self.set_deadline(None)

    ours, theirs = socket.socketpair()
    client = Client(ours, channels)
    client.set_deadline(1.0)
    go_on(channels, 1)
    stall(channels, clock, lambda: theirs.send(b"answer"))
    go_on(channels)
    assert client.events == [b"answer"]
    client.close()
    theirs.close()


def test_a_deadline_is_not_put_off_by_talking(channels: Any, engine: str, clock: Any) -> None:
    class Client(Timed, dispatcher):
        def handle_read(self) -> None:
            self.events.append(self.recv(1))

    ours, theirs = socket.socketpair()
    client = Client(ours, channels)
    client.set_deadline(1.0)
    go_on(channels, 1)
    stall(channels, clock, lambda: theirs.send(b"x" * 100))
    go_on(channels)
    assert client.events[-1] == "deadline" and len(client.events) <= 3
    theirs.close()


class Smtp(HardenedSMTPServer):
    def process_message(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


def test_a_command_that_came_in_time(
    channels: Any, engine: str, clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Smtp(("127.0.0.1", 0), map=channels, command_timeout=1.0)
    with socket.create_connection(server.socket.getsockname(), timeout=5) as client:
        go_on(channels, 3)
        assert client.recv(1000).startswith(b"220")
        stall(channels, clock, lambda: client.send(b"HELO there\r\n"))
        go_on(channels)
        assert client.recv(1000).startswith(b"250")
        client.send(b"NOO")  # a part of a command is none
        clock.advance(2)
        go_on(channels)
        assert client.recv(1000).startswith(b"421")
    asynccore.close_all(channels)
    capsys.readouterr()


class TLSServer(Timed, tls_dispatcher):
    handshake_timeout = 1.0

    def handle_handshake(self) -> None:
        self.events.append("shaken")


def test_a_handshake_that_came_in_time(channels: Any, engine: str, clock: Any) -> None:
    ours, theirs = connected_pair()
    theirs.setblocking(False)
    wrapped = client_context().wrap_socket(
        theirs, server_hostname=HOST, do_handshake_on_connect=False
    )

    def shake() -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            wrapped.do_handshake()

    server = TLSServer(ours, channels, context=server_raw(), server_side=True)
    go_on(channels, 1)
    shake()
    go_on(channels, 2)
    stall(channels, clock, shake)
    go_on(channels)
    assert server.events == ["shaken"]
    server.close()
    wrapped.close()


def test_a_handshake_that_did_not_come(channels: Any, engine: str, clock: Any) -> None:
    ours, theirs = connected_pair()
    server = TLSServer(ours, channels, context=server_raw(), server_side=True)
    go_on(channels, 1)
    stall(channels, clock, lambda: None)
    go_on(channels)
    assert server.events == ["handshake"]
    theirs.close()


def test_timers_of_the_program_are_on_time(channels: Any, engine: str, clock: Any) -> None:
    """They are about no peer, and wait for nobody: the end of the pass runs them."""
    ran: list[float] = []
    asynccore.call_later(1.0, lambda: ran.append(clock()), map=channels)
    stall(channels, clock, lambda: None)
    assert ran == [1002.0]
