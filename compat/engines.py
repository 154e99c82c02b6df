"""Which engine names the legacy names can be installed with."""

from __future__ import annotations

from asynccore import pollers

VARIABLE = pollers.ENGINE_VARIABLE

# Event loops of other projects that are to drive dispatchers. A name leaves this tuple when the
# bridge to it exists.
PLANNED_HOSTS = ("asyncio", "uvloop", "twisted")


def check(engine: str) -> str:
    """Return `engine`, the name of a poller of this platform.

    Raises ValueError, which names the choices, for one of PLANNED_HOSTS and for any other name.
    """
    here = pollers.available()
    if engine in here:
        return engine
    if engine in PLANNED_HOSTS:
        problem = f"engine {engine!r} is planned, but not available in this version"
    else:
        problem = f"unknown engine {engine!r}"
    raise ValueError(f"{problem}: choose from {', '.join(here)}")
