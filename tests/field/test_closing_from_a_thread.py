"""`close()` from another thread than the loop's has closed when it returns.

As ever: fixtures close a server and start the next one on the same port, interfaces close a
connection and open it anew on the same object. Nothing that was the old socket's may reach the new
one, whatever the loop's thread is doing meanwhile.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, smtpd
from asynccore.engine import engine_for
from tests.corners.support import (
    PATIENCE,
    Chat,
    Listener,
    Occupied,
    QuietReader,
    Reader,
    wait_for,
)
from tests.field.looping import let_pass, looping


class Tenant(QuietReader):
    """Connects, and may be told to connect anew."""

    def start(self, address: Any) -> None:
        self.create_socket()
        self.connect(address)


KINDS = (Reader, QuietReader, Chat)


@pytest.fixture(params=["waits", "is in a handler"])
def state(request: pytest.FixtureRequest) -> str:
    """What the loop's thread does while others close."""
    name: str = request.param
    return name


class Busy:
    """A loop in a thread that waits, or that is held in a handler of some other channel."""

    def __init__(self, channels: Any, engine: str, pair: Any, state: str) -> None:
        self.end, self.peer = pair()
        self.occupied = Occupied(self.end, channels)
        self._loop = looping(channels, engine)
        self._held = state != "waits"

    def __enter__(self) -> Busy:
        self._loop.__enter__()
        if self._held:
            self.peer.send(b"x")
            assert self.occupied.busy.wait(PATIENCE)
        return self

    def __exit__(self, *why: Any) -> None:
        self.occupied.go_on.set()
        self._loop.__exit__(*why)


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_is_closed_on_return(
    kind: Any, state: str, channels: Any, engine: str, pair: Any
) -> None:
    with Busy(channels, engine, pair, state):
        end, peer = pair()
        channel = kind(end, channels)
        fd = end.fileno()
        channel.close()
        assert end.fileno() == -1
        assert channels.get(fd) is not channel
        peer.settimeout(PATIENCE)
        assert peer.recv(1) == b""


@pytest.mark.parametrize("kind", KINDS)
def test_a_connection_that_the_loop_watched_is_closed_on_return(
    kind: Any, state: str, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    channel = kind(end, channels)
    fd = end.fileno()
    with Busy(channels, engine, pair, state):
        channel.close()
        assert end.fileno() == -1
        assert channels.get(fd) is not channel
        assert not channel.connected
        peer.settimeout(PATIENCE)
        assert peer.recv(1) == b""
    assert channel.events == []


def test_timers_of_the_old_connection_are_not_for_the_new_one(
    state: str, channels: Any, engine: str, pair: Any
) -> None:
    ticks: list[str] = []
    channel = QuietReader(pair()[0], channels)
    old = channel.call_later(1000, ticks.append, "old")
    with Busy(channels, engine, pair, state) as busy:
        channel.close()
        channel.set_socket(pair()[0])
        new = channel.call_later(1000, ticks.append, "new")
        busy.occupied.go_on.set()
        let_pass(channels)
        assert (old.active, new.active) == (False, True)


def test_a_listener_gives_its_port_free(state: str, channels: Any, engine: str, pair: Any) -> None:
    first = Listener(channels)
    address = first.address
    with Busy(channels, engine, pair, state):
        first.close()
        assert first.socket.fileno() == -1
        assert not first.accepting
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, PATIENCE)
        with socket.socket() as other:
            other.bind(address)


def test_an_smtp_server_is_restarted_on_its_port(
    channels: Any, engine: str, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "here")  # which may ask for seconds
    address: Any = ("127.0.0.1", 0)
    with Busy(channels, engine, pair, "waits"):
        for _ in range(20):
            server = smtpd.SMTPServer(address, None, map=channels)
            address = server.socket.getsockname()
            with socket.create_connection(address, PATIENCE) as client:
                client.settimeout(PATIENCE)
                assert client.recv(3) == b"220"
            server.close()
            assert server.socket.fileno() == -1


def test_close_all_has_closed_on_return(state: str, channels: Any, engine: str, pair: Any) -> None:
    ends = [pair() for _ in range(10)]
    kinds = [KINDS[place % 3](end, channels) for place, (end, _) in enumerate(ends)]
    with Busy(channels, engine, pair, state) as busy:
        del channels[busy.end.fileno()]
        asynccore.close_all(channels)
        assert [end.fileno() for end, _ in ends] == [-1] * 10
        assert not any(kind.connected for kind in kinds)
        busy.occupied.go_on.set()
    busy.occupied.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_close_and_one_by_the_loop_are_harmless(
    kind: Any, state: str, channels: Any, engine: str, pair: Any
) -> None:
    with Busy(channels, engine, pair, state):
        end, _ = pair()
        channel = kind(end, channels)
        channel.close()
        asynccore.call_soon_threadsafe(channel.close, map=channels)
        channel.close()
        taken = os.dup(0)  # very likely under the same number
        try:
            asynccore.call_soon_threadsafe(channel.close, map=channels)
            channel.close()
            os.fstat(taken)
        finally:
            os.close(taken)


