"""`asynccore check` as it is typed: what it prints, and the exit status."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from compat.command_line import cli
from compat.old_programs import sources, terminal
from compat.old_programs.check import report
from compat.old_programs.check.findings import KINDS

Capture = pytest.CaptureFixture[str]

PROGRAM = """\
import asyncore, time
class Server(asyncore.dispatcher):
    def __init__(self):
        self.listen(5)
        self.connect(1)
    def handle_error(self): pass
    def handle_read(self):
        time.sleep(1)  # asynccore: ignore[AC305, AC1]
        time.sleep(2)
        self.send("x")
asyncore.loop()
"""


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def check(capsys: Capture, *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["check", *map(str, arguments)])
    return (status, *capsys.readouterr())


def test_what_python_does_not_read_is_said(tmp_path: Path, capsys: Capture) -> None:
    write(tmp_path, "good.py", "x = 1\n")
    status, out, err = check(capsys, "--python", "3.13", tmp_path)
    assert (status, err) == (0, "")
    assert (
        out == "On Python 3.13: 0 that will stop it, 0 that lose data or clients, 0 to look at.\n"
    )
    bad = write(tmp_path, "bad.py", "x = (\n")
    status, out, err = check(capsys, bad)
    assert (status, err) == (1, "")
    assert f"    {bad}:1:5: '(' was never closed\n" in out


def test_what_cannot_be_read_is_one_line_and_the_rest_goes_on(
    tmp_path: Path, capsys: Capture
) -> None:
    data = write(tmp_path, "data.py", b"\0")
    write(tmp_path, "old.py", "print 1\n")
    status, out, err = check(capsys, tmp_path, tmp_path / "none")
    assert status == 1
    assert err.splitlines() == [
        f"asynccore check: {tmp_path / 'none'}: No such file or directory",
        f"asynccore check: {data}: is no text: it contains null bytes",
    ]
    assert "AC110" in out
    assert check(capsys, data)[0] == 1
    latin = write(tmp_path, "latin.py", b"# gr\xfc\xdfe\nimport Queue\n")
    status, out, err = check(capsys, latin)
    assert "AC102" in out and "AC140" in out


def test_without_the_extra_it_is_said_once(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(text: str) -> None:
        raise sources.NeedsExtra("fissix", "reading Python 2")

    monkeypatch.setattr(sources, "parse2", refuse)
    for name in ("a.py", "b.py"):
        write(tmp_path, name, "print 1\n")
    status, out, err = check(capsys, tmp_path)
    assert status == 1
    assert err == (
        "asynccore check: reading Python 2 needs the package fissix:"
        " pip install 'asynccore[port]'\n"
    )
    assert out.count("Missing parentheses") == 2


def test_the_whole_text(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path, "server.py", PROGRAM)
    status, out, err = check(capsys, path, "--python=3.12")
    assert (status, err) == (0, "")
    assert (
        out
        == f"""\
Will lose data, or clients (1)
  AC201 str given where bytes belong
    {path}:10:19: send() is given 'x'
      → give bytes: a literal b'…', or ….encode(); or run it by 'asynccore run --text latin-1'

Deserves a look (1)
  AC305 a handler that waits
    {path}:9:9: time.sleep() in Server.handle_read
      → {KINDS["AC305"].remedy}

On Python 3.12: 0 that will stop it, 1 that lose data or clients, 1 to look at.

What there is to port:
  files                             1
  lines                             11
  classes from asyncore.dispatcher  1
  calls of listen()                 1
  calls of connect()                1
  calls of asyncore.loop()          1

