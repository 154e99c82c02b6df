"""Where a TLS socket may go, and that it goes nowhere else; what is left when it is closed."""

from __future__ import annotations

import gc
import socket
import weakref
from collections.abc import Iterator
from errno import EBADF
from typing import Any

import pytest

from asynccore import ChannelMap
from asynccore.engine import engine_for
from ssl_ext import (
    CertificateError,
    OpenSSLSocket,
    TruncationError,
    peer,
    states,
    tls_dispatcher_with_send,
)
from ssl_ext.sockets.lingering import LingeringChannel
from ssl_ext.sockets.records import RecordWriter
from ssl_ext.states import CLOSED, CONNECTING, FAILED, OPEN, PLAIN, TRANSITIONS, UNWRAPPING
from tests.tls.support import HOST, TLS13, client_certificate, client_raw, server_raw, shake
from tests.tls.talking import settle

STATES = {
    value for name, value in vars(states).items() if name.isupper() and isinstance(value, str)
}


def test_the_table_is_whole() -> None:
    assert set(TRANSITIONS) == STATES
    assert all(targets <= STATES for targets in TRANSITIONS.values())
    reached, found = {CONNECTING}, {CONNECTING}
    while found:
        found = {target for state in found for target in TRANSITIONS[state]} - reached
        reached |= found
    assert reached == STATES


def test_everything_can_be_closed_and_nothing_opened_again() -> None:
    assert all(CLOSED in targets for state, targets in TRANSITIONS.items() if state != CLOSED)
    assert not TRANSITIONS[CLOSED] and TRANSITIONS[FAILED] == TRANSITIONS[PLAIN] == {CLOSED}


@pytest.fixture
def ends(version: int) -> Iterator[tuple[OpenSSLSocket, OpenSSLSocket]]:
    """A client, which has shown a certificate, and a server after their handshake."""
    ours, theirs = socket.socketpair()
    context = client_raw(version, client_certificate())
    client = OpenSSLSocket(context, ours, server_hostname=HOST)
    server = OpenSSLSocket(server_raw(version, demands=True), theirs, server_side=True)
    shake(client, server)
    yield client, server
    client.close()
    server.close()


def test_what_is_not_in_the_table_is_a_defect(ends: tuple[OpenSSLSocket, OpenSSLSocket]) -> None:
    client, _ = ends
    with pytest.raises(AssertionError, match="can't become plain"):
        client._enter(PLAIN)
    assert client.state is OPEN


def test_a_closed_socket_stays_closed(ends: tuple[OpenSSLSocket, OpenSSLSocket]) -> None:
    client, _ = ends
    client.close()
    client._fail(OSError("too late"))
    client.close()
    assert client.state is CLOSED and client.failure is None
    with pytest.raises(OSError) as raised:
        client.recv(1)
    assert raised.value.errno == EBADF


# Programs that close in the middle of it -------------------------------------------------------


@pytest.mark.parametrize("rest", [[b"never"], []])
def test_a_piece_before_tls_closes_the_socket(rest: list[bytes]) -> None:
    ours, theirs = socket.socketpair()

    def pieces() -> Iterator[bytes]:
        yield b"first"
        sock.close()
        yield from rest

    with theirs:
        sock = OpenSSLSocket(client_raw(), ours, server_hostname=HOST, prelude=pieces())
        with pytest.raises(BlockingIOError):
            sock.do_handshake()
        assert sock.state is CLOSED and sock.failure is None
        assert theirs.recv(100) == b"first" and theirs.recv(100) == b""


