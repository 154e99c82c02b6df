"""How much there is to port: classes, listeners, clients, terminators, timers, loops."""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass, field

from .program import Program


@dataclass
class Inventory:
    """What a program has of asyncore, counted."""

    files: int = 0
    lines: int = 0
    python2: int = 0  # so many of the files
    classes: Counter[str] = field(default_factory=Counter)  # by the classic class
    listeners: int = 0  # calls of listen()
    clients: int = 0  # calls of connect()
    terminators: Counter[str] = field(default_factory=Counter)
    timers: int = 0  # loops around loop(count=…) and poll()
    loops: int = 0  # calls of loop()

    def rows(self) -> list[tuple[str, str]]:
        """Return what there is, in words, for a table."""
        python2 = f", {self.python2} of them in Python 2" if self.python2 else ""
        rows = [("files", f"{self.files}{python2}"), ("lines", str(self.lines))]
        rows += [(f"classes from {name}", str(n)) for name, n in sorted(self.classes.items())]
        if self.terminators:
            kinds = ", ".join(f"{n} {what}" for what, n in sorted(self.terminators.items()))
            rows.append(("terminators", kinds))
        for name in ("listeners", "clients", "loops", "timers"):
            number = getattr(self, name)
            if number:
                rows.append((_WORDS[name], str(number)))
        return rows

    def as_data(self) -> dict[str, object]:
        """Return the same for JSON."""
        plain = vars(self)
        return {k: dict(v) if isinstance(v, Counter) else v for k, v in plain.items()}


_WORDS = {
    "listeners": "calls of listen()",
    "clients": "calls of connect()",
    "loops": "calls of asyncore.loop()",
    "timers": "timers made by hand",
}


def take(programs: list[Program]) -> Inventory:
    """Count what there is in some files."""
    found = Inventory(files=len(programs))
    for program in programs:
        found.lines += program.source.text.count("\n")
        found.python2 += program.source.python == 2
        found.timers += sum(finding.code == "AC308" for finding in program.findings)
        for one in program.classes.values():
            if one.kind is not None and program.lives(one.node):
                found.classes[one.kind] += 1
                _class(program, one.node, found)
        for node in program.walk():
            if isinstance(node, ast.Call) and program.dotted(node.func) == "asyncore.loop":
                found.loops += 1
    return found


def _class(program: Program, node: ast.ClassDef, found: Inventory) -> None:
    for inner in program.walk(node):
        if not isinstance(inner, ast.Call) or not isinstance(inner.func, ast.Attribute):
            continue
        if not (isinstance(inner.func.value, ast.Name) and inner.func.value.id == "self"):
            continue
        match inner.func.attr:
            case "listen":
                found.listeners += 1
            case "connect":
                found.clients += 1
            case "set_terminator" if inner.args:
                found.terminators[_terminator(inner.args[0])] += 1


def _terminator(node: ast.expr) -> str:
    if not isinstance(node, ast.Constant):
        return "computed"
    return {int: "by length", type(None): "none"}.get(type(node.value), "by a string")
