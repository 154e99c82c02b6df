"""Plain sockets that a class keeps under a name of its own when it is made secure."""

from __future__ import annotations

import errno
import gc
import socket
import weakref
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap
from ssl_ext import OpenSSLSocket, client_context, secure
from ssl_ext.sockets.kept import KeptSocket, front_of
from tests.tls.support import ADDRESS, authority
from tests.tls.talking import meanwhile, settle
from tests.tls.test_securing import Modern, server_side, trusting


class Keeps(asynccore.dispatcher):
    """Sends and receives by its own name for what it was given."""

    def __init__(self, sock: Any, channels: Any) -> None:
        self.conn = sock
        self.log: list[Any] = []  # type: ignore[assignment]
        super().__init__(sock, channels)

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        data = self.conn.recv(100)
        self.log.append(data)
        self.conn.sendall(b"you said " + data)

    def handle_close(self) -> None:
        self.log.append("close")
        self.conn.close()
        self.close()

    def handle_error(self) -> None:
        raise


def test_what_a_server_keeps_speaks_tls(channels: ChannelMap, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    fd, name = ours.fileno(), ours.getsockname()
    channel: Any = secure(Keeps, server_side())(ours, channels)
    kept = channel.conn
    assert kept is ours and isinstance(kept, socket.socket) and kept is not channel.socket
    assert kept.fileno() == fd == channel.socket.fileno() and kept.getsockname() == name
    with pytest.raises(BlockingIOError):
        kept.send(b"nobody hears this in clear")

    def client() -> bytes:
        with trusting().wrap_socket(theirs, server_hostname=ADDRESS) as sock:
            sock.sendall(b"hello")
            with sock.makefile("rb") as file:
                return file.read(14)

    assert meanwhile(channels, client) == b"you said hello"
    assert channel.log[0] == b"hello"
    settle(channels, lambda: not channels)
    assert kept.fileno() == -1


class Dials(asynccore.dispatcher):
    """A client that has made its socket itself, and connects and sends by that."""

    def __init__(self, port: int, channels: Any) -> None:
        super().__init__(map=channels)
        self.mine = socket.socket()
        self.got = b""
        self.set_socket(self.mine)
        self.connect((ADDRESS, port))
        with pytest.raises(BlockingIOError):
            self.mine.send(b"too early")

    def handle_connect(self) -> None:
        self.mine.sendall(b"hello")

    def writable(self) -> bool:
        return self.connecting

    def handle_read(self) -> None:
        self.got += self.mine.recv(100)

    def handle_error(self) -> None:
        raise


def test_what_a_client_keeps_speaks_tls(channels: ChannelMap) -> None:
    server = secure(Modern, server_side())(ADDRESS, channels)
    trust = client_context(ca=authority().cert_pem.bytes())
    client: Any = secure(Dials, trust)(server.port, channels)
    settle(channels, lambda: client.got == b"hello")
    assert server.log == [b"hello"]
    client.set_socket(client.mine)  # which is no TLS in TLS
    assert client.socket is front_of(client.mine)
    client.close()
    server.close()


@pytest.mark.parametrize("name", ["dup", "detach", "makefile", "recvmsg", "sendfile"])
def test_what_would_be_in_clear_is_refused(channels: ChannelMap, tcp_pair: Any, name: str) -> None:
    ours, _ = tcp_pair()
    channel: Any = secure(Keeps, server_side())(ours, channels)
    arguments: Any = {"recvmsg": (10,), "sendfile": (None,)}.get(name, ())
    with pytest.raises(OSError, match=r"would (be in clear|wait)") as why:
        getattr(ours, name)(*arguments)
    assert why.value.errno == errno.EOPNOTSUPP
    ours.settimeout(3)
    assert ours.gettimeout() == ours.timeout == channel.socket.gettimeout() == 3.0


def test_what_is_kept_without_its_channel_is_closed(channels: ChannelMap, tcp_pair: Any) -> None:
    ours, _ = tcp_pair()
    channel: Any = secure(Keeps, server_side())(ours, channels)
    gone = weakref.ref(channel.socket)
    channel.close()
    del channel
    asynccore.close_all(channels)
    gc.collect()
    assert gone() is None
    assert ours.fileno() == -1 and ours.close() is None  # type: ignore[func-returns-value]
    with pytest.raises(OSError) as why:
        ours.send(b"x")
    assert why.value.errno == errno.EBADF


def test_a_socket_that_tls_cannot_take_stays_what_it_is(
    channels: ChannelMap, tcp_pair: Any
) -> None:
    ours, theirs = tcp_pair()
    ours.settimeout(7)
    trust = client_context(ca=authority().cert_pem.bytes())
    with pytest.raises(ValueError, match="whose certificate is expected"):
        secure(Keeps, trust)(ours, channels)
    assert type(ours) is socket.socket and ours.gettimeout() in (0.0, 7.0)
    ours.sendall(b"in clear")
    assert theirs.recv(100) == b"in clear"


def test_a_class_of_the_programs_own_is_left_alone(channels: ChannelMap, tcp_pair: Any) -> None:
    class Own(socket.socket):
        pass

    ours, _ = tcp_pair()
    own = Own(fileno=ours.detach())
    channel: Any = secure(Keeps, server_side())(own, channels)
    assert type(own) is Own and channel.socket.plain is own
    assert front_of(own) is None and front_of(None) is None


def test_every_method_is_another() -> None:
    """What a later Python adds to sockets is not forgotten."""
    plain = [name for name in dir(socket.socket) if not name.startswith("_")]
    assert "recvmsg_into" in plain
    for name in plain:
        if callable(getattr(socket.socket, name)):
            assert getattr(KeptSocket, name) is not getattr(socket.socket, name)


def test_a_socket_given_as_tls_is_the_programs_own_business(
    channels: ChannelMap, tcp_pair: Any
) -> None:
    ours, _ = tcp_pair()
    given = OpenSSLSocket(server_side(), ours, server_side=True)
    channel: Any = secure(Keeps, server_side())(given, channels)
    assert channel.socket is channel.conn is given and given.plain is ours
    assert type(ours) is socket.socket
