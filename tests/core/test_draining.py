"""SIGTERM that cuts nobody off: what goes on, what ends, and who has the handler."""

from __future__ import annotations

import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import worker
from asynccore.running import draining, graceful, loop
from asynccore.running.draining import LAST_WORDS, QUIET, Draining
from tests.conftest import connected_pair

# How long a loop may take, in seconds, before it counts as one that never ends.
PATIENCE = 20.0


class Echo(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(4096))

    def handle_close(self) -> None:
        self.close()


class Server(asynccore.dispatcher):
    channel: Any = Echo

    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(10)
        self.channels: list[Any] = []

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.channels.append(self.channel(sock, self._map))


class Clock:
    """A real loop under a clock of its own: how long something takes is no matter."""

    def __init__(self, map: Any) -> None:
        self.map = map
        self.engine = asynccore.engine.engine_for(map)
        self.time = 1000.0
        self.engine.clock = self.engine.timers.clock = lambda: self.time

    def passes(self, seconds: float = 0.0) -> None:
        self.time += seconds
        for _ in range(4):
            asynccore.loop(0, map=self.map, count=1)


@pytest.fixture
def served() -> Iterator[tuple[Clock, Server, socket.socket]]:
    """A server with one connection."""
    map = asynccore.ChannelMap()
    clock = Clock(map)
    server = Server(map)
    with socket.create_connection(server.socket.getsockname(), PATIENCE) as client:
        while not server.channels:
            asynccore.loop(1, map=map, count=1)
        yield clock, server, client
    asynccore.close_all(map)
    clock.passes()


def ask(clock: Clock, client: socket.socket, seconds: float = 0.0) -> bytes:
    client.sendall(b"x")
    clock.passes(seconds)
    return client.recv(1)


def test_a_connection_goes_on_until_it_is_quiet(served: Any) -> None:
    clock, server, client = served
    graceful.drain(clock.map, 60.0, 5.0)
    clock.passes()
    assert not server.accepting
    for _ in range(3):
        assert ask(clock, client, 4.0) == b"x"
        clock.passes(0.2)
    clock.passes(4.5)
    assert clock.map
    clock.passes(0.6)
    assert not clock.map and client.recv(1) == b""
    assert not len(clock.engine.timers)


def test_or_until_the_time_is_up(served: Any, capsys: Any) -> None:
    clock, _, client = served
    graceful.drain(clock.map, 60.0, 5.0)
    for _ in range(59):
        assert ask(clock, client, 1.0) == b"x"
    clock.passes(2.0)
    assert not clock.map and client.recv(1) == b""
    assert "the time is up, closing the last channels (1)" in capsys.readouterr().err


def test_what_is_unread_counts_as_going_on(served: Any) -> None:
    clock, server, client = served
    (channel,) = server.channels
    channel.pause_reading()
    client.sendall(b"x")
    graceful.drain(clock.map, 600.0, 5.0)
    clock.passes()
    clock.passes(300.0)
    assert clock.map
    channel.resume_reading()
    clock.passes()
    assert client.recv(1) == b"x"
    clock.passes(6.0)
    assert not clock.map


def test_what_is_unsent_counts_as_going_on(served: Any) -> None:
    clock, server, client = served
    (channel,) = server.channels
    channel.send(bytes(20_000_000))
    graceful.drain(clock.map, 600.0, 5.0)
    clock.passes()
    clock.passes(300.0)
    assert clock.map
    left = 20_000_000
    while left:
        left -= len(client.recv(1_000_000))
        clock.passes()
    clock.passes(6.0)
    assert not clock.map and client.recv(1) == b""


def test_one_that_is_never_quiet_is_waited_for(served: Any) -> None:
    clock, _, client = served
    graceful.drain(clock.map, 600.0, math.inf)
    clock.passes()
    clock.passes(500.0)
    assert ask(clock, client) == b"x"
    client.close()
    clock.passes()
    clock.passes(0.2)
    assert not clock.map


def test_who_waits_is_accepted_first(served: Any) -> None:
    clock, server, _ = served
    others = [socket.create_connection(server.socket.getsockname()) for _ in range(3)]
    graceful.drain(clock.map, 60.0, 5.0)
    clock.passes()
    assert not server.accepting and len(server.channels) == 4
    for other in others:
        assert ask(clock, other) == b"x"
        other.close()


