"""asyncio's own suite over our loop, and Twisted's over our reactor: a quick part, and the judge.

All of it: `python -m tests.interpreters`. See event_loops.py and docs/interpreter-suites.md.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.interpreters import __main__ as command
from tests.interpreters import event_loops
from tests.interpreters.event_loops import ASYNCIO, PAGE, TWISTED, Listed
from tests.interpreters.runner import Outcome

posix = pytest.mark.skipif(sys.platform == "win32", reason="selector loops are the subject")

# The quickest modules that serve and connect. Of Twisted's, tests/modern_twisted runs all.
QUICK = [
    (ASYNCIO, "test_base_events"),
    (ASYNCIO, "test_buffered_proto"),
    (ASYNCIO, "test_server"),
    (ASYNCIO, "test_streams"),
    (ASYNCIO, "test_unix_events"),
    (TWISTED, "test_core"),
]


@posix
@pytest.mark.parametrize(("project", "module"), QUICK, ids=lambda it: getattr(it, "name", it))
def test_a_module_is_as_listed(project: Any, module: str) -> None:
    why = event_loops.missing(project, module)
    if why:
        pytest.skip(why)
    for verdict in event_loops.verdicts(project, module):
        assert verdict.trouble == []
        assert verdict.passed > 0
        # The way that was asked for is what ran. What stop() leaves to be run is no pumping.
        used = dict(line.split() for line in verdict.used)
        assert int(used[verdict.way]) > sum(map(int, used.values())) / 2


PAGE_OF_OURS = """
## What of asyncio's suite does not hold

| test | Python | why |
| --- | --- | --- |
| `test_x.*Tests.test_one` | all | a reason |
| `test_x.ATests.test_two` | 3.12 on | another |
| `test_y.ATests.test_two` | to 3.11 | another |
| `test_y.ATests.test_three` | 3.11 | another |

## What of Twisted's suite does not hold

| test | Python | why |
| --- | --- | --- |
| `test_z.ATests.test_one` | all | a reason |
"""


@pytest.mark.parametrize(
    ("version", "patterns"),
    [
        ((3, 10), ["test_x.*Tests.test_one", "test_y.ATests.test_two"]),
        (
            (3, 11),
            ["test_x.*Tests.test_one", "test_y.ATests.test_two", "test_y.ATests.test_three"],
        ),
        ((3, 13), ["test_x.*Tests.test_one", "test_x.ATests.test_two"]),
    ],
)
def test_the_list_is_what_the_page_says(version: Any, patterns: list[str]) -> None:
    found = event_loops.listed_on(PAGE_OF_OURS, ASYNCIO, version)
    assert [row.pattern for row in found] == patterns
    (row,) = event_loops.listed_on(PAGE_OF_OURS, TWISTED, version)
    assert row == Listed("test_z.ATests.test_one", "all", "a reason")


def test_the_page_has_both_lists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for project in (ASYNCIO, TWISTED):
        for minor in range(10, 16):
            rows = event_loops.listed_on(text, project, (3, minor))
            assert all(row.reason for row in rows)
    assert event_loops.listed_on(text, ASYNCIO, (3, 13))
    # No row is lost for want of a bar.
    tables = text.partition("## What of asyncio's suite does not hold\n")[2]
    rows = [line for line in tables.splitlines() if line.startswith("| `test")]
    parsed = set()
    for minor in range(10, 16):
        for project in (ASYNCIO, TWISTED):
            parsed |= set(event_loops.listed_on(text, project, (3, minor)))
    assert len(parsed) == len(rows)


def outcome(**outcomes: str) -> Outcome:
    names = {f"p.{name.replace('__', '.')}": word for name, word in outcomes.items()}
    return Outcome({}, names, {}, [], 0.0)


REFERENCE = outcome(m__A__one="passed", m__B__one="passed", m__A__two="failed")


@pytest.mark.parametrize(
    ("ours", "pattern", "trouble"),
    [
        (outcome(m__A__one="passed", m__B__one="passed"), "m.A.other", []),
        (
            outcome(m__A__one="error", m__B__one="passed"),
            "m.A.other",
            ["p.m.A.one falls, and is not listed: error"],
        ),
        (
            outcome(m__B__one="passed"),
            "m.A.other",
            ["p.m.A.one falls, and is not listed: not run"],
        ),
        (outcome(m__A__one="error", m__B__one="failed"), "m.?.one", []),
        (
            outcome(m__A__one="error", m__B__one="passed"),
            "m.*.one",
            ["p.m.B.one passes, and is listed"],
        ),
    ],
)
def test_what_is_not_as_listed_is_told(ours: Outcome, pattern: str, trouble: list[str]) -> None:
    listed = [Listed(pattern, "all", "a reason")]
    assert event_loops.judge(REFERENCE, ours, "p.", listed) == trouble


def test_what_some_releases_pass_may_pass() -> None:
    rows = [Listed("m.A.one", "3.12 in part", ""), Listed("m.A.none", "3.12 in part", "")]
    assert event_loops.judge(REFERENCE, REFERENCE, "p.", rows) == []
    assert event_loops.stale([REFERENCE], "p.", rows) == []
    assert rows[0].applies((3, 12)) and not rows[0].applies((3, 13))


def test_a_row_for_no_test_is_told() -> None:
    rows = [Listed("m.A.*", "all", ""), Listed("m.C.one", "all", ""), Listed("n.A.x", "all", "")]
    (line,) = event_loops.stale([REFERENCE], "p.", rows)
    assert line == "m.C.one is listed, and there is no such test"


def test_what_falls_once_is_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what falls each time has fallen."""
    asked: list[list[str]] = []
    name = "test.test_asyncio.m.A."

    def run(project: Any, module: str, way: str, selectors: Any = ()) -> Outcome:
        asked.append(list(selectors))
        good = way == "asyncio" or bool(selectors)
        word = "passed" if good else "error"
        always = "passed" if way == "asyncio" else "error"
        return Outcome({}, {f"{name}x": word, f"{name}y": always}, {}, [], 0.0)

    monkeypatch.setattr(event_loops, "run", run)
    found = list(event_loops.verdicts(ASYNCIO, "m", PAGE_OF_OURS))
    assert [verdict.trouble for verdict in found] == [
        [f"{name}y falls, and is not listed: error"]
    ] * 2
    assert asked[3:5] == [[f"{name}x", f"{name}y"], [f"{name}y"]]


@posix
def test_the_command(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if event_loops.missing(ASYNCIO, "test_context"):
        pytest.skip("this interpreter was installed without its own tests")
    monkeypatch.setattr(sys, "argv", ["interpreters", "--project", "asyncio", "test_context"])
    assert command.main() == 0
    says = capsys.readouterr().out.splitlines()
    assert says[-1] == "all is as listed"
    assert "test_context (own)" in says[0] and "test_context (pumped)" in says[1]
    monkeypatch.setattr(event_loops, "judge", lambda *args: ["it falls"])
    assert command.main() == 1
    assert "    it falls" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["interpreters", "no_such_module"])
    assert command.main() == 2
