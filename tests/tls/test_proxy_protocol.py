"""Headers of proxies come in clear, and TLS begins behind them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
import ssl_ext
from asynccore.engine import engine_for
from asynccore.listening import proxy_protocol
from asynccore.running import graceful
from ssl_ext.sockets import accepting
from tests.fuzz.proxy import block, line
from tests.tls.support import HOST, authority, server_certificate, write_pem
from tests.tls.talking import meanwhile, settle

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.9", 443)
LINE = line(CLIENT, SERVER)


@pytest.fixture
def context(tmp_path: Any) -> ssl_ext.Context:
    leaf = server_certificate()
    pem = write_pem(tmp_path, "server.pem", leaf.private_key_pem, *leaf.cert_chain_pems)
    return ssl_ext.server_context(pem)


def trusting() -> ssl.SSLContext:
    found = ssl.create_default_context()
    authority().configure_trust(found)
    return found


class Who(asynccore.dispatcher_with_send):
    """Says who its peer is."""

    def handle_read(self) -> None:
        if self.recv(100):
            header = self.proxy_header
            known = None if header is None else header.proxy[0]
            self.send(repr((self.addr[0], self.socket.getpeername()[0], known)).encode())


class TLSWho(Who, ssl_ext.tls_dispatcher_with_send):
    pass


EXPECTED = repr((CLIENT[0], CLIENT[0], "127.0.0.1")).encode()


def listening(how: str, context: Any, channels: Any) -> Any:
    if how == "tls_listener":
        address = ("127.0.0.1", 0)
        return ssl_ext.tls_listener(
            address, TLSWho, context=context, map=channels, proxy_protocol="127.0.0.1"
        )

    class Listener(asynccore.listener):
        proxy_protocol = "127.0.0.1"

    return ssl_ext.secure(Listener, context)(("127.0.0.1", 0), Who, map=channels)


@pytest.fixture(params=["tls_listener", "secure"])
def listener(request: pytest.FixtureRequest, context: Any, channels: Any) -> Iterator[Any]:
    yield listening(request.param, context, channels)


def connect(listener: Any, *sent: bytes) -> socket.socket:
    client = socket.create_connection(listener.socket.getsockname(), 20)
    for piece in sent:
        client.sendall(piece)
    return client


def ask(plain: socket.socket) -> bytes:
    with trusting().wrap_socket(plain, server_hostname=HOST) as client:
        client.sendall(b"who am I?")
        return client.recv(100)


@pytest.mark.parametrize("header", [LINE, block(CLIENT, SERVER, [(1, b"h2")])])
def test_the_client_is_who_the_proxy_says(listener: Any, channels: Any, header: bytes) -> None:
    def client() -> bytes:
        with connect(listener, LINE[:3]), connect(listener, *map(bytes, zip(header))) as plain:
            return ask(plain)

    assert meanwhile(channels, client) == EXPECTED


def test_without_a_header_there_is_no_tls(listener: Any, channels: Any) -> None:
    def client() -> None:
        with connect(listener) as plain, pytest.raises(OSError):
            ask(plain)

    meanwhile(channels, client)


def test_who_has_a_header_waits_for_room(context: Any, channels: Any) -> None:
    listener = listening("secure", context, channels)
    listener.max_handshakes = 1

    def turn() -> None:
        for _ in range(5):
            asynccore.loop(0.01, map=channels, count=1)

    early = connect(listener, LINE[:5])
    turn()
    # Whose client has spoken makes no room for others.
    first = connect(listener, LINE + b"\x16\x03\x01\x00\x05\x01")
    turn()
    (pending,) = (c for c in channels.values() if type(c) is accepting.PendingHandshake)
    assert pending._ac_has_heard()
    early.sendall(LINE[5:])
    turn()
    assert listener.socket._ac_unfinished == 2
    first.close()
    assert meanwhile(channels, lambda: ask(early)) == EXPECTED


def test_a_listener_that_is_full_of_headers_is_not_asked_again_and_again(
    context: Any, channels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_protocol, "MOST_UNFINISHED", 1)
    listener = listening("secure", context, channels)

    def turn() -> None:
        for _ in range(5):
            asynccore.loop(0.01, map=channels, count=1)

    with connect(listener, LINE[:5]) as early:
        turn()
        late = connect(listener, LINE)
        turn()
        events = engine_for(channels).events
        turn()
        assert engine_for(channels).events == events
        early.sendall(LINE[5:])
        assert meanwhile(channels, lambda: ask(late)) == EXPECTED


@pytest.mark.parametrize("header", [LINE, b""])
def test_a_drain_takes_handshakes_to_their_end(context: Any, channels: Any, header: bytes) -> None:
    proxies = "127.0.0.1" if header else None

    class Listener(asynccore.listener):
        proxy_protocol = proxies

    listener = ssl_ext.secure(Listener, context)(("127.0.0.1", 0), Who, map=channels)
    address = listener.socket.getsockname()
    begun, waits = connect(listener, header), connect(listener, header)
    for _ in range(5):
        asynccore.loop(0, map=channels, count=1)
    late = connect(listener, header)  # nobody has looked yet
    graceful.drain(channels, 30, 5.0)
    asynccore.loop(0, map=channels, count=1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 20)
    for client in (begun, late):
        assert meanwhile(channels, lambda client=client: ask(client)).startswith(  # type: ignore[misc]
            repr(CLIENT[0] if header else "127.0.0.1").join(["(", ","]).encode()
        )
    waits.close()
    settle(channels, lambda: listener not in channels.values())


def test_datagrams_have_none(tmp_path: Any, channels: Any) -> None:
    leaf = server_certificate()
    pem = write_pem(tmp_path, "server.pem", leaf.private_key_pem, *leaf.cert_chain_pems)
    dtls = ssl_ext.server_context(pem, dtls=True)
    with pytest.raises(ValueError, match="proxy_protocol is for streams"):
        ssl_ext.tls_listener(
            ("127.0.0.1", 0), context=dtls, map=channels, proxy_protocol="127.0.0.1"
        )
    with pytest.raises(ValueError, match="trusted proxies"):
        ssl_ext.tls_listener(("127.0.0.1", 0), context=dtls, map=channels, proxy_protocol="?")
