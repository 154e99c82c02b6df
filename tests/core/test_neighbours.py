"""What stands beside the package is found there, whatever the program calls by the same name."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from asynccore import neighbours

# What `friend` is beside the package; its submodule imports its own package relatively.
FACE = "from .rooms import ROOM\nOURS = True\n"
ROOM = "from . import __name__ as home\nROOM = home\ndef twice(x): return 2 * x\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with the package, as far as it is needed, and a neighbour."""
    home = tmp_path / "home"
    (home / "asynccore").mkdir(parents=True)
    (home / "asynccore" / "__init__.py").touch()
    text = Path(neighbours.__file__).read_text(encoding="utf-8")
    (home / "asynccore" / "neighbours.py").write_text(text, encoding="utf-8")
    (home / "friend").mkdir()
    (home / "friend" / "__init__.py").write_text(FACE)
    (home / "friend" / "rooms.py").write_text(ROOM)
    return home


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The folder of a program, which comes first in `sys.path`."""
    folder = tmp_path / "program"
    folder.mkdir()
    return folder


def run(*path: Path, code: str, home: Path | None = None) -> str:
    """Return what a program says; `home` is in `sys.path` only until the package is there."""
    lines = ["import sys", f"sys.path[:0] = {[str(folder) for folder in path]!r}"]
    if home is not None:
        lines += [f"sys.path.insert(0, {str(home)!r})"]
    lines += ["from asynccore.neighbours import neighbour, plug_ins, resolve"]
    if home is not None:
        lines += ["del sys.path[0]"]
    done = subprocess.run(
        [sys.executable, "-I", "-c", "\n".join([*lines, code])],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WHO = "found = neighbour('friend'); print(found.__name__, found.ROOM, found.OURS)"
PLAIN = "friend friend True"
ALIAS = "asynccore.friend asynccore.friend True"


def test_it_has_its_plain_name_where_that_is_found(home: Path) -> None:
    code = f"{WHO}; import friend; print(friend is found is neighbour('friend'))"
    assert run(home, code=code) == f"{PLAIN}\nTrue"


def test_it_has_its_plain_name_where_nothing_is_found(home: Path) -> None:
    code = f"{WHO}; import friend; print(friend is found is neighbour('friend'))"
    assert run(home=home, code=code) == f"{PLAIN}\nTrue"


OWN = "raise SystemExit('imported, and nobody asked for it')"


@pytest.mark.parametrize("file", ["friend.py", "friend/__init__.py", "friend/data.txt"])
@pytest.mark.parametrize("installed", [True, False])
def test_a_program_has_a_module_of_that_name(
    home: Path, program: Path, file: str, installed: bool
) -> None:
    (program / file).parent.mkdir(exist_ok=True)
    (program / file).write_text(OWN)
    code = f"{WHO}; print(neighbour('friend') is found, 'friend' in sys.modules)"
    if installed and not file.endswith(".py"):
        # A folder without modules is a package for want of a better one, which is there.
        assert run(program, home, code=code) == f"{PLAIN}\nTrue True"
    elif installed:
        assert run(program, home, code=code) == f"{ALIAS}\nTrue False"
    else:
        assert run(program, home=home, code=code) == f"{ALIAS}\nTrue False"


def test_a_program_has_imported_its_own(home: Path, program: Path) -> None:
    (program / "friend.py").write_text("OURS = False")
    code = f"import friend; {WHO}; import friend as again; print(again is friend, friend.OURS)"
    assert run(program, home, code=code) == f"{ALIAS}\nTrue False"


def test_a_program_has_made_one(home: Path) -> None:
    code = f"import types; sys.modules['friend'] = types.ModuleType('friend'); {WHO}"
    assert run(home, code=code) == ALIAS


def test_what_was_loaded_under_another_name_stays(home: Path, program: Path) -> None:
    (program / "friend.py").write_text("OURS = False")
    code = f"{WHO}; del sys.path[0]; print(neighbour('friend') is found)"
    assert run(program, home, code=code) == f"{ALIAS}\nTrue"


@pytest.mark.parametrize("own", [True, False])
def test_in_an_archive(home: Path, program: Path, own: bool) -> None:
    if own:
        (program / "friend.py").write_text(OWN)
    archive = home.parent / "all.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in home.rglob("*.py"):
            file.write(path, str(path.relative_to(home)))
    code = f"{WHO}; print(resolve('friend.rooms:twice')(4))"
    assert run(program, archive, code=code) == f"{ALIAS if own else PLAIN}\n8"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_an_installation_of_links(home: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    for path in home.rglob("*.py"):
        link = links / path.relative_to(home)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    assert run(links, code=WHO) == PLAIN


def test_an_installation_by_a_finder(home: Path, program: Path) -> None:
    """An editable one, of packages that `sys.path` doesn't lead to."""
    finder = f"""
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        from importlib.machinery import PathFinder
        return PathFinder.find_spec(name, [{str(home)!r}]) if path is None else None
sys.meta_path.append(Finder)
{WHO}"""
    assert run(program, home=home, code=finder) == PLAIN
    (program / "friend.py").write_text(OWN)
    assert run(program, home=home, code=finder) == ALIAS


def test_without_a_place_the_plain_name_is_all_there_is(home: Path) -> None:
    image = f"""
import asynccore
from importlib.machinery import ModuleSpec
asynccore.__spec__ = ModuleSpec("asynccore", None, is_package=True)
class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return ModuleSpec(name, Finder, is_package=True) if name == "friend" else None
    create_module = staticmethod(lambda spec: None)
    exec_module = staticmethod(lambda module: vars(module).update(OURS=True, ROOM="none"))
sys.meta_path.insert(0, Finder)
{WHO}"""
    assert run(home, code=image) == "friend none True"


@pytest.mark.parametrize("block", ["", "sys.modules['friend'] = None", "nobody"])
def test_there_is_none(home: Path, block: str) -> None:
    name = "nobody" if block == "nobody" else "friend"
    if not block:
        (home / "friend" / "__init__.py").write_text("import missing_thing")
    code = f"""
{block if name == "friend" else ""}
try:
    neighbour({name!r})
except ModuleNotFoundError as why:
    print(why.name, {name!r} in sys.modules and sys.modules[{name!r}] is not None)
"""
    named = name if block else "missing_thing"
    assert run(home, code=code) == f"{named} False"
    assert run(home=home, code=code) == f"{named} False"


def test_what_an_entry_point_names_is_found_by_place(home: Path, program: Path) -> None:
    """Ours is; that of another distribution is what its name says."""
    (program / "friend.py").write_text("OURS = False")
    for name in ("asynccore", "another"):
        folder = home / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        target = "friend.rooms:home" if name == "asynccore" else "friend:OURS"
        (folder / "entry_points.txt").write_text(f"[some.group]\n{name} = {target}\n")
    code = """
print(sorted(map(str, plug_ins("some.group"))), *plug_ins("some.group", "asynccore"))
print(*plug_ins("some.group", "nothing"), *plug_ins("no.group"))"""
    assert run(program, home, code=code) == "['False', 'asynccore.friend'] asynccore.friend"


def test_resolving(home: Path) -> None:
    code = """
print(resolve("friend:OURS"), resolve("friend.rooms:twice")(2), resolve("friend.rooms").ROOM)
for target in ("friend.nothing:x", "friend:nothing"):
    try:
        resolve(target)
    except (ImportError, AttributeError) as why:
        print(type(why).__name__)"""
    assert run(home, code=code) == "True 4 friend\nModuleNotFoundError\nAttributeError"
