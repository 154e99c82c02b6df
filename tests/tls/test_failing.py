"""A connection that fails before TLS is established: its channel is told, whatever it waits for."""

from __future__ import annotations

import os
import socket
import struct
import sys
from errno import EAGAIN, ENOTCONN
from pathlib import Path
from typing import Any

import pytest

from asynccore import dispatcher, loop
from asynccore.engine import Engine
from asynccore.pollers import ERROR, PRIORITY, READ
from asynccore.testing import FakeClock
from ssl_ext import OpenSSLSocket, PeerRefused, tls_dispatcher_with_send, tls_listener
from ssl_ext.states import CONNECTING
from tests.tls.support import HOST, TLS13, client_raw, server_raw, shake
from tests.tls.talking import settle
from tests.tls.wire import Noting

# A client's first bytes: the rest of its hello never comes.
BEGINNING = b"\x16\x03\x01\x02\x00\x01"
NO_TLS = b"GET / HTTP/1.0\r\n\r\n"


def reset(sock: socket.socket) -> None:
    """End a connection with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Paused(Noting):
    """Reads nothing before the handshake is over, as long as nobody says so."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.pause_reading()


class Idle(dispatcher):
    """A legacy class that waits for nothing at all."""

    def __init__(self, sock: Any, map: Any) -> None:
        self.log: list[str] = []
        super().__init__(sock, map)

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return False

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log.append(f"error {type(sys.exc_info()[1]).__name__}")
        self.close()


def paused(sock: Any, channels: Any) -> Any:
    return Paused(sock, channels, context=server_raw(), server_side=True)


def idle(sock: Any, channels: Any) -> Any:
    return Idle(
        OpenSSLSocket(server_raw(), sock, server_side=True, handshake_timeout=60.0), channels
    )


KINDS = pytest.mark.parametrize("kind", [paused, idle])


@KINDS
def test_a_reset_is_told(channels: Any, tcp_pair: Any, kind: Any, poller_name: str) -> None:
    ours, theirs = tcp_pair()
    channel = kind(ours, channels)
    theirs.sendall(BEGINNING)
    loop(timeout=0, map=channels, count=1, poller=poller_name)
    reset(theirs)
    settle(channels, lambda: channel.log)
    assert channel.log == ["close"]
    assert not channels


@KINDS
def test_a_failure_of_tls_is_told(channels: Any, tcp_pair: Any, kind: Any) -> None:
    ours, theirs = tcp_pair()
    channel = kind(ours, channels)
    theirs.sendall(NO_TLS)
    settle(channels, lambda: channel.log)
    assert channel.log == ["HandshakeError" if kind is paused else "error HandshakeError"]


def test_a_handshake_that_takes_too_long_is_told(channels: Any, tcp_pair: Any) -> None:
    clock = FakeClock()
    channels.engine = Engine(channels, clock)
    ours, _ = tcp_pair()
    channel = idle(ours, channels)
    loop(timeout=0, map=channels, count=1)
    clock.advance(60.1)
    loop(timeout=0, map=channels, count=1)  # the timer comes after the events, and this is one
    loop(timeout=0, map=channels, count=1)
    assert channel.log == ["error HandshakeError"]


