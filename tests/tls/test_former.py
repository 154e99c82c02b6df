"""What 0.1.0 called otherwise is taken with a warning, which points at the call."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from OpenSSL import SSL

import asynccore
import ssl_ext
from tests.tls.support import HOST, client_raw, server_raw, shake


@pytest.fixture
def map() -> Iterator[Any]:
    channels: dict[int, Any] = {}
    yield channels
    asynccore.close_all(channels)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield one, two


@pytest.fixture
def client(pair: Any) -> Iterator[ssl_ext.OpenSSLSocket]:
    """A client whose handshake is over."""
    sock = ssl_ext.OpenSSLSocket(client_raw(), pair[0], server_hostname=HOST)
    server = ssl_ext.OpenSSLSocket(server_raw(), pair[1], server_side=True)
    shake(sock, server)
    yield sock
    sock.close()
    server.close()


def warned(call: Any, said: str) -> Any:
    with pytest.warns(DeprecationWarning, match=said) as caught:
        result = call()
    assert [each.filename for each in caught] == [__file__]
    return result


def test_the_side_of_a_socket(pair: Any) -> None:
    made: Any = ssl_ext.OpenSSLSocket
    server = warned(lambda: made(server_raw(), pair[0], True), "takes by name: server_side")
    assert server.server_side and server.server_hostname is None
    both = "server_side=..., server_hostname=..."
    client = warned(lambda: made(client_raw(), pair[1], False, HOST), both)
    assert (client.server_side, client.server_hostname) == (False, HOST)
    server.close()
    client.close()


def test_the_side_of_a_datagram_socket() -> None:
    made: Any = ssl_ext.DTLSSocket
    with socket.socket(type=socket.SOCK_DGRAM) as raw:
        context = ssl_ext.client_context(dtls=True)
        sock = warned(lambda: made(context, raw, False, HOST), "DTLSSocket.. takes by name")
        assert (sock.server_side, sock.server_hostname) == (False, HOST)
        sock.close()


def test_who_is_expected_after_start_tls(map: Any, pair: Any) -> None:
    channel: Any = ssl_ext.tls_dispatcher(pair[0], map)
    warned(lambda: channel.start_tls(client_raw(), HOST, False), "takes by name: server_hostname")
    asynccore.loop(0, map=map, count=1)
    assert (channel.tls.server_hostname, channel.tls.server_side) == (HOST, False)


FORMER_ORDER: list[tuple[Any, ...]] = [
    (),
    (ssl_ext.tls_dispatcher,),
    (None,),
    (ssl_ext.tls_dispatcher, {}),
]


@pytest.mark.parametrize("more", FORMER_ORDER, ids=len)
def test_the_order_of_a_listener(more: tuple[Any, ...]) -> None:
    made: Any = ssl_ext.tls_listener
    context = server_raw()
    call = lambda: made(("127.0.0.1", 0), context, *more)  # noqa: E731
    listener = warned(call, "takes its context by name")
    try:
        assert listener.context is context
        expected = more[0] if more and more[0] else ssl_ext.tls_dispatcher_with_send
        assert listener.channel_class is expected
        assert len(more) < 2 or listener._map is more[1]
    finally:
        listener.close()


def test_a_class_where_the_context_was_is_the_class() -> None:
    context = server_raw()
    listener = ssl_ext.tls_listener(None, ssl_ext.tls_async_chat, context=context, map={})
    assert listener.channel_class is ssl_ext.tls_async_chat


def test_the_limit_of_an_accepting_socket() -> None:
    made: Any = ssl_ext.AcceptingSocket
    with socket.create_server(("127.0.0.1", 0)) as raw:
        sock = warned(lambda: made(server_raw(), raw, lambda: 3), "takes by name: max_handshakes")
        assert not sock._is_full()
        none = made(server_raw(), raw, max_handshakes=0)
        assert none._is_full()


def test_what_programs_ask_of_a_socket_of_the_module_ssl(client: Any) -> None:
    assert client.cipher() == client.cipher
    assert client.version() == client.tls_version
    assert client.selected_alpn_protocol() == client.alpn_protocol


def test_what_was_never_for_programs(client: Any) -> None:
    agreed = warned(lambda: client.agreed, "agreed of a TLS socket is not for programs")
    assert agreed is client.connection
    with pytest.raises(AttributeError, match="'OpenSSLSocket' object has no attribute 'agree'"):
        client.agree  # noqa: B018


def test_what_a_context_has_for_sockets() -> None:
    context: Any = ssl_ext.client_context()
    connection = warned(
        lambda: context.connection(server_hostname=HOST), "connection of a context is not for"
    )
    assert isinstance(connection, SSL.Connection)
    with pytest.raises(AttributeError, match="'Context' object has no attribute 'connect'"):
        context.connect  # noqa: B018
