"""Servers of Twisted's for clients of others, with dispatchers in the same map.

Each in a process of its own, for a reactor can be installed only once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).parent / "programs"
ROOT = Path(__file__).parents[2]


def run(program: str | Path, *args: str) -> str:
    """Return what a program prints. It fails with what it writes to the standard error."""
    done = subprocess.run(
        [sys.executable, str(program), *args],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PROGRAMS}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(("name", "served"), [("web", 2), ("mail", 2), ("words", 1), ("tls", 2)])
def test_servers(name: str, served: int) -> None:
    assert run(PROGRAMS / f"{name}.py") == "served\n" * served
