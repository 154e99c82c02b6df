"""A loop that waits in a thread while the test, in its own, does what programs do."""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import asynccore
from asynccore.engine import engine_for
from tests.conftest import available_pollers
from tests.corners.support import PATIENCE, Reader, background, wait_for

# Programs of their own, over every poller and every loop of others.
everywhere = pytest.mark.parametrize(
    "name",
    [
        *available_pollers(),
        "asyncio",
        *(name for name in ("uvloop", "twisted") if importlib.util.find_spec(name)),
    ],
)


@contextmanager
def looping(channels: Any, engine: str) -> Iterator[threading.Thread]:
    """Run `loop()` in a thread, which has begun to wait; end it with all channels."""

    def loop() -> None:
        # Longer than any test may take: what other threads do must end the wait.
        asynccore.loop(timeout=600, map=channels, poller=engine)

    made = engine_for(channels)
    end, peer = socket.socketpair()
    Reader(end, channels)  # the loop goes on until this is closed
    with background(loop) as thread:
        try:
            wait_for(lambda: made.waiting)
            yield thread
        finally:
            asynccore.close_all(channels)
            peer.close()


def let_pass(channels: Any, times: int = 3) -> None:
    """Return once the loop of a map, in another thread, has looked at everything again."""
    for _ in range(times):
        looked = threading.Event()
        asynccore.call_soon_threadsafe(looked.set, map=channels)
        assert looked.wait(PATIENCE)
