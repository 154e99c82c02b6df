"""The floors of the house: imports run downward, never in a circle, and lightly.

    compat -> ssl_ext -> asynccore -> standard library

Within a package there are rooms, and floors of rooms: a room imports from itself and from the
floors below it, and from nothing beside it. *Every* import statement counts: at module level,
inside functions and classes, in `try`, and under `TYPE_CHECKING`, because a type that comes from
the floor above is knowledge of the floor above. What is loaded by a name in a string counts too.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.classic.table import SURFACE
from tests.project.checkout import PACKAGES, ROOT, module_files

# In the standard library, and yet not for every floor; the legacy modules are what is replaced.
_LEGACY = {"asyncore", "asynchat", "smtpd"}
_STANDARD = sys.stdlib_module_names - _LEGACY - {"asyncio"}

# What each floor may import, by top-level name. OpenSSL in ssl_ext alone, asyncio and Twisted in
# compat alone.
ALLOWED: dict[str, frozenset[str]] = {
    "asynccore": frozenset(_STANDARD | {"asynccore"}),
    "ssl_ext": frozenset(
        _STANDARD | {"asynccore", "ssl_ext"} | {"OpenSSL", "certifi", "cryptography"}
    ),
    "compat": frozenset(
        _STANDARD
        | {"asynccore", "ssl_ext", "compat"}
        | {
            "asyncio",
            "bcrypt",
            "fissix",
            "libcst",
            "prometheus_client",
            "rich",
            "shtab",
            "textual",
            "tomli",
            "tomllib",
            "twisted",
            "uvloop",
            "zope",
        }
    ),
}

# The rooms of each package, from the ground up: modules and folders. `__init__` is the face.
ROOMS: dict[str, list[set[str]]] = {
    "asynccore": [
        {"neighbours"},
        {"errors", "logs", "channels", "producers", "classic", "worker"},
        {"pollers"},
        {"engine"},
        {"running", "connecting", "listening", "testing"},
        {"dispatchers"},
        {"asynchat", "monitoring", "smtp"},
        {"smtpd"},
        {"hardened_smtpd"},
        {"__init__", "__main__", "compat", "ssl_ext"},
    ],
    "ssl_ext": [
        {"errors", "requirements", "states"},
        {"_openssl", "certificates"},
        {"peer"},
        {"contexts"},
        {"sockets"},
        {"dispatchers"},
        {"smtp", "termination"},
        {"__init__"},
    ],
    "compat": [
        {"engines", "hosts", "legacy_names"},
        {"transports", "twisted_transports", "old_programs", "freezing"},
        {"names", "command_line"},
        {"__init__", "__main__"},
    ],
}

# (module or folder, what it may import against the rule)
EXCEPTIONS = {
    # `python -m asynccore` has to be there, and is the command line of the top floor.
    ("asynccore.__main__", "compat"),
    # The files of this folder become top-level modules of programs, and so does what they share.
    ("compat.legacy_names", "_asynccore_names"),
    ("compat.legacy_names", "compat"),
    # What it stands in front of, and has run.
    ("compat.legacy_names", "sitecustomize"),
}

# All that `import asynccore` may load, with what these load themselves, and what Python 3.15 loads
# for a tuple with names (annotationlib, ast).
TUPLE = "import typing; typing.NamedTuple('Named', [('name', 'int')])"
LIGHT = """
    __future__ bisect collections collections.abc contextlib enum errno functools heapq io itertools
    math os operator select signal socket stat struct sys threading time traceback types typing
    warnings weakref