@pytest.mark.parametrize("data", [b"", b"bye"])
def test_the_same_object_connects_anew(
    data: bytes, state: str, channels: Any, engine: str, pair: Any
) -> None:
    """The late close of the old socket must not close the new one, nor its data go there."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as server:
        server.settimeout(PATIENCE)
        channel = Tenant(map=channels)
        with Busy(channels, engine, pair, state) as busy:
            channel.start(server.getsockname())
            accepted = [server.accept()[0]]
            if state == "waits":
                wait_for(lambda: channel.connected)
            for _ in range(5):
                if data and channel.connected:
                    channel.send(data)
                channel.close()
                channel.start(server.getsockname())
                accepted.append(server.accept()[0])
                if state == "waits":
                    wait_for(lambda: channel.connected)
            busy.occupied.go_on.set()
            wait_for(lambda: channel.connected)
            let_pass(channels)
            assert channel.events.count("close") == 0
            assert channels.get(channel.socket.fileno()) is channel
            for sock in accepted[:-1]:
                sock.settimeout(PATIENCE)
                # While the loop is in a handler, no connect is seen to have ended.
                assert sock.recv(100) == (data if state == "waits" else b"")
                sock.close()
            channel.send(b"here")
            accepted[-1].settimeout(PATIENCE)
            assert accepted[-1].recv(100) == b"here"
            accepted[-1].close()
            channel.close()


def test_a_new_channel_under_the_number_of_the_closed_one(
    state: str, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    first = QuietReader(end, channels)
    fd = end.fileno()
    with Busy(channels, engine, pair, state) as busy:
        peer.send(b"for the first")
        if state == "waits":
            wait_for(lambda: first.received)
        first.close()
        new_end, new_peer = socket.socketpair()
        try:
            assert new_end.fileno() == fd
            second = QuietReader(new_end, channels)
            new_peer.send(b"for the second")
            busy.occupied.go_on.set()
            wait_for(lambda: second.received)
            let_pass(channels)
            assert second.received == b"for the second"
            assert second.events == ["read"]
        finally:
            second.close()
            new_peer.close()


def test_a_duplicate_of_the_closed_descriptor_lives_on(
    channels: Any, engine: str, pair: Any
) -> None:
    """A child process may hold it. epoll reports by the open file, not by the number."""
    end, peer = pair()
    first = QuietReader(end, channels)
    with looping(channels, engine):
        duplicate = end.dup()
        keep = QuietReader(pair()[0], channels)
        first.close()
        new_end, new_peer = pair()
        second = QuietReader(new_end, channels)
        peer.send(b"x")
        let_pass(channels)
        assert second.events == [] and keep.events == []
        new_peer.send(b"y")
        wait_for(lambda: second.received)
        assert second.received == b"y"
        duplicate.close()


def test_what_was_pushed_before_goes_out_before(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    chat = Chat(end, channels)
    with looping(channels, engine):
        keep = QuietReader(pair()[0], channels)
        chat.push(b"one ")
        chat.push_with_producer(asynchat.simple_producer(b"two "))
        chat.push(b"three")
        chat.close()
        assert end.fileno() == -1
        peer.settimeout(PATIENCE)
        got = b""
        while piece := peer.recv(100):
            got += piece
        assert got == b"one two three"
        assert keep.connected


def test_the_timeouts_of_the_old_connection_end_with_it(
    channels: Any, engine: str, pair: Any, state: str
) -> None:
    class Impatient(QuietReader):
        idle_timeout = 0.01
        timeouts = 0

        def handle_timeout(self, which: str) -> None:
            self.timeouts += 1

    with Busy(channels, engine, pair, state) as busy:
        channel = Impatient(pair()[0], channels)
        if state == "waits":
            wait_for(lambda: channel.timeouts)
        channel.close()
        busy.occupied.go_on.set()
        let_pass(channels)
        before = channel.timeouts
        assert len(engine_for(channels).timers) == 0
        let_pass(channels)
        assert channel.timeouts == before


def test_a_resting_listener_that_is_closed_and_listens_anew_accepts(
    channels: Any, engine: str, pair: Any
) -> None:
    """The end of the rest is the old socket's."""
    Reader(pair()[0], channels)
    with looping(channels, engine):
        listener = Listener(channels)
        asynccore.call_soon_threadsafe(listener._ac_as_listener().rest, listener, map=channels)
        let_pass(channels)
        listener.close()
        listener.create_socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        with socket.create_connection(listener.address, PATIENCE):
            wait_for(lambda: listener.children)


def test_two_threads_close_the_same_channels(channels: Any, engine: str, pair: Any) -> None:
    Reader(pair()[0], channels)
    with looping(channels, engine):
        for _ in range(30):
            ends = [pair()[0] for _ in range(4)]
            made = [KINDS[place % 3](end, channels) for place, end in enumerate(ends)]
            raised: list[BaseException] = []

            def close(made: Any = made, raised: Any = raised) -> None:
                try:
                    for channel in made:
                        channel.close()
                except BaseException as why:
                    raised.append(why)

            threads = [threading.Thread(target=close) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert raised == []
            assert [end.fileno() for end in ends] == [-1] * 4
