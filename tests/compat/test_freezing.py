"""What PyInstaller is told. `python -m tests.freezing` freezes programs, and runs them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import compat
from compat import freezing
from compat.legacy_names._asynccore_names import TARGETS
from tests.project.checkout import ROOT

PACKAGES = ("asynccore", "compat", "ssl_ext")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No legacy module was imported before, and what was comes back."""
    for name in TARGETS:
        monkeypatch.delitem(sys.modules, name, raising=False)
    compat.install()
    yield
    compat.uninstall()


def hook(*place: str) -> dict[str, object]:
    return runpy.run_path(str(freezing.HERE.joinpath(*place)))


@pytest.mark.parametrize("name", TARGETS)
def test_names_that_are_ours_are_found_where_they_hand_over(name: str, installed: object) -> None:
    api = SimpleNamespace(module_name=name, search_dirs=["elsewhere"])
    hook("pre_find_module_path", f"hook-{name}.py")["pre_find_module_path"](api)  # type: ignore[operator]
    (folder,) = api.search_dirs
    assert Path(folder, f"{name}.py").is_file()


@pytest.mark.parametrize("name", TARGETS)
def test_names_that_are_not_stay_what_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    api = SimpleNamespace(module_name=name, search_dirs=["elsewhere"])
    hook("pre_find_module_path", f"hook-{name}.py")["pre_find_module_path"](api)  # type: ignore[operator]
    assert api.search_dirs == ["elsewhere"]
    assert hook(f"hook-{name}.py")["hiddenimports"] == []


def test_what_hands_over_is_found_beside_it() -> None:
    api = SimpleNamespace(search_dirs=[])
    hook("pre_find_module_path", "hook-_asynccore_names.py")["pre_find_module_path"](api)  # type: ignore[operator]
    assert Path(api.search_dirs[0], "_asynccore_names.py").is_file()


@pytest.mark.parametrize("name", [*TARGETS, *PACKAGES])
def test_a_hook_names_modules_that_are_there(name: str, installed: object) -> None:
    found = hook(f"hook-{name}.py")["hiddenimports"]
    assert isinstance(found, list) and len(found) > 20
    for module in set(found) - {"_asynccore_names"}:
        place = ROOT.joinpath(*module.split("."))
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), module


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_optional_is_brought_along(package: str) -> None:
    """A module that can be imported without Twisted, uvloop and rich."""
    modules = freezing.submodules(package)
    code = (
        "import sys, importlib\n"
        "for name in ('twisted', 'uvloop', 'rich', 'fissix', 'libcst'): sys.modules[name] = None\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr


def test_a_module_of_the_programs_own_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compat_of_mine.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not freezing.is_ours("compat_of_mine")
    assert not freezing.is_ours("no_such_module.at_all")
    assert freezing.is_ours("compat")


ASK = """
from compat import freezing
print([freezing.is_ours(name) for name in ("asyncore", "asynchat", "smtpd")])
"""


@pytest.mark.parametrize("way", ["plain", "run"])
def test_they_are_ours_where_the_program_would_get_them(way: str) -> None:
    command = ["-m", "asynccore", "run", "-c", ASK] if way == "run" else ["-c", ASK]
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == f"{[way == 'run'] * 3}\n", done.stderr


def test_the_folder_of_hooks_is_told() -> None:
    assert freezing.hook_dirs() == [str(ROOT / "compat" / "freezing")]
