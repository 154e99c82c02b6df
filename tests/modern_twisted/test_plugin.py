"""Twisted's own ways to choose a reactor: a plugin, and `install` in the reactor's module."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from compat import ClassicReactor

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
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_trial_finds_the_reactor(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(A_TEST)
    said = run("-m", "twisted.trial", "--reactor=asynccore", "test_it", cwd=tmp_path)
    assert "successes=1" in said


def test_twistd_finds_the_reactor(tmp_path: Path) -> None:
    said = run("-m", "twisted", "--help", cwd=tmp_path)
    assert "asynccore" in said


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
    monkeypatch.setattr(rooms, "install_reactor", installed.append)
    module.install()
    assert installed == [None]
