"""What peers do: reset, vanish, trickle, never read, come and go."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from tests.conftest import available_pollers
from tests.faults.support import KINDS, AskedEcho, Echo, Tally, World, reset

BIG = 1 << 24  # more than the buffers of a loopback connection take (tcp(7): tcp_wmem, tcp_rmem)


# Resets ---------------------------------------------------------------------------------------


def before_it_is_accepted(world: World, peer: socket.socket) -> None:
    reset(peer)


def before_it_says_a_word(world: World, peer: socket.socket) -> None:
    world.accepted(peer)
    reset(peer)


def together_with_data(world: World, peer: socket.socket) -> None:
    world.accepted(peer)
    peer.sendall(b"hello\n")
    reset(peer)


def in_the_middle_of_a_line(world: World, peer: socket.socket) -> None:
    channel = world.accepted(peer)
    peer.sendall(b"hel")
    world.until(lambda: channel.got == b"hel")
    reset(peer)


def with_the_reply_unread(world: World, peer: socket.socket) -> None:
    channel = world.accepted(peer)
    peer.sendall(b"hello\n")
    world.until(lambda: channel.got)
    reset(peer)


def in_the_middle_of_the_reply(world: World, peer: socket.socket) -> None:
    channel = world.accepted(peer)
    channel.push(b"x" * BIG) if hasattr(channel, "push") else channel.send(b"x" * BIG)
    world.until(lambda: peer.recv(1000))
    reset(peer)


def after_the_end_of_its_half(world: World, peer: socket.socket) -> None:
    channel = world.accepted(peer)
    channel.push(b"x" * BIG) if hasattr(channel, "push") else channel.send(b"x" * BIG)
    peer.shutdown(socket.SHUT_WR)
    # It hears of the end when all is sent; until then it isn't read from.
    world.until(lambda: channel._ac_pause_reasons)
    reset(peer)


def while_a_read_handler_runs(world: World, peer: socket.socket) -> None:
    channel = world.accepted(peer)
    channel.recv = lambda size: (reset(peer), type(channel).recv(channel, size))[1]
    peer.sendall(b"hello\n")


POINTS = [
    before_it_is_accepted,
    before_it_says_a_word,
    together_with_data,
    in_the_middle_of_a_line,
    with_the_reply_unread,
    in_the_middle_of_the_reply,
    after_the_end_of_its_half,
    while_a_read_handler_runs,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("point", POINTS)
def test_a_reset(
    point: Callable[[World, socket.socket], None],
    kind: Any,
    new_world: Callable[..., World],
    tally: Tally,
) -> None:
    world = new_world(kind)
    witness = world.peer()
    other = world.accepted(witness)
    with tally.fault():
        peer = world.peer()
        point(world, peer)
        world.until(lambda: len(world.children) == 2 or point is before_it_is_accepted)
        world.only(other)
        # A chat that is told to close when done is told of the end again when it is done.
        assert all(child.ends in (1, 2) for child in world.children[1:]) and not world.errors
        world.echoes(witness)
        assert not other.ends
        world.end_cleanly(witness)
        world.only()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", b"hello\n", b"x" * BIG])
def test_a_server_that_resets_our_client(
    kind: Any, data: bytes, new_world: Callable[..., World], tally: Tally
) -> None:
    world = new_world()
    with tally.fault(), socket.create_server(("127.0.0.1", 0)) as listener:
        client = kind(world)
        client.handle_connect = lambda: None
        client.create_socket()
        client.connect(listener.getsockname())
        client.push(data) if hasattr(client, "push") else client.send(data)
        peer, _ = listener.accept()
        world.passes()
        reset(peer)
        world.only()
        assert client.ends == 1 and not world.errors


def test_nobody_listens_any_more(world: World, tally: Tally) -> None:
    with tally.fault(3):
        address = world.server.address
        world.server.close()
        for begin in (
            lambda client: client.connect(address),
            lambda client: client.connect_name(*address),
            lambda client: client.connect_name("localhost", address[1], family=socket.AF_INET),
        ):
            client = Echo(world)
            if begin.__code__.co_names[-1] == "connect":
                client.create_socket()
            begin(client)
            world.until(lambda client=client: client.ends)
            assert not world.map and world.errors.pop().errno == errno.ECONNREFUSED


# Silence ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_half_open_peer_is_given_up(
    kind: Any, new_world: Callable[..., World], tally: Tally
) -> None:
    """The peer has lost power: there is no FIN, no RST, nothing."""
    world = new_world(kind)
    world.fake_clock()
    witness = world.peer()
    other = world.accepted(witness)
    with tally.fault():
        channel = world.accepted(world.peer())
        channel.idle_timeout = other.idle_timeout = 60
        for _ in range(11):
            world.later(10)
            world.echoes(witness)
        assert channel._ac_closed and channel.ends == 1 and not other._ac_closed
        other.idle_timeout = None
        world.end_cleanly(witness)
        world.later(100)
        world.only()


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_that_trickles(kind: Any, new_world: Callable[..., World], tally: Tally) -> None:
    """Byte by byte it gets everything back; and a deadline ends what idle timeouts don't."""
    world = new_world(kind)
    world.fake_clock()
    with tally.fault(2):
        peer = world.peer()
        channel = world.accepted(peer)
        channel.idle_timeout = 5
        channel.set_deadline(100)
        line = b"trickle\n" * 3
        for byte in line:
            peer.sendall(bytes([byte]))
            world.later(4)
        assert channel.got in (line, line.replace(b"\n", b""))
        world.hears(peer, line)
        assert not channel._ac_closed
        for _ in range(5):
            with contextlib.suppress(OSError):
                peer.sendall(b".")
            world.later(4)
        peer.close()
        assert channel._ac_closed and channel.ends == 1
        world.only()


