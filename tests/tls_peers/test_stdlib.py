"""The standard library's blocking `ssl` at the other end."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from asynccore import ChannelMap
from ssl_ext import CertificateError, PeerRefused
from tests.tls.support import (
    CLIENT,
    HOST,
    authority,
    client_certificate,
    other_authority,
    server_certificate,
    strange_certificate,
)
from tests.tls_peers.support import (
    PATIENCE,
    PAYLOAD,
    Asking,
    Listener,
    Quiet,
    ask,
    client_context,
    during,
    run,
    server_context,
)


def context(
    role: Any, version: str, certificate: Any = None, demands: bool = False, trusts: Any = None
) -> Any:
    made = ssl.SSLContext(role)
    made.minimum_version = made.maximum_version = ssl.TLSVersion[version.replace(".", "_")]
    (trusts or authority()).configure_trust(made)
    if certificate is not None:
        certificate.configure_cert(made)
    if demands:
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def client_of(version: str, certificate: Any = None, trusts: Any = None) -> Any:
    return context(ssl.PROTOCOL_TLS_CLIENT, version, certificate, trusts=trusts)


def server_of(version: str, demands: bool = False, certificate: Any = None) -> Any:
    return context(ssl.PROTOCOL_TLS_SERVER, version, certificate or server_certificate(), demands)


# What a client sends before it reads: more than a record, and less than the buffers hold.
PIECE = 50_000


# Its clients, our server ------------------------------------------------------------------------


def exchange(port: int, tls: Any, session: Any = None, payload: bytes = PAYLOAD) -> Any:
    """Send everything, have it back, and say goodbye properly; return the session."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain:
        with tls.wrap_socket(plain, server_hostname=HOST, session=session) as sock:
            for at in range(0, len(payload), PIECE):
                piece = payload[at : at + PIECE]
                sock.sendall(piece)
                got = b""
                while len(got) < len(piece):
                    data = sock.recv(65536)
                    assert data
                    got += data
                assert got == piece
            if not payload:
                sock.recv(1)  # the refusal, which comes after the handshake in TLS 1.3
            assert sock.session_reused is (session is not None)
            session = sock.session
            sock.unwrap()  # an error, if our close_notify is missing
            return session


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client(channels: ChannelMap, version: str, with_certificate: bool) -> None:
    listener = Listener(
        channels, server_context(version, "required" if with_certificate else "none")
    )
    tls = client_of(version, client_certificate() if with_certificate else None)
    during(channels, lambda: exchange(listener.port, tls))
    (channel,) = listener.handed
    run(channels, lambda: len(channels) == 1)
    assert channel.log == ["handshake", "close"]
    assert channel.version == version
    assert channel.user == (CLIENT if with_certificate else None)
    assert channel.reused is False


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client_comes_back(channels: ChannelMap, version: str, with_certificate: bool) -> None:
    listener = Listener(
        channels, server_context(version, "required" if with_certificate else "none")
    )
    tls = client_of(version, client_certificate() if with_certificate else None)
    session = during(channels, lambda: exchange(listener.port, tls, payload=b"first"))
    during(channels, lambda: exchange(listener.port, tls, session, b"second"))
    first, second = listener.handed
    assert (first.reused, second.reused) == (False, True)
    assert second.user == (CLIENT if with_certificate else None)


@pytest.mark.parametrize("shows", ["nothing", "a stranger's"])
def test_a_client_that_we_refuse(channels: ChannelMap, version: str, shows: str) -> None:
    listener = Listener(channels, server_context(version, "required"))
    tls = client_of(version, None if shows == "nothing" else strange_certificate())
    with pytest.raises(ssl.SSLError) as refused:
        during(channels, lambda: exchange(listener.port, tls, payload=b""))
    assert "ALERT" in str(refused.value)
    (channel,) = listener.handed
    run(channels, lambda: channel.error)
    assert type(channel.error) is CertificateError
    assert channel.log == ["CertificateError"]


def test_a_client_that_refuses_us(channels: ChannelMap, version: str) -> None:
    listener = Listener(channels, server_context(version))
    tls = client_of(version, trusts=other_authority())
    with pytest.raises(ssl.SSLCertVerificationError):
        during(channels, lambda: exchange(listener.port, tls, payload=b""))
    (channel,) = listener.handed
    run(channels, lambda: channel.error)
    assert channel.log == ["PeerRefused"]


