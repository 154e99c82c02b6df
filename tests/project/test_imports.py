"""The floors of the house: imports run downward, never in a circle, and lightly.

    compat -> ssl_ext -> asynccore -> standard library

*Every* import statement counts for the floors: at module level, inside functions, and under
`TYPE_CHECKING`, because a type that comes from the floor above is knowledge of the floor above.
Only what runs when a module is imported counts for circles.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.project.checkout import PACKAGES, ROOT, module_files

# In the standard library, and yet not for every floor; the legacy modules are what is replaced.
_LEGACY = {"asyncore", "asynchat", "smtpd"}
_STANDARD = sys.stdlib_module_names - _LEGACY - {"asyncio"}

# What each floor may import, by top-level name. OpenSSL in ssl_ext alone, asyncio and Twisted in
# compat alone.
ALLOWED: dict[str, frozenset[str]] = {
    "asynccore": frozenset(_STANDARD | {"asynccore"}),
    "ssl_ext": frozenset(
        _STANDARD
        | {"asynccore", "ssl_ext"}
        | {"OpenSSL", "certifi", "cryptography", "service_identity"}
    ),
    "compat": frozenset(
        _STANDARD
        | {"asynccore", "ssl_ext", "compat"}
        | {"asyncio", "rich", "twisted", "uvloop", "zope"}
    ),
}

# (module or folder, what it may import against the rule)
EXCEPTIONS = {
    # `python -m asynccore` has to be there, and is the command line of the top floor.
    ("asynccore.__main__", "compat"),
    # What puts TLS in front of listeners is looked up at run time, if somebody asks for it.
    ("asynccore.termination", "ssl_ext"),
    # The files of this folder become top-level modules of programs, and so does what they share.
    ("compat.legacy_names", "_asynccore_names"),
}

# All that `import asynccore` may load, with what these load themselves.
LIGHT = """
    __future__ collections collections.abc contextlib enum errno functools heapq io itertools math
    os operator select signal socket stat struct sys threading time traceback types typing
    warnings weakref
""".split()


# Conditions that are false while a module is imported.
_NOT_WHEN_IMPORTED = ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


@dataclass(frozen=True)
class Import:
    """One imported module, where it stands, and whether it is loaded along with the importer."""

    importer: str
    imported: str
    line: int
    eager: bool


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str, is_package: bool, known: set[str]) -> None:
        self.module = module
        self.package = module if is_package else module.rpartition(".")[0]
        self.known = known
        self.lazy = 0
        self.found: list[Import] = []

    def _note(self, name: str, node: ast.AST) -> None:
        line: int = getattr(node, "lineno", 0)
        self.found.append(Import(self.module, name, line, not self.lazy))

    def _visit_lazily(self, nodes: list[ast.stmt]) -> None:
        self.lazy += 1
        for node in nodes:
            self.visit(node)
        self.lazy -= 1

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_lazily(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in _NOT_WHEN_IMPORTED:
            self._visit_lazily(node.body)
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._note(alias.name, node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        if node.level:
            parts = self.package.split(".")
            parts = parts[: len(parts) - node.level + 1]
            source = ".".join([*parts, source] if source else parts)
        for alias in node.names:
            submodule = f"{source}.{alias.name}"
            self._note(submodule if submodule in self.known else source, node)

    def visit_Call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                self._note(name.value, node)
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


def circles(imports: list[Import]) -> list[list[str]]:
    """Return the circles of modules that import each other, each once, as paths."""
    edges: dict[str, set[str]] = {}
    for found in imports:
        if found.eager and found.imported.partition(".")[0] in PACKAGES:
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


def test_imports_run_downward() -> None:
    files = module_files()
    assert {name.partition(".")[0] for name in files} == set(PACKAGES)
    assert floor_breaks(list(all_imports(files))) == []


def test_no_module_imports_itself_by_a_detour() -> None:
    assert circles(list(all_imports(module_files()))) == []


def test_the_named_exceptions_are_needed() -> None:
    assert {exception(found) for found in all_imports(module_files())} == {None, *EXCEPTIONS}


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("asynccore.loop", "import OpenSSL.SSL"),
        ("asynccore.loop", "def f():\n    from compat import install"),
        ("asynccore.loop", "if TYPE_CHECKING:\n    import asyncio"),
        ("asynccore.loop", "importlib.import_module('ssl_ext.contexts')"),
        ("asynccore.loop", "from asyncore import dispatcher"),
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


def test_a_circle_is_found_through_relative_imports() -> None:
    known = {"asynccore", "asynccore.a", "asynccore.b", "asynccore.c"}
    sources = {
        "asynccore": "from .a import name",
        "asynccore.a": "from . import b",
        "asynccore.b": "from .c import thing",
        "asynccore.c": "import asynccore.a\ndef later():\n    import asynccore",
    }
    imports = [
        found
        for module, source in sources.items()
        for found in imports_of(module, source, module == "asynccore", known)
    ]
    assert circles(imports) == [["asynccore.a", "asynccore.b", "asynccore.c", "asynccore.a"]]


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
        *(f"import {m}" for m in LIGHT)
    )
    assert {name for name in loaded if name.partition(".")[0] != "asynccore"} == set()


def test_importing_the_core_loads_no_other_floor_and_nothing_optional() -> None:
    loaded = {name.partition(".")[0] for name in modules_after("import asynccore; asynccore.loop")}
    heavy = {"OpenSSL", "ssl", "asyncio", "twisted", "uvloop", "certifi", "logging", "email"}
    assert loaded & (heavy | {"ssl_ext", "compat"}) == set()
