"""The two sides of a comparison: the classic modules, and ours on one poller and kind of map.

The reference is pyasyncore's `loop()` without `use_poll`, that is, select(2): where the classic
select and poll loops disagree, select is what programs have run on. On 3.10 and 3.11 the standard
library's modules stand in front of the installed ones; they are the same but for a warning, so
the installed ones are loaded from their files, and the library's only where there are none.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

import asynccore
import asynccore.asynchat


@dataclass(frozen=True)
class Side:
    """One implementation, and how it is run."""

    name: str
    asyncore: Any
    asynchat: Any
    new_map: Callable[[], MutableMapping[int, Any]]
    poller: str | None = None

    def loop(self, map: Any, count: int, timeout: float = 0.0) -> None:
        """Run `count` passes."""
        if self.poller is None:
            self.asyncore.loop(timeout, False, map, count)
        else:
            self.asyncore.loop(timeout, map=map, count=count, poller=self.poller)


def _from_distribution(distribution: str, name: str) -> ModuleType | None:
    try:
        file = metadata.distribution(distribution).locate_file(f"{name}/__init__.py")
    except metadata.PackageNotFoundError:
        return None
    spec = importlib.util.spec_from_file_location(f"classic_{name}", str(file))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _load() -> tuple[ModuleType, ModuleType]:
    asyncore = _from_distribution("pyasyncore", "asyncore")
    if asyncore is None:
        return _standard("asyncore"), _standard("asynchat")
    # asynchat imports asyncore by name, and must find this one and no other.
    missing = object()
    before = sys.modules.get("asyncore", missing)
    sys.modules["asyncore"] = asyncore
    try:
        asynchat = _from_distribution("pyasynchat", "asynchat")
    finally:
        if before is missing:
            del sys.modules["asyncore"]
        else:
            sys.modules["asyncore"] = before  # type: ignore[assignment]
    assert asynchat is not None, "pyasyncore is installed without pyasynchat"
    return asyncore, asynchat


def _standard(name: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(name)


_asyncore, _asynchat = _load()

CLASSIC = Side("classic", _asyncore, _asynchat, dict)


def ours(poller: str, plain_map: bool = False) -> Side:
    """Return this package, on one poller, with a plain dict or with the map that reports."""
    return Side(
        f"asynccore on {poller}",
        asynccore,
        asynccore.asynchat,
        dict if plain_map else asynccore.ChannelMap,
        poller,
    )
