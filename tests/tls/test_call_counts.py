"""How many functions of Python a line over TLS takes, and what the short way of a reply is for."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest

from asynccore import ChannelMap
from asynccore.asynchat import async_chat
from asynccore.engine.engine import engine_for
from ssl_ext import OpenSSLSocket
from ssl_ext._openssl import direct
from tests.core.test_call_counts import Chat, calls
from tests.tls.support import HOST, authority, server_raw
from tests.tls.talking import PATIENCE, meanwhile, settle

LINE = b"x" * 40 + b"\n"


def client(port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    return context.wrap_socket(plain, server_hostname=HOST)


def connected(channels: ChannelMap, cls: type[async_chat]) -> tuple[Any, ssl.SSLSocket]:
    """Return a channel over TLS and its peer, which blocks."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept_later() -> ssl.SSLSocket:
            return client(listener.getsockname()[1])

        class Accepting(async_chat):
            def handle_accepted(self, sock: Any, addr: Any) -> None:
                made.append(cls(sock, channels))
                self.close()

        made: list[Any] = []
        entry = Accepting(OpenSSLSocket(server_raw(), listener, server_side=True), channels)
        entry.accepting = True
        peer = meanwhile(channels, accept_later)
    settle(channels, lambda: made and made[0].socket.version())
    return made[0], peer


@pytest.mark.skipif(not direct, reason="another pyOpenSSL than those whose functions are known")
def test_a_line_over_tls(channels: ChannelMap) -> None:
    channel, peer = connected(channels, Chat)
    engine = engine_for(channels)

    def turn() -> None:
        engine.run_pass(PATIENCE)

    with peer:
        for round in range(8):
            peer.sendall(LINE)
            found = calls(turn)
            assert peer.recv(100) == LINE
            # The turn, the pass, the waiting and the batch (7), the record (2), the event, the
            # receiving (3), the delivering (4), push and sending (4), two predicates, two hooks.
            assert found <= 27 or round < 4
    channel.close()


class Pouring(async_chat):
    """Answers a line with more than the socket takes, in pieces of many sizes."""

    pieces = [bytes([number % 251]) * (number * number % 9001) for number in range(400)]

    def __init__(self, sock: Any, map: Any) -> None:
        super().__init__(sock, map)
        self.set_terminator(b"\n")
        self.waited = False

    def collect_incoming_data(self, data: bytes) -> None:
        pass

    def found_terminator(self) -> None:
        for piece in self.pieces[:-1]:
            self.push(piece)

    def handle_write(self) -> None:
        # There is room now, and something that came before waits for it.
        if not self.waited:
            self.waited = True
            assert self.write_buffer_size
            self.push(self.pieces[-1])
        super().handle_write()


def test_replies_that_do_not_fit_wait_in_their_order(channels: ChannelMap) -> None:
    channel, peer = connected(channels, Pouring)
    channel.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    whole = b"".join(Pouring.pieces)

    def take() -> bytes:
        peer.sendall(b"\n")
        found = bytearray()
        while len(found) < len(whole):
            found += peer.recv(len(whole) - len(found))
        return bytes(found)

    with peer:
        assert meanwhile(channels, take) == whole
    assert channel.waited and not channel.write_buffer_size
    channel.close()
