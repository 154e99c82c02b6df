"""Crowds that open connections and say nothing, in front of a listener that does the handshakes."""

from __future__ import annotations

import gc
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap
from ssl_ext import (
    HandshakeError,
    OpenSSLSocket,
    TLSError,
    TLSSMTPServer,
    secure,
    termination,
    tls_dispatcher_with_send,
    tls_listener,
)
from ssl_ext.sockets.handshake_table import (
    MADE_ROOM,
    MAX_HANDSHAKES,
    SHARES,
    HandshakeTable,
    peer_of,
)
from tests.tls.support import ADDRESS, client_raw
from tests.tls.talking import PATIENCE, meanwhile, settle
from tests.tls.test_securing import Modern, Server, ask, server_side, trusting, waiting_in
from tests.tls.wire import Noting


class Speaker:
    def __init__(self, has_spoken: bool = False) -> None:
        self.has_spoken = has_spoken

    def _ac_has_heard(self) -> bool:
        return self.has_spoken


def table(most: int | None = None) -> HandshakeTable:
    return HandshakeTable(lambda: most)


def crowd(made: HandshakeTable, address: str, count: int, has_spoken: bool = False) -> list[Any]:
    """Begin so many handshakes, and end those that make room; return them all."""
    all_of_them = [Speaker(has_spoken) for _ in range(count)]
    for handshake in all_of_them:
        surplus = made.add(handshake, (address, 1))
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
    many = [crowd(made, f"192.0.2.{number}", 2) for number in range(2, 5)]
    spoken = crowd(made, "192.0.2.9", 1, has_spoken=True)
    assert len(made) == 8 and made.has_room(0)
    oldest = list(made)[1]
    new = crowd(made, "192.0.2.10", 1)
    assert len(made) == 8
    assert oldest is many[0][0] and oldest not in list(made)
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


def test_nothing_is_kept_of_what_a_program_has_forgotten() -> None:
    made = table(8)
    crowd(made, "192.0.2.1", 2)
    gc.collect()
    assert len(made) == 0
    kept = crowd(made, "192.0.2.1", 2)
    assert list(made) == kept


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
        asynccore.loop(timeout=0, map=channels, count=1)  # before the backlog is full
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


# Every way to listen, without asking for it -------------------------------------------------------


class Answering(tls_dispatcher_with_send):
    """Says what it got, and nothing of those who are ended."""

    def handle_read(self) -> None:
        self.send(self.recv(100))

    def handle_tls_error(self, exc: TLSError) -> None:
        ENDED.append(exc)
        self.close()


ENDED: list[Any] = []


def made_secure(channels: ChannelMap, monkeypatch: pytest.MonkeyPatch) -> int:
    return int(secure(Modern, server_side())(ADDRESS, channels).port)


def run_with_tls(channels: ChannelMap, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(termination, "_context", server_side())
    listener = Modern(ADDRESS, channels)
    listener.socket = termination.in_front_of(listener)
    return listener.port


def its_own_listener(channels: ChannelMap, monkeypatch: pytest.MonkeyPatch) -> int:
    listener = tls_listener((ADDRESS, 0), Answering, context=server_side(), map=channels)
    return int(listener.socket.getsockname()[1])


def a_listening_socket(channels: ChannelMap, monkeypatch: pytest.MonkeyPatch) -> int:
    listener = Modern(ADDRESS, channels)
    listener.socket = OpenSSLSocket(server_side(), listener.socket, server_side=True)
    return listener.port


def mail(channels: ChannelMap, monkeypatch: pytest.MonkeyPatch) -> int:
    class Inbox(TLSSMTPServer):
        def handle_refused(self, *args: Any) -> None:
            raise AssertionError("those who make room are no connections any more")

    listener = Inbox((ADDRESS, 0), map=channels, context=server_side(), tls="implicit")
    listener._ac_fqdn = "mail.example"
    return int(listener.socket.getsockname()[1])


@pytest.mark.parametrize(
    ("listen", "share"),
    [
        (made_secure, MAX_HANDSHAKES // SHARES),
        (run_with_tls, MAX_HANDSHAKES // SHARES),
        (its_own_listener, MAX_HANDSHAKES // SHARES),
        (a_listening_socket, MAX_HANDSHAKES // SHARES),
        (mail, 50 // SHARES),
    ],
)
def test_an_honest_client_has_its_turn_by_default(
    channels: ChannelMap, monkeypatch: pytest.MonkeyPatch, listen: Callable[..., int], share: int
) -> None:
    """Beside more of another address than there may be handshakes, some of them in the backlog."""
    port = listen(channels, monkeypatch)
    # Linux has the whole of 127.0.0.0/8.
    elsewhere = ("127.0.0.2", 0) if sys.platform == "linux" else None
    ENDED.clear()
    silent = []
    other = ChannelMap()
    client = Noting(map=other, context=client_raw(), server_hostname=ADDRESS)
    try:
        for _ in range(MAX_HANDSHAKES + 40):
            silent.append(socket.create_connection((ADDRESS, port), PATIENCE, elsewhere))
            if len(silent) < MAX_HANDSHAKES + 37:  # the rest is in front of the honest one
                asynccore.loop(timeout=0, map=channels, count=1)
        client.create_socket()
        client.connect((ADDRESS, port))
        client.send(b"hello\n")
        turns = 0
        while client.log[-1:] != ["read"]:
            asynccore.loop(timeout=0, map=channels, count=1)
            asynccore.loop(timeout=0, map=other, count=1)
            turns += 1
            assert turns < 30, client.log
        asynccore.loop(timeout=0, map=channels, count=3)
        assert share <= len(channels) <= share + 2, "and no more is kept of the others"
        assert all(type(why) is HandshakeError for why in ENDED)
        if listen is its_own_listener:
            assert len(ENDED) == len(silent) - share
            assert {why.reason for why in ENDED} == {MADE_ROOM}
    finally:
        for sock in silent:
            sock.close()
        asynccore.close_all(other)


def test_a_listener_without_a_bound(channels: ChannelMap) -> None:
    listener = tls_listener((ADDRESS, 0), Answering, context=server_side(), map=channels)
    listener.max_handshakes = None
    count = MAX_HANDSHAKES // SHARES + 10
    silent = silent_crowd(channels, listener.socket.getsockname()[1], count)
    assert len(channels) == count + 1
    for sock in silent:
        sock.close()


def test_where_all_have_spoken_a_listener_waits(channels: ChannelMap) -> None:
    listener = tls_listener((ADDRESS, 0), Answering, context=server_side(), map=channels)
    listener.max_handshakes = 2
    port = listener.socket.getsockname()[1]
    spoken = [socket.create_connection((ADDRESS, port), PATIENCE) for _ in range(3)]
    for sock in spoken:
        sock.send(b"\x16")
    asynccore.loop(timeout=0, map=channels, count=5)
    assert len(channels) == 3
    spoken[0].close()
    settle(channels, lambda: listener.accept_counts.accepted == 3)
    assert len(channels) == 3
    for sock in spoken:
        sock.close()
