"""How connections end: in each state, with full sockets and silent peers, and nothing is lost."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from errno import EBADF
from typing import Any

import pytest
from OpenSSL import SSL

import asynccore
from asynccore import ChannelMap, asynchat
from asynccore.engine import engine_for
from asynccore.testing import FakeClock
from ssl_ext import (
    TLSError,
    tls_async_chat,
    tls_dispatcher_with_send,
)
from ssl_ext.sockets.lingering import LingeringChannel, linger
from ssl_ext.sockets.records import RecordWriter
from tests.tls.support import ADDRESS, HOST, TLS12, client_raw, server_raw
from tests.tls.talking import settle


class Channel(tls_dispatcher_with_send):
    """Writes down what happens to it."""

    ended = unwrapped = False
    error: BaseException | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        self.got = b""
        super().__init__(*args, **options)

    def handle_read(self) -> None:
        self.got += self.recv(65536)

    def handle_eof(self) -> None:
        self.ended = True

    def handle_close(self) -> None:
        self.ended = True
        self.close()

    def handle_unwrapped(self) -> None:
        self.unwrapped = True

    def handle_tls_error(self, exc: TLSError) -> None:
        self.error = exc
        self.close()


@pytest.fixture
def tcp_listener() -> Iterator[socket.socket]:
    """Somebody to connect to."""
    with socket.create_server((ADDRESS, 0)) as made:
        yield made


@pytest.fixture
def ends(channels: ChannelMap, tcp_pair: Any, version: int) -> tuple[Channel, Channel]:
    """A client and a server whose handshake is over."""
    ours, theirs = tcp_pair()
    client = Channel(ours, channels, context=client_raw(version), server_hostname=HOST)
    server = Channel(theirs, channels, context=server_raw(version), server_side=True)
    for sender, receiver in ((client, server), (server, client)):
        sender.send(b"hello")
        settle(channels, lambda: receiver.got == b"hello")  # noqa: B023 - called at once
        receiver.got = b""
    return client, server


def spins(channels: ChannelMap) -> bool:
    """Whether a loop finds something to do again and again, while no peer does anything."""
    asynccore.loop(timeout=0, map=channels, count=10)  # what there still is to do
    engine = engine_for(channels)
    before = engine.events
    asynccore.loop(timeout=0, map=channels, count=10)
    return engine.events != before


def drive(channels: ChannelMap, until: Callable[[], object]) -> None:
    """Run a loop beside a peer that `until` itself drives, until that is true."""
    for _ in range(10_000):
        if until():
            return
        asynccore.loop(timeout=0, map=channels, count=1)
    raise AssertionError("nothing happens any more")


# Peers that don't answer ------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "shutdown_write", "unwrap"])
def test_nobody_spins_while_a_peer_does_not_answer_the_end(
    channels: ChannelMap, ends: tuple[Channel, Channel], way: str
) -> None:
    client, server = ends
    client.pause_reading()  # and so never learns of it
    if way != "close":
        getattr(server, way)()
        asynccore.loop(timeout=0, map=channels, count=3)
    server.close()
    assert any(isinstance(channel, LingeringChannel) for channel in channels.values())
    assert not spins(channels)
    client.close()
    settle(channels, lambda: not channels)


def test_a_record_that_waits_for_the_peer_is_sent_after_the_close(
    channels: ChannelMap, tcp_pair: Any
) -> None:
    """To write while the peer renegotiates is to read first; nobody spins meanwhile."""
    ours, theirs = tcp_pair()
    client = Channel(ours, channels, context=client_raw(TLS12), server_hostname=HOST)
    theirs.setblocking(False)
    server = SSL.Connection(server_raw(TLS12), theirs)
    server.set_accept_state()
    got = b""

    def turn() -> bool:
        nonlocal got
        try:
            got += server.recv(1000)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            return True
        return False

    client.send(b"hello")
    drive(channels, lambda: turn() or got)
    server.renegotiate()
    server.do_handshake()
    asynccore.loop(timeout=0, map=channels, count=3)  # the client begins to shake hands again
    client.send(b"and more")
    assert client.out_buffer
    client.close()
    assert not spins(channels)
    drive(channels, turn)
    assert got == b"helloand more"
    server.shutdown()
    theirs.close()
    settle(channels, lambda: not channels)


# What was queued --------------------------------------------------------------------------------


def test_the_output_ends_after_the_record_that_did_not_fit(
    channels: ChannelMap, ends: tuple[Channel, Channel]
) -> None:
    client, server = ends
    server.pause_reading()
    sock = client.socket
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            sent += sock.send(b"x" * 100_000)
    sock.shutdown(socket.SHUT_WR)
    server.resume_reading()
    settle(channels, lambda: server.ended)
    assert server.error is None
    # What was offered last is accepted by OpenSSL, and its caller was not told of it.
    assert sent <= len(server.got) <= sent + 100_000


@pytest.mark.parametrize("ended", [True, False])
def test_an_end_that_does_not_fit_is_said_later(channels: ChannelMap, ended: bool) -> None:
    """Also to a peer that has ended, and so waits for nothing else."""

    class Full:
        said = tried = 0

        def shutdown(self) -> None:
            self.tried += 1
            if self.tried <= 2:
                raise SSL.WantWriteError
            self.said += 1

    ours, theirs = socket.socketpair()
    with theirs:
        connection: Any = Full()
        assert linger(channels, ours, RecordWriter(connection), 30.0, ended=ended) is not None
        asynccore.loop(timeout=0, map=channels, count=2)
        assert connection.said == 1
        assert theirs.recv(1) == b""
    settle(channels, lambda: not channels)


def test_a_peer_that_has_ended_is_not_waited_for(channels: ChannelMap) -> None:
    class Willing:
        def shutdown(self) -> None:
            pass

    ours, theirs = socket.socketpair()
    with theirs:
        connection: Any = Willing()
        assert linger(channels, ours, RecordWriter(connection), 30.0, ended=True) is None
        assert ours.fileno() == -1


def test_unwrap_and_shutdown_write_send_what_is_queued(
    channels: ChannelMap, ends: tuple[Channel, Channel]
) -> None:
    client, server = ends
    data = bytes(range(256)) * 20_000
    server.send(data)
    server.unwrap()
    server.shutdown_write()
    settle(channels, lambda: len(client.got) == len(data))
    assert client.got == data
    client.unwrap()
    settle(channels, lambda: client.unwrapped and client.ended)
    assert client.error is server.error is None


@pytest.mark.parametrize("way", ["start_tls", "unwrap"])
def test_producers_are_asked_as_their_output_goes_out(
    channels: ChannelMap, tcp_pair: Any, version: int, way: str
) -> None:
    """One that never ends keeps its own connection busy, and neither memory nor the loop."""
    asked: list[int] = []

    class Endless:
        def more(self) -> bytes:
            asked.append(1)
            return b"x" * 16384

    class Chat(tls_async_chat):
        def collect_incoming_data(self, data: bytes) -> None:
            pass

        def found_terminator(self) -> None:
            pass

    ours, theirs = tcp_pair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    theirs.setblocking(False)
    chat = Chat(ours, channels)
    if way == "unwrap":
        chat.start_tls(client_raw(version), server_hostname=HOST)
        server = SSL.Connection(server_raw(version), theirs)
        server.set_accept_state()
        drive(channels, lambda: _shaken(server) and chat.tls_version)
    chat.push_with_producer(Endless())
    if way == "unwrap":
        chat.unwrap()
    else:
        chat.start_tls(client_raw(version), server_hostname=HOST)
    asynccore.loop(timeout=0, map=channels, count=20)
    assert 0 < len(asked) < 1000  # the sockets are full
    assert not spins(channels)


def _shaken(server: SSL.Connection) -> bool:
    try:
        server.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def test_a_producer_that_fails_before_tls_is_an_error_of_its_channel(
    channels: ChannelMap, tcp_pair: Any
) -> None:
    class Failing:
        def more(self) -> bytes:
            raise KeyError("gone")

    class Chat(tls_async_chat):
        error: TLSError | None = None

        def handle_tls_error(self, exc: TLSError) -> None:
            self.error = exc
            self.close()

    chat = Chat(tcp_pair()[0], channels)
    chat.push_with_producer(asynchat.simple_producer(b"x"))
    chat.producer_fifo.clear()
    chat.producer_fifo.append(Failing())
    chat.start_tls(client_raw(), server_hostname=HOST)
    settle(channels, lambda: chat.error)
    assert isinstance(chat.error.__cause__, KeyError)  # type: ignore[union-attr]


def test_what_a_context_refuses_loses_no_output(channels: ChannelMap, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    channel = Channel(ours, channels)
    theirs.setblocking(False)
    channel.out_buffer = b"hello"
    with pytest.raises(TypeError, match="no TLS context"):
        channel.start_tls("context", server_hostname=HOST)
    assert channel.out_buffer == b"hello"


# What is left of a record -----------------------------------------------------------------------


def test_what_a_timer_leaves_of_a_record_is_delivered(
    channels: ChannelMap, ends: tuple[Channel, Channel]
) -> None:
    client, server = ends
    client.pause_reading()
    server.send(b"hello world")
    taken: list[bytes] = []

    def take() -> None:
        try:
            taken.append(client.socket.recv(1))
        except BlockingIOError:
            asynccore.call_later(0, take, map=channels)
        else:
            client.resume_reading()

    asynccore.call_later(0, take, map=channels)
    settle(channels, lambda: client.got)
    assert taken[0] + client.got == b"hello world"


def test_what_is_left_is_reported_without_a_handler(ends: tuple[Channel, Channel]) -> None:
    client, _ = ends
    reports: list[None] = []
    client.socket._ac_entered({}, lambda: reports.append(None))
    client.socket._ac_unread(b"hello")
    reports.clear()
    assert client.socket.recv(1) == b"h"
    assert reports
    reports.clear()
    assert client.socket.recv(2, socket.MSG_PEEK) == b"el"
    assert reports
    assert client.socket.recv(9) == b"ello"
    client.socket._ac_map = None  # there is no loop in which it could linger


# Calls after the end ----------------------------------------------------------------------------


def test_sending_after_the_output_has_ended_breaks_nothing(
    channels: ChannelMap, ends: tuple[Channel, Channel]
) -> None:
    client, server = ends
    client.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError, match=r"shutdown\(\) has ended the output"):
        client.socket.send(b"too late")
    server.send(b"still here")
    settle(channels, lambda: client.got)
    assert client.got == b"still here"


def test_a_closed_socket_says_so(ends: tuple[Channel, Channel]) -> None:
    sock = ends[0].socket
    ends[0].close()
    for call in (lambda: sock.recv(1), lambda: sock.send(b"x")):
        with pytest.raises(OSError) as raised:
            call()
        assert raised.value.errno == EBADF


# The next connection of the same object ---------------------------------------------------------


def connect_again(channel: Any, listener: socket.socket) -> bytes:
    """Have a channel connect, and return the first bytes that it says."""
    channel.create_socket()
    channel.connect(listener.getsockname())
    accepted = listener.accept()[0]
    with accepted:
        channel.send(b"PASS secret")
        settle(channel._map, lambda: _readable(accepted))
        return accepted.recv(11)


def _readable(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


def test_after_unwrap_the_next_connection_speaks_tls_again(
    channels: ChannelMap, ends: tuple[Channel, Channel], tcp_listener: socket.socket
) -> None:
    client, server = ends
    client.unwrap()
    server.unwrap()
    settle(channels, lambda: client.unwrapped and server.unwrapped)
    client.close()
    first = connect_again(client, tcp_listener)
    assert first[:1] == b"\x16"  # a handshake record: RFC 8446 section 5.1


def test_after_start_tls_the_next_connection_begins_in_clear(
    channels: ChannelMap, tcp_pair: Any, tcp_listener: socket.socket
) -> None:
    channel = Channel(tcp_pair()[0], channels)
    channel.start_tls(client_raw(), server_hostname=HOST)
    channel.close()
    assert connect_again(channel, tcp_listener) == b"PASS secret"


# Time for what goes before ----------------------------------------------------------------------


def test_a_peer_that_reads_on_has_all_its_time_for_the_handshake(
    channels: ChannelMap, tcp_pair: Any
) -> None:
    clock = FakeClock()
    engine_for(channels).clock = engine_for(channels).timers.clock = clock
    timeouts: list[str] = []

    class Slow(Channel):
        handshake_timeout = 10.0

        def handle_timeout(self, which: str) -> None:
            timeouts.append(which)
            self.close()

    ours, theirs = tcp_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    theirs.setblocking(False)
    channel = Slow(ours, channels)
    channel.out_buffer = bytes(4_000_000)
    channel.start_tls(client_raw(), server_hostname=HOST)
    read = 0
    while read < 4_000_000:
        asynccore.loop(timeout=0, map=channels, count=3)
        clock.advance(9.0)
        read += len(theirs.recv(4_000_000))
    asynccore.loop(timeout=0, map=channels, count=3)
    assert not timeouts
    clock.advance(2.0)  # the last 9 seconds were the handshake's
    asynccore.loop(timeout=0, map=channels, count=3)
    assert timeouts == ["handshake"]
