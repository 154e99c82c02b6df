"""Python 2 as Python 3 would write it: the text, where each part of it stood, and what was changed.

*Facts.* What is wrong with a program is found in Python 3's syntax tree, which Python 2 has none
of. What is Python 2's alone are some twenty constructs, each of which can be written otherwise in
the same place.
*Consequence.* The concrete tree is written out anew, with these constructs as Python 3 has them,
and each piece remembers its place; the result is parsed by `ast`, and whatever is found in it is
told where it stood. Each construct is a finding, too.
*Trade-off.* The text is for reading alone: who wants a program that runs has `asynccore port`.
"""

from __future__ import annotations

import ast
import bisect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

# Words of Python 3 that were names before (What's New in Python 3.7).
_NEW_WORDS = {"async": "3.7", "await": "3.7"}
_CONSTANTS = ("True", "False", "None")

# Python 2's tabs end at every eighth column; Python 3 wants an indentation that means the same
# with tabs of one column (Lib/test/test_tokenize.py calls it "inconsistent").
_TAB = 8


@dataclass(frozen=True)
class Change:
    """A construct that Python 3 lacks."""

    line: int  # from 1
    column: int  # from 0
    code: str
    what: str


@dataclass
class Translation:
    """A text that Python 3 reads, and where its parts stood."""

    text: str = ""
    changes: list[Change] = field(default_factory=list)
    _starts: list[tuple[int, int]] = field(default_factory=list)
    _places: list[tuple[int, int]] = field(default_factory=list)

    def place(self, line: int, column: int) -> tuple[int, int]:
        """Return where in Python 2's text something stood: line from 1, column from 0."""
        at = bisect.bisect_right(self._starts, (line, column)) - 1
        if at < 0:
            return line, column
        (start_line, start), (old_line, old) = self._starts[at], self._places[at]
        if line != start_line:
            return old_line + line - start_line, column
        return old_line, old + column - start


