"""A byte of urgent data (tcp(7), MSG_OOB) that no program asked for, or that one takes.

select(2) and poll(2) report an exceptional condition for as long as it lasts, and nothing in a
classic program ends it: `handle_expt` only logs. Calls are counted, and the poller's waits: what
spins makes thousands while a timer of a twentieth of a second runs.
"""

from __future__ import annotations

import fcntl
import socket
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, dispatcher, dispatcher_with_send
from tests.corners.support import Noting, drive, passes
from tests.field.support import server_context

pytestmark = pytest.mark.skipif(
    "kqueue" in asynccore.pollers.available(), reason="kqueue has no filter for urgent data here"
)

# A few passes for what happens, and far less than a spin makes.
FEW = 12


class Channel(Noting, dispatcher):
    """Reads, and does nothing about urgent data but note it."""

    def handle_read(self) -> None:
        self.events.append(self.recv(100))

    def writable(self) -> bool:
        return False


class Inherits(Noting, dispatcher_with_send):
    """Has the predicates that come with the class."""

    def handle_read(self) -> None:
        self.events.append(self.recv(100))


class Asked(Channel):
    """Has predicates that are asked before every wait."""

    asked = 0

    def readable(self) -> bool:
        self.asked += 1
        return True


class Chat(Noting, asynchat.async_chat):
    terminator = None

    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)

    def found_terminator(self) -> None:
        raise NotImplementedError


KINDS = pytest.mark.parametrize("kind", [Channel, Inherits, Asked, Chat])


def rest(channels: Any, waits: list[Any], seconds: float = 0.05) -> int:
    """Loop for so long, and return how many waits that took."""
    before = len(waits)
    over: list[int] = []
    asynccore.call_later(seconds, over.append, 1, map=channels)
    drive(lambda: over, channels, timeout=5.0)
    return len(waits) - before


@KINDS
def test_what_nobody_takes_is_told_once(
    channels: Any, engine: str, waits: list[Any], tcp_pair: Any, kind: Any
) -> None:
    ours, theirs = tcp_pair()
    channel = kind(ours, channels)
    theirs.send(b"!", socket.MSG_OOB)
    drive(lambda: channel.events, channels)
    assert rest(channels, waits) < FEW
    assert channel.events == ["expt"]


@KINDS
def test_reading_goes_on_and_the_next_one_is_told(
    channels: Any, engine: str, waits: list[Any], tcp_pair: Any, kind: Any
) -> None:
    ours, theirs = tcp_pair()
    channel = kind(ours, channels)
    for turn in (1, 2, 3):
        theirs.send(b"!", socket.MSG_OOB)
        drive(lambda turn=turn: channel.events.count("expt") == turn, channels)  # type: ignore[misc]
        assert rest(channels, waits) < FEW
        theirs.send(b"more")
        drive(lambda: channel.events[-1] == b"more", channels)
        assert rest(channels, waits) < FEW
    assert channel.events == ["expt", b"more"] * 3
    channel.close()


def test_who_takes_it_is_told_of_each(
    channels: Any, engine: str, waits: list[Any], tcp_pair: Any
) -> None:
    class Takes(Channel):
        def handle_expt(self) -> None:
            self.events.append(self.socket.recv(1, socket.MSG_OOB))

    ours, theirs = tcp_pair()
    channel = Takes(ours, channels)
    for byte in (b"1", b"2", b"3"):
        theirs.send(byte, socket.MSG_OOB)
        drive(lambda byte=byte: byte in channel.events, channels)  # type: ignore[misc]
    assert rest(channels, waits) < FEW
    assert channel.events == [b"1", b"2", b"3"]


def test_what_comes_with_data_is_told_with_it(
    channels: Any, engine: str, waits: list[Any], tcp_pair: Any
) -> None:
    ours, theirs = tcp_pair()
    channel = Channel(ours, channels)
    theirs.send(b"before")
    theirs.send(b"!", socket.MSG_OOB)
    theirs.send(b"after")
    drive(lambda: channel.events[-1:] == [b"after"], channels)
    assert rest(channels, waits) < FEW
    assert [event for event in channel.events if event != "expt"] == [b"before", b"after"]
    assert "expt" in channel.events


def test_output_goes_on(channels: Any, engine: str, waits: list[Any], tcp_pair: Any) -> None:
    """A channel that waits for room does not spin for the byte that it has not read."""
    ours, theirs = tcp_pair()
    channel = Inherits(ours, channels)
    theirs.send(b"!", socket.MSG_OOB)
    drive(lambda: channel.events, channels)
    channel.send(b"x" * 4_000_000)
    drive(lambda: channel.out_buffer, channels)
    assert rest(channels, waits) < 2 * FEW
    assert channel.events == ["expt"]


def test_it_is_no_sign_of_life(channels: Any, engine: str, waits: list[Any], tcp_pair: Any) -> None:
    class Idle(Channel):
        idle_timeout = 0.15

        def handle_timeout(self, which: str) -> None:
            self.events.append(which)
            self.close()

    ours, theirs = tcp_pair()
    channel = Idle(ours, channels)
    begun = asynccore.engine.engine_for(channels).clock()
    for delay in (0.05, 0.1):
        asynccore.call_later(delay, theirs.send, b"!", socket.MSG_OOB, map=channels)
    drive(lambda: not channels, channels, timeout=5.0)
    assert asynccore.engine.engine_for(channels).clock() - begun < 0.25
    assert channel.events[-1] == "idle"


def test_one_that_was_taken_is(channels: Any, engine: str, tcp_pair: Any) -> None:
    class Idle(Channel):
        idle_timeout = 0.15

        def handle_expt(self) -> None:
            self.events.append(self.socket.recv(1, socket.MSG_OOB))

        def handle_timeout(self, which: str) -> None:
            self.events.append(which)
            self.close()

    ours, theirs = tcp_pair()
    channel = Idle(ours, channels)
    for turn in range(1, 4):
        asynccore.call_later(turn * 0.1, theirs.send, b"!", socket.MSG_OOB, map=channels)
    drive(lambda: not channels, channels, timeout=5.0)
    assert channel.events == [b"!", b"!", b"!", "idle"]


def test_another_connection_under_the_same_number_is_told(
    channels: Any, engine: str, tcp_pair: Any
) -> None:
    ours, theirs = tcp_pair()
    channel = Channel(ours, channels)
    theirs.send(b"!", socket.MSG_OOB)
    drive(lambda: channel.events, channels)
    number = channel.socket.fileno()
    channel.close()
    ours, theirs = tcp_pair()
    moved = socket.socket(fileno=fcntl.fcntl(ours.fileno(), fcntl.F_DUPFD, number))
    assert moved.fileno() >= number  # nobody else has taken it, as a rule
    again = Channel(moved, channels)
    theirs.send(b"!", socket.MSG_OOB)
    drive(lambda: again.events, channels)
    assert again.events == ["expt"]
    again.close()


def test_a_tls_socket_of_the_program(
    channels: Any, engine: str, waits: list[Any], tcp_pair: Any
) -> None:
    """Urgent data in the middle of TLS is nothing that TLS knows: no spin, whoever hears of it."""
    ours, theirs = tcp_pair()
    made = server_context().wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
    channel = Channel(made, channels)
    passes(channels, None)
    theirs.send(b"!", socket.MSG_OOB)
    assert rest(channels, waits) < FEW
    assert len(channel.events) <= 1
    channel.close()
