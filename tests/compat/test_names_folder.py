"""The folder in PYTHONPATH and the finder of `asynccore enable`, piece by piece, in-process."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import runpy
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

import asynccore
from asynccore.smtp import command_line
from compat.command_line import cli
from compat.command_line.runner import NAMES_FOLDER
from compat.legacy_names import _asynccore_names as names

LEGACY = sorted(names.TARGETS)


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """No legacy module was imported; the import system is put back afterwards."""
    for name in (*LEGACY, "_asynccore_names"):
        # Set and deleted, so that what the test imports is removed as well.
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[:])


def file_of(name):
    return str(NAMES_FOLDER / f"{name}.py")


@pytest.fixture
def runs(monkeypatch):
    """Record what runpy was asked to run."""
    seen = []
    monkeypatch.setattr(command_line, "further", None)
    monkeypatch.setattr(runpy, "run_module", lambda name, **options: seen.append((name, options)))
    return seen


@pytest.mark.parametrize("name", LEGACY)
def test_the_folder_in_the_path(name):
    sys.path.insert(0, str(NAMES_FOLDER))
    assert importlib.import_module(name) is importlib.import_module(names.TARGETS[name])


@pytest.mark.parametrize("name", LEGACY)
def test_the_finder_in_front(name):
    sys.modules["_asynccore_names"] = names
    names.enable()
    names.enable()
    assert sys.meta_path.count(names.Finder) == 1
    assert sys.meta_path[0] is names.Finder
    assert importlib.import_module(name) is importlib.import_module(names.TARGETS[name])


def test_only_smtpd_has_a_command_line(runs):
    for name in LEGACY:
        names.hand_over(name, "__main__", file_of(name))
    assert runs == [("asynccore.smtpd", {"run_name": "__main__", "alter_sys": True})]
    assert command_line.further is not None


@pytest.fixture
def too_old(monkeypatch, tmp_path):
    """An interpreter that is too old for asynccore, with modules of its own in `tmp_path`."""
    monkeypatch.setattr(names, "OLDEST", (99,))
    for name in LEGACY:
        (tmp_path / f"{name}.py").write_text("")
    sys.path[:0] = [str(NAMES_FOLDER), str(tmp_path)]
    names.enable()


@pytest.mark.parametrize("name", LEGACY)
def test_a_python_that_is_too_old_uses_its_own(name, too_old, tmp_path):
    module = sys.modules[name] = types.ModuleType(name)
    names.hand_over(name, name, file_of(name))
    assert sys.modules[name] is not module
    assert sys.modules[name].__file__ == str(tmp_path / f"{name}.py")
    assert str(NAMES_FOLDER) not in sys.path
    assert names.Finder not in sys.meta_path


def test_a_python_that_is_too_old_runs_its_own(too_old, runs):
    names.hand_over("smtpd", "__main__", file_of("smtpd"))
    assert runs == [("smtpd", {"run_name": "__main__", "alter_sys": True})]
    assert str(NAMES_FOLDER) not in sys.path


class TestLoad:
    """Looking for asynccore, as usual and then beside the folder."""

    @pytest.fixture
    def attempts(self, monkeypatch):
        """Let imports fail as the test says; record the end of the path at each."""
        failures, seen = [], []

        def import_module(target):
            seen.append(sys.path[-1])
            if failures:
                raise failures.pop(0)

        monkeypatch.setattr(importlib, "import_module", import_module)
        return failures, seen

    @pytest.mark.parametrize(
        ("missing", "loaded", "tried"),
        [(0, True, ["last"]), (1, True, ["last", "/lib"]), (2, False, ["last", "/lib"])],
    )
    def test_two_places(self, missing, loaded, tried, attempts):
        failures, seen = attempts
        failures += [ModuleNotFoundError("absent", name="asynccore") for _ in range(missing)]
        sys.path.append("last")
        before = sys.path[:]
        assert names._load("asynccore", os.path.join("/lib", "compat", "names")) is loaded
        assert seen == tried
        assert sys.path == before

    def test_an_error_inside_asynccore_is_not_hidden(self, attempts):
        failures, _ = attempts
        failures.append(ModuleNotFoundError("absent", name="asynccore.part"))
        with pytest.raises(ModuleNotFoundError) as raised:
            names._load("asynccore", "/lib/compat/names")
        assert raised.value.name == "asynccore.part"


class TestFinder:
    """What the finder answers."""

    def test_the_file_that_hands_over(self):
        for name in LEGACY:
            spec = names.Finder.find_spec(name)
            assert spec is not None
            assert (spec.name, spec.origin) == (name, file_of(name))

    @pytest.mark.parametrize("name", ["os", "asynccore", "asyncore.part", "smtplib"])
    def test_other_names_are_none_of_its_business(self, name):
        assert names.Finder.find_spec(name) is None

    def test_a_program_s_own_module_is_left_to_others(self, tmp_path):
        sys.path.insert(0, str(tmp_path))
        (tmp_path / "asyncore").mkdir()
        assert names.Finder.find_spec("asyncore") is not None
        (tmp_path / "smtpd.py").write_text("")
        assert names.Finder.find_spec("smtpd") is None

    def test_what_is_installed_is_not_the_program_s_own(self, tmp_path):
        (tmp_path / "smtpd.py").write_text("")
        sys.path.append(str(tmp_path))
        assert names.Finder.find_spec("smtpd") is not None
        # A path without the standard library has no such order.
        sys.path[:] = [str(tmp_path)]
        assert names.Finder.find_spec("smtpd") is not None

    @pytest.mark.parametrize("rest", [None, ModuleSpec("asynccore", None)])
    def test_without_asynccore_others_answer(self, rest, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: rest)
        assert names.Finder.find_spec("smtpd") is None

    def test_without_the_folder_others_answer(self, monkeypatch, tmp_path):
        spec = ModuleSpec("asynccore", None, origin=str(tmp_path / "asynccore" / "__init__.py"))
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
        assert names.Finder.find_spec("smtpd") is None


@pytest.mark.parametrize("file", sorted(NAMES_FOLDER.glob("*.py")), ids=lambda file: file.name)
def test_old_interpreters_can_read_the_folder(file: Path):
    # Whatever a program starts looks into PYTHONPATH, Python 2.7 included.
    source = file.read_bytes()
    assert source.isascii()
    for node in ast.walk(ast.parse(source)):
        newer = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.Nonlocal, ast.Starred, ast.Await)
        assert not isinstance(node, newer), f"line {node.lineno}"
        if isinstance(node, ast.FunctionDef):
            assert not node.returns
            assert not node.args.kwonlyargs
            assert not any(argument.annotation for argument in node.args.args)


@pytest.mark.parametrize("package", ["asynccore", "compat"])
def test_both_packages_are_the_command_line(package, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [package, "--version"])
    # The entry of asynccore loads compat anew; the other tests keep theirs.
    for name in [name for name in sys.modules if name.partition(".")[0] == "compat"]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    with pytest.raises(SystemExit) as raised:
        runpy.run_module(f"{package}.__main__", run_name="__main__")
    assert raised.value.code == 0
    assert capsys.readouterr().out == f"asynccore {asynccore.__version__}\n"


def test_the_status_of_the_command_line_is_passed_on(monkeypatch):
    entry = importlib.import_module("asynccore.__main__")
    monkeypatch.setattr(cli, "main", lambda: 42)
    assert entry.command_line() == 42
