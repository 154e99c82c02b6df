"""Each test over both kinds of map and every poller, as those of `tests/corners` are."""

from __future__ import annotations

from tests.corners.conftest import (  # noqa: F401 - pytest finds them here
    channels,
    default_map,
    engine,
    pair,
    pytest_generate_tests,
    waits,
)
