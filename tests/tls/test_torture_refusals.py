"""A server that refuses in TLS 1.3, after the client's handshake, and breaks the connection."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from ssl_ext import PeerRefused
from tests.tls.support import TLS13, client_raw, server_raw
from tests.tls.test_torture import World


@pytest.fixture
def refused() -> Iterator[World]:
    """The client's handshake is over; the alert and a reset wait for it."""
    world = World("down", (client_raw(TLS13), server_raw(TLS13, demands=True)), tcp=True)
    wire = world.wire
    world.settle()
    while wire.deliver("up") or (not world.client.log and wire.deliver("down")):
        world.settle()
    assert world.client.log == ["handshake"]
    assert world.server.log == ["CertificateError"]
    assert wire.deliver("down")
    wire.reset("down")
    yield world
    world.close()


def test_the_alert_is_found_behind_a_reset(refused: World) -> None:
    client = refused.client
    assert client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
    refused.settle()
    assert client.log == ["handshake", "PeerRefused"]


def test_the_alert_is_found_before_a_write_fails(refused: World) -> None:
    """The write would break the pipe, and OpenSSL read nothing any more."""
    client = refused.client
    client.send(b"hello")
    assert client.log == ["handshake", "PeerRefused"]
    assert type(client.error) is PeerRefused
    assert "alert certificate required" in client.error.reason


def test_what_is_read_before_a_write_is_not_lost() -> None:
    """A client that writes first finds words, or the end, instead of a refusal."""
    world = World("down", (client_raw(TLS13), server_raw(TLS13)))
    wire = world.wire
    try:
        world.server.begin = lambda: world.server.send(b"welcome")
        world.settle()
        while wire.deliver("up") or (not world.client.log and wire.deliver("down")):
            world.settle()
        wire.deliver("down")
        world.client.send(b"hello")
        assert world.client.got == b""
        world.settle()
        assert world.client.got == b"welcome"
        wire.deliver("up")
        world.settle()
        assert world.server.got == b"hello"
    finally:
        world.close()