def test_a_connect_that_fails_on_the_handshake_is_told(channels: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Paused(map=channels, context=client_raw(), server_hostname=HOST)
        client.create_socket()
        client.connect(listener.getsockname())
        client.pause_reading()
        client.writable = lambda: False  # type: ignore[method-assign]
        settle(channels, lambda: client.tls.state == "handshaking")  # type: ignore[union-attr]
        reset(listener.accept()[0])
        settle(channels, lambda: client.log)
    assert client.log == ["error ConnectionResetError"]


def test_who_is_told_and_stays_is_not_told_again(channels: Any, tcp_pair: Any) -> None:
    class Stays(Idle):
        def handle_error(self) -> None:
            self.log.append("error")

    ours, theirs = tcp_pair()
    channel = Stays(OpenSSLSocket(server_raw(), ours, server_side=True), channels)
    theirs.sendall(NO_TLS)
    settle(channels, lambda: channel.log)
    for _ in range(5):
        loop(timeout=0, map=channels, count=1)
    assert channel.log == ["error"]


@pytest.mark.parametrize("before", ["tls", "start_tls"])
def test_a_reset_before_tls_is_not_left_to_who_reads(
    channels: Any, tcp_pair: Any, before: str
) -> None:
    """A class that has no `handle_read` yet learns of it, and keeps no loop busy."""

    class Deaf(tls_dispatcher_with_send):
        closed = 0

        def handle_close(self) -> None:
            self.closed += 1

    ours, theirs = tcp_pair()
    if before == "tls":
        channel = Deaf(ours, channels, context=server_raw(), server_side=True)
        theirs.sendall(BEGINNING)
        loop(timeout=0, map=channels, count=2)
        reset(theirs)
    else:
        channel = Deaf(ours, channels)
        reset(theirs)
        channel.start_tls(server_raw(), server_side=True)
    settle(channels, lambda: channel.closed)
    loop(timeout=0, map=channels, count=5)
    seen = channels.engine.events
    loop(timeout=0, map=channels, count=20)
    assert channel.closed == 1 and channels.engine.events == seen


def test_who_pays_no_heed_does_not_keep_the_loop_busy(channels: Any, tcp_pair: Any) -> None:
    class Deaf(Idle):
        def handle_expt_event(self) -> None:
            self.log.append("told")

    ours, theirs = tcp_pair()
    channel = Deaf(OpenSSLSocket(server_raw(), ours, server_side=True), channels)
    theirs.sendall(NO_TLS)
    settle(channels, lambda: channel.log)
    loop(timeout=0, map=channels, count=20)
    before = channels.engine.events
    loop(timeout=0, map=channels, count=20)
    assert channels.engine.events == before


def test_what_fails_later_waits_for_its_channel_to_read() -> None:
    ours, theirs = socket.socketpair()
    client = OpenSSLSocket(client_raw(), ours, server_hostname=HOST)
    server = OpenSSLSocket(server_raw(), theirs, server_side=True)
    shake(client, server)
    server._fail(OSError(ENOTCONN, "gone"))
    assert server._ac_ready_now(0) == 0 and server._ac_ready_now(READ) == READ
    client.close()
    server.close()


def test_resets_do_not_fill_a_listener(channels: Any) -> None:
    class Narrow(tls_listener):
        max_handshakes = 2

    listener = Narrow(("127.0.0.1", 0), Paused, context=server_raw(), map=channels)
    address = listener.socket.getsockname()
    strangers = [socket.create_connection(address) for _ in range(2)]
    for stranger in strangers:
        stranger.send(BEGINNING)  # so that it makes no room
    settle(channels, lambda: len(channels) == 3)
    for stranger in strangers:
        reset(stranger)
    client = Noting(map=channels, context=client_raw(), server_hostname=HOST)
    client.create_socket()
    client.connect(address)
    settle(channels, lambda: client.log)
    assert client.log[-1:] == ["handshake"]


# Streams that were over before TLS began ---------------------------------------------------------


class Taking(dispatcher):
    """A legacy listener."""

    taken: list[Idle]

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.taken.append(Legacy(sock, self._map))


class Legacy(Idle):
    """A legacy class that reads."""

    def readable(self) -> bool:
        return True

    def handle_read(self) -> None:
        self.recv(100)


@pytest.mark.parametrize("own", ["tls_listener", "legacy"])
def test_a_stranger_that_connects_and_resets(channels: Any, own: str, poller_name: str) -> None:
    taken: list[Any] = []

    class Own(tls_listener):
        def handle_channel(self, channel: Any, addr: Any) -> None:
            taken.append(channel)

    if own == "legacy":
        listener: Any = Taking(map=channels)
        listener.taken = taken
        listener.set_socket(OpenSSLSocket(server_raw(), socket.socket(), server_side=True))
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
    else:
        listener = Own(("127.0.0.1", 0), Noting, context=server_raw(), map=channels)
    reset(socket.create_connection(listener.socket.getsockname()))
    loop(timeout=5, map=channels, count=1, poller=poller_name)
    settle(channels, lambda: taken and taken[0].log)
    assert taken[0].log == ["close"]
    assert list(channels.values()) == [listener]


@pytest.mark.parametrize("last", [b"", BEGINNING])
def test_tls_that_begins_after_a_reset(
    channels: Any, tcp_pair: Any, last: bytes, poller_name: str
) -> None:
    ours, theirs = tcp_pair()
    channel = Noting(ours, channels)
    theirs.sendall(last)
    reset(theirs)
    channel.start_tls(server_raw(), server_side=True)
    loop(timeout=5, map=channels, count=1, poller=poller_name)
    settle(channels, lambda: channel.log)
    assert channel.log == ["close"]


def test_one_that_was_never_connected(channels: Any, poller_name: str) -> None:
    channel = Noting(map=channels, context=client_raw(), server_hostname=HOST)
    channel.create_socket()
    loop(timeout=0, map=channels, count=1, poller=poller_name)
    if not channel.log:
        pytest.skip("the system reports nothing for a socket without a connection")
    assert channel.log == ["close"]


def test_a_connect_under_way_is_left_alone() -> None:
    class Connecting(socket.socket):
        def recv(self, *args: Any) -> bytes:
            raise BlockingIOError(EAGAIN, "under way")

    sock = OpenSSLSocket(client_raw(), Connecting(), server_hostname=HOST)
    assert sock._ac_handle_event(ERROR | PRIORITY, READ) == 0
    assert sock.state is CONNECTING
    sock.close()


@pytest.mark.parametrize("legacy", [False, True])
def test_an_af_unix_listener_with_a_full_backlog(
    channels: Any, tmp_path: Path, legacy: bool
) -> None:
    path = str(tmp_path / "s")
    fill: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        number = 0
        while not number and len(fill) < 1000:
            fill.append(socket.socket(socket.AF_UNIX))
            fill[-1].setblocking(False)
            number = fill[-1].connect_ex(path)
        log: list[str] = []
        if legacy:
            client: Any = Legacy(None, channels)
            raw = socket.socket(socket.AF_UNIX)
            client.set_socket(OpenSSLSocket(client_raw(), raw, server_hostname=HOST))
        else:
            client = Noting(map=channels, context=client_raw(), server_hostname=HOST)
            client.create_socket(socket.AF_UNIX)
        client.handle_connect = lambda: log.append("connect")
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            client.connect(path)
        assert caught.value.errno == number
        for _ in range(3):
            loop(timeout=0, map=channels, count=1)
        assert log == []
    for sock in fill:
        sock.close()


# Refused after the client's handshake (TLS 1.3) ---------------------------------------------------


@pytest.mark.parametrize("writes", [False, True])
def test_a_client_that_only_writes_hears_that_it_is_refused(
    channels: Any, tcp_pair: Any, version: int, writes: bool, poller_name: str
) -> None:
    ours, theirs = tcp_pair()
    server = Noting(theirs, channels, context=server_raw(version, demands=True), server_side=True)
    client = Paused(ours, channels, context=client_raw(version), server_hostname=HOST)
    if writes:
        client.send(b"a message")
    for _ in range(100):
        loop(timeout=0.01, map=channels, count=1, poller=poller_name)
        if client.log[-1:] == ["PeerRefused"]:
            break
    assert client.log[-1:] == ["PeerRefused"]
    assert type(client.error) is PeerRefused
    assert server.log == ["CertificateError"]


def test_a_legacy_client_that_waits_for_nothing_hears_it_too(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    context = server_raw(TLS13, demands=True)
    server = Noting(theirs, channels, context=context, server_side=True)
    client = Idle(OpenSSLSocket(client_raw(TLS13), ours, server_hostname=HOST), channels)
    settle(channels, lambda: client.log)
    assert client.log == ["error PeerRefused"]
    assert server.log == ["CertificateError"]


def test_what_comes_to_a_client_that_only_writes_waits_for_it(
    channels: Any, tcp_pair: Any, poller_name: str
) -> None:
    """It is looked at once whether it was refused: the first record is kept, and no other read."""
    ours, theirs = tcp_pair()
    server = Noting(theirs, channels, context=server_raw(TLS13), server_side=True)
    client = Paused(ours, channels, context=client_raw(TLS13), server_hostname=HOST)
    server.begin = lambda: server.send(b"hello")
    settle(channels, lambda: "handshake" in client.log and "handshake" in server.log)
    loop(timeout=0, map=channels, count=20, poller=poller_name)
    assert client.got == b""
    server.send(b" again")
    loop(timeout=0, map=channels, count=5, poller=poller_name)
    assert unread(ours) > 0, "only the first record was read"
    assert client.socket._ac_poll_interest(0) == 0
    client.resume_reading()
    settle(channels, lambda: client.got == b"hello again")


def unread(sock: socket.socket) -> int:
    try:
        return len(sock.recv(1000, socket.MSG_PEEK))
    except BlockingIOError:
        return 0
