"""A server, clients and their network, for tests of DTLS."""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import asynccore
import ssl_ext
from asynccore.engine import engine_for
from asynccore.testing import FakeClock
from ssl_ext import client_context, server_context
from ssl_ext.sockets.dtls_socket import MTU
from tests.tls.pki import ca_pem, issue
from tests.tls.support import authority

PATIENCE = 20.0  # a bound for what takes milliseconds
SERVER = issue(names=("localhost",))
CLIENT = issue(names=(), email="ann@example.org")

# How the record begins that has it.
CHANGE_CIPHER_SPEC = b"\x14\xfe\xfd"


def serving(**options: Any) -> ssl_ext.Context:
    return server_context(options.pop("certificate", SERVER.pem), dtls=True, **options)


def trusting(**options: Any) -> ssl_ext.Context:
    return client_context(ca=ca_pem(authority()), dtls=True, **options)


class Noting(ssl_ext.tls_dispatcher):
    """Notes what happens to it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.got: list[bytes] = []
        self.errors: list[BaseException] = []
        self.said: list[str] = []
        self.shaken = self.ends = 0
        super().__init__(*arguments, **options)

    def writable(self) -> bool:
        return self.connecting

    def handle_connect(self) -> None:
        pass

    def handle_handshake(self) -> None:
        self.shaken += 1

    def handle_read(self) -> None:
        data = self.recv(MTU)
        if data:
            self.got.append(data)

    def handle_close(self) -> None:
        self.ends += 1
        self.close()

    def handle_tls_error(self, exc: ssl_ext.TLSError) -> None:
        self.errors.append(exc)
        self.close()

    def handle_error(self) -> None:
        why = sys.exc_info()[1]
        assert why is not None
        self.errors.append(why)
        self.close()

    def handle_timeout(self, which: str) -> None:
        self.said.append(which)
        self.close()


class Deaf(Noting):
    """Does not want to read until it is told to."""

    reads = False

    def readable(self) -> bool:
        return self.reads


class Listener(ssl_ext.tls_listener):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.channels: list[Noting] = []
        self.said: list[str] = []
        super().__init__(*arguments, **options)

    def handle_channel(self, channel: Any, addr: Any) -> None:
        self.channels.append(channel)

    def log_info(self, message: Any, type: str = "info") -> None:
        self.said.append(str(message))


class World:
    """A listener and clients in one map."""

    def __init__(self, host: str = "127.0.0.1", poller: str | None = None) -> None:
        self.map: Any = asynccore.ChannelMap()
        self.host = host
        self.engine = engine_for(self.map)
        self.engine.use(poller)
        self.listener: Any = None
        self.kind: type[Noting] = Noting  # of the clients

    def listen(self, **options: Any) -> Listener:
        self.listener = Listener((self.host, 0), Noting, context=serving(**options), map=self.map)
        return self.listener  # type: ignore[no-any-return]

    @property
    def address(self) -> Any:
        return self.listener.socket.getsockname()[:2]

    def client(
        self, sock: Any = None, name: str = "localhost", address: Any = None, **options: Any
    ) -> Noting:
        client = self.kind(None, self.map, context=trusting(**options), server_hostname=name)
        if sock is None:
            family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
            client.create_socket(family, socket.SOCK_DGRAM)
        else:
            client.set_socket(sock)
        client.connect(address or self.address)
        return client

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, [vars(channel) for channel in self.map.values()]
            asynccore.loop(0.01, map=self.map, count=1)

    def passes(self, count: int = 5) -> None:
        asynccore.loop(0, map=self.map, count=count)

    def fake_clock(self) -> FakeClock:
        clock = self.engine.clock = self.engine.timers.clock = FakeClock(time.monotonic())
        return clock

    def pair(self, **options: Any) -> tuple[Noting, Noting]:
        client = self.client(**options)
        self.until(lambda: client.shaken and self.listener.channels[-1].shaken)
        return client, self.listener.channels[-1]


class Bad(socket.socket):
    """A socket whose nth datagrams are lost, doubled, or held back until after the next one."""

    lost: frozenset[int] = frozenset()
    doubled = held = False
    count = 0
    before: bytes | None = None

    def send(self, data: Any, *flags: int) -> int:
        self.count += 1
        if self.count - 1 in self.lost:
            return len(data)
        if self.held:
            self.before, data = bytes(data), self.before
            if data is None:
                return 0
        for _ in range(2 if self.doubled else 1):
            super().send(data, *flags)
        return len(data)


class Full(socket.socket):
    """A socket that has no room every second time."""

    count = 0

    def send(self, data: Any, *flags: int) -> int:
        self.count += 1
        if self.count % 2:
            raise BlockingIOError(errno.EAGAIN, "no room")
        return super().send(data, *flags)
