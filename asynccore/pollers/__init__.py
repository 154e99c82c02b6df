"""The pollers, and the choice between them.

`make(None)` takes the environment's `ASYNCCORE_ENGINE` if it is set, and else the best poller of
the platform: epoll, kqueue, poll, select, in this order.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from ..neighbours import plug_ins
from .base import (
    ERROR,
    EVENTS_PER_PASS,
    HANGUP,
    INVALID,
    PRIORITY,
    READ,
    WRITE,
    Event,
    Events,
    OutOfRange,
    Poller,
    PollerLost,
)
from .proxy import ProxyPoller as ProxyPoller
from .select import ProgramsSelectPoller, SelectPoller

__all__ = [
    "ENGINE_VARIABLE",
    "ERROR",
    "EVENTS_PER_PASS",
    "HANGUP",
    "INVALID",
    "PRIORITY",
    "READ",
    "WRITE",
    "Event",
    "Events",
    "OutOfRange",
    "Poller",
    "PollerLost",
    "available",
    "check",
    "default_name",
    "make",
    "register",
]

ENGINE_VARIABLE = "ASYNCCORE_ENGINE"

# Packages that bring pollers name them under this in their metadata (entry points).
PLUG_INS = "asynccore.pollers"

_POLLERS: dict[str, type[Poller]] = {}
# Those that wait by what the program has put in the place of the functions of `select`.
PROGRAMS: tuple[type[Poller], ...] = (ProgramsSelectPoller,)

_registered: dict[str, Callable[[], Poller]] = {}

if sys.platform == "linux":
    from .epoll import EpollPoller

    _POLLERS[EpollPoller.name] = EpollPoller
elif sys.platform != "win32":
    from .kqueue import KqueuePoller

    _POLLERS[KqueuePoller.name] = KqueuePoller
if sys.platform != "win32":
    from .poll import PollPoller, ProgramsPollPoller

    _POLLERS[PollPoller.name] = PollPoller
    PROGRAMS += (ProgramsPollPoller,)
_POLLERS[SelectPoller.name] = SelectPoller


def available() -> tuple[str, ...]:
    """Return the names of this platform's pollers, the best one first."""
    return tuple(_POLLERS)


def default_name() -> str:
    """Return the name that `make(None)` would use now.

    Raises `ValueError` if `ASYNCCORE_ENGINE` names no poller of this platform.
    """
    name = os.environ.get(ENGINE_VARIABLE)
    if not name:
        return available()[0]
    check(name, f"{ENGINE_VARIABLE}={name}")
    return name


def make(name: str | None = None) -> Poller:
    """Return a new poller: the named one, or the default.

    Raises `ValueError` for a name that is not in `available()`, nor a plug-in's or registered.
    """
    if name is None:
        name = default_name()
    else:
        check(name)
    return _factory(name)()


def register(name: str, factory: Callable[[], Poller]) -> None:
    """Let `make(name)` return what `factory()` returns."""
    _registered[name] = factory


def _factory(name: str) -> Callable[[], Poller]:
    """Return what makes a poller of that name. Raises `KeyError`."""
    found = _POLLERS.get(name) or _registered.get(name)
    if found is None:
        factory: Callable[[], Poller]
        for factory in plug_ins(PLUG_INS, name):
            return _registered.setdefault(name, factory)
        raise KeyError(name)
    return found


def check(name: str, said: str | None = None) -> None:
    """Raise `ValueError` if `name` is no poller of this platform; `said` is how to quote it."""
    try:
        _factory(name)
    except KeyError:
        raise ValueError(
            f"unknown engine {said or repr(name)}: this platform has {', '.join(_POLLERS)}; "
            f"leave it out for the default, {available()[0]}"
        ) from None
