"""The command line: running programs, enabling the names, workers, top, the demonstration."""

from __future__ import annotations
