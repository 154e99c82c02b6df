"""OpenSSLSocket by itself: what is sent again, what is read ahead, and what it is asked."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from errno import EINPROGRESS, EISCONN, EOPNOTSUPP
from functools import partial
from typing import Any

import pytest
from OpenSSL import SSL

from asynccore.pollers import READ, WRITE
from ssl_ext import AcceptingSocket, HandshakeError, OpenSSLSocket, TLSError, TruncationError
from ssl_ext.sockets.records import SEND_LIMIT
from ssl_ext.states import FAILED, HANDSHAKE_TIMEOUT, OPEN, PLAIN, RECORD, SHUTDOWN_TIMEOUT
from tests.tls.support import ADDRESS, HOST, client_raw, server_raw, shake


@pytest.fixture
def ends(version: int) -> Iterator[tuple[OpenSSLSocket, OpenSSLSocket]]:
    """A client and a server whose handshake is over, with small buffers between them."""
    ours, theirs = socket.socketpair()  # what is sent is there at once
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
    client = OpenSSLSocket(client_raw(version), ours, server_hostname=HOST)
    server = OpenSSLSocket(server_raw(version), theirs, server_side=True)
    shake(client, server)
    assert client.state is server.state is OPEN
    yield client, server
    client.close()
    server.close()


def take(sock: OpenSSLSocket, size: int = 1 << 20) -> bytes:
    """Receive until there is nothing left for now, or the end."""
    got = b""
    while True:
        try:
            data = sock.recv(size)
        except BlockingIOError:
            return got
        if not data:
            return got
        got += data


def fill(sock: OpenSSLSocket, data: bytes) -> int:
    """Send until the socket is full; return how many bytes it took."""
    count = 0
    while True:
        try:
            count += sock.send(data[count:])
        except BlockingIOError:
            return count


def reports_of(sock: OpenSSLSocket) -> list[None]:
    """Return a list that grows by one whenever a socket asks to be looked at."""
    reports: list[None] = []
    sock._ac_entered({}, lambda: reports.append(None))
    sock._ac_map = None  # there is no loop in which it could linger
    return reports


def bytes_of(size: int) -> bytes:
    return bytes(number % 251 for number in range(size))


def exchange(sender: OpenSSLSocket, receiver: OpenSSLSocket, data: bytes, step: int) -> bytes:
    """Send `data` in offers of `step` bytes, and receive it."""
    got, place = b"", 0
    while len(got) < len(data):
        try:
            if place < len(data):
                place += sender.send(data[place : place + step])
                continue
        except BlockingIOError:
            pass
        if place < len(data):
            sender._ac_handle_event(WRITE, 0)
        got += take(receiver)
    return got


@pytest.mark.parametrize("step", [1, 1000, RECORD, RECORD + 1, 100_000, 1_000_000])
def test_offers_of_every_size_arrive_whole(ends: Any, step: int) -> None:
    client, server = ends
    data = bytes_of(200_000 if step > 1 else 3000)
    assert exchange(client, server, data, step) == data
    assert exchange(server, client, data, step) == data


def test_an_end_that_was_read_with_what_came_before_it_is_reported(ends: Any) -> None:
    client, server = ends
    reports = reports_of(server)
    client.send(bytes(RECORD))
    client.connection.shutdown()  # the kernel knows of no end, and will report none
    assert server._ac_handle_event(READ, READ) == READ
    reports.clear()
    assert len(server.recv(1 << 20)) == RECORD
    assert reports
    assert server._ac_ready_now(READ) == READ
    assert server.recv(1) == b""


@pytest.mark.parametrize("less", [1, 10, 5000, 16384])
def test_a_retry_may_shrink(ends: Any, less: int) -> None:
    client, server = ends
    data = bytes_of(300_000)
    place = fill(client, data)
    # What is to be retried is a record at most, and some more follow it.
    data = data[: place + 2 * RECORD]
    # Though nobody wants to write; and to read as long as it may be refused (TLS 1.3).
    assert client._ac_poll_interest(0) & ~READ == WRITE
    got = take(server)
    while place < len(data):
        try:
            count = client.send(data[place : place + less])
        except BlockingIOError:
            got += take(server)
            continue
        assert 0 < count <= less
        place += count
    assert got + take(server) == data


def test_one_send_takes_all_that_fits(ends: Any) -> None:
    client, server = ends
    data = bytes_of(300_000)
    first = client.send(data)
    assert first > RECORD and first % RECORD == 0
    with pytest.raises(BlockingIOError):
        client.send(data[first:])
    got = take(server)
    # What OpenSSL had to be offered again counts together with what follows it.
    assert client.send(data[first:]) > RECORD
    assert data.startswith(got + take(server))


def test_one_send_leaves_others_their_turn(ends: Any) -> None:
    client, server = ends
    for end in (client, server):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    if client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 2 << 20:
        pytest.skip("the system grants no send buffer above the limit (net.core.wmem_max)")
    assert client.send(bytes(2 << 20)) == SEND_LIMIT


def test_several_pieces_share_records(ends: Any) -> None:
    client, server = ends
    pieces = [b"one", memoryview(b"two"), bytearray(b"three"), bytes_of(20_000)]
    data = b"".join(pieces)
    assert client.sendmsg(pieces) == len(data)
    server._ac_handle_event(READ, READ)
    assert server.recv(1 << 20) == data  # a full record, and what follows it
    assert client.sendmsg([]) == 0
    assert client.sendmsg([b"alone"]) == 5
    assert take(server) == b"alone"


def test_a_caller_that_changes_its_mind_is_too_late_for_one_offer(ends: Any) -> None:
    client, server = ends
    data = b"a" * 300_000
    place = fill(client, data)
    got = b""
    other = b"b" * 5
    while other:
        got += take(server)
        try:
            other = other[client.send(other) :]
        except BlockingIOError:
            pass
    got += take(server)
    assert got.endswith(b"bbbbb")
    assert set(got[:place]) == {ord("a")} and got.count(b"b") == 5


def test_what_waits_is_flushed_without_the_caller(ends: Any) -> None:
    client, server = ends
    data = bytes_of(300_000)
    place = fill(client, data)
    got = take(server)
    for _ in range(10):
        assert client._ac_handle_event(WRITE, WRITE) in (0, WRITE)
        got += take(server)
    assert data.startswith(got) and len(got) > place


def test_what_is_read_ahead_is_not_forgotten(ends: Any) -> None:
    client, server = ends
    client.send(b"0123456789")
    assert server._ac_ready_now(READ) == 0
    assert server._ac_handle_event(READ, READ) == READ
    assert server.pending() == 10
    assert server.recv(3, socket.MSG_PEEK) == b"012"
    assert server.recv(3) == b"012"
    assert server._ac_ready_now(READ) == READ
    assert server._ac_ready_now(WRITE) == 0
    buffer = bytearray(5)
    assert server.recv_into(buffer) == 5 and buffer == b"34567"
    assert server.recv_into(buffer, 1) == 1
    assert server.read(100) == b"9"
    with pytest.raises(BlockingIOError):
        server.recv(100)
    assert server._ac_handle_event(READ, READ) == 0
    assert server._ac_poll_interest(READ) == READ


def test_what_openssl_holds_of_a_record_is_not_forgotten(ends: Any) -> None:
    client, server = ends
    data = bytes_of(2 * RECORD)
    assert client.send(data) == len(data)
    reports = reports_of(server)
    assert server._ac_handle_event(READ, READ) == READ
    reports.clear()
    assert server.recv(RECORD + 100) == data[: RECORD + 100]
    assert reports
    assert server._ac_ready_now(READ) == READ  # the kernel has nothing more
    assert take(server) == data[RECORD + 100 :]
    assert server._ac_ready_now(READ) == 0


def test_nothing_is_read_that_nobody_wants(ends: Any) -> None:
    client, server = ends
    client.send(b"hello")
    assert server._ac_handle_event(READ, 0) == 0
    assert server.pending() == 0
    assert server._ac_poll_interest(0) == 0


def test_an_empty_send_is_nothing(ends: Any) -> None:
    client, server = ends
    assert client.send(b"") == 0
    client.sendall(b"")
    client.sendall(memoryview(b"hello"))
    assert take(server) == b"hello"
    with pytest.raises(BlockingIOError):
        client.sendall(b"x" * 1_000_000)


def test_a_clean_end_is_an_end_for_good(ends: Any) -> None:
    client, server = ends
    client.send(b"last")
    client.shutdown(socket.SHUT_RD)
    client.shutdown(socket.SHUT_WR)
    assert server.recv(100) == b"last"
    assert server.recv(100) == server.recv(100) == b""
    assert server._ac_ready_now(READ) == READ
    assert server._ac_poll_interest(READ | WRITE) == WRITE
    server.send(b"still")
    assert client.recv(100) == b"still"


def test_a_truncation_is_told_each_time_and_wakes_nobody_twice(ends: Any) -> None:
    client, server = ends
    client._raw.shutdown(socket.SHUT_WR)
    assert server._ac_handle_event(READ, READ | WRITE) == READ | WRITE
    for _ in range(3):
        with pytest.raises(TruncationError, match="without close_notify"):
            server.recv(100)
    with pytest.raises(TruncationError):
        server.send(b"x")
    assert server.state is FAILED
    assert server._ac_ready_now(READ | WRITE) == server._ac_poll_interest(READ | WRITE) == 0


def test_a_damaged_record_is_an_error(ends: Any) -> None:
    client, server = ends
    client._raw.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    with pytest.raises(TLSError) as caught:
        server.recv(100)
    assert type(caught.value) is TLSError
    assert caught.value.queue


def test_back_to_plaintext(ends: Any) -> None:
    client, server = ends
    client.send(b"before")
    with pytest.raises(BlockingIOError):
        client.unwrap()
    assert take(server) == b"before"
    with pytest.raises(BlockingIOError):
        client.send(b"too early")
    plain = server.unwrap()
    assert client.unwrap() is client._raw
    assert client.state is PLAIN and server.unwrap() is plain
    client.send(b"clear")
    assert plain.recv(100) == b"clear"
    plain.send(b"as day")
    assert client.recv(100) == b"as day"
    assert client._ac_poll_interest(READ) == READ and client._ac_handle_event(READ, READ) == READ


def test_what_was_agreed(ends: Any, version: int) -> None:
    client, _ = ends
    assert client.tls_version == ("TLSv1.2" if version == 0x303 else "TLSv1.3")
    name, protocol, bits = client.cipher
    assert name and protocol and bits >= 128
    assert client.alpn_protocol is None
    assert HOST in client.peer_names and len(client.peer_chain) > 1
    assert client.user_name("dns") == HOST
    assert client._ac_agreed is client.connection
    assert "open" in repr(client)


def test_as_a_connection_has_addresses(ends: Any) -> None:
    client, server = ends
    assert client.sendto(b"hello", client.getpeername()) == 5
    assert client.sendto(b"!", 0, client.getpeername()) == 1
    buffer = bytearray(9)
    assert server.recvfrom(5) == (b"hello", None)
    assert server.recvfrom_into(buffer) == (1, None) and buffer[:1] == b"!"
    with pytest.raises(OSError, match="not to") as caught:
        client.sendto(b"hello", ("192.0.2.1", 9))
    assert caught.value.errno == EISCONN


@pytest.mark.parametrize("kind", ["connection", "listener"])
def test_nobody_gets_it_in_clear(ends: Any, kind: str) -> None:
    """By a call that looks like any other."""
    with socket.create_server((ADDRESS, 0)) as plain:
        sock = ends[0] if kind == "connection" else AcceptingSocket(server_raw(), plain)
        for refused in (sock.dup, sock.detach, sock.makefile):
            with pytest.raises(OSError, match=r"clear|never blocks") as caught:
                refused()
            assert caught.value.errno == EOPNOTSUPP
        sock.setblocking(True)
        sock.settimeout(5)
        assert sock.plain.gettimeout() == 0.0 and sock.gettimeout() == 5
        sock.set_inheritable(True)
        assert sock.get_inheritable() and sock.plain.get_inheritable()


def test_it_is_a_socket_that_never_blocks(ends: Any) -> None:
    client, _ = ends
    assert client.gettimeout() == client.timeout == 0.0 and not client.getblocking()
    # What is asked for is told, as it was asked for, and nothing waits.
    for ask, told in (
        (partial(client.setblocking, 1), None),
        (partial(client.settimeout, 30), 30.0),
        (partial(client.settimeout, None), None),
        (partial(client.settimeout, 0), 0.0),
        (partial(client.settimeout, 0.5), 0.5),
        (partial(client.setblocking, False), 0.0),
    ):
        ask()
        assert client.gettimeout() == client.timeout == told
        assert client.getblocking() is (told != 0)
        assert client.plain.gettimeout() == 0.0
        with pytest.raises(BlockingIOError):
            client.recv(1)
    for wrong, error in ((-1, ValueError), (float("nan"), ValueError), ("soon", ValueError)):
        with pytest.raises(error):
            client.settimeout(wrong)
    with pytest.raises(TypeError):
        client.settimeout([])
    assert client.family == socket.AF_UNIX and client.type == socket.SOCK_STREAM
    assert client.proto == 0 and client.fileno() >= 0
    assert client.getpeername() == client.getsockname() == ""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert len(client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 4)) == 4
    assert (HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT) == (60.0, 30.0)


def test_a_context_that_can_not_be_used() -> None:
    import ssl

    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(TypeError, match=r"ssl_ext\.client_context"):
            OpenSSLSocket(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ours)
        with pytest.raises(ValueError, match="whose certificate"):
            OpenSSLSocket(client_raw(), ours)
        with pytest.raises(ValueError, match="for clients"):
            OpenSSLSocket(server_raw(), ours, server_side=True, server_hostname=HOST)
        OpenSSLSocket(client_raw(), ours, server_hostname="")  # every name, explicitly
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(ValueError, match="stream socket"):
            OpenSSLSocket(server_raw(), datagrams, server_side=True)


def test_an_exception_of_a_callback_is_a_failed_handshake() -> None:
    class Odd:
        def _ac_connection(self, sock: Any, server_side: bool, name: str | None) -> SSL.Connection:
            made = SSL.Connection(client_raw(), sock)
            made.set_connect_state()
            return made

        def _ac_verify_peer(self, connection: SSL.Connection, name: str | None) -> None:
            raise KeyError("a bug")

        def _ac_failure(self, connection: SSL.Connection, queue: Any) -> None:
            return None

        def _ac_remember(self, connection: SSL.Connection) -> None:
            raise NotImplementedError

    ours, theirs = socket.socketpair()
    client = OpenSSLSocket(Odd(), ours, server_hostname=HOST)
    server = OpenSSLSocket(server_raw(), theirs, server_side=True)
    with pytest.raises(HandshakeError, match="KeyError: 'a bug'") as caught:
        shake(client, server)
    assert isinstance(caught.value.__cause__, KeyError)
    client.close()
    server.close()


def test_connecting_ends_with_the_handshake() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        sock = OpenSSLSocket(client_raw(), socket.socket())
        listens = OpenSSLSocket(server_raw(), listener, server_side=True)
        with pytest.raises(ValueError, match="can't listen"):
            sock.listen()
        listens.listen()
        assert listens._ac_poll_interest(READ) == READ
        assert sock._ac_poll_interest(0) == WRITE
        with pytest.raises(BlockingIOError):
            sock.connect(listener.getsockname())
        assert sock.connect_ex(listener.getsockname()) == EINPROGRESS
        sock.close()
        assert sock.fileno() == -1


def test_no_handshake_waits_for_acknowledgements() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for raw, context, server_side in ((ours, client_raw(), False), (theirs, server_raw(), True)):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        sock = OpenSSLSocket(
            context,
            raw,
            server_side=server_side,
            server_hostname=None if server_side else HOST,
        )
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.close()
