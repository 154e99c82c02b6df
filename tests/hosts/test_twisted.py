"""Maps on Twisted's reactors, with real sockets; see reactor_child.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("twisted.internet", reason="Twisted is not installed")

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("reactor_child.py")

REACTORS = ["selectreactor", "asyncioreactor"]
if sys.platform != "win32":
    REACTORS.append("pollreactor")
if sys.platform == "linux":
    REACTORS.append("epollreactor")


def run(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ASYNCCORE_CHECKOUT": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(CHILD), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("poller", ["default", "select"])
@pytest.mark.parametrize("reactor", REACTORS)
def test_a_reactor_drives_maps(reactor: str, poller: str) -> None:
    assert run(reactor, poller).endswith("over\n")


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill does not interrupt there")
@pytest.mark.parametrize("reactor", REACTORS)
def test_an_interrupt_ends_the_reactor_and_leaves_the_channels(reactor: str) -> None:
    assert run(reactor, "interrupted").endswith("over\n")
