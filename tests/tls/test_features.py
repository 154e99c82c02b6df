"""What every channel can do, over TLS: files, watermarks, timeouts, a graceful end and so on."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, loop
from asynccore.engine import Engine
from asynccore.producers import file_producer
from asynccore.testing import FakeClock
from ssl_ext import tls_async_chat, tls_listener
from ssl_ext.states import RECORD
from tests.corners.support import run_script
from tests.tls.support import HOST, client_raw, server_raw
from tests.tls.talking import settle
from tests.tls.wire import Noting

# More than the buffers of both sides hold.
LARGE = bytes(range(250)) * 12_000

# More passes than anything here needs.
MOST = 100_000


class Chat(tls_async_chat):
    """Pushes what the test says, and writes down what happens."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.log: list[str] = []
        super().__init__(*args, **options)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        self.log.append(self._get_data().decode())

    def handle_handshake(self) -> None:
        self.log.append("handshake")

    def handle_pause(self) -> None:
        self.log.append("pause")

    def handle_resume(self) -> None:
        self.log.append("resume")

    def handle_timeout(self, which: str) -> None:
        self.log.append(which)
        self.close()

    def handle_shutdown(self) -> None:
        self.push(b"goodbye")

    def handle_error(self) -> None:
        self.log.append(repr(sys.exc_info()[1]))
        self.close()


@pytest.fixture
def pair(channels: Any, tcp_pair: Any, version: int) -> Callable[..., tuple[Noting, Any]]:
    """Make a client, and a server of a class, whose handshake is over."""

    def make(kind: Any = Chat, family: int = socket.AF_INET) -> tuple[Noting, Any]:
        ours, theirs = tcp_pair(family)
        client = Noting(ours, channels, context=client_raw(version), server_hostname=HOST)
        server = kind(theirs, channels, context=server_raw(version), server_side=True)
        settle(channels, lambda: "handshake" in client.log and "handshake" in server.log)
        server.log.clear()
        return client, server

    return make


