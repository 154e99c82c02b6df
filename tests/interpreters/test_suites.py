"""The interpreter's own tests of the classic modules, and of what is built on them, hold here.

Run alone: `python -m pytest tests/interpreters`. See docs/interpreter-suites.md.
"""

from __future__ import annotations

import importlib
import importlib.util
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from compat.engines import HOSTS
from tests.conftest import available_pollers
from tests.interpreters import runner
from tests.interpreters.differences import DIFFERENCES
from tests.interpreters.suites import SUITES, WITHOUT_LOOP, missing

# The longest suites wait for most of their time: each of their tests ends with a tenth of a second
# in which their server's loop() sees that it is to end.
AT_A_TIME = 3

# suite -> engine, or None for the interpreter's own modules -> what came of it
_runs: dict[str, dict[str | None, Future[runner.Outcome]]] = {}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", (*available_pollers(), *HOSTS))


def every_suite() -> list[object]:
    # xdist keeps a group in one process, and so each suite is run for all engines at a time.
    return [pytest.param(suite, marks=pytest.mark.xdist_group(suite)) for suite in SUITES]


def installed(engine: str) -> bool:
    return engine not in HOSTS or importlib.util.find_spec(engine) is not None


def run(suite: str, *rest: Any) -> runner.Outcome:
    """Run a suite, and again if it was left a test by chance.

    Some bind to a port that they have found free, and skip if another process has it by then.
    """
    for _ in range(3):
        outcome = runner.run_suite(suite, SUITES[suite], *rest)
        if not any("couldn't bind to source port" in word for word in outcome.outcomes.values()):
            break
    return outcome


def runs_of(suite: str, request: pytest.FixtureRequest) -> dict[str | None, Future[runner.Outcome]]:
    """Run a suite with the interpreter's own modules, and with each engine that will be asked for.

    Once in one process. What went wrong in a run is raised where its result is asked for.
    """
    if suite not in _runs:
        asked = [item.callspec.params for item in request.session.items if _is_one(item)]
        engines = [one["engine"] for one in asked if one["suite"] == suite]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            found = _runs[suite] = {
                None: pool.submit(run, suite),
            }
            for engine in filter(installed, engines):
                found[engine] = pool.submit(run, suite, runner.ASYNCCORE, engine)
    return _runs[suite]


def _is_one(item: pytest.Item) -> bool:
    return getattr(item, "function", None) is test_suite


@pytest.mark.parametrize("suite", every_suite())
def test_suite(suite: str, engine: str, request: pytest.FixtureRequest) -> None:
    if missing(suite):
        pytest.skip(f"this interpreter was installed without its own tests: no test.{suite}")
    if not installed(engine):
        pytest.skip(f"{engine} is not installed")
    runs = runs_of(suite, request)
    original, ours = runs[None].result(), runs[engine].result()

    assert ours.bound.keys() == original.bound.keys()
    print("\n".join(f"{name}: {file}" for name, file in ours.bound.items()))
    for name, file in ours.bound.items():
        swapped_in = importlib.import_module(runner.ASYNCCORE[name]).__file__
        assert file == swapped_in, f"the suite ran with another {name}"
        assert Path(original.bound[name]) != Path(file), f"the reference ran with our {name}"
    if suite not in WITHOUT_LOOP:
        assert engine in ours.pollers

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
