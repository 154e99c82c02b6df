"""What drives a foreign map: our own loop, or a host; each until the map is empty."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import threading
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
import compat
from asynccore import pollers
from asynccore.engine import engine_for

# Nothing here takes a second; this ends what hangs, in seconds.
PATIENCE = 30.0

REACTORS = {"epoll": "EPollReactor", "poll": "PollReactor", "select": "SelectReactor"}
HOSTS = ("asyncio", "uvloop", "twisted", "twisted best")
DRIVERS = ("own", *HOSTS)


def new_asyncio_loop(kind: str) -> asyncio.AbstractEventLoop:
    if kind == "asyncio":
        return asyncio.SelectorEventLoop()
    if importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop is not installed; it has no Windows version")
    loop: asyncio.AbstractEventLoop = importlib.import_module("uvloop").new_event_loop()
    return loop


def new_reactor(kind: str) -> Any:
    if importlib.util.find_spec("twisted") is None:
        pytest.skip("Twisted is not installed")
    module = importlib.import_module(f"twisted.internet.{kind}reactor")
    return getattr(module, REACTORS[kind])()


def end_reactor(reactor: Any) -> None:
    """Give back what a reactor keeps for the whole process."""
    for reader in list(reactor._internalReaders):
        reader.connectionLost(None)
    if hasattr(reactor, "_poller") and hasattr(reactor._poller, "close"):
        reactor._poller.close()


def drive(driver: str, poller: str, channels: dict[int, Any], talk: Callable[[], object]) -> None:
    """Drive a map until it is empty, while `talk` runs in a thread. Raises what either raises."""
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            talk()
        except BaseException as why:
            failed.append(why)
            asynccore.call_soon_threadsafe(asynccore.close_all, channels, map=channels)

    thread = threading.Thread(target=guarded)
    engine = engine_for(channels)  # kept: foreign channels keep none before they are met
    engine.use(poller)
    thread.start()
    try:
        _drive(driver, poller, channels)
    finally:
        thread.join(PATIENCE)
        del engine
    if failed:
        raise failed[0]


def _drive(driver: str, poller: str, channels: dict[int, Any]) -> None:
    if driver == "own":
        timer = asynccore.call_later(PATIENCE, asynccore.stop, map=channels)
        try:
            asynccore.loop(map=channels, timeout=PATIENCE)
        finally:
            timer.cancel()
            engine_for(channels).run_due()  # lets go of what was kept for the timer
    elif driver.startswith("twisted"):
        # By the same system call, or with whatever the poller the best one of the platform.
        kind = pollers.available()[0] if driver == "twisted best" else poller
        run_reactor(new_reactor(kind if kind in REACTORS else "select"), channels)
    else:
        loop = new_asyncio_loop(driver)
        try:
            attachment: Any = compat.attach(loop, map=channels)
            try:
                loop.run_until_complete(asyncio.wait_for(attachment.wait_empty(), PATIENCE))
            finally:
                attachment.detach()
        finally:
            loop.close()


def run_reactor(reactor: Any, channels: dict[int, Any]) -> None:
    failed: list[BaseException] = []

    def end(result: Any) -> None:
        if result is not None:
            failed.append(result.value)
        reactor.stop()

    try:
        attachment: Any = compat.attach(reactor, map=channels)
        attachment.wait_empty().addBoth(end)
        late = reactor.callLater(PATIENCE, reactor.stop)
        reactor.run(installSignalHandlers=False)
        if late.active():
            late.cancel()
        attachment.detach()
    finally:
        end_reactor(reactor)
    if failed:
        raise failed[0]


def available() -> list[tuple[str, str]]:
    """Return every driver with every poller of this platform."""
    return [(driver, poller) for driver in DRIVERS for poller in pollers.available()]
