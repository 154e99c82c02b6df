"""A program on Twisted: `twisted_peer.py client|server PORT FILES VERSION [CERTIFICATE]`.

As a server it prints its port, and what it learned of each of its connections; as a client, what
came of it, of two connections if the first went well: the second one resumes its session. The
folder of FILES has ca.pem, server.pem and client.pem.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from twisted.internet import endpoints, protocol, reactor, ssl
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import TLSVersion
from twisted.python import failure, log
from zope.interface import implementer

HOST = "server.example"
PAYLOAD = hashlib.shake_128(b"payload").digest(3_000_000)


def say(*words: object) -> None:
    print(*words, flush=True)


class Echo(protocol.Protocol):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        shown = self.transport.getPeerCertificate()
        say(reason.type.__name__, "nobody" if shown is None else "somebody")


class Ask(protocol.Protocol):
    factory: Asking
    session: Any = None

    def connectionMade(self) -> None:
        self.pieces: list[bytes] = []
        self.transport.write(PAYLOAD)

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)
        if sum(map(len, self.pieces)) >= len(PAYLOAD):
            same = b"".join(self.pieces) == PAYLOAD
            say("all" if same else "something else")
            self.session = self.transport.getHandle().get_session()
            self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        say(reason.type.__name__)
        self.factory.ended(self.session)


@implementer(IOpenSSLClientConnectionCreator)
class Asking(protocol.Factory):
    """Asks twice, the second time with the session of the first."""

    protocol = Ask
    session: Any = None

    def __init__(self, options: Any, port: int) -> None:
        self.options = options
        plain = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self.endpoint = endpoints.wrapClientTLS(self, plain)

    def clientConnectionForTLS(self, tls: Any) -> Any:
        connection = self.options.clientConnectionForTLS(tls)
        if self.session is not None:
            connection.set_session(self.session)
        return connection

    def ask(self) -> None:
        self.endpoint.connect(self).addErrback(self.failed)

    def failed(self, why: failure.Failure) -> None:
        say("failed", why.type.__name__)
        reactor.stop()

    def ended(self, session: Any) -> None:
        if session is None or self.session is not None:
            reactor.stop()
        else:
            self.session = session
            self.ask()


def main(role: str, port: str, folder: str, version: str, certificate: str = "") -> None:
    log.addObserver(lambda event: say(log.textFromEventDict(event)) if event["isError"] else None)
    read = Path(folder)
    authority = ssl.Certificate.loadPEM((read / "ca.pem").read_bytes())
    only = TLSVersion.TLSv1_2 if version == "TLSv1.2" else TLSVersion.TLSv1_3
    bounds = {"insecurelyLowerMinimumTo": only, "lowerMaximumSecurityTo": only}
    if role == "server":
        own = ssl.PrivateCertificate.loadPEM((read / "server.pem").read_bytes())
        options = ssl.CertificateOptions(
            privateKey=own.privateKey.original,
            certificate=own.original,
            trustRoot=authority if certificate else None,
            enableSessions=True,
            **bounds,
        )
        endpoint = endpoints.SSL4ServerEndpoint(reactor, 0, options, interface="127.0.0.1")
        listening = endpoint.listen(protocol.Factory.forProtocol(Echo))
        listening.addCallback(lambda found: say(found.getHost().port))
    else:
        own = None
        if certificate:
            own = ssl.PrivateCertificate.loadPEM((read / certificate).read_bytes())
        options = ssl.optionsForClientTLS(HOST, authority, own, extraCertificateOptions=bounds)
        Asking(options, int(port)).ask()
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