def test_a_client_of_another_version(channels: ChannelMap) -> None:
    listener = Listener(channels, server_context("TLSv1.3"))
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        during(channels, lambda: exchange(listener.port, client_of("TLSv1.2"), payload=b""))
    assert [channel.log for channel in listener.handed] == [["HandshakeError"]]


def test_a_client_that_leaves_without_a_word(channels: ChannelMap, version: str) -> None:
    listener = Listener(channels, server_context(version))

    def leave() -> None:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=PATIENCE) as plain:
            with client_of(version).wrap_socket(plain, server_hostname=HOST) as sock:
                sock.sendall(b"hello")
                assert sock.recv(5) == b"hello"
                if version == "TLSv1.3":
                    sock.setblocking(False)

    during(channels, leave)
    (channel,) = listener.handed
    run(channels, lambda: len(channels) == 1)
    assert channel.log == ["handshake", "TruncationError"]


# Its servers, our client ------------------------------------------------------------------------


class Server:
    """A blocking server, which echoes until its peer says goodbye."""

    def __init__(self, tls: Any) -> None:
        self.tls = tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.port = self.listener.getsockname()[1]
        self.peer: Any = None
        self.reused: bool | None = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.listener.close()

    def serve(self) -> int:
        plain, _ = self.listener.accept()
        plain.settimeout(PATIENCE)
        with plain, self.tls.wrap_socket(plain, server_side=True) as sock:
            self.peer = sock.getpeercert()
            self.reused = sock.session_reused
            total = 0
            while data := sock.recv(65536):  # an error, if our close_notify is missing
                sock.sendall(data)
                total += len(data)
            return total


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server(channels: ChannelMap, version: str, with_certificate: bool) -> None:
    with Server(server_of(version, demands=with_certificate)) as server:
        mine = client_context(version, client_certificate() if with_certificate else None)
        for reused in (False, True):
            client = ask(channels, server.port, mine)
            assert during(channels, server.serve) == len(PAYLOAD)
            assert client.log == ["handshake", "all"]
            assert client.version == version
            assert client.reused is server.reused is reused
            if with_certificate:
                assert server.peer["subjectAltName"] == (("email", CLIENT),)
    run(channels, lambda: False)


@pytest.mark.parametrize("shows", ["nothing", "a stranger's"])
def test_a_server_that_refuses_us(channels: ChannelMap, version: str, shows: str) -> None:
    with Server(server_of(version, demands=True)) as server:
        mine = client_context(version, None if shows == "nothing" else strange_certificate())
        client = ask(channels, server.port, mine, kind=Quiet)
        with pytest.raises(ssl.SSLError):
            during(channels, server.serve)
        run(channels, lambda: client.error)
        assert type(client.error) is PeerRefused
        # In TLS 1.3 the client has ended its handshake when the refusal comes.
        assert client.log == (["handshake"] if version == "TLSv1.3" else []) + ["PeerRefused"]


@pytest.mark.parametrize("why", ["name", "authority"])
def test_a_server_that_we_refuse(channels: ChannelMap, version: str, why: str) -> None:
    certificate = strange_certificate() if why == "authority" else None
    with Server(server_of(version, certificate=certificate)) as server:
        name = "other.example" if why == "name" else HOST
        client = ask(channels, server.port, client_context(version), name)
        try:
            assert during(channels, server.serve) == 0
        except (ssl.SSLError, ConnectionError):
            pass  # our alert, or an end in the middle, depending on when we know
        run(channels, lambda: client.error)
        assert type(client.error) is CertificateError
        assert client.log == ["CertificateError"]


def test_a_server_that_leaves_without_a_word(channels: ChannelMap, version: str) -> None:
    with Server(server_of(version)) as server:

        def leave() -> None:
            plain, _ = server.listener.accept()
            with plain, server.tls.wrap_socket(plain, server_side=True) as sock:
                sock.sendall(b"first part")
                sock.recv(5)

        class Short(Asking):
            def handle_read(self) -> None:
                self.got += self.recv(65536)

        client = ask(channels, server.port, client_context(version), kind=Short)
        client.payload = b"hello"
        during(channels, leave)
        run(channels, lambda: not channels)
        assert client.log == ["handshake", "TruncationError"]
        assert client.got == b"first part"
