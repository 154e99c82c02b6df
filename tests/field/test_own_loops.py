"""Programs that wait themselves: a select of their own over the map, and the event functions.

Editors, game clients and user interfaces ask `readable()` and `writable()` of what is in the map,
call select(2), and hand what is ready to `asyncore.read` and `asyncore.write`. What our own loop
would end by a timer has to end there, too: nobody else is there to do it. Time is a clock that
jumps, and nothing waits.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, dispatcher, dispatcher_with_send
from asynccore.engine import engine_for
from asynccore.testing import FakeClock
from tests.corners.support import Noting


@pytest.fixture
def clock(channels: Any) -> Any:
    made = FakeClock()
    found = engine_for(channels)
    found.clock = found.timers.clock = made
    yield made
    del found  # which kept the engine of a plain dict


def by_functions(channels: Any) -> list[int]:
    """Do one round as most do; return who was ready to read."""
    reading = [fd for fd, channel in channels.items() if channel.readable()]
    writing = [
        fd for fd, channel in channels.items() if channel.writable() and not channel.accepting
    ]
    ready, room, _ = select.select(reading, writing, [], 0)
    for fd in ready:
        if fd in channels:
            asynccore.read(channels[fd])
    for fd in room:
        if fd in channels:
            asynccore.write(channels[fd])
    return ready


def by_readwrite(channels: Any) -> list[int]:
    """The same with poll(2), as programs did for more than 1,024 descriptors."""
    poller = select.poll()
    for fd, channel in channels.items():
        flags = select.POLLIN if channel.readable() else 0
        if channel.writable() and not channel.accepting:
            flags |= select.POLLOUT
        if flags:
            poller.register(fd, flags)
    found = poller.poll(0)
    for fd, flags in found:
        if fd in channels:
            asynccore.readwrite(channels[fd], flags)
    return [fd for fd, flags in found if flags & select.POLLIN]


STYLES = pytest.mark.parametrize("rounds", [by_functions, by_readwrite])

Rounds = Callable[[Any], list[int]]


class Exhausted:
    """A socket whose `accept` fails for want of descriptors, as often as it is told to."""

    def __init__(self, sock: socket.socket, failures: int) -> None:
        self.sock = sock
        self.failures = failures

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def accept(self) -> Any:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.sock.accept()


class Server(Noting, dispatcher):
    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)
        self.calls = 0

    def handle_accept(self) -> None:
        self.calls += 1
        super().handle_accept()

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        sock.close()


class OldServer(Server):
    """Accepts by itself, and always wants to."""

    def readable(self) -> bool:
        return True

    def handle_accept(self) -> None:
        self.calls += 1
        pair = self.accept()
        if pair is not None:
            self.handle_accepted(*pair)


@STYLES
@pytest.mark.parametrize("kind", [Server, OldServer])
def test_a_listener_that_rests_accepts_again(
    channels: Any, clock: Any, rounds: Rounds, kind: Any
) -> None:
    server = kind(channels)
    server.socket = Exhausted(server.socket, 2)
    with socket.create_connection(server.socket.getsockname()):
        for turn in (1, 2):
            rounds(channels)
            assert server.calls == turn
            assert server.readable() == (kind is OldServer)
            for _ in range(5):
                rounds(channels)
            assert server.calls == turn  # it rests
            clock.advance(1.0)
        assert server.readable()
        rounds(channels)
        assert server.events == ["accepted"]
    server.close()


@STYLES
def test_a_listener_that_fails_without_accepting(channels: Any, clock: Any, rounds: Rounds) -> None:
    class Fails(Server):
        def handle_accept(self) -> None:
            if not self.calls:
                self.calls += 1
                raise IndexError("no handler now")
            super().handle_accept()

        def handle_error(self) -> None:
            dispatcher.handle_error(self)

    server = Fails(channels)
    with socket.create_connection(server.socket.getsockname()):
        for _ in range(3):
            rounds(channels)
        clock.advance(1.0)
        for _ in range(3):
            rounds(channels)
        assert server.events == ["accepted"]
        assert server.accepting and server in channels.values()
    server.close()


class Kept(Noting, dispatcher):
    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.events.append(self.recv(100))


class Limited(Server):
    max_connections = 1

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        self.child = Kept(sock, self._map)


@STYLES
@pytest.mark.parametrize("how", ["close", "behind its back"])
def test_a_full_listener_accepts_once_there_is_room(
    channels: Any, clock: Any, rounds: Rounds, how: str
) -> None:
    server = Limited(channels)
    address = server.socket.getsockname()
    with socket.create_connection(address), socket.create_connection(address):
        for _ in range(3):
            rounds(channels)
        assert server.events == ["accepted"] and not server.readable()
        if how == "close":
            server.child.close()
        else:
            server.child.del_channel()
            server.child.socket.close()
            clock.advance(1.0)
        assert server.readable()
        rounds(channels)
        assert server.events == ["accepted", "accepted"]
    asynccore.close_all(channels)


class Inherits(Noting, dispatcher_with_send):
    def handle_read(self) -> None:
        self.events.append(self.recv(100))


class Stays(Inherits):
    def handle_close(self) -> None:
        self.events.append("close")


class Chat(Noting, asynchat.async_chat):
    terminator = None

    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)

    def found_terminator(self) -> None:
        raise NotImplementedError


@STYLES
@pytest.mark.parametrize("kind", [Inherits, Chat])
def test_a_paused_channel_is_not_asked_for(
    channels: Any, rounds: Rounds, pair: Any, kind: Any
) -> None:
    ours, theirs = pair()
    channel = kind(ours, channels)
    channel.pause_reading()
    theirs.send(b"x")
    assert not channel.readable() and not rounds(channels)
    channel.resume_reading()
    assert channel.readable()
    rounds(channels)
    assert channel.events == [b"x"]
    channel.close()


@STYLES
def test_one_that_has_heard_of_the_end_does_not_spin(
    channels: Any, rounds: Rounds, pair: Any
) -> None:
    ours, theirs = pair()
    channel = Stays(ours, channels)
    theirs.close()
    rounds(channels)
    assert channel.events[:2] == ["close", b""]
    heard = len(channel.events)
    assert not rounds(channels) and not channel.readable()
    assert len(channel.events) == heard
    channel.close()


# -- timeouts ------------------------------------------------------------------------------------


class Timed(Noting):
    def handle_timeout(self, which: str) -> None:
        self.events.append(which)
        self.close()  # type: ignore[attr-defined]


class TimedSender(Timed, dispatcher_with_send):
    idle_timeout = 1.0

    def handle_read(self) -> None:
        self.events.append(self.recv(100))


class TimedChat(Timed, asynchat.async_chat):
    idle_timeout = 1.0
    terminator = None

    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)

    def found_terminator(self) -> None:
        raise NotImplementedError


def others_event(channels: Any, pair: Any) -> Callable[[], object]:
    """Something that goes on beside: with a plain dict, only events are seen."""
    ours, theirs = pair()
    Inherits(ours, channels)
    return lambda: theirs.send(b"tick")


@STYLES
@pytest.mark.parametrize("kind", [TimedSender, TimedChat])
def test_who_says_nothing_is_idle(
    channels: Any, clock: Any, rounds: Rounds, pair: Any, kind: Any
) -> None:
    tick = others_event(channels, pair)
    ours, theirs = pair()
    channel = kind(ours, channels)
    for _ in range(3):
        clock.advance(0.9)
        theirs.send(b"x")
        tick()
        rounds(channels)
    assert channel.events == [b"x"] * 3
    clock.advance(0.9)
    tick()
    rounds(channels)
    assert channel.events == [b"x"] * 3
    clock.advance(0.2)
    tick()
    rounds(channels)
    tick()
    rounds(channels)
    assert channel.events == [b"x"] * 3 + ["idle"]


@STYLES
def test_what_came_in_time_is_read_first(
    channels: Any, clock: Any, rounds: Rounds, pair: Any
) -> None:
    tick = others_event(channels, pair)
    ours, theirs = pair()
    channel = TimedSender(ours, channels)
    rounds(channels)
    clock.advance(2.0)
    theirs.send(b"x")
    tick()
    rounds(channels)
    assert channel.events == [b"x"]
    channel.close()


def test_a_map_that_reports_needs_no_event(default_map: Any, pair: Any) -> None:
    """A plain dict tells nobody that it is looked at; `socket_map` does."""
    clock = FakeClock()
    found = engine_for(default_map)
    found.clock = found.timers.clock = clock
    ours, theirs = pair()
    channel = TimedSender(ours)
    theirs.send(b"x")
    by_functions(default_map)
    clock.advance(2.0)
    by_functions(default_map)
    assert channel.events == [b"x", "idle"]


@STYLES
def test_a_connect_that_takes_too_long(
    channels: Any, clock: Any, rounds: Rounds, pair: Any
) -> None:
    tick = others_event(channels, pair)

    class Client(Timed, dispatcher):
        connect_timeout = 1.0

        def writable(self) -> bool:
            return False  # nobody ever sees that it is connected

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        tick()
        rounds(channels)
        clock.advance(1.5)
        tick()
        rounds(channels)
        tick()
        rounds(channels)
        assert client.events == ["connect"] and client not in channels.values()


def test_looking_at_a_map_that_our_loop_serves_runs_nothing(
    channels: Any, clock: Any, pair: Any
) -> None:
    ours, _ = pair()
    channel = TimedSender(ours, channels)
    asynccore.loop(timeout=0, map=channels, count=1)
    clock.advance(2.0)
    assert list(channels.values()) == [channel] and channel.events == []
    asynccore.loop(timeout=0, map=channels, count=2)
    assert channel.events == ["idle"]


def test_a_timer_of_the_program_is_for_a_loop(channels: Any, clock: Any, pair: Any) -> None:
    ours, _ = pair()
    channel = TimedSender(ours, channels)
    ran: list[int] = []
    asynccore.call_later(0.5, ran.append, 1, map=channels)
    clock.advance(0.7)
    assert len(list(channels.values())) == 1 and not ran
    channel.close()


# -- a poll function of the program's own --------------------------------------------------------


def test_a_poll_function_of_the_programs_own(
    default_map: Any, monkeypatch: pytest.MonkeyPatch, pair: Any
) -> None:
    clock = FakeClock()
    found = engine_for(default_map)
    found.clock = found.timers.clock = clock
    calls: list[float] = []

    def own(timeout: float = 0.0, map: Any = None) -> None:
        calls.append(timeout)
        by_functions(map)
        clock.advance(0.4)

    monkeypatch.setattr(asynccore, "poll", own)
    ours, theirs = pair()
    channel = TimedSender(ours, default_map)
    ran: list[int] = []
    asynccore.call_later(0.5, ran.append, 1)
    theirs.send(b"x")
    asynccore.loop(timeout=7.0, count=2)
    assert ran == [1] and channel.events == [b"x"]
    asynccore.loop(timeout=7.0, count=8)
    assert channel.events == [b"x", "idle"] and not default_map
    assert set(calls) == {7.0} and len(calls) < 8


def test_stop_ends_it(default_map: Any, monkeypatch: pytest.MonkeyPatch, pair: Any) -> None:
    calls: list[Any] = []

    def own(timeout: float = 0.0, map: Any = None) -> None:
        calls.append(timeout)
        if len(calls) == 2:
            asynccore.stop()

    monkeypatch.setattr(asynccore, "poll", own)
    channel = Inherits(pair()[0], default_map)
    asynccore.loop(count=5)
    assert len(calls) == 2
    asynccore.loop(count=1)
    assert len(calls) == 3
    channel.close()
