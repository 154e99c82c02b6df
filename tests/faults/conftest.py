"""Faults are counted; `tests/conftest.py` prints the sum at the end of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.support import Echo, Tally, World


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Iterator[Tally]:
    """Count the faults of a test."""
    tally = Tally()
    yield tally
    assert tally.tried, "a test of this folder tries at least one fault"
    record_property("faults", [tally.tried, tally.survived])


@pytest.fixture
def new_world(poller_name: str) -> Iterator[Callable[..., World]]:
    """A function that makes worlds on each poller in turn; they are closed afterwards."""
    made: list[World] = []

    def make(kind: Callable[..., Any] = Echo) -> World:
        made.append(World(poller_name, kind))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    """A world whose server sends back what it gets."""
    return new_world()