""".split()


# What imports by a name in a string.
_IMPORTERS = ("import_module", "__import__", "find_spec", "resolve_name", "resolve", "neighbour")

# The groups of entry points that this package asks for.
_GROUPS = ("asynccore.pollers", "asynccore.fronts")

# A module of ours, or something in one, as text: "compat.hosts.asyncio_poller:AsyncioPoller".
_NAMED = re.compile(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+(?::\w+)?")

# Who may load modules of ours by their names: faces, which load what is asked for, and what
# stands in the process of a program that has never heard of us; the command line, in whose folder
# there may be modules of our names, looks TLS up by its place (`neighbours`).
MAY_NAME = (
    *("compat.engines", "compat.legacy_names", "asynccore.__main__"),
    *("compat.command_line.runner", "compat.command_line.mail_server"),
    "compat.twisted_transports.plugin",
)


@dataclass(frozen=True)
class Import:
    """One imported module, and where that stands."""

    importer: str
    imported: str
    line: int


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool, known: set[str]) -> None:
        self.module = module
        self.package = module if is_package else module.rpartition(".")[0]
        self.known = known
        self.found: list[Import] = []
        self.never_run = False  # what follows is for type checkers alone

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)
            return
        before, self.never_run = self.never_run, True
        for statement in node.body:
            self.visit(statement)
        self.never_run = before
        for statement in node.orelse:
            self.visit(statement)

    def _note(self, name: str, node: ast.AST) -> None:
        line: int = getattr(node, "lineno", 0)
        self.found.append(Import(self.module, name, line))

    def _absolute(self, name: str, level: int) -> str:
        if not level:
            return name
        parts = self.package.split(".")
        parts = parts[: len(parts) - level + 1]
        return ".".join([*parts, name] if name else parts)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = self._absolute(node.module or "", node.level)
        if source == "typing_extensions" and self.never_run:
            return  # Type checkers bring it along, and nobody else has it.
        for alias in node.names:
            submodule = f"{source}.{alias.name}"
            self._note(submodule if submodule in self.known else source, node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in _IMPORTERS and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                bare = name.value.lstrip(".")
                module = self._absolute(bare, len(name.value) - len(bare))
                self._note(module.partition(":")[0], node)
        self.generic_visit(node)


def imports_of(module: str, source: str, is_package: bool, known: set[str]) -> list[Import]:
    finder = _Finder(module, is_package, known)
    finder.visit(ast.parse(source))
    return finder.found


def all_imports(files: dict[str, Path]) -> Iterator[Import]:
    for module, path in files.items():
        source = path.read_text(encoding="utf-8")
        yield from imports_of(module, source, path.name == "__init__.py", set(files))


def exception(found: Import) -> tuple[str, str] | None:
    target = found.imported.partition(".")[0]
    for importer in (found.importer, found.importer.rpartition(".")[0]):
        if (importer, target) in EXCEPTIONS:
            return importer, target
    return None


def floor_breaks(imports: list[Import]) -> list[str]:
    return [
        f"{found.importer}, line {found.line}: imports {found.imported}"
        for found in imports
        if found.imported.partition(".")[0] not in ALLOWED[found.importer.partition(".")[0]]
        and exception(found) is None
    ]


def room_of(module: str) -> tuple[str, str]:
    """Return the package of a module of ours, and its room in there."""
    package, _, rest = module.partition(".")
    return package, rest.partition(".")[0] or "__init__"


def floor_of(module: str) -> int | None:
    """Return the floor of a module's room; `None` if no table has it."""
    package, room = room_of(module)
    return next((n for n, floor in enumerate(ROOMS[package]) if room in floor), None)


def room_breaks(imports: list[Import]) -> list[str]:
    """Return what is imported from a room above, or beside, in the same package."""
    breaks = []
    for found in imports:
        here, there = room_of(found.importer), room_of(found.imported)
        if here[0] != there[0] or here == there:
            continue
        above, below = floor_of(found.importer), floor_of(found.imported)
        if (above is None or below is None or below >= above) and exception(found) is None:
            breaks.append(f"{found.importer}, line {found.line}: imports {found.imported}")
    return breaks


def circles(imports: list[Import]) -> list[list[str]]:
    """Return the circles of modules that import each other, each once, as paths."""
    edges: dict[str, set[str]] = {}
    for found in imports:
        if found.imported.partition(".")[0] in PACKAGES and found.imported != found.importer:
            edges.setdefault(found.importer, set()).add(found.imported)
    done: set[str] = set()
    result: list[list[str]] = []

    def follow(module: str, path: list[str]) -> None:
        if module in path:
            result.append([*path[path.index(module) :], module])
        elif module not in done:
            for imported in sorted(edges.get(module, ())):
                follow(imported, [*path, module])
            done.add(module)

    for module in sorted(edges):
        follow(module, [])
    return result


