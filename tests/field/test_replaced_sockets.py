"""Programs that put another socket in the place of their own, in whatever hook they are.

The recipes are those of IRC bots, mail proxies and answers on the web: a TLS socket of `ssl` or
of pyOpenSSL wraps the plain one once that is connected, by assignment, by `set_socket`, or by
`del_channel` and `set_socket`; its handshake blocks for a moment, or is left to later events.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from OpenSSL import SSL

import asynccore
from asynccore import asynchat, dispatcher, dispatcher_with_send
from tests.corners.support import Noting, drive, passes
from tests.field.support import client_context, server_context
from tests.tls.support import HOST, authority, raw_context

WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, SSL.WantReadError, SSL.WantWriteError)


def _serve(listener: socket.socket) -> None:
    """Greet over TLS, and answer one line."""
    with listener.accept()[0] as raw:
        raw.settimeout(10)
        with (
            contextlib.suppress(OSError),
            server_context().wrap_socket(raw, server_side=True) as sock,
        ):
            sock.sendall(b"hello\n")
            sock.sendall(b"re:" + sock.recv(100))
            sock.recv(100)  # until the other side has closed


@pytest.fixture
def tls_server() -> Iterator[Any]:
    """The address of a server that greets one client over TLS."""
    server_context()  # made here, for threads must not make it twice
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(listener,))
    thread.start()
    yield listener.getsockname()
    listener.close()
    thread.join(10)


def wrap_by_ssl(sock: socket.socket, blocking: bool) -> Any:
    sock.setblocking(blocking)
    made = client_context().wrap_socket(
        sock, server_hostname=HOST, do_handshake_on_connect=blocking
    )
    made.setblocking(False)
    return made


def wrap_by_pyopenssl(sock: socket.socket, blocking: bool) -> Any:
    made = SSL.Connection(raw_context(trusts=authority()), sock)
    made.set_connect_state()
    sock.setblocking(True)
    if blocking:
        made.do_handshake()
    sock.setblocking(False)
    return made


class Replaces(Noting):
    """A client that wraps its socket once it is connected, and then asks one question."""

    wrap: Callable[[socket.socket, bool], Any]
    how = "assign"
    blocking = True
    states: list[tuple[bool, bool]]

    def handle_connect(self: Any) -> None:
        self.events.append("connect")
        old = self.socket
        if self.how == "del_channel":
            self.del_channel()
        new = type(self).wrap(old, self.blocking)
        if self.how == "assign":
            self.socket = new
        else:
            self.set_socket(new)

    def take(self: Any, line: bytes) -> None:
        self.events.append(line)
        self.states.append((self.connected, self.connecting))
        if line == b"hello\n":
            self.say(b"question\n")
        else:
            self.close()


class Plain(Replaces, dispatcher):
    """Drives a handshake that it deferred, and keeps its own output."""

    output = b""
    shaken = False

    def writable(self) -> bool:
        return not self.connected or bool(self.output)

    def say(self, data: bytes) -> None:
        self.output += data

    def shake(self) -> None:
        if not self.shaken:
            self.socket.do_handshake()
            self.shaken = True

    def handle_write(self) -> None:
        with contextlib.suppress(*WANTS):
            self.shake()
            if self.output:
                self.output = self.output[self.send(self.output) or 0 :]

    def handle_read(self) -> None:
        with contextlib.suppress(*WANTS):
            self.shake()
            data = self.recv(100)
            if data:
                self.take(data)


class Sending(Replaces, dispatcher_with_send):
    """Leaves the handshake to `recv` and `send`."""

    def say(self, data: bytes) -> None:
        self.send(data)

    def handle_read(self) -> None:
        with contextlib.suppress(*WANTS):
            data = self.recv(100)
            if data:
                self.take(data)


class Chat(Replaces, asynchat.async_chat):
    """Begins to talk at once if its handshake is deferred, for classic async_chat says nothing
    that was not pushed."""

    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.set_terminator(b"\n")
        self.line = b""

    def handle_connect(self) -> None:
        super().handle_connect()
        if not self.blocking:
            self.push(b"question\n")

    def say(self, data: bytes) -> None:
        if self.blocking:
            self.push(data)

    def collect_incoming_data(self, data: bytes) -> None:
        self.line += data

    def found_terminator(self) -> None:
        line, self.line = self.line, b""
        self.take(line + b"\n")


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "deferred"])
@pytest.mark.parametrize("library", [wrap_by_ssl, wrap_by_pyopenssl])
@pytest.mark.parametrize("how", ["assign", "set_socket", "del_channel"])
@pytest.mark.parametrize("kind", [Plain, Sending, Chat])
def test_a_client_wraps_its_socket_once_it_is_connected(
    channels: Any, engine: str, tls_server: Any, kind: Any, how: str, library: Any, blocking: bool
) -> None:
    client = kind(map=channels)
    client.states = []
    client.how, client.blocking = how, blocking
    type(client).wrap = staticmethod(library)
    client.create_socket()
    client.connect(tls_server)
    drive(lambda: not channels or len(client.events) > 3, channels)
    assert client.events == ["connect", b"hello\n", b"re:question\n"]
    assert client.states == [(True, False), (True, False)]


class Marks(Sending):
    """Does in `handle_connect_event` what the package would, and wraps its socket there."""

    blocking = False

    def handle_connect_event(self) -> None:
        assert not self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.handle_connect()
        self.connected, self.connecting = True, False


@pytest.mark.parametrize("how", ["assign", "set_socket", "del_channel"])
@pytest.mark.parametrize("library", [wrap_by_ssl, wrap_by_pyopenssl])
def test_the_event_itself_is_overridden(
    channels: Any, engine: str, tls_server: Any, how: str, library: Any
) -> None:
    client = Marks(map=channels)
    client.states = []
    client.how = how
    Marks.wrap = staticmethod(library)
    client.create_socket()
    client.connect(tls_server)
    drive(lambda: not channels or len(client.events) > 3, channels)
    assert client.events == ["connect", b"hello\n", b"re:question\n"]


# -- sockets that do no TLS ----------------------------------------------------------------------


class Wrapper:
    """As little of a socket as a dispatcher needs; notes what is sent."""

    def __init__(self, sock: socket.socket) -> None:
        self.inner = sock
        self.sent: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def send(self, data: bytes) -> int:
        self.sent.append(bytes(data))
        return self.inner.send(data)


class Recording(socket.socket):
    """A socket of a program's own class; notes what is sent."""

    @property
    def sent(self) -> list[bytes]:
        return self.__dict__.setdefault("_sent", [])  # type: ignore[no-any-return]

    def send(self, data: Any, *flags: int) -> int:
        self.sent.append(bytes(data))
        return super().send(data, *flags)


