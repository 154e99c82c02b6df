"""The step `modern-names`: the three modules by the names that asynccore has for them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import libcst as cst

from .tree import Tree, dotted, drop_imported, in_place_of, statements, tree_of, with_import

NAME = "modern-names"

_MODULES = ("asyncore", "asynchat", "smtpd")

# Names that went, and what does exactly the same. The version is that of Python's "What's New",
# section "Removed".
_RENAMED = {
    "base64.encodestring": "base64.encodebytes",  # 3.9
    "base64.decodestring": "base64.decodebytes",  # 3.9
    "os.errno": "errno",  # 3.7: it was os's own import
    "string.letters": "string.ascii_letters",  # 3.0
    "string.lowercase": "string.ascii_lowercase",  # 3.0
    "string.uppercase": "string.ascii_uppercase",  # 3.0
}
# The collections' base classes are in collections.abc alone since 3.10.
_ABCS = frozenset(
    "Callable Container Hashable ItemsView Iterable Iterator KeysView Mapping MappingView"
    " MutableMapping MutableSequence MutableSet Sequence Set Sized ValuesView".split()
)
# threading.Thread's, until 3.9; nothing else in the standard library has a method of this name.
_METHODS = {"isAlive": "is_alive"}


def apply(text: str, beside: Collection[str] = ()) -> str:
    """Return a program with the imports of the classic modules, and what else went, renamed.

    `beside` are the modules that stand beside the file: a classic name among them is the
    program's own module.
    """
    tree = tree_of(text)
    modules = [name for name in _MODULES if name not in beside]
    for line in tree.all(cst.SimpleStatementLine):
        _change_imports(tree, line, modules)
    for call in tree.all(cst.Call):
        if tree.meaning(call.func) == "importlib.import_module" or (
            isinstance(call.func, cst.Name) and call.func.value == "__import__"
        ):
            _mark_dynamic(tree, call, modules)
    wanted = _change_names(tree)
    text = tree.finished()
    for name in sorted(wanted):
        text = with_import(text, f"import {name}")
    return text


def _change_imports(tree: Tree, line: cst.SimpleStatementLine, modules: Collection[str]) -> None:
    new: list[str] = []
    changed = False
    for small in line.body:
        if isinstance(small, cst.Import):
            lines = _import_lines(tree, small, modules)
        elif isinstance(small, cst.ImportFrom):
            lines = _from_lines(tree, small, modules)
        else:
            lines = None
        changed = changed or lines is not None
        text = tree.code(small).rstrip().rstrip(";").rstrip()
        new += [text] if lines is None else lines
    if changed:
        parts = [statement for text in new for statement in statements(text)]
        tree.edit(line, lambda node: in_place_of(node, parts))


def _import_lines(tree: Tree, node: cst.Import, modules: Collection[str]) -> list[str] | None:
    if not any(dotted(alias.name) in modules for alias in node.names):
        return None
    lines: list[str] = []
    others: list[str] = []
    for alias in node.names:
        name = dotted(alias.name)
        bound = dotted(alias.asname.name) if alias.asname is not None else name
        if name not in modules:
            others.append(tree.code(alias).strip().rstrip(",").rstrip())
            continue
        if others:
            lines.append(f"import {', '.join(others)}")
            others = []
        if name == "asyncore":
            lines.append(f"import asynccore as {bound}")
        else:
            suffix = "" if bound == name else f" as {bound}"
            lines.append(f"from asynccore import {name}{suffix}")
    if others:
        lines.append(f"import {', '.join(others)}")
    return lines


def _from_lines(tree: Tree, node: cst.ImportFrom, modules: Collection[str]) -> list[str] | None:
    if node.module is None or node.relative:
        return None
    source = dotted(node.module)
    if source in modules:
        new = "asynccore" if source == "asyncore" else f"asynccore.{source}"
        module = cst.parse_expression(new)
        return [tree.code(node.with_changes(module=module, semicolon=cst.MaybeSentinel.DEFAULT))]
    if source == "collections" and not isinstance(node.names, cst.ImportStar):
        return _collections_lines(tree, node, node.names)
    return _renamed_lines(tree, node, source)


def _renamed_lines(tree: Tree, node: cst.ImportFrom, source: str) -> list[str] | None:
    """Return an import of names that went, under their old names; None if none of them did."""
    aliases = node.names if not isinstance(node.names, cst.ImportStar) else ()
    changed = False
    new = []
    for alias in aliases:
        old = dotted(alias.name)
        module, _, name = _RENAMED.get(f"{source}.{old}", "").rpartition(".")
        if module == source:
            changed = True
            bound = alias.asname or cst.AsName(cst.Name(old))
            alias = alias.with_changes(name=cst.Name(name), asname=bound)
        new.append(alias)
    if not changed:
        return None
    renamed = node.with_changes(names=new, semicolon=cst.MaybeSentinel.DEFAULT)
    return [tree.code(renamed).rstrip()]


def _collections_lines(tree: Tree, node: cst.ImportFrom, names: Any) -> list[str] | None:
    moved = [alias for alias in names if dotted(alias.name) in _ABCS]
    if not moved:
        return None
    kept = [alias for alias in names if alias not in moved]

    def line(source: str, aliases: list[Any]) -> str:
        texts = [
            tree.code(alias.with_changes(comma=cst.MaybeSentinel.DEFAULT)) for alias in aliases
        ]
        return f"from {source} import {', '.join(texts)}"

    return [
        *([line("collections", kept)] if kept else []),
        line("collections.abc", moved),
    ]


def _mark_dynamic(tree: Tree, call: cst.Call, modules: Collection[str]) -> None:
    first = call.args[0].value if call.args else None
    if isinstance(first, cst.SimpleString) and first.evaluated_value in modules:
        name = str(first.evaluated_value)
        new = "asynccore" if name == "asyncore" else f"asynccore.{name}"
        tree.mark(call, NAME, f"import {new} instead")


def _change_escape(tree: Tree) -> set[str]:
    """`cgi.escape` (gone since 3.8) left quotes alone; `html.escape` must be told to."""
    calls = [call for call in tree.all(cst.Call) if tree.meaning(call.func) == "cgi.escape"]
    equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    alone = cst.Arg(cst.Name("False"), cst.Name("quote"), equal)

    def with_quotes_left(call: cst.Call) -> cst.Call:
        more = [alone] if len(call.args) == 1 else []
        func = cst.parse_expression("html.escape")
        return call.with_changes(func=func, args=[*call.args, *more])

    for call in calls:
        tree.edit(call, with_quotes_left)
    if calls:
        drop_imported(tree, "cgi", {"escape"})
    return {"html"} if calls else set()


def _change_names(tree: Tree) -> set[str]:
    """Rename what went; return the modules that must be imported for it."""
    wanted = _change_escape(tree)
    for node in tree.all(cst.Attribute):
        meaning = tree.meaning(node)
        if meaning in _RENAMED:
            new = _RENAMED[meaning]
            if "." not in new:
                tree.replace(node, cst.Name(new))
                wanted.add(new)
            else:
                tree.change(node, attr=cst.Name(new.partition(".")[2]))
        elif meaning.startswith("collections.") and meaning[12:] in _ABCS:
            tree.edit(node.value, lambda old: cst.Attribute(old, cst.Name("abc")))
            wanted.add("collections.abc")
        elif node.attr.value in _METHODS and not meaning:
            tree.change(node, attr=cst.Name(_METHODS[node.attr.value]))
    return wanted
