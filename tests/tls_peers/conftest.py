"""What the tests with other people's TLS share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import asynccore
from asynccore import ChannelMap
from tests.tls_peers.support import VERSIONS, Files


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """TLS 1.2 and 1.3 in turn."""
    name: str = request.param
    return name


@pytest.fixture
def channels() -> Iterator[ChannelMap]:
    """A map of the test's own."""
    made = ChannelMap()
    yield made
    asynccore.close_all(made, ignore_all=True)
    made.clear()


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The certificates as files."""
    return Files(tmp_path)
