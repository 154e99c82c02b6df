"""docs/check.md: each code has its place, with an example that is found, and one that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compat.old_programs import sources
from compat.old_programs.check import command
from compat.old_programs.check.findings import KINDS, LOOK, LOSES, STOPS
from compat.old_programs.check.program import load
from tests.project.checkout import ROOT

PAGE = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
CHAPTERS = {
    STOPS: "## What will stop it",
    LOSES: "## What loses data, or clients",
    LOOK: "## What deserves a look",
}


def section(code: str) -> str:
    (found,) = re.findall(rf"^### ({code} .*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def examples() -> dict[str, list[str]]:
    found = {
        code: re.findall(r"^```py\n(.*?)^```$", section(code), re.MULTILINE | re.DOTALL)
        for code in KINDS
    }
    return {code: pair for code, pair in found.items() if pair}


EXAMPLES = examples()


def codes(text: str) -> set[str]:
    source = sources.parse(Path("example.py"), text, "utf-8")
    return {finding.code for finding in command.judge([load(source, (3, 13))])}


def test_every_kind_has_its_place_and_no_other() -> None:
    headings = re.findall(r"^(##+ .*)$", PAGE, re.MULTILINE)
    expected = []
    for level, chapter in CHAPTERS.items():
        expected.append(chapter)
        kinds = [kind for kind in KINDS.values() if kind.level == level]
        expected += [f"### {kind.code} {kind.title}" for kind in kinds]
    assert headings == [*expected, "## Programs from the index"]


def test_nearly_every_code_has_examples() -> None:
    assert KINDS.keys() - EXAMPLES.keys() == {"AC102"}
    assert {len(pair) for pair in EXAMPLES.values()} == {2}


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_first_example_is_found_and_the_second_is_not(code: str) -> None:
    before, after = EXAMPLES[code]
    assert code in codes(before)
    assert code not in codes(after)
    assert not {found for found in codes(after) if KINDS[found].level == STOPS}
