"""What the wheel holds: all modules, the typing markers, the licence, the examples; no tests."""

from __future__ import annotations

import pkgutil
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from asynccore import neighbours
from compat import engines
from compat.legacy_names._asynccore_names import TARGETS
from tests.project.checkout import PACKAGES, ROOT, module_files, project_files
from tests.stubs import __main__ as stubs

FILES = ("pyproject.toml", "setup.cfg", "README.md", "LICENSE")
SOURCES = (*FILES, *PACKAGES, "examples", "stubs")
STUBS = {f"{name}-stubs" for name in TARGETS}

pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    """The wheel, built from a copy: setuptools leaves a build folder beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, source)
    (source / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "asynccore.1", source / "docs")
    program = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    built = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:setuptools", "-c", program],
        cwd=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
    )
    assert built.returncode == 0, built.stdout
    (file,) = folder.glob("*.whl")
    return zipfile.Path(file)


def names(wheel: zipfile.Path) -> set[str]:
    return set(wheel.root.namelist())


def dist_info(wheel: zipfile.Path) -> zipfile.Path:
    (folder,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    return folder


def metadata(wheel: zipfile.Path) -> Message:
    return Parser().parsestr((dist_info(wheel) / "METADATA").read_text(encoding="utf-8"))


def test_every_module_is_in_it(wheel: zipfile.Path) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in module_files().values()}
    examples = {
        f"compat/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "examples").rglob("*.py")
    }
    assert examples
    packed = {name for name in names(wheel) if name.endswith(".py")}
    assert packed == modules | examples


@pytest.mark.parametrize("name", neighbours.NEIGHBOURS)
def test_type_checkers_find_what_stands_beside(wheel: zipfile.Path, name: str) -> None:
    assert f"asynccore/{name}.pyi" in names(wheel)


def test_nothing_else_is_installed(wheel: zipfile.Path) -> None:
    # Not even a folder "twisted" for its plugins: it would be taken for a package.
    assert {entry.name for entry in wheel.iterdir()} == {
        *PACKAGES,
        dist_info(wheel).name,
        dist_info(wheel).name.replace(".dist-info", ".data"),
        *STUBS,
    }
    outside = [name for name in names(wheel) if ".data/" in name and not name.endswith("/")]
    assert [name.partition("/")[2] for name in outside] == ["data/share/man/man1/asynccore.1"]


@pytest.mark.parametrize("legacy", TARGETS)
def test_type_checkers_know_the_legacy_names(wheel: zipfile.Path, legacy: str) -> None:
    packed = (wheel / f"{legacy}-stubs" / "__init__.pyi").read_text(encoding="utf-8")
    assert packed == "".join(stubs.lines(legacy)), "run: python -m tests.stubs"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_marked_as_typed(wheel: zipfile.Path, package: str) -> None:
    assert f"{package}/py.typed" in names(wheel)


def test_the_licence_travels_along(wheel: zipfile.Path) -> None:
    packed = (dist_info(wheel) / "licenses" / "LICENSE").read_text(encoding="utf-8")
    assert packed == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert metadata(wheel)["License-Expression"] == "MIT"


def test_the_command_is_there(wheel: zipfile.Path) -> None:
    entries = (dist_info(wheel) / "entry_points.txt").read_text(encoding="utf-8").split("\n")
    assert "asynccore = asynccore.__main__:command_line" in entries


def test_the_hosts_are_there_as_pollers(wheel: zipfile.Path) -> None:
    entries = (dist_info(wheel) / "entry_points.txt").read_text(encoding="utf-8")
    _, _, pollers = entries.partition("[asynccore.pollers]\n")
    found = dict(line.split(" = ") for line in pollers.partition("\n\n")[0].split("\n") if line)
    assert found == {name: f"compat{target}" for name, target in engines.HOSTS.items()}
    for name, target in found.items():
        assert pkgutil.resolve_name(target).name == name


def test_pyinstaller_finds_the_hooks(wheel: zipfile.Path) -> None:
    entries = (dist_info(wheel) / "entry_points.txt").read_text(encoding="utf-8")
    assert "[pyinstaller40]\nhook-dirs = compat.freezing:hook_dirs\n" in entries


def test_what_it_needs(wheel: zipfile.Path) -> None:
    needs = {need.replace(" ", "") for need in metadata(wheel).get_all("Requires-Dist", [])}
    assert {need for need in needs if "extra==" not in need} == {
        "pyOpenSSL>=26.0",
        "certifi",
        'pyasyncore;python_version>="3.12"',
        'pyasynchat;python_version>="3.12"',
    }
    extras = set(metadata(wheel).get_all("Provides-Extra", []))
    assert extras == {
        "twisted",
        "uvloop",
        "test",
        "bench",
        "docs",
        "port",
        "auth",
        "config",
        "metrics",
        "shell",
        "top",
        "gallery",
    }


def test_the_source_distribution_holds_everything(tmp_path: Path) -> None:
    """Tests and pages, too: who packs it for a system wants to run the former."""
    source = tmp_path / "source"
    ours = {path.relative_to(ROOT).as_posix() for path in project_files()}
    for name in ours:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    subprocess.run(
        [sys.executable, "-c", program], cwd=source, check=True, capture_output=True, timeout=200
    )
    (file,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(file) as packed:
        found = {member.name.partition("/")[2] for member in packed if member.isfile()}
    assert ours - found == set()
