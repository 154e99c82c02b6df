"""What is found: one kind of trouble for each code, and where it was met."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# How bad it is, the worst first.
STOPS = "stops"
LOSES = "loses"  # data, or clients
LOOK = "look"


@dataclass(frozen=True)
class Kind:
    """A kind of finding: its code, which never changes its meaning, and how bad it is."""

    code: str
    level: str
    title: str


@dataclass(frozen=True, order=True)
class Finding:
    """One finding: where, of which kind, what it is there, and the remedy in one sentence."""

    path: Path
    line: int  # from 1
    column: int  # from 1, in characters
    code: str
    what: str
    remedy: str


KINDS = {
    kind.code: kind
    for kind in (Kind("AC101", STOPS, "is neither Python 3 nor Python 2, or in no known encoding"),)
}