asyncore left Python in 3.12: run it by 'asynccore run SCRIPT'.
"""
    )


def test_ignored_in_python_2(tmp_path: Path, capsys: Capture) -> None:
    text = "print 1  # asynccore: ignore[AC110]\nprint 2\n# asynccore: ignore[AC110]\n"
    path = write(tmp_path, "old.py", text)
    out = check(capsys, path)[1]
    assert "old.py:2:1" in out and "old.py:1:1" not in out


def test_json(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path, "old.py", PROGRAM + "self.set_terminator(3)\nprint 1\n")
    status, out, _ = check(capsys, "--json", path, tmp_path / "none")
    found: dict[str, Any] = json.loads(out)
    assert status == 1
    assert [(f["code"], f["level"]) for f in found["findings"]] == [
        ("AC305", "look"), ("AC201", "loses"), ("AC110", "stops"),
    ]  # fmt: skip
    assert found["findings"][2] == {
        "path": str(path), "line": 13, "column": 1, "code": "AC110", "level": "stops",
        "title": "print is a function", "what": "print as a statement",
        "remedy": "write print(…), with file=… for >>; 'asynccore port --step python3' rewrites it",
    }  # fmt: skip
    assert found["inventory"] == {
        "files": 1, "lines": 13, "python2": 1, "classes": {"asyncore.dispatcher": 1},
        "listeners": 1, "clients": 1, "terminators": {}, "timers": 0, "loops": 1,
    }  # fmt: skip
    assert found["unreadable"] == [f"{tmp_path / 'none'}: No such file or directory"]


def test_github(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path, "100%,a:b.py", PROGRAM + "raw_input()\n")
    status, out, _ = check(capsys, "--format", "github", path)
    name = f"{tmp_path}/100%25%2Ca%3Ab.py"
    assert status == 1
    assert out.splitlines()[1:] == [
        f"::warning file={name},line=10,col=19,title=AC201::send() is given 'x': give bytes: a"
        " literal b'…', or ….encode(); or run it by 'asynccore run --text latin-1'",
        f"::error file={name},line=12,col=1,title=AC130::raw_input is gone since Python 3: it is"
        " input",
    ]
    assert out.startswith(f"::notice file={name},line=9,col=9,title=AC305::")


def test_versions(tmp_path: Path, capsys: Capture) -> None:
    path = write(tmp_path, "a.py", "import imp\n")
    assert check(capsys, path, "--python", "3.11")[0] == 0
    assert check(capsys, path, "--python", "3.12")[0] == 1
    for version in ("2.7", "3", "x"):
        status, _, err = check(capsys, path, "--python", version)
        assert status == 2
        assert err == f"asynccore check: --python is a version like 3.13, not {version!r}\n"


def test_the_inventory(tmp_path: Path, capsys: Capture) -> None:
    text = """\
import asyncore, asynchat
class A(asynchat.async_chat):
    def __init__(self, n):
        self.set_terminator("\\n")
        self.set_terminator(None)
        self.set_terminator(4)
        self.set_terminator(n)
while 1:
    asyncore.loop(1, count=1)
print 1
"""
    write(tmp_path, "a.py", text)
    write(tmp_path, "b.py", "x = 1\n")
    out = check(capsys, tmp_path)[1]
    assert "  files                             2, 1 of them in Python 2\n" in out
    assert "1 by a string, 1 by length, 1 computed, 1 none\n" in out
    assert "timers made by hand               1\n" in out


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_colours_where_there_is_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TERM", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    path = write(tmp_path, "server.py", PROGRAM + "raw_input()\n")
    monkeypatch.setattr(sys, "stdout", shown := Terminal())
    assert cli.main(["check", str(path)]) == 1
    assert "\x1b[1;31mWill stop it (1)" in shown.getvalue()
    assert "│" in shown.getvalue()
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", plain := Terminal())
    assert cli.main(["check", str(path)]) == 1
    assert "\x1b" not in plain.getvalue()
    monkeypatch.delenv("TERM")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys, "stdout", plain := Terminal())
    assert cli.main(["check", str(path)]) == 1
    assert "\x1b" not in plain.getvalue()


def test_a_terminal_without_arrows_gets_none() -> None:
    class Ascii(io.StringIO):
        encoding = "ascii"

    assert not report._can_say("→", Ascii())
    assert report._can_say("->", Ascii())


def test_progress_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for stream, total, is_shown in (
        (Terminal(), 30, True), (Terminal(), 3, False), (io.StringIO(), 30, False),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "stderr", stream)
        with terminal.progress("reading", total) as advance:
            for _ in range(total):
                advance()
        assert ("reading" in stream.getvalue()) == is_shown
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    with terminal.progress("reading", 30) as advance:
        advance()
    assert stream.getvalue() == ""


def test_many_files(tmp_path: Path, capsys: Capture) -> None:
    """Each is read once, and nothing is kept open."""
    for at in range(300):
        write(tmp_path, f"m{at}.py", "import asyncore\n")
    status, out, err = check(capsys, "--json", tmp_path)
    assert (status, err, json.loads(out)["inventory"]["files"]) == (0, "", 300)
