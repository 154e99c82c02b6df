"""The quick part of `python -m tests.gallery`, and what the gallery's page says.

Run here are the programs whose packages the ordinary suite has anyway, in one process on each
engine.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import __main__ as command
from . import programs
from .checks import PROGRAMS, Program
from .programs import ENGINES, FOLDER, ROOT

PAGE = ROOT / "docs" / "gallery.md"

# The packages of the extras `test` and `twisted`.
AT_HAND = {"aiosmtpd", "pyftpdlib", "twisted", "websockets"}

NO_PROGRAMS = {"cgi_script", "common", "everything"}


def quick() -> list[Program]:
    return [
        program
        for program in PROGRAMS.values()
        if AT_HAND.issuperset(program.needs) and not command.missing(program)
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_share_a_process(engine: str) -> None:
    if engine == "twisted":
        pytest.importorskip("twisted", reason="Twisted is not installed")
    chosen = quick()
    assert {"nntp_server", "smtp_server", "ftp_server", "websocket_server"} <= {
        program.name for program in chosen
    }
    results = command.check_together(chosen, engine, jobs=2)
    assert [(result.name, result.trouble) for result in results if result.trouble] == []
    assert len(results) == len(chosen) + 1


def test_a_program_runs_alone() -> None:
    result = command.attempt("", "", command.check_alone, PROGRAMS["nntp_server"], "classic")
    assert result.trouble == ""


# -- the runner ---------------------------------------------------------------------------------

SERVER = """
from common import LineServer, announce, run

def start(port, legacy_port):
    announce("nntp_server", 1)
    LineServer("nntp_server", 0, lambda line: "no")

run(start)
"""


@pytest.mark.parametrize(
    ("program", "trouble"),
    [
        ("raise SystemExit('no port is free')", "did not start: no port is free"),
        ("print('nntp_server on port 1', flush=True)", "did not start"),
        (SERVER, "ConnectionRefusedError"),
    ],
)
def test_a_program_that_does_not_work_is_found(
    program: str, trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nntp_server.py").write_text(program)
    (tmp_path / "common.py").write_text((FOLDER / "common.py").read_text())
    monkeypatch.setattr(programs, "FOLDER", tmp_path)
    result = command.attempt("", "", command.check_alone, PROGRAMS["nntp_server"], "classic")
    assert trouble in result.trouble


@pytest.mark.skipif(sys.platform == "win32", reason="a child can't be interrupted alone there")
def test_a_program_that_complains_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "import sys; print('Unhandled', file=sys.stderr)"
    (tmp_path / "nntp_server.py").write_text(f"{said}\n{SERVER}")
    (tmp_path / "common.py").write_text((FOLDER / "common.py").read_text())
    monkeypatch.setattr(programs, "FOLDER", tmp_path)
    with (
        pytest.raises(programs.Failed, match="Unhandled"),
        programs.started("classic", "nntp_server", "0", "0", announces=2),
    ):
        pass


def test_the_command_refuses_what_it_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.gallery", "gopher_server"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 2 and "'gopher_server' is none of" in done.stderr


# -- the programs and the page ------------------------------------------------------------------


def test_every_program_has_a_check() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PROGRAMS) | NO_PROGRAMS


@pytest.mark.parametrize("name", [*PROGRAMS, "everything"])
def test_every_program_says_how_it_is_run(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text("utf-8")))
    assert docstring is not None
    assert re.search(rf"^asynccore run examples/gallery/{name}\.py\b", docstring, re.MULTILINE)


def test_all_have_ports_of_their_own() -> None:
    found = []
    for name in PROGRAMS:
        tree = ast.parse((FOLDER / f"{name}.py").read_text("utf-8"))
        (start,) = (n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "start")
        arguments = zip(start.args.args, start.args.defaults, strict=True)
        found += [
            default.value
            for argument, default in arguments
            if argument.arg != "server_port" and isinstance(default, ast.Constant)
        ]
    assert len(found) >= 2 * len(PROGRAMS) - 2
    assert sorted(set(found)) == sorted(found)


def rows() -> dict[str, list[str]]:
    """Return the cells of the page's table, by the program's name."""
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if match := re.search(r"asynccore run examples/gallery/(\w+)\.py", line):
            if line.startswith("|"):
                found[match[1]] = cells
    return found


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_the_page_says_what_is_checked(program: Program) -> None:
    assert program.check.__doc__ is not None
    assert rows()[program.name][-1] == " ".join(program.check.__doc__.split())


def test_the_page_has_no_other_rows() -> None:
    assert set(rows()) == set(PROGRAMS)
