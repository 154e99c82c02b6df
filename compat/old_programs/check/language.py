"""What Python 3 has no more, or has otherwise: names, methods, and statements that still parse."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from . import removal
from .program import Function, Program

# Codecs from bytes to bytes, which str.encode and bytes.decode do no longer (What's New in 3.0).
_BYTE_CODECS = {
    "hex", "hex_codec", "base64", "base64_codec", "bz2", "bz2_codec", "quopri", "quopri_codec",
    "rot13", "rot_13", "string-escape", "string_escape", "uu", "uu_codec", "zip", "zlib",
    "zlib_codec",
}  # fmt: skip

# Special methods of Python 2, and what Python 3 calls (What's New in Python 3.0).
_NEVER_CALLED = {
    "__cmp__": ("__lt__", "__eq__"),
    "__div__": ("__truediv__", "__floordiv__"),
    "__idiv__": ("__itruediv__", "__ifloordiv__"),
    "__nonzero__": ("__bool__",),
    "__getslice__": ("__getitem__",),
    "__setslice__": ("__setitem__",),
    "__delslice__": ("__delitem__",),
    "__unicode__": ("__str__",),
    "__long__": ("__int__",),
    "__oct__": ("__index__",),
    "__hex__": ("__index__",),
}

_LISTS_ONCE = {"keys", "values", "items"}  # methods of dict
_LISTS_ONCE_BUILT_IN = {"map", "filter", "zip", "range"}
_LIST_METHODS = {"sort", "append", "extend", "insert", "remove", "reverse", "pop"}


def look(program: Program) -> None:
    """Add what a program uses that the target version has not."""
    if program.tree is None:
        return
    _imports(program)
    scopes = _Scopes(program)
    scopes.visit_body(program.tree, [])
    for node in program.walk():
        if isinstance(node, ast.Attribute):
            _attribute(program, node)
        elif isinstance(node, ast.Call):
            _codec(program, node)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, (ast.Constant, ast.JoinedStr)):
            program.add(node, "AC112", "raise of a string")
        elif isinstance(node, ast.BinOp) and _is_print_to(node):
            program.add(node, "AC110", "print >>file")
        elif isinstance(node, ast.ClassDef):
            _class(program, node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)):
            _lists(program, node)


def _since(version: tuple[int, int]) -> str:
    return f"Python {version[0]}.{version[1]}" if version[1] else f"Python {version[0]}"


def _imports(program: Program) -> None:
    for node in program.walk():
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        if program.expects(node, "ImportError"):
            continue
        for alias in node.names:
            if isinstance(node, ast.Import):
                _import(program, node, alias.name)
            elif not node.level and node.module:
                if not _import(program, node, node.module):
                    _import(program, node, f"{node.module}.{alias.name}")
                    _name(program, node, f"{node.module}.{alias.name}")


def _import(program: Program, node: ast.AST, name: str) -> bool:
    parts = name.split(".")
    for at in range(len(parts)):
        dotted = ".".join(parts[: at + 1])
        version = removal.module(dotted, program.target)
        if version is not None:
            program.add(
                node, "AC140", f"{dotted} is gone since {_since(version)}", removal.remedy(dotted)
            )
            return True
    return False


def _name(program: Program, node: ast.AST, dotted: str) -> bool:
    version = removal.name(dotted, program.target)
    if version is None:
        return False
    program.add(node, "AC141", f"{dotted} is gone since {_since(version)}", removal.remedy(dotted))
    return True


def _attribute(program: Program, node: ast.Attribute) -> None:
    if program.expects(node, "AttributeError") or program.asked_for(node, node.attr):
        return
    root = node.value
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(root, ast.Name) and root.id in program.imports:
        names = program.all_dotted(node)
        if all(removal.name(name, program.target) for name in names):
            _name(program, node, min(names))
        return
    found = removal.method(node.attr, program.target)
    if found is None or node.attr in program.own_names:
        return
    if node.attr in program.family and not _is_dictionary(program, ast.unparse(node.value)):
        return
    full, version = found
    module = full.split(".")[0]
    if module == "builtins":
        if program.imports_any("mailbox"):  # whose mailboxes have the methods of dict still
            return
        program.add(
            node, "AC131", f".{node.attr} is gone since {_since(version)}", removal.remedy(full)
        )
    elif program.imports_any(module) or full.startswith("types.FunctionType"):
        program.add(node, "AC142", f"{full} is gone since {_since(version)}", removal.remedy(full))


def _codec(program: Program, node: ast.Call) -> None:
    if (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in ("encode", "decode")
        and "codecs" not in program.all_dotted(node.func.value)
        and len(node.args) >= 1
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value in _BYTE_CODECS
    ):
        program.add(node, "AC135", f".{node.func.attr}({node.args[0].value!r})")
    if (
        program.source.python == 2
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "next"
        and not node.args
        and not node.keywords
        and "next" not in program.own_names
    ):
        program.add(node, "AC131", ".next() is gone since Python 3", "write next(iterator)")


def _is_print_to(node: ast.BinOp) -> bool:
    """Whether this is `print >>file, …`, which Python 3 reads, and fails at."""
    return (
        isinstance(node.op, ast.RShift)
        and isinstance(node.left, ast.Name)
        and node.left.id == "print"
    )


def _class(program: Program, node: ast.ClassDef) -> None:
    methods = {m.name: m for m in node.body if isinstance(m, ast.FunctionDef)}
    assigned = {
        target.id
        for statement in node.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    if "__iter__" in methods and "next" in methods and not {"__next__"} & {*methods, *assigned}:
        program.add(methods["next"], "AC134", f"{node.name}.next")
    for name in sorted(_NEVER_CALLED.keys() & methods.keys()):
        if not {*_NEVER_CALLED[name]} & {*assigned, *methods}:
            program.add(methods[name], "AC311", f"{node.name}.{name}")


# Built-in names, where no scope has one of its own. ---------------------------------------------


class _Scopes:
    def __init__(self, program: Program) -> None:
        self.program = program

    def visit_body(self, scope: ast.AST, outer: list[set[str]]) -> None:
        names = [*outer, set(_bound(self.program, scope))]
        for node in self._inside(scope):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                self.visit_body(node, names)
            elif isinstance(node, ast.ClassDef):
                self.visit_body(node, names)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                self.use(node, names)

    def _inside(self, scope: ast.AST) -> Iterator[ast.AST]:
        """Return what stands in a scope, and the scopes in it, but nothing of these."""
        waiting = list(ast.iter_child_nodes(scope))
        while waiting:
            node = waiting.pop()
            if not self.program.lives(node):
                continue
            yield node
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                # Defaults and decorators belong to the scope around it; visiting them in the
                # function's own scope makes no difference to a built-in name.
                continue
            if not isinstance(node, (ast.Lambda, ast.ClassDef)):
                waiting += ast.iter_child_nodes(node)

    def use(self, node: ast.Name, scopes: list[set[str]]) -> None:
        program = self.program
        version = removal.builtin(node.id, program.target)
        if version is None or any(node.id in names for names in scopes):
            return
        if program.expects(node, "NameError"):
            return
        full = f"builtins.{node.id}"
        program.add(
            node, "AC130", f"{node.id} is gone since {_since(version)}", removal.remedy(full)
        )


def _bound(program: Program, scope: ast.AST) -> Iterator[str]:
    """Return the names that a scope binds."""
    if isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        args = scope.args
        for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg):
            if arg is not None:
                yield arg.arg
    waiting = list(ast.iter_child_nodes(scope))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.Global):
            yield from node.names
        waiting += ast.iter_child_nodes(node)


# What was a list, and is a view or an iterator. ---------------------------------------------


def _makes_view(program: Program, node: ast.AST) -> str | None:
    """Return how a call that makes a view or an iterator is written, None for other nodes."""
    if not isinstance(node, ast.Call):
        return None
    if (
        isinstance(node.func, ast.Attribute)
        and node.func.attr in _LISTS_ONCE
        and not node.args
        and not node.keywords
        and node.func.attr not in program.own_names
    ):
        return f".{node.func.attr}()"
    if (
        isinstance(node.func, ast.Name)
        and node.func.id in _LISTS_ONCE_BUILT_IN
        and node.func.id not in program.imports
    ):
        return f"{node.func.id}()"
    return None


def _lists(program: Program, scope: Function | ast.Module) -> None:
    views: dict[str, str | None] = {}
    nodes = list(_own_nodes(program, scope))
    for node in nodes:
        for name, value in _assigned(node):
            view = _makes_view(program, value) if value is not None else None
            # A name that also stands for anything else is not known.
            views[name] = view if name not in views or views[name] == view else None

    def view_of(node: ast.AST) -> str | None:
        if isinstance(node, ast.Name):
            return views.get(node.id)
        return _makes_view(program, node)

    for node in nodes:
        if isinstance(node, ast.Subscript) and (view := view_of(node.value)):
            if not (view == "range()" or isinstance(node.ctx, ast.Del)):
                program.add(node, "AC132", f"{view} indexed")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _LIST_METHODS and (view := view_of(node.func.value)):
                program.add(node, "AC132", f"{view} and then .{node.func.attr}()")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            for side in (node.left, node.right):
                if view := view_of(side):
                    program.add(side, "AC132", f"{view} added to a list")
        elif isinstance(node, ast.For):
            _changed_meanwhile(program, node)


def _own_nodes(program: Program, scope: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(scope):
        if program.lives(child) and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from _own_nodes(program, child)


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        if isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
            return
    for inner in (
        node.targets if isinstance(node, (ast.Assign, ast.Delete))
        else [node.target] if isinstance(node, (ast.For, ast.AugAssign, ast.AnnAssign)) else []
    ):  # fmt: skip
        for name in ast.walk(inner):
            if isinstance(name, ast.Name):
                yield name.id, None


def _changed_meanwhile(program: Program, node: ast.For) -> None:
    """Add a loop over a dictionary's own view that takes something out of it."""
    view = _makes_view(program, node.iter)
    if view is None or not isinstance(node.iter, ast.Call):
        return
    if not isinstance(node.iter.func, ast.Attribute):
        return
    over = ast.unparse(node.iter.func.value)
    if not _is_dictionary(program, over):
        return
    is_map = over.rpartition(".")[2] == "socket_map"
    for statement in node.body:
        for inner in program.walk(statement):
            deleted = isinstance(inner, ast.Delete) and any(
                isinstance(target, ast.Subscript) and ast.unparse(target.value) == over
                for target in inner.targets
            )
            popped = (
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Attribute)
                and (
                    (inner.func.attr == "pop" and ast.unparse(inner.func.value) == over)
                    or (is_map and inner.func.attr in ("close", "handle_close"))
                )
            )
            if (deleted or popped) and not _ends_loop(node.body):
                program.add(node.iter, "AC133", f"{over}{view} while it is changed")
                return


def _is_dictionary(program: Program, written: str) -> bool:
    """Whether a dictionary is known by its usual name, or by what was assigned to it."""
    last = written.rpartition(".")[2]
    if last.endswith("map") or written in ("sys.modules", "os.environ"):
        return True
    for node in program.walk():
        if isinstance(node, ast.Assign) and any(ast.unparse(t) == written for t in node.targets):
            value = node.value
            if isinstance(value, (ast.Dict, ast.DictComp)) or (
                isinstance(value, ast.Call) and ast.unparse(value.func).endswith(("dict", ".copy"))
            ):
                return True
    return False


def _ends_loop(body: list[ast.stmt]) -> bool:
    """Whether the loop is left after the change, in which case nobody notices it."""
    return any(
        isinstance(node, (ast.Break, ast.Return))
        for statement in body
        for node in ast.walk(statement)
    )
