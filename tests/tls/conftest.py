"""What tests of TLS get: each version in turn, and a map of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import asynccore
from asynccore import ChannelMap
from tests.tls.support import VERSIONS


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    """TLS 1.2 and 1.3 in turn."""
    number: int = request.param
    return number


@pytest.fixture
def channels() -> Iterator[ChannelMap]:
    """A map of the test's own."""
    made = ChannelMap()
    yield made
    asynccore.close_all(made, ignore_all=True)
    made.clear()