class _Translator:
    def __init__(self, text: str) -> None:
        from fissix import pygram, pytree
        from fissix.pgen2 import token

        self.lines = text.split("\n")
        self.token = token
        self.leaf_type = pytree.Leaf
        self.names: dict[int, str] = {
            number: name for name, number in pygram.python_grammar.symbol2number.items()
        }
        self.done = Translation()
        self.parts: list[str] = []
        self.line, self.column = 1, 0
        self.at_start = True  # of a logical line
        self.indents = [(0, 0)]
        self.tuples = 0

    # Writing -------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        self.parts.append(text)
        newlines = text.count("\n")
        if newlines:
            self.line += newlines
            self.column = len(text) - text.rfind("\n") - 1
        else:
            self.column += len(text)

    def leaf(self, leaf: Any, text: str | None = None) -> None:
        """Write a leaf, perhaps with another text."""
        token = self.token
        if leaf.type in (token.INDENT, token.DEDENT):
            # The white space may be in here or in the prefix of what follows.
            self.write(leaf.prefix + leaf.value)
            return
        self.write(leaf.prefix)
        if leaf.type in (token.NEWLINE, token.ENDMARKER):
            self.write(leaf.value)
            self.at_start = True
            return
        if self.at_start:
            self.at_start = False
            self.indent(leaf)
        self.mark(leaf)
        self.write(self.value(leaf) if text is None else text)

    def mark(self, leaf: Any) -> None:
        self.done._starts.append((self.line, self.column))
        self.done._places.append((leaf.lineno, leaf.column))

    def indent(self, leaf: Any) -> None:
        """Write an indentation with spaces alone, and judge it as Python 3 does."""
        source = self.lines[leaf.lineno - 1]
        space = source[: len(source) - len(source.lstrip(" \t\f"))].rpartition("\f")[2]
        wide, narrow = len(space.expandtabs(_TAB)), len(space.expandtabs(1))
        while self.indents[-1][0] > wide:
            self.indents.pop()
        top = self.indents[-1]
        if wide > top[0]:
            self.indents.append((wide, narrow))
            consistent = narrow > top[1]
        else:
            consistent = narrow == top[1]
        if not consistent:
            self.change(leaf, "AC120", "tabs and spaces in one block", column=0)
        written = "".join(self.parts)
        bare = written.rstrip(" \t\f") if self.column else written
        self.parts = [bare]
        self.column = 0
        self.write(" " * wide)

    def change(self, leaf: Any, code: str, what: str, column: int | None = None) -> None:
        at = leaf.column if column is None else column
        self.done.changes.append(Change(leaf.lineno, at, code, what))

    # Reading -------------------------------------------------------------------------------

    def visit(self, node: Any) -> None:
        if isinstance(node, self.leaf_type):
            self.leaf(node)
            return
        visitor: Callable[[Any], None] | None = getattr(self, self.names[node.type], None)
        if visitor is not None:
            visitor(node)
        else:
            self.all(node.children)

    def all(self, nodes: Any) -> None:
        for node in nodes:
            self.visit(node)

    def value(self, leaf: Any) -> str:
        """Return a leaf as Python 3 has it."""
        token, text = self.token, str(leaf.value)
        if leaf.type == token.NUMBER:
            return self.number(leaf, text)
        if leaf.type == token.STRING:
            return self.string(leaf, text)
        if leaf.type == token.NOTEQUAL and text == "<>":
            self.change(leaf, "AC115", "<>")
            return "!="
        if leaf.type in (token.ASYNC, token.AWAIT, token.NAME) and text in _NEW_WORDS:
            since = _NEW_WORDS[text]
            self.change(leaf, "AC121", f"{text} as a name, a keyword since Python {since}")
            return f"{text}_"
        return text

    def number(self, leaf: object, text: str) -> str:
        if text[-1] in "lL":
            self.change(leaf, "AC117", text)
            text = text[:-1]
        if len(text) > 1 and text[0] == "0" and text.isdigit() and text.strip("0"):
            self.change(leaf, "AC116", text)
            text = f"0o{text[1:]}"
        return text

    def string(self, leaf: object, text: str) -> str:
        prefix = text[: min(text.find(quote) for quote in "'\"" if quote in text)]
        if prefix.lower() == "ur":
            self.change(leaf, "AC118", f"{prefix}{text[2:3]}…")
            return text[1:]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.literal_eval(text)
        except SyntaxError as why:
            words = why.msg.removeprefix("(unicode error) ").removeprefix("(value error) ")
            self.change(leaf, "AC122", f"a string that Python 3 does not read ({words})")
            return "''"
        return text

    # What is Python 2's alone. -------------------------------------------------------------

    def print_stmt(self, node: Any) -> None:
        first, *rest = node.children
        values = [child for child in rest if not self.is_leaf(child, ",")]
        in_brackets = len(rest) == 1 and self.is_in_brackets(rest[0])
        to = None
        if self.is_leaf(values[0] if values else None, ">>"):
            self.change(first, "AC110", "print >>file")
            to = values[1]
            values = values[2:]
        elif not in_brackets:
            self.change(first, "AC110", "print as a statement")
        self.leaf(first)
        self.call(values)
        if to is not None:
            self.parts[-1] = ", file=" if values else "file="
            self.column += len(self.parts[-1]) - 1
            self.visit(to)
            self.write(")")

    def call(self, values: list[Any]) -> None:
        self.write("(")
        for at, value in enumerate(values):
            self.write(", " if at else "")
            self.visit(value)
        self.write(")")

    def exec_stmt(self, node: Any) -> None:
        first, *rest = node.children
        if not (len(rest) == 1 and self.is_in_brackets(rest[0], True)):
            self.change(first, "AC113", "exec as a statement")
        self.leaf(first)
        self.call([child for child in rest if not self.is_leaf(child, ",", "in")])

    def except_clause(self, node: Any) -> None:
        for at, child in enumerate(node.children):
            if at == 2 and self.is_leaf(child, ","):
                self.change(node.children[0], "AC111", "except with a comma")
                self.leaf(child, " as")
            elif at == 3 and not isinstance(child, self.leaf_type):
                # A tuple or an attribute, which is assigned.
                self.leaf(self.first(child), "_target")
            else:
                self.visit(child)

    def raise_stmt(self, node: Any) -> None:
        values = [child for child in node.children[1:] if not self.is_leaf(child, ",")]
        if len(values) < len(node.children) - 1 and not self.is_leaf(node.children[2], "from"):
            self.change(node.children[0], "AC112", "raise with a comma")
            self.leaf(node.children[0])
            self.visit(values[0])
            self.call(values[1:2])
        elif values and self.is_string(values[0]):
            self.change(node.children[0], "AC112", "raise of a string")
            self.all(node.children)
        else:
            self.all(node.children)

    def atom(self, node: Any) -> None:
        if self.is_leaf(node.children[0], "`"):
            self.change(node.children[0], "AC114", "backticks")
            self.leaf(node.children[0], "repr")
            self.call(node.children[1:-1])
        else:
            self.all(node.children)

    def tfpdef(self, node: object) -> None:
        leaf = self.first(node)
        self.change(leaf, "AC119", "a tuple among the parameters")
        self.tuples += 1
        self.leaf(leaf, f"_tuple{self.tuples}")

    vfpdef = tfpdef

    def expr_stmt(self, node: Any) -> None:
        self.forbid_constants(node.children[0], node.children[1:2])
        self.all(node.children)

    def forbid_constants(self, target: Any, equals: list[Any]) -> None:
        if not self.is_leaf(equals[0] if equals else None, "="):
            return
        for leaf in target.leaves():
            if (
                leaf.type == self.token.NAME
                and leaf.value in _CONSTANTS
                and (
                    leaf is target or self.names[leaf.parent.type] in ("testlist_star_expr", "atom")
                )
            ):
                self.change(leaf, "AC121", f"{leaf.value} assigned to")
                leaf.value = f"{leaf.value}_"

    def testlist_safe(self, node: Any) -> None:
        self.change(self.first(node), "AC122", "a comprehension over values without brackets")
        self.write(" (")
        self.all(node.children)
        self.write(")")

    def import_from(self, node: Any) -> None:
        above = node.parent
        while above is not None and self.names[above.type] != "funcdef":
            above = above.parent
        if above is not None and self.is_leaf(node.children[-1], "*"):
            self.change(node.children[0], "AC122", "import * in a function")
            self.leaf(node.children[0], "pass")
        else:
            self.all(node.children)

    # Questions. ----------------------------------------------------------------------------

    def is_leaf(self, node: object, *values: str) -> bool:
        return isinstance(node, self.leaf_type) and node.value in values

    def is_string(self, node: object) -> bool:
        return isinstance(node, self.leaf_type) and bool(node.type == self.token.STRING)

    def is_in_brackets(self, node: Any, may_be_tuple: bool = True) -> bool:
        """Whether a statement's operand is what a call would have in its brackets."""
        return (
            not isinstance(node, self.leaf_type)
            and self.names[node.type] == "atom"
            and self.is_leaf(node.children[0], "(")
        )

    def first(self, node: Any) -> Any:
        return next(iter(node.leaves()))


def translate(tree: object, text: str) -> Translation:
    """Return a Python 2 program, a concrete tree and its text, as Python 3 would write it."""
    translator = _Translator(text)
    translator.visit(tree)
    translator.done.text = "".join(translator.parts)
    return translator.done


def leaves(tree: Any) -> Iterator[Any]:
    """Return the leaves of a concrete tree."""
    found: Iterator[Any] = tree.leaves()
    return found
