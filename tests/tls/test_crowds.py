"""Crowds that open connections and say nothing, in front of a listener that does the handshakes."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap
from ssl_ext import secure
from ssl_ext.sockets.handshake_table import MAX_HANDSHAKES, SHARES, HandshakeTable, peer_of
from tests.tls.support import ADDRESS
from tests.tls.talking import PATIENCE, meanwhile
from tests.tls.test_securing import Server, ask, server_side, trusting, waiting_in


class Speaker:
    def __init__(self, address: str, has_spoken: bool = False) -> None:
        self.addr = (address, 1)
        self.has_spoken = has_spoken
        self.socket = self

    def has_heard(self) -> bool:
        return self.has_spoken


def table(most: int | None = None) -> HandshakeTable:
    return HandshakeTable(lambda: most)


def crowd(made: HandshakeTable, address: str, count: int, has_spoken: bool = False) -> list[Any]:
    """Begin so many handshakes, and end those that make room; return them all."""
    all_of_them = [Speaker(address, has_spoken) for _ in range(count)]
    for handshake in all_of_them:
        surplus = made.add(handshake, 0)
        if surplus is not None:
            made.remove(surplus)
    return all_of_them


def test_a_peer_has_a_share_of_silent_handshakes() -> None:
    made = table(40)
    all_of_them = crowd(made, "192.0.2.1", 30)
    assert list(made) == all_of_them[-10:], "the newest of it are there"
    others = crowd(made, "192.0.2.2", 3)
    assert list(made) == all_of_them[-10:] + others


def test_those_who_have_spoken_do_not_count_for_it() -> None:
    made = table(40)
    spoken = crowd(made, "192.0.2.1", 30, has_spoken=True)
    silent = crowd(made, "192.0.2.1", 10)
    assert list(made) == spoken + silent


def test_the_oldest_of_the_most_crowded_peer_makes_room() -> None:
    made = table(8)
    few = crowd(made, "192.0.2.1", 1)
    for number in range(2, 5):
        crowd(made, f"192.0.2.{number}", 2)
    spoken = crowd(made, "192.0.2.9", 1, has_spoken=True)
    assert len(made) == 8 and made.has_room(0)
    oldest = list(made)[1]
    new = crowd(made, "192.0.2.10", 1)
    assert len(made) == 8
    assert oldest not in list(made)
    assert {*few, *spoken, *new} <= set(made)


def test_where_nobody_is_silent_the_listener_waits() -> None:
    made = table(8)
    spoken = crowd(made, "192.0.2.1", 8, has_spoken=True)
    assert not made.has_room(0)
    made.remove(spoken[3])
    assert made.has_room(0)
    assert not made.has_room(1), "one that is over and not accepted counts"


def test_nothing_is_kept_of_handshakes_that_are_over() -> None:
    made = table()
    for handshake in crowd(made, "2001:db8::1", 5):
        made.remove(handshake)
        made.remove(handshake)
    assert len(made) == 0 and not made._silent


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("192.0.2.1", 1), ("192.0.2.1", 2), True),
        (("192.0.2.1", 1), ("192.0.2.2", 1), False),
        (("2001:db8::1", 1, 0, 0), ("2001:db8::ffff:1", 2, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), ("2001:db8:0:1::1", 1, 0, 0), False),
        (("::ffff:192.0.2.1", 1, 0, 0), ("192.0.2.1", 1), True),
        (("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:192.0.2.2", 1, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 3), ("fe80::2%eth0", 1, 0, 3), True),
    ],
)
def test_who_a_peer_is(one: Any, other: Any, same: bool) -> None:
    assert (peer_of(one) == peer_of(other)) == same


@pytest.mark.parametrize("address", ["", b"", "/a/path", None, (), ("somewhere", 1)])
def test_what_has_no_peer(address: Any) -> None:
    assert peer_of(address) is None


def silent_crowd(channels: ChannelMap, port: int, count: int) -> list[socket.socket]:
    """Connect so many clients, which say nothing."""
    crowd = []
    for _ in range(count):
        crowd.append(socket.create_connection((ADDRESS, port), PATIENCE))
        asynccore.loop(timeout=0.1, map=channels, count=1)  # before the backlog is full
    asynccore.loop(timeout=0, map=channels, count=5)
    return crowd


def test_an_honest_client_beside_a_silent_crowd(channels: ChannelMap) -> None:
    server = secure(Server, server_side())(ADDRESS, channels)
    server.max_handshakes = 20
    silent = silent_crowd(channels, server.port, 60)
    try:
        assert len(waiting_in(channels)) == 20 // SHARES
        assert meanwhile(channels, lambda: ask(server.port, trusting())) == b"hello"
        # The oldest were ended, and the newest are still served.
        silent[0].settimeout(PATIENCE)
        assert silent[0].recv(1) == b""
        silent[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[-1].recv(1)
    finally:
        for sock in silent:
            sock.close()
        server.close()


def test_there_is_such_a_bound_without_asking_for_it(channels: ChannelMap) -> None:
    server = secure(Server, server_side())(ADDRESS, channels)
    count = MAX_HANDSHAKES // SHARES + 20
    silent = silent_crowd(channels, server.port, count)
    try:
        assert len(waiting_in(channels)) == MAX_HANDSHAKES // SHARES
        assert meanwhile(channels, lambda: ask(server.port, trusting())) == b"hello"
    finally:
        for sock in silent:
            sock.close()
        server.close()
