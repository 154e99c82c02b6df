"""Connecting, refused and reconnecting; sockets that are dead before they are handed over."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from tests.corners.support import (
    READERS,
    Listener,
    Noting,
    QuietReader,
    Reader,
    drive,
    free_address,
    passes,
)


class Chat(Noting, asynchat.async_chat):
    def __init__(self, sock: Any = None, map: Any = None) -> None:
        super().__init__(sock, map)
        self.received = b""
        self.set_terminator(None)

    def collect_incoming_data(self, data: bytes) -> None:
        self.received += data


class Bare(Noting, asynccore.dispatcher):
    """With both default predicates, so it waits for everything."""

    received = b""

    def handle_read(self) -> None:
        self.received += self.recv(100)

    def handle_write(self) -> None:
        pass


class ReadsOnly(Bare):
    """Never writable: a connect ends only by what makes it readable."""

    def writable(self) -> bool:
        return False


class WritesOnly(Bare):
    def readable(self) -> bool:
        return False


CLIENTS = [Bare, ReadsOnly, WritesOnly, QuietReader, Chat]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("use_poll", [False, True])
def test_a_refused_connect_reaches_handle_error_with_the_error_current(
    use_poll: bool, kind: Any, channels: Any, engine: str
) -> None:
    client = kind(map=channels)
    client.create_socket()
    address = free_address()
    try:
        client.connect(address)
    except ConnectionRefusedError:
        client.close()  # told at once, as some platforms do
        return
    asynccore.loop(5, use_poll, channels, 20, poller=engine)
    assert [type(event) for event in client.events] == [ConnectionRefusedError]
    assert client.events[0].errno == errno.ECONNREFUSED
    assert not channels


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_refused_connect_with_the_packages_handle_error(
    kind: Any, channels: Any, engine: str
) -> None:
    """It says so once, and handle_close runs once."""

    class Client(kind):  # type: ignore[misc]
        handle_error = asynccore.dispatcher.handle_error

    client = Client(map=channels)
    client.create_socket()
    client.connect(free_address())
    asynccore.loop(5, False, channels, 20, poller=engine)
    assert client.events == ["close"] and not channels
    ((type_, message),) = client.said
    assert type_ == "error" and "ConnectionRefusedError" in message


@pytest.mark.parametrize("kind", [Bare, QuietReader, Chat])
def test_connect_then_data(kind: Any, channels: Any, engine: str) -> None:
    listener = Listener(channels)
    client = kind(map=channels)
    client.create_socket()
    assert not client.connected
    client.connect(listener.address)
    assert client.addr == listener.address
    drive(lambda: client.connected and listener.children, channels, engine)
    assert client.events[0] == "connect" and not client.connecting
    listener.children[0].socket.send(b"hello")
    drive(lambda: client.received, channels, engine)
    assert client.events.count("connect") == 1


@pytest.mark.parametrize("kind", [Bare, QuietReader, Chat])
def test_the_same_object_reconnects(kind: Any, channels: Any, engine: str) -> None:
    listener = Listener(channels)
    client = kind(map=channels)
    for round in (1, 2, 3):
        client.create_socket()
        client.connect(listener.address)
        drive(lambda round=round: len(listener.children) == round, channels, engine)
        drive(lambda: client.connected, channels, engine)
        listener.children[-1].socket.send(b"%d" % round)
        drive(lambda round=round: client.received.endswith(b"%d" % round), channels, engine)
        listener.children[-1].close()
        drive(lambda round=round: client.events.count("close") == round, channels, engine)
    assert client.received == b"123" and client.events.count("connect") == 3


def test_reconnecting_after_a_refusal(channels: Any, engine: str) -> None:
    listener = Listener(channels)

    class Persistent(QuietReader):
        def handle_error(self) -> None:
            super().handle_error()
            self.create_socket()
            self.connect(listener.address)

    client = Persistent(map=channels)
    client.create_socket()
    client.connect(free_address())
    drive(lambda: client.connected, channels, engine)
    assert isinstance(client.events[0], ConnectionRefusedError) and client.events[1] == "connect"


def test_connect_on_a_connected_socket_counts_as_connected(channels: Any, tcp_pair: Any) -> None:
    end, _ = tcp_pair()
    end.setblocking(False)
    client = Bare(map=channels)
    client.set_socket(end)
    client.connect(end.getpeername())
    assert client.connected and client.events == ["connect"]


def test_closing_in_handle_connect(channels: Any, engine: str) -> None:
    listener = Listener(channels)

    class Leaves(Bare):
        def handle_connect(self) -> None:
            super().handle_connect()
            self.close()

    client = Leaves(map=channels)
    client.create_socket()
    client.connect(listener.address)
    drive(lambda: client.events, channels, engine)
    passes(channels, engine)
    assert client.events == ["connect"] and not client.connected and not client.connecting


def test_an_overridden_handle_connect_event(channels: Any, engine: str) -> None:
    listener = Listener(channels)

    class Own(Bare):
        def handle_connect_event(self) -> None:
            self.events.append("own")
            super().handle_connect_event()

    client = Own(map=channels)
    client.create_socket()
    client.connect(listener.address)
    drive(lambda: client.connected, channels, engine)
    assert client.events[:2] == ["own", "connect"]


class TestSocketsThatAreDeadAlready:
    """CVE-2010-3492, CVE-2010-3493, CVE-2010-3495, CVE-2024-49769."""

    @staticmethod
    def reset_by_peer(tcp_pair: Any) -> socket.socket:
        peer, end = tcp_pair()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        end.setblocking(True)
        while True:
            try:
                end.getpeername()
            except OSError:
                return end  # type: ignore[no-any-return]

    @pytest.mark.parametrize("kind", [*READERS, Bare, ReadsOnly, WritesOnly, Chat])
    def test_reset_before_the_constructor(
        self, kind: Any, channels: Any, engine: str, tcp_pair: Any, waits: list[Any]
    ) -> None:
        channel = kind(self.reset_by_peer(tcp_pair), channels)
        asynccore.loop(timeout=0.02, map=channels, count=10, poller=engine)
        assert not channels and len(waits) < 10
        assert len(channel.events) == 1

    @pytest.mark.parametrize("kind", [*READERS, Bare, ReadsOnly, Chat])
    def test_never_connected(self, kind: Any, channels: Any, engine: str, waits: list[Any]) -> None:
        with socket.socket() as sock:
            channel = kind(sock, channels)
            assert not channel.connected and channel.addr is None
            asynccore.loop(timeout=0.01, map=channels, count=10, poller=engine)
            # Closed, or quiet: but not reporting the same again and again.
            assert sum(bool(wait.events) for wait in waits) <= 2
            assert channel.events.count("close") <= 1

    @pytest.mark.parametrize("default", [asynccore.dispatcher, asynccore.dispatcher_with_send])
    def test_dead_with_nothing_overridden(
        self, default: Any, channels: Any, engine: str, tcp_pair: Any, waits: list[Any], capsys: Any
    ) -> None:
        default(self.reset_by_peer(tcp_pair), channels)
        asynccore.loop(timeout=0.01, map=channels, count=20, poller=engine)
        assert sum(bool(wait.events) for wait in waits) <= 2

    def test_no_constructor_needs_a_peer_name(self, channels: Any, engine: str, pair: Any) -> None:
        class Nameless(socket.socket):
            def getpeername(self) -> Any:
                raise OSError(errno.EIO, "broken")

        end, peer = pair()
        channel = Reader(Nameless(fileno=end.detach()), channels)
        assert channel.addr is None
        peer.send(b"x")
        drive(lambda: channel.received, channels, engine)
        peer.close()
        drive(lambda: not channels, channels, engine)
        assert channel.events == ["read", "close"]


class TestTLSOfTheStandardLibrary:
    """No certificate is needed before the peer answers."""

    def test_recv_lets_want_read_out(self, channels: Any, tcp_pair: Any) -> None:
        end, _ = tcp_pair()
        end.setblocking(False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        channel = Bare(end, channels)
        channel.socket = context.wrap_socket(
            end, server_hostname="localhost", do_handshake_on_connect=False
        )
        with channel.socket:
            with pytest.raises(ssl.SSLWantReadError):
                channel.recv(100)
            assert channel.events == [] and channel.connected
            channel.close()
        assert not channels

    def test_the_socket_is_replaced_after_registration(
        self, channels: Any, engine: str, tcp_pair: Any
    ) -> None:
        end, peer = tcp_pair()
        end.setblocking(False)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        seen: list[type] = []

        class Client(Bare):
            def readable(self) -> bool:
                return True

            def writable(self) -> bool:
                return False

            def handle_read(self) -> None:
                try:
                    self.socket.do_handshake()
                except ssl.SSLWantReadError:
                    seen.append(ssl.SSLWantReadError)

        channel = Client(end, channels)
        passes(channels, engine)
        channel.socket = context.wrap_socket(
            end, server_hostname="localhost", do_handshake_on_connect=False
        )
        with channel.socket:
            with pytest.raises(ssl.SSLWantReadError):
                channel.socket.do_handshake()
            assert peer.recv(5)[:2] == b"\x16\x03"  # a ClientHello
            peer.send(b"\x16")  # and the beginning of an answer
            drive(lambda: seen, channels, engine)
            channel.close()
        assert not channels and Reader
