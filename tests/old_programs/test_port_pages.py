"""What docs/porting.md says of each step is what the step does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from compat.old_programs.port import steps
from tests.project.checkout import ROOT

PAGE = (ROOT / "docs" / "porting.md").read_text(encoding="utf-8")

# The page leaves out what every program begins with: before the step, and after it.
OLD = "import asyncore\nimport asynchat\nimport ssl\n\n\n"
NEW = "import asynccore as asyncore\nfrom asynccore import asynchat, smtpd\nimport socket\n\n\n"


def examples() -> Iterator[tuple[str, str, str]]:
    """Return each step's name, and what comes before and after it on the page."""
    for section in re.split(r"^##", PAGE, flags=re.M):
        named = re.match(r"# Step `([\w-]+)`", section)
        if named:
            for block in re.findall(r"```diff\n(.*?)```", section, re.S):
                yield named[1], _side(block, "+"), _side(block, "-")


def _side(block: str, other: str) -> str:
    """Return the lines of a diff that are not the other side's."""
    lines = block.splitlines(keepends=True)
    return "".join(line[1:] if line.strip() else line for line in lines if line[0] != other)


@pytest.mark.parametrize(("step", "before", "after"), list(examples()))
def test_a_step_does_what_the_page_says(step: str, before: str, after: str) -> None:
    chosen = steps.chosen([step])
    if "import " in before:
        assert steps.port(before, chosen).text == after
        return
    start = OLD if step == "python3" else NEW.replace("import socket", "import ssl, socket")
    found = steps.port(start + before, chosen)
    assert found.problems == []
    _, _, rest = found.text.partition("\n\n\n")
    assert rest == after
    assert steps.port(found.text, chosen).text == found.text


def test_every_step_has_an_example() -> None:
    assert {step for step, _, _ in examples()} == {step.name for step in steps.STEPS}