def test_what_a_connection_may_need_stays_as_long(served: Any) -> None:
    """A proxy's other end, and what ends no loop by itself."""
    clock, _, client = served
    near, far = connected_pair()
    upstream = Echo(near, clock.map)
    trigger = asynccore.Trigger(map=clock.map)
    graceful.drain(clock.map, 600.0, math.inf)
    clock.passes(500.0)
    assert ask(clock, far) == b"x" and upstream.connected
    trigger.pull()
    client.close()
    clock.passes()
    clock.passes(0.2)
    assert not clock.map and far.recv(1) == b""
    far.close()


def test_a_class_that_says_goodbye_is_asked(served: Any) -> None:
    clock, server, client = served

    class Polite(Echo):
        def handle_shutdown(self) -> None:
            self.send(b"bye")

    server.channel = Polite
    with socket.create_connection(server.socket.getsockname()) as polite:
        graceful.drain(clock.map, 600.0, math.inf)
        clock.passes()
        assert polite.recv(10) == b"bye" and polite.recv(1) == b""
    assert ask(clock, client) == b"x"


def test_other_objects_are_quiet_from_the_beginning(served: Any) -> None:
    """What is no dispatcher doesn't tell when something passed."""
    clock, server, client = served

    class Foreign:
        accepting = False

        def __init__(self, sock: Any, map: Any) -> None:
            self.socket = sock
            map[sock.fileno()] = self

        def readable(self) -> bool:
            return True

        def writable(self) -> bool:
            return False

        def handle_read_event(self) -> None:
            self.socket.send(self.socket.recv(10))

        handle_write_event = handle_expt_event = handle_close = handle_error = None

        def close(self) -> None:
            self.socket.close()

    server.channel = Foreign
    with socket.create_connection(server.socket.getsockname()) as other:
        graceful.drain(clock.map, 600.0, 5.0)
        clock.passes()
        assert ask(clock, other) == b"x"
        clock.passes(6.0)
        assert other.recv(1) == b""
    assert client.recv(1) == b""


def test_graceful_close_ends_a_drain(served: Any) -> None:
    clock, _, client = served
    graceful.drain(clock.map, 600.0, math.inf)
    clock.passes()
    asynccore.graceful_close(5.0, map=clock.map)
    clock.passes()
    assert not clock.map and client.recv(1) == b""
    assert not len(clock.engine.timers)


# The signal -----------------------------------------------------------------------------------


@pytest.fixture
def handled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """SIGTERM as at the start of a process, and what would end this one."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGTERM that a program gets")
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Maps that other tests have left, with channels of theirs, are not to be drained.
    earlier = set(draining.engines())
    every = draining.engines
    monkeypatch.setattr(draining, "engines", lambda: [e for e in every() if e not in earlier])
    starting = list(loop.starting)
    ends: list[Any] = []
    real_kill = os.kill
    monkeypatch.setattr(draining._thread, "start_new_thread", lambda *args: ends.append(args))

    def kill(pid: int, signum: int) -> None:
        if signal.getsignal(signum) is signal.SIG_DFL:
            ends.append((pid, signum))
        else:
            real_kill(pid, signum)

    monkeypatch.setattr(draining.os, "kill", kill)
    yield ends
    signal.signal(signal.SIGTERM, before)
    loop.starting[:] = starting


def drained(map: Any, *, seconds: float = 7.0) -> Draining:
    found = Draining({draining.VARIABLE: str(seconds)})
    asynccore.loop(0, map=map, count=1)
    return found


def test_the_first_drains_and_the_second_ends(handled: list[Any], served: Any) -> None:
    clock, _, client = served
    found = drained(clock.map)
    assert signal.getsignal(signal.SIGTERM) == found.drain
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert handled == [(draining._end, (7.0, signal.SIGTERM, [clock.map]))]
    assert ask(clock, client) == b"x"
    clock.passes(QUIET + 0.2)
    assert not clock.map


def test_who_has_a_loop_gets_all_the_time(handled: list[Any], served: Any) -> None:
    clock, _, _ = served
    drained(clock.map)
    clock.engine.begin_loop(False)
    os.kill(os.getpid(), signal.SIGTERM)
    clock.engine.end_loop(False)
    assert handled == [(draining._end, (7.0, signal.SIGTERM, []))]


@pytest.mark.parametrize(
    ("polled", "slept"),
    [
        ([], [8.0 + LAST_WORDS]),
        ([{}, {1: 1}], [graceful.LOOK, graceful.LOOK, LAST_WORDS]),
        ([{1: 1, 2: 2, 3: 3, 4: 4, 5: 5}], [*[graceful.LOOK] * 3, LAST_WORDS]),
    ],
)
def test_the_time_s_end(
    polled: list[Any], slept: list[float], handled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that advances by three seconds with each sleep, and a map that gets emptier."""
    found: list[float] = []

    def sleep(seconds: float) -> None:
        found.append(seconds)
        if polled and polled[-1] and len(found) % 2 == 0:
            polled[-1].popitem()

    monkeypatch.setattr(draining.time, "sleep", sleep)
    monkeypatch.setattr(draining.time, "monotonic", lambda: 100.0 + 3.0 * len(found))
    draining._end(8.0, signal.SIGTERM, polled)
    assert (found, handled) == (slept, [(os.getpid(), signal.SIGTERM)])


