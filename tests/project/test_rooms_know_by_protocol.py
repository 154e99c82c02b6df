"""Channels are known by a written protocol to pollers and engine, which others know by its methods.

`ReportingChannel` in `asynccore/channels.py` has all names beginning with `_ac_` that the floors
below the dispatchers may read of a channel, `ChannelMap` those of a map, and `LayeredSocket` in
`asynccore/pollers/layered.py` those of a socket with a protocol of its own. What is private to an
engine, and its `interest`, is read in its own room alone. Both are read off the syntax trees, by
names: an engine is what is called one, annotated as one, made as one, or found among the engines.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.project.checkout import module_files

CHANNELS = "asynccore.channels"
LAYERED = "asynccore.pollers.layered"
# The rooms that know channels by the protocol alone, and the one that knows engines from inside.
BY_PROTOCOL = ("asynccore.pollers", "asynccore.engine")
ENGINE_ROOM = "asynccore.engine"

_OF_CHANNELS = re.compile(r"_ac_\w+")
_FINDS_ENGINE = {"Engine", "engine_for"}  # called, these return one
_FINDS_ENGINES = {"engines"}  # and these return some


def is_in(module: str, *rooms: str) -> bool:
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


# Channels ---------------------------------------------------------------------------------------


def declared(tree: ast.Module, name: str = "ReportingChannel") -> set[str]:
    """Return the names that a class of a module declares, with those of its bases there."""
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found: set[str] = set()
    for node in classes[name].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found |= declared(tree, base.id)
    return found


def read_of_channels(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Return the names `_ac_...` that a module reads, by an attribute or a string, and where."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _OF_CHANNELS.fullmatch(node.attr):
            yield node.attr, node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if _OF_CHANNELS.fullmatch(node.value):
                yield node.value, node.lineno


def undeclared(tree: ast.Module, known: set[str]) -> list[str]:
    return [f"line {line}: {name}" for name, line in read_of_channels(tree) if name not in known]


# Engines ----------------------------------------------------------------------------------------


class _Engines(ast.NodeVisitor):
    """Which names of a module stand for engines, and what is read of them."""

    def __init__(self, tree: ast.Module) -> None:
        self.names = {"engine"}
        self.many = set(_FINDS_ENGINES)  # functions that return several
        self.found: list[str] = []
        before = -1
        while before != len(self.names) + len(self.many):  # a name may be known by another one
            before = len(self.names) + len(self.many)
            for node in ast.walk(tree):
                self._learn(node)
        self.visit(tree)

    def _learn(self, node: ast.AST) -> None:
        if isinstance(node, ast.arg) and _says_engine(node.annotation):
            self.names.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            if node.returns is not None and _says_engine(node.returns, "list[Engine]"):
                self.many.add(node.name)
        elif isinstance(node, ast.AnnAssign) and _says_engine(node.annotation):
            self._name(node.target)
        elif isinstance(node, ast.Assign) and self.is_engine(node.value):
            for target in node.targets:
                self._name(target)
        elif isinstance(node, ast.NamedExpr) and self.is_engine(node.value):
            self._name(node.target)
        elif isinstance(node, (ast.For, ast.comprehension)):
            if isinstance(node.iter, ast.Call) and _last_name(node.iter.func) in self.many:
                self._name(node.target)

    def _name(self, target: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.names.add(target.id)

    def is_engine(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.names or node.id.endswith("_engine")
        if isinstance(node, ast.Attribute):
            return node.attr == "engine" or node.attr.endswith("_engine")
        if isinstance(node, ast.Call):
            return _last_name(node.func) in _FINDS_ENGINE or self.is_engine(node.func)
        if isinstance(node, ast.IfExp):
            return self.is_engine(node.body) or self.is_engine(node.orelse)
        if isinstance(node, ast.BoolOp):
            return any(self.is_engine(value) for value in node.values)
        return isinstance(node, ast.NamedExpr) and self.is_engine(node.value)

    def _note(self, name: str, node: ast.expr) -> None:
        private = name.startswith("_") and not name.endswith("__")
        if private or name == "interest":
            self.found.append(f"line {node.lineno}: {name}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.is_engine(node.value):
            self._note(node.attr, node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _last_name(node.func) in ("getattr", "setattr", "hasattr") and len(node.args) > 1:
            thing, name = node.args[:2]
            if self.is_engine(thing) and isinstance(name, ast.Constant):
                self._note(str(name.value), node)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if "engine" in (node.module or "").split("."):
            for alias in node.names:
                if alias.name.startswith("_"):
                    self.found.append(f"line {node.lineno}: {alias.name}")


def _says_engine(annotation: ast.expr | None, *others: str) -> bool:
    said = "" if annotation is None else ast.unparse(annotation).strip("'\"")
    return said in ("Engine", "Engine | None", *others)


def _last_name(function: ast.expr) -> str:
    return ast.unparse(function).rpartition(".")[2]


# The house --------------------------------------------------------------------------------------


def trees() -> dict[str, ast.Module]:
    return {
        module: ast.parse(path.read_text(encoding="utf-8"))
        for module, path in module_files().items()
    }


def test_a_channel_is_known_by_its_protocol() -> None:
    found = trees()
    known = declared(found[CHANNELS]) | declared(found[CHANNELS], "ChannelMap")
    known |= declared(found[LAYERED], "ReportingSocket")
    problems = {
        module: undeclared(tree, known)
        for module, tree in found.items()
        if is_in(module, *BY_PROTOCOL)
    }
    assert len(problems) > 15
    assert {module: wrong for module, wrong in problems.items() if wrong} == {}


def test_an_engine_is_known_by_its_methods() -> None:
    problems = {
        module: _Engines(tree).found
        for module, tree in trees().items()
        if not is_in(module, ENGINE_ROOM)
    }
    assert len(problems) > 100
    assert {module: wrong for module, wrong in problems.items() if wrong} == {}


# Made-up examples -------------------------------------------------------------------------------

PROTOCOLS = """
class Channel(Protocol):
    def readable(self): ...
    _ac_below: int
