"""The runner notices a swap that did not happen, a broken stand-in, and a suite that dies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interpreters import runner
from tests.interpreters.runner import Outcome
from tests.interpreters.suites import missing

# The quickest suite that needs asyncore, asynchat and smtpd together.
SUITE = "test_logging"
SELECTORS = ("SMTPHandlerTest",)

pytestmark = [
    pytest.mark.skipif(
        missing(SUITE), reason="this interpreter was installed without its own tests"
    ),
    pytest.mark.xdist_group("runner"),
]


@pytest.fixture(scope="module")
def original() -> Outcome:
    return runner.run_suite(SUITE, SELECTORS)


def copies(original: Outcome, folder: Path, **appended: str) -> dict[str, str]:
    """Copy the interpreter's own modules elsewhere, with a few lines of ours at the end."""
    stand_ins = {}
    for name, file in original.bound.items():
        copy = folder / f"{name}.py"
        copy.write_text(Path(file).read_text(encoding="utf-8") + appended.get(name, ""))
        stand_ins[name] = str(copy)
    return stand_ins


def test_a_swap_is_seen_in_the_suite(original: Outcome, tmp_path: Path) -> None:
    stand_ins = copies(original, tmp_path)
    swapped = runner.run_suite(SUITE, SELECTORS, stand_ins)
    assert swapped.bound == stand_ins
    assert swapped.bound.keys() == original.bound.keys() == {"asyncore", "smtpd"}
    assert runner.worse(original, swapped) == {}


def test_a_broken_stand_in_is_found(original: Outcome, tmp_path: Path) -> None:
    broken = "\ndef close_all(*args, **kwargs):\n    raise RuntimeError('broken on purpose')\n"
    swapped = runner.run_suite(SUITE, SELECTORS, copies(original, tmp_path, asyncore=broken))
    (what,) = runner.worse(original, swapped).values()
    assert what.startswith("error: ") and "broken on purpose" in what


def test_a_suite_that_dies_is_reported(original: Outcome, tmp_path: Path) -> None:
    deadly = "\nimport os\nprint('last words', flush=True)\nos._exit(3)\n"
    with pytest.raises(AssertionError, match=r"ended with status 3:\n(.*\n)*last words"):
        runner.run_suite(SUITE, SELECTORS, copies(original, tmp_path, asyncore=deadly))


def outcome(details: dict[str, str] | None = None, **outcomes: str) -> Outcome:
    return Outcome({}, outcomes, details or {}, [], 0.0)


def test_only_what_passes_with_the_original_counts() -> None:
    theirs = outcome(same="passed", lost="passed", gone="passed", always="failed", off="skipped")
    ours = outcome({"lost": "why"}, same="passed", lost="error", always="failed", off="failed")
    assert runner.worse(theirs, ours) == {"lost": "error: why", "gone": "not run"}


def test_a_skip_does_not_stand_for_a_pass() -> None:
    ours = outcome({"one": "no reason"}, one="skipped")
    assert runner.worse(outcome(one="passed"), ours) == {"one": "skipped: no reason"}


def test_failing_fixtures_are_told() -> None:
    ours = outcome({"setUpClass (x)": "why"}, **{"setUpClass (x)": "error", "other": "error"})
    assert runner.fixture_errors(ours) == {"setUpClass (x)": "why"}
