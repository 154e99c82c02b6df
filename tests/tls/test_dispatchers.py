"""TLS dispatchers on real sockets: both roles, both versions, and what can go wrong."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import asynccore
import ssl_ext
from asynccore import asynchat, call_later, dispatcher, dispatcher_with_send, loop
from asynccore.engine import Engine, engine_for
from asynccore.testing import FakeClock
from ssl_ext import (
    CertificateError,
    OpenSSLSocket,
    PeerRefused,
    TLSError,
    TLSMixin,
    TruncationError,
    tls_async_chat,
    tls_dispatcher,
    tls_dispatcher_with_send,
    tls_listener,
)
from tests.tls.support import (
    ADDRESS,
    HOST,
    authority,
    client_certificate,
    client_raw,
    raw_context,
    server_certificate,
    server_raw,
    strange_certificate,
    write_pem,
)


class Noting(tls_dispatcher_with_send):
    """Writes down what happens, and keeps the loop for itself."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.log: list[Any] = []
        self.got = b""
        self.error: BaseException | None = None
        super().__init__(*args, **options)

    def handle_connect(self) -> None:
        self.log.append("connect")

    def handle_handshake(self) -> None:
        self.log.append("handshake")

    def handle_read(self) -> None:
        data = self.recv(65536)
        self.got += data
        if data and self.log[-1:] != ["read"]:
            self.log.append("read")

    def handle_tls_error(self, exc: TLSError) -> None:
        self.error = exc
        self.log.append(type(exc).__name__)
        self.close()

    def handle_error(self) -> None:
        import sys

        self.error = sys.exc_info()[1]
        self.log.append(f"error {self.error!r}")
        self.close()

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def log_info(self, message: Any, type: str = "info") -> None:
        self.log.append(message)


def run(channels: Any, until: Callable[[], object], poller: str | None = None) -> None:
    """Run a loop until something is so."""
    late: list[bool] = []
    bound = call_later(20.0, late.append, True, map=channels)  # no test needs as long as that
    while not until():
        assert channels, "nothing left to wait for"
        assert not late, f"nothing happens: {dict(channels)}"
        loop(timeout=None, map=channels, count=1, poller=poller)
    bound.cancel()


class Pair:
    """A client and a server in one map."""

    def __init__(self, channels: Any, ends: Any, client: Any, server: Any, **client_options: Any):
        ours, theirs = ends
        self.channels = channels
        self.server = Noting(theirs, channels, context=server, server_side=True)
        client_options.setdefault("server_hostname", HOST)
        self.client = Noting(ours, channels, context=client, **client_options)

    def run(self, until: Callable[[], object], poller: str | None = None) -> None:
        run(self.channels, until, poller)


def test_bytes_pass_both_ways_and_the_end_is_clean(
    channels: Any, tcp_pair: Any, version: int, poller_name: str
) -> None:
    pair = Pair(channels, tcp_pair(), client_raw(version), server_raw(version))
    pair.client.send(b"hello")  # waits for the handshake
    pair.run(lambda: pair.server.got == b"hello", poller_name)
    pair.server.send(b"x" * 100_000)
    pair.run(lambda: len(pair.client.got) == 100_000, poller_name)
    assert pair.client.tls_version == ("TLSv1.2" if version == 0x303 else "TLSv1.3")
    pair.client.close()
    pair.run(lambda: not channels, poller_name)
    assert pair.server.log == ["handshake", "read", "close"]
    assert pair.client.log == ["handshake", "read"]
    assert pair.server.error is pair.client.error is None


def test_nothing_of_it_is_known_before_the_handshake(channels: Any, tcp_pair: Any) -> None:
    pair = Pair(channels, tcp_pair(), client_raw(), server_raw())
    for channel in (pair.client, pair.server):
        assert channel.tls_version is channel.cipher is channel.peer_certificate is None
        assert channel.alpn_protocol is channel.session_reused is channel.server_name is None
        assert channel.peer_chain == channel.peer_names == []
        assert channel.user_name() is None
        assert isinstance(channel.tls, OpenSSLSocket)
    pair.run(lambda: "handshake" in pair.client.log and "handshake" in pair.server.log)
    assert pair.server.server_name == HOST
    assert HOST in pair.client.peer_names and len(pair.client.peer_chain) == 2
    assert pair.client.cipher is not None and pair.client.peer_certificate is not None
    assert pair.client.alpn_protocol is None
    assert pair.client.session_reused is False


# Who refuses whom -------------------------------------------------------------------------------


def both_have(pair: Pair) -> Callable[[], bool]:
    return lambda: pair.client.error is not None and pair.server.error is not None


