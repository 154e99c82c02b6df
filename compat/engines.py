"""Which engine names the legacy names can be installed with."""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from importlib.util import find_spec

from asynccore import pollers
from asynccore.listening import interception
from asynccore.pollers import Poller

VARIABLE = pollers.ENGINE_VARIABLE

# Event loops of other projects that a script's own `loop()` can wait in, by the package that they
# need, and their pollers in this package: what the entry points in pyproject.toml say, for a
# checkout.
HOSTS = {
    "asyncio": ".hosts.asyncio_poller:AsyncioPoller",
    "uvloop": ".hosts.asyncio_poller:UvloopPoller",
    "twisted": ".hosts.twisted_poller:TwistedPoller",
}


def check(engine: str) -> str:
    """Return `engine`: the name of a poller of this platform, or one of HOSTS.

    Raises ValueError, which names the choices, for any other name, and for a host that is not
    installed.
    """
    here = pollers.available()
    if engine in here:
        return engine
    if engine in HOSTS:
        # A folder of that name for plugins, which has no origin, is not the package.
        if getattr(find_spec(engine), "origin", None) is None:
            raise ValueError(
                f"engine {engine!r} needs a package that is not installed: "
                f"pip install 'asynccore[{engine}]'"
            )
        _make_known()
        return engine
    from difflib import get_close_matches

    close = get_close_matches(engine, (*here, *HOSTS), 1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    raise ValueError(f"unknown engine {engine!r}{meant}: choose from {', '.join((*here, *HOSTS))}")


def register() -> None:
    """Prepare a program's process for what its environment asks for; called by the legacy names."""
    _make_known()
    begin(os.environ.get(VARIABLE, ""))


def begin(engine: str) -> None:
    """Have the program find the engine's event loop by `asyncio.get_event_loop()` from now on.

    It makes none by itself since Python 3.14, and another one than the engine's before. Does
    nothing for an engine that waits in no asyncio loop.
    """
    if engine in ("asyncio", "uvloop"):
        with contextlib.suppress(ImportError):  # not installed: `loop()` says so
            poller_class(engine).find_loop()  # type: ignore[attr-defined]


def _make_known() -> None:
    """Make hosts and TLS known to asynccore, where its metadata don't: in a checkout."""
    interception.register("ssl_ext.termination:in_front_of")
    for name in HOSTS:
        pollers.register(name, lambda name=name: make(name))  # type: ignore[misc]


def poller_class(name: str) -> type[Poller]:
    """Return the class of the pollers that wait in a host."""
    module, _, cls = HOSTS[name].partition(":")
    found: type[Poller] = getattr(import_module(module, __package__), cls)
    return found


def make(name: str) -> Poller:
    """Return a poller that waits in a host."""
    return poller_class(name)()
