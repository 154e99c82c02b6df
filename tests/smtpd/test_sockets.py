"""Real sockets: smtplib talks to a server whose loop runs in another thread."""

from __future__ import annotations

import smtplib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import smtpd

TIMEOUT = 30  # seconds; nothing here waits for it unless it is broken


class Server(smtpd.SMTPServer):
    """Keeps the messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.messages: list[tuple[Any, ...]] = []
        super().__init__(*args, **kwargs)

    def process_message(self, *args: Any, **kwargs: Any) -> None:
        self.messages.append((*args, kwargs))


class Running:
    """A server with its loop."""

    def __init__(self, server: smtpd.SMTPServer, poller: str) -> None:
        self.server = server
        self.address: tuple[str, int] = server.socket.getsockname()[:2]
        self.map = server._map
        self.thread = threading.Thread(
            target=asynccore.loop, kwargs={"map": self.map, "poller": poller}
        )
        self.thread.start()

    def stop(self) -> None:
        asynccore.call_soon_threadsafe(
            lambda: asynccore.close_all(self.map, ignore_all=True), map=self.map
        )
        self.thread.join(TIMEOUT)
        assert not self.thread.is_alive()

    def client(self) -> smtplib.SMTP:
        return smtplib.SMTP(*self.address, timeout=TIMEOUT)


@pytest.fixture
def serve(poller_name: str) -> Iterator[Callable[[smtpd.SMTPServer], Running]]:
    running: list[Running] = []

    def start(server: smtpd.SMTPServer) -> Running:
        running.append(Running(server, poller_name))
        return running[-1]

    yield start
    for each in running:
        each.stop()


Serve = Callable[[smtpd.SMTPServer], Running]


def test_a_mail(serve: Serve) -> None:
    server = Server(("127.0.0.1", 0), None, map={})
    body = b"Subject: x\r\n\r\n.dot\r\n..\r\n" + b"y" * 998 + b"\r\n\xff\r\n"
    with serve(server).client() as client:
        assert client.ehlo()[0] == 250
        assert client.esmtp_features["size"] == str(smtpd.DATA_SIZE_DEFAULT)
        assert client.has_extn("8bitmime")
        assert client.sendmail("a@b", ["c@d", "e@f"], body, ["BODY=8BITMIME"]) == {}
        peer = client.sock.getsockname()  # type: ignore[union-attr]
    options = {"mail_options": [f"SIZE={len(body)}", "BODY=8BITMIME"], "rcpt_options": []}
    data = body.replace(b"\r\n", b"\n").removesuffix(b"\n")
    assert server.messages == [(peer, "a@b", ["c@d", "e@f"], data, options)]


def test_a_long_mail_and_one_too_long(serve: Serve) -> None:
    server = Server(("127.0.0.1", 0), None, 3_000_000, map={})
    with serve(server).client() as client:
        client.helo()  # so that it does not announce the size
        client.sendmail("a@b", "c@d", b"x" * 2_900_000)
        with pytest.raises(smtplib.SMTPDataError, match="Too much mail data"):
            client.sendmail("a@b", "c@d", b"x" * 3_100_000)
        client.sendmail("a@b", "c@d", b"short")
    assert [len(message[3]) for message in server.messages] == [2_900_000, 5]


def test_smtputf8(serve: Serve) -> None:
    server = Server(("127.0.0.1", 0), None, map={}, enable_SMTPUTF8=True)
    with serve(server).client() as client:
        client.sendmail("é@b", "ü@d", "x", ["SMTPUTF8", "BODY=8BITMIME"])
    assert server.messages[0][1:3] == ("é@b", ["ü@d"])


def test_two_clients_at_once(serve: Serve) -> None:
    running = serve(Server(("127.0.0.1", 0), None, map={}))
    with running.client() as first, running.client() as second:
        for client in first, second:
            client.ehlo()
            assert client.mail("a@b")[0] == 250
        for client in second, first:
            assert client.rcpt("c@d")[0] == 250
            assert client.data(b"x")[0] == 250


def test_one_server_passes_on_to_the_other(serve: Serve) -> None:
    target = Server(("127.0.0.1", 0), None, map={})
    proxy = smtpd.PureProxy(("127.0.0.1", 0), serve(target).address, map={})
    with serve(proxy).client() as client:
        client.sendmail("a@b", "c@d", "A: b\n\n.body\n")
    assert target.messages[0][1:4] == ("a@b", ["c@d"], b"A: b\nX-Peer: 127.0.0.1\n\n.body")


def test_pipelined_commands(serve: Serve) -> None:
    server = Server(("127.0.0.1", 0), None, map={})
    with socket.create_connection(serve(server).address, TIMEOUT) as client:
        client.sendall(
            b"HELO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nQUIT\r\nNOOP\r\n"
        )
        replies = b"".join(iter(lambda: client.recv(65536), b"")).split(b"\r\n")
    assert [reply[:3] for reply in replies] == [
        b"220",
        b"250",
        b"250",
        b"250",
        b"354",
        b"250",
        b"221",
        b"",
    ]
    assert len(server.messages) == 1


def reset(client: socket.socket) -> None:
    """Close with RST instead of FIN: socket(7), SO_LINGER."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_connections_that_are_reset(serve: Serve) -> None:
    running = serve(Server(("127.0.0.1", 0), None, map={}))
    for _ in range(20):
        reset(socket.create_connection(running.address, TIMEOUT))
    with running.client() as client:
        assert client.noop()[0] == 250


def test_a_connection_that_is_dead_when_it_is_greeted(
    tcp_pair: Callable[[], tuple[socket.socket, socket.socket]], new_map: dict[int, Any]
) -> None:
    client, server = tcp_pair()
    reset(client)
    server.settimeout(TIMEOUT)
    with pytest.raises(ConnectionResetError):
        server.recv(1)  # from here on the kernel has no peer to name
    channel = smtpd.SMTPChannel(None, server, ("addr", 1), map=new_map)
    assert new_map == {}
    assert server.fileno() == -1
    assert channel.peer == ("addr", 1)