def test_a_piece_before_the_end_closes_the_socket(
    ends: tuple[OpenSSLSocket, OpenSSLSocket],
) -> None:
    """What OpenSSL would still write could go to whoever has got its descriptor since."""
    client, server = ends
    with pytest.raises(BlockingIOError):
        client.recv(1)  # which takes session tickets: else the end would be a reset
    number = client.fileno()
    others: list[socket.socket] = []

    def pieces() -> Iterator[bytes]:
        yield b"first"
        client._pid = 0  # as in a forked child, which says nothing when it closes
        client.close()
        others.extend(socket.socketpair())
        yield b"never"

    client._ac_begin_unwrap(pieces(), None)
    assert client.state is CLOSED and client.failure is None
    assert server.recv(100) == b"first"
    with pytest.raises(TruncationError):
        server.recv(100)
    assert others[0].fileno() == number
    others[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        others[1].recv(1)
    for other in others:
        other.close()


def test_a_check_of_the_peer_closes_the_socket() -> None:
    """The program's own code runs there, for a context may be its own."""
    ours, theirs = socket.socketpair()
    sock = OpenSSLSocket(client_raw(), ours, server_hostname=HOST)
    server = OpenSSLSocket(server_raw(), theirs, server_side=True)
    context: Any = sock.context
    context._ac_verify_peer = lambda connection, name: sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        shake(sock, server)
    assert sock.state is CLOSED and sock._ac_agreed is None and sock.failure is None
    server.close()


# What stays -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["open", "unwrapping", "failed", "failed in writing"])
def test_a_closed_socket_keeps_no_connection_and_knows_who_was_there(
    ends: tuple[OpenSSLSocket, OpenSSLSocket], way: str
) -> None:
    client, server = ends
    before = [known_of(end) for end in ends]
    assert before[1]["peer_certificate"] is not None and before[1]["server_name"] == HOST
    connections = [weakref.ref(end.connection) for end in ends if end.connection is not None]
    if way == "unwrapping":
        with pytest.raises(BlockingIOError):
            client.unwrap()
        assert client.state is UNWRAPPING
    elif way == "failed in writing":
        client.plain.close()
        with pytest.raises(OSError):
            server.send(b"x")
        assert server.state is FAILED
    elif way == "failed":
        client.plain.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        for call in (lambda: server.recv(1), lambda: server.send(b"x")):
            with pytest.raises(OSError):
                call()
        assert server.state is FAILED
    client.close()
    server.close()
    gc.collect()
    assert [reference() for reference in connections] == [None, None]
    assert [known_of(end) for end in ends] == before


def test_what_failed_the_check_of_its_name_keeps_no_connection() -> None:
    ours, theirs = socket.socketpair()
    client = OpenSSLSocket(client_raw(), ours, server_hostname="other.example")
    server = OpenSSLSocket(server_raw(), theirs, server_side=True)
    shake_until_it_fails(client, server)
    assert isinstance(client.failure, CertificateError)
    connection = weakref.ref(client.connection)  # type: ignore[arg-type]
    client.close()
    server.close()
    gc.collect()
    assert connection() is None


def shake_until_it_fails(*ends: OpenSSLSocket) -> None:
    with pytest.raises(CertificateError):
        shake(*ends)


def known_of(sock: OpenSSLSocket) -> dict[str, object]:
    """Return all that can be told of a peer."""
    agreed = sock._ac_agreed
    assert agreed is not None
    names = (
        "peer_certificate peer_chain peer_names tls_version cipher alpn_protocol server_name "
        "session_reused"
    ).split()
    told = {name: getattr(sock, name) for name in names}
    assert told == {name: getattr(peer, name)(agreed) for name in names}
    return told


def test_a_closed_channel_keeps_no_connection(channels: ChannelMap, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    client = tls_dispatcher_with_send(
        ours, channels, context=client_raw(TLS13, client_certificate()), server_hostname=HOST
    )
    server = tls_dispatcher_with_send(
        theirs, channels, context=server_raw(TLS13, demands=True), server_side=True
    )
    settle(channels, lambda: client.tls_version and server.tls_version)
    connections = [weakref.ref(channel.socket.connection) for channel in (client, server)]
    client.close()
    server.close()
    settle(channels, lambda: not channels)
    gc.collect()
    assert [reference() for reference in connections] == [None, None]
    assert server.user_name("email") == "client@example.org" and len(server.peer_chain) == 2


@pytest.mark.parametrize("kind", [dict, ChannelMap])
def test_the_engine_is_told_before_a_lingering_channel_is_closed(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """A plain mapping doesn't tell, and a descriptor that is closed can't be taken out any more."""
    channels: Any = kind()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    class Speechless:
        def shutdown(self) -> None:
            pass

    connection: Any = Speechless()
    channel = LingeringChannel(channels, ours, RecordWriter(connection), 30.0)
    fd = ours.fileno()
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(
        engine_for(channels), "removed", lambda gone: told.append((gone, ours.fileno()))
    )
    channel.close()
    assert told == [(fd, fd)] and not channels
    theirs.close()
