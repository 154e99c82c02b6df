"""A mail proxy that logs in for its clients, in the style of the best-known asyncore program.

Clients that know passwords alone speak SMTP to the proxy, in clear, with STARTTLS, or with TLS from
the beginning; the proxy speaks any of the three to the server, and makes XOAUTH2 of AUTH PLAIN. It
wraps its sockets with the standard library's `ssl`: in `handle_accepted`, in `handle_connect`, and
in the middle of a dialogue. Handshakes are deferred, and go on in the event methods, which it
overrides: nothing but an empty send of classic asyncore begins those with the server.

Ten clients of the standard library's `smtplib` talk at once, in threads; one loop has the proxy.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import select
import smtplib
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from tests.field.support import client_context, server_context
from tests.tls.support import HOST

MODES = ("plain", "starttls", "implicit")
SESSIONS = 10
WANTS = (ssl.SSLWantReadError, ssl.SSLWantWriteError)


# -- the server, of threads ----------------------------------------------------------------------


class Upstream(socketserver.StreamRequestHandler):
    """Takes mail from who has a token."""

    timeout = 60
    server: Any

    def handle(self) -> None:
        if self.server.mode == "implicit":
            self._wrap()
        self._say("220 upstream")
        secure = self.server.mode != "starttls"
        user = None
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                extensions = "AUTH XOAUTH2" if secure else "STARTTLS"
                self._say("250-upstream", f"250 {extensions}")
            elif verb == "STARTTLS":
                self._say("220 go ahead")
                self._wrap()
                secure = True
            elif verb == "AUTH" and secure and line.startswith("AUTH XOAUTH2 token-of-"):
                user = line.rpartition("-")[2]
                self._say("235 welcome")
            elif verb == "DATA" and user:
                self._say("354 go on")
                message = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.mail.append((user, message))
                self._say("250 taken")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            elif user:
                self._say("250 fine")
            else:
                self._say("530 who are you?")

    def _wrap(self) -> None:
        self.request = server_context().wrap_socket(self.request, server_side=True)
        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
        self.wfile.flush()

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()
        self.request.close()


class UpstreamServer(socketserver.ThreadingTCPServer):
    request_queue_size = 64
    daemon_threads = False

    def __init__(self, mode: str, mail: list[Any]) -> None:
        self.mode = mode
        self.mail = mail
        super().__init__(("127.0.0.1", 0), Upstream)

    def handle_error(self, *_: Any) -> None:
        self.mail.append(sys.exc_info()[1])


# -- the proxy -----------------------------------------------------------------------------------


class Secured(asynccore.dispatcher_with_send):
    """A connection that may get TLS at any time; its handshake goes on when events come."""

    def __init__(self, sock: Any, map: Any, failures: list[Any]) -> None:
        super().__init__(sock, map)
        self.failures = failures
        self.shaking = False
        self.pending = b""
        self.other: Any = None

    def secure(self, wrap: Callable[[Any], Any]) -> None:
        self.set_socket(wrap(self.socket))
        self.shaking = True

    def shake(self) -> None:
        try:
            self.socket.do_handshake()
        except ssl.SSLWantReadError:
            select.select([self.socket], [], [], 0.001)
        except ssl.SSLWantWriteError:
            select.select([], [self.socket], [], 0.001)
        else:
            self.shaking = False
            self.shaken()

    def shaken(self) -> None:
        """TLS stands."""

    def handle_read_event(self) -> None:
        if self.shaking:
            self.shake()
            return
        try:
            super().handle_read_event()
        except WANTS:
            self.shake()

    def handle_write_event(self) -> None:
        if self.shaking:
            self.shake()
            return
        try:
            super().handle_write_event()
        except WANTS:
            self.shake()

    def handle_read(self) -> None:
        self.pending += self.recv(8192)
        while b"\r\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\r\n")
            self.take(line.decode())

    def take(self, line: str) -> None:
        raise NotImplementedError

    def say(self, line: str) -> None:
        self.send(line.encode() + b"\r\n")

    def handle_error(self) -> None:
        self.failures.append(sys.exc_info()[1])
        self.close()

    def handle_close(self) -> None:
        self.close()
        if self.other is not None and self.other.connected:
            self.other.close()


class Outside(Secured):
    """The connection to the server."""

    def __init__(self, mode: str, address: Any, map: Any, failures: list[Any]) -> None:
        super().__init__(None, map, failures)
        self.mode = mode
        self.connects = 0
        # With STARTTLS the proxy first talks for itself.
        self.awaits = ["220", "250 ", "220"] if mode == "starttls" else []
        self.create_socket()
        self.connect(address)

    def wrap(self, sock: Any) -> Any:
        return client_context().wrap_socket(
            sock, server_hostname=HOST, do_handshake_on_connect=False
        )

    def handle_connect(self) -> None:
        self.connects += 1
        if self.mode == "implicit":
            self.set_socket(self.wrap(self.socket))

    def take(self, line: str) -> None:
        if self.awaits:
            if line.startswith(self.awaits[0]):
                del self.awaits[0]
                if len(self.awaits) == 2:
                    self.say("EHLO proxy")
                elif len(self.awaits) == 1:
                    self.say("STARTTLS")
                else:
                    self.secure(self.wrap)
                    self.shake()
                    self.other.say("220 proxy")
        else:
            self.other.say(line.replace("AUTH XOAUTH2", self.other.capabilities()))


class Inside(Secured):
    """The connection of a client."""

    def __init__(self, sock: Any, mode: str, map: Any, failures: list[Any]) -> None:
        super().__init__(sock, map, failures)
        self.mode = mode
        self.clear = mode == "starttls"

    def capabilities(self) -> str:
        return "STARTTLS" if self.clear else "AUTH PLAIN"

    def wrap(self, sock: Any) -> Any:
        return server_context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def take(self, line: str) -> None:
        if line == "STARTTLS":
            self.say("220 go ahead")
            self.clear = False
            self.secure(self.wrap)
        elif line.startswith("AUTH PLAIN "):
            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            assert password == "secret of " + user
            self.other.say("AUTH XOAUTH2 token-of-" + user)
        else:
            self.other.say(line)


class Proxy(asynccore.dispatcher):
    def __init__(self, inside: str, outside: str, upstream: Any, map: Any, log: Any) -> None:
        super().__init__(map=map)
        self.inside, self.outside, self.upstream = inside, outside, upstream
        self.failures, self.servers = log
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(20)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        client = Inside(sock, self.inside, self._map, self.failures)
        if self.inside == "implicit":
            client.secure(client.wrap)
        server = Outside(self.outside, self.upstream, self._map, self.failures)
        client.other, server.other = server, client
        self.servers.append(server)

    def handle_error(self) -> None:
        self.failures.append(sys.exc_info()[1])


# -- the clients ---------------------------------------------------------------------------------


class _NamedSSL(smtplib.SMTP_SSL):
    """Asks for the name in the certificate at whatever address."""

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        sock = socket.create_connection((host, port), timeout)
        return self.context.wrap_socket(sock, server_hostname=HOST)  # type: ignore[attr-defined]


def send_mail(mode: str, address: Any, number: int) -> None:
    client: smtplib.SMTP
    if mode == "implicit":
        client = _NamedSSL(*address, timeout=60, context=client_context(), local_hostname="me")
    else:
        client = smtplib.SMTP(*address, timeout=60, local_hostname="me")
    with client:
        if mode == "starttls":
            client._host = HOST  # type: ignore[attr-defined]
            client.starttls(context=client_context())
        user = f"user{number}"
        client.login(user, f"secret of {user}")
        text = f"Subject: {number}\r\n\r\n" + f"line of {user}\r\n" * 2000
        client.sendmail(f"{user}@example.org", ["all@example.org"], text)


@pytest.fixture
def upstreams() -> Iterator[dict[str, Any]]:
    server_context(), client_context()  # made here, for threads must not make them twice
    mail: list[Any] = []
    servers = {mode: UpstreamServer(mode, mail) for mode in MODES}
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.01,)) for server in servers.values()
    ]
    for thread in threads:
        thread.start()
    yield servers
    for server, thread in zip(servers.values(), threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_ten_clients_at_once(channels: Any, engine: str, upstreams: dict[str, Any]) -> None:
    failures: list[Any] = []
    servers: list[Outside] = []
    pairs = list(itertools.product(MODES, MODES))
    proxies = [
        Proxy(inside, outside, upstreams[outside].server_address, channels, (failures, servers))
        for inside, outside in pairs
    ]

    def talk(number: int) -> None:
        inside, _ = pairs[number % len(pairs)]
        address = proxies[number % len(pairs)].socket.getsockname()
        try:
            send_mail(inside, address, number)
        except Exception as why:
            failures.append(why)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    try:
        while not failures and any(thread.is_alive() for thread in threads):
            assert time.monotonic() < end
            asynccore.loop(timeout=0.05, map=channels, count=1)
        assert failures == []
    finally:
        asynccore.close_all(channels)  # which ends what still waits
        for thread in threads:
            thread.join(20)
    assert [server.connects for server in servers] == [1] * SESSIONS
    mail = upstreams["plain"].mail
    assert {user for user, _ in mail} == {f"user{number}" for number in range(SESSIONS)}
    for user, message in mail:
        assert message.count(f"line of {user}\r\n".encode()) == 2000
