"""Listeners: limits and what is counted for them, on sockets that are told what to answer."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher, loop
from asynccore.listening import connection_limits
from asynccore.listening.acceptor import ACCEPT_BATCH, LOOK_INTERVAL
from asynccore.pollers import READ
from asynccore.testing import Fakes
from tests.core.fakes import Channel, FakeSocket

made: list[Any] = []


class Listener(dispatcher):
    """Makes channels of what it accepts, or keeps the sockets."""

    keeps_sockets = False

    def __init__(self, fakes: Fakes, *hosts: str, **limits: int | None) -> None:
        self.children: list[Any] = []
        self.refused: list[Any] = []
        self.said: list[Any] = []
        super().__init__(map=fakes.engine.map)
        self.set_socket(FakeSocket(1000))
        for name, number in limits.items():
            setattr(self, name, number)
        self.listen(5)
        self.arrive(*hosts)
        made.append(self)

    def arrive(self, *hosts: str) -> None:
        """Connections of these hosts, and then nobody."""
        accepts = self.socket.accepts
        if accepts:
            accepts.pop()
        for host in hosts:
            number = 2000 + len(accepts) + len(self.children) + len(self.refused)
            accepts.append((FakeSocket(number), (host, 5)))
        accepts.append(BlockingIOError(errno.EAGAIN, "nobody"))

    def log_info(self, message: Any, type: str = "info") -> None:
        self.said.append((type, message))

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.children.append(sock if self.keeps_sockets else dispatcher(sock, self._map))


def event(fakes: Fakes, fd: int = 1000) -> None:
    """Let the listener accept, if it still wants to."""
    fakes.engine.run_pass(0)
    if fakes.poller.interest.get(fd, 0) & READ:
        fakes.poller.report((fd, READ))
        fakes.engine.run_pass(0)
    fakes.engine.run_pass(0)


def listens(fakes: Fakes) -> bool:
    fakes.engine.run_pass(0)
    return bool(fakes.poller.interest.get(1000, 0) & READ)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Of what was counted, once everything is closed."""
    yield
    for listener in made:
        for child in listener.children:
            if child is not None:
                child.close()
        listener.close()
        if listener._ac_acceptor is not None:
            listener._ac_acceptor.ledger.look()
    made.clear()
    assert not connection_limits.counted


# Open connections ---------------------------------------------------------------------------


