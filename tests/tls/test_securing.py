"""Classes that know nothing of TLS, made secure; with TLS clients and servers of the library."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, asynchat
from asynccore.engine import Engine
from asynccore.testing import FakeClock
from ssl_ext import (
    AcceptingSocket,
    DTLSSocket,
    OpenSSLSocket,
    TLSError,
    TransparentSocket,
    client_context,
    secure,
    server_context,
    tls_async_chat,
    tls_dispatcher,
    tls_listener,
)
from ssl_ext.sockets.handshake_table import MAX_HANDSHAKES
from tests.tls.support import (
    ADDRESS,
    VERSIONS,
    authority,
    client_certificate,
    client_raw,
    server_certificate,
    server_raw,
    strange_certificate,
)
from tests.tls.talking import PATIENCE, meanwhile, settle


@pytest.fixture(params=[ChannelMap, dict], ids=["ChannelMap", "dict"])
def any_map(request: pytest.FixtureRequest) -> Any:
    """A map that reports its changes, and one that is compared."""
    made = request.param()
    yield made
    asynccore.close_all(made, ignore_all=True)
    made.clear()


def pem(certificate: Any) -> bytes:
    return b"".join(
        blob.bytes() for blob in (*certificate.cert_chain_pems, certificate.private_key_pem)
    )


def server_side(**options: Any) -> Any:
    if options.get("client_auth"):
        options["ca"] = authority().cert_pem.bytes()
    return server_context(pem(server_certificate()), **options)


def trusting(certificate: Any = None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    return context


# What somebody wrote long ago ------------------------------------------------------------------


class Echo(asynccore.dispatcher_with_send):
    log: list[Any] = []  # type: ignore[assignment]

    def handle_read(self) -> None:
        data = self.recv(8192)
        if data:
            self.log.append(data)
            self.send(data)

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log.append("error")
        self.close()


class Server(asynccore.dispatcher):
    """An old listener: accepts in handle_accept, and knows nothing of None."""

    def __init__(self, host: str, channels: Any) -> None:
        asynccore.dispatcher.__init__(self, map=channels)
        self.log: list[Any] = []  # type: ignore[assignment]
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((host, 0))
        self.listen(5)
        self.port = self.socket.getsockname()[1]

    def handle_accept(self) -> None:
        sock, addr = self.accept()  # type: ignore[misc]
        sock.setblocking(0)
        assert sock.getpeername() == addr
        echo = Echo(sock, self._map)
        echo.log = self.log

    def handle_error(self) -> None:
        self.log.append("listener error")
        raise


class Modern(Server):
    def handle_accept(self) -> None:
        asynccore.dispatcher.handle_accept(self)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        echo = Echo(sock, self._map)
        echo.log = self.log


class Protocol:
    """A sibling: the dispatcher comes second."""

    def begin(self) -> None:
        self.got = b""

    def handle_connect(self) -> None:
        self.log.append("connect")  # type: ignore[attr-defined]

    def handle_read(self) -> None:
        self.got += self.recv(8192)  # type: ignore[attr-defined]

    def handle_close(self) -> None:
        self.log.append("close")  # type: ignore[attr-defined]
        self.close()  # type: ignore[attr-defined]


class Client(Protocol, asynccore.dispatcher_with_send):
    def __init__(self, port: int, channels: Any, host: str = ADDRESS) -> None:
        asynccore.dispatcher_with_send.__init__(self, map=channels)
        self.log: list[Any] = []  # type: ignore[assignment]
        self.begin()
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect((host, port))


# Listeners ------------------------------------------------------------------------------------


def ask(port: int, context: ssl.SSLContext, data: bytes = b"hello") -> bytes:
    with socket.create_connection((ADDRESS, port), PATIENCE) as plain:
        with context.wrap_socket(plain, server_hostname=ADDRESS) as sock:
            sock.sendall(data)
            with sock.makefile("rb") as file:
                return file.read(len(data))


@pytest.mark.parametrize("kind", [Server, Modern])
@pytest.mark.parametrize("client_auth", ["none", "required"])
def test_a_listener(any_map: Any, kind: Any, client_auth: Any) -> None:
    options = {} if client_auth == "none" else {"client_auth": client_auth}
    server = secure(kind, server_side(**options))(ADDRESS, any_map)
    assert type(server).__name__ == kind.__name__
    assert isinstance(server.socket, AcceptingSocket)
    assert "AcceptingSocket fd=" in repr(server.socket)
    context = trusting(client_certificate())
    data = os.urandom(300_000)
    assert meanwhile(any_map, lambda: ask(server.port, context)) == b"hello"
    assert meanwhile(any_map, lambda: ask(server.port, context, data)) == data
    settle(any_map, lambda: len(any_map) == 1)
    assert server.log[0] == b"hello"
    assert [what for what in server.log if isinstance(what, str)] == ["close", "close"]


def test_over_every_poller(poller_name: str) -> None:
    channels = ChannelMap()
    server = secure(Server, server_side())(ADDRESS, channels)
    context = trusting()

    def client() -> Any:
        return ask(server.port, context)

    asynccore.loop(0, map=channels, count=1, poller=poller_name)
    assert meanwhile(channels, client) == b"hello"
    asynccore.close_all(channels)


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_an_openssl_context(channels: Any, version: int) -> None:
    server = secure(Modern, server_raw(version), server_side=True)(ADDRESS, channels)
    client = secure(Client, client_raw(version), server_side=False)(server.port, channels)
    client.send(b"hi")
    settle(channels, lambda: client.got == b"hi")
    assert client.log == ["connect"]
    assert client.tls_version == ("TLSv1.2" if version == 0x303 else "TLSv1.3")  # type: ignore[attr-defined]


def test_a_handshake_that_fails_is_nobodys_business(any_map: Any) -> None:
    server = secure(Server, server_side(client_auth="required"))(ADDRESS, any_map)
    bad = [trusting(), trusting(strange_certificate()), ssl.create_default_context()]

    def clients() -> bytes:
        for context in bad:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                if not ask(server.port, context):
                    raise ConnectionError
        for noise in (b"", b"\x16", b"GET / HTTP/1.0\r\n\r\n", os.urandom(100)):
            with socket.create_connection((ADDRESS, server.port), PATIENCE) as plain:
                plain.sendall(noise)
        return ask(server.port, trusting(client_certificate()))

    assert meanwhile(any_map, clients) == b"hello"
    settle(any_map, lambda: len(any_map) == 1)
    assert server.log == [b"hello", "close"]


def waiting_in(channels: Any) -> list[Any]:
    return [one for one in channels.values() if "TLS handshake with" in repr(one)]


def test_one_that_stalls_delays_nobody(channels: Any) -> None:
    clock = FakeClock()
    channels.engine = Engine(channels, clock)
    server = secure(Server, server_side())(ADDRESS, channels)
    silent = [socket.create_connection((ADDRESS, server.port), PATIENCE) for _ in range(5)]
    try:
        silent[0].sendall(b"\x16\x03")
        for _ in range(3):
            assert meanwhile(channels, lambda: ask(server.port, trusting())) == b"hello"
        assert server.log.count(b"hello") == 3
        waiting = waiting_in(channels)
        assert len(waiting) == 5
        assert not waiting[0].readable() and waiting[0].writable()
        # Nobody spins: there is nothing to see to, however often one looks.
        poller = channels.engine.poller
        settle(channels, lambda: not poller.wait(0) and not poller.wait(0))
        clock.advance(60.1)
        settle(channels, lambda: not waiting_in(channels))
        assert [sock.recv(1) for sock in silent] == [b""] * 5
    finally:
        for sock in silent:
            sock.close()


@pytest.mark.parametrize(
    "ask_for",
    [("settimeout", 30), ("settimeout", None), ("setblocking", 1), ("set_inheritable", True)],
    ids=str,
)
def test_what_programs_say_to_a_connection_does_no_harm(channels: Any, ask_for: Any) -> None:
    name, value = ask_for

    class Program(Server):
        def handle_accept(self) -> None:
            sock, _ = self.accept()  # type: ignore[misc]
            getattr(sock, name)(value)
            if name == "settimeout":
                assert sock.gettimeout() == value
            Echo(sock, self._map).log = self.log
            assert sock.gettimeout() == 0  # as the dispatcher wants it

    server = secure(Program, server_side())(ADDRESS, channels)
    for _ in range(2):  # the listener goes on, too
        assert meanwhile(channels, lambda: ask(server.port, trusting())) == b"hello"
    assert server.accept_counts.pauses == 0 and "listener error" not in server.log


def test_so_many_handshakes_and_no_more(any_map: Any) -> None:
    server = secure(Server, server_side())(ADDRESS, any_map)
    server.max_handshakes = 2
    silent = [socket.create_connection((ADDRESS, server.port), PATIENCE) for _ in range(4)]
    for sock in silent:
        sock.send(b"\x16")  # they have spoken, so that none makes room for another
    try:
        asynccore.loop(timeout=0, map=any_map, count=5)
        assert len(any_map) == 3
        assert server.socket._ac_poll_interest(1) == 0

        def client() -> bytes:
            silent[0].close()
            silent[1].close()
            silent[2].close()
            return ask(server.port, trusting())

        assert meanwhile(any_map, client) == b"hello"
        server.close()
        assert not waiting_in(any_map)
    finally:
        for sock in silent:
            sock.close()


def test_limits_see_a_connection_after_its_handshake(channels: Any) -> None:
    server = secure(Modern, server_side())(ADDRESS, channels)
    server.max_connections = 1
    context = trusting()

    def client() -> list[bytes]:
        answers = []
        plain = [socket.create_connection((ADDRESS, server.port), PATIENCE) for _ in range(3)]
        # All handshakes end, and one connection is open.
        secured = [context.wrap_socket(sock, server_hostname=ADDRESS) for sock in plain]
        for sock in secured:
            sock.sendall(b"x")
            answers.append(sock.recv(1))
            sock.close()
        return answers

    assert meanwhile(channels, client) == [b"x"] * 3
    assert server.accept_counts.accepted == 3


def test_what_is_left_is_closed_with_the_listener(channels: Any) -> None:
    class Deaf(Server):
        def handle_accept(self) -> None:
            self.log.append("accept")
            self.close()

    server = secure(Deaf, server_side())(ADDRESS, channels)

    def client() -> bytes:
        with socket.create_connection((ADDRESS, server.port), PATIENCE) as plain:
            with trusting().wrap_socket(plain, server_hostname=ADDRESS) as sock:
                return sock.recv(1)

    keeper = asynccore.Trigger(map=channels)  # the loop goes on without the listener
    assert meanwhile(channels, client) == b""
    keeper.close()
    assert server.log == ["accept"]


def test_what_accept_raises_is_the_listeners_business(channels: Any, tcp_pair: Any) -> None:
    class Full(socket.socket):
        errors = [OSError(errno.EMFILE, "too many"), OSError(errno.ECONNABORTED, "gone")]

        def accept(self) -> Any:
            if self.errors:
                raise self.errors.pop()
            return super().accept()

    with Full() as plain:
        plain.bind((ADDRESS, 0))
        plain.listen()
        sock = AcceptingSocket(server_side(), plain)
        sock._ac_entered(channels, lambda: None)
        assert sock._ac_handle_event(1, 0) == 0  # its channel doesn't want to
        assert sock._ac_handle_event(1, 1) == 0  # gone before it was accepted
        with pytest.raises(BlockingIOError):
            sock.accept()
        assert sock._ac_handle_event(1, 1) == 1
        with pytest.raises(OSError, match="too many"):
            sock.accept()
        assert sock._ac_handle_event(1, 1) == 0
        assert sock.getsockname()[0] == ADDRESS and sock.fileno() == plain.fileno()
        assert sock._ac_poll_interest(5) == 1
        assert sock._ac_poll_interest(4) == 0
        assert MAX_HANDSHAKES == 512
        sock.close()


def test_a_connection_that_tls_cannot_take(channels: Any, caplog: Any) -> None:
    class Odd:
        server_side = True

        def _ac_connection(self, *args: Any) -> Any:
            raise RuntimeError("out of order")

        _ac_verify_peer = None

    asynccore.use_logging("tests")
    try:
        with socket.socket() as plain:
            plain.bind((ADDRESS, 0))
            plain.listen()
            sock = AcceptingSocket(Odd(), plain)
            sock._ac_entered(channels, lambda: None)
            with socket.create_connection(plain.getsockname(), PATIENCE) as client:
                while not caplog.messages:
                    sock._ac_handle_event(1, 1)
                assert client.recv(1) == b""
    finally:
        asynccore.use_logging(None)
    assert "out of order" in caplog.text
    assert not channels


def test_a_listener_that_is_given_its_socket(channels: Any) -> None:
    class Given(Modern):
        def __init__(self, sock: Any) -> None:
            asynccore.dispatcher.__init__(self, map=channels)
            self.log = []
            self.set_socket(sock)
            self.accepting = True

    plain = socket.create_server((ADDRESS, 0))
    plain.setblocking(False)
    given = secure(Given, server_side())(plain)
    assert isinstance(given.socket, AcceptingSocket)
    port = plain.getsockname()[1]
    assert meanwhile(channels, lambda: ask(port, trusting())) == b"hello"


class Assigns(Server):
    """Its socket is one that it has made itself."""

    def __init__(self, channels: Any, steps: tuple[str, ...], accepts_from: str) -> None:
        asynccore.dispatcher.__init__(self, map=channels)
        self.log = []  # type: ignore[assignment]
        self.accepts_from = accepts_from
        self.kept = socket.socket()
        self.kept.setblocking(False)
        self.kept.bind((ADDRESS, 0))
        self.port = self.kept.getsockname()[1]
        for step in steps:
            getattr(self, step)()

    def assign(self) -> None:
        self.socket = self.kept
        self._fileno = self.kept.fileno()

    def enter(self) -> None:
        self._map[self._fileno] = self

    def listens(self) -> None:
        self.listen(5)

    def socket_listens(self) -> None:
        self.socket.listen(5)
        self.accepting = True

    def kept_listens(self) -> None:
        self.kept.listen(5)
        self.accepting = True

    def handle_accept(self) -> None:
        accepts_from: Any = {"self": self, "socket": self.socket, "kept": self.kept}
        sock, _ = accepts_from[self.accepts_from].accept()
        Echo(sock, self._map).log = self.log


@pytest.mark.parametrize("accepts_from", ["self", "socket", "kept"])
@pytest.mark.parametrize(
    "steps",
    [
        ("assign", "add_channel", "listens"),
        ("assign", "add_channel", "socket_listens"),
        ("assign", "add_channel", "kept_listens"),
        ("assign", "listens", "add_channel"),
        ("kept_listens", "assign", "add_channel"),
        ("kept_listens", "assign", "enter"),
    ],
    ids=" ".join,
)
def test_a_listener_that_assigns_its_socket(
    any_map: Any, steps: tuple[str, ...], accepts_from: str
) -> None:
    server = secure(Assigns, server_side())(any_map, steps, accepts_from)
    assert meanwhile(any_map, lambda: ask(server.port, trusting())) == b"hello"
    settle(any_map, lambda: len(any_map) == 1)
    assert server.log == [b"hello", "close"]

    def in_clear() -> bytes:
        with socket.create_connection((ADDRESS, server.port), PATIENCE) as plain:
            plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return plain.recv(1)

    assert meanwhile(any_map, in_clear) in (b"", b"\x15")  # an alert (RFC 8446 section 5.1)
    assert server.log == [b"hello", "close"]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
def test_a_unix_socket(channels: Any, tmp_path: Any) -> None:
    class Local(Modern):
        def __init__(self, path: str) -> None:
            asynccore.dispatcher.__init__(self, map=channels)
            self.log = []  # type: ignore[assignment]
            self.create_socket(socket.AF_UNIX)
            self.bind(path)
            self.listen(5)

    path = str(tmp_path / "socket")
    secure(Local, server_side())(path)

    def client() -> bytes:
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(path)
            with trusting().wrap_socket(plain, server_hostname=ADDRESS) as sock:
                sock.sendall(b"hello")
                return sock.recv(5)

    assert meanwhile(channels, client) == b"hello"


# What happens later in a connection -----------------------------------------------------------


def test_what_tls_meets_later_looks_like_a_reset_connection(channels: Any) -> None:
    server = secure(Server, server_side())(ADDRESS, channels)

    def cut() -> None:
        with socket.create_connection((ADDRESS, server.port), PATIENCE) as plain:
            sock = trusting().wrap_socket(
                plain, server_hostname=ADDRESS, suppress_ragged_eofs=False
            )
            sock.sendall(b"hello")
            sock.recv(5)
            os.close(sock.detach())  # no close_notify

    def damage() -> None:
        with socket.create_connection((ADDRESS, server.port), PATIENCE) as plain:
            sock = trusting().wrap_socket(plain, server_hostname=ADDRESS)
            sock.sendall(b"again")
            sock.recv(5)
            raw = socket.socket(fileno=os.dup(sock.fileno()))
            with raw:
                raw.sendall(b"\x17\x03\x03\x00\x10" + bytes(16))
                with pytest.raises(ssl.SSLError):
                    sock.recv(1)
            sock.close()

    for client, said in ((cut, b"hello"), (damage, b"again")):
        meanwhile(channels, client)
        settle(channels, lambda: "close" in server.log)
        assert server.log == [said, "close"]
        server.log.clear()


def test_transparent(tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()
    sock = TransparentSocket(server_raw(), ours, server_side=True)
    theirs.sendall(b"GET / HTTP/1.0\r\n\r\n")
    theirs.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        while True:
            try:
                sock.recv(1)
            except BlockingIOError:
                pass
    assert isinstance(sock.failure, TLSError)
    with pytest.raises(ConnectionResetError):
        sock.send(b"x")
    sock.close()


# Clients and chats ----------------------------------------------------------------------------


def test_a_client_expects_whom_it_connects_to(channels: Any) -> None:
    server = secure(Server, server_side())(ADDRESS, channels)
    context = client_context(ca=authority().cert_pem.bytes())
    client = secure(Client, context)(server.port, channels)
    assert not client.connected
    client.send(b"hi")  # waits for the handshake
    settle(channels, lambda: client.got == b"hi")
    assert client.log == ["connect"]
    assert client.peer_names  # type: ignore[attr-defined]

    class Careful(Client):
        def handle_tls_error(self, exc: TLSError) -> None:
            self.log.append(type(exc).__name__)
            self.close()

    other = secure(Careful, context, server_hostname="other.example")(server.port, channels)
    settle(channels, lambda: other.log)
    assert other.log == ["CertificateError"]


@pytest.mark.parametrize("enters", [True, False])
def test_a_client_that_assigns_its_socket(channels: Any, enters: bool) -> None:
    class Own(Client):
        def __init__(self, port: int) -> None:
            asynccore.dispatcher_with_send.__init__(self, map=channels)
            self.log: list[Any] = []  # type: ignore[assignment]
            self.begin()
            self.socket = socket.socket()
            self.socket.setblocking(False)
            self._fileno = self.socket.fileno()
            if enters:
                self.add_channel()
            self.connect((ADDRESS, port))
            self.add_channel()

    server = secure(Server, server_side())(ADDRESS, channels)
    client = secure(Own, client_context(ca=authority().cert_pem.bytes()))(server.port)
    client.send(b"hi")
    settle(channels, lambda: client.got == b"hi")
    assert client.log == ["connect"] and server.log == [b"hi"]


@pytest.mark.parametrize("first", ["send", "recv", "event"])
def test_a_channel_that_assigns_its_connection(channels: Any, tcp_pair: Any, first: str) -> None:
    """Nothing goes out in clear, and nothing that came in clear is believed."""
    ours, theirs = tcp_pair()
    channel: Any = secure(Echo, server_side())(map=channels)
    channel.log = []
    channel.socket, channel._fileno, channel.connected = ours, ours.fileno(), True
    channels[ours.fileno()] = channel  # without add_channel
    theirs.sendall(b"GET / HTTP/1.0\r\n\r\n")
    if first == "send":
        assert channel.send(b"secret") is None
    elif first == "recv":
        assert channel.recv(100) == b""
    settle(channels, lambda: channel.log)
    assert channel.log == ["close"]
    assert theirs.recv(100)[:1] in (b"", b"\x15")  # an alert (RFC 8446 section 5.1)


def test_a_channel_that_is_given_an_accepted_socket(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()

    class Line(asynchat.async_chat):
        def __init__(self, sock: Any) -> None:
            asynchat.async_chat.__init__(self, sock, channels)
            self.log: list[Any] = []  # type: ignore[assignment]
            self.set_terminator(b"\n")
            self.push(b"hello\n")

        def collect_incoming_data(self, data: bytes) -> None:
            self.log.append(data)

        def found_terminator(self) -> None:
            self.push(self.log[-1] + b"!\n")
            self.close_when_done()

        def handle_handshake(self) -> None:
            self.log.append("handshake")

    channel = secure(Line, server_side(), handshake_timeout=5, shutdown_timeout=1)(ours)
    assert channel.max_line_length is None
    assert (channel.handshake_timeout, channel.shutdown_timeout) == (5, 1)  # type: ignore[attr-defined]

    def client() -> bytes:
        with trusting().wrap_socket(theirs, server_hostname=ADDRESS) as sock:
            sock.sendall(b"x" * 100_000 + b"\n")
            with sock.makefile("rb") as file:
                return file.read()

    answer = meanwhile(channels, client)
    assert answer.startswith(b"hello\n") and answer.endswith(b"!\n")
    assert channel.log[0] == "handshake"


def test_a_tls_class_is_told_of_a_handshake_that_is_over(channels: Any) -> None:
    """It may be the one who speaks first."""

    class Greeter(tls_async_chat):
        def handle_handshake(self) -> None:
            self.push(f"hello, {self.tls_version}".encode())
            self.close_when_done()

    class Host(Server):
        def handle_accept(self) -> None:
            sock, _ = self.accept()  # type: ignore[misc]
            Greeter(sock, self._map)

    server = secure(Host, server_side())(ADDRESS, channels)

    def client() -> bytes:
        with socket.create_connection((ADDRESS, server.port), PATIENCE) as plain:
            with trusting().wrap_socket(plain, server_hostname=ADDRESS) as sock:
                with sock.makefile("rb") as file:
                    return file.read()

    assert meanwhile(channels, client) == b"hello, TLSv1.3"


# Names that the class has for something else ---------------------------------------------------


@pytest.mark.filterwarnings("ignore:.* is left alone:RuntimeWarning")
def test_the_names_of_the_class_go_first(channels: Any, tcp_pair: Any) -> None:
    ours, theirs = tcp_pair()

    class Program(Echo):
        server_name = "www"
        tls_context = server_side = "its own"

        def __init__(self, sock: Any) -> None:
            asynccore.dispatcher_with_send.__init__(self, sock, channels)
            self.log = []
            self.cipher = self.peer_certificate = self.server_hostname = "assigned"

        @property
        def tls(self) -> str:
            return "a property"

        @staticmethod
        def user_name() -> str:
            return "ann"

        def unwrap(self, gift: str) -> str:
            return gift

        def start_tls(self) -> str:
            return "started"

        def handle_handshake(self, request: bytes) -> None:
            raise AssertionError("this is the program's own")

        def handle_tls_error(self) -> None:
            raise AssertionError("this is the program's own")

    channel: Any = secure(Program, server_side())(ours)

    def client() -> bytes:
        with trusting().wrap_socket(theirs, server_hostname=ADDRESS) as sock:
            sock.sendall(b"hello")
            answer = sock.recv(5)
            os.close(sock.detach())  # no close_notify
            return answer

    assert meanwhile(channels, client) == b"hello"
    settle(channels, lambda: "close" in channel.log)
    assert channel.log == [b"hello", "close"]
    assert channel.server_name == "www" and channel.tls == "a property"
    assert channel.tls_context == channel.server_side == "its own"
    assert channel.cipher == channel.peer_certificate == channel.server_hostname == "assigned"
    assert channel.user_name() == "ann" and channel.unwrap("x") == "x"
    assert channel.start_tls() == "started"
    assert channel.tls_version == "TLSv1.3"  # what it has nothing of its own for


@pytest.mark.parametrize(
    "name",
    """tls cipher peer_certificate peer_chain peer_names tls_version alpn_protocol session_reused
    server_name user_name unwrap start_tls tls_context server_side server_hostname""".split(),
)
def test_any_name_may_be_assigned(channels: Any, name: str) -> None:
    class Program(Client):
        def __init__(self, port: int) -> None:
            setattr(self, name, 5)
            Client.__init__(self, port, channels)

    server = secure(Server, server_side())(ADDRESS, channels)
    client = secure(Program, client_context(ca=authority().cert_pem.bytes()))(server.port)
    client.send(b"hi")
    settle(channels, lambda: client.got == b"hi")
    assert getattr(client, name) == 5


def test_a_secured_class_goes_back_to_plaintext(channels: Any, tcp_pair: Any) -> None:
    """Nothing keeps it from being in clear where both sides have agreed on that."""
    ours, theirs = tcp_pair()
    said: list[str] = []

    class Program(Echo):
        def handle_read(self) -> None:
            Echo.handle_read(self)
            if channel.tls is not None:
                channel.unwrap()

        def handle_unwrapped(self) -> None:
            said.append("unwrapped")

    channel: Any = secure(Program, server_side())(ours, channels)
    channel.log = []

    def client() -> bytes:
        sock = trusting().wrap_socket(theirs, server_hostname=ADDRESS)
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        with sock.unwrap() as plain:
            plain.sendall(b"in clear")
            return plain.recv(8)

    assert meanwhile(channels, client) == b"in clear"
    assert said == ["unwrapped"] and channel.tls is None


def test_what_was_queued_goes_out_before_unwrap(channels: Any) -> None:
    """The buffers of the class are known, whatever it is derived from."""
    sender = secure(asynccore.dispatcher_with_send, server_side())(map=channels)
    sender.out_buffer = b"queued"
    chat = secure(asynchat.async_chat, server_side())(map=channels)
    chat.producer_fifo.append(b"queued")
    for channel in (sender, chat):
        output = channel._ac_output_now()  # type: ignore[attr-defined]
        assert output == [b"queued"]
        channel._ac_forget_output(len(output))  # type: ignore[attr-defined]
        channel._ac_forget_input()  # type: ignore[attr-defined]
    assert sender.out_buffer == b"" and not chat.producer_fifo
    plain = secure(asynccore.dispatcher, server_side())(map=channels)
    assert plain._ac_output_now() == []  # type: ignore[attr-defined]


def test_a_tls_class_gets_a_context(channels: Any) -> None:
    made = secure(tls_dispatcher, server_side())
    assert made.__mro__[1] is tls_dispatcher
    assert made(map=channels).server_side


# What can't be right --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((Protocol, "server"), {}, TypeError, "is no dispatcher class"),
        ((Echo(map={}), "server"), {}, TypeError, "is no dispatcher class"),
        ((Echo, None), {}, TypeError, "no TLS context"),
        ((Echo, "raw"), {}, ValueError, "give server_side="),
        ((Echo, "server"), {"server_side": False}, ValueError, "for the other side"),
        ((Echo, "server"), {"server_hostname": "x"}, ValueError, "is for clients"),
        ((Echo, "server"), {"handshake_timeout": -1}, ValueError, "handshake_timeout"),
        ((Echo, "server"), {"shutdown_timeout": "1"}, TypeError, "shutdown_timeout"),
    ],
)
def test_errors(arguments: Any, options: Any, error: Any, message: str) -> None:
    cls, which = arguments
    context = {"server": server_side(), "raw": server_raw()}.get(which)
    with pytest.raises(error, match=message):
        secure(cls, context, **options)


def test_a_clients_context_is_not_for_listeners(channels: Any) -> None:
    context = client_context(check_hostname=False)
    with pytest.raises(ValueError, match="takes ssl_ext"):
        secure(Server, context)(ADDRESS, channels)
    with socket.socket() as plain, pytest.raises(ValueError, match="needs a server's context"):
        AcceptingSocket(context, plain)
    with socket.socket() as plain, pytest.raises(TypeError, match="no TLS context"):
        AcceptingSocket(None, plain)


def test_there_is_no_tls_over_udp(channels: Any) -> None:
    channel = secure(Echo, server_side())(map=channels)
    with pytest.raises(ValueError, match=r"stream socket.*a server is a ssl_ext\.tls_listener"):
        channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)


def test_a_client_of_datagrams(channels: Any) -> None:
    class Datagrams(Client):
        def __init__(self, port: int) -> None:
            asynccore.dispatcher_with_send.__init__(self, map=channels)
            self.log: list[Any] = []  # type: ignore[assignment]
            self.begin()
            self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.connect((ADDRESS, port))

    class Answer(tls_dispatcher):
        def handle_read(self) -> None:
            self.send(self.recv(2000))

    server = tls_listener((ADDRESS, 0), Answer, context=server_side(dtls=True), map=channels)
    context = client_context(ca=authority().cert_pem.bytes(), dtls=True)
    client = secure(Datagrams, context)(server.socket.getsockname()[1])
    assert isinstance(client.socket, DTLSSocket)
    client.send(b"hi")
    settle(channels, lambda: client.got == b"hi")
    assert client.log == ["connect"]


def test_datagrams_without_a_peer(channels: Any) -> None:
    """A program that never connects is told so, and the loop does not spin for it."""
    channel: Any = secure(Echo, client_context(dtls=True))(map=channels)
    channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
    channel.bind((ADDRESS, 0))
    with pytest.raises(OSError, match="has no peer: connect first") as caught:
        channel.socket.sendto(b"hello", (ADDRESS, 9))
    assert caught.value.errno == errno.ENOTCONN
    asynccore.loop(timeout=0, map=channels, count=1)
    assert not channels.engine.poller.wait(0)


def test_a_context_for_datagrams_is_for_nothing_else(channels: Any) -> None:
    server = server_side(dtls=True)
    with pytest.raises(ValueError, match=r"whose server is ssl_ext\.tls_listener"):
        secure(Echo, server)
    client = client_context(dtls=True)
    with pytest.raises(ValueError, match="needs a datagram socket"):
        secure(Client, client)(1, channels)
    with socket.socket() as plain:
        for kind, context in ((OpenSSLSocket, client), (AcceptingSocket, server)):
            with pytest.raises(TypeError, match="make a context without dtls=True"):
                kind(context, plain)


def test_tls_in_tls(channels: Any, tcp_pair: Any) -> None:
    ours, _ = tcp_pair()
    with trusting().wrap_socket(ours, server_hostname=ADDRESS, do_handshake_on_connect=False) as it:
        with pytest.raises(ValueError, match="speaks TLS already: give the plain socket"):
            OpenSSLSocket(client_raw(), it, server_hostname=ADDRESS)


def test_a_class_that_nobody_can_derive_from() -> None:
    class Registered(Echo):
        def __init_subclass__(cls, *, port: int, **options: Any) -> None:
            super().__init_subclass__(**options)

    with pytest.raises(TypeError, match=r"can't be made secure.*'port'.*TLSMixin, Registered"):
        secure(Registered, server_side())


def test_an_openssl_socket_stays_what_it_is(channels: Any, tcp_pair: Any) -> None:
    ours, _ = tcp_pair()
    sock = OpenSSLSocket(server_raw(), ours, server_side=True)
    channel = secure(Echo, server_side())(sock, channels)
    assert channel.socket is sock and sock.plain is ours
