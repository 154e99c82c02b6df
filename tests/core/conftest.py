"""A map with an engine whose clock and poller are fakes."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asynccore import ChannelMap
from asynccore.testing import Fakes, engine_with_fakes


@pytest.fixture(params=[ChannelMap, dict, UserDict], ids=lambda kind: kind.__name__)
def any_map(request: pytest.FixtureRequest) -> Any:
    """A map of each kind: one that reports, one that is compared, one that is no dict."""
    return request.param()


@pytest.fixture
def with_fakes() -> Iterator[Callable[[Any], Fakes]]:
    """`engine_with_fakes`, and everything given back afterwards."""
    made: list[Fakes] = []

    def make(map: Any) -> Fakes:
        made.append(engine_with_fakes(map))
        return made[-1]

    yield make
    for engine, _, _ in made:
        engine.map.clear()
        engine.deferred.clear()
        engine.calls.clear()
        engine.release()


@pytest.fixture
def fakes(with_fakes: Callable[[Any], Fakes]) -> Fakes:
    """Engine, clock and poller of a new `ChannelMap`."""
    return with_fakes(ChannelMap())


@pytest.fixture
def any_fakes(with_fakes: Callable[[Any], Fakes], any_map: Any) -> Fakes:
    """Engine, clock and poller of a new map of each kind in turn."""
    return with_fakes(any_map)
