"""TLS peers that send what is no data for as long as they can: everybody else has their turn."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from ssl_ext import OpenSSLSocket, TLSError
from ssl_ext.sockets import datagrams, handshake_link
from tests.faults.support import PATIENCE, Hooks, Tally, World
from tests.tls import unreliable
from tests.tls.flooding import HELLO_REQUESTS, Attacker, hello_again
from tests.tls.support import HOST, TLS12, client_raw

# How many of them there are at a time, and how many rounds an honest client makes meanwhile.
HOSTILE = 4
ROUNDS = 30

# How many passes a round may take: the server hears, and perhaps one for what it answers.
TURNS = 3


class Attacked(Hooks, asynccore.dispatcher):
    """A channel that is attacked; it ends by itself alone."""

    failure: Any = None

    def __init__(self, world: Any, sock: Any) -> None:
        self.world = world
        super().__init__(sock, world.map)

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        try:
            self.recv(4096)
        except TLSError as why:
            self.failure = why
            self.close()


class Flood:
    """What one peer sends, as much as finds room, and how much of it was read in one turn."""

    def __init__(self, world: World, sock: Any, sender: socket.socket, data: bytes) -> None:
        self.channel = Attacked(world, sock)
        self.sender = sender
        self.sender.setblocking(False)
        self.data = memoryview(data)
        self.most = 0

    def go_on(self) -> None:
        try:
            while self.data:
                self.data = self.data[self.sender.send(self.data[:65536]) :]
        except OSError:
            pass  # there is no room, or the other side has had enough
        self.unread = self.waiting()

    def waiting(self) -> int:
        """How many bytes are in the kernel."""
        return unread(self.channel.socket.plain) if self.channel.socket is not None else 0

    def turn_is_over(self) -> None:
        if self.channel.failure is not None:
            return  # what comes now is thrown away unread
        self.most = max(self.most, self.unread - self.waiting())
        self.unread = self.waiting()


def unread(sock: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0])


def key_updates(world: World, role: str) -> Flood:
    attacker = Attacker(role)
    return Flood(world, attacker.end, attacker.sock, attacker.sealing.key_updates(2000))


def key_updates_of_a_client(world: World) -> Flood:
    return key_updates(world, "client")


def key_updates_of_a_server(world: World) -> Flood:
    return key_updates(world, "server")


def tickets(world: World) -> Flood:
    attacker = Attacker("server")
    # RFC 8446 section 4.6.1: a lifetime, a nonce, a ticket, no extensions.
    body = struct.pack(">IIB", 300, 7, 1) + b"n" + struct.pack(">H", 100) + bytes(100) + b"\0\0"
    message = b"\4" + struct.pack(">I", len(body))[1:] + body + b"\x16"
    data = b"".join(attacker.sealing.record(message) for _ in range(1000))
    return Flood(world, attacker.end, attacker.sock, data)


def renegotiations(world: World) -> Flood:
    attacker = Attacker("client", TLS12)
    data = b"".join(attacker.older.record(22, hello_again()) for _ in range(2000))
    return Flood(world, attacker.end, attacker.sock, data)


def hello_requests(world: World) -> Flood:
    attacker = Attacker("server", TLS12)
    data = b"".join(attacker.older.record(22, bytes(4) * 4096) for _ in range(200))
    return Flood(world, attacker.end, attacker.sock, data)


def empty_records(world: World) -> Flood:
    attacker = Attacker("client")
    data = b"".join(attacker.sealing.record(b"\x17") for _ in range(2000))
    return Flood(world, attacker.end, attacker.sock, data)


def warnings(world: World) -> Flood:
    attacker = Attacker("client", TLS12)
    data = b"".join(attacker.older.record(21, b"\1\x5a") for _ in range(2000))
    return Flood(world, attacker.end, attacker.sock, data)


def before_server_hello(world: World) -> Flood:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    client = OpenSSLSocket(client_raw(), ours, server_hostname=HOST)
    return Flood(world, client, theirs, HELLO_REQUESTS * 60)


# What they read in one turn: a record, or what a handshake may.
TICKET = 300
RECORD = 5 + 16384 + 256
FLOODS: list[tuple[Callable[[World], Flood], int]] = [
    (key_updates_of_a_client, 100),
    (key_updates_of_a_server, TICKET),
    (tickets, TICKET),
    (renegotiations, 200),
    (hello_requests, RECORD),
    (empty_records, 100),
    (warnings, 100),
    (before_server_hello, handshake_link.BYTES_PER_TURN + RECORD),
]


@pytest.mark.parametrize(("flood", "most"), FLOODS)
def test_a_flood_holds_up_nobody(
    world: World, tally: Tally, flood: Callable[[World], Flood], most: int
) -> None:
    honest = world.peer()
    world.accepted(honest)
    floods = [flood(world) for _ in range(HOSTILE)]
    honest.setblocking(False)
    ticks: list[int] = []
    with tally.fault(HOSTILE):
        for round_ in range(ROUNDS):
            for each in floods:
                each.go_on()
            honest.sendall(b"ping")
            for turn in range(TURNS + 1):
                assert turn < TURNS, "an honest client waits for others"
                asynccore.call_later(0, ticks.append, round_, map=world.map)
                world.passes(1)
                assert len(ticks) == 1, "a timer is late"
                ticks.clear()
                for each in floods:
                    each.turn_is_over()
                try:
                    assert honest.recv(10) == b"ping"
                    break
                except BlockingIOError:
                    pass
        for each in floods:
            assert each.most <= most
            # It goes on, or was ended with an error that says why: OpenSSL bears some such records.
            assert each.most or type(each.channel.failure) is TLSError
    assert world.errors == []
    for each in floods:
        each.channel.close()
        each.sender.close()


def test_what_the_bound_is_for(world: World, tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pyOpenSSL has it, one read takes all that there is."""
    monkeypatch.setattr("ssl_ext.sockets.tls_socket.read_by_records", lambda connection: None)
    each = key_updates_of_a_client(world)
    with tally.fault():
        each.go_on()
        world.passes(2)
        each.turn_is_over()
        assert each.most > 10_000
    each.channel.close()
    each.sender.close()


