"""Peers that send what is no data, and without end: all have their turn, and that has an end."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Any

import pytest
from OpenSSL import SSL

import asynccore
from asynccore import ChannelMap
from ssl_ext import HandshakeError, OpenSSLSocket, TLSError
from ssl_ext.sockets import handshake_link, records
from ssl_ext.states import FAILED, HANDSHAKING, OPEN
from tests.tls.flooding import CLOSE_NOTIFY, HELLO_REQUESTS, USER_CANCELED, Attacker
from tests.tls.support import HOST, TLS13, client_raw, raw_context, server_raw
from tests.tls.wire import Noting, connected_pair


def reads_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the length of each read of OpenSSL's."""
    reads: list[int] = []
    real = records.read

    def read(connection: Any, size: int) -> bytes:
        try:
            data = real(connection, size)
        except SSL.WantReadError:
            reads.append(0)
            raise
        reads.append(len(data))
        return data

    monkeypatch.setattr(records, "read", read)
    monkeypatch.setattr(records, "direct", False)  # else it calls OpenSSL itself
    return reads


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_turn_takes_one_record_that_is_no_data(
    role: str, channels: ChannelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacker = Attacker(role)
    attacker.sock.send(attacker.sealing.key_updates(40) + attacker.sealing.record(b"data\x17"))
    reads = reads_of(monkeypatch)
    channel = Noting(attacker.end, channels)
    passes = 0
    while not channel.got:
        asynccore.loop(timeout=0, map=channels, count=1)
        passes += 1
        assert len(reads) <= passes * 2, "one event had several records read"
        assert passes < 100
    assert passes >= 40
    assert channel.got == b"data"
    attacker.close()


def test_a_peer_that_sends_no_data_without_end_is_left(
    channels: ChannelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PATIENCE", 50)
    attacker = Attacker("client")
    channel = Noting(attacker.end, channels)
    # What brings data in between begins anew.
    for _ in range(3):
        attacker.sock.send(attacker.sealing.key_updates(40) + attacker.sealing.record(b"x\x17"))
        for _ in range(50):
            asynccore.loop(timeout=0, map=channels, count=1)
    assert channel.got == b"xxx" and channel.error is None
    attacker.sock.send(attacker.sealing.key_updates(60))
    for _ in range(60):
        asynccore.loop(timeout=0, map=channels, count=1)
    assert type(channel.error) is TLSError
    assert channel.error.reason == "the peer sends no data, but without end"
    attacker.close()


def test_a_record_byte_by_byte_is_no_flood(channels: ChannelMap) -> None:
    attacker = Attacker("client")
    channel = Noting(attacker.end, channels)
    sealed = attacker.sealing.record(b"x" * 3000 + b"\x17")
    for place in range(len(sealed)):
        attacker.sock.send(sealed[place : place + 1])
        asynccore.loop(timeout=0, map=channels, count=1)
    assert channel.got == b"x" * 3000 and channel.error is None
    attacker.close()
    assert records.PATIENCE > 16384 + 256 + 5  # the longest there is (RFC 8446 section 5.2)


@pytest.mark.parametrize("role", ["client", "server"])
def test_user_canceled_and_close_notify_are_a_clean_end(role: str, channels: ChannelMap) -> None:
    attacker = Attacker(role)
    record = attacker.sealing.record
    attacker.sock.send(record(b"all of it\x17") + record(USER_CANCELED) + record(CLOSE_NOTIFY))
    attacker.sock.shutdown(socket.SHUT_WR)
    channel = Noting(attacker.end, channels)
    for _ in range(10):
        asynccore.loop(timeout=0, map=channels, count=1)
    assert channel.log == ["handshake", "read", "close"]
    assert channel.got == b"all of it"
    attacker.close()


@pytest.mark.parametrize("role", ["client", "server"])
def test_user_canceled_alone_is_no_end(role: str, channels: ChannelMap) -> None:
    attacker = Attacker(role)
    record = attacker.sealing.record
    attacker.sock.send(record(b"some of it\x17") + record(USER_CANCELED))
    attacker.sock.shutdown(socket.SHUT_WR)
    channel = Noting(attacker.end, channels)
    for _ in range(10):
        asynccore.loop(timeout=0, map=channels, count=1)
    assert channel.log == ["handshake", "read", "TruncationError"]
    attacker.close()


# In the handshake --------------------------------------------------------------------------------


def flooded_client(count: int) -> tuple[OpenSSLSocket, threading.Thread, socket.socket]:
    ours, theirs = connected_pair()
    client = OpenSSLSocket(client_raw(), ours, server_hostname=HOST)

    def flood() -> None:
        try:
            for _ in range(count):
                theirs.sendall(HELLO_REQUESTS)
        except OSError:
            pass

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    return client, thread, theirs


def test_a_turn_of_a_handshake_takes_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    client, thread, theirs = flooded_client(12)
    thread.join(10)
    link: Any = client._handshake_link
    turns = []
    while link.received < 10 * len(HELLO_REQUESTS):
        before = link.received
        with pytest.raises(BlockingIOError):
            client.do_handshake()
        turns.append(link.received - before)
    assert max(turns) < 2 * len(HELLO_REQUESTS)
    assert client.state is HANDSHAKING
    client.close()
    theirs.close()


def test_a_handshake_without_an_end_has_one(channels: ChannelMap) -> None:
    client, thread, theirs = flooded_client(1000)
    channel = Noting(client, channels)
    ticks: list[int] = []
    passes = 0
    while channel.error is None:
        asynccore.call_later(0, ticks.append, passes, map=channels)
        asynccore.loop(timeout=1, map=channels, count=1)
        passes += 1
    # A timer was on time in each pass that the flood took.
    assert len(ticks) >= passes - 1 >= handshake_link.LONGEST_HANDSHAKE // len(HELLO_REQUESTS) // 2
    assert type(channel.error) is HandshakeError
    assert "has no end" in channel.error.reason
    theirs.shutdown(socket.SHUT_RDWR)
    thread.join(10)
    theirs.close()


def test_small_records_are_no_flood() -> None:
    """A flight of many records takes several turns, and nothing is lost between them."""
    ours, theirs = connected_pair()
    relay, there = connected_pair()
    client = OpenSSLSocket(client_raw(), ours, server_hostname=HOST)
    server = OpenSSLSocket(server_raw(), there, server_side=True)
    theirs.setblocking(False)
    relay.setblocking(False)
    relay.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    with theirs, relay:
        for _ in range(200):
            for end in (client, server):
                try:
                    end.do_handshake()
                except BlockingIOError:
                    pass
            pending += drained(theirs)
            while len(pending) >= 5:  # pieces of messages (RFC 8446 section 5.1)
                length = int.from_bytes(pending[3:5], "big")
                body, kind = pending[5 : 5 + length], pending[:3]
                pending = pending[5 + length :]
                plain = kind[0] == 22 and client.state is HANDSHAKING
                size = 50 if plain else len(body)
                pieces = [body[i : i + size] for i in range(0, len(body), size)]
                relay.send(b"".join(kind + struct.pack(">H", len(p)) + p for p in pieces))
            theirs.send(drained(relay))
            if client.state is server.state is OPEN:
                break
        assert client.state is server.state is OPEN
    client.close()
    server.close()


def drained(sock: socket.socket) -> bytes:
    try:
        return sock.recv(1 << 20)
    except BlockingIOError:
        return b""


def test_what_follows_a_handshake_stays_in_the_kernel() -> None:
    ours, theirs = socket.socketpair()
    client = SSL.Connection(raw_context(version=TLS13), theirs)
    client.set_connect_state()
    theirs.setblocking(False)
    server = OpenSSLSocket(server_raw(TLS13), ours, server_side=True)
    while True:
        try:
            client.do_handshake()
            break
        except SSL.WantReadError:
            with pytest.raises(BlockingIOError):
                server.do_handshake()
    client.send(b"early")  # it lies behind the last of the handshake
    try:
        server.do_handshake()
    except BlockingIOError:
        pytest.fail("the handshake was over")
    assert ours.recv(5, socket.MSG_PEEK)[:1] == b"\x17"
    assert server.recv(100) == b"early"
    server.close()
    theirs.close()


def test_a_socket_that_is_refused_tells_the_last_words(channels: ChannelMap) -> None:
    """The peer has said an alert and is gone: what can't be sent any more is not the reason."""
    ours, theirs = connected_pair()
    ours.setblocking(False)
    client = OpenSSLSocket(client_raw(), ours, server_hostname=HOST)
    theirs.sendall(b"\x15\x03\x03\0\2\2\x28")  # handshake_failure, fatal (RFC 8446 section 6)
    theirs.close()
    channel = Noting(client, channels)
    for _ in range(20):
        asynccore.loop(timeout=0.1, map=channels, count=1)
    assert client.state is FAILED or channel.error is not None
    assert channel.log == ["PeerRefused"]