def test_a_client_refuses_a_server_of_another_authority(
    channels: Any, tcp_pair: Any, version: int
) -> None:
    server = raw_context(strange_certificate(), version=version)
    pair = Pair(channels, tcp_pair(), client_raw(version), server)
    pair.run(both_have(pair))
    assert type(pair.client.error) is CertificateError
    assert pair.client.error.reason == "certificate verify failed"
    assert type(pair.server.error) is PeerRefused
    assert pair.client.log == ["CertificateError"]
    assert pair.server.log == ["PeerRefused"]
    pair.run(lambda: not channels)


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2", "::1"])
def test_a_client_refuses_a_server_of_another_name(
    channels: Any, tcp_pair: Any, version: int, name: str
) -> None:
    pair = Pair(
        channels, tcp_pair(), client_raw(version), server_raw(version), server_hostname=name
    )
    pair.client.send(b"secret")
    pair.run(both_have(pair))
    assert type(pair.client.error) is CertificateError
    assert pair.client.error.code in (62, 64)
    assert pair.client.log == ["CertificateError"]
    assert pair.server.got == b""
    assert isinstance(pair.server.error, (TruncationError, OSError))


@pytest.mark.parametrize("name", [HOST, ADDRESS, HOST + "."])
def test_a_client_accepts_every_name_of_the_server(channels: Any, tcp_pair: Any, name: str) -> None:
    pair = Pair(channels, tcp_pair(), client_raw(), server_raw(), server_hostname=name)
    pair.run(lambda: "handshake" in pair.client.log)


@pytest.mark.parametrize("shows", ["nothing", "a stranger's"])
def test_a_server_refuses_a_client(channels: Any, tcp_pair: Any, version: int, shows: str) -> None:
    certificate = None if shows == "nothing" else strange_certificate()
    pair = Pair(
        channels, tcp_pair(), client_raw(version, certificate), server_raw(version, demands=True)
    )
    pair.client.send(b"hello")  # TLS 1.3: it may go out before the refusal comes
    pair.run(both_have(pair))
    assert type(pair.server.error) is CertificateError
    assert type(pair.client.error) is PeerRefused
    assert pair.server.log == ["CertificateError"]
    assert pair.client.log[-1] == "PeerRefused"
    assert pair.server.got == b""
    pair.run(lambda: not channels)


def test_a_server_knows_its_client(channels: Any, tcp_pair: Any, version: int) -> None:
    pair = Pair(
        channels,
        tcp_pair(),
        client_raw(version, client_certificate()),
        server_raw(version, demands=True),
    )
    pair.client.send(b"hello")
    pair.run(lambda: pair.server.got == b"hello")
    assert pair.server.user_name("email") == "client@example.org"


def test_no_common_version(channels: Any, tcp_pair: Any) -> None:
    pair = Pair(channels, tcp_pair(), client_raw(0x304), server_raw(0x303))
    pair.run(both_have(pair))
    assert type(pair.server.error) is ssl_ext.HandshakeError
    assert type(pair.client.error) is PeerRefused


