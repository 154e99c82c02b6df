"""A program as a user with `mypy --strict` writes it. Checked by tox's `types`, never run.

What must be seen from outside: that every public name is exported, that the classic idioms need
no `type: ignore`, and that what is returned is not `Any` where it need not be.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import asynccore
import asynccore.ssl_ext
import compat
import ssl_ext
from asynccore import asynchat, smtpd
from asynccore.compat import attach, create_server
from asynccore.hardened_smtpd import HardenedSMTPChannel, HardenedSMTPServer

if TYPE_CHECKING:
    from typing_extensions import assert_type

    from compat.transports.servers import Server


class EchoHandler(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        data = self.recv(8192)
        assert_type(data, bytes)
        self.send(data)


class EchoServer(asynccore.dispatcher):
    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((host, port))
        self.listen(5)

    def readable(self) -> bool:
        return self.accepting

    def handle_accepted(self, sock: socket.socket, addr: tuple[str, int]) -> None:
        EchoHandler(sock)


class LineReader(asynchat.async_chat):
    def __init__(self, sock: socket.socket, map: dict[int, object]) -> None:
        super().__init__(sock, map)
        self.lines: list[bytes] = []
        self.received: list[bytes] = []
        self.set_terminator(b"\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.received.append(data)

    def found_terminator(self) -> None:
        self.lines.append(b"".join(self.received))
        self.received.clear()
        self.push(b"250 ok\r\n")
        self.push_with_producer(asynchat.simple_producer(b"more"))
        self.close_when_done()


class Sink(smtpd.SMTPServer):
    def process_message(
        self,
        peer: tuple[str, int],
        mailfrom: str,
        rcpttos: list[str],
        data: bytes | str,
        **kwargs: object,
    ) -> str | None:
        return None


class OneByOne(HardenedSMTPChannel):
    max_recipients = 1
    command_timeout = 60.0
    data_timeout = None
    strict_line_ends = False


class Relay(smtpd.PureProxy):
    channel_class = OneByOne
    report_refusals = True


def program() -> None:
    assert_type(HardenedSMTPServer(("127.0.0.1", 0), max_errors=5), HardenedSMTPServer)
    compat.install(engine="epoll")
    EchoServer("127.0.0.1", 0)
    Sink(("127.0.0.1", 0), None)
    timer = asynccore.call_later(1.5, print, "later")
    assert_type(timer, asynccore.Timer)
    timer.reset(2.0)
    assert_type(timer.active, bool)
    timer.cancel()
    asynccore.call_soon_threadsafe(asynccore.stop)
    try:
        asynccore.loop(timeout=1.0, count=3, poller="epoll")
        asynccore.loop(30.0, True, {}, 1)
    except asynccore.ExitNow:
        asynccore.close_all(ignore_all=True)
    if isinstance(asynccore.socket_map.get(0), asynccore.dispatcher):
        asynccore.poll(0.0)
    compat.uninstall()


def library(loop: asyncio.AbstractEventLoop) -> None:
    assert_type(create_server(asyncio.Protocol, "127.0.0.1", 0, map={}), Server)
    attach(loop).detach()

    async def attached() -> None:
        async with attach(map={}) as attachment:
            await attachment.wait_empty()

    context: ssl_ext.Context = asynccore.ssl_ext.client_context()
    try:
        asynccore.ssl_ext.tls_async_chat(context=context)
    except asynccore.ssl_ext.TLSError as why:
        assert isinstance(why, ssl_ext.TLSError)


class Upper(asyncio.Protocol):
    """What `create_connection` hands back is of this class."""


class Watcher(asynccore.dispatcher):
    idle_timeout = 30
    max_connections = 10

    def handle_timeout(self, which: str) -> None:
        assert_type(self.idle_timeout, int)
        assert_type(self.socket.fileno(), int | Any)

    def handle_accepted(self, sock: socket.socket, addr: object) -> None:
        self.call_later(1.0, self.look, 5)
        self.call_later(1.0, self.look, "five")  # type: ignore[arg-type]
        asynccore.call_soon_threadsafe(self.look)  # type: ignore[arg-type]

    def look(self, often: int) -> None:
        asynccore.listener(5)  # type: ignore[arg-type]


class OverTLS(ssl_ext.tls_line_chat):
    terminator = b"\r\n"

    def handle_timeout(self, which: str) -> None:
        assert_type(self.get_terminator(), bytes | bytearray | str | int | None)


def typed() -> None:
    future = compat.create_connection(Upper, "localhost", 1, server_hostname="localhost")
    assert_type(future.result(), tuple[asyncio.Transport, Upper])
    compat.create_connection(Upper, "localhost", 1, hostname="localhost")  # type: ignore[call-arg]
    compat.create_server(Upper, "localhost", 1, ssl=True)  # type: ignore[arg-type]
    print(ssl_ext.a_name_that_is_none)  # type: ignore[attr-defined]
    print(compat.a_name_that_is_none)  # type: ignore[attr-defined]


class Narrow(asynccore.dispatcher_with_send):
    """What programs say of the methods that they override may be narrower than what we do."""

    def send(self, data: bytes) -> None: ...

    def set_socket(self, sock: socket.socket, map: Any = None) -> None: ...

    def bind(self, addr: tuple[str, int]) -> None: ...

    def connect(self, address: tuple[str, int]) -> None: ...

    def log_info(self, message: str, type: str = "info") -> None: ...

    def handle_accepted(self, sock: socket.socket, addr: tuple[str, int]) -> None: ...

    def accept(self) -> tuple[socket.socket, Any] | None: ...


class NarrowLines(asynchat.async_chat):
    def push(self, data: bytes) -> None: ...

    def get_terminator(self) -> bytes:
        return b"\n"

    def writable(self) -> bool:
        return super().writable() and self.connected


class NarrowListener(asynccore.listener):
    def handle_channel(self, channel: NarrowLines, addr: tuple[str, int]) -> None: ...


class NarrowMail(smtpd.SMTPChannel):
    def push(self, msg: str) -> None: ...
