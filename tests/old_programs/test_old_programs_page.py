"""docs/old-programs.md: every command is typed, says what is shown, and its servers answer."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.old_programs import talks
from tests.project.checkout import ROOT

PAGE = ROOT / "docs" / "old-programs.md"

# The programs of the page, as they are called in the corpus.
PROGRAMS = {"bot.py": "y2009_bot", "sink.py": "y2015_mail_json", "secure.py": "y2015_tls_echo"}


@dataclass
class Command:
    """A command of the page, and the lines that are shown below it."""

    words: list[str]
    shown: list[str] = field(default_factory=list)


def commands(chapter: str) -> list[Command]:
    found: list[Command] = []
    for block in re.findall(r"^```console\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Command(shlex.split(line[2:])))
            else:
                found[-1].shown.append(line)
    return found


CHAPTERS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def chapter_of(program: str) -> str:
    (found,) = (text for text in CHAPTERS if f"`{program}`" in text)
    return found


def executable(words: list[str]) -> list[str]:
    """Return how this interpreter runs what the page types."""
    if words[0] == "asynccore":
        return [sys.executable, "-u", "-m", "asynccore", *words[1:]]
    assert words[0] == "python"
    return [sys.executable, "-u", *words[1:]]


def is_server(command: Command) -> bool:
    """Whether it is to run, and to be talked to: a port stands in it."""
    return any(word.isdecimal() for word in command.words)


def assert_shown(shown: list[str], said: str) -> None:
    """What the page shows is said in this order; "…" stands for anything."""
    rest = said
    for line in shown:
        for part in filter(None, map(str.strip, line.split("…"))):
            assert part in rest, f"{part!r} is not in {said!r}"
            rest = rest.partition(part)[2]


def test_the_page_begins_with_the_installation_and_has_three_programs() -> None:
    (first,) = commands(CHAPTERS[0])
    assert first.words == ["pip", "install", "asynccore[port]"]
    assert [commands(text) != [] for text in CHAPTERS] == [True, *[True] * len(PROGRAMS), False]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_chapter(program: str, tmp_path: Path, certificate: tuple[Path, Path, Path]) -> None:
    name = PROGRAMS[program]
    shutil.copy(talks.CORPUS / f"{name}.py", tmp_path / program)
    shutil.copy(certificate[1], tmp_path / "cert.pem")
    shutil.copy(certificate[2], tmp_path / "key.pem")
    typed = commands(chapter_of(program))
    assert any(map(is_server, typed))
    for command in typed:
        words = executable(command.words)
        if is_server(command) and not (command.shown and "SyntaxError: …" in command.shown):
            port = next(word for word in words if word.isdecimal())
            _, errors = talks.converse(
                lambda free, words=words, port=port: [
                    str(free) if word == port else word for word in words
                ],
                talks.TALKS[name],
                tmp_path,
                certificate[0],
            )
            assert_shown(command.shown, errors)
            continue
        done = subprocess.run(
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", timeout=60, env={**os.environ, "PYTHONUTF8": "1"},
        )  # fmt: skip
        assert_shown(command.shown, done.stdout)
        assert done.returncode in (0, 1)
