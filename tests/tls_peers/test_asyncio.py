"""asyncio's TLS at the other end."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher
from tests.tls.support import (
    CLIENT,
    HOST,
    client_certificate,
    other_authority,
    strange_certificate,
)
from tests.tls_peers.support import (
    PATIENCE,
    PAYLOAD,
    Asking,
    Echo,
    Listener,
    ask,
    client_context,
    during,
    run,
    server_context,
)
from tests.tls_peers.test_stdlib import client_of, server_of


async def exchange(port: int, tls: ssl.SSLContext) -> None:
    """Send everything and have it back at the same time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=HOST)
    writer.write(PAYLOAD)
    got, _ = await asyncio.gather(reader.readexactly(len(PAYLOAD)), writer.drain())
    assert got == PAYLOAD
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client(channels: ChannelMap, version: str, with_certificate: bool) -> None:
    listener = Listener(
        channels, server_context(version, "required" if with_certificate else "none")
    )
    tls = client_of(version, client_certificate() if with_certificate else None)
    during(channels, lambda: asyncio.run(exchange(listener.port, tls)))
    (channel,) = listener.handed
    run(channels, lambda: len(channels) == 1)
    assert channel.log == ["handshake", "close"]
    assert channel.version == version
    assert channel.user == (CLIENT if with_certificate else None)


async def knock(port: int, tls: ssl.SSLContext) -> None:
    """Say nothing, and wait for what the server says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=HOST)
    try:
        await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("shows", ["nothing", "a stranger's"])
def test_a_client_that_we_refuse(channels: ChannelMap, version: str, shows: str) -> None:
    listener = Listener(channels, server_context(version, "required"))
    tls = client_of(version, None if shows == "nothing" else strange_certificate())
    with pytest.raises(ssl.SSLError, match="ALERT"):
        during(channels, lambda: asyncio.run(knock(listener.port, tls)))
    (channel,) = listener.handed
    run(channels, lambda: channel.error)
    assert channel.log == ["CertificateError"]


def test_a_client_that_refuses_us(channels: ChannelMap, version: str) -> None:
    listener = Listener(channels, server_context(version))
    tls = client_of(version, trusts=other_authority())
    with pytest.raises(ssl.SSLCertVerificationError):
        during(channels, lambda: asyncio.run(knock(listener.port, tls)))
    (channel,) = listener.handed
    run(channels, lambda: channel.error or len(channels) == 1)
    # It drops the connection before its alert is sent, with a reset if something lies unread.
    assert channel.log in (["TruncationError"], ["close"])


async def starttls(port: int, tls: ssl.SSLContext) -> None:
    """Begin in clear: the transport changes under way."""
    loop = asyncio.get_running_loop()
    got: asyncio.Future[bytes] = loop.create_future()
    ended: asyncio.Future[bool] = loop.create_future()

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            got.set_result(data)

        def connection_lost(self, why: Exception | None) -> None:
            ended.set_result(why is None)

    plain, protocol = await loop.create_connection(Protocol, "127.0.0.1", port)
    plain.write(b"STARTTLS")
    assert await got == b"STARTTLS"
    got = loop.create_future()
    secret = await loop.start_tls(plain, protocol, tls, server_hostname=HOST)
    assert secret is not None
    secret.write(b"secret")
    assert await got == b"secret"
    secret.close()
    assert await ended


def test_a_client_that_begins_in_clear(channels: ChannelMap, version: str) -> None:
    class Upgrading(Echo):
        def handle_read(self) -> None:
            data = self.recv(65536)
            self.send(data)
            if self.tls is None:
                self.start_tls(server_context(version), server_side=True)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            asyncio.run(starttls(listener.getsockname()[1], client_of(version)))

        made: list[Any] = []

        class Plain(dispatcher):
            def handle_accepted(self, sock: Any, addr: Any) -> None:
                made.append(Upgrading(sock, channels))
                self.close()

        Plain(listener.dup(), channels).accepting = True
        during(channels, work)
    run(channels, lambda: not channels)
    assert made[0].log == ["handshake", "close"]


async def serve(listener: socket.socket, tls: ssl.SSLContext) -> tuple[int, Any]:
    """Echo for one client until it says goodbye; return how many bytes there were, and the names
    in its certificate."""
    total: asyncio.Future[tuple[int, Any]] = asyncio.get_running_loop().create_future()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        shown = writer.get_extra_info("peercert")
        try:
            while data := await reader.read(65536):
                count += len(data)
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
        except OSError as why:
            total.set_exception(why)
        else:
            total.set_result((count, shown and shown["subjectAltName"]))

    server = await asyncio.start_server(echo, sock=listener, ssl=tls)
    try:
        return await asyncio.wait_for(total, PATIENCE)
    finally:
        server.close()


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server(channels: ChannelMap, version: str, with_certificate: bool) -> None:
    tls = server_of(version, demands=with_certificate)
    mine = client_context(version, client_certificate() if with_certificate else None)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for reused in (False, True):
            client = ask(channels, listener.getsockname()[1], mine)
            copy = listener.dup()
            found = during(channels, lambda copy=copy: asyncio.run(serve(copy, tls)))
            names = (("email", CLIENT),) if with_certificate else None
            assert found == (len(PAYLOAD), names)
            assert client.log == ["handshake", "all"]
            assert client.version == version and client.reused is reused
    run(channels, lambda: not channels)


def test_a_server_that_refuses_us(channels: ChannelMap, version: str) -> None:
    """asyncio drops the connection before its alert is sent: nobody can know the reason."""
    tls = server_of(version, demands=True)
    known = threading.Event()

    class Refused(Asking):
        def close(self) -> None:
            super().close()
            known.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = ask(channels, listener.getsockname()[1], client_context(version), kind=Refused)

        async def refuse() -> None:
            copy = listener.dup()
            server = await asyncio.start_server(lambda *args: None, sock=copy, ssl=tls)
            assert await asyncio.to_thread(known.wait, PATIENCE)
            server.close()

        during(channels, lambda: asyncio.run(refuse()))
    assert client.log[-1] in ("TruncationError", "PeerRefused", "close")
    assert not client.got
