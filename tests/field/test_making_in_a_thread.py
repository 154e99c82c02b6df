"""Dispatchers that are made in one thread while another one loops.

A socket that was made a moment ago, and is neither bound nor listening nor connecting yet, is ready
to everything, by poll(2)'s account: it is hung up. The loop must leave it alone until its thread
has come to an end with it, however often it looks meanwhile.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

import asynccore
from asynccore import asynchat, smtpd
from tests.corners.support import (
    PATIENCE,
    Noting,
    QuietReader,
    Reader,
    free_address,
    wait_for,
)
from tests.field.looping import let_pass, looping


class Plain(Noting, asynccore.dispatcher):
    received = b""

    def handle_read(self) -> None:
        self.received += self.recv(100)
        self.events.append("read")

    def handle_write(self) -> None:
        self.events.append("write")

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        sock.close()
        self.events.append("accepted")


class Chatting(Noting, asynchat.async_chat):
    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)


class AsksItself(Plain):
    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return not self.connected


CLASSES = (Plain, QuietReader, AsksItself, Chatting)


def by_create_socket(channel: Any, map: Any) -> None:
    channel.create_socket(socket.AF_INET, socket.SOCK_STREAM)


def by_set_socket(channel: Any, map: Any) -> None:
    sock = socket.socket()
    sock.setblocking(False)
    channel.set_socket(sock, map)


def by_add_channel(channel: Any, map: Any) -> None:
    sock = socket.socket()
    sock.setblocking(False)
    channel.socket = sock
    channel._fileno = sock.fileno()
    channel.add_channel(map)


WAYS = (by_create_socket, by_set_socket, by_add_channel)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cls", CLASSES)
def test_the_loop_leaves_a_new_socket_alone(
    cls: Any, way: Any, channels: Any, engine: str, pair: Any
) -> None:
    with looping(channels, engine):
        keep = Reader(pair()[0], channels)
        channel = cls(map=channels)
        way(channel, channels)
        let_pass(channels)
        assert channel.socket.fileno() != -1
        assert channel.events == []
        channel.bind(("127.0.0.1", 0))
        let_pass(channels)
        channel.listen(5)
        assert channel.events == []
        assert channels.get(channel.socket.fileno()) is channel
        assert keep.connected


def test_a_listener_that_took_its_time_accepts(channels: Any, engine: str, pair: Any) -> None:
    with looping(channels, engine):
        Reader(pair()[0], channels)
        listener = Plain(map=channels)
        listener.create_socket()
        let_pass(channels)
        listener.bind(("127.0.0.1", 0))
        let_pass(channels)
        listener.listen(5)
        with socket.create_connection(listener.socket.getsockname(), PATIENCE):
            wait_for(lambda: "accepted" in listener.events)
        assert listener.events == ["accepted"]


def test_the_loop_looks_in_the_middle_of_listen(channels: Any, engine: str, pair: Any) -> None:
    """The channel says that it accepts a moment before the kernel does."""

    with looping(channels, engine):
        Reader(pair()[0], channels)
        listener = Plain(map=channels)
        listener.create_socket()
        listener.bind(("127.0.0.1", 0))
        listener.accepting = True
        listener.touch()
        let_pass(channels)
        assert listener.events == []
        listener.listen(5)
        with socket.create_connection(listener.socket.getsockname(), PATIENCE):
            wait_for(lambda: "accepted" in listener.events)
        assert listener.events == ["accepted"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cls", CLASSES)
def test_a_client_that_took_its_time_connects(
    cls: Any, way: Any, channels: Any, engine: str, pair: Any
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, looping(channels, engine):
        server.settimeout(PATIENCE)
        Reader(pair()[0], channels)
        client = cls(map=channels)
        way(client, channels)
        let_pass(channels)
        client.connect(server.getsockname())
        sock, _ = server.accept()
        wait_for(lambda: client.connected)
        assert client.events.count("connect") == 1
        assert client.events[0] == "connect"
        sock.close()
        if cls in (QuietReader, Chatting):
            wait_for(lambda: "close" in client.events)
        client.close()


@pytest.mark.parametrize("cls", (Plain, QuietReader))
def test_a_client_that_is_refused_is_told(cls: Any, channels: Any, engine: str, pair: Any) -> None:
    with looping(channels, engine):
        Reader(pair()[0], channels)
        client = cls(map=channels)
        client.create_socket()
        let_pass(channels)
        try:
            client.connect(free_address())
        except ConnectionRefusedError:
            client.close()
        else:
            wait_for(lambda: client.events)
            assert "connect" not in client.events
            assert isinstance(client.events[0], ConnectionRefusedError)


def test_a_socket_that_the_program_itself_connects(channels: Any, engine: str, pair: Any) -> None:
    """By a method of the socket, which tells nobody: it is found within a second or so."""
    with socket.create_server(("127.0.0.1", 0)) as server, looping(channels, engine):
        server.settimeout(PATIENCE)
        Reader(pair()[0], channels)
        client = QuietReader(map=channels)
        client.create_socket()
        let_pass(channels)
        client.socket.setblocking(True)
        client.socket.connect(server.getsockname())
        client.socket.setblocking(False)
        client.connected = True
        sock, _ = server.accept()
        sock.send(b"hello")
        wait_for(lambda: client.received)
        client.close()
        sock.close()


def test_servers_and_clients_by_the_hundred(channels: Any, engine: str, pair: Any) -> None:
    raised: list[BaseException] = []

    def make(target: Any) -> None:
        try:
            for _ in range(50):
                server = smtpd.SMTPServer(("127.0.0.1", 0), None, map=channels)
                client = QuietReader(map=channels)
                client.create_socket()
                client.connect(target)
                wait_for(lambda client=client: client.connected)  # type: ignore[misc]
                client.close()
                server.close()
        except BaseException as why:
            raised.append(why)

    with looping(channels, engine):
        Reader(pair()[0], channels)
        target = smtpd.SMTPServer(("127.0.0.1", 0), None, map=channels)
        threads = [
            threading.Thread(target=make, args=(target.socket.getsockname(),)) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE * 4)
        assert raised == []


def test_in_one_thread_a_socket_that_never_began_is_closed_as_ever(channels: Any) -> None:
    channel = QuietReader(map=channels)
    channel.create_socket()
    asynccore.loop(timeout=0.01, map=channels, count=3)
    assert channel.events == ["close"]
