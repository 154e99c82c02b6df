"""The steps by name, in the order in which they are taken."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from .. import sources
from . import modern_names, python3, timers, tls, to_asyncio

# A step that has not settled after so many rounds would go on for ever; each settles in two.
_ROUNDS = 5


@dataclass(frozen=True)
class Surroundings:
    """What of a program stands beside a file."""

    path: str = ""  # of the file itself
    modules: frozenset[str] = frozenset()  # modules in the same folder
    names: frozenset[str] = frozenset()  # what other files say of this program's names
    classes: frozenset[str] = frozenset()  # which classes alone are wanted, if any


@dataclass(frozen=True)
class Step:
    """One rewrite: `apply` returns the text as it is after it."""

    name: str
    summary: str
    apply: Callable[[str, Surroundings], str]
    needs: tuple[str, ...] = ()  # steps that come before it
    usual: bool = True  # whether it is taken if no step is named
    needs_names: bool = False  # whether it asks what other files of the program say


STEPS = (
    Step(
        python3.NAME,
        "Python 2 -> Python 3, and bytes where the asyncore API takes them",
        lambda text, around: python3.apply(text, around.path),
    ),
    Step(
        modern_names.NAME,
        "import asyncore -> import asynccore as asyncore, and names that Python removed",
        lambda text, around: modern_names.apply(text, around.modules),
    ),
    Step(
        tls.NAME,
        "ssl.wrap_socket -> contexts, and known hand-driven handshakes -> ssl_ext",
        lambda text, around: tls.apply(text),
        needs=(modern_names.NAME,),
    ),
    Step(
        timers.NAME,
        "while True: loop(timeout=T, count=1); tick() -> call_every(T, tick); loop()",
        lambda text, around: timers.apply(text),
        needs=(modern_names.NAME,),
    ),
    Step(
        to_asyncio.NAME,
        "async_chat -> asyncio.Protocol, loop() -> asyncio.run, SMTPServer -> aiosmtpd",
        lambda text, around: to_asyncio.apply(text, around.names, around.classes),
        needs=(modern_names.NAME,),
        usual=False,
        needs_names=True,
    ),
)


@dataclass
class Ported:
    """A text after the steps, and what could not be done."""

    text: str
    problems: list[str] = field(default_factory=list)


def chosen(names: Iterable[str]) -> tuple[Step, ...]:
    """Return the steps of these names, with those they need, in order; the usual ones if none.

    Raises `ValueError` for a name that no step has.
    """
    wanted = set(names)
    known = {step.name: step for step in STEPS}
    for name in sorted(wanted - set(known)):
        raise ValueError(f"there is no step {name!r}: it is one of {', '.join(known)}")
    if not wanted:
        wanted = {step.name for step in STEPS if step.usual}
    for name in list(wanted):
        wanted.update(known[name].needs)
    return tuple(step for step in STEPS if step.name in wanted)


def port(text: str, steps: Collection[Step], around: Surroundings | None = None) -> Ported:
    r"""Return a program, whose lines end in "\n", after the steps; each until it settles."""
    found = Ported(text)
    around = around or Surroundings()
    for step in steps:
        try:
            for _ in range(_ROUNDS):
                before, found.text = found.text, step.apply(found.text, around)
                if found.text == before:
                    break
        except sources.NeedsExtra as why:
            found.problems.append(str(why))
            break
        except RecursionError:
            found.problems.append(f"{step.name}: nested too deeply")
            break
        except SyntaxError as why:
            line = f"line {why.lineno}: " if why.lineno else ""
            found.problems.append(f"{step.name}: {line}{why.msg}")
            break
    return found


def names_in(source: sources.Source) -> set[str]:
    """Return the names that a file imports from others, or looks up in something."""
    if source.tree2 is not None:
        return {leaf.value for leaf in source.tree2.leaves()}
    found: set[str] = set()
    for node in ast.walk(source.tree) if source.tree is not None else ():
        if isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found
