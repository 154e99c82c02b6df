"""Findings that the program says it knows of: `# asynccore: ignore[AC305]` in the line."""

from __future__ import annotations

import io
import re
import tokenize

from .. import sources
from .findings import Finding
from .program import Program

_IGNORE = re.compile(r"#\s*asynccore:\s*ignore\[([A-Z0-9,\s]+)\]")


def is_ignored(program: Program, finding: Finding) -> bool:
    """Whether a comment in a finding's line names its code."""
    if not hasattr(program, "_ignored"):
        program._ignored = _ignored(program.source)  # type: ignore[attr-defined]
    known: dict[int, set[str]] = program._ignored  # type: ignore[attr-defined]
    return finding.code in known.get(finding.line, ())


def _ignored(source: sources.Source) -> dict[int, set[str]]:
    """Return the codes that comments name, by their lines."""
    found: dict[int, set[str]] = {}
    if "asynccore:" not in source.text:
        return found
    text = sources.with_plain_ends(source.text)
    for line, comment in _comments(text, source):
        for match in _IGNORE.finditer(comment):
            found.setdefault(line, set()).update(re.findall(r"\w+", match[1]))
    return found


def _comments(text: str, source: sources.Source) -> list[tuple[int, str]]:
    if source.tree2 is not None:
        # Comments stand before the leaf that follows them.
        comments = []
        for leaf in source.tree2.leaves():
            lines = leaf.prefix.split("\n")
            first = leaf.lineno - len(lines) + 1
            comments += [(first + at, line) for at, line in enumerate(lines) if "#" in line]
        return comments
    try:
        return [
            (token.start[0], token.string)
            for token in tokenize.generate_tokens(io.StringIO(text).readline)
            if token.type == tokenize.COMMENT
        ]
    except (tokenize.TokenError, SyntaxError):
        return []
