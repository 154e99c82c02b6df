"""Which side a TLS channel is follows from its context, and what can't be is refused early."""

from __future__ import annotations

import socket
from typing import Any

import pytest

import asynccore
import ssl_ext
from tests.tls.support import HOST, authority, client_raw, server_certificate, server_raw, write_pem


@pytest.fixture
def contexts(tmp_path: Any) -> tuple[ssl_ext.Context, ssl_ext.Context]:
    leaf = server_certificate()
    chain = write_pem(tmp_path, "server.pem", *leaf.cert_chain_pems)
    key = write_pem(tmp_path, "server.key", leaf.private_key_pem)
    trusted = write_pem(tmp_path, "ca.pem", authority().cert_pem)
    return ssl_ext.server_context(chain, key), ssl_ext.client_context(ca=trusted)


class Noting(ssl_ext.tls_line_chat):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lines: list[bytes] = []

    def handle_line(self, line: bytes) -> None:
        self.lines.append(line)

    def handle_connect(self) -> None:
        pass

    def handle_handshake(self) -> None:
        self.push(b"hello\n")


def drive(*channels: Noting) -> None:
    for _ in range(1000):
        if all(channel.lines for channel in channels):
            return
        asynccore.loop(0.05, map=channels[0]._map, count=1)
    raise AssertionError("no answer")


@pytest.mark.parametrize("when", ["constructor", "start_tls", "class", "socket"])
def test_the_side_follows_from_the_context(contexts: Any, when: str) -> None:
    ours, theirs = contexts
    one, two = socket.socketpair()
    map: dict[int, Any] = {}
    if when == "constructor":
        server = Noting(one, map, context=ours)
        client = Noting(two, map, context=theirs, server_hostname=HOST)
    elif when == "start_tls":
        server, client = Noting(one, map), Noting(two, map)
        server.start_tls(ours)
        client.start_tls(theirs, server_hostname=HOST)
    elif when == "class":
        Server = type("Server", (Noting,), {"tls_context": ours})
        Client = type("Client", (Noting,), {"tls_context": theirs, "server_hostname": HOST})
        server, client = Server(one, map), Client(two, map)
    else:
        server = Noting(ssl_ext.OpenSSLSocket(ours, one), map)
        client = Noting(ssl_ext.OpenSSLSocket(theirs, two, server_hostname=HOST), map)
    drive(server, client)
    assert server.lines == client.lines == [b"hello"]
    asynccore.close_all(map)
    asynccore.loop(0.05, map=map, count=20)
    assert map == {}


def test_a_listener_looks_at_what_it_is_given(contexts: Any) -> None:
    ours, theirs = contexts
    map: dict[int, Any] = {}
    address = "127.0.0.1", 0
    for context, kind, wrong, said in (
        (theirs, ssl_ext.tls_dispatcher, ValueError, "is a client's"),
        (ours, asynccore.dispatcher, TypeError, "doesn't speak TLS"),
        (ours, lambda *args: None, TypeError, "doesn't speak TLS"),
        ("context", ssl_ext.tls_dispatcher, TypeError, "no TLS context"),
        (None, ssl_ext.tls_dispatcher, TypeError, "needs context="),
    ):
        with pytest.raises(wrong, match=said):
            ssl_ext.tls_listener(address, kind, context=context, map=map)  # type: ignore[arg-type]
    assert map == {}
    ssl_ext.tls_listener(address, ssl_ext.tls_dispatcher, context=server_raw(), map=map).close()


def test_a_plain_context_is_taken_for_a_clients() -> None:
    one, two = socket.socketpair()
    map: dict[int, Any] = {}
    with two:
        channel = Noting(one, map, context=client_raw(), server_hostname=HOST)
        assert channel.server_side is False
        channel.close()
        asynccore.close_all(map)


def test_why_a_handshake_failed_is_told_at_the_end(contexts: Any) -> None:
    ours, theirs = contexts
    found: list[Any] = []

    class Ends(Noting):
        def handle_tls_error(self, exc: ssl_ext.TLSError) -> None:
            self.close()

        def handle_closed(self, exc: BaseException | None = None) -> None:
            found.append(exc)

    class Slow(Ends):
        handshake_timeout = 0.001

        def handle_timeout(self, which: str) -> None:
            self.close()

    map: dict[int, Any] = {}
    one, two = socket.socketpair()
    with two:
        Ends(one, map, context=theirs, server_hostname=HOST)
        two.sendall(b"this is no TLS\n" * 10)
        asynccore.loop(0.05, map=map, count=20)
        assert isinstance(found[0], ssl_ext.TLSError)
    one, two = socket.socketpair()
    with two:
        Slow(one, map, context=ours)
        asynccore.loop(0.05, map=map, count=20)
        assert isinstance(found[1], TimeoutError) and "handshake" in str(found[1])
    one, two = socket.socketpair()
    with two:
        Ends(one, map, context=theirs, server_hostname=HOST)
        asynccore.loop(0.05, map=map, count=5)
    # Closed with a hello that nobody has read: that is a reset.
    asynccore.loop(0.05, map=map, count=20)  # and what lingers sees that nobody is there
    assert isinstance(found[2], ConnectionResetError)
    assert len(found) == 3 and map == {}
