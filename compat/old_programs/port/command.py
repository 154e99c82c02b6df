"""The command: files in, a diff out, or new files in their place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from .. import sources, terminal
from . import files, steps
from .tree import SIGN


def main(
    paths: Sequence[str],
    names: Sequence[str] = (),
    classes: Sequence[str] = (),
    write: bool = False,
) -> int:
    """Port the programs in `paths`; return 1 if any could not be read, ported or written.

    Raises `ValueError` for a step that there is not.
    """
    chosen = steps.chosen(names)
    found = sources.find(paths)
    problems = [str(problem) for problem in found.problems]
    read: dict[Path, sources.Source] = {}
    with terminal.progress("reading", len(found.files)) as advance:
        for path in found.files:
            try:
                read[path] = files.read(path)
            except sources.Unreadable as why:
                problems.append(str(why))
            advance()
    told: list[str] = []
    with terminal.progress("porting", len(read)) as advance:
        for path, source in read.items():
            try:
                new, wrong = _ported(source, chosen, classes, read)
                problems += wrong
                if new != source.text:
                    if write:
                        files.write(path, new, source.encoding)
                        print(f"ported {path}")
                    else:
                        print(files.difference(path, source.text, new), end="")
                told += _marks(path, new)
            except sources.Unreadable as why:
                problems.append(str(why))
            advance()
    for line in told:
        print(line, file=sys.stderr)
    for line in problems:
        print(f"asynccore port: {line}", file=sys.stderr)
    return int(bool(problems))


def _ported(
    source: sources.Source,
    chosen: Sequence[steps.Step],
    classes: Sequence[str],
    program: dict[Path, sources.Source],
) -> tuple[str, list[str]]:
    elsewhere: set[str] = set()
    if any(step.needs_names for step in chosen):
        for other in program.values():
            if other is not source:
                elsewhere |= steps.names_in(other)
    around = steps.Surroundings(
        str(source.path),
        frozenset(_beside(source.path)),
        frozenset(elsewhere),
        frozenset(classes),
    )
    plain = sources.with_plain_ends(source.text)
    found = steps.port(plain, chosen, around)
    new = found.text if plain == source.text else found.text.replace("\n", "\r\n")
    return new, [f"{source.path}: {problem}" for problem in found.problems]


def _beside(path: Path) -> list[str]:
    try:
        return [
            entry.stem
            for entry in path.absolute().parent.iterdir()
            if entry.suffix == ".py" or (entry / "__init__.py").exists()
        ]
    except OSError:
        return []


def _marks(path: Path, text: str) -> list[str]:
    """Return where the text says what is left to do."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip().startswith(f"{SIGN} ["):
            found.append(f"{path}:{number}: {line.strip().removeprefix('# ')}")
    return found
