"""`python -m compat`: the same command line as `asynccore` and `python -m asynccore`."""

from __future__ import annotations

import sys

from .command_line.cli import main

sys.exit(main())
