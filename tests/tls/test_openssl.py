"""What goes past pyOpenSSL's public names does what they do, and gives way where they are all."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import trustme
from OpenSSL import SSL

from ssl_ext import _openssl

Pair = tuple[SSL.Connection, SSL.Connection]


@pytest.fixture(params=["direct", "public"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """A client and a server after their handshake, by either way."""
    assert _openssl._direct  # with the pyOpenSSL that is installed
    monkeypatch.setattr(_openssl, "_direct", request.param == "direct")
    context = SSL.Context(SSL.TLS_METHOD)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    socks = socket.socketpair()
    for sock in socks:
        sock.setblocking(False)
    client = SSL.Connection(SSL.Context(SSL.TLS_METHOD), socks[0])
    server = SSL.Connection(context, socks[1])
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
    yield client, server
    for sock in socks:
        sock.close()


def test_bytes_come_as_they_were_sent(pair: Pair) -> None:
    client, server = pair
    for data in (b"x", bytes(range(256)) * 64, memoryview(b"view")):
        assert _openssl.write(client, data) == len(data)
        assert _openssl.read(server, 16384) == data


def test_no_more_is_read_than_was_asked_for(pair: Pair) -> None:
    client, server = pair
    _openssl.write(client, b"abcdef")
    assert _openssl.read(server, 2) == b"ab"
    assert _openssl.read(server, 100_000) == b"cdef"


def test_what_is_wrong_is_raised(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(SSL.WantReadError):
        _openssl.read(server, 10)
    with pytest.raises(SSL.WantWriteError):
        while True:
            _openssl.write(server, bytes(16384))
    client.shutdown()
    with pytest.raises(SSL.ZeroReturnError):
        _openssl.read(server, 10)


def test_an_end_without_a_word_is_told_apart(pair: Pair) -> None:
    client, server = pair
    client.sock_shutdown(socket.SHUT_RDWR)
    with pytest.raises(SSL.SysCallError, match="Unexpected EOF"):
        _openssl.read(server, 10)