class Other(Protocol):
    _ac_other: int
class ReportingChannel(Channel, Protocol):
    @property
    def _ac_times(self): ...
    def _ac_touch(self): ...
"""


def test_what_a_protocol_declares_is_found() -> None:
    assert declared(ast.parse(PROTOCOLS)) == {"readable", "_ac_below", "_ac_times", "_ac_touch"}


@pytest.mark.parametrize(
    "statement",
    [
        "channel._ac_secret",
        "self.channels[fd]._ac_secret()",
        "getattr(channel, '_ac_secret', None)",
        "NAMES = ('_ac_times', '_ac_secret')",
        "channel._ac_secret = 1",
    ],
)
def test_an_undeclared_name_is_found(statement: str) -> None:
    known = declared(ast.parse(PROTOCOLS))
    assert undeclared(ast.parse(statement), known) == ["line 1: _ac_secret"]


def test_declared_names_are_fine() -> None:
    known = declared(ast.parse(PROTOCOLS))
    assert undeclared(ast.parse("channel._ac_touch(); getattr(it, '_ac_times')"), known) == []


@pytest.mark.parametrize(
    "program",
    [
        "engine.interest",
        "engine._lock",
        "self.engine._lock.acquire()",
        "self._ac_engine.interest.pause(fd)",
        "engine_for(map).interest",
        "present = engine_for(map)\npresent._lock",
        "def f(it: Engine | None): return it._lock",
        "found: Engine = look()\nfound._lock",
        "for one in engines(): one._lock",
        "[one for one in engine_module.engines() if one.interest.poller]",
        "def some() -> list[Engine]: ...\nany(one._lock for one in some())",
        "(mine or self._ac_engine)._lock",
        "(engine if engine else other).interest",
        "(it := engine_for(map))._lock",
        "getattr(engine, '_lock')",
        "setattr(self.engine, 'interest', None)",
        "from asynccore.engine.engine import _by_id",
        "from .engine import engine as made_engine\nmade_engine._by_id",
    ],
)
def test_what_is_an_engines_own_is_found(program: str) -> None:
    assert len(_Engines(ast.parse(program)).found) == 1


@pytest.mark.parametrize(
    "program",
    [
        "engine.poller.interest",
        "engine.pause(fd)",
        "self._engine.map",
        "poller.interest[fd]",
        "engine.__class__",
        "self._lock",
        "from ..engine.engine import Engine",
        "from ..pollers import _select",
    ],
)
def test_what_is_everybodys_is_fine(program: str) -> None:
    assert _Engines(ast.parse(program)).found == []
