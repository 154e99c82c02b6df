"""The interpreter's own tests of the classic modules, and of what is built on them, hold here.

Run alone: `python -m pytest tests/interpreters`. See docs/interpreter-suites.md.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.interpreters import runner
from tests.interpreters.differences import DIFFERENCES
from tests.interpreters.suites import SUITES, WITHOUT_LOOP, missing

_references: dict[str, runner.Outcome] = {}


def reference(suite: str) -> runner.Outcome:
    """The suite with the interpreter's own modules: once for each suite in one process."""
    if suite not in _references:
        _references[suite] = runner.run_suite(suite, SUITES[suite])
    return _references[suite]


def every_suite() -> list[object]:
    # xdist keeps a group in one process, and so the reference run is made once.
    return [pytest.param(suite, marks=pytest.mark.xdist_group(suite)) for suite in SUITES]


@pytest.mark.parametrize("suite", every_suite())
def test_suite(suite: str, poller_name: str) -> None:
    if missing(suite):
        pytest.skip(f"this interpreter was installed without its own tests: no test.{suite}")
    original = reference(suite)
    ours = runner.run_suite(suite, SUITES[suite], runner.ASYNCCORE, poller_name)

    assert ours.bound.keys() == original.bound.keys()
    print("\n".join(f"{name}: {file}" for name, file in ours.bound.items()))
    for name, file in ours.bound.items():
        swapped_in = importlib.import_module(runner.ASYNCCORE[name]).__file__
        assert file == swapped_in, f"the suite ran with another {name}"
        assert Path(original.bound[name]) != Path(file), f"the reference ran with our {name}"
    if suite not in WITHOUT_LOOP:
        assert poller_name in ours.pollers

    assert sum(word in runner.PASSED for word in original.outcomes.values()) > 0
    expected = {name for name in DIFFERENCES if name.startswith(f"test.{suite}.")}
    worse = runner.worse(original, ours)
    unlisted = {name: what for name, what in worse.items() if name not in expected}
    assert not unlisted, "\n".join(
        [f"{name} {what}" for name, what in unlisted.items()]
        + [f"{name}: {what}" for name, what in runner.fixture_errors(ours).items()]
    )
    assert expected <= original.outcomes.keys(), "differences.py names tests that are not there"
    assert expected <= worse.keys(), "these pass now: take them out of differences.py"
