"""Maps on asyncio's and uvloop's loops, with real sockets."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import asynccore
import compat
from asynccore import pollers
from asynccore.engine import engine_for

LOOPS = ["asyncio", "uvloop"]


def new_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "uvloop":
        if importlib.util.find_spec("uvloop") is None:
            pytest.skip("uvloop is not installed; it has no Windows version")
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.SelectorEventLoop()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Any:
    def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        loop = new_loop(request.param)
        try:
            loop.run_until_complete(asyncio.wait_for(main(), 30))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    return run


class Echo(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        data = self.recv(65536)
        if data == b"exit":
            raise asynccore.ExitNow("so told")
        if data:
            self.send(data)


class Server(asynccore.dispatcher):
    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        Echo(sock, self._map)


@pytest.mark.parametrize("poller", pollers.available())
def test_a_legacy_server_and_a_modern_client_share_a_loop(run: Any, poller: str) -> None:
    async def main() -> None:
        channels: dict[int, Any] = {}
        server = Server(channels)
        engine_for(channels).use(poller)
        async with compat.attach(map=channels) as attachment:
            reader, writer = await asyncio.open_connection(*server.socket.getsockname())
            for size in (1, 1000, 3_000_000):
                writer.write(b"x" * size)
                assert await reader.readexactly(size) == b"x" * size
            writer.close()
            await writer.wait_closed()
            asyncio.get_running_loop().call_soon(asynccore.close_all, channels)
            await attachment
            assert channels == {}

    run(main)


def test_exit_now_reaches_who_waits(run: Any) -> None:
    async def main() -> None:
        channels: dict[int, Any] = {}
        server = Server(channels)
        attachment = compat.attach(map=channels)
        _, writer = await asyncio.open_connection(*server.socket.getsockname())
        writer.write(b"exit")
        with pytest.raises(asynccore.ExitNow):
            await attachment.wait_empty()
        with pytest.raises(asynccore.ExitNow):
            await attachment.wait_empty()  # whoever comes later
        assert not attachment.attached
        writer.close()
        await writer.wait_closed()
        asynccore.close_all(channels)

    run(main)


def test_what_nobody_waits_for_is_reported_to_the_loop(run: Any) -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: told.append(context))
        channels: dict[int, Any] = {}
        peer, own = socket.socketpair()
        with peer:
            Echo(own, channels)
            attachment = compat.attach(map=channels)
            peer.send(b"exit")
            while attachment.attached:
                await asyncio.sleep(0)
        assert [type(context["exception"]) for context in told] == [asynccore.ExitNow]
        asynccore.close_all(channels)

    run(main)


def test_system_exit_ends_the_loop_if_nobody_waits() -> None:
    channels: dict[int, Any] = {}
    peer, own = socket.socketpair()
    channel = Echo(own, channels)
    channel.handle_read = lambda: exit_with(7)  # type: ignore[method-assign]
    loop = asyncio.SelectorEventLoop()
    attachment = compat.attach(loop, map=channels)
    peer.send(b"x")
    with peer, pytest.raises(SystemExit) as caught:
        loop.run_forever()
    assert caught.value.code == 7
    assert not attachment.attached
    loop.close()
    asynccore.close_all(channels)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_loop_ends_it_once(kind: type[BaseException]) -> None:
    """Those who wait are cancelled: a task that raised it would end the loop's last turns, too."""
    channels: dict[int, Any] = {}
    peer, own = socket.socketpair()
    told: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
        attachment = compat.attach(map=channels)
        await asyncio.gather(attachment, asyncio.sleep(60))

    def interrupted() -> None:
        raise kind

    Echo(own, channels).handle_read = interrupted  # type: ignore[method-assign]
    peer.send(b"x")
    with peer, pytest.raises(kind):
        asyncio.run(main())
    gc.collect()
    assert told == []
    asynccore.close_all(channels)


def exit_with(code: int) -> None:
    raise SystemExit(code)


def test_a_map_moves_from_loop_to_loop_while_its_connections_live() -> None:
    channels: dict[int, Any] = {}
    peer, own = socket.socketpair()
    Echo(own, channels)
    with peer:
        peer.settimeout(10)
        for kind in ("asyncio", "uvloop", "asyncio"):
            if kind == "uvloop" and importlib.util.find_spec("uvloop") is None:
                continue
            loop = new_loop(kind)
            attachment = compat.attach(loop, map=channels)
            peer.send(kind.encode())
            loop.run_until_complete(read(loop, peer, kind.encode()))
            attachment.detach()
            loop.close()
            peer.send(b"own loop")
            asynccore.loop(timeout=10, map=channels, count=1)
            assert peer.recv(100) == b"own loop"
    asynccore.close_all(channels)


async def read(loop: asyncio.AbstractEventLoop, peer: socket.socket, wanted: bytes) -> None:
    peer.setblocking(False)
    assert await loop.sock_recv(peer, 100) == wanted
    peer.settimeout(10)


def test_timers_and_threads(run: Any) -> None:
    async def main() -> None:
        channels: dict[int, Any] = {}
        peer, own = socket.socketpair()
        with peer:
            channel = Echo(own, channels)
            attachment = compat.attach(map=channels)
            done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            asynccore.call_later(0.001, done.set_result, "later", map=channels)
            assert await done == "later"
            await asyncio.to_thread(channel.close)
            await attachment
            assert channel.socket.fileno() == -1

    run(main)


def test_nothing_to_attach_to() -> None:
    with pytest.raises(RuntimeError, match="no event loop is running"):
        compat.attach()
    with pytest.raises(TypeError, match="neither an asyncio loop nor a Twisted reactor"):
        compat.attach(object())


def test_a_loop_that_can_not_watch_descriptors() -> None:
    class Proactor(asyncio.SelectorEventLoop):
        def add_reader(self, *arguments: Any) -> Any:
            raise NotImplementedError

    loop = Proactor()
    with pytest.raises(RuntimeError, match="Proactor can't watch"):
        compat.attach(loop, map={})
    loop.close()
