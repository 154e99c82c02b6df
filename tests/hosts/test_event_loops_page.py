"""The program on docs/event-loops.md runs as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_program_runs() -> None:
    page = (ROOT / "docs" / "event-loops.md").read_text(encoding="utf-8")
    (program,) = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "b'hello'\n", "")
