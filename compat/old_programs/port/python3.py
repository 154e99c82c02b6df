"""The step `python3`: what Python 2 says, in Python 3, and bytes where the asyncore API takes them.

*Facts.* The fixers of 2to3 know the syntax, and live on in `fissix`. They can't be run twice over
one text, they make Python 3 of programs that were meant for both, and they leave `str` where
sockets take and give bytes.
*Consequence.* They get what Python 3 does not read, and what reads names that Python 3 lacks and
does not ask first whether it has them. The rest (`text`) stands on the tree of Python 3.
*Trade-off.* Integer division, and the order of dictionaries, are left to whoever knows what the
numbers mean.
"""

from __future__ import annotations

import ast
import io
import tokenize
import warnings

import libcst as cst

from .. import sources
from . import strings, text_channels
from .tree import Tree, dotted, tree_of

NAME = "python3"

# Names that Python 3 has not, whatever they are used for; and functions, which the fixers replace
# where they are called. What the fixers leave is not here: they would get it again and again.
_GONE = {"unicode", "xrange", "raw_input", "basestring", "unichr", "execfile", "long"}
_GONE_FUNCTIONS = {"file", "reduce"}
_GONE_METHODS = {"has_key", "iteritems", "iterkeys", "itervalues"}
# What asks first whether a name is there: programs for both.
_QUESTIONS = ("ImportError", "NameError", "AttributeError", "ModuleNotFoundError")


def apply(text: str, path: str = "") -> str:
    """Return a program of Python 2 as one of Python 3, and one of Python 3 with bytes in place.

    `path` is where it is: names of modules beside it are imported from there. Raises
    `SyntaxError` for what is neither, and `sources.NeedsExtra` without fissix.
    """
    was_python2 = prints = not _is_python3(text)
    if not was_python2:
        tree = tree_of(text)
        # Python 3 reads `print >>file, x`, as a pair of which the first can't be had.
        prints = any(_is_print_to(tree, node) for node in tree.all(cst.BinaryOperation))
        was_python2 = prints or _reads_old_names(tree)
    if was_python2:
        text = _with_plain_tabs(_fixed(text, path, statements=prints))
        text = _with_open(text)
    with_methods = strings.apply(text)
    # Functions that Python 3 never had: nothing but Python 2 could run it.
    return text_channels.apply(with_methods, was_python2 or with_methods != text)


