"""Programs are found and read, whatever lies about, and what can't be read is one line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from compat.old_programs import sources


def write(path: Path, text: str | bytes = "pass\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def names(found: sources.Found, top: Path) -> list[str]:
    return [path.relative_to(top).as_posix() for path in found.files]


def test_folders_are_searched_and_files_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("a.py", "b.pyw", "c.txt", "sub/d.py", "sub/.hidden/e.py", "__pycache__/f.py"):
        write(tmp_path / name)
    write(tmp_path / "daemon", "#!/usr/bin/env python\npass\n")
    write(tmp_path / "shell", "#!/bin/sh\n")
    write(tmp_path / "env" / "pyvenv.cfg", "")
    write(tmp_path / "env" / "lib" / "g.py")
    assert names(sources.find([tmp_path]), tmp_path) == ["a.py", "b.pyw", "daemon", "sub/d.py"]
    assert names(sources.find([tmp_path / "c.txt"]), tmp_path) == ["c.txt"]


def test_what_is_not_there_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = write(tmp_path / "a.py")
    found = sources.find([tmp_path / "none.py", good, "nul\0byte"])
    assert found.files == [good]
    assert [str(p) for p in found.problems][:1] == [
        f"{tmp_path / 'none.py'}: No such file or directory"
    ]
    assert len(found.problems) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has links for administrators only")
def test_links_that_go_round_end(tmp_path: Path) -> None:
    write(tmp_path / "sub" / "a.py")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "sub" / "same.py").symlink_to(tmp_path / "sub" / "a.py")
    (tmp_path / "self.py").symlink_to(tmp_path / "self.py")
    (tmp_path / "nowhere.txt").symlink_to(tmp_path / "none")
    found = sources.find([tmp_path, tmp_path / "sub"])
    assert names(found, tmp_path) == ["sub/a.py"]
    assert [problem.path.name for problem in found.problems] == ["self.py"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.py"
    os.mkfifo(pipe)
    assert sources.find([tmp_path]).files == []
    (problem,) = sources.find([pipe]).problems
    assert problem.why == "is neither a file nor a folder"


def test_a_folder_that_cannot_be_listed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.py")

    def refuse(folder: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    (problem,) = sources.find([tmp_path]).problems
    assert problem.why == "Permission denied"


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("print('x')\n", 3),
        ("print 'x'\n", 2),
        ("print 'x'", 2),
        ("def f():\r\n    print 'x'\r\n", 2),
        ("x = 1\rprint x\r", 2),
        ("from __future__ import print_function\nprint(1, end='')\nexec 'a' in {}\n", 2),
        ("print(1, file=f)\ntry: pass\nexcept A, e: pass\n", 2),
        ("if 1:\n\tx = 1\n        y = 2\n", 2),
        ("match = 1\nmatch match:\n  case 1: pass\n", 3),
        ("this is no language\n", 0),
        ("x = (\n", 0),
        ("if 1:\n    x\n  y\n", 0),
        ("'''open", 0),
        ("\ufeffx = 1\n", 3),
        ("\ufeffprint 1\n", 2),
    ],
)
def test_what_a_file_is(tmp_path: Path, text: str, python: int) -> None:
    source = sources.read(write(tmp_path / "a.py", text))
    assert source.python == python
    assert (source.problem is None) == (python == 3)
    assert (source.tree is not None, source.tree2 is not None) == (python == 3, python == 2)
    assert source.text.encode(source.encoding) == text.encode()


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        (b"x = 1\n# gr\xfc\xdfe\n", 2, 5, "utf-8"),
        (b"# coding: ascii\n\nx = '\xe4'\n", 3, 6, "ascii"),
        (b"x = '\xe4'\n", 1, 6, "utf-8"),
        (b"# coding: klingon\nx = 1\n", 1, 1, "klingon"),
        (b"# coding: hex\nx = 1\n", 1, 1, "'hex' is not a text encoding"),
    ],
)
def test_bytes_that_no_declaration_fits(
    tmp_path: Path, data: bytes, line: int, column: int, words: str
) -> None:
    source = sources.read(write(tmp_path / "a.py", data))
    assert (source.python, source.encoding) == (3, "latin-1")
    problem = source.problem
    assert problem is not None and words in problem.msg
    assert (problem.lineno, problem.offset) == (line, column)
    assert source.text.encode("latin-1") == data


def test_declared_encodings(tmp_path: Path) -> None:
    source = sources.read(write(tmp_path / "a.py", b"# coding: latin-1\nx = '\xe4'\n"))
    assert (source.python, source.problem) == (3, None)
    assert "ä" in source.text


def test_what_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(sources.Unreadable, match="null bytes"):
        sources.read(write(tmp_path / "a.py", b"x\0y"))
    with pytest.raises(sources.Unreadable, match="No such file"):
        sources.read(tmp_path / "none.py")


def test_what_the_parser_cannot_hold(tmp_path: Path) -> None:
    source = sources.read(write(tmp_path / "a.py", "(" * 300 + ")" * 300 + "\n"))
    assert source.python in (0, 2)
    assert source.problem is not None
    assert sources.parse(tmp_path, "x = '\ud800'\n", "utf-8").problem is not None


@pytest.mark.parametrize("why", [ImportError("no"), PermissionError(13, "Permission denied")])
def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: Exception) -> None:
    import builtins

    real = builtins.__import__

    def refuse(name: str, *rest: object, **more: object) -> object:
        if name == "fissix":
            raise why
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    source = sources.read(write(tmp_path / "a.py", "print 'x'\n"))
    assert (source.python, source.tree2) == (0, None)
    assert source.problem is not None
    assert "pip install 'asynccore[port]'" in str(source.missing)
    assert sources.read(write(tmp_path / "b.py", "x = 1\n")).python == 3
