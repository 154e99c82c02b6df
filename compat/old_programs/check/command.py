"""The command: files in, findings out, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .. import sources, terminal
from .findings import KINDS, STOPS, Finding


def main(paths: Sequence[str]) -> int:
    """Check the programs in `paths`; return 1 if anything will stop one, 0 otherwise."""
    found = sources.find(paths)
    problems = list(found.problems)
    findings: list[Finding] = []
    with terminal.progress("reading", len(found.files)) as advance:
        for path in found.files:
            try:
                findings += check(sources.read(path))
            except sources.Unreadable as why:
                problems.append(why)
            advance()
    for problem in problems:
        print(f"asynccore check: {problem}", file=sys.stderr)
    for finding in findings:
        print(
            f"{finding.path}:{finding.line}:{finding.column}: {finding.code} {finding.what};"
            f" {finding.remedy}"
        )
    return int(any(KINDS[finding.code].level == STOPS for finding in findings))


def check(source: sources.Source) -> list[Finding]:
    """Return what will stop or trouble a program."""
    problem = source.problem
    if problem is None:
        return []
    remedy = "see what the line should say"
    if source.missing is not None:
        remedy = f"if it is Python 2: {source.missing}"
    line, column = problem.lineno or 1, problem.offset or 1
    return [Finding(source.path, line, column, "AC101", problem.msg, remedy)]