def names_in_strings(source: str) -> list[str]:
    """Return the modules of ours that a source names in strings.

    Docstrings are left out, and what is imported by a call, which counts as an import.
    """
    tree = ast.parse(source)
    counted = {
        id(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in _IMPORTERS
        and node.args
    }
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docs | counted
        and _NAMED.fullmatch(node.value)
        and node.value not in _GROUPS
    ]


def may_name(module: str, path: Path) -> bool:
    return path.name == "__init__.py" or module.startswith(MAY_NAME)


def test_imports_run_downward() -> None:
    files = module_files()
    assert {name.partition(".")[0] for name in files} == set(PACKAGES)
    assert floor_breaks(list(all_imports(files))) == []


def test_rooms_import_from_the_floors_below_alone() -> None:
    assert room_breaks(list(all_imports(module_files()))) == []


@pytest.mark.parametrize("module", module_files())
def test_each_module_has_a_room(module: str) -> None:
    assert floor_of(module) is not None


def test_each_room_is_there() -> None:
    rooms = {room_of(module) for module in module_files()}
    assert rooms == {(p, room) for p, floors in ROOMS.items() for f in floors for room in f}


def test_no_module_imports_itself_by_a_detour() -> None:
    assert circles(list(all_imports(module_files()))) == []


def test_the_named_exceptions_are_needed() -> None:
    assert {exception(found) for found in all_imports(module_files())} == {None, *EXCEPTIONS}


def test_modules_of_ours_are_not_loaded_by_name() -> None:
    said = {
        module: names
        for module, path in module_files().items()
        if not may_name(module, path)
        and (names := names_in_strings(path.read_text(encoding="utf-8")))
    }
    assert said == {}


def test_no_module_hides_behind_a_classic_name() -> None:
    """Programs find `asyncore.loop`, `asyncore.dispatcher` and the like: these are no modules."""
    classic = {re.split(r"[.(:]", name)[0] for name in SURFACE["asyncore"].split()}
    assert {"loop", "dispatcher", "socket_map"} <= classic
    ours = {room_of(module)[1] for module in module_files() if module.startswith("asynccore.")}
    assert ours & classic == set()


def test_inside_of_the_two_common_names_imports_are_relative() -> None:
    """A program may have a `compat` or an `ssl_ext` of its own."""
    absolute = [
        f"{module}, line {node.lineno}"
        for module, path in module_files().items()
        if (package := module.partition(".")[0]) != "asynccore"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").partition(".")[0] == package
        )
        or (
            isinstance(node, ast.Import)
            and any(alias.name.partition(".")[0] == package for alias in node.names)
        )
    ]
    assert absolute == []


