"""Interpreters as a user would start them, away from this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import asynccore

# A bound for children that hang; they all take a fraction of a second.
PATIENCE = 60

Result = tuple[int, str, str]
Python = Callable[..., Result]


@pytest.fixture(scope="session")
def asynccore_root() -> Path:
    """The folder from which asynccore was imported: site-packages or a checkout."""
    assert asynccore.__file__ is not None
    return Path(asynccore.__file__).parent.parent


@pytest.fixture
def user_environment(asynccore_root: Path) -> dict[str, str]:
    """The environment of a user in whose Python asynccore is installed."""
    ours = ("PYTHON", "ASYNCCORE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    if asynccore_root.name not in ("site-packages", "dist-packages"):
        env["PYTHONPATH"] = str(asynccore_root)
    return env


@pytest.fixture
def python(tmp_path: Path, user_environment: dict[str, str]) -> Python:
    """Run the interpreter in tmp_path; return (exit status, stdout, stderr)."""

    def run(*arguments: object, executable: object = sys.executable, **changes: Any) -> Result:
        done = subprocess.run(
            [str(executable), *map(str, arguments)],
            cwd=changes.get("cwd", tmp_path),
            env={**user_environment, **changes.get("env", {})},
            input=changes.get("input", ""),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


class Environment:
    """A virtual environment: its interpreter, its site-packages, and how to run it there."""

    def __init__(self, folder: Path, python: Python) -> None:
        venv.create(folder, symlinks=os.name != "nt", with_pip=False)
        bases = {"base": str(folder), "platbase": str(folder)}
        # Debian's default scheme does not describe virtual environments.
        scheme = "nt" if os.name == "nt" else "posix_prefix"
        paths = sysconfig.get_paths(scheme, vars=bases)
        self.site_packages = Path(paths["purelib"])
        self.executable = Path(paths["scripts"]) / Path(sys.executable).name
        self._python = python

    def __call__(self, *arguments: object, **changes: Any) -> Result:
        env = {"PYTHONPATH": "", **changes.pop("env", {})}
        return self._python(*arguments, executable=self.executable, env=env, **changes)

    def legacy_files(self) -> list[str]:
        found = self.site_packages.rglob("*asynccore*names*")
        return sorted(file.name for file in found if file.suffix != ".pyc")


@pytest.fixture
def environment(tmp_path: Path, python: Python) -> Environment:
    return Environment(tmp_path / "env", python)


@pytest.fixture
def installed(environment: Environment, asynccore_root: Path) -> Environment:
    """An environment into which asynccore is installed, by a `.pth` as editable installs do."""
    (environment.site_packages / "asynccore.pth").write_text(f"{asynccore_root}\n")
    return environment
