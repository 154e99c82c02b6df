"""`python -m tests.systemd`: run the units of docs/deploy.md under a real systemd.

It needs Linux, root, systemd and overlayfs, and says what is missing. The suite has the same tests,
and leaves them out where something is.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

from tests.systemd.machine import obstacle


def main() -> int:
    """Return the exit status: 2 if it can't be tried here."""
    with tempfile.TemporaryDirectory() as folder:
        why = obstacle(Path(folder))
    if why is not None:
        print(f"no systemd can be started here: {why}")
        return 2
    return int(pytest.main(["-q", str(Path(__file__).parent)]))


if __name__ == "__main__":
    sys.exit(main())
