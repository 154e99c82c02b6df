"""The echo and stream servers over TLS, one for each way of doing it; `--kind` says which.

The certificate is made at the start, with trustme: `--key` says of which kind.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib
import select
import signal
import socket
import ssl
import tempfile
from typing import Any

import trustme
from OpenSSL import SSL

from benchmarks.servers import asyncio_, classic, common

KEYS = {"rsa": trustme.KeyType.RSA, "p256": trustme.KeyType.ECDSA}
SESSION_ID = b"benchmarks"  # any name will do: without one OpenSSL resumes nothing


class Certificate:
    """A certificate with its key, and contexts that have it."""

    def __init__(self, kind: str) -> None:
        key_type = KEYS[kind]
        self.certificate = trustme.CA(key_type=key_type).issue_cert("localhost", key_type=key_type)

    def standard(self) -> ssl.SSLContext:
        """The standard library's context, as its documentation recommends it."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.certificate.configure_cert(context)
        return context

    def plain(self) -> SSL.Context:
        """pyOpenSSL's own."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_session_id(SESSION_ID)
        self.certificate.configure_cert(context)
        return context

    def ours(self) -> Any:
        """ssl_ext's, with its defaults."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.certificate.private_key_and_cert_chain_pem.bytes())
            file.flush()
            return importlib.import_module("ssl_ext").server_context(file.name, file.name)


def listener(port: int) -> socket.socket:
    """A listening socket, the same for all that take one."""
    return socket.create_server((common.HOST, port), backlog=common.BACKLOG)


def asynccore(options: argparse.Namespace, certificate: Certificate) -> None:
    """Plain classic dispatchers on an `OpenSSLSocket`."""
    asyncore: Any = importlib.import_module("asynccore")
    ssl_ext = importlib.import_module("ssl_ext")
    if options.role == "stream":
        channel = classic.stream_class(asyncore)
    elif options.role == "lines":
        channel = classic.lines_class(importlib.import_module("asynccore.asynchat"), False)
    else:
        # A record is read whole by its peers: the same here, and not in pieces of 8 KiB.
        channel = classic.echo_class(asyncore, "none", common.RECEIVE_SIZE)

    class Listener(asyncore.dispatcher):  # type: ignore[misc]
        def handle_accepted(self, connection: Any, address: object) -> None:
            channel(connection)

    sock = listener(options.port)
    it = Listener(ssl_ext.OpenSSLSocket(certificate.ours(), sock, server_side=True))
    it.accepting = True
    common.announce(sock.getsockname()[1], "asynccore (this checkout)")
    asyncore.loop()


def _protocols(options: argparse.Namespace, certificate: Certificate, version: str) -> Any:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(
            asyncio_.PROTOCOLS[options.role],
            common.HOST,
            options.port,
            backlog=common.BACKLOG,
            ssl=certificate.standard(),
        )
        common.announce(server.sockets[0].getsockname()[1], version)
        await server.serve_forever()

    return serve()


def on_asyncio(options: argparse.Namespace, certificate: Certificate) -> None:
    """asyncio's Protocol with `ssl=`."""
    asyncio.run(_protocols(options, certificate, "asyncio"))


def on_streams(options: argparse.Namespace, certificate: Certificate) -> None:
    """asyncio's streams with `ssl=`."""

    async def serve() -> None:
        server = await asyncio.start_server(
            asyncio_.STREAMS[options.role],
            common.HOST,
            options.port,
            backlog=common.BACKLOG,
            ssl=certificate.standard(),
        )
        common.announce(server.sockets[0].getsockname()[1], "asyncio")
        await server.serve_forever()

    asyncio.run(serve())


def on_uvloop(options: argparse.Namespace, certificate: Certificate) -> None:
    """The same on uvloop."""
    loop = importlib.import_module("uvloop").new_event_loop()
    loop.run_until_complete(_protocols(options, certificate, common.version_of("uvloop")))


