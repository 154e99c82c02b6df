"""What the tests of `port` share."""

from __future__ import annotations

import textwrap

from compat.old_programs.port import steps


def ported(text: str, *names: str, around: steps.Surroundings | None = None) -> str:
    """Return a program after steps (the usual ones if none is named), which a second run keeps."""
    text = textwrap.dedent(text).lstrip("\n")
    chosen = steps.chosen(names)
    found = steps.port(text, chosen, around)
    assert found.problems == []
    again = steps.port(found.text, chosen, around)
    assert again.text == found.text
    return found.text


def becomes(before: str, after: str, *names: str) -> None:
    assert ported(before, *names) == textwrap.dedent(after).lstrip("\n")


def stays(text: str, *names: str) -> None:
    becomes(text, text, *names)
