"""A Python 3 file as a concrete tree: what its names mean, who stands where, and how it is edited.

*Facts.* libcst keeps every blank and comment of a file, and gives nodes that know neither their
parents nor what a name means. Its own scope analysis costs more than parsing does.
*Consequence.* A step looks at a whole `Tree`, notes edits of the nodes it understands, and has
them applied together; what it does not understand gets a comment that says what to do.
*Trade-off.* Names mean what the file's imports say, wherever these stand. A local variable that
hides an imported module is taken for it; programs don't do that to `asyncore`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

import libcst as cst

from .. import sources

# What begins every comment that `asynccore port` leaves.
SIGN = "# asynccore port"

# What an edit makes of a node: another, several, or nothing.
Made = cst.CSTNode | cst.FlattenSentinel[Any] | cst.RemovalSentinel
Edit = Callable[[Any], Made]

Kind = TypeVar("Kind", bound=cst.CSTNode)
Kind2 = TypeVar("Kind2", bound=cst.CSTNode)
Kind3 = TypeVar("Kind3", bound=cst.CSTNode)

_PUNCTUATION = frozenset(
    "comma semicolon equal dot lpar rpar lbracket rbracket lbrace rbrace newline comment".split()
)
# What gives names to things, by its `target` or its `name`.
_BINDERS = (
    cst.AssignTarget, cst.AnnAssign, cst.NamedExpr, cst.Param, cst.For, cst.CompFor, cst.AsName,
    cst.ImportAlias, cst.NameItem,
)  # fmt: skip


class Tree:
    """A module, its imports, parents and edits. Raises `SyntaxError` for what is no Python 3."""

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self.module = cst.parse_module(text)
        except cst.ParserSyntaxError as why:
            raise SyntaxError(why.message, (None, why.raw_line, why.raw_column, None)) from why
        self.parents: dict[cst.CSTNode, cst.CSTNode] = {}
        self.imported: dict[str, str] = {}
        self.nodes: list[cst.CSTNode] = []
        self._edits: dict[cst.CSTNode, list[Edit]] = {}
        self._walk()
        for node in self.all(cst.Import, cst.ImportFrom):
            self._note_import(node)

    def _walk(self) -> None:
        waiting: list[cst.CSTNode] = [self.module]
        while waiting:
            node = waiting.pop()
            self.nodes.append(node)
            found = children(node)
            for child in found:
                self.parents[child] = node
            waiting += reversed(found)

    def _note_import(self, node: cst.Import | cst.ImportFrom) -> None:
        if isinstance(node, cst.Import):
            for alias in node.names:
                name = dotted(alias.name)
                if alias.asname is not None:
                    self.imported[dotted(alias.asname.name)] = classic(name)
                else:
                    top = name.partition(".")[0]
                    self.imported[top] = classic(top)
        elif node.module is not None and not node.relative:
            source = dotted(node.module)
            if isinstance(node.names, cst.ImportStar):
                for name in sources.STARRED.get(classic(source), ()):
                    self.imported[name] = f"{classic(source)}.{name}"
                return
            for alias in node.names:
                name = dotted(alias.name)
                bound = dotted(alias.asname.name) if alias.asname is not None else name
                self.imported[bound] = classic(f"{source}.{name}")

    # -- looking ----------------------------------------------------------------------------------

    def all(self, *kinds: Any) -> Iterator[Any]:
        """Return the nodes of these kinds, in the order of the text."""
        return (node for node in self.nodes if isinstance(node, kinds))

    def meaning(self, node: cst.CSTNode | None) -> str:
        """Return what a name means, as "asyncore.loop", or "" if it is not imported.

        The classic names stand for asynccore's, too.
        """
        if isinstance(node, cst.Name):
            return self.imported.get(node.value, "")
        if isinstance(node, cst.Attribute):
            owner = self.meaning(node.value)
            return classic(f"{owner}.{node.attr.value}") if owner else ""
        return ""

    def around(self, node: cst.CSTNode, *kinds: Any) -> Any:
        """Return the nearest node of these kinds that contains `node`, or is it."""
        at: cst.CSTNode | None = node
        while at is not None and not isinstance(at, kinds):
            at = self.parents.get(at)
        return at

    def statement(self, node: cst.CSTNode) -> cst.BaseStatement:
        """Return the line or compound statement that a node belongs to."""
        found: cst.BaseStatement | None = self.around(
            node, cst.SimpleStatementLine, cst.BaseCompoundStatement
        )
        assert found is not None, "every expression is in a statement"
        return found

    def uses(self, name: str, inside: cst.CSTNode | None = None) -> list[cst.Name]:
        """Return where a bare name stands for a variable, below a node."""
        return [
            node
            for node in below(self.module if inside is None else inside)
            if isinstance(node, cst.Name) and node.value == name and not self._is_label(node)
        ]

    def _is_label(self, node: cst.Name) -> bool:
        parent = self.parents.get(node)
        if isinstance(parent, cst.Attribute):
            return parent.attr is node
        return (isinstance(parent, cst.Arg) and parent.keyword is node) or (
            self.around(node, cst.ImportAlias) is not None
        )

    def is_variable(self, node: cst.Name) -> bool:
        """Whether a name is that of a variable, and no attribute, keyword or import."""
        return not self._is_label(node)

    def is_bound(self, name: str) -> bool:
        """Whether anything in the file gives a variable this name."""
        if name in self.imported or self.defines(name):
            return True
        return any(
            isinstance(target, cst.Name)
            and target.value == name
            and not isinstance(self.parents.get(target), cst.Attribute)
            for node in self.all(*_BINDERS)
            for target in below(node.target if hasattr(node, "target") else node.name)
        )

    def defines(self, name: str) -> bool:
        """Whether there is a function or class of this name, in a class too."""
        return any(node.name.value == name for node in self.all(cst.FunctionDef, cst.ClassDef))

    def is_free(self, name: str) -> bool:
        """Whether nothing in the file has this name yet."""
        return not any(node.value == name for node in self.all(cst.Name))

    def code(self, node: cst.CSTNode) -> str:
        """Return the text of a node."""
        return self.module.code_for_node(node)

    # -- editing ----------------------------------------------------------------------------------

    def edit(self, node: cst.CSTNode, change: Edit) -> None:
        """Have `change` called with the node as it is then; it returns what takes its place."""
        self._edits.setdefault(node, []).append(change)

    def replace(self, node: cst.CSTNode, new: Made) -> None:
        """Put something in the place of a node, whatever became of its children."""
        self.edit(node, lambda _: new)

    def change(self, node: cst.CSTNode, **parts: object) -> None:
        """Change parts of a node, whatever became of the others."""
        self.edit(node, lambda old: old.with_changes(**parts))

    def remove(self, node: cst.CSTNode) -> None:
        """Take a statement or argument out."""
        self.edit(node, lambda _: cst.RemovalSentinel.REMOVE)

    def mark(self, node: cst.CSTNode, step: str, words: str) -> None:
        """Leave a comment above the statement of a node, unless it is there."""
        statement = self.statement(node)
        comment = f"{SIGN} [{step}]: {words}"
        if comment not in self.comments_above(statement):
            self.edit(statement, lambda node: with_comment(node, comment))

    def comments_above(self, statement: cst.BaseStatement) -> list[str]:
        """Return the comments right above a statement."""
        lines = list(cast(Any, statement).leading_lines)
        if isinstance(statement, cst.FunctionDef | cst.ClassDef):
            lines += statement.lines_after_decorators
        if self.module.body and statement is self.module.body[0]:
            lines += self.module.header
        return [line.comment.value for line in lines if line.comment is not None]

    def is_marked(self, node: cst.CSTNode, step: str) -> bool:
        """Whether a comment of a step is above the statement of a node."""
        above = self.comments_above(self.statement(node))
        return any(comment.startswith(f"{SIGN} [{step}]") for comment in above)

    def finished(self) -> str:
        """Return the text with all edits."""
        if not self._edits:
            return self.module.code
        return self.module.visit(_Editor(self._edits)).code

    def is_changed(self) -> bool:
        """Whether there is any edit."""
        return bool(self._edits)


class _Editor(cst.CSTTransformer):
    def __init__(self, edits: dict[cst.CSTNode, list[Edit]]) -> None:
        super().__init__()
        self.edits = edits

    def on_leave(self, original_node: Any, updated_node: object) -> Any:
        new = updated_node
        for change in self.edits.get(original_node, ()):
            if isinstance(new, cst.CSTNode):
                new = change(new)
            elif isinstance(new, cst.FlattenSentinel):
                # What was one statement is several; a comment goes above the first of them.
                first, *rest = new
                first = change(first)
                begin = list(first) if isinstance(first, cst.FlattenSentinel) else [first]
                new = cst.FlattenSentinel([*begin, *rest])
        return new


_latest: Tree | None = None


def tree_of(text: str) -> Tree:
    """Return the tree of a text without edits: the latest one, if it is still that.

    Most steps change nothing in most files, and parsing is what takes the time.
    """
    global _latest
    if _latest is None or _latest.text != text or _latest.is_changed():
        _latest = Tree(text)
    return _latest


# -- pieces of trees ------------------------------------------------------------------------------


def dotted(node: cst.CSTNode) -> str:
    """Return the text of a name with dots, "" for anything else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        owner = dotted(node.value)
        return f"{owner}.{node.attr.value}" if owner else ""
    return ""


