"""`attach`: a map of channels on somebody else's event loop."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

from asynccore.channels import Map
from asynccore.classic.former import formerly
from asynccore.classic.namespace import default_map
from asynccore.engine import engine_for

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from .asyncio_host import AsyncioAttachment
    from .twisted_host import TwistedAttachment


@overload
def attach(
    host: AbstractEventLoop | None = None, *, map: Map | None = None
) -> AsyncioAttachment: ...
@overload
def attach(host: Any, *, map: Map | None = None) -> TwistedAttachment: ...


@formerly("map")
def attach(host: Any = None, *, map: Map | None = None) -> AsyncioAttachment | TwistedAttachment:
    """Let another event loop drive the channels of a map, beside whatever else it does.

    `host` is an asyncio loop, a uvloop loop or a Twisted reactor. `None` means the asyncio loop
    that runs, or else the Twisted reactor that runs. `map` is by default `asynccore.socket_map`.
    Call this on the host's thread, and do not call `asynccore.loop()` then.

    Returns an attachment. `detach()` ends it and leaves the channels as they are. Await
    `wait_empty()` on asyncio; on Twisted it returns a Deferred. Raises `RuntimeError` if the map is
    attached already or nothing is running, and `TypeError` if `host` is no event loop.
    """
    engine = engine_for(default_map() if map is None else map)
    if host is None:
        host = _running()
    if hasattr(host, "add_reader") and hasattr(host, "run_until_complete"):
        from . import asyncio_host

        return asyncio_host.attach(engine, host)
    if hasattr(host, "addReader") and hasattr(host, "callLater"):
        from . import twisted_host

        return twisted_host.attach(engine, host)
    raise TypeError(
        f"{host!r} is neither an asyncio loop nor a Twisted reactor; for a map, write map=..."
    )


def _running() -> Any:
    # Neither is imported for this, for what nobody has imported does not run.
    asyncio: Any = sys.modules.get("asyncio")
    if asyncio is not None:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            pass
    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None and getattr(reactor, "running", False):
        return reactor
    raise RuntimeError(
        "no event loop is running here: call attach() in a coroutine or a Twisted callback, or say "
        "which loop it is"
    )