def test_a_full_listener_waits_until_a_connection_ends(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", "b", "c", "d", max_connections=2)
    event(fakes)
    assert len(listener.children) == 2 and not listens(fakes)
    assert listener.accept() is None
    assert listener.said == [("info", "accepting pauses: 2 connections are open (max_connections)")]
    listener.children[0].close()
    assert listens(fakes)
    event(fakes)
    assert len(listener.children) == 3 and not listens(fakes)
    assert len(listener.said) == 1  # within the same second
    assert listener.accept_counts == (3, 0, 2)
    fakes.clock.advance(LOOK_INTERVAL)
    listener.children[1].close()
    event(fakes)
    assert len(listener.children) == 4 and len(listener.said) == 2


def test_without_limits_nothing_is_counted(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", "b")
    event(fakes)
    assert len(listener.children) == 2 and not connection_limits.counted
    assert listener.accept_counts == (2, 0, 0)


def test_connections_that_end_in_the_handler_are_no_reason_to_pause(fakes: Fakes) -> None:
    class Closes(Listener):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            sock.close()

    listener = Closes(fakes, *"abcde", max_connections=1)
    event(fakes)
    assert len(listener.children) == 5 and listener.said == []
    assert listens(fakes)


@pytest.mark.parametrize("how", ["close", "forget", "detach"])
def test_sockets_that_go_elsewhere_are_looked_for(fakes: Fakes, how: str) -> None:
    class Keeps(Listener):
        keeps_sockets = True

    listener = Keeps(fakes, "a", "b", "c", max_connections=2)
    event(fakes)
    assert len(listener.children) == 2 and not listens(fakes)
    if how == "close":
        listener.children[0].close()
    elif how == "forget":
        listener.children[0] = None
        gc.collect()
    else:
        listener.children[0].fd = -1
    assert not listens(fakes)
    for _ in range(2):
        fakes.clock.advance(LOOK_INTERVAL)
        fakes.engine.run_pass(0)
    assert listens(fakes)
    event(fakes)
    assert len(listener.children) == 3
    # It looks on while it is full, and no longer.
    fakes.clock.advance(LOOK_INTERVAL)
    fakes.engine.run_pass(0)
    assert len(fakes.engine.timers) == 1
    listener.close()
    assert len(fakes.engine.timers) == 0


def test_a_socket_that_took_the_descriptor_over_is_counted(fakes: Fakes) -> None:
    class Wraps(Listener):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            wrapped = FakeSocket(sock.fd)
            sock.fd = -1
            self.children.append(dispatcher(wrapped, self._map))

    listener = Wraps(fakes, "a", "b", max_connections=1)
    event(fakes)
    assert len(listener.children) == 1 and not listens(fakes)
    listener.children[0].close()
    event(fakes)
    assert len(listener.children) == 2


def test_a_descriptor_that_came_back_is_another_connection(fakes: Fakes) -> None:
    class Keeps(Listener):
        keeps_sockets = True

    listener = Keeps(fakes, "a", max_connections=2, max_connections_per_peer=1)
    event(fakes)
    first = listener.children[0]
    first.closed = 1
    listener.socket.accepts.clear()
    listener.socket.accepts.extend(
        [(FakeSocket(first.fd), ("b", 5)), BlockingIOError(errno.EAGAIN, "nobody")]
    )
    event(fakes)
    assert len(listener.children) == 2 and listens(fakes)
    assert listener._ac_acceptor is not None and listener._ac_acceptor.ledger.connections == 1
    assert (
        listener._ac_acceptor.ledger.from_peer("a") == 0
        and listener._ac_acceptor.ledger.from_peer("b") == 1
    )


def test_a_failing_handler_leaves_nothing_counted(fakes: Fakes) -> None:
    class Fails(Listener):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            raise ZeroDivisionError

    listener = Fails(fakes, "a", "b", max_connections=1)
    event(fakes)
    assert listener._ac_acceptor is not None and listener._ac_acceptor.ledger.connections == 0
    assert [kind for kind, _ in listener.said] == ["error"]


def test_a_handle_accept_of_the_old_kind(fakes: Fakes) -> None:
    class Old(Listener):
        def handle_accept(self) -> None:
            sock, addr = self.accept()  # type: ignore[misc]
            self.handle_accepted(sock, addr)

    listener = Old(fakes, "a", "b", "c", max_connections=2)
    for _ in range(3):
        event(fakes)
    assert len(listener.children) == 2 and [kind for kind, _ in listener.said] == ["info"]
    listener.children[0].close()
    event(fakes)
    assert len(listener.children) == 3


def test_a_limit_may_change_while_it_is_full(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", "b", "c", max_connections=1)
    event(fakes)
    assert not listens(fakes)
    listener.max_connections = 2
    event(fakes)
    assert len(listener.children) == 2 and not listens(fakes)
    listener.max_connections = None
    event(fakes)
    assert len(listener.children) == 3 and listens(fakes)


def test_a_listener_that_begins_anew_still_counts(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", max_connections=1)
    event(fakes)
    fakes.engine.map[999] = Channel(False)
    listener.close()
    listener.set_socket(FakeSocket(1000))
    listener.listen(5)
    listener.arrive("b")
    event(fakes)
    assert len(listener.children) == 1 and not listens(fakes)
    listener.children[0].close()
    event(fakes)
    assert len(listener.children) == 2


def test_what_outlives_the_listener_does_not_keep_it(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", max_connections=5)
    event(fakes)
    children = listener.children
    listener.close()
    made.clear()
    del listener
    gc.collect()
    assert not connection_limits.counted
    children[0].close()


def test_what_has_no_descriptor_is_not_counted(fakes: Fakes) -> None:
    class Bare:
        def close(self) -> None:
            pass

    class Takes(Listener):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            self.children.append(sock)

    listener = Takes(fakes, max_connections=1)
    listener.socket.accepts.clear()
    listener.socket.accepts.extend([(Bare(), ""), (Bare(), ""), BlockingIOError(errno.EAGAIN, "")])
    event(fakes)
    assert len(listener.children) == 2 and listens(fakes)


def test_limits_of_a_listener_without_a_loop() -> None:
    listener = dispatcher(map={})
    listener.max_connections = 1
    listener.socket = FakeSocket(1000)
    first = FakeSocket(2000)
    listener.socket.accepts.extend([(first, ("a", 5)), (FakeSocket(2001), ("b", 5))])
    assert listener.accept() is not None
    assert listener.accept() is None
    first.close()
    assert listener._ac_acceptor is not None
    listener._ac_acceptor.ledger.look()
    assert listener.accept() is not None


# One peer -----------------------------------------------------------------------------------


def test_one_peer_is_refused_and_the_others_are_not(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", "a", "a", "b", max_connections_per_peer=1)
    surplus = [pair[0] for pair in list(listener.socket.accepts)[1:3]]
    event(fakes)
    assert [child.addr[0] for child in listener.children] == ["a", "b"]
    assert [sock.closed for sock in surplus] == [1, 1]
    assert listener.said == [("info", "refused a connection of a: max_connections_per_peer")]
    assert listener.accept_counts == (2, 2, 0)
    listener.arrive("a")
    event(fakes)
    assert len(listener.said) == 1  # the same peer, in the same second
    fakes.clock.advance(1.0)
    listener.arrive("a")
    event(fakes)
    assert len(listener.said) == 2
    listener.children[0].close()
    listener.arrive("a")
    event(fakes)
    assert len(listener.children) == 3


def test_a_refusal_of_the_programs_own(fakes: Fakes) -> None:
    class Refuses(Listener):
        def handle_refused(self, sock: Any, addr: Any, reason: str) -> None:
            self.refused.append((addr, reason))
            sock.close()
            if len(self.refused) > 1:
                raise BlockingIOError(errno.EAGAIN, "of the program's own")

    listener = Refuses(fakes, "a", "a", "a", max_connections_per_peer=1)
    last = listener.socket.accepts[2][0]
    event(fakes)
    assert listener.refused == [(("a", 5), "max_connections_per_peer")] * 2
    # What it raises is reported, and nobody's connection is left open.
    assert [kind for kind, _ in listener.said] == ["error"] and last.closed


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_leaving_the_loop_in_a_refusal(fakes: Fakes, kind: type[BaseException]) -> None:
    class Leaves(Listener):
        def handle_refused(self, sock: Any, addr: Any, reason: str) -> None:
            raise kind

    listener = Leaves(fakes, "a", "a", max_connections_per_peer=1)
    last = listener.socket.accepts[1][0]
    with pytest.raises(kind):
        event(fakes)
    assert not last.closed


def test_a_flood_of_one_peer_is_refused_in_batches(fakes: Fakes) -> None:
    listener = Listener(fakes, *["a"] * (3 * ACCEPT_BATCH), max_connections_per_peer=1)
    event(fakes)
    assert ACCEPT_BATCH - 1 <= listener.accept_counts.refused <= ACCEPT_BATCH


def test_unix_sockets_have_no_peers(fakes: Fakes) -> None:
    listener = Listener(fakes, max_connections_per_peer=1)
    listener.socket.accepts.clear()
    for number in (2000, 2001):
        sock = FakeSocket(number)
        sock.family = socket.AF_UNIX
        listener.socket.accepts.append((sock, "name"))
    listener.socket.accepts.append(BlockingIOError(errno.EAGAIN, "nobody"))
    event(fakes)
    assert len(listener.children) == 2


# Handshakes ---------------------------------------------------------------------------------


def test_unfinished_handshakes(fakes: Fakes) -> None:
    class Secure(Listener):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            self.handshake_begun(self.children[-1])
            self.handshake_begun(self.children[-1])

    listener = Secure(fakes, *"abcdefg", max_handshakes=2)
    event(fakes)
    assert len(listener.children) == 2 and not listens(fakes)
    assert "2 handshakes are unfinished (max_handshakes)" in listener.said[0][1]
    listener.handshake_ended(listener.children[0])
    listener.handshake_ended(listener.children[0])
    event(fakes)
    assert len(listener.children) == 3 and not listens(fakes)
    listener.children[1].close()
    event(fakes)
    assert len(listener.children) == 4 and not listens(fakes)
    # One whose socket was closed without a word, and one that was forgotten.
    listener.children[3].socket.close()
    del fakes.engine.map[listener.children[2]._fileno]
    listener.children[2] = None
    gc.collect()
    for _ in range(2):
        fakes.clock.advance(LOOK_INTERVAL)
        fakes.engine.run_pass(0)
    event(fakes)
    event(fakes)
    assert len(listener.children) == 6
    for child in listener.children[4:]:
        listener.handshake_ended(child)


def test_handshakes_without_a_limit_are_no_matter(fakes: Fakes) -> None:
    listener = Listener(fakes, "a")
    event(fakes)
    listener.handshake_begun(listener.children[0])
    assert listens(fakes)
    listener.handshake_ended(listener.children[0])


def test_handshakes_of_what_knows_no_weak_reference(fakes: Fakes) -> None:
    class Slotted:
        __slots__ = ("socket",)

    listener = Listener(fakes, max_handshakes=1)
    channel = Slotted()
    channel.socket = FakeSocket(2000)
    listener.handshake_begun(channel)
    assert not listens(fakes)
    listener.handshake_ended(channel)
    assert listens(fakes)


# Sense --------------------------------------------------------------------------------------

NAMES = ["max_connections", "max_connections_per_peer", "max_handshakes"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("number", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("5", TypeError)]
)
def test_what_can_be_no_limit(name: str, number: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        connection_limits.check(name, number)
    # A program may mean something else by it: it is told, and goes on.
    listener = dispatcher(map={})
    with pytest.warns(RuntimeWarning, match=f"{name} is None or .*: it has no effect"):
        setattr(listener, name, number)
    assert getattr(listener, name) == number
    assert not listener._ac_as_listener().limited
    with pytest.warns(RuntimeWarning, match=f"{name} is None or .*: it has no effect"):
        bad: Any = type("Bad", (dispatcher,), {name: number})
    assert getattr(bad, name) == number == getattr(bad(map={}), name)
    assert getattr(bad, f"_ac_{name}") is None


def test_limits_of_classes(fakes: Fakes) -> None:
    class Few(Listener):
        max_connections = 1  # type: ignore[assignment]

    assert Few.max_connections == 1 and Listener.max_connections is None
    listener = Few(fakes, "a", "b")
    event(fakes)
    assert len(listener.children) == 1
    listener.children[0].close()

    class Many(Few):
        max_connections = None  # type: ignore[assignment]

    assert Many(fakes).max_connections is None


def test_a_limit_that_was_put_into_a_class_later(fakes: Fakes, monkeypatch: Any) -> None:
    class Late(Listener):
        pass

    Late.max_connections = 1  # type: ignore[assignment]
    listener = Late(fakes, "a", "b")
    event(fakes)
    assert len(listener.children) == 1
    listener.children[0].close()
    Late.max_connections = 0  # type: ignore[assignment]
    with pytest.warns(RuntimeWarning, match="max_connections"):
        listener.listen(5)


# On real sockets ----------------------------------------------------------------------------


@pytest.mark.parametrize("plain_map", [False, True])
def test_a_real_listener_with_limits(poller_name: str, plain_map: bool) -> None:
    map: Any = {} if plain_map else ChannelMap()

    class Child(dispatcher):
        def writable(self) -> bool:
            return False

        def handle_read(self) -> None:
            self.recv(10)

        def handle_close(self) -> None:
            self.close()

    class Server(dispatcher):
        count = 0

        def log_info(self, message: Any, type: str = "info") -> None:
            pass

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            assert type(sock) is socket.socket and sock.gettimeout() is None
            mine = self.socket
            assert (sock.family, sock.type, sock.proto) == (mine.family, mine.type, mine.proto)
            assert sock.getpeername() == addr
            self.count += 1
            assert Child(sock, map).addr == addr

    server = Server(map=map)
    server.max_connections = 2
    server.create_socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    where = server.socket.getsockname()
    peers = [socket.create_connection(where, timeout=10) for _ in range(4)]
    try:
        loop(30, map=map, poller=poller_name, count=1)
        loop(0, map=map, poller=poller_name, count=3)
        assert server.count == 2
        for expected, peer in zip((3, 4, 4), peers, strict=False):
            peer.close()
            while server.count < expected or len(map) > 3:
                loop(30, map=map, poller=poller_name, count=1)
            assert server.count == expected
        server.close()
    finally:
        for peer in peers:
            peer.close()
    loop(30, map=map, poller=poller_name)


def test_a_replaced_accept_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = dispatcher(map={})
    listener.create_socket()
    monkeypatch.setattr(socket.socket, "accept", lambda self: ("socket", "address"))
    assert listener.accept() == ("socket", "address")
    listener.close()


def test_a_listener_with_a_timeout_gives_blocking_sockets() -> None:
    listener = dispatcher(map={})
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    listener.socket.settimeout(10)
    with socket.create_connection(listener.socket.getsockname(), timeout=10):
        sock, _ = listener.accept()  # type: ignore[misc]
        assert sock.gettimeout() is None
        sock.close()
    listener.close()


def test_who_comes_alone_is_accepted_without_a_second_look(fakes: Fakes) -> None:
    listener = Listener(fakes, "a")
    accepts = listener.socket.accepts
    event(fakes)  # the first time it looks
    assert len(listener.children) == 1 and not accepts
    accepts.extend([(FakeSocket(3000 + number), ("b", 5)) for number in range(5)])
    accepts.append(BlockingIOError(errno.EAGAIN, "nobody"))
    event(fakes)
    assert len(listener.children) == 2
    # Reported again in the very next pass: there are more.
    for expected in (3, 6):
        fakes.poller.report((1000, READ))
        fakes.engine.run_pass(0)
        assert len(listener.children) == expected


@pytest.mark.parametrize("paused", [False, True])
def test_a_pass_before_bind_makes_nobody_deaf(poller_name: str, paused: bool) -> None:
    """A socket that is neither bound nor connected is reported as hung up (poll(2))."""

    class Server(dispatcher):
        ended = 0

        def handle_read(self) -> None:
            pass

        handle_write = handle_read

        def handle_close(self) -> None:
            self.ended += 1  # and stays

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            sock.close()
            self.close()

    map = ChannelMap()
    server = Server(map=map)
    server.create_socket()
    loop(0, map=map, poller=poller_name, count=3)
    if paused:
        server.pause_reading()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    assert not server._ac_ended and not server._ac_shutdown_state
    with socket.create_connection(server.socket.getsockname(), timeout=30):
        if paused:
            loop(0, map=map, count=2)
            assert map
            server.resume_reading()
        loop(30, map=map)
    assert server._ac_closed and server.ended <= 1


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_listener_of_another_kind(tmp_path: Any) -> None:
    """What is accepted is of the family of the socket that there is now."""
    server = dispatcher(map=ChannelMap())
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, tmp_path / "s")):
        server.create_socket(family)
        server.bind(address if isinstance(address, tuple) else str(address))
        server.listen(5)
        with socket.socket(family) as peer:
            peer.connect(server.socket.getsockname())
            pair = server.accept()
            assert pair is not None and pair[0].family == family
            pair[0].close()
        server.close()
    assert server.accept_counts.accepted == 2


def test_refused_ones_are_not_accepted_ones(fakes: Fakes) -> None:
    listener = Listener(fakes, "a", "a", "b", max_connections_per_peer=1)
    event(fakes)
    assert (listener.accept_counts.accepted, listener.accept_counts.refused) == (2, 1)
