"""How much of the packages is `Any` to type checkers, and so to whoever writes with an editor.

Where nothing is asked of a value, its type is `object`; where it is usually one thing and may be
another, `one thing | Any`, so that an editor knows it and a program may override it.
"""

from __future__ import annotations

import ast

from tests.project.checkout import module_files

# How often they say `Any`: in annotations, aliases, casts and bases. It may only fall.
MOST = 650

# Where programs' editors look for what they are given, and what they may give: nothing here is
# `Any` alone.
FACES = {
    "asynccore.dispatchers.channel_listener",
    "asynccore.dispatchers.connect_name",
    "asynccore.dispatchers.dispatcher",
    "asynccore.dispatchers.listener",
    "asynccore.dispatchers.timeouts",
    "asynccore.smtpd",
    "compat.transports.functions",
    "ssl_ext.contexts.context",
    "ssl_ext.dispatchers.listener",
    "ssl_ext.dispatchers.mixin",
    "ssl_ext.peer",
}


def uses(source: str) -> int:
    """Return how often a module says `Any`, but for where it imports it."""
    return sum(
        getattr(node, "id", getattr(node, "attr", None)) == "Any"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.Name, ast.Attribute))
    )


def bare(source: str) -> list[str]:
    """Return the lines where a public function takes or returns `Any` and nothing else, or an
    attribute is that."""
    found = []
    tree = ast.parse(source)
    public = (
        node
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.Module, ast.ClassDef))
        for node in outer.body
    )
    for node in public:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if node.name.startswith("_"):
                continue
            spec = node.args
            named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
            # What the channels of a listener are is for the program to say.
            named = [argument for argument in named if argument.arg != "channel"]
            annotations = [argument.annotation for argument in named] + [node.returns]
        elif isinstance(node, ast.AnnAssign):
            if ast.unparse(node.target).startswith("_"):
                continue
            annotations = [node.annotation]
        else:
            continue
        found += [
            f"line {annotation.lineno}"
            for annotation in annotations
            if annotation is not None and ast.unparse(annotation) == "Any"
        ]
    return found


def test_little_is_any() -> None:
    counted = {module: uses(path.read_text("utf-8")) for module, path in module_files().items()}
    most = sorted(counted.items(), key=lambda item: -item[1])[:5]
    assert sum(counted.values()) <= MOST, f"most in {most}"


def test_nothing_that_an_editor_shows_is_any() -> None:
    files = module_files()
    found = {module: bare(files[module].read_text("utf-8")) for module in FACES}
    assert {module: lines for module, lines in found.items() if lines} == {}


def test_what_is_counted() -> None:
    assert (
        uses("from typing import Any\nx: dict[str, Any] = cast(Any, y)\nz: t.Any\nMine = Any") == 4
    )
    assert bare("def f(a: Any, b: int | Any) -> Any: ...") == ["line 1", "line 1"]
    assert bare("def _f(a: Any): ...\ndef g(*a: Any, **b: object): ...") == []
    assert bare("def f():\n    x: Any = 1") == []
    assert bare("class A:\n    socket: Any = None\n    _own: Any = None") == ["line 2"]