@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_that_never_reads(kind: Any, new_world: Callable[..., World], tally: Tally) -> None:
    world = new_world(kind)
    world.fake_clock()
    witness = world.peer()
    other = world.accepted(witness)
    with tally.fault():
        peer = world.peer()
        channel = world.accepted(peer)
        channel.write_timeout = 30
        channel.push(b"x" * BIG) if hasattr(channel, "push") else channel.send(b"x" * BIG)
        world.passes(50)
        assert channel.writable()
        world.idle()
        world.echoes(witness, b"a line for the other one\n" * 50)
        world.later(29)
        assert not channel._ac_closed
        world.later(2)
        assert channel._ac_closed and channel.ends == 1
        world.only(other)
        world.end_cleanly(witness)


def test_a_peer_that_reads_slowly_gets_everything(world: World, tally: Tally) -> None:
    with tally.fault():
        peer = world.peer()
        channel = world.accepted(peer)
        data = random.Random(1).randbytes(BIG)
        channel.send(data)
        world.end_cleanly(peer, data)
        world.only()


# Churn -----------------------------------------------------------------------------------------


TOTAL = 10_000  # over all pollers
ROUND = 40


@pytest.mark.parametrize("kind", [Echo, AskedEcho])
def test_connections_at_random(kind: Any, new_world: Callable[..., World], tally: Tally) -> None:
    """Opened and dropped in every way there is; those that end cleanly lose nothing."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # pytest shows it if this fails
    chance = random.Random(seed)
    world = new_world(kind)
    left = TOTAL // len(available_pollers()) // 2 + 1
    while left > 0:
        number = min(ROUND, left)
        left -= number
        with tally.fault(number):
            clean: list[tuple[socket.socket, bytes]] = []
            clients: list[Echo] = []
            for _ in range(number):
                way = chance.choice(["reset", "close", "clean", "clean", "late reset", "ours"])
                if way == "ours":
                    client = Echo(world)
                    client.connect_name(*world.server.address)
                    if chance.random() < 0.5:
                        world.passes(chance.randrange(3))
                        client.close()
                    else:
                        clients.append(client)
                    continue
                peer = world.peer()
                data = chance.randbytes(chance.choice([0, 1, 100, 5000]))
                peer.sendall(data)
                if chance.random() < 0.5:
                    world.passes(chance.randrange(3))
                if way == "clean":
                    peer.shutdown(socket.SHUT_WR)
                    clean.append((peer, data))
                elif way == "close":
                    peer.close()
                else:
                    if way == "late reset":
                        world.passes(2)
                    reset(peer)
            for peer, data in clean:
                world.hears(peer, data)
                world.until(lambda peer=peer: at_end(peer))
                peer.close()
            for client in clients:
                world.until(lambda client=client: client.connected)
                client.close()
            world.peers.clear()
    world.only()
    assert not world.errors and {child.ends for child in world.children} == {1}


def at_end(sock: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        assert sock.recv(1) == b""
        return True
    return False


def test_the_server_goes_on_while_its_map_is_full_of_the_dead(world: World, tally: Tally) -> None:
    """Two hundred connections are all reset in one batch, together with new ones."""
    with tally.fault(200):
        dead = [world.peer() for _ in range(100)]
        for peer in dead:
            world.accepted(peer)
        for peer in dead:
            peer.sendall(b"x")
            reset(peer)
        late = [world.peer() for _ in range(100)]
        world.until(lambda: len(world.children) == 200)
        for peer in late:
            reset(peer)
        world.only()
        assert not world.errors
        asynccore.close_all(world.map)
