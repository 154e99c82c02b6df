"""The suite that Twisted runs over each of its reactors, over ours.

Nothing of it is copied: it is run from where Twisted is installed, in processes of its own.
"""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.modern_twisted.test_servers import PROGRAMS, run

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("twisted.internet.test") is None,
        reason="this Twisted was packed without its tests",
    ),
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX reactors"),
]

# How many tests each module has at the least, of those that a reactor must pass.
MODULES = {
    "test_core": 14,
    "test_fdset": 10,
    "test_process": 30,
    "test_stdio": 5,
    "test_tcp": 80,
    "test_threads": 8,
    "test_time": 2,
    "test_tls": 15,
    "test_udp": 25,
    "test_unix": 25,
}


@pytest.mark.parametrize("kind", ["ChannelMap", "dict"])
@pytest.mark.parametrize("module", MODULES)
def test_twisteds_own_suite(module: str, kind: str) -> None:
    lines = run(PROGRAMS / "own_suite.py", module, kind).splitlines()
    if lines[-1].startswith("SKIP"):
        pytest.skip(lines[-1])
    word, _, count = lines[-1].partition(" ")
    assert word == "RAN", "\n".join(lines)
    assert int(count) >= MODULES[module]
