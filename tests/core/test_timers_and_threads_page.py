"""The programs of docs/timers-and-threads.md print what the page says."""

from __future__ import annotations

import re
import sys

import pytest

from tests.corners.support import ROOT, run_script

PAGE = ROOT / "docs" / "timers-and-threads.md"
PROGRAMS = re.findall(
    r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?",
    PAGE.read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)


def test_the_page_has_programs() -> None:
    assert len(PROGRAMS) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill(SIGTERM) ends the process there")
@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_a_program_prints_what_the_page_says(program: str, printed: str) -> None:
    output = run_script(program)
    if printed:
        assert output == printed
    else:
        # Two pulls are one wake-up or two, as it happens.
        assert output.startswith(("a result\nwoken\n", "a result\n"))
