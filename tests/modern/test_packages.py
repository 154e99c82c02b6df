"""Protocols of other projects serve their own kind of clients on a classic loop."""

from __future__ import annotations

import asyncio
import http.client
import smtplib
import threading
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
import compat


def talk(channels: dict[int, Any], client: Callable[[], Any]) -> Any:
    """Run a blocking client in a thread, and a classic loop until it is done."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(client())
        finally:
            asynccore.call_soon_threadsafe(asynccore.stop, map=channels)

    thread = threading.Thread(target=work)
    thread.start()
    asynccore.loop(map=channels)
    thread.join()
    return results[0]


def end(channels: dict[int, Any], *servers: Any) -> None:
    for server in servers:
        server.close()
        server.abort_clients()
    asynccore.loop(map=channels)
    loop = compat.event_loop(map=channels)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    asynccore.close_all(channels)
    loop.close()


def test_aiosmtpd() -> None:
    aiosmtpd = pytest.importorskip("aiosmtpd.smtp")
    got: list[bytes] = []

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            await asyncio.sleep(0.001)
            got.append(envelope.content)
            return "250 taken"

    channels: dict[int, Any] = {}
    loop = compat.event_loop(map=channels)
    server = compat.create_server(
        lambda: aiosmtpd.SMTP(Handler(), hostname="here", loop=loop), "127.0.0.1", 0, map=channels
    )
    port = server.sockets[0].getsockname()[1]

    def client() -> Any:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as smtp:
            return smtp.sendmail("a@example.org", ["b@example.org"], "Subject: x\n\n" + "y" * 500)

    assert talk(channels, client) == {}
    assert b"y" * 500 in got[0]
    end(channels, server)


def test_uvicorns_h11_protocol() -> None:
    pytest.importorskip("uvicorn")
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState

    async def application(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"] + scope["path"].encode() + b"z" * 300_000
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    channels: dict[int, Any] = {}
    loop = compat.event_loop(map=channels)
    config = Config(application, lifespan="off", log_config=None, ws="none")
    config.load()
    state = ServerState()
    server = compat.create_server(
        lambda: H11Protocol(config=config, server_state=state, app_state={}, _loop=loop),
        "127.0.0.1",
        0,
        map=channels,
    )
    port = server.sockets[0].getsockname()[1]

    def client() -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        bodies = []
        for path in ("/one", "/two"):  # on one connection
            connection.request("POST", path, b"body of ")
            bodies.append(connection.getresponse().read())
        connection.close()
        return [(body[:12], len(body)) for body in bodies]

    assert talk(channels, client) == [
        (b"body of /one", 300_012),
        (b"body of /two", 300_012),
    ]
    end(channels, server)


def test_websockets() -> None:
    pytest.importorskip("websockets")
    from websockets.asyncio.server import serve
    from websockets.sync.client import connect

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message.upper())

    channels: dict[int, Any] = {}

    async def start() -> Any:
        return await serve(echo, "127.0.0.1", 0)

    task = compat.run_coroutine(start(), map=channels)
    task.add_done_callback(lambda done: asynccore.stop(map=channels))
    asynccore.loop(map=channels, until_idle=True)
    server = task.result()
    port = server.sockets[0].getsockname()[1]

    def client() -> Any:
        with connect(f"ws://127.0.0.1:{port}", proxy=None) as connection:
            connection.send("hello " * 50_000)
            return connection.recv()

    assert talk(channels, client) == "HELLO " * 50_000
    server.close()
    closed = compat.run_coroutine(server.wait_closed(), map=channels)
    closed.add_done_callback(lambda done: asynccore.stop(map=channels))
    asynccore.loop(map=channels, until_idle=True)
    end(channels)