# Each rule is tried on what breaks it. -------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("asynccore.running.loop", "import OpenSSL.SSL"),
        ("asynccore.running.loop", "def f():\n    from compat import install"),
        ("asynccore.running.loop", "if TYPE_CHECKING:\n    import asyncio"),
        ("asynccore.running.loop", "from typing_extensions import Unpack"),
        (
            "compat.names",
            "if TYPE_CHECKING:\n    pass\nelse:\n    from typing_extensions import Unpack",
        ),
        ("asynccore.running.loop", "importlib.import_module('ssl_ext.contexts')"),
        ("asynccore.running.loop", "find_spec('compat')"),
        ("asynccore.running.loop", "pkgutil.resolve_name('compat.hosts:Poller')"),
        ("asynccore.running.loop", "__import__('ssl_ext')"),
        ("asynccore.running.loop", "from asyncore import dispatcher"),
        ("asynccore", "import ssl_ext"),
        ("ssl_ext.sockets", "import compat.hosts"),
        ("ssl_ext.sockets", "class A:\n    import twisted.internet"),
        ("compat.hosts", "try:\n    import OpenSSL\nexcept ImportError: pass"),
        ("compat.hosts", "import gevent"),
    ],
)
def test_an_upward_import_is_found(module: str, statement: str) -> None:
    (problem,) = floor_breaks(imports_of(module, statement, False, set()))
    assert problem.startswith(f"{module}, line ")


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("asynccore.pollers.epoll", "from ..engine.engine import Engine"),
        ("asynccore.pollers.epoll", "def f():\n    from ..dispatchers import files"),
        ("asynccore.engine.engine", "if TYPE_CHECKING:\n    from ..running.hosting import Host"),
        ("asynccore.running.loop", "from ..listening.acceptor import Acceptor"),  # beside it
        ("asynccore.logs", "from .errors import ExitNow"),
        ("asynccore.engine.engine", "import_module('..smtpd', __package__)"),
        ("asynccore.channels", "from . import channel_table"),  # in the face
        ("asynccore.newcomer", "from .engine import Engine"),  # in no table
        ("ssl_ext.contexts.context", "class A:\n    from ..sockets import records"),
        ("compat.hosts.attaching", "try:\n    from ..transports import flow\nfinally: pass"),
    ],
)
def test_an_import_from_above_or_beside_is_found(module: str, statement: str) -> None:
    known = {f"asynccore.{name}" for name in ("dispatchers.files", "engine", "smtpd")}
    (problem,) = room_breaks(imports_of(module, statement, False, known))
    assert problem.startswith(f"{module}, line ")


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("asynccore.engine.engine", "from ..pollers import make"),
        ("asynccore.engine.engine", "from .timers import Timers"),
        ("asynccore", "from .running.loop import loop"),
        ("ssl_ext.sockets.records", "import asynccore.dispatchers"),
    ],
)
def test_what_is_right_is_not(module: str, statement: str) -> None:
    found = imports_of(module, statement, module == "asynccore", set())
    assert found and room_breaks(found) == floor_breaks(found) == []


def test_a_circle_is_found_in_whatever_way_it_is_imported() -> None:
    known = {"asynccore", "asynccore.a", "asynccore.b", "asynccore.c", "asynccore.d"}
    sources = {
        "asynccore": "from .a import name",
        "asynccore.a": "from . import b",
        "asynccore.b": "if TYPE_CHECKING:\n    from .c import thing",
        "asynccore.c": "def later():\n    import asynccore.d",
        "asynccore.d": "import_module('.a', __package__)",
    }
    imports = [
        found
        for module, source in sources.items()
        for found in imports_of(module, source, module == "asynccore", known)
    ]
    names = ["a", "b", "c", "d", "a"]
    assert circles(imports) == [[f"asynccore.{name}" for name in names]]


def test_a_name_in_a_string_is_found() -> None:
    source = '''"""See `compat.hosts`."""
PLACES = {"x": "compat.hosts.asyncio_poller:AsyncioPoller"}
def f():
    """asynccore.engine"""
    return "ssl_ext.termination", "compat", "asynccore.pollers", "a compat.names b"
'''
    assert names_in_strings(source) == [
        "compat.hosts.asyncio_poller:AsyncioPoller",
        "ssl_ext.termination",
    ]


def modules_after(*statements: str) -> set[str]:
    """Return what is loaded after `statements`, in an interpreter without site-packages."""
    program = "\n".join(
        [
            "import json, sys",
            f"sys.path.insert(0, {str(ROOT)!r})",
            *statements,
            "print(json.dumps(sorted(sys.modules)))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        stdout=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    return set(json.loads(done.stdout))


def test_importing_the_core_is_light() -> None:
    loaded = modules_after("import asynccore; asynccore.loop") - modules_after(
        *(f"import {m}" for m in LIGHT), TUPLE
    )
    assert {name for name in loaded if name.partition(".")[0] != "asynccore"} == set()


def test_importing_the_core_loads_no_other_floor_and_nothing_optional() -> None:
    loaded = {name.partition(".")[0] for name in modules_after("import asynccore; asynccore.loop")}
    heavy = {"OpenSSL", "ssl", "asyncio", "twisted", "uvloop", "certifi", "logging", "email"}
    assert loaded & (heavy | {"ssl_ext", "compat"}) == set()