def _is_python3(text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(text)
        except SyntaxError:
            return False
    return True


def _is_print_to(tree: Tree, node: cst.BinaryOperation) -> bool:
    return (
        isinstance(node.operator, cst.RightShift)
        and isinstance(node.left, cst.Name)
        and node.left.value == "print"
        and not _is_asked_for(tree, node)
    )


def _reads_old_names(tree: Tree) -> bool:
    moved, urllib = _moved_names()
    for node in tree.all(cst.Name, cst.Attribute, cst.Import, cst.ImportFrom):
        if isinstance(node, cst.Name):
            old = _is_old_builtin(tree, node)
        elif isinstance(node, cst.Attribute):
            old = node.attr.value in _GONE_METHODS and not tree.defines(node.attr.value)
            old = old or (dotted(node) in urllib and tree.imported.get("urllib") == "urllib")
        elif isinstance(node, cst.Import):
            old = any(dotted(alias.name) in moved for alias in node.names)
        else:
            source = dotted(node.module) if node.module is not None and not node.relative else ""
            names = node.names if not isinstance(node.names, cst.ImportStar) else ()
            old = source in moved
            old = old or any(f"{source}.{dotted(alias.name)}" in urllib for alias in names)
        if old and not _is_asked_for(tree, node):
            return True
    return False


def _is_old_builtin(tree: Tree, node: cst.Name) -> bool:
    parent = tree.parents.get(node)
    called = isinstance(parent, cst.Call) and parent.func is node
    old = node.value in _GONE or (called and node.value in _GONE_FUNCTIONS)
    return old and not tree.is_bound(node.value) and tree.is_variable(node)


def _moved_names() -> tuple[set[str], set[str]]:
    """Return the modules that have other names now, and the names that urllib had itself."""
    try:
        from fissix.fixes import fix_imports, fix_urllib
    except ImportError as why:
        raise sources.NeedsExtra("fissix", "porting Python 2") from why
    moved = {name for name, new in fix_imports.MAPPING.items() if name != new}
    names = {f"urllib.{name}" for _, found in fix_urllib.MAPPING["urllib"] for name in found}
    return moved | {"urllib2"}, names


def _is_asked_for(tree: Tree, node: cst.CSTNode) -> bool:
    """Whether what is around it asks for the version, or for the name, first."""
    at: cst.CSTNode | None = node
    while at is not None:
        if isinstance(at, cst.Try):
            caught = " ".join(tree.code(handler.type) for handler in at.handlers if handler.type)
            if any(name in caught for name in _QUESTIONS) or any(
                handler.type is None for handler in at.handlers
            ):
                return True
        if isinstance(at, cst.If | cst.IfExp) and any(
            word in tree.code(at.test) for word in ("version", "PY2", "PY3", "six", "hasattr")
        ):
            return True
        at = tree.parents.get(at)
    return False


def _with_open(text: str) -> str:
    """Return a text that opens files by `open`, for which 2to3 has no fixer."""
    tree = tree_of(text)
    for node in tree.all(cst.Call):
        if isinstance(node.func, cst.Name) and node.func.value == "file":
            if not tree.is_bound("file") and not _is_asked_for(tree, node):
                tree.change(node, func=cst.Name("open"))
    return tree.finished()


def _fixed(text: str, path: str, statements: bool) -> str:
    """Return what the fixers make of a text; `statements` says that print is one."""
    try:
        from fissix import refactor
    except ImportError as why:
        raise sources.NeedsExtra("fissix", "porting Python 2") from why

    class Tool(refactor.RefactoringTool):  # type: ignore[misc]
        def log_message(self, *args: object) -> None: ...

        def log_debug(self, *args: object) -> None: ...

    fixers = refactor.get_fixers_from_package("fissix.fixes")
    tool = Tool(fixers, {"print_function": not statements})
    ended = text if text.endswith("\n") else f"{text}\n"
    try:
        fixed = str(tool.refactor_string(ended, path))
    except SyntaxError:
        raise
    except Exception as why:  # the parser's errors have no base of their own
        line = (getattr(why, "context", None) or ("", (0, 0)))[1][0]
        problem = "is neither Python 3 nor Python 2"
        raise SyntaxError(problem, (None, line or None, None, None)) from why
    return fixed if text.endswith("\n") else fixed.removesuffix("\n")


def _with_plain_tabs(text: str) -> str:
    """Return a text with blanks for tabs, where Python 3 can't tell how deep a line is."""
    try:
        ast.parse(text)
        return text
    except TabError:
        pass
    except SyntaxError:
        return text
    lines = text.splitlines(keepends=True)
    inside = _continued_strings(text)
    for number, line in enumerate(lines, 1):
        stripped = line.lstrip(" \t")
        if number not in inside and "\t" in line[: len(line) - len(stripped)]:
            indent = line[: len(line) - len(stripped)].expandtabs(8)  # as Python 2 had it
            lines[number - 1] = indent + stripped
    return "".join(lines)


def _continued_strings(text: str) -> set[int]:
    """Return the numbers of lines that begin inside of a string."""
    inside: set[int] = set()
    try:
        for token in tokenize.generate_tokens(io.StringIO(text.expandtabs(8)).readline):
            if token.type == tokenize.STRING:
                inside.update(range(token.start[0] + 1, token.end[0] + 1))
    except (tokenize.TokenError, IndentationError):
        pass
    return inside
