"""What holds for the repository as a whole: settings, docstrings, and nobody's own machine."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections import Counter
from typing import Any

import pytest

from tests.project.checkout import PACKAGES, ROOT, module_files, project_files
from tests.project.test_imports import ROOMS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest itself depends on it there

SETUP_BLOCK = re.compile(r"^<!-- setup -->\n+```sh\n(.*?)\n```$", re.MULTILINE | re.DOTALL)


def settings() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return found


def config(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name, encoding="utf-8")
    return parser


def texts() -> list[tuple[str, str]]:
    found = []
    for path in project_files():
        try:
            found.append((path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue  # an image or a key in binary form
    return found


# Each setting has one home ------------------------------------------------------------------


def test_the_version_is_written_once() -> None:
    source = (ROOT / "asynccore" / "__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__ = "(.+)"$', source, re.MULTILINE)
    code = (".py", ".toml", ".cfg", ".ini")
    places = [
        name
        for name, text in texts()
        if name.endswith(code) and re.search(rf"(?<![\w.]){re.escape(version)}(?![\w.])", text)
    ]
    assert places == ["asynccore/__init__.py"]


def test_setup_cfg_holds_only_what_only_setuptools_reads() -> None:
    setup = config("setup.cfg")
    sections = {name.partition(".")[0] for name in setup.sections()}
    assert sections == {"metadata", "options"}
    assert dict(setup["metadata"]) == {"version": "attr: asynccore.__version__"}
    assert "setuptools" not in settings()["tool"]


def test_tox_runs_every_supported_interpreter() -> None:
    classifiers = settings()["project"]["classifiers"]
    supported = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    environments = config("tox.ini")["tox"]["env_list"].replace(" ", "").split(",")
    assert [e for e in environments if e.startswith("py")] == [
        "py" + minor.replace(".", "") for minor in supported
    ]
    assert settings()["project"]["requires-python"] == f">={supported[0]}"


def test_each_part_of_the_suite_runs_on_three_interpreters() -> None:
    left_out = {
        name: re.findall(r"--ignore(?:=|-glob=\*/)(\S+)", words)
        for name, words in config("tox.ini")["left_out"].items()
    }
    for part, count in Counter(part for parts in left_out.values() for part in parts).items():
        assert count <= 3, part
        assert (ROOT / part).is_dir() or [*(ROOT / "tests").glob(f"*/{part}")], part
    assert not set(left_out["py310"]) & set(left_out["py311"])
    assert "py315" not in left_out, "what is covered is counted there"


def test_the_forge_runs_every_supported_interpreter_and_every_check() -> None:
    workflow = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ +python: \[(.+)\]$", workflow, re.MULTILINE)
    classifiers = "\n".join(settings()["project"]["classifiers"])
    supported = re.findall(r"Python :: (3\.\d+)$", classifiers, re.MULTILINE)
    assert line.replace('"', "").split(", ") == supported
    (line,) = re.findall(r"^ +environment: \[(.+)\]$", workflow, re.MULTILINE)
    environments = config("tox.ini")["tox"]["env_list"].replace(" ", "").split(",")
    others = [name for name in environments if not name.startswith("py")]
    assert [*line.split(", "), "coverage"] == others


def test_every_package_and_module_is_packed() -> None:
    packed = set(config("setup.cfg")["options"]["packages"].split())
    for path in module_files().values():
        folder = ".".join(path.parent.relative_to(ROOT).parts)
        assert folder in packed, f"setup.cfg does not list {folder}"


# README and continuous integration ------------------------------------------------------------


def test_readme_has_two_setup_commands_and_ci_runs_the_second() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = SETUP_BLOCK.findall(readme)
    assert len(commands) == 2
    main_job, tests = commands
    assert "\n" not in main_job and "asynccore demo" in main_job
    assert "\n" not in tests and "tox" in tests
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in ci].count(tests) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no executable bit")
def test_ci_is_executable() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


# Modules --------------------------------------------------------------------------------------


# Its files must compile on whatever Python a program starts, 2.7 included.
FOR_OLD_PYTHONS = "compat.legacy_names"


@pytest.mark.parametrize("module", module_files())
def test_every_module_says_what_it_is_for(module: str) -> None:
    tree = ast.parse(module_files()[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if module.startswith(FOR_OLD_PYTHONS):
        return
    futures = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert [alias.name for node in futures for alias in node.names] == ["annotations"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


# No machine and no registry in the text -----------------------------------------------------

# In pieces, so that this file does not contain what it looks for.
_HOMES = ["ro" + "ot/", "ho" + r"me/\w", "wo" + "rk/", "Us" + r"ers/\w", "tm" + "p/(?:venv|tmp)"]
MACHINE = re.compile(r"(?<![\w.-])/(?:" + "|".join(_HOMES) + ")")
REGISTRY = re.compile("|".join(["py" + r"pi\.org", "python" + r"hosted\.org", "index" + "-url"]))


@pytest.mark.parametrize("pattern", [MACHINE, REGISTRY], ids=["machine", "registry"])
def test_no_address_of_ours_is_in_the_text(pattern: re.Pattern[str]) -> None:
    hits = [
        f"{name}: {match.group()}" for name, text in texts() for match in pattern.finditer(text)
    ]
    assert hits == []


def test_the_patterns_find_what_they_are_for() -> None:
    slash = "/"
    assert MACHINE.search(f'open("{slash}root{slash}x")')
    assert MACHINE.search(f"cd {slash}work{slash}main")
    assert MACHINE.search(f"{slash}home{slash}me")
    assert not MACHINE.search("docs/work/notes and a/root/b")
    assert REGISTRY.search("https://pypi" + ".org/simple")


@pytest.mark.parametrize(
    "room", sorted({name for floors in ROOMS.values() for floor in floors for name in floor})
)
def test_the_map_of_the_house_names_every_room(room: str) -> None:
    """In its picture, and in a line of its own; the faces and `_openssl` are what they are in."""
    house = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    picture, _, lines = house.partition("| --- | --- |")
    if not room.startswith("_"):
        assert re.search(rf"\b{room}\b", picture)
        assert re.search(rf"`{room}/?`", lines)
