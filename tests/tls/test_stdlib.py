"""The standard library's `SSLSocket` in a dispatcher: programs of before this package.

Its handshake is implicit: the first `recv` or `send` does it. The loops here never sleep, and fail
when they spin, which is seen by what they ask of their pollers (`wire`).
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, asynchat, dispatcher, dispatcher_with_send, loop
from tests.tls.support import HOST, authority, server_certificate
from tests.tls.wire import Watch, connected_pair

VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}

# More than the buffers of both sides hold.
LARGE = bytes(range(250)) * 12_000


@pytest.fixture
def watch(poller_name: str) -> Iterator[Watch]:
    """A loop over an empty map that does not sleep."""
    channels = ChannelMap()
    made = Watch(channels, poller_name)
    yield made
    asynccore.close_all(channels, ignore_all=True)
    made.close()


def wrapped(raw: socket.socket, version: Any, server_side: bool) -> ssl.SSLSocket:
    """A TLS socket whose handshake is still to come."""
    if server_side:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_certificate().configure_cert(context)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority().configure_trust(context)
    context.minimum_version = context.maximum_version = version
    raw.setblocking(False)
    return context.wrap_socket(
        raw,
        server_side=server_side,
        server_hostname=None if server_side else HOST,
        do_handshake_on_connect=False,
    )


class Old:
    """What the two classes share."""

    log: list[str]
    got: bytearray
    echoes = False

    def begin(self) -> Any:
        self.log = []
        self.got = bytearray()
        return self

    def take(self, data: bytes) -> None:
        self.got += data
        if self.echoes:
            self.say(data)

    def say(self, data: bytes) -> None:
        raise NotImplementedError

    def handle_error(self) -> None:
        self.log.append(repr(sys.exc_info()[1]))
        self.close()  # type: ignore[attr-defined]

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()  # type: ignore[attr-defined]


class Sending(Old, dispatcher_with_send):
    def handle_read(self) -> None:
        self.take(self.recv(1000))  # less than a record holds

    def say(self, data: bytes) -> None:
        self.send(data)


class Chat(Old, asynchat.async_chat):
    ac_in_buffer_size = 1000
    terminator = None

    def collect_incoming_data(self, data: bytes) -> None:
        self.take(data)

    def found_terminator(self) -> None:
        raise NotImplementedError

    def say(self, data: bytes) -> None:
        self.push(data)


KINDS = pytest.mark.parametrize("kind", [Sending, Chat])


@KINDS
@pytest.mark.parametrize("say", [b"hello", LARGE], ids=["little", "large"])
def test_both_sides_of_a_conversation(watch: Watch, version: Any, kind: Any, say: bytes) -> None:
    ours, theirs = connected_pair()
    client = kind(wrapped(ours, version, False), watch.channels).begin()
    server = kind(wrapped(theirs, version, True), watch.channels).begin()
    server.echoes = True
    client.say(say)
    while len(client.got) < len(say) and not client.log and not server.log:
        loop(timeout=5, map=watch.channels, count=1)
        del watch.waits[:]
    assert client.log == server.log == []
    assert client.got == server.got == say
    watch.settle()


def test_one_that_listens_and_leaves_the_handshake_to_its_channels(
    watch: Watch, version: Any
) -> None:
    class Listener(dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            Chat(sock, self._map).begin().echoes = True

    listening = wrapped(socket.create_server(("127.0.0.1", 0)), version, True)
    listener = Listener(listening, watch.channels)
    listener.accepting = True
    ours = socket.create_connection(listening.getsockname())
    client = Sending(wrapped(ours, version, False), watch.channels).begin()
    client.say(b"hello")
    while len(client.got) < 5 and not client.log:
        loop(timeout=5, map=watch.channels, count=1)
        del watch.waits[:]
    assert client.got == b"hello" and client.log == []
    listener.close()


@KINDS
@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("begins", [False, True])
def test_a_stalled_handshake_does_not_spin(
    watch: Watch, version: Any, kind: Any, server_side: bool, begins: bool
) -> None:
    ours, theirs = socket.socketpair()  # what is sent is there at once
    channel = kind(wrapped(ours, version, server_side), watch.channels).begin()
    if begins:
        theirs.sendall(b"\x16\x03\x03\x02\x00\x01")  # and nothing more
    watch.settle()
    channel.say(b"hello")  # waits for the handshake
    assert watch.settle() <= 3
    for _ in range(3):
        assert watch.one()
    assert channel.log == []
    theirs.close()


@KINDS
def test_what_it_holds_back_is_delivered_when_reading_goes_on(
    watch: Watch, version: Any, kind: Any
) -> None:
    ours, theirs = socket.socketpair()
    client = kind(wrapped(ours, version, False), watch.channels).begin()
    server = kind(wrapped(theirs, version, True), watch.channels).begin()
    client.say(b"x" * 5000)

    def pause_once(data: bytes) -> None:
        server.got += data
        if len(server.got) == 1000:
            server.pause_reading()

    server.take = pause_once
    watch.settle()
    assert len(server.got) == 1000
    server.resume_reading()
    watch.settle()
    assert len(server.got) == 5000
    assert client.log == server.log == []
