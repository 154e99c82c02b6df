"""What a program under `asynccore run` ends with is followed by one line, where that helps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compat.old_programs import hints


def error(code: str, file: str) -> Any:
    """Return the exception that code in a file ends with, and its traceback."""
    try:
        exec(compile(code, file, "exec"), {})
    except Exception as why:
        return why, why.__traceback__
    raise AssertionError("no error")


@pytest.mark.parametrize(
    "code",
    [
        "print 'x'",
        "import urllib2",
        "def f():\n    import Queue\nf()",
        "from collections import Mapping",
        "import collections\ncollections.Mapping",
        "import string\nstring.letters",
        "{}.has_key(1)",
        "raw_input()",
    ],
)
def test_what_is_of_age(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old server.py").touch()
    monkeypatch.chdir(tmp_path)
    line = "asynccore: more is told by: asynccore check 'old server.py'"
    assert hints.hint(*error(code, "old server.py")) == line
    assert hints.hint(*error(code, str(tmp_path / "old server.py"))) == line
    assert hints.hint(*error(code, "<string>")) is None


@pytest.mark.parametrize(
    "code",
    [
        "1 / 0",
        "import no_such_module",
        "from collections import NoSuchName",
        "import collections\ncollections.NoSuchName",
        "object().no_such_name",
        "no_such_name",
        "raise ImportError('of a program')",
        "raise NameError",
    ],
)
def test_what_is_not(code: str) -> None:
    assert hints.hint(*error(code, __file__)) is None


def test_a_file_elsewhere_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "old.py").touch()
    monkeypatch.chdir(tmp_path / "inner")
    path = tmp_path / "old.py"
    assert hints.hint(*error("print 1", str(path))) == (
        f"asynccore: more is told by: asynccore check {path}"
    )


def test_an_error_without_a_traceback() -> None:
    assert hints.hint(NameError("x", name="unicode"), None) is None


# In a process. ----------------------------------------------------------------------------------


def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    import os

    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60,
        env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("code", ["x = 1\nprint 'x'\n", "import asyncore\nimport urllib2\n"])
def test_standard_error_is_pythons_own_and_one_line(code: str, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(code)
    status, _, plain = run(tmp_path, "-W", "ignore", "server.py")
    under = run(tmp_path, "-W", "ignore", "-m", "asynccore", "run", "server.py")
    if "asyncore" in code and "No module named 'asyncore'" in plain:
        plain = under[2].rpartition("asynccore: ")[0]  # this Python has none without us
    assert under == (1, "", f"{plain}asynccore: more is told by: asynccore check server.py\n")
    assert status == 1


def test_other_errors_are_pythons_alone(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("1 / 0\n")
    under = run(tmp_path, "-m", "asynccore", "run", "server.py")
    assert under == run(tmp_path, "server.py")


def test_a_sitecustomize_that_was_there_runs_as_ever(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import sys; sys.path.append('/added'); print('mine', __file__)\n"
    )
    (tmp_path / "server.py").write_text(
        "import sys, sitecustomize\nprint(sitecustomize.__file__, sys.path[-1], len(sys.path))\n"
    )
    _, out, err = run(tmp_path, "-m", "asynccore", "run", "server.py", PYTHONPATH=str(folder))
    # It ran in the process that became the program, too.
    first, second, third = out.splitlines()
    assert err == ""
    assert first == second == f"mine {folder / 'sitecustomize.py'}"
    assert third.startswith(f"{folder / 'sitecustomize.py'} /added ")


def test_a_sitecustomize_that_fails_is_told_as_ever(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import no_such_module\n")
    (tmp_path / "server.py").write_text("print('runs')\n")
    _, out, err = run(tmp_path, "-m", "asynccore", "run", "server.py", PYTHONPATH=str(tmp_path))
    assert out == "runs\n"
    assert err.count("No module named 'no_such_module'") == 2
