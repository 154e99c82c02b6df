"""Twisted's own ways to choose a reactor: a plugin, and `install` in the reactor's module."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compat import ClassicReactor
from compat.command_line import cli, enabling

ROOT = Path(__file__).parents[2]

A_TEST = """
from twisted.internet import reactor, threads
from twisted.trial import unittest

class Test(unittest.TestCase):
    def test_it(self):
        self.assertEqual(type(reactor).__name__, "ClassicReactor")
        return threads.deferToThread(lambda: 7).addCallback(self.assertEqual, 7)
"""


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{cwd}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_trial_and_twistd_find_the_reactor(tmp_path: Path) -> None:
    assert enabling.enable_reactor(tmp_path).startswith("enabled: ")
    (tmp_path / "test_it.py").write_text(A_TEST)
    said = run("-m", "twisted.trial", "--reactor=asynccore", "test_it", cwd=tmp_path)
    assert "successes=1" in said
    assert "asynccore" in run("-m", "twisted", "--help", cwd=tmp_path)


def test_the_plugin_comes_and_goes(tmp_path: Path) -> None:
    file = tmp_path / enabling.PLUGIN_PLACE
    assert enabling.disable_reactor(tmp_path) == f"not enabled: there is no {file}"
    assert f"  wrote {file}\n" in enabling.enable_reactor(tmp_path)
    assert enabling.enable_reactor(tmp_path) == f"already enabled: {file}"
    py_compile.compile(str(file))
    assert enabling.disable_reactor(tmp_path).endswith(f"  removed {file}")
    assert list(tmp_path.iterdir()) == []
    other = file.with_name("other.py")
    enabling.enable_reactor(tmp_path)
    other.touch()  # somebody else's plugin, or Twisted's own
    enabling.disable_reactor(tmp_path)
    assert list(file.parent.iterdir()) == [other]


@pytest.mark.parametrize("left", [False, True])
def test_where_twisted_is_not_installed(
    left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it take the folder that an uninstalled one has left for it."""
    spec = importlib.machinery.ModuleSpec("twisted", None, is_package=True) if left else None
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(enabling.Refused, match="has no Twisted"):
        enabling.enable_reactor(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(enabling, "site_packages", lambda where: tmp_path)
    for command in ("enable", "disable"):
        assert cli.main([command, "--reactor"]) == 0
    says = capsys.readouterr().out
    assert "enabled: trial" in says and "disabled: Twisted" in says


def test_a_child_program_can_install_its_parents_reactor(tmp_path: Path) -> None:
    module = ClassicReactor.__module__
    program = (
        f"import {module}\n{module}.install()\n"
        "from twisted.internet import reactor\nprint(type(reactor).__name__)\n"
    )
    assert run("-c", program, cwd=tmp_path) == "ClassicReactor\n"


def test_what_it_says_to_be_from_has_an_install(monkeypatch: Any) -> None:
    installed: list[Any] = []
    module = importlib.import_module(ClassicReactor.__module__)
    rooms = importlib.import_module(module.__name__ + ".reactor")
    monkeypatch.setattr(rooms, "install_reactor", lambda *, map: installed.append(map))
    module.install()
    assert installed == [None]
