"""The command: files in, findings out, and the exit status."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import sources, terminal
from . import byte_kinds, handlers, inventory, language, report
from .findings import KINDS, STOPS, Finding
from .ignoring import is_ignored
from .program import Program, Version, load, relate

FORMATS = ("text", "json", "github")


def version_of(text: str | None) -> Version:
    """Return the version that "3.13" means; the running one for None. Raises ValueError."""
    if text is None:
        return sys.version_info[:2]
    match = re.fullmatch(r"3\.(\d{1,2})", text)
    if match is None:
        raise ValueError(f"--python is a version like 3.13, not {text!r}")
    return 3, int(match[1])


def main(paths: Sequence[str], python: str | None = None, form: str = "text") -> int:
    """Check the programs in `paths`; return 1 if anything will stop one, 0 otherwise.

    `python` is a version, by default the running one, `form` one of `FORMATS`. Raises ValueError
    for a version that is none.
    """
    target = version_of(python)
    found = sources.find(paths)
    problems = list(found.problems)
    read: list[Program] = []
    with terminal.progress("reading", len(found.files)) as advance:
        for path in found.files:
            try:
                read.append(load(sources.read(path), target))
            except sources.Unreadable as why:
                problems.append(why)
            except RecursionError:
                problems.append(sources.Unreadable(path, "is nested too deeply to be checked"))
            advance()
    findings = judge(read)
    for problem in problems:
        print(f"asynccore check: {problem}", file=sys.stderr)
    for program in read:
        if program.source.missing is not None:
            # Once is enough; each such file is a finding, too.
            print(f"asynccore check: {program.source.missing}", file=sys.stderr)
            break
    counted = inventory.take(read)
    if form == "json":
        print(report.as_json(findings, counted, map(str, problems)))
    elif form == "github":
        for line in report.as_github(findings):
            print(line)
    else:
        version = f"{target[0]}.{target[1]}"
        report.show(findings, counted, version, sys.stdout, _advice(read, findings, target))
    # What was not read may be anything, so nobody can say that it will run.
    return int(bool(problems) or any(finding.level == STOPS for finding in findings))


def check(path: Path, target: Version | None = None) -> list[Finding]:
    """Return what will stop or trouble one program. Raises `sources.Unreadable`."""
    return judge([load(sources.read(path), target or version_of(None))])


def judge(programs: list[Program]) -> list[Finding]:
    """Return the findings in some files of one program, in their order."""
    relate(programs)
    with terminal.progress("checking", len(programs)) as advance:
        for program in programs:
            for look in (language.look, byte_kinds.look, handlers.look):
                try:
                    look(program)
                except RecursionError:
                    program.add_at(1, 1, "AC101", "nested too deeply to be checked whole")
            advance()
    return [
        finding
        for program in programs
        for finding in sorted(program.findings)
        if not is_ignored(program, finding)
    ]


def _advice(programs: list[Program], findings: list[Finding], target: Version) -> str:
    legacy = any(program.imports_any("asyncore", "asynchat", "smtpd") for program in programs)
    if not legacy or target < (3, 12):
        return ""
    if any(KINDS[finding.code].level == STOPS for finding in findings):
        return "After the remedies it runs by 'asynccore run SCRIPT'; docs/old-programs.md goes on."
    return "asyncore left Python in 3.12: run it by 'asynccore run SCRIPT'."