def test_a_file(channels: Any, pair: Any, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(LARGE)
    client, server = pair()
    server.push(b"before ")
    server.push_with_producer(file_producer(path.open("rb"), close=True))
    server.push(b" after")
    settle(channels, lambda: client.got.endswith(b" after"))
    assert client.got == b"before " + LARGE + b" after"
    assert server.log == []


def test_watermarks(channels: Any, pair: Any) -> None:
    client, server = pair()
    server.high_watermark = 100_000
    client.pause_reading()
    server.push(LARGE)
    assert server.log == ["pause"] and server.write_buffer_size > 100_000
    client.resume_reading()
    settle(channels, lambda: len(client.got) == len(LARGE))
    assert server.log == ["pause", "resume"]


def turns(channels: Any) -> None:
    """Run a loop whose clock stands still for as long as there can be anything to do."""
    for _ in range(20):
        loop(timeout=0, map=channels, count=1)


@pytest.mark.parametrize("which", ["idle_timeout", "write_timeout"])
def test_timeouts(channels: Any, version: int, which: str) -> None:
    clock = FakeClock()
    channels.engine = Engine(channels, clock)
    # TCP takes some more when the kernel gets round to it, and then there was progress.
    ours, theirs = socket.socketpair()
    client = Noting(ours, channels, context=client_raw(version), server_hostname=HOST)
    server = Chat(theirs, channels, context=server_raw(version), server_side=True)
    for _ in range(MOST):
        loop(timeout=0, map=channels, count=1)
        if server.log and client.log:
            break
    setattr(server, which, 10.0)
    clock.advance(5.0)
    if which == "idle_timeout":
        client.send(b"x\n")
        for _ in range(MOST):
            loop(timeout=0, map=channels, count=1)
            if server.log[-1] == "x":
                break
    else:
        server.push(b"x\n")  # who has heard nothing yet reads in spite of its pause
        for _ in range(MOST):
            loop(timeout=0, map=channels, count=1)
            if client.log[-1] == "read":
                break
        client.pause_reading()
        server.push(LARGE)
    turns(channels)
    clock.advance(9.0)
    turns(channels)
    assert server.log[1:] == (["x"] if which == "idle_timeout" else [])
    clock.advance(1.1)
    turns(channels)
    assert server.log[-1] == which.removesuffix("_timeout")


def test_a_graceful_end(channels: Any, tcp_pair: Any, version: int) -> None:
    ours, theirs = tcp_pair()
    others = ChannelMap()
    client = Noting(ours, others, context=client_raw(version), server_hostname=HOST)
    server = Chat(theirs, channels, context=server_raw(version), server_side=True)
    server.push(LARGE)  # waits for the handshake
    asynccore.graceful_close(60.0, map=channels)
    for _ in range(MOST):
        loop(timeout=0, map=channels, count=1)
        loop(timeout=0, map=others, count=1)
        if not channels and not others:
            break
    assert client.got == LARGE + b"goodbye"
    assert client.log[-1] == "close" and client.error is None
    assert not channels and not others


def test_what_was_decrypted_is_delivered_when_reading_goes_on(channels: Any, pair: Any) -> None:
    class Slow(Noting):
        def handle_read(self) -> None:
            self.got += self.recv(1000)
            self.pause_reading()

    client, server = pair(Slow)
    client.send(bytes(RECORD))
    settle(channels, lambda: server.got)
    for size in range(2000, RECORD, 1000):
        server.resume_reading()  # the kernel has nothing more
        loop(timeout=None, map=channels, count=1)
        assert len(server.got) == size
    assert client.error is server.error is None


def test_ipv6(channels: Any, version: int) -> None:
    try:
        listener = tls_listener(("::1", 0), Chat, context=server_raw(version), map=channels)
    except OSError:
        pytest.skip("there is no IPv6 on the loopback")
    client = Noting(map=channels, context=client_raw(version), server_hostname=HOST)
    client.create_socket(socket.AF_INET6)
    client.connect(listener.socket.getsockname())
    client.send(b"hello\n")
    settle(channels, lambda: [c for c in channels.values() if isinstance(c, Chat) and c.log[1:]])
    assert client.log[-1] == "handshake"


EMFILE_SCRIPT = """
    import os, resource, socket, sys
    import asynccore, ssl_ext
    from tests.tls.support import HOST, client_raw, server_raw
    from tests.tls.wire import Noting

    sys.modules["asynccore.listening.acceptor"].ACCEPT_PAUSE = 0.05
    channels = asynccore.ChannelMap()
    said = []

    class Listener(ssl_ext.tls_listener):
        def log_info(self, message, type="info"):
            said.append(type)

    listener = Listener(("127.0.0.1", 0), Noting, context=server_raw(), map=channels)
    peer = socket.socket()
    asynccore.loop(timeout=0, map=channels, count=1)

    taken = []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    client = Noting(peer, channels, context=client_raw(), server_hostname=HOST)
    client.connect(listener.socket.getsockname())
    client.send(b"hello")
    for _ in range(100):
        if said:
            break
        asynccore.loop(timeout=1, map=channels, count=1)
    assert said == ["error"] and listener.accepting, said
    for fd in taken:
        os.close(fd)
    for _ in range(1000):
        asynccore.loop(timeout=1, map=channels, count=1)
        servers = [c for c in channels.values() if isinstance(c, Noting) and c.server_side]
        if servers and servers[0].got == b"hello":
            break
    assert servers[0].got == b"hello"
    assert client.error is None and "handshake" in client.log, client.log
    asynccore.close_all(channels)
    print("survived")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no setrlimit() on Windows")
def test_out_of_descriptors(poller_name: str) -> None:
    assert run_script(EMFILE_SCRIPT, poller_name) == "survived\n"
