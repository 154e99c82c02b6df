"""`asynccore check` as it is typed: what it prints, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from compat.command_line import cli


def test_what_python_does_not_read_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.py").write_text("x = 1\n")
    assert cli.main(["check", str(tmp_path)]) == 0
    (tmp_path / "bad.py").write_text("x = (\n")
    (tmp_path / "data.py").write_bytes(b"\0")
    assert cli.main(["check", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{tmp_path / 'bad.py'}:1:5: AC101 ")
    assert err == f"asynccore check: {tmp_path / 'data.py'}: is no text: it contains null bytes\n"