def on_twisted(options: argparse.Namespace, certificate: Certificate) -> None:
    """Twisted's listenSSL on the epoll reactor."""
    importlib.import_module("twisted.internet.epollreactor").install()
    internet = importlib.import_module("twisted.internet.ssl")
    protocol = importlib.import_module("twisted.internet.protocol")
    servers = importlib.import_module("benchmarks.servers.twisted_")
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    pem = certificate.certificate.private_key_and_cert_chain_pem.bytes()
    private = internet.PrivateCertificate.loadPEM(pem)
    # Both are off by default: without them nothing is resumed.
    chosen = internet.CertificateOptions(
        privateKey=private.privateKey.original,
        certificate=private.original,
        enableSessions=True,
        enableSessionTickets=True,
    )
    factory = protocol.ServerFactory()
    factory.protocol = servers.PROTOCOLS[options.role]
    factory.noisy = False
    port = reactor.listenSSL(
        options.port, factory, chosen, backlog=common.BACKLOG, interface=common.HOST
    )
    common.announce(port.getHost().port, common.version_of("Twisted"))
    reactor.run()


def on_gevent(options: argparse.Namespace, certificate: Certificate) -> None:
    """gevent's StreamServer with an SSL context of gevent's."""
    its_ssl = importlib.import_module("gevent.ssl")
    servers = importlib.import_module("benchmarks.servers.gevent_")
    # Its create_default_context makes the standard library's contexts, which block the hub.
    context = its_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.certificate.configure_cert(context)
    server = importlib.import_module("gevent.server").StreamServer(
        (common.HOST, options.port),
        servers.HANDLERS[options.role],
        backlog=common.BACKLOG,
        ssl_context=context,
    )
    server.start()
    common.announce(server.server_port, common.version_of("gevent"))
    server.serve_forever()


class _Peer:
    """One connection of the bare loop: what `SSL.Connection` wants, and nothing else."""

    def __init__(self, context: SSL.Context, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = SSL.Connection(context, sock)
        self.connection.set_accept_state()
        self.unsent = b""
        self.waits = select.EPOLLIN

    def turn(self) -> int:
        """Send back what is there; returns what to wait for, 0 at the end."""
        connection = self.connection
        try:
            if not self.unsent:
                self.unsent = connection.recv(common.RECEIVE_SIZE)
            while self.unsent:
                self.unsent = self.unsent[connection.send(self.unsent) :]
        except SSL.WantReadError:
            return select.EPOLLIN
        except SSL.WantWriteError:
            return select.EPOLLOUT
        except SSL.Error:
            return 0
        return select.EPOLLIN


def bare(options: argparse.Namespace, certificate: Certificate) -> None:
    """The least that Python can do: an epoll loop over pyOpenSSL's connections."""
    context, sock = certificate.plain(), listener(options.port)
    poller, own = select.epoll(), sock.fileno()
    peers: dict[int, _Peer] = {}
    poller.register(own, select.EPOLLIN)
    common.announce(sock.getsockname()[1], common.version_of("pyOpenSSL"))
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == own:
                accepted, _ = sock.accept()
                peers[accepted.fileno()] = _Peer(context, accepted)
                poller.register(accepted.fileno(), select.EPOLLIN)
                continue
            peer = peers[descriptor]
            waits = peer.turn()
            if waits == peer.waits:
                continue
            if waits:
                poller.modify(descriptor, waits)
                peer.waits = waits
            else:
                poller.unregister(descriptor)
                peers.pop(descriptor).connection.close()


def blocking(options: argparse.Namespace, certificate: Certificate) -> None:
    """A blocking loop over the standard library's ssl, one connection after the other."""
    context, sock = certificate.standard(), listener(options.port)
    common.announce(sock.getsockname()[1], ssl.OPENSSL_VERSION)
    while True:
        plain, _ = sock.accept()
        with context.wrap_socket(plain, server_side=True) as connection:
            while data := connection.recv(common.RECEIVE_SIZE):
                for piece in common.pieces(data):
                    connection.sendall(piece)


KINDS = {
    "asynccore": asynccore,
    "asyncio": on_asyncio,
    "asyncio-streams": on_streams,
    "uvloop": on_uvloop,
    "twisted": on_twisted,
    "gevent": on_gevent,
    "bare": bare,
    "blocking": blocking,
}


def main() -> None:
    """Listen, announce, serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--role", choices=["echo", "stream", "lines", "rsa"], default="echo")
    parser.add_argument("--kind", choices=list(KINDS), required=True)
    options = parser.parse_args()
    # The role says the key, too: echo with an RSA certificate.
    certificate = Certificate("rsa" if options.role == "rsa" else "p256")
    if options.role == "rsa":
        options.role = "echo"
    ctypes.CDLL(None).prctl(common.PR_SET_PDEATHSIG, signal.SIGKILL)
    KINDS[options.kind](options, certificate)


if __name__ == "__main__":
    main()
