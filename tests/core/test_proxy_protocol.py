"""Listeners behind proxies: whose headers are believed, and what becomes of the others."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import channels, dispatcher, listener, loop
from asynccore.dispatchers.vectored import takes_pieces
from asynccore.engine.engine import Engine, engine_for, give_engine
from asynccore.listening import interception, proxy_protocol
from asynccore.listening.proxy_protocol import HEADER_TIMEOUT, ProxiedSocket, trusted_of
from asynccore.pollers import READ
from asynccore.running import graceful
from tests.fuzz.proxy import block, line

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.9", 443)
CLIENT6, SERVER6 = ("2001:db8::1", 5, 0, 0), ("2001:db8::2", 6, 0, 0)
LINE = line(CLIENT, SERVER)


class Keeper(listener):
    """Keeps what it accepts, and what is said."""

    said: list[Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        self.accepted: list[Any] = []
        self.said = []
        super().__init__(*args, lambda sock, map: None, **options)  # type: ignore[arg-type, return-value]

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.accepted.append((sock, addr))

    def log_info(self, message: Any, type: str = "info") -> None:
        self.said.append((type, message))


class World:
    def __init__(self, map: Any, trusted: str | None, address: Any) -> None:
        self.map = map
        self.listener = Keeper(address, map=map, proxy_protocol=trusted)
        self.address = self.listener.socket.getsockname()
        self.clients: list[socket.socket] = []

    def connect(self, *pieces: bytes) -> socket.socket:
        """A proxy that sends these pieces, with a turn of the loop after each."""
        client = socket.socket(self.listener.socket.family)
        self.clients.append(client)
        client.connect(self.address)
        client.settimeout(10)
        for piece in pieces:
            client.sendall(piece)
            self.turn()
        return client

    def turn(self) -> None:
        for _ in range(4):
            loop(0, map=self.map, count=1)

    def until(self, happened: Callable[[], object]) -> None:
        for _ in range(1000):
            if happened():
                return
            loop(0.01, map=self.map, count=1)
        raise AssertionError(f"it has not happened: {self.listener.said}")

    def one(self) -> tuple[Any, Any]:
        self.until(lambda: self.listener.accepted)
        (pair,) = self.listener.accepted
        return pair  # type: ignore[no-any-return]


@pytest.fixture
def world(new_map: Any) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(trusted: str | None = "127.0.0.1", address: Any = ("127.0.0.1", 0)) -> World:
        made.append(World(new_map, trusted, address))
        return made[-1]

    yield make
    for one in made:
        one.listener.close()
        for sock in [*one.clients, *(sock for sock, _ in one.listener.accepted)]:
            sock.close()


# What is believed -----------------------------------------------------------------------------


def test_the_client_is_who_the_proxy_says(world: Any) -> None:
    one = world()
    client = one.connect(LINE + b"hello")
    sock, addr = one.one()
    assert addr == sock.getpeername() == CLIENT
    assert "192.0.2.1" in repr(sock)
    header = sock.proxy_header
    assert (header.source, header.destination) == (CLIENT, SERVER)
    assert header.proxy == client.getsockname()
    assert sock.recv(100) == b"hello", "what follows it is the program's"
    assert sock.getblocking(), "as accept(2) has it"
    assert takes_pieces(sock), "as any other socket of the standard library"
    copy = sock.dup()
    assert copy.getpeername() == CLIENT
    copy.close()


@pytest.mark.parametrize(
    ("header", "addr"),
    [
        (line(CLIENT6, SERVER6), CLIENT6),
        (block(CLIENT, SERVER, [(1, b"h2")]), CLIENT),
        (block(CLIENT6, SERVER6), CLIENT6),
        (b"PROXY UNKNOWN\r\n", None),
        (block(CLIENT, SERVER, command=0), None),
        (block(), None),
    ],
)
def test_byte_by_byte(world: Any, header: bytes, addr: Any) -> None:
    one = world()
    client = one.connect(*(header[at : at + 1] for at in range(len(header))), b"data")
    sock, given = one.one()
    assert given == sock.getpeername() == (addr or client.getsockname())
    assert sock.recv(10) == b"data"
    assert len(one.map) == 1


def test_the_channel_knows_it(new_map: Any, world: Any) -> None:
    one = world()
    one.connect(LINE)
    sock, _ = one.one()
    channel = dispatcher(sock, new_map)
    assert channel.addr == CLIENT and channel.proxy_header.destination == SERVER
    assert one.listener.proxy_header is None and dispatcher(map=new_map).proxy_header is None


def test_without_it_nothing_changes(world: Any) -> None:
    one = world(None)
    client = one.connect(LINE)
    sock, addr = one.one()
    assert type(sock) is socket.socket and type(one.listener.socket) is socket.socket
    assert (addr, sock.recv(100)) == (client.getsockname(), LINE)


def test_a_peer_that_has_gone_has_no_name(world: Any) -> None:
    one = world()
    client = one.connect(LINE)
    sock, _ = one.one()
    sock.shutdown(socket.SHUT_RDWR)
    client.close()
    select.select([sock], [], [], 10)
    with pytest.raises(OSError) as raised:
        sock.getpeername()
    assert raised.value.errno in (errno.ENOTCONN, errno.EINVAL)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_a_unix_socket(world: Any, tmp_path: Path) -> None:
    one = world("unix:", str(tmp_path / "listener"))
    one.listener.max_connections_per_peer = 1
    one.connect(LINE + b"x")
    sock, addr = one.one()
    assert addr == sock.getpeername() == CLIENT and sock.recv(5) == b"x"
    one.connect(LINE)
    one.until(lambda: one.listener.said)
    assert one.listener.said == [
        ("info", "refused a connection of 192.0.2.1: max_connections_per_peer")
    ]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_the_peers_of_a_unix_socket_are_trusted_by_name(world: Any, tmp_path: Path) -> None:
    one = world("127.0.0.1", str(tmp_path / "listener"))
    client = one.connect()
    one.turn()
    assert client.recv(1) == b""
    assert one.listener.said == [
        ("info", "refused a connection of a Unix socket: it is no trusted proxy")
    ]


# What isn't -----------------------------------------------------------------------------------


def test_who_is_no_trusted_proxy(world: Any) -> None:
    one = world("10.0.0.1,fd00::/8")
    for _ in range(2):
        client = one.connect()
        one.turn()
        assert client.recv(1) == b""
    assert one.listener.accepted == []
    assert one.listener.said == [
        ("info", "refused a connection of 127.0.0.1: it is no trusted proxy")
    ], "once in a second"


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "it sent no header of the PROXY protocol: b'GET / HTTP/1.1"),
        (b"PROXY TCP4 1.2.3.4\r\n", "it sent no header of the PROXY protocol: b'PROXY TCP4 1.2"),
        (b"", "it sent no header of the PROXY protocol: the connection ended before it was whole"),
        (LINE[:20], "the connection ended before it was whole"),
        (block(CLIENT, SERVER)[:20], "the connection ended before it was whole"),
    ],
)
def test_what_is_no_header(world: Any, sent: bytes, why: str) -> None:
    one = world()
    client = one.connect(sent)
    with contextlib.suppress(OSError):  # it is closed already
        client.shutdown(socket.SHUT_WR)
    one.until(lambda: one.listener.said)
    ((type, said),) = one.listener.said
    assert type == "error" and said.startswith("refused a connection of 127.0.0.1: ")
    assert why in said
    try:
        assert client.recv(1) == b""
    except ConnectionResetError:
        pass  # something that it sent was not read
    assert one.listener.accepted == [] and len(one.map) == 1


def test_a_reset_in_the_middle(world: Any) -> None:
    one = world()
    client = one.connect(LINE[:9])
    assert len(one.map) == 2
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    one.until(lambda: one.listener.said)
    assert "refused a connection of 127.0.0.1: [Errno" in one.listener.said[0][1]
    assert len(one.map) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="others don't accept who has gone")
def test_a_reset_before_anybody_looks(world: Any) -> None:
    one = world()
    client = one.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    one.until(lambda: one.listener.said)
    assert "refused a connection of 127.0.0.1: [Errno" in one.listener.said[0][1]


def test_the_path_of_a_unix_socket_is_no_peer_of_a_network(world: Any) -> None:
    one = world()
    paths = b"192.0.2.1".ljust(108, b"\0") * 2
    client = one.connect(block()[:13] + b"\x31\0\xd8" + paths)
    sock, addr = one.one()
    assert sock.proxy_header.source == "192.0.2.1"
    assert addr == sock.getpeername() == client.getsockname()


def test_who_trickles_holds_up_nobody_and_has_to_go(with_clock: Any, world: Any) -> None:
    one = world()
    engine = engine_for(one.map)
    silent, slow = one.connect(), one.connect(LINE[:10])
    one.turn()
    assert len(one.map) == 3
    passes = engine.events
    one.turn()
    assert engine.events == passes, "what has come is not looked at again and again"
    one.connect(LINE)
    one.one()
    with_clock.now += HEADER_TIMEOUT + 0.1
    one.turn()
    assert len(one.map) == 1
    for client in (silent, slow):
        assert client.recv(1) == b""
    assert one.listener.said == [
        ("error", "refused a connection of 127.0.0.1: it sent no header within 5 s")
    ]


def test_who_was_accepted_may_be_slow(with_clock: Any, world: Any) -> None:
    one = world()
    one.connect(LINE[:5], LINE[5:])
    sock, _ = one.one()
    with_clock.now += HEADER_TIMEOUT + 0.1
    one.turn()
    assert sock.fileno() >= 0 and one.listener.said == []


class _Clock:
    now = 1000.0
    engine: Engine

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def with_clock(new_map: Any) -> _Clock:
    clock = _Clock()
    clock.engine = Engine(new_map, clock)  # a plain dict doesn't keep it
    give_engine(new_map, clock.engine)
    return clock


def test_only_so_many_wait(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_protocol, "MOST_UNFINISHED", 2)
    one = world()
    waiting = [one.connect(LINE[:5]) for _ in range(2)]
    one.turn()
    one.connect(LINE)
    one.turn()
    assert one.listener.accepted == [], "there is no room"
    waiting[0].sendall(LINE[5:])
    one.until(lambda: len(one.listener.accepted) == 2)


@pytest.mark.parametrize("trusted", ["10.0.0.1", "127.0.0.1"])
def test_a_log_that_fails_ends_neither_the_loop_nor_the_waiting(trusted: str, new_map: Any) -> None:
    class Broken(Keeper):
        def log_info(self, message: Any, type: str = "info") -> None:
            raise ValueError("no log")

        def handle_error(self) -> None:
            self.said.append(sys.exc_info()[1])

    one = World(new_map, None, ("127.0.0.1", 0))
    one.listener.close()
    one.listener = Broken(("127.0.0.1", 0), map=new_map, proxy_protocol=trusted)
    one.address = one.listener.socket.getsockname()
    client = one.connect()
    one.turn()
    client.close()
    one.until(lambda: one.listener.said)
    (said,) = one.listener.said
    assert str(said) == "no log"
    assert one.listener.socket._ac_unfinished == 0
    one.listener.close()


def test_who_is_between_accept_and_the_program_at_the_end(world: Any) -> None:
    one = world()
    waiting, ready = one.connect(LINE[:5]), one.connect()
    one.turn()
    ready.sendall(LINE)
    one.listener.close()
    assert len(one.map) == 0
    for client in (waiting, ready):
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass


def test_no_more_than_that_at_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_protocol, "MOST_UNFINISHED", 2)
    one = world()
    for _ in range(3):
        one.connect()
    one.turn()
    assert one.listener.socket._ac_unfinished == 2


def test_it_never_waits(world: Any) -> None:
    front = world().listener.socket
    front.settimeout(5)
    assert (front.gettimeout(), front.plain.gettimeout()) == (5, 0.0)
    front.setblocking(True)
    assert (front.gettimeout(), front.plain.gettimeout()) == (None, 0.0)


def test_who_is_ready_at_the_end(world: Any) -> None:
    one = world()
    one.connect().sendall(LINE)
    front = one.listener.socket
    assert front._ac_handle_event(READ, READ) == READ
    ((sock, _),) = front._ready
    one.listener.close()
    assert sock.fileno() == -1


def test_who_accepts_at_each_report_does_not_accept_within_itself_at_the_end(world: Any) -> None:
    one = world()
    for _ in range(3):
        one.connect().sendall(LINE)
    front = one.listener.socket
    front._ac_accept_no_more()
    accepted: list[Any] = []
    depth: list[int] = []

    def accept() -> None:
        depth.append(len(depth))
        accepted.append(front.accept()[0])

    front._report = accept
    for _ in range(3):
        depth.clear()
        accept()
        assert depth == [0]
    for sock in accepted:
        sock.close()


def test_a_drain_waits_for_headers(world: Any) -> None:
    one = world()
    early = one.connect(LINE[:5])
    one.turn()
    graceful.drain(one.map, 30, 0.01)
    one.turn()
    with pytest.raises(ConnectionRefusedError):
        one.connect()
    assert one.listener.accepting and len(one.map) == 2
    early.sendall(LINE[5:] + b"x")
    sock, addr = one.one()
    assert addr == CLIENT and sock.recv(1) == b"x"
    one.until(lambda: not one.map)


def test_a_program_with_a_loop_of_its_own(world: Any) -> None:
    one = world()
    client = one.connect()
    client.sendall(LINE[:5])

    def turn() -> None:
        ready = select.select(list(one.map), [], [], 10)[0]
        for fd in ready:
            asynccore.read(one.map[fd])

    one.listener.socket._report = None
    turn()
    assert len(one.map) == 2
    client.sendall(LINE[5:])
    turn()
    assert [addr for _, addr in one.listener.accepted] == [CLIENT]


def test_a_listener_that_can_not_accept_rests(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = world()

    def accept() -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    accept_for_real = one.listener.socket._accept
    one.listener.socket._accept = accept
    one.connect(LINE)
    one.until(lambda: one.listener.said)
    assert one.listener.said[0][1].startswith("can't accept for 1 s")
    one.listener.socket._accept = accept_for_real
    assert one.listener.accept_counts.pauses == 1


# How it is asked for --------------------------------------------------------------------------


TRUSTED: dict[str, list[tuple[str, int, bool]]] = {
    "10.0.0.1, 192.0.2.0/24,fd00::/8": [
        ("10.0.0.1", socket.AF_INET, True),
        ("10.0.0.2", socket.AF_INET, False),
        ("192.0.2.77", socket.AF_INET, True),
        ("::ffff:10.0.0.1", socket.AF_INET6, True),
        ("::ffff:10.0.0.2", socket.AF_INET6, False),
        ("fd00::5", socket.AF_INET6, True),
        ("fe80::1%eth0", socket.AF_INET6, False),
    ],
    # An IPv4 address in IPv6 words is that address.
    "::ffff:10.0.0.1,::ffff:192.0.2.0/120,::/0": [
        ("10.0.0.1", socket.AF_INET, True),
        ("10.0.0.2", socket.AF_INET, False),
        ("::ffff:192.0.2.77", socket.AF_INET6, True),
        ("::ffff:198.51.100.1", socket.AF_INET6, False),
        ("fd00::5", socket.AF_INET6, True),
    ],
}


@pytest.mark.parametrize("text", TRUSTED)
def test_trusted(text: str) -> None:
    trusted = trusted_of(text)
    for host, family, expected in TRUSTED[text]:
        assert trusted.include((host, 5), family) is expected, host
    assert not trusted.include("", -1) and trusted_of("unix:").include("", -1)


@pytest.mark.parametrize("text", ["", "10.0.0.1,", "proxy.example", "10.0.0.1/8", "*", "unix"])
def test_what_can_not_be_trusted(text: str, new_map: Any) -> None:
    with pytest.raises(ValueError, match="trusted proxies are addresses, networks and 'unix:'"):
        listener(("127.0.0.1", 0), lambda sock, map: None, map=new_map, proxy_protocol=text)  # type: ignore[arg-type, return-value]
    assert not new_map


@pytest.mark.parametrize("given", [b"127.0.0.1", ["127.0.0.1"], 1, ()])
def test_what_is_no_text(given: Any, new_map: Any) -> None:
    with pytest.raises(TypeError, match="proxy_protocol is None or a text, not "):
        listener(("127.0.0.1", 0), lambda sock, map: None, map=new_map, proxy_protocol=given)  # type: ignore[arg-type, return-value]
    assert not new_map


def test_an_attribute_of_any_listener(new_map: Any, world: Any) -> None:
    class Mine(Keeper):
        proxy_protocol = "127.0.0.0/8"

    one = World(new_map, None, ("127.0.0.1", 0))
    one.listener.close()
    one.listener = Mine(("127.0.0.1", 0), map=new_map)
    one.address = one.listener.socket.getsockname()
    one.connect(LINE)
    sock, addr = one.one()
    assert addr == CLIENT
    for thing in (one.listener, sock, *one.clients):
        thing.close()


def test_a_programs_own_by_that_name(new_map: Any) -> None:
    class Mine(Keeper):
        def proxy_protocol(self) -> str:  # type: ignore[override]
            return "mine"

    with pytest.warns(RuntimeWarning, match="trusted proxies are .* it has no effect"):

        class Wrong(Keeper):
            proxy_protocol = "haproxy"

    for kind in (Mine, Wrong):
        made = kind(("127.0.0.1", 0), map=new_map)
        assert type(made.socket) is socket.socket
        made.close()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """What the environment names, without TLS."""
    monkeypatch.setattr(interception, "without_tls", True)
    channels.inspectors.append(interception.look_at)
    yield lambda text: monkeypatch.setattr(interception, "proxies", text)
    channels.inspectors.remove(interception.look_at)


def test_an_environment(environment: Any, world: Any) -> None:
    environment("127.0.0.1")
    one = world(None)
    client = one.connect(LINE + b"x")
    sock, addr = one.one()
    assert type(sock) is ProxiedSocket and addr == CLIENT and sock.recv(5) == b"x"
    assert client.getsockname() == sock.proxy_header.proxy


def test_a_socket_that_a_program_keeps(environment: Any, new_map: Any) -> None:
    environment("127.0.0.1")
    kept = socket.socket()
    kept.bind(("127.0.0.1", 0))
    channel = dispatcher(map=new_map)
    channel.set_socket(kept)
    kept.listen()
    with socket.create_connection(kept.getsockname()) as client:
        client.sendall(LINE)
        select.select([kept], [], [], 10)
        sock, addr = kept.accept()
        assert addr == CLIENT
        sock.close()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
@pytest.mark.parametrize(("text", "addr"), [("127.0.0.1,unix:", CLIENT), ("127.0.0.1", "")])
def test_unix_sockets_if_they_are_named(
    environment: Any, world: Any, tmp_path: Path, text: str, addr: Any
) -> None:
    environment(text)
    one = world(None, str(tmp_path / "listener"))
    one.connect(LINE)
    assert one.one()[1] == addr
    events = engine_for(one.map).events
    one.turn()
    assert engine_for(one.map).events == events


def test_an_environment_that_makes_no_sense(environment: Any, new_map: Any) -> None:
    environment("nobody")
    with pytest.raises(OSError, match="ASYNCCORE_PROXY_PROTOCOL: trusted proxies") as raised:
        Keeper(("127.0.0.1", 0), map=new_map)
    assert raised.value.errno == errno.EINVAL
    assert not new_map


def test_nothing_is_loaded_without_it() -> None:
    import subprocess

    code = "import sys, asynccore; print([m for m in sys.modules if 'proxy_' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
