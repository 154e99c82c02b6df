"""Blocking clients beside a loop: they run in a thread, and the loop until they are done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import asynccore

# Seconds that nothing in a test takes, unless it hangs.
PATIENCE = 30.0

T = TypeVar("T")


def meanwhile(channels: Any, client: Callable[[], T]) -> T:
    """Run `client` in a thread and a loop over `channels` here; return what it returns.

    What `client` raises is raised. The map must hold something until then.
    """
    outcome: list[T] = []
    problems: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(client())
        except BaseException as why:
            problems.append(why)
        finally:
            asynccore.call_soon_threadsafe(asynccore.stop, map=channels)

    thread = threading.Thread(target=run, daemon=True)
    bound = asynccore.call_later(PATIENCE, _hangs, map=channels)
    thread.start()
    try:
        asynccore.loop(map=channels)
        thread.join(PATIENCE)
    finally:
        bound.cancel()
    if problems:
        raise problems[0]
    assert outcome, "the loop has ended before the client"
    return outcome[0]


def _hangs() -> None:
    raise asynccore.ExitNow("nothing happens any more")


def settle(channels: Any, until: Callable[[], object]) -> None:
    """Run the loop until something is so."""
    bound = asynccore.call_later(PATIENCE, _hangs, map=channels)
    while not until():
        asynccore.loop(map=channels, count=1)
    bound.cancel()
