"""Twisted's TLS: from the first byte, later by startTLS, and for a client that trusts others."""

from __future__ import annotations

import socket
import ssl as standard
from typing import Any

import trustme
from beside import LOCAL, reactor, serve
from twisted.internet import ssl
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import Factory, Protocol

import asynccore

authority = trustme.CA()
issued = authority.issue_cert("localhost")
own = ssl.PrivateCertificate.loadPEM(issued.private_key_and_cert_chain_pem.bytes())
trusted = ssl.Certificate.loadPEM(authority.cert_pem.bytes())
lost: list[str] = []


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        if data == b"STARTTLS\r\n":
            self.transport.write(b"go ahead\r\n")
            self.transport.startTLS(own.options())
        else:
            self.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        lost.append(reason.type.__name__)


def context(authority: trustme.CA) -> standard.SSLContext:
    made = standard.create_default_context()
    authority.configure_trust(made)
    return made


def exchange(sock: socket.socket) -> None:
    with context(authority).wrap_socket(sock, server_hostname="localhost") as secure:
        secure.sendall(b"s" * 300_000)
        received = 0
        while received < 300_000:
            received += len(secure.recv(65536))


def at_once(number: int) -> None:
    exchange(socket.create_connection((LOCAL, number), 30))
    with socket.create_connection((LOCAL, number), 30) as sock:
        try:
            context(trustme.CA()).wrap_socket(sock, server_hostname="localhost")
        except standard.SSLCertVerificationError:
            pass
        else:
            raise AssertionError("a stranger was believed")


def later(number: int) -> None:
    sock = socket.create_connection((LOCAL, number), 30)
    sock.sendall(b"STARTTLS\r\n")
    assert sock.recv(100) == b"go ahead\r\n"
    exchange(sock)


factory = Factory.forProtocol(Echo)
serve(factory, at_once, own.options())
assert len(lost) == 2 and lost[0] in ("ConnectionDone", "ConnectionLost"), lost
assert lost[1] == "Error", lost
serve(factory, later)


class Asker(Protocol):
    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if len(self.data) == 300_000:
            assert ISSLTransport.providedBy(self.transport)
            self.digest = self.transport.getPeerCertificate().digest("sha256")
            self.transport.loseConnection()
            port.stopListening()


lost.clear()
port = reactor.listenSSL(0, factory, own.options(), interface=LOCAL)
options = ssl.optionsForClientTLS("localhost", trustRoot=trusted)
where = TCP4ClientEndpoint(reactor, LOCAL, port.getHost().port)
asker = Asker()
connectProtocol(wrapClientTLS(options, where), asker).addCallback(
    lambda it: it.transport.write(b"t" * 300_000)
)
asynccore.loop()
assert asker.data == b"t" * 300_000
assert (
    asker.digest.replace(b":", b"").decode()
    == own.original.digest("sha256").replace(b":", b"").decode()
)
assert lost == ["ConnectionDone"]
