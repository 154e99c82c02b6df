"""The loops that protocols run on: asyncio's own, which is the reference, and ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asynccore
import compat

# Above what any scenario needs, below what anybody wants to wait for.
PATIENCE = 30.0


class Makers:
    """Makes servers and connections by the methods of the loop that runs."""

    def __init__(self, map: dict[int, Any]) -> None:
        self.map = map
        self.errors: list[str] = []

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def serve(self, factory: Callable[[], Any], **options: Any) -> Any:
        return await self.loop.create_server(factory, "127.0.0.1", 0, **options)

    async def connect(self, factory: Callable[[], Any], address: Any, **options: Any) -> Any:
        return await self.loop.create_connection(factory, *address[:2], **options)

    async def datagrams(self, factory: Callable[[], Any], **options: Any) -> Any:
        return await self.loop.create_datagram_endpoint(factory, **options)

    def catch_errors(self) -> None:
        self.loop.set_exception_handler(
            lambda loop, context: self.errors.append(repr(context.get("exception")))
        )


class PlainMakers(Makers):
    """Makes them by the plain functions."""

    async def serve(self, factory: Callable[[], Any], **options: Any) -> Any:
        return compat.create_server(factory, "127.0.0.1", 0, map=self.map, **options)

    async def connect(self, factory: Callable[[], Any], address: Any, **options: Any) -> Any:
        return await compat.create_connection(factory, *address[:2], map=self.map, **options)

    async def datagrams(self, factory: Callable[[], Any], **options: Any) -> Any:
        return compat.create_datagram_endpoint(factory, map=self.map, **options)


Scenario = Callable[[Makers], Awaitable[Any]]


async def _bounded(scenario: Scenario, makers: Makers) -> Any:
    return await asyncio.wait_for(scenario(makers), PATIENCE)


def on_asyncio(scenario: Scenario) -> Any:
    """asyncio's own loop and transports: what is right."""
    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(_bounded(scenario, Makers({})))
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def on_classic_loop_object(scenario: Scenario) -> Any:
    """`ClassicLoop`, run as asyncio's loops are."""
    channels: dict[int, Any] = {}
    loop = compat.ClassicLoop(map=channels)
    try:
        result = loop.run_until_complete(_bounded(scenario, Makers(channels)))
        asynccore.loop(map=channels)
        return result
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        assert channels == {}


def under_classic_loop(scenario: Scenario, makers: type[Makers] = PlainMakers) -> Any:
    """`asynccore.loop()`, and no loop of asyncio's."""
    channels: dict[int, Any] = {}
    task = compat.run_coroutine(_bounded(scenario, makers(channels)), map=channels)
    task.add_done_callback(lambda done: asynccore.stop(map=channels))
    asynccore.loop(map=channels, until_idle=True)
    asynccore.loop(map=channels)  # TLS connections that still say goodbye
    loop = compat.event_loop(map=channels)
    if getattr(loop, "_default_executor", None) is not None:
        loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert channels == {}
    return task.result()


def attached(scenario: Scenario) -> Any:
    """asyncio's own loop, which drives a map."""
    channels: dict[int, Any] = {}

    async def main() -> Any:
        attachment = compat.attach(map=channels)
        try:
            result = await _bounded(scenario, PlainMakers(channels))
            await asyncio.wait_for(attachment.wait_empty(), PATIENCE)
            return result
        finally:
            attachment.detach()

    loop = asyncio.SelectorEventLoop()
    try:
        return loop.run_until_complete(main())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
        assert channels == {}


OURS = [on_classic_loop_object, under_classic_loop, attached]
