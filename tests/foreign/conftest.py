"""uvloop keeps a pipe for the whole process once its first loop is made: no leak of a test's."""

from __future__ import annotations

import importlib
import importlib.util

import pytest


@pytest.fixture(scope="session", autouse=True)
def uvloops_own_pipe() -> None:
    """Let uvloop make what it keeps, before any test is watched."""
    if importlib.util.find_spec("uvloop") is not None:
        importlib.import_module("uvloop").new_event_loop().close()