@pytest.mark.parametrize("poll", [asynccore.poll, asynccore.poll2])
def test_a_loop_of_the_program_s_own_is_reached(
    poll: Any, handled: list[Any], new_map: Any
) -> None:
    found = Draining({draining.VARIABLE: "7"})
    near, far = connected_pair()
    Echo(near, new_map)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    for _ in range(2):
        poll(0.0, new_map)
        assert signal.getsignal(signal.SIGTERM) == found.drain
    asynccore.close_all(new_map)
    far.close()


def test_who_was_replaced_waits_for_its_connections(
    handled: list[Any], served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, _, client = served
    theirs, ours = socket.socketpair(type=socket.SOCK_DGRAM)
    ours.setblocking(False)
    monkeypatch.setattr(worker, "present", worker.Place(1, ours, []))
    found = drained(clock.map)
    theirs.send(worker.REPLACED)
    os.kill(os.getpid(), signal.SIGTERM)
    clock.passes()
    clock.passes(6.5)
    assert ask(clock, client) == b"x"
    # The next one is of who wants it to end.
    assert signal.getsignal(signal.SIGTERM) == found.drain
    os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    clock.passes()
    clock.passes(1.1)
    assert not clock.map
    theirs.close()
    ours.close()


def test_without_channels_it_ends_at_once(
    handled: list[Any], served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, _, _ = served
    found = drained(clock.map)
    asynccore.close_all(clock.map)
    monkeypatch.setattr(draining, "engines", lambda: [clock.engine])
    found.drain(signal.SIGTERM, None)
    assert handled == [(os.getpid(), signal.SIGTERM)]


def test_a_child_of_the_program_ends_at_once(handled: list[Any], served: Any) -> None:
    clock, _, _ = served
    found = drained(clock.map)
    found._begun_by = os.getpid() + 1
    found.drain(signal.SIGTERM, None)
    assert handled == [(os.getpid(), signal.SIGTERM)]
    assert clock.engine not in graceful._closings and not clock.engine.calls
    asynccore.loop(0, map=clock.map, count=1)  # a loop of its own
    assert signal.getsignal(signal.SIGTERM) == found.drain


def test_a_handler_of_the_program_stays(handled: list[Any], served: Any) -> None:
    clock, _, _ = served
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    found = drained(clock.map)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asynccore.loop(0, map=clock.map, count=1)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "once in a process"
    del found


def test_a_loop_of_another_thread_can_t(handled: list[Any], served: Any) -> None:
    clock, _, _ = served
    found: list[Draining] = []
    thread = threading.Thread(target=lambda: found.append(drained(clock.map)))
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    asynccore.loop(0, map=clock.map, count=1)
    assert signal.getsignal(signal.SIGTERM) == found[0].drain


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf", "1s"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="a drain is a number of seconds, at least 0, not"):
        Draining({draining.VARIABLE: text})


def test_once_in_a_process(handled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "_entered", None)
    monkeypatch.delenv(draining.VARIABLE, raising=False)
    draining.enter()
    first = draining._entered
    draining.enter()
    assert first is not None and draining._entered is first
    assert first.seconds == graceful.GRACE
