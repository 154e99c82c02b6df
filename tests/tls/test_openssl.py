"""What goes past pyOpenSSL's public names does what they do, and gives way where they are all."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from OpenSSL import SSL

from ssl_ext import CertificateError, HandshakeError, _openssl
from tests.tls import pki
from tests.tls.support import client_raw, server_raw, shake
from tests.tls.test_contexts import serving, trusting

Pair = tuple[SSL.Connection, SSL.Connection]


def connected(stack: contextlib.ExitStack) -> Pair:
    """A client and a server after their handshake."""
    socks = [stack.enter_context(sock) for sock in socket.socketpair()]
    for sock in socks:
        sock.setblocking(False)
    client = SSL.Connection(client_raw(), socks[0])
    server = SSL.Connection(server_raw(), socks[1])
    client.set_connect_state()
    server.set_accept_state()
    shake(client, server)
    return client, server


@pytest.fixture(params=["direct", "public"])
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    """The two, by either way."""
    assert _openssl.direct  # with the pyOpenSSL that is installed
    monkeypatch.setattr(_openssl, "direct", request.param == "direct")
    with contextlib.ExitStack() as stack:
        yield connected(stack)


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


def test_reads_that_overlap_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as stack:
        (first, one), (second, other) = connected(stack), connected(stack)
        _openssl.write(first, b"first")
        _openssl.write(second, b"other")
        original = _openssl.SSL_read
        within: list[bytes] = []

        def overlapped(*arguments: Any) -> int:
            count: int = original(*arguments)
            monkeypatch.setattr(_openssl, "SSL_read", original)
            within.append(_openssl.read(other, 100))  # as another thread, or a callback
            return count

        monkeypatch.setattr(_openssl, "SSL_read", overlapped)
        assert _openssl.read(one, 100) == b"first"
        assert within == [b"other"]


# Where pyOpenSSL binds less -----------------------------------------------------------------------


def test_what_a_connection_says_comes_by_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for direct in (True, False):
        monkeypatch.setattr(_openssl, "direct", direct)
        client = SSL.Connection(client_raw())
        client.set_connect_state()
        assert _openssl.said(client) == b""
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
        said.append(_openssl.said(client))
        assert _openssl.said(client) == b""
    assert said[0][:3] == said[1][:3] == b"\x16\x03\x01" and len(said[0]) == len(said[1])


def test_much_that_a_connection_says(pair: Pair) -> None:
    client = SSL.Connection(client_raw())
    client.set_connect_state()
    server = SSL.Connection(server_raw())
    server.set_accept_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            data = _openssl.said(one)
            if data:
                other.bio_write(data)
    for _ in range(10):
        client.send(bytes(16384))
    data = _openssl.said(client)
    assert len(data) > 10 * 16384
    server.bio_write(data)
    assert sum(len(server.recv(16384)) for _ in range(10)) == 10 * 16384


def test_refusals_are_refusals_without_their_alerts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_openssl, "_lib", None)
    with pytest.raises(CertificateError, match="is pinned"):
        pki.Pair(trusting(pins="sha256/" + "A" * 43 + "="), serving()).handshake()
    hosts = serving(sni={"a.example": serving()}, sni_required=True)
    client = trusting(check_hostname=False)
    pki.Pair(client, hosts, "a.example").handshake()
    with pytest.raises(HandshakeError, match=r"no virtual host here is called 'b\.example'"):
        pki.Pair(client, hosts, "b.example").handshake()
    assert _openssl.has_certificate(SSL.Connection(client_raw())), "as far as is known"


def test_who_has_shown_a_certificate(pair: Pair) -> None:
    client, server = pair
    assert _openssl.has_certificate(client) and not _openssl.has_certificate(server)
