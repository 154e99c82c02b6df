"""How findings are shown: grouped for people, as JSON, and as a workflow's annotations."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING

from .findings import KINDS, LEVELS, LOOK, LOSES, STOPS, Finding
from .inventory import Inventory

if TYPE_CHECKING:
    from rich.console import Console

_HEADS = {
    STOPS: "Will stop it",
    LOSES: "Will lose data, or clients",
    LOOK: "Deserves a look",
}
_STYLES = {STOPS: "bold red", LOSES: "bold yellow", LOOK: "bold cyan"}


def as_json(findings: Iterable[Finding], inventory: Inventory, problems: Iterable[str]) -> str:
    """Return everything as one JSON document."""
    return json.dumps(
        {
            "findings": [
                {
                    "path": str(finding.path),
                    "line": finding.line,
                    "column": finding.column,
                    "code": finding.code,
                    "level": finding.level,
                    "title": KINDS[finding.code].title,
                    "what": finding.what,
                    "remedy": finding.remedy,
                }
                for finding in findings
            ],
            "inventory": inventory.as_data(),
            "unreadable": list(problems),
        },
        indent=1,
    )


def as_github(findings: Iterable[Finding]) -> Iterator[str]:
    """Return a line for each finding that GitHub's workflows show beside the code.

    "Workflow commands for GitHub Actions" has the format, and what has to be escaped.
    """
    commands = {STOPS: "error", LOSES: "warning", LOOK: "notice"}
    for finding in findings:
        path = str(finding.path)
        for plain, escaped in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
            path = path.replace(plain, escaped)
        for plain, escaped in ((":", "%3A"), (",", "%2C")):
            path = path.replace(plain, escaped)
        text = f"{finding.what}: {finding.remedy}"
        for plain, escaped in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
            text = text.replace(plain, escaped)
        yield (
            f"::{commands[finding.level]} file={path},line={finding.line},col={finding.column},"
            f"title={finding.code}::{text}"
        )


def show(
    findings: list[Finding], inventory: Inventory, version: str, output: IO[str], advice: str
) -> None:
    """Write findings for people: by level and code, with the remedy once for each group."""
    console = _console(output)

    def say(text: str = "", style: str | None = None) -> None:
        if console is None:
            print(text, file=output)
        else:
            console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    for level in LEVELS:
        chosen = [finding for finding in findings if finding.level == level]
        if not chosen:
            continue
        say(f"{_HEADS[level]} ({len(chosen)})", _STYLES[level])
        for code in sorted({finding.code for finding in chosen}):
            same = [finding for finding in chosen if finding.code == code]
            say(f"  {code} {KINDS[code].title}", "bold")
            for remedy, group in _by_remedy(same):
                for finding in group:
                    place = f"{finding.path}:{finding.line}:{finding.column}"
                    say(f"    {place}: {finding.what}")
                say(f"      → {remedy}" if _can_say("→", output) else f"      -> {remedy}", "green")
        say()
    counts = [sum(finding.level == level for finding in findings) for level in LEVELS]
    say(
        f"On Python {version}: {counts[0]} that will stop it, {counts[1]} that lose data or"
        f" clients, {counts[2]} to look at."
    )
    if inventory.classes:
        say()
        _table(console, inventory, say)
    if advice:
        say()
        say(advice)


def _by_remedy(findings: list[Finding]) -> Iterator[tuple[str, list[Finding]]]:
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.remedy, []).append(finding)
    yield from groups.items()


def _table(console: Console | None, inventory: Inventory, say: object) -> None:
    rows = inventory.rows()
    if console is not None:
        from rich.table import Table

        table = Table(title="What there is to port", title_justify="left", show_header=False)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        return
    assert callable(say)
    say("What there is to port:")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        say(f"  {name:{width}}  {value}")


def _console(output: IO[str]) -> Console | None:
    """Return rich's console for a terminal, None for anything else, or without rich."""
    if not output.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=output)


def _can_say(text: str, output: IO[str]) -> bool:
    try:
        text.encode(getattr(output, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
