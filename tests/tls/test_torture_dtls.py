"""DTLS through a network that loses, doubles and reorders datagrams, with long certificates.

Facts. What got no answer is said again after a second, then two (RFC 6347 section 4.2.4.1), by a
clock of OpenSSL's own that no test can set. A ChangeCipherSpec that comes before its time is thrown
away, as if it were lost.

Consequence. What is doubled, or held back until the network is calm, needs no such second, if only
the ChangeCipherSpec comes last; that is tried with many seeds. What is lost needs it: there all the
clients wait at the same time, and each loses little.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from tests.tls.pki import ca_pem, issue
from tests.tls.support import authority
from tests.tls.unreliable import (
    CHANGE_CIPHER_SPEC,
    Deaf,
    Listener,
    Noting,
    World,
    serving,
    trusting,
)

# So many names that a certificate takes several datagrams.
MANY = [f"host{number}.subdomain.example.org" for number in range(100)]
SERVER = issue(names=["localhost", *MANY])
CLIENT = issue(names=MANY)


class Network:
    """What happens to datagrams, by a seed: `loses`, `doubles` and `delays` are likelihoods."""

    def __init__(self, seed: int, loses: float, doubles: float, delays: float) -> None:
        self.chance = random.Random(seed)
        self.loses, self.doubles, self.delays = loses, doubles, delays
        self.most_lost = 1  # of each direction of each client
        self.held: list[tuple[Direction, bytes]] = []
        self.moved = 0
        self.did = {"lost": 0, "doubled": 0, "delayed": 0}

    def carry(self, to: Direction, data: bytes) -> None:
        self.moved += 1
        if self.chance.random() < self.loses and to.lost < self.most_lost:
            to.lost += 1
            self.did["lost"] += 1
        elif self.chance.random() < self.delays or (self.delays and CHANGE_CIPHER_SPEC in data):
            self.did["delayed"] += 1
            self.held.append((to, data))
        else:
            to.deliver(data)
            if self.chance.random() < self.doubles:
                self.did["doubled"] += 1
                to.deliver(data)

    def calm(self) -> None:
        """Deliver what was held back, in any order."""
        self.chance.shuffle(self.held)
        held, self.held = self.held, []
        for to, data in sorted(held, key=lambda one: CHANGE_CIPHER_SPEC in one[1]):
            to.deliver(data)


class Direction(asynccore.dispatcher):
    """One end of the network: reads what is sent to it, and has it carried to the other."""

    other: Direction
    address: Any = None
    lost = 0

    def __init__(self, network: Network, map: Any) -> None:
        self.network = network
        super().__init__(None, map)
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(("127.0.0.1", 0))

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        data, sender = self.socket.recvfrom(65535)
        if self.address is None:
            self.address = sender
        self.network.carry(self.other, data)

    def deliver(self, data: bytes) -> None:
        self.socket.sendto(data, self.address)


class Torture(World):
    def __init__(self, network: Network, channel_class: type[Noting] = Noting) -> None:
        super().__init__()
        self.network = network
        context = serving(client_auth="required", ca=ca_pem(authority()), certificate=SERVER.pem)
        self.listener = Listener(("127.0.0.1", 0), channel_class, context=context, map=self.map)
        self.trust = trusting(certificate=CLIENT.pem)
        self.clients: list[Noting] = []

    def call(self, count: int) -> list[tuple[Noting, int]]:
        """Have clients connect; returns them with their addresses as the server sees them."""
        found = []
        for _ in range(count):
            near, far = Direction(self.network, self.map), Direction(self.network, self.map)
            near.other, far.other = far, near
            far.address = self.listener.socket.getsockname()
            client = Noting(None, self.map, context=self.trust, server_hostname="localhost")
            client.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
            client.connect(near.socket.getsockname())
            self.clients.append(client)
            found.append((client, far.socket.getsockname()))
        return found

    def channel(self, address: Any) -> Noting:
        (channel,) = (c for c in self.listener.channels if c.addr == address)
        return channel

    def settle(self, done: Any) -> None:
        """Let the network work until something is so; it becomes calm when nothing moves."""

        self.until(lambda: not self.moves() and done())

    def moves(self) -> bool:
        """Do what can be done now; tell whether that was anything."""
        before = self.count()
        self.passes(3)
        if before != self.count():
            return True
        held = bool(self.network.held)
        self.network.calm()
        return held

    def count(self) -> int:
        """How many datagrams have arrived anywhere."""
        ends = [*self.clients, *self.listener.channels]
        return self.network.moved + sum(len(end.got) for end in ends)

    def shake(self, count: int) -> list[tuple[Noting, Noting]]:
        calls = self.call(count)
        self.settle(lambda: all(client.shaken or client.errors for client, _ in calls))
        pairs = [(client, self.channel(address)) for client, address in calls]
        self.settle(lambda: all(channel.shaken for _, channel in pairs))
        for pair in pairs:
            assert [(c.shaken, c.errors) for c in pair] == [(1, [])] * 2
            assert pair[1].peer_names == MANY and pair[0].peer_names == ["localhost", *MANY]
        return pairs

    def talk(self, pairs: list[tuple[Noting, Noting]]) -> None:
        """Whatever arrives was sent, is whole, and comes once."""
        said = {b"%d " % number + b"x" * 40 * number for number in range(20)}
        for pair in pairs:
            for one in pair:
                for data in sorted(said):
                    one.send(data)
        self.settle(lambda: True)
        for pair in pairs:
            for one in pair:
                assert said.issuperset(one.got) and len(set(one.got)) == len(one.got)
                assert not one.errors and not one.ends
                assert len(one.got) == 20 or self.network.loses
                one.got.clear()
        # And when the network has become a good one, everything arrives.
        self.network.loses = self.network.delays = self.network.doubles = 0
        for pair in pairs:
            pair[0].send(b"good")
            pair[1].send(b"good")
        self.settle(lambda: all(one.got == [b"good"] for pair in pairs for one in pair))


@pytest.fixture
def worlds() -> Iterator[list[Torture]]:
    found: list[Torture] = []
    yield found
    for world in found:
        asynccore.close_all(world.map)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_doubled_and_reordered(worlds: list[Torture], seed: int) -> None:
    network = Network(seed, 0, doubles=0.3, delays=0.4)
    worlds.append(world := Torture(network))
    pairs = world.shake(2)
    assert network.did["doubled"] and network.did["delayed"]
    world.talk(pairs)


@pytest.mark.parametrize("channel_class", [Noting, Deaf])
def test_what_is_lost(worlds: list[Torture], channel_class: type[Noting]) -> None:
    network = Network(7, loses=0.15, doubles=0.1, delays=0.1)
    worlds.append(world := Torture(network, channel_class))
    pairs = world.shake(20)
    assert network.did["lost"] >= 10
    for _, channel in pairs:
        channel.reads = True  # type: ignore[attr-defined]
    world.talk(pairs)


def test_what_is_lost_of_abbreviated_handshakes(worlds: list[Torture]) -> None:
    """The client says the last word of these, and may have to say it again."""
    network = Network(3, 0, 0, 0)
    worlds.append(world := Torture(network))
    world.talk(world.shake(1))
    network.loses = 0.25
    pairs = world.shake(20)
    assert all(client.session_reused for client, _ in pairs)
    assert network.did["lost"] >= 10
    world.talk(pairs)