def recording(sock: socket.socket) -> Recording:
    made = Recording(fileno=sock.detach())
    made.setblocking(False)
    return made


class Swaps(Noting, dispatcher_with_send):
    make: Any = None

    def handle_connect(self) -> None:
        self.events.append("connect")
        if self.make is not None:
            self.socket = type(self).make(self.socket)

    def handle_write(self) -> None:
        self.events.append("write")
        super().handle_write()


@pytest.mark.parametrize("make", [Wrapper, recording])
def test_what_is_no_plain_socket_is_sent_nothing_once_it_is_connected(
    channels: Any, engine: str, make: Any
) -> None:
    kind = type("Kind", (Swaps,), {"make": staticmethod(make)})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = kind(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        drive(lambda: client.events, channels)
        passes(channels, None)
        assert client.events == ["connect", "write"]
        assert client.connected and not client.connecting
        assert client.socket.sent == [b""]
        client.close()


def test_a_plain_socket_is_sent_nothing_at_all(channels: Any, engine: str) -> None:
    sends: list[Any] = []

    class Own(Swaps):
        def send(self, data: Any) -> None:
            sends.append(data)
            super().send(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Own(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        drive(lambda: client.events, channels)
        passes(channels, None)
        assert client.events == ["connect", "write"] and not sends
        client.close()


# -- what handle_connect may do besides ----------------------------------------------------------


class Reconnects(Noting, dispatcher):
    """Its first connection is but a step on the way: it connects anew from `handle_connect`."""

    left = 2
    address: Any = None
    keeps_old = False

    def handle_connect(self) -> None:
        self.events.append("connect")
        self.left -= 1
        if self.left:
            if not self.keeps_old:
                self.close()
            self.create_socket()
            self.connect(self.address)

    def handle_write(self) -> None:
        self.events.append(("write", self.connected, self.connecting))

    def writable(self) -> bool:
        return not self.connected


@pytest.mark.parametrize("keeps_old", [False, True])
def test_connecting_anew_is_another_connection(channels: Any, engine: str, keeps_old: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Reconnects(map=channels)
        client.address, client.keeps_old = listener.getsockname(), keeps_old
        client.create_socket()
        first = client.socket
        client.connect(client.address)
        assert client.connecting
        drive(lambda: client.connected, channels)
        passes(channels, None)
        assert client.events == ["connect", "connect", ("write", True, False)]
        client.close()
        first.close()


def test_closing_is_the_end(channels: Any, engine: str) -> None:
    class Closes(Swaps):
        def handle_connect(self) -> None:
            self.events.append("connect")
            self.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Closes(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        drive(lambda: not channels, channels)
        assert client.events == ["connect"]
        assert not client.connected and not client.connecting


def test_another_connection_takes_the_place_of_the_closed_one(
    channels: Any, engine: str, pair: Any
) -> None:
    """As after a handshake with a proxy that hands over a socket of its own."""
    ours, theirs = pair()

    class Takes(Swaps):
        def handle_connect(self) -> None:
            self.events.append("connect")
            self.close()
            self.set_socket(ours)

        def handle_read(self) -> None:
            self.events.append(self.recv(100))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Takes(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        drive(lambda: client.events, channels)
        passes(channels, None)
        assert client.connected and not client.connecting
        theirs.send(b"x")
        drive(lambda: b"x" in client.events, channels)
        assert client.events.count("connect") == 1
        client.close()


def test_a_listener_takes_the_place_of_the_connection(channels: Any, engine: str) -> None:
    class Turns(Swaps):
        def handle_connect(self) -> None:
            self.events.append("connect")
            self.close()
            self.create_socket()
            self.bind(("127.0.0.1", 0))
            self.listen(5)

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            self.events.append("accepted")
            sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Turns(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        drive(lambda: client.accepting, channels)
        with socket.create_connection(client.socket.getsockname()):
            drive(lambda: "accepted" in client.events, channels)
        assert client.events == ["connect", "accepted"]
        assert not client.connected
        client.close()


def test_a_timeout_of_the_connect_ends_with_it(channels: Any, engine: str) -> None:
    class Timed(Swaps):
        connect_timeout = 0.05
        make = staticmethod(recording)

        def handle_timeout(self, which: str) -> None:
            self.events.append(which)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Timed(map=channels)
        client.create_socket()
        client.connect(listener.getsockname())
        over: list[int] = []
        asynccore.call_later(0.2, over.append, 1, map=channels)
        drive(lambda: over, channels)
        assert client.events == ["connect", "write"]
        client.close()


# -- other hooks ---------------------------------------------------------------------------------


class BecomesTheConnection(Noting, dispatcher):
    """Serves one client: the listener gives its own place to the connection."""

    how = "close"

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.events.append("accepted")
        if self.how == "close":
            self.close()
        else:
            old = self.socket
            self.del_channel()
            old.close()
            self.accepting = False
        sock.setblocking(False)
        self.set_socket(sock)
        self.connected = True

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.events.append(self.recv(100))


@pytest.mark.parametrize("how", ["close", "del_channel"])
def test_a_listener_becomes_the_connection(channels: Any, engine: str, how: str) -> None:
    server = BecomesTheConnection(map=channels)
    server.how = how
    server.create_socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    with socket.create_connection(server.socket.getsockname()) as client:
        drive(lambda: server.events, channels)
        client.send(b"question")
        drive(lambda: len(server.events) > 1, channels)
        assert server.events == ["accepted", b"question"]
        server.close()


class LineWrapper(Wrapper):
    """Reads in upper case: a layer without TLS."""

    def recv(self, size: int) -> bytes:
        return self.inner.recv(size).upper()


class Lines(Noting, asynchat.async_chat):
    """Puts another socket in its place at the line "wrap"."""

    wrap: Callable[[Any], Any]

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.events.append(line)
        if line == b"wrap":
            self.set_socket(type(self).wrap(self.socket))


def test_lines_that_came_before_a_wrapper_are_delivered(
    channels: Any, engine: str, pair: Any
) -> None:
    ours, theirs = pair()
    kind = type("Kind", (Lines,), {"wrap": staticmethod(LineWrapper)})
    chat = kind(ours, channels)
    theirs.send(b"wrap\nbefore\n")
    drive(lambda: len(chat.events) > 1, channels)
    theirs.send(b"after\n")
    drive(lambda: len(chat.events) > 2, channels)
    assert chat.events == [b"wrap", b"before", b"AFTER"]
    chat.close()


def test_lines_that_came_in_clear_are_no_part_of_tls(channels: Any, engine: str, pair: Any) -> None:
    """Whoever adds commands behind STARTTLS is not heard (CVE-2011-0411)."""
    ours, theirs = pair()

    def wrap(sock: Any) -> Any:
        return server_context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    kind = type("Kind", (Lines,), {"wrap": staticmethod(wrap)})
    chat = kind(ours, channels)
    theirs.send(b"wrap\ninjected\n")
    passes(channels, None, 5)
    assert chat.events == [b"wrap"]
    chat.close()


class WritesThenSwaps(Noting, dispatcher):
    """Puts a wrapper in the place of its socket from `handle_write`."""

    how = "assign"
    output = b"first"

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return bool(self.output)

    def handle_write(self) -> None:
        self.events.append(self.output)
        self.send(self.output)
        self.output = b"" if self.output != b"first" else b"second"
        if not self.output:
            return
        made = recording(self.socket)
        if self.how == "del_channel":
            self.del_channel()
        if self.how == "assign":
            self.socket = made
        else:
            self.set_socket(made)


@pytest.mark.parametrize("how", ["assign", "set_socket", "del_channel"])
def test_a_write_handler_replaces_its_socket(
    channels: Any, engine: str, pair: Any, how: str
) -> None:
    ours, theirs = pair()
    channel = WritesThenSwaps(ours, channels)
    channel.how = how
    drive(lambda: not channel.output, channels)
    passes(channels, None)
    assert channel.events == [b"first", b"second"]
    assert theirs.recv(100) == b"firstsecond"
    assert channel.connected
    channel.close()


class Upgrades(Noting, asynchat.async_chat):
    """Wraps its socket at the server's word, with a handshake that blocks, and asks at once."""

    how = "assign"

    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.events.append(line)
        if line != b"go":
            self.close()
            return
        made = wrap_by_ssl(self.socket, True)
        if self.how == "del_channel":
            self.del_channel()
        if self.how == "assign":
            self.socket = made
        else:
            self.set_socket(made)
        self.push(b"question\n")


def _upgrade(listener: socket.socket) -> None:
    with listener.accept()[0] as raw:
        raw.settimeout(10)
        raw.sendall(b"go\n")
        with server_context().wrap_socket(raw, server_side=True) as sock:
            sock.sendall(b"re:" + sock.recv(100))
            with contextlib.suppress(OSError):
                sock.recv(100)


@pytest.mark.parametrize("how", ["assign", "set_socket", "del_channel"])
def test_a_client_upgrades_in_found_terminator(channels: Any, engine: str, how: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_upgrade, args=(listener,))
        thread.start()
        client = Upgrades(channels)
        client.how = how
        client.create_socket()
        client.connect(listener.getsockname())
        drive(lambda: not channels, channels)
        thread.join(10)
    assert client.events == ["connect", b"go", b"re:question"]
