"""A program's syntax tree, and what every check asks of it: places, names, classes, guards."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .. import sources
from . import python2, removal
from .findings import KINDS, Finding

Version = tuple[int, int]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
Function = ast.FunctionDef | ast.AsyncFunctionDef

# The classic classes, whatever a program calls their modules.
LEGACY = ("asyncore", "asynchat", "smtpd")
BASES = {
    "asyncore.dispatcher",
    "asyncore.dispatcher_with_send",
    "asyncore.file_dispatcher",
    "asynchat.async_chat",
    "smtpd.SMTPServer",
    "smtpd.SMTPChannel",
    "smtpd.DebuggingServer",
    "smtpd.PureProxy",
    "smtpd.MailmanProxy",
}

# What a failing look-up is caught by: a program that expects it is ready for it.
_EXPECTS = {
    "ImportError": {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"},
    "NameError": {"NameError", "Exception", "BaseException"},
    "AttributeError": {"AttributeError", "Exception", "BaseException"},
}


@dataclass
class Class:
    """A class, and the classic one that it is derived from, if it is."""

    node: ast.ClassDef
    bases: list[str]  # dotted, as they were imported
    kind: str | None = None
    methods: dict[str, Function] = field(default_factory=dict)


@dataclass
class Program:
    """One file, as Python 3's tree."""

    source: sources.Source
    target: Version
    tree: ast.Module | None
    findings: list[Finding] = field(default_factory=list)
    imports: dict[str, set[str]] = field(default_factory=dict)
    classes: dict[str, Class] = field(default_factory=dict)
    family: set[str] = field(default_factory=set, repr=False)  # `own_names` of all its files
    _translation: python2.Translation | None = None

    def __post_init__(self) -> None:
        text = sources.with_plain_ends(self.source.text).removeprefix("\ufeff")
        if self._translation is not None:
            text = self._translation.text
        self._lines = text.split("\n")
        self._dead: set[int] = set()
        self._expected: dict[int, set[str]] = {}  # what a node's failure is caught by
        self._asked: dict[int, set[str]] = {}  # the attributes that hasattr() asked for
        if self.tree is not None:
            self._look(self.tree, frozenset(), frozenset())

    @property
    def path(self) -> Path:
        return self.source.path

    # Findings ------------------------------------------------------------------------------

    def place(self, node: ast.AST) -> tuple[int, int]:
        """Return line and column of a node in the file, both from 1; the column in characters."""
        line: int = getattr(node, "lineno", 1)
        offset: int = getattr(node, "col_offset", 0)
        column = offset
        if 0 < line <= len(self._lines) and not self._lines[line - 1].isascii():
            column = len(self._lines[line - 1].encode()[:offset].decode(errors="replace"))
        if self._translation is not None:
            line, column = self._translation.place(line, column)
        return line, column + 1

    def add(self, node: ast.AST, code: str, what: str, remedy: str | None = None) -> None:
        line, column = self.place(node)
        self.add_at(line, column, code, what, remedy)

    def add_at(
        self, line: int, column: int, code: str, what: str, remedy: str | None = None
    ) -> None:
        remedy = KINDS[code].remedy if remedy is None else remedy
        finding = Finding(self.path, line, column, code, what, remedy)
        if finding not in self.findings:
            self.findings.append(finding)

    # What is alive, and what fails on purpose. ----------------------------------------------

    def _look(self, node: ast.AST, expected: frozenset[str], asked: frozenset[str]) -> None:
        if expected:
            self._expected[id(node)] = set(expected)
        if asked:
            self._asked[id(node)] = set(asked)
        if isinstance(node, ast.Try):
            caught = _caught(node)
            for statement in node.body:
                self._look(statement, expected | caught, asked)
            # The other way out is taken if the first one fails, and only then.
            if "ImportError" in caught and node.body and not self._fails(node.body):
                for handler in node.handlers:
                    self._kill(handler)
            for part in (*node.handlers, *node.orelse, *node.finalbody):
                self._look(part, expected, asked)
            return
        if isinstance(node, (ast.If, ast.IfExp)):
            holds = self.holds(node.test)
            body = node.body if isinstance(node.body, list) else [node.body]
            orelse = node.orelse if isinstance(node.orelse, list) else [node.orelse]
            for part in body if holds is False else orelse if holds is True else ():
                self._kill(part)
            asked = asked | _asked_for(node.test)
        for child in ast.iter_child_nodes(node):
            self._look(child, expected, asked)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and self.lives(node):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                imported = _imported(node, alias)
                self.imports.setdefault(name, set()).add(imported)
                if name == "*":
                    module = imported.removesuffix(".*")
                    for name in sources.STARRED.get(module, ()):
                        self.imports.setdefault(name, set()).add(f"{module}.{name}")
        if isinstance(node, ast.ClassDef):
            methods = {m.name: m for m in node.body if isinstance(m, _FUNCTIONS)}
            bases = [dotted for base in node.bases if (dotted := self.dotted(base))]
            self.classes[node.name] = Class(node, bases, None, methods)

    def _fails(self, body: list[ast.stmt]) -> bool:
        """Whether an import among these statements fails in the target version."""
        return any(
            self.is_gone(_imported(node, alias))
            for statement in body
            for node in ast.walk(statement)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        ) or not any(isinstance(s, (ast.Import, ast.ImportFrom)) for s in body)

    def _kill(self, node: ast.AST) -> None:
        for inner in ast.walk(node):
            self._dead.add(id(inner))

    def lives(self, node: ast.AST) -> bool:
        """Whether the target version may come to a node."""
        return id(node) not in self._dead

    def expects(self, node: ast.AST, error: str) -> bool:
        """Whether the program catches the error that a node might raise."""
        return bool(self._expected.get(id(node), set()) & _EXPECTS[error])

    def catches(self, node: ast.AST, error: str) -> bool:
        """Whether a `try` around a node catches an error of that name, or every error."""
        return bool(self._expected.get(id(node), set()) & {error, "Exception", "BaseException"})

    def asked_for(self, node: ast.AST, attribute: str) -> bool:
        """Whether the program has asked hasattr() for an attribute."""
        return attribute in self._asked.get(id(node), ())

    def walk(self, node: ast.AST | None = None) -> Iterator[ast.AST]:
        """Return the nodes that the target version may come to."""
        if node is None:
            yield from self._living
        elif self.lives(node):
            yield from self._walk(node)

    @functools.cached_property
    def _living(self) -> list[ast.AST]:
        return list(self._walk(self.tree)) if self.tree is not None else []

    def _walk(self, top: ast.AST) -> Iterator[ast.AST]:
        waiting: list[ast.AST] = [top]
        while waiting:
            found = waiting.pop()
            yield found
            waiting += [child for child in ast.iter_child_nodes(found) if self.lives(child)][::-1]

    def holds(self, test: ast.expr) -> bool | None:
        """Return whether a condition on the version holds; None if it is on anything else."""
        match test:
            case ast.UnaryOp(ast.Not(), operand):
                inner = self.holds(operand)
                return None if inner is None else not inner
            case ast.BoolOp(op, values):
                parts = [self.holds(value) for value in values]
                decides = isinstance(op, ast.Or)
                if decides in parts:
                    return decides
                return None if None in parts else not decides
            case ast.Compare(ast.Name("str"), [ast.Is()], [ast.Name("bytes")]):
                return False
            case ast.Compare(left, [op], [right]):
                return _compared(self._version_part(left), op, _constant(right))
            case ast.Name() | ast.Attribute():
                name = test.id if isinstance(test, ast.Name) else test.attr
                plain = name.lower().replace("_", "").removeprefix("is").replace("python", "py")
                return {"py3": True, "py3k": True, "py2": False}.get(plain)
        return None

    def _version_part(self, node: ast.expr) -> object:
        version = (*self.target, 0, "final", 0)
        match node:
            case ast.Attribute(ast.Name("sys"), "version_info"):
                return version
            case ast.Subscript(ast.Attribute(ast.Name("sys"), "version_info"), index):
                at = _constant(index)
                if isinstance(at, int):
                    return version[at]
                if isinstance(index, ast.Slice):
                    upper = _constant(index.upper)
                    return version[:upper] if isinstance(upper, int) else None
            case ast.Attribute(ast.Attribute(ast.Name("sys"), "version_info"), "major"):
                return version[0]
            case ast.Attribute(ast.Name("sys"), "version"):
                return ".".join(map(str, self.target))
            case ast.Subscript(ast.Attribute(ast.Name("sys"), "version"), index):
                return str(self.target[0]) if _constant(index) == 0 else None
            case ast.Attribute(ast.Name("sys"), "hexversion"):
                return self.target[0] << 24 | self.target[1] << 16 | 0xF0
        return None

    def function_of(self, node: ast.AST) -> ast.AST | None:
        """Return the function around a node, or the module."""
        above = self._above.get(id(node))
        while above is not None and not isinstance(above, (*_FUNCTIONS, ast.Module)):
            above = self._above.get(id(above))
        return above

    @functools.cached_property
    def _above(self) -> dict[int, ast.AST]:
        return {
            id(child): node
            for node in (ast.walk(self.tree) if self.tree is not None else ())
            for child in ast.iter_child_nodes(node)
        }

    @property
    def handles_errors(self) -> bool:
        """Whether the program says anywhere what becomes of exceptions in handlers."""
        return "handle_error" in self.own_names

    @functools.cached_property
    def own_names(self) -> set[str]:
        """The names that this file gives to methods and attributes itself."""
        own: set[str] = set()
        for node in ast.walk(self.tree) if self.tree is not None else ():
            if isinstance(node, _FUNCTIONS):
                own.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.attr)
        return own

    # Names ---------------------------------------------------------------------------------

    def dotted(self, node: ast.AST) -> str | None:
        """Return the name of something as it was imported: "asyncore.dispatcher".

        Of several imports it is the one that the target version still has.
        """
        found = self.all_dotted(node)
        living = {name for name in found if not self.is_gone(name)} or found
        return min(living) if living else None

    def is_gone(self, name: str) -> bool:
        """Whether the target version has a module, or a name in one, no more."""
        return any(
            removal.module(part, self.target) or removal.name(part, self.target)
            for part in _all_of(name)
        )

    def all_dotted(self, node: ast.AST) -> set[str]:
        """Return what a name may stand for, if there are several imports of it."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id, {node.id})
        if isinstance(node, ast.Attribute):
            return {f"{name}.{node.attr}" for name in self.all_dotted(node.value)}
        return set()

    def imports_any(self, *modules: str) -> bool:
        """Whether one of these modules, or something in one, is imported."""
        return any(
            name == module or name.startswith(f"{module}.")
            for names in self.imports.values()
            for name in names
            for module in modules
        )


def _imported(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str:
    """Return what a name of an import statement stands for, with the legacy names for ours."""
    if isinstance(node, ast.Import):
        name = alias.name if alias.asname else alias.name.partition(".")[0]
    else:
        name = f"{'.' * node.level}{node.module or ''}.{alias.name}"
    for legacy in ("asynchat", "smtpd"):
        name = name.replace(f"asynccore.{legacy}", legacy)
    return f"asyncore{name[9:]}" if name.split(".")[0] == "asynccore" else name


def _all_of(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: at + 1]) for at in range(len(parts))]


def _caught(node: ast.Try) -> frozenset[str]:
    names: set[str] = set()
    for handler in node.handlers:
        if handler.type is None:
            names.add("BaseException")
        else:
            names.update(ast.unparse(part).split(".")[-1] for part in _parts(handler.type))
    # What all the errors here are caught by is as good as a name of their own.
    if names & {"Exception", "BaseException", "ModuleNotFoundError"}:
        names.add("ImportError")
    return frozenset(names)


def _parts(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _asked_for(test: ast.expr) -> frozenset[str]:
    return frozenset(
        name
        for node in ast.walk(test)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "hasattr"
        and len(node.args) == 2
        and isinstance(name := _constant(node.args[1]), str)
    )


def _constant(node: ast.AST | None) -> object:
    try:
        return ast.literal_eval(node) if isinstance(node, ast.expr) else None
    except ValueError:
        return None


def _compared(left: object, op: ast.cmpop, right: object) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, tuple) and isinstance(right, tuple) and isinstance(op, (ast.Eq, ast.NotEq)):
        left = left[: len(right)]
    try:
        match op:
            case ast.Eq():
                return left == right
            case ast.NotEq():
                return left != right
            case ast.Lt():
                return bool(left < right)  # type: ignore[operator]
            case ast.LtE():
                return bool(left <= right)  # type: ignore[operator]
            case ast.Gt():
                return bool(left > right)  # type: ignore[operator]
            case ast.GtE():
                return bool(left >= right)  # type: ignore[operator]
    except TypeError:
        pass
    return None


def load(source: sources.Source, target: Version) -> Program:
    """Return a file as a program, with what stands in the way of reading it."""
    tree, translation = source.tree, None
    if source.python == 2:
        text = sources.with_plain_ends(source.text).removeprefix("\ufeff")
        translation = python2.translate(source.tree2, text)
        try:
            tree = ast.parse(translation.text)
        except (SyntaxError, RecursionError):
            tree = None
    program = Program(source, target, tree, _translation=translation)
    if translation is not None:
        for change in translation.changes:
            program.add_at(change.line, change.column + 1, change.code, change.what)
    problem = source.problem
    if problem is not None and (source.encoding_problem or source.python == 0 or tree is None):
        _add_problem(program, problem)
    return program


def _add_problem(program: Program, problem: SyntaxError) -> None:
    source = program.source
    code = "AC102" if source.encoding_problem else "AC101"
    remedy = f"if it is Python 2: {source.missing}" if source.missing is not None else None
    program.add_at(problem.lineno or 1, max(problem.offset or 1, 1), code, problem.msg, remedy)


def relate(programs: list[Program]) -> None:
    """Find out which classes are channels, over the files of a program."""
    family: set[str] = set()
    for program in programs:
        family |= program.own_names
        program.family = family
    by_name: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for program in programs:
            for name, found in program.classes.items():
                if found.kind is not None:
                    continue
                for base in found.bases:
                    last = base.rpartition(".")[2]
                    near = program.classes.get(last)
                    if base in BASES:
                        found.kind = base
                    elif near is not None and near is not found:
                        found.kind = near.kind
                    elif last != name:
                        found.kind = by_name.get(last)
                    if found.kind is not None:
                        by_name.setdefault(name, found.kind)
                        changed = True
                        break