def classic(name: str) -> str:
    """Return the classic name of what asynccore has."""
    parts = name.split(".")
    if parts[0] == "asynccore":
        parts[0] = "asyncore"
    if parts[0] == "asyncore" and parts[1:2] in (["asynchat"], ["smtpd"]):
        del parts[0]
    return ".".join(parts)


_parts: dict[type, tuple[str, ...]] = {}


def children(node: cst.CSTNode) -> list[cst.CSTNode]:
    """Return what a node is made of, without blanks and punctuation.

    libcst's own `children` visits all of it, which takes ten times as long.
    """
    kind = type(node)
    if kind not in _parts:
        names = (field.name for field in dataclasses.fields(kind))
        _parts[kind] = tuple(
            name for name in names if "whitespace" not in name and name not in _PUNCTUATION
        )
    found: list[cst.CSTNode] = []
    for name in _parts[kind]:
        value = getattr(node, name)
        if isinstance(value, cst.CSTNode):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += [part for part in value if isinstance(part, cst.CSTNode)]
    return found


def below(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Return a node and everything in it, in the order of the text."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += reversed(children(node))


def statements(text: str) -> list[Any]:
    """Return statements for a place in a tree."""
    return list(cst.parse_module(text).body)


def with_comment(statement: Any, comment: str) -> Any:
    """Return a statement with a comment right above it."""
    line = cst.EmptyLine(comment=cst.Comment(comment))
    return statement.with_changes(leading_lines=[*statement.leading_lines, line])


def in_place_of(old: Any, new: Sequence[Any]) -> cst.FlattenSentinel[Any]:
    """Return statements with the comments of the one they stand for."""
    nodes = list(new)
    above = [*old.leading_lines, *nodes[0].leading_lines]
    nodes[0] = nodes[0].with_changes(leading_lines=above)
    if isinstance(old, cst.SimpleStatementLine) and isinstance(nodes[-1], cst.SimpleStatementLine):
        nodes[-1] = nodes[-1].with_changes(trailing_whitespace=old.trailing_whitespace)
    return cst.FlattenSentinel(nodes)


def body_of(node: cst.CSTNode) -> Sequence[Any]:
    """Return the statements of a block."""
    block: Any = getattr(node, "body", None)
    return block.body if isinstance(block, cst.IndentedBlock) else ()


def call_in(statement: cst.CSTNode) -> Any:
    """Return the call that a whole line is, None if it is none."""
    if isinstance(statement, cst.SimpleStatementLine) and len(statement.body) == 1:
        only = statement.body[0]
        if isinstance(only, cst.Expr) and isinstance(only.value, cst.Call):
            return only.value
    return None


def arguments(call: cst.Call, *names: str) -> dict[str, cst.BaseExpression] | None:
    """Return a call's arguments by name; None for stars, and what has no place in `names`."""
    found: dict[str, cst.BaseExpression] = {}
    for at, argument in enumerate(call.args):
        if argument.star:
            return None
        if argument.keyword is not None:
            name = argument.keyword.value
        elif at < len(names):
            name = names[at]
        else:
            return None
        if name not in names or name in found:
            return None
        found[name] = argument.value
    return found


def is_plain(node: cst.CSTNode) -> bool:
    """Whether an expression is a name, or attributes of one, or a constant."""
    if isinstance(node, cst.Attribute):
        return is_plain(node.value)
    return isinstance(node, cst.Name | cst.Integer | cst.Float | cst.SimpleString)


def drop_imported(tree: Tree, module: str, names: set[str]) -> None:
    """Take names out of `from module import …`, or out of `import …` if that is ""."""
    for node in tree.all(cst.ImportFrom, cst.Import):
        source = dotted(node.module) if isinstance(node, cst.ImportFrom) and node.module else ""
        if source != module or isinstance(node.names, cst.ImportStar):
            continue
        kept = [alias for alias in node.names if dotted(alias.name) not in names]
        if len(kept) == len(node.names):
            continue
        if kept:
            kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
            tree.change(node, names=kept)
        else:
            line = tree.statement(node)
            alone = isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1
            tree.remove(line if alone else node)


def with_import(text: str, line: str) -> str:
    """Return a module with an import after those it has, unless it is there."""
    tree = tree_of(text)
    body = list(tree.module.body)
    there = {name for node in body if _is_import(node) for name in _bound(cast(Any, node).body)}
    if there.issuperset(_bound(cast(Any, statements(line)[0]).body)):
        return text
    at = 1 if body and _is_docstring(body[0]) else 0
    while at < len(body) and _is_import(body[at]):
        at += 1
    new = statements(line)[0]
    return tree.module.with_changes(body=[*body[:at], new, *body[at:]]).code


def _is_import(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.SimpleStatementLine) and isinstance(
        node.body[0], cst.Import | cst.ImportFrom
    )


def _bound(line: Sequence[cst.BaseSmallStatement]) -> set[tuple[str, str]]:
    """Return what imports bind: what it is, and by which name."""
    found = set()
    for node in line:
        if isinstance(node, cst.Import | cst.ImportFrom) and not isinstance(
            node.names, cst.ImportStar
        ):
            module = getattr(node, "module", None)
            source = f"{dotted(module)}." if module is not None else ""
            for alias in node.names:
                bound = alias.name if alias.asname is None else alias.asname.name
                found.add((source + dotted(alias.name), dotted(bound)))
    return found


def _is_docstring(node: cst.CSTNode) -> bool:
    return (
        isinstance(node, cst.SimpleStatementLine)
        and isinstance(node.body[0], cst.Expr)
        and isinstance(node.body[0].value, cst.SimpleString | cst.ConcatenatedString)
    )
