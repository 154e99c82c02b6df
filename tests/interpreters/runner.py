"""Start `child.py` for one suite and one implementation, and compare two outcomes.

A suite is run in a process of its own and in a folder of its own, because suites write files
beside themselves, change global state and are allowed to print.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CHILD = Path(__file__).with_name("child.py")

# The longest suite takes 10 s alone on an idle machine; this is for a busy one. Below
# `faulthandler_timeout` of pyproject.toml, so that the child is named before pytest is.
BOUND_SECONDS = 200

# What stands in for what: the three modules that *are* the legacy modules.
ASYNCCORE = {
    "asyncore": "asynccore",
    "asynchat": "asynccore.asynchat",
    "smtpd": "asynccore.smtpd",
}

PASSED = ("passed",)


@dataclass(frozen=True)
class Outcome:
    """What a child reports.

    bound     classic name -> the file of the module that the suite's own global of that name holds
    outcomes  test id -> passed, failed, error or skipped
    details   test id -> traceback, or the reason of a skip
    pollers   names of the asynccore pollers that waited at least once
    seconds   how long the suite ran
    """

    bound: dict[str, str]
    outcomes: dict[str, str]
    details: dict[str, str]
    pollers: list[str]
    seconds: float


def report_of(
    child: Path,
    suite: str,
    how: str,
    selectors: Iterable[str] = (),
    *,
    bound: float = BOUND_SECONDS,
    without: Iterable[str] = (),
    **changes: str,
) -> Outcome:
    """Run a child of this folder in a process and a folder of its own; return what it reports.

    `how` is its second argument. Variables `without` are kept from it, `changes` are made. Raises
    AssertionError with its output if it reports nothing, `subprocess.TimeoutExpired` if it takes
    more than `bound` seconds.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        # The suites count descriptors and threads and time out: no coverage tracer in there.
        if not name.startswith(("COV_CORE", "COVERAGE_", "PYTEST_", "ASYNCCORE_"))
        and name not in ("PYTHONPATH", "PYTHONWARNINGS", *without)
    }
    environment |= {"ASYNCCORE_SUITE_ROOT": str(ROOT), **changes}
    with tempfile.TemporaryDirectory() as folder:
        result_file = Path(folder, "result.json")
        work = Path(folder, "work")
        work.mkdir()
        done = subprocess.run(
            [sys.executable, child, suite, how, result_file, *selectors],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=bound,
        )
        if not result_file.exists():
            output = done.stdout.decode(errors="replace")[-4000:]
            raise AssertionError(f"{suite} ended with status {done.returncode}:\n{output}")
        return Outcome(**json.loads(result_file.read_text(encoding="utf-8")))


def run_suite(
    suite: str,
    selectors: tuple[str, ...] = (),
    stand_ins: dict[str, str] | None = None,
    engine: str | None = None,
) -> Outcome:
    """Run `suite` in a child and return what it reports.

    `stand_ins` as in child.py; None runs the interpreter's own modules. Raises AssertionError
    with the child's output if it reports nothing, `subprocess.TimeoutExpired` if it hangs.
    """
    changes = {} if engine is None else {"ASYNCCORE_ENGINE": engine}
    implementation = "original" if stand_ins is None else json.dumps(stand_ins)
    return report_of(CHILD, suite, implementation, selectors, **changes)


def worse(original: Outcome, ours: Outcome) -> dict[str, str]:
    """Return the tests that pass with the original and not with ours, each with what happened.

    A fixture of a class or module that fails reports under a name of its own and takes its
    tests with it: those count as not run.
    """
    return {
        name: f"{ours.outcomes.get(name, 'not run')}: {ours.details.get(name, '')}".rstrip(": ")
        for name, outcome in original.outcomes.items()
        if outcome in PASSED and ours.outcomes.get(name) not in PASSED
    }


def fixture_errors(outcome: Outcome) -> dict[str, str]:
    """Return the failures of class and module fixtures, which hide the tests they belong to."""
    return {
        name: outcome.details.get(name, "")
        for name, word in outcome.outcomes.items()
        if name.startswith(("setUp", "tearDown")) and word == "error"
    }