# Datagrams ---------------------------------------------------------------------------------------


def record(kind: int, epoch: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack(">BHHHIH", kind, 0xFEFD, epoch, 0, number, len(body)) + body


def full(kind: int, epoch: int, body: bytes = b"") -> bytes:
    """A datagram that is full of such records."""
    count = 60_000 // (13 + len(body))
    return b"".join(record(kind, epoch, number, body) for number in range(count))


NOISE = {
    "empty ones": full(22, 0),
    "data that nobody has sealed": full(23, 1, b"x"),
    "HelloRequests": full(22, 0, bytes(12)),
    "small datagrams": record(22, 0, 0),
}


class Sent:
    """Counts what a link or a listener takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[int] = []
        feed, receive = datagrams.DatagramLink.feed, datagrams.ListenerDatagrams.receive

        def fed(link: Any, data: bytes) -> None:
            self.lengths.append(len(data))
            feed(link, data)

        def received(listener: Any, sock: Any) -> Any:
            found = receive(listener, sock)
            self.lengths.append(len(found[0]))
            return found

        monkeypatch.setattr(datagrams.DatagramLink, "feed", fed)
        monkeypatch.setattr(datagrams.ListenerDatagrams, "receive", received)


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("whom", ["a listener", "a client that begins", "a connection"])
def test_a_flood_of_datagrams(
    whom: str, noise: str, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = unreliable.World()
    listener = world.listen()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        if whom == "a client that begins":
            server.bind(("127.0.0.1", 0))
            attacked = world.client(address=server.getsockname())
            world.passes()
            server.settimeout(PATIENCE)
            server.connect(server.recvfrom(65535)[1])
            sender = server
        elif whom == "a listener":
            server.connect(world.address)
            sender = server
        else:
            client, attacked = world.pair()
            sender = client.socket.plain
        sent = Sent(monkeypatch)
        with tally.fault():
            for _ in range(10):
                for _ in range(100):
                    try:
                        sender.send(NOISE[noise])
                    except OSError:
                        break  # there is no room
                world.passes(1)
                assert sent.lengths, "nothing was looked at"
                assert len(sent.lengths) <= datagrams.SHARE
                assert sum(sent.lengths[:-1]) < datagrams.SHARE_BYTES
                sent.lengths.clear()
            # Nobody is the worse for it, for it may have been anybody's.
            world.passes(200)
            if whom == "a connection":
                client.send(b"hello")
                world.until(lambda: attacked.got == [b"hello"])
            elif whom == "a listener":
                world.pair()
            else:
                assert not attacked.errors and not attacked.ends
    assert all(not channel.errors for channel in listener.channels)
    asynccore.close_all(world.map)


def test_a_direct_read_of_datagrams_is_bounded_too(
    tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may call `recv` outside of an event."""
    world = unreliable.World()
    world.listen()
    client, attacked = world.pair()
    sent = Sent(monkeypatch)
    with tally.fault():
        for _ in range(2):
            client.socket.plain.send(NOISE["empty ones"])
        with pytest.raises(BlockingIOError):
            attacked.socket.recv(100)
        assert len(sent.lengths) == 1
    asynccore.close_all(world.map)
