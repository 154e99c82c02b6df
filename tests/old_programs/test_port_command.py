"""`asynccore port` as it is typed: what it prints, what it writes, and what it can't read."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from compat.command_line import cli
from compat.old_programs.port import files

OLD = "import asyncore\n"
NEW = "import asynccore as asyncore\n"


def test_a_diff_is_printed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = tmp_path / "server.py"
    server.write_text("import asyncore")
    assert cli.main(["port", str(tmp_path)]) == 0
    assert capsys.readouterr() == (
        f"--- {server}\n+++ {server}\n@@ -1 +1 @@\n-import asyncore\n\\ No newline at end of file\n"
        "+import asynccore as asyncore\n\\ No newline at end of file\n",
        "",
    )
    assert server.read_text() == "import asyncore"


def test_what_is_left_to_do_is_told_by_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = tmp_path / "server.py"
    server.write_text('x = 1\ny = __import__("asyncore")\n')
    assert cli.main(["port", "--write", str(server)]) == 0
    assert capsys.readouterr() == (
        f"ported {server}\n",
        f"{server}:2: asynccore port [modern-names]: import asynccore instead\n",
    )


@pytest.mark.parametrize("step", ["modern-names", "timers"])
def test_one_step_alone(step: str, tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text(
        OLD + "import ssl\nwhile 1:\n    asyncore.loop(1, count=1)\n    t()\nssl.wrap_socket(s)\n"
    )
    assert cli.main(["port", "--write", "--step", step, str(server)]) == 0
    text = server.read_text()
    assert text.startswith(NEW) and "ssl.wrap_socket(s)" in text
    assert ("call_every" in text) == (step == "timers")


def test_a_step_that_there_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["port", "--step", "tsl", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        "asynccore port: there is no step 'tsl': it is one of"
    )


def test_what_can_not_be_read_is_one_line_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_latin.py").write_bytes(b"# no coding line\nx = '\xe4'\nimport asyncore\n")
    (tmp_path / "b_wrong.py").write_bytes(b"# -*- coding: utf-8 -*-\nx = '\xe4'\n")
    (tmp_path / "c_unknown.py").write_bytes(b"# -*- coding: klingon -*-\n")
    (tmp_path / "d_data.py").write_bytes(b"\0\1\2")
    (tmp_path / "e_neither.py").write_text("x = = 1\n")
    (tmp_path / "e_of_bytes.py").write_bytes(b"# -*- coding: hex -*-\n")
    (tmp_path / "f_mixed.py").write_bytes(b"import asyncore\r\nx = 1\n")
    (tmp_path / "z_good.py").write_text(OLD)
    missing = tmp_path / "missing.py"
    assert cli.main(["port", "--write", str(tmp_path), str(missing)]) == 1
    out, err = capsys.readouterr()
    assert out == f"ported {tmp_path / 'z_good.py'}\n"
    assert (tmp_path / "z_good.py").read_text() == NEW
    said = dict(line.split(": ", 2)[1:] for line in err.splitlines())
    assert {Path(path).name: words for path, words in said.items()} == {
        "missing.py": "No such file or directory",
        "a_latin.py": "line 2: a byte that is not utf-8; say in line 1 or 2 which coding it is",
        "b_wrong.py": "line 2: a byte that is not utf-8; say in line 1 or 2 which coding it is",
        "c_unknown.py": "unknown encoding: klingon",
        "d_data.py": "is no text: it contains null bytes",
        "e_neither.py": "python3: line 1: is neither Python 3 nor Python 2",
        "e_of_bytes.py": "'hex' is not a text encoding; use codecs.decode() to handle arbitrary"
        " codecs",
        "f_mixed.py": "has line ends of more than one kind: make them the same",
    }
    assert (tmp_path / "a_latin.py").read_bytes().startswith(b"# no coding line\nx = '\xe4'")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"import asyncore\r\nx = 1\r\n", b"import asynccore as asyncore\r\nx = 1\r\n"),
        (b"\xef\xbb\xbfimport asyncore\n", b"\xef\xbb\xbfimport asynccore as asyncore\n"),
        (
            b"# -*- coding: latin-1 -*-\nimport asyncore\nx = '\xe4'\n",
            b"# -*- coding: latin-1 -*-\nimport asynccore as asyncore\nx = '\xe4'\n",
        ),
        (
            b"# -*- coding: latin-1 -*-\r\nimport asyncore\r\nprint '\xe4'\r\n",
            b"# -*- coding: latin-1 -*-\r\nimport asynccore as asyncore\r\nprint('\xe4')\r\n",
        ),
        (b"", b""),
        (b"import asyncore", b"import asynccore as asyncore"),
        (b"import asyncore\nprint 'x'", b"import asynccore as asyncore\nprint('x')"),
    ],
    ids=["crlf", "bom", "latin-1", "python 2", "empty", "no end", "no end, python 2"],
)
def test_encodings_and_line_ends_stay(before: bytes, after: bytes, tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_bytes(before)
    for _ in range(2):
        assert cli.main(["port", "--write", str(server)]) == 0
        assert server.read_bytes() == after


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither such modes nor links")
def test_modes_and_links_stay_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    server = folder / "server"
    server.write_text("#!/usr/bin/env python\n" + OLD)
    server.chmod(0o751)
    link = tmp_path / "link.py"
    link.symlink_to(server)
    assert cli.main(["port", "--write", str(link)]) == 0
    assert link.is_symlink()
    assert server.read_text() == "#!/usr/bin/env python\n" + NEW
    assert stat.S_IMODE(server.stat().st_mode) == 0o751
    assert os.listdir(folder) == ["server"]


def test_a_file_that_can_not_be_replaced_stays_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*paths: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    server = tmp_path / "server.py"
    server.write_text(OLD)
    monkeypatch.setattr(files.os, "replace", refuse)
    assert cli.main(["port", "--write", str(server)]) == 1
    assert capsys.readouterr() == ("", f"asynccore port: {server}: Permission denied\n")
    assert server.read_text() == OLD
    assert os.listdir(tmp_path) == ["server.py"]
    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    assert cli.main(["port", "--write", str(server)]) == 1
    assert capsys.readouterr() == ("", f"asynccore port: {server}: Permission denied\n")


@pytest.mark.parametrize("package", ["libcst", "fissix"])
def test_without_the_extra_one_line_says_so(
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = tmp_path / "server.py"
    server.write_text("import asyncore\nprint 'x'\n")
    for name in list(sys.modules):
        if name.startswith(("compat.old_programs.port", package)):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["port", str(server)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert f"needs the package {package}: pip install 'asynccore[port]'" in err
