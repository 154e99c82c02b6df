"""What the tests with other people's TLS share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tls.conftest import channels as channels
from tests.tls_peers.support import VERSIONS, Files


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """TLS 1.2 and 1.3 in turn."""
    name: str = request.param
    return name


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The certificates as files."""
    return Files(tmp_path)