def test_a_peer_that_speaks_no_tls(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    server = Noting(ours, channels, context=server_raw(), server_side=True)
    theirs.sendall(b"EHLO there.example\r\nMAIL FROM:<>\r\n")
    run(channels, lambda: server.error)
    assert type(server.error) is ssl_ext.HandshakeError
    assert server.error.queue
    assert server.got == b""


# How it ends ------------------------------------------------------------------------------------


def test_an_end_without_close_notify_is_a_truncation(
    channels: Any, tcp_pair: Any, version: int
) -> None:
    pair = Pair(channels, tcp_pair(), client_raw(version), server_raw(version))
    pair.client.send(b"hello")
    pair.run(lambda: pair.server.got == b"hello" and "handshake" in pair.client.log)
    pair.server.send(b"last words")
    assert pair.client._ac_tls is not None
    pair.client._ac_tls._raw.shutdown(socket.SHUT_WR)  # behind TLS's back
    pair.run(lambda: pair.server.error)
    assert type(pair.server.error) is TruncationError
    assert pair.server.log == ["handshake", "read", "TruncationError"]


def test_a_truncation_may_be_taken_for_an_end(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    client = Noting(ours, channels, context=client_raw(), server_hostname=HOST)
    sock = OpenSSLSocket(server_raw(), theirs, server_side=True, suppress_ragged_eofs=True)
    server = Noting(sock, channels)
    run(channels, lambda: "handshake" in server.log)
    client._ac_tls._raw.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
    run(channels, lambda: "close" in server.log)
    assert server.error is None


def test_a_reset_is_a_disconnection(channels: Any, tcp_pair: Any, version: int) -> None:
    pair = Pair(channels, tcp_pair(), client_raw(version), server_raw(version))
    pair.client.send(b"hello")
    pair.run(lambda: pair.server.got == b"hello")
    reset(pair.client)
    pair.run(lambda: "close" in pair.server.log)
    assert pair.server.error is None


@pytest.mark.parametrize("how", ["cleanly", "cut", "reset"])
def test_who_has_left_is_known(channels: Any, tcp_pair: Any, version: int, how: str) -> None:
    """In handle_close and after close, until the channel gets another socket."""
    pair = Pair(
        channels,
        tcp_pair(),
        client_raw(version, client_certificate()),
        server_raw(version, demands=True),
    )
    pair.client.send(b"hello")
    pair.run(lambda: pair.server.got == b"hello" and "handshake" in pair.client.log)
    server = pair.server
    known = server.user_name("email"), server.tls_version, server.cipher, server.peer_names
    assert known[0] == "client@example.org"
    seen: list[Any] = []

    def handle_close(*_: Any) -> None:
        for _ in range(2):
            seen.append(
                (server.user_name("email"), server.tls_version, server.cipher, server.peer_names)
            )
            server.close()

    server.handle_close = server.handle_tls_error = handle_close  # type: ignore[method-assign]
    if how == "cleanly":
        pair.client.close()
    elif how == "cut":
        pair.client._ac_tls._raw.shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
    else:
        reset(pair.client)
    pair.run(lambda: seen)
    assert seen == [known, known]
    server.tls_context = None
    server.set_socket(tcp_pair()[0])
    assert (server.user_name("email"), server.tls_version, server.peer_names) == (None, None, [])


def reset(channel: Any) -> None:
    """End a channel's connection with RST."""
    raw = channel._ac_tls._raw
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    channel.del_channel()
    raw.close()


def test_a_reset_in_the_middle_of_the_handshake(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    server = Noting(ours, channels, context=server_raw(), server_side=True)
    theirs.sendall(b"\x16\x03\x01\x02\x00\x01")
    loop(timeout=1, map=channels, count=1)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    theirs.close()
    run(channels, lambda: server.log)
    assert server.log == ["close"]
    assert server.error is None


def test_an_end_in_the_middle_of_the_handshake(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    server = Noting(ours, channels, context=server_raw(), server_side=True)
    theirs.sendall(b"\x16\x03\x01\x02\x00\x01")
    theirs.close()
    run(channels, lambda: server.log)
    assert server.log == ["TruncationError"]
    assert "during the handshake" in str(server.error)


def test_what_is_sent_just_before_closing_arrives(
    channels: Any, tcp_pair: Any, version: int
) -> None:
    class Chat(tls_async_chat):
        def handle_read(self) -> None:
            self.recv(1)

    ours, theirs = tcp_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    size = 3_000_000
    sender = Chat(ours, channels, context=client_raw(version), server_hostname=HOST)
    receiver = Noting(theirs, channels, context=server_raw(version), server_side=True)
    sender.push(b"x" * size)
    sender.close_when_done()
    receiver.send(b"y" * 100_000)  # lies unread: a plain close() would reset the connection
    run(channels, lambda: receiver.log[-1:] == ["close"])
    assert len(receiver.got) == size
    assert receiver.error is None
    run(channels, lambda: not channels)


# Connecting and accepting -----------------------------------------------------------------------


class Echo(tls_async_chat):
    """Echoes lines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.push(self._get_data() + b"\n")

    def handle_tls_error(self, exc: TLSError) -> None:
        self.close()


class Listener(tls_listener):
    """Keeps what it hands out."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.handed: list[Any] = []
        super().__init__(*args, **options)

    def handle_channel(self, channel: TLSMixin, addr: Any) -> None:
        self.handed.append(channel)


@pytest.mark.parametrize("family", ["AF_INET", "AF_UNIX"])
def test_a_client_connects_to_a_listener(
    channels: Any, version: int, family: str, tmp_path: Any, poller_name: str
) -> None:
    address: Any = str(tmp_path / "s") if family == "AF_UNIX" else ("127.0.0.1", 0)
    listener = Listener(address, Echo, context=server_raw(version), map=channels)
    client = Noting(map=channels, context=client_raw(version), server_hostname=HOST)
    client.create_socket(getattr(socket, family))
    client.connect(listener.socket.getsockname())
    assert client.log == []
    client.send(b"hello\n")
    run(channels, lambda: client.got == b"hello\n", poller_name)
    assert client.log == ["connect", "handshake", "read"]
    assert len(listener.handed) == 1
    listener.close()
    client.close()
    run(channels, lambda: not channels, poller_name)


def test_whom_a_client_connects_to_is_whom_it_expects(channels: Any) -> None:
    listener = Listener(("127.0.0.1", 0), Echo, context=server_raw(), map=channels)
    client = Noting(map=channels, context=client_raw())
    client.create_socket()
    client.connect(listener.socket.getsockname())
    run(channels, lambda: "handshake" in client.log)
    assert client.tls.server_hostname == "127.0.0.1"  # type: ignore[union-attr]


def test_a_connect_fails_with_the_handshake(channels: Any) -> None:
    listener = Listener(
        ("127.0.0.1", 0), Echo, context=raw_context(strange_certificate()), map=channels
    )
    client = Noting(map=channels, context=client_raw())
    client.create_socket()
    client.connect(listener.socket.getsockname())
    run(channels, lambda: client.error)
    assert client.log == ["CertificateError"]
    assert type(client.error) is CertificateError


def test_a_refused_connect(channels: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        client = Noting(map=channels, context=client_raw())
        client.create_socket()
        client.connect(nobody.getsockname())
        run(channels, lambda: client.error)
    assert isinstance(client.error, ConnectionRefusedError)


def test_a_listener_that_cant_listen_leaves_nothing(channels: Any) -> None:
    with pytest.raises(OSError):
        tls_listener(("192.0.2.1", 1), context=server_raw(), map=channels)
    with pytest.raises(TypeError, match="needs context="):
        tls_listener(("127.0.0.1", 0), map=channels)
    assert not channels


def test_a_slow_handshake_delays_nobody(channels: Any) -> None:
    listener = Listener(("127.0.0.1", 0), Echo, context=server_raw(), map=channels)
    with socket.create_connection(listener.socket.getsockname()) as slow:
        slow.sendall(b"\x16\x03\x01")
        run(channels, lambda: listener.handed)
        client = Noting(map=channels, context=client_raw(), server_hostname=HOST)
        client.create_socket()
        client.connect(listener.socket.getsockname())
        client.send(b"quick\n")
        run(channels, lambda: client.got == b"quick\n")
        assert len(listener.handed) == 2


# Classes that know nothing of TLS -----------------------------------------------------------------


class Legacy(dispatcher_with_send):
    """A program of 2010: it knows `recv`, `send` and `handle_error`."""

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        dispatcher_with_send.__init__(self, sock, map)
        self.got = b""
        self.log: list[str] = []

    def handle_connect(self) -> None:
        self.log.append("connect")

    def handle_read(self) -> None:
        self.log.append("read")
        self.got += self.recv(7)

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        import sys

        self.log.append(f"error {type(sys.exc_info()[1]).__name__}")
        self.close()


def test_a_legacy_class_is_given_a_tls_socket(
    channels: Any, tcp_pair: Any, version: int, poller_name: str
) -> None:
    ours, theirs = tcp_pair()
    server = Legacy(OpenSSLSocket(server_raw(version), theirs, server_side=True), channels)
    client = Legacy(map=channels)
    client.set_socket(ours)
    client.connected = True
    client.socket = OpenSSLSocket(client_raw(version), ours, server_hostname=HOST)
    message = bytes(range(256))
    client.send(message)
    run(channels, lambda: server.got == message, poller_name)
    # Every call had plaintext: the handshake made none, and no record was forgotten.
    assert server.log == ["read"] * 37
    client.close()
    run(channels, lambda: not channels, poller_name)
    assert server.log[37:] == ["read", "close"]
    assert client.log == []


def test_a_legacy_class_connects(channels: Any, version: int) -> None:
    listener = Listener(("127.0.0.1", 0), Echo, context=server_raw(version), map=channels)
    client = Legacy(map=channels)
    client.set_socket(OpenSSLSocket(client_raw(version), socket.socket(), server_hostname=HOST))
    client.connect(listener.socket.getsockname())
    client.send(b"hi\n")
    run(channels, lambda: client.got == b"hi\n")
    assert client.log == ["connect", "read"]


def test_a_legacy_class_finds_the_error_current(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    client = Legacy(OpenSSLSocket(client_raw(), ours, server_hostname=HOST), channels)
    server = Legacy(
        OpenSSLSocket(raw_context(strange_certificate()), theirs, server_side=True), channels
    )
    run(channels, lambda: client.log and server.log)
    assert client.log == ["read", "error CertificateError"]
    assert server.log == ["read", "error PeerRefused"]


def test_a_legacy_listener_hands_out_tls(channels: Any) -> None:
    class Server(dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            Echo(sock, channels)

    listener = Server(map=channels)
    listener.set_socket(OpenSSLSocket(server_raw(), socket.socket(), server_side=True))
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    client = Noting(map=channels, context=client_raw(), server_hostname=HOST)
    client.create_socket()
    client.connect(listener.socket.getsockname())
    client.send(b"hi\n")
    run(channels, lambda: client.got == b"hi\n")


# STARTTLS and back --------------------------------------------------------------------------------


class Line(tls_async_chat):
    """A protocol that begins in clear: STARTTLS, CCC, and echoes."""

    def __init__(self, sock: Any, map: Any, role: Any) -> None:
        super().__init__(sock, map)
        self.role = role
        self.log: list[str] = []
        self.error: TLSError | None = None
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data().decode()
        self.log.append(line)
        self.role(line)

    def handle_handshake(self) -> None:
        self.log.append("(TLS)")

    def handle_unwrapped(self) -> None:
        self.log.append("(clear)")

    def handle_tls_error(self, exc: TLSError) -> None:
        self.log.append(type(exc).__name__)
        self.error = exc
        self.close()


def test_from_clear_to_tls_and_back(
    channels: Any, tcp_pair: Any, version: int, poller_name: str
) -> None:
    def serve(line: str) -> None:
        if line == "STARTTLS":
            server.push(b"ready\n")
            server.start_tls(server_raw(version), server_side=True)
        elif line == "CCC":
            server.push(b"clear\n")
            server.unwrap()
            server.push(b"in clear\n")
        else:
            server.push(line.encode() + b"\n")

    def ask(line: str) -> None:
        if line == "ready":
            client.start_tls(client_raw(version), server_hostname=HOST)
            client.push(b"secret\n")
        elif line == "secret":
            client.push(b"CCC\n")
        elif line == "clear":
            client.unwrap()
        elif line == "in clear":
            client.push(b"plain\n")

    ours, theirs = tcp_pair()
    server = Line(theirs, channels, lambda line: serve(line))
    client = Line(ours, channels, lambda line: ask(line))
    client.push(b"STARTTLS\n")
    run(channels, lambda: "plain" in client.log, poller_name)
    assert server.log == ["STARTTLS", "(TLS)", "secret", "CCC", "(clear)", "plain"]
    assert client.log == ["ready", "(TLS)", "secret", "clear", "(clear)", "in clear", "plain"]
    assert server.tls is client.tls is None
    with pytest.raises(RuntimeError, match="doesn't speak TLS"):
        server.unwrap()
    server.start_tls(server_raw(version), server_side=True)
    with pytest.raises(RuntimeError, match="speaks TLS already"):
        server.start_tls(server_raw(version), server_side=True)


@pytest.mark.parametrize("paused", ["never", "before", "after"])
def test_what_came_in_clear_before_the_handshake_is_thrown_away(
    channels: Any, tcp_pair: Any, paused: str
) -> None:
    ours, theirs = tcp_pair()

    def serve(line: str) -> None:
        assert line == "STARTTLS"
        if paused == "before":
            server.pause_reading()
        server.start_tls(server_raw(), server_side=True)
        if paused == "after":
            server.pause_reading()

    server = Line(theirs, channels, lambda line: serve(line))
    ours.sendall(b"STARTTLS\ninjected\n")
    run(channels, lambda: server.log)
    server.resume_reading()
    client = Noting(ours, channels, context=client_raw(), server_hostname=HOST)
    run(channels, lambda: "handshake" in client.log and "(TLS)" in server.log)
    assert server.log == ["STARTTLS", "(TLS)"]


def test_what_comes_in_clear_after_that_is_no_handshake(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    server = Line(theirs, channels, lambda line: None)
    server.start_tls(server_raw(), server_side=True)
    ours.sendall(b"injected, later\n")
    run(channels, lambda: server.error)
    assert server.log == ["HandshakeError"]


def test_output_that_was_queued_goes_out_in_clear_first(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    server = Line(theirs, channels, lambda line: None)
    text = b"0123456789" * 200_000
    server.push(text)
    server.push_with_producer(asynchat.simple_producer(b"the end"))
    server.start_tls(server_raw(), server_side=True)
    server.push(b"secret")
    client = Noting(ours, channels)
    run(channels, lambda: len(client.got) >= len(text) + 7)
    assert client.got == text + b"the end"
    client.start_tls(client_raw(), server_hostname=HOST)
    run(channels, lambda: client.got.endswith(b"secret"))


def test_start_tls_needs_a_connection(channels: Any, tcp_pair: Any) -> None:
    channel = tls_dispatcher(map=channels)
    with pytest.raises(RuntimeError, match="no connection"):
        channel.start_tls(client_raw(), server_hostname=HOST)
    ours, _ = tcp_pair()
    chat = Line(ours, channels, lambda line: None)
    with pytest.raises(ValueError, match="whose certificate"):
        chat.start_tls(client_raw())
    assert chat.tls is None and chat.tls_context is None
    chat.producer_fifo.append(b"bye")
    chat.close_when_done()
    with pytest.raises(RuntimeError, match="close_when_done"):
        chat.start_tls(client_raw(), server_hostname=HOST)


def test_with_send_begins_tls_too(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    server = Noting(theirs, channels)
    server.send(b"")
    server.out_buffer = b"220 go ahead\n"
    server.start_tls(server_raw(), server_side=True)
    assert server.out_buffer == b""
    client = Noting(ours, channels)
    run(channels, lambda: client.got == b"220 go ahead\n")
    client.start_tls(client_raw(), server_hostname=HOST)
    server.send(b"secret")
    run(channels, lambda: client.got.endswith(b"secret"))
    assert client.log == ["read", "handshake", "read"]
    server.unwrap()
    client.unwrap()
    run(channels, lambda: server.tls is client.tls is None)
    server.send(b"open")
    run(channels, lambda: client.got.endswith(b"open"))


# Peers in pieces --------------------------------------------------------------------------------


class Trickle(dispatcher):
    """Hands on what it receives, so many bytes at a time, one piece per turn."""

    def __init__(self, sock: Any, map: Any, size: int) -> None:
        super().__init__(sock, map)
        self.size = size
        self.other: Trickle
        self.held = b""
        self.ended = False
        self.passed = 0
        self.limit = 1 << 30

    def readable(self) -> bool:
        return not self.ended

    def writable(self) -> bool:
        return bool(self.held)

    def handle_read(self) -> None:
        data = self.recv(65536)
        self.other.held += data

    def handle_write(self) -> None:
        piece = self.held[: min(self.size, self.limit - self.passed)]
        if piece:
            count = self.send(piece) or 0
            self.held = self.held[count:]
            self.passed += count
        if self.passed >= self.limit:
            self.held = b""
            self.close()
            self.other.close()
        elif self.ended_other and not self.held:
            self.socket.shutdown(socket.SHUT_WR)

    @property
    def ended_other(self) -> bool:
        return self.other.ended

    def handle_close(self) -> None:
        self.ended = True
        if not self.other.held and self.other.socket is not None:
            try:
                self.other.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass


def through(channels: Any, tcp_pair: Any, size: int) -> tuple[Any, Any, Trickle, Trickle]:
    """Two ends with a trickling proxy in between."""
    ours, one = tcp_pair()
    two, theirs = tcp_pair()
    a, b = Trickle(one, channels, size), Trickle(two, channels, size)
    a.other, b.other = b, a
    return ours, theirs, a, b


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 100, 1000])
def test_fragments_of_every_size(channels: Any, tcp_pair: Any, version: int, size: int) -> None:
    ours, theirs, _, _ = through(channels, tcp_pair, size)
    pair = Pair(channels, (ours, theirs), client_raw(version), server_raw(version))
    pair.client.send(b"hello")
    pair.server.send(b"welcome")
    run(channels, lambda: pair.server.got == b"hello" and pair.client.got == b"welcome")
    assert pair.server.log == pair.client.log == ["handshake", "read"]
    pair.client.close()
    run(channels, lambda: pair.server.log[-1] == "close")
    assert pair.server.error is None


@pytest.mark.parametrize("cut", ["client", "server"])
def test_cut_after_every_byte(channels: Any, tcp_pair: Any, version: int, cut: str) -> None:
    """Whatever is missing, it is never taken for a clean end, and never delivered in part."""
    limit = 0
    while True:
        ours, theirs, a, b = through(channels, tcp_pair, 100_000)
        # `b` hands on what the client says, `a` what the server says.
        (b if cut == "client" else a).limit = limit
        pair = Pair(channels, (ours, theirs), client_raw(version), server_raw(version))
        listens, talks = (
            (pair.server, pair.client) if cut == "client" else (pair.client, pair.server)
        )
        talks.send(b"hello")
        if limit == 0:
            a.close()
            b.close()
        run(channels, partial(_over, listens))
        if listens.got == b"hello":
            assert limit > 300
            asynccore.close_all(channels, ignore_all=True)
            break
        assert listens.got == b""
        assert type(listens.error) is TruncationError or "close" in listens.log
        asynccore.close_all(channels, ignore_all=True)
        for end in (ours, theirs):
            end.close()
        limit += 1 if limit < 12 else 23


def _over(channel: Any) -> bool:
    return channel.got == b"hello" or (channel.log[-1:] and channel.log[-1] in ENDS)


ENDS = ("TruncationError", "close", "PeerRefused", "HandshakeError")


# Half-closed, by name, in time ----------------------------------------------------------------


class Half(Noting):
    """Goes on sending after the peer has ended."""

    def handle_eof(self) -> None:
        self.log.append("eof")


def test_each_direction_ends_by_itself(channels: Any, tcp_pair: Any, version: int) -> None:
    ours, theirs = tcp_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    server = Half(theirs, channels, context=server_raw(version), server_side=True)
    client = Half(ours, channels, context=client_raw(version), server_hostname=HOST)
    client.send(b"x" * 1_000_000)
    client.shutdown_write()
    run(channels, lambda: "eof" in server.log)
    assert len(server.got) == 1_000_000
    server.send(b"y" * 1_000_000)
    server.shutdown_write()
    run(channels, lambda: "close" in client.log)
    assert len(client.got) == 1_000_000
    assert client.error is server.error is None


def test_whom_a_client_connects_to_by_name_is_whom_it_expects(channels: Any) -> None:
    listener = Listener(("127.0.0.1", 0), Echo, context=server_raw(), map=channels)
    client = Noting(map=channels, context=client_raw())
    client.connect_name("127.0.0.1", listener.socket.getsockname()[1])
    client.send(b"hi\n")
    run(channels, lambda: client.got == b"hi\n")
    assert client.log == ["connect", "handshake", "read"]
    client.close()
    client = Noting(map=channels, context=client_raw())
    client.connect_name("localhost", listener.socket.getsockname()[1], family=socket.AF_INET)
    run(channels, lambda: client.error)
    assert type(client.error) is CertificateError


def test_lines_are_bounded(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    server = Echo(theirs, channels, context=server_raw(), server_side=True)
    client = Noting(ours, channels, context=client_raw(), server_hostname=HOST)
    assert server.max_line_length == 65536
    client.send(b"x" * 65537)
    run(channels, lambda: client.log[-1:] == ["close"])


class Timed(Noting):
    """Says which time was up."""

    def handle_timeout(self, which: str) -> None:
        self.log.append(f"timeout {which}")
        super().handle_timeout(which)


@pytest.fixture
def clock(channels: Any) -> Any:
    """A clock that a test moves; the poller is a real one."""
    made = FakeClock()
    channels.engine = Engine(channels, made)
    return made


def turns(channels: Any, until: Callable[[], object] | None = None) -> None:
    """Run a loop whose clock stands still; without `until`, for as long as anything happens."""
    engine = engine_for(channels)
    for _ in range(1000):
        loop(timeout=0, map=channels, count=1)
        if until is not None and until():
            return
        ready = [] if engine.poller is None else [engine.poller.fileno()]
        if not select.select(ready, [], [], 0 if until is None else 20)[0] and until is None:
            return


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_handshake_has_a_deadline_whatever_trickles_in(
    channels: Any, tcp_pair: Any, clock: FakeClock, role: str
) -> None:
    ours, theirs = tcp_pair()
    context = client_raw() if role == "client" else server_raw()
    name = HOST if role == "client" else None
    channel = Timed(
        ours, channels, context=context, server_side=role == "server", server_hostname=name
    )
    for byte in b"\x16\x03\x03\x02\x00\x01":
        theirs.sendall(bytes([byte]))
        turns(channels)
        clock.advance(9.9)
    turns(channels)
    assert channel.log == []
    clock.advance(0.7)
    turns(channels)
    assert channel.log[0] == "timeout handshake"
    assert channel.log[-1] == "close"
    assert not channels


def test_what_handle_error_raises_at_the_deadline_leaves_the_loop(
    channels: Any, tcp_pair: Any, clock: FakeClock
) -> None:
    class Strict(Timed):
        def handle_timeout(self, which: str) -> None:
            raise ValueError("too late")

        def handle_error(self) -> None:
            self.close()
            raise

    ours, _ = tcp_pair()
    Strict(ours, channels, context=server_raw(), server_side=True)
    turns(channels)
    clock.advance(61)
    with pytest.raises(ValueError, match="too late"):
        turns(channels)
    assert not channels


def test_a_legacy_class_has_the_deadline_too(
    channels: Any, tcp_pair: Any, clock: FakeClock
) -> None:
    ours, _ = tcp_pair()
    channel = Legacy(
        OpenSSLSocket(server_raw(), ours, server_side=True, handshake_timeout=5.0), channels
    )
    turns(channels)
    clock.advance(5.1)
    turns(channels)
    turns(channels)  # the timer comes after the events, and this is one
    assert channel.log == ["read", "error HandshakeError"]


@pytest.fixture
def shaken(channels: Any, tcp_pair: Any) -> Callable[[Any], tuple[Timed, Any]]:
    """Make a client, and a server of a class, whose handshake is over."""

    def make(server_class: Any) -> tuple[Timed, Any]:
        ours, theirs = tcp_pair()
        server = server_class(theirs, channels, context=server_raw(), server_side=True)
        client = Timed(ours, channels, context=client_raw(), server_hostname=HOST)
        turns(channels, lambda: "handshake" in client.log and "handshake" in server.log)
        return client, server

    return make


def test_a_handshake_that_is_over_has_no_deadline(
    channels: Any, clock: FakeClock, shaken: Any
) -> None:
    client, server = shaken(Timed)
    clock.advance(1000.0)
    turns(channels)
    assert client.log == server.log == ["handshake"]


def test_a_peer_that_never_answers_the_end_is_waited_for_so_long(
    channels: Any, clock: FakeClock, shaken: Any
) -> None:
    client, server = shaken(Timed)
    server.pause_reading()
    client.close()
    turns(channels)
    assert len(channels) == 2
    assert "closing TLS connection" in repr(list(channels.values()))
    clock.advance(30.1)
    turns(channels)
    assert list(channels.values()) == [server]


def test_a_peer_that_never_goes_back_to_plaintext(
    channels: Any, clock: FakeClock, shaken: Any
) -> None:
    client, server = shaken(Half)
    client.unwrap()
    server.send(b"still there")
    turns(channels, lambda: client.got)
    assert client.got == b"still there"
    clock.advance(30.1)
    turns(channels)
    assert type(client.error) is TLSError
    assert client.log[-1] == "TLSError"


@pytest.mark.parametrize("seconds", [-1, "60", True])
def test_a_timeout_that_is_none_is_refused(channels: Any, seconds: Any) -> None:
    class Odd(tls_dispatcher):
        handshake_timeout = seconds

    with pytest.raises((TypeError, ValueError), match="handshake_timeout"):
        Odd(map=channels)


# Foreign peers ------------------------------------------------------------------------------------

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command")


@needs_openssl
@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_openssl_s_client(channels: Any, tmp_path: Any, flag: str) -> None:
    listener = Listener(("127.0.0.1", 0), Echo, context=server_raw(), map=channels)
    ca = write_pem(tmp_path, "ca.pem", authority().cert_pem)
    port = listener.socket.getsockname()[1]
    child = subprocess.Popen(
        [
            *(OPENSSL or "", "s_client", flag, "-quiet", "-verify_return_error"),
            *("-no_ign_eof", "-verify_hostname", HOST, "-CAfile", str(ca)),
            *("-connect", f"127.0.0.1:{port}"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None and child.stdout is not None
    reader = asynccore.file_dispatcher(child.stdout.fileno(), channels)
    got: list[bytes] = []
    reader.handle_read = lambda: got.append(reader.recv(100))  # type: ignore[method-assign]
    child.stdin.write(b"hello\n")
    child.stdin.flush()
    run(channels, lambda: b"".join(got) == b"hello\n")
    reader.close()
    child.communicate()
    listener.close()
    run(channels, lambda: not channels)


@needs_openssl
@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
def test_openssl_s_server(channels: Any, tmp_path: Any, flag: str) -> None:
    leaf = server_certificate()
    pem = write_pem(tmp_path, "server.pem", leaf.private_key_pem, *leaf.cert_chain_pems)
    child = subprocess.Popen(
        [
            *(OPENSSL or "", "s_server", flag, "-rev"),
            *("-cert", str(pem), "-accept", "127.0.0.1:0"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    try:
        line = next(line for line in child.stdout if line.startswith(b"ACCEPT"))
        client = Noting(map=channels, context=client_raw(), server_hostname=HOST)
        client.create_socket()
        client.connect(("127.0.0.1", int(line.rpartition(b":")[2])))
        client.send(b"hello\n")
        run(channels, lambda: client.got == b"olleh\n")
        client.close()
        run(channels, lambda: not channels)
    finally:
        child.kill()
        child.communicate()
