"""No descriptor is left: what can't be had is reported, and nothing else suffers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.support import Tally
from tests.project.checkout import ROOT


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no setrlimit")
def test_out_of_descriptors(poller_name: str, tally: Tally) -> None:
    """Of accept, connect, and connect_name to an address and a name, in a child process."""
    with tally.fault(4):
        child = subprocess.run(
            [sys.executable, "-m", "tests.faults.exhausted", poller_name],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert child.returncode == 0, child.stderr
        assert "4 survived" in child.stdout and child.stderr == ""
