"""Output over DTLS: every `send` and `push` is one datagram, also while it has to wait."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
import ssl_ext
from tests.tls.unreliable import Full, World, trusting

MESSAGES = [b"one", b"two", b"x" * 600, b"y" * 600, b"z" * 600]


@pytest.fixture
def world() -> Iterator[World]:
    found = World()
    found.listen()
    yield found
    asynccore.close_all(found.map)


class Quiet(ssl_ext.TLSMixin, asynccore.dispatcher):
    """Reads what comes, and keeps what goes wrong."""

    why: BaseException | None = None

    def handle_connect(self) -> None:
        pass

    def handle_error(self) -> None:
        self.why = sys.exc_info()[1]


class Sender(Quiet, ssl_ext.tls_dispatcher_with_send):
    def handle_read(self) -> None:
        self.recv(2000)

    def put(self, data: bytes) -> None:
        self.send(data)


class Peeking(Sender):
    """Looks at its whole output before every wait, as programs do."""

    def writable(self) -> Any:
        return len(self.out_buffer) > 0 or not self.connected


class Chat(Quiet, ssl_ext.tls_async_chat):
    def collect_incoming_data(self, data: bytes) -> None:
        pass

    def put(self, data: bytes) -> None:
        self.push(data)


def connected(world: World, kind: Callable[..., Any], sock: Any = None) -> Any:
    channel = kind(None, world.map, context=trusting(), server_hostname="localhost")
    if sock is None:
        channel.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
    else:
        channel.set_socket(sock)
    channel.connect(world.address)
    return channel


def arrived(world: World) -> list[bytes]:
    channels = world.listener.channels
    return channels[-1].got if channels else []


KINDS = pytest.mark.parametrize("kind", [Sender, Peeking, Chat])


@KINDS
def test_what_waits_for_the_handshake_keeps_its_bounds(world: World, kind: Any) -> None:
    channel = connected(world, kind)
    for data in MESSAGES:
        channel.put(data)
    world.until(lambda: len(arrived(world)) >= len(MESSAGES))
    assert arrived(world) == MESSAGES and channel.why is None


@KINDS
def test_what_waits_for_room_keeps_its_bounds(world: World, kind: Any) -> None:
    channel = connected(world, kind, Full(socket.AF_INET, socket.SOCK_DGRAM))
    world.until(lambda: channel.connected)
    for data in MESSAGES:
        channel.put(data)
    world.until(lambda: len(arrived(world)) >= len(MESSAGES))
    assert arrived(world) == MESSAGES and channel.why is None


@KINDS
def test_several_lines_are_several_datagrams(world: World, kind: Any) -> None:
    channel = connected(world, kind)
    channel.writelines(MESSAGES)
    world.until(lambda: len(arrived(world)) >= len(MESSAGES))
    assert arrived(world) == MESSAGES


@KINDS
def test_what_a_server_sends_at_once_keeps_its_bounds(world: World, kind: Any) -> None:
    world.listener.channel_class = kind
    world.listener.handle_channel = lambda channel, addr: [channel.put(data) for data in MESSAGES]
    client = world.client()
    world.until(lambda: len(client.got) >= len(MESSAGES))
    assert client.got == MESSAGES


@pytest.mark.parametrize("established", [False, True])
def test_what_never_fits_is_refused_at_once_and_nothing_else_is_lost(
    world: World, established: bool
) -> None:
    channel = connected(world, Sender)
    if established:
        world.until(lambda: channel.connected)
    channel.send(b"before")
    with pytest.raises(OSError, match="holds 1195 bytes here, not 1196") as caught:
        channel.send(b"x" * 1196)
    assert caught.value.errno == errno.EMSGSIZE
    channel.send(b"x" * 1195)
    world.until(lambda: len(arrived(world)) >= 2)
    assert arrived(world) == [b"before", b"x" * 1195] and channel.why is None


@pytest.mark.parametrize("established", [False, True])
def test_what_never_fits_stands_in_no_others_way(world: World, established: bool) -> None:
    channel = connected(world, Chat)
    if established:
        world.until(lambda: channel.connected)
    for data in (b"before", b"x" * 1196, b"after"):
        channel.push(data)
    world.until(lambda: len(arrived(world)) >= 2)
    assert arrived(world) == [b"before", b"after"]
    assert isinstance(channel.why, OSError) and channel.why.errno == errno.EMSGSIZE


def test_a_producer_makes_a_datagram_of_each_piece(world: World) -> None:
    channel = connected(world, Chat)
    channel.push_with_producer(asynccore.asynchat.simple_producer(b"a" * 1000, 400))
    channel.push(b"end")
    world.until(lambda: len(arrived(world)) >= 4)
    assert arrived(world) == [b"a" * 400, b"a" * 400, b"a" * 200, b"end"]


def test_all_is_sent_before_a_chat_closes_when_done(world: World) -> None:
    channel = connected(world, Chat)
    for data in MESSAGES:
        channel.push(data)
    channel.close_when_done()
    world.until(lambda: world.listener.channels and world.listener.channels[-1].ends)
    assert arrived(world) == MESSAGES
