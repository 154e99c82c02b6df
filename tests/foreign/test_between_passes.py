"""What a host's own code does to foreign channels between passes: nothing of that is reported."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import asynccore
import compat
from asynccore import pollers
from asynccore.engine import engine_for
from asynccore.running import hosting
from tests.foreign.copies import COPIES, Program
from tests.foreign.drivers import PATIENCE, end_reactor, new_asyncio_loop, new_reactor

Main = Callable[[], Coroutine[Any, Any, None]]

every_copy = pytest.mark.parametrize("copy", COPIES)
every_poller = pytest.mark.parametrize("poller", pollers.available())


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Main], None]:
    def run(main: Main) -> None:
        loop = new_asyncio_loop(request.param)
        try:
            loop.run_until_complete(asyncio.wait_for(main(), PATIENCE))
        finally:
            loop.close()

    return run


def attach(channels: dict[int, Any], poller: str) -> Any:
    engine_for(channels).use(poller)
    return compat.attach(map=channels)


@every_copy
@every_poller
def test_a_channel_that_comes(run: Callable[[Main], None], poller: str, copy: str) -> None:
    async def main() -> None:
        channels: dict[int, Any] = {}
        attachment = attach(channels, poller)
        program = Program(COPIES[copy], channels)
        reader, writer = await asyncio.open_connection(*program.address)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        # And one more, while others are there.
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            program.echo(theirs, channels)
            ours.send(b"again")
            assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"again"
        writer.write(b"end")
        assert await reader.read() == b""
        await attachment
        writer.close()
        await writer.wait_closed()
        attachment.detach()

    run(main)


@every_copy
@every_poller
def test_output_that_waits(run: Callable[[Main], None], poller: str, copy: str) -> None:
    size = 5_000_000

    async def main() -> None:
        channels: dict[int, Any] = {}
        program = Program(COPIES[copy], channels)
        reader, writer = await asyncio.open_connection(*program.address)
        attachment = attach(channels, poller)
        while len(channels) < 2:
            await asyncio.sleep(0)
        (channel,) = [found for found in channels.values() if found is not program.server]
        await asyncio.sleep(0)  # the attachment has nothing to do any more
        channel.send(b"x" * size)
        assert len(await reader.readexactly(size)) == size
        writer.write(b"end")
        await attachment
        writer.close()
        await writer.wait_closed()
        attachment.detach()

    run(main)


@every_copy
@every_poller
def test_a_channel_that_goes(run: Callable[[Main], None], poller: str, copy: str) -> None:
    async def main() -> None:
        channels: dict[int, Any] = {}
        program = Program(COPIES[copy], channels)
        attachment = attach(channels, poller)
        await asyncio.sleep(0)
        waiting = asyncio.ensure_future(attachment.wait_empty())
        await asyncio.sleep(0)
        program.asyncore.close_all(channels)
        await waiting
        attachment.detach()

    run(main)


REPORTING = [name for name in COPIES if name != "vendored"]


@pytest.mark.parametrize("copy", REPORTING)
@every_poller
def test_a_number_that_the_host_gets(run: Callable[[Main], None], poller: str, copy: str) -> None:
    """The host lets go of a number before it is closed, and may have it for itself at once."""

    async def main() -> None:
        channels: dict[int, Any] = {}
        program = Program(COPIES[copy], channels)
        ours, theirs = socket.socketpair()
        peer, own = socket.socketpair()
        channel = program.echo(theirs, channels)
        number = theirs.fileno()
        attachment = attach(channels, poller)
        await asyncio.sleep(0)
        channel.close()
        os.dup2(own.fileno(), number)
        own.close()
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=number))
        peer.send(b"for the host")
        assert await reader.readexactly(12) == b"for the host"
        writer.close()
        await writer.wait_closed()
        program.server.close()
        await attachment
        ours.close()
        peer.close()

    run(main)


@pytest.mark.parametrize("kind", ["epoll", "select"])
@every_poller
def test_under_twisted_a_number_comes_back_after_an_unreported_close(
    poller: str, kind: str
) -> None:
    """The worst case: no view that reports, every descriptor watched on its own, EPollReactor."""
    if kind not in pollers.available():
        pytest.skip("no epoll on this platform")
    channels: dict[int, Any] = {}
    program = Program(COPIES["vendored"], channels)
    reactor = new_reactor(kind)
    engine_for(channels).use(poller)
    attachment: Any = compat.attach(reactor, map=channels)
    ends = [socket.socketpair() for _ in range(2)]
    got: list[bytes] = []
    number = ends[0][1].fileno()
    channel = program.echo(ends[0][1], channels)

    class Heir(program.echo):  # type: ignore[misc, name-defined]
        def handle_read(self) -> None:
            got.append(self.recv(100))
            self.close()
            program.server.close()

    def close() -> None:
        channel.close()
        reactor.callLater(2 * hosting.LOOK, come_back)

    def come_back() -> None:
        os.dup2(ends[1][1].fileno(), number)
        ends[1][1].close()
        Heir(socket.socket(fileno=number), channels)
        ends[1][0].send(b"heard")

    reactor.callLater(0, close)
    attachment.wait_empty().addBoth(lambda result: reactor.stop())
    late = reactor.callLater(PATIENCE, reactor.stop)
    reactor.run(installSignalHandlers=False)
    if late.active():
        late.cancel()
    attachment.detach()
    end_reactor(reactor)
    assert got == [b"heard"]
    assert channels == {}
    for ours, _ in ends:
        ours.close()


@every_poller
def test_our_own_predicates_are_asked_as_well(run: Callable[[Main], None], poller: str) -> None:
    """Not a matter of other copies alone: a predicate may depend on anything."""

    class Queue(asynccore.dispatcher):
        def __init__(self, sock: socket.socket, map: Any) -> None:
            super().__init__(sock, map)
            self.queue: list[bytes] = []

        def writable(self) -> bool:
            return bool(self.queue)

        def handle_write(self) -> None:
            self.send(self.queue.pop(0))

    async def main() -> None:
        channels = asynccore.ChannelMap()
        ours, theirs = socket.socketpair()
        with ours:
            ours.setblocking(False)
            queue = Queue(theirs, channels)
            engine_for(channels).use(poller)
            attachment: Any = compat.attach(map=channels)
            await asyncio.sleep(0)
            queue.queue.append(b"unreported")
            assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"unreported"
            queue.close()
            await attachment
            attachment.detach()

    run(main)
