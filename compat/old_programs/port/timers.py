"""The step `timers`: a loop that calls `loop(count=1)` and then something gets a timer for it.

*Facts.* asyncore had no timers, so programs took the loop apart: one pass, then what is to be done
now and then. What is done is done after every event, too, and as seldom as the timeout says when
nothing happens.
*Consequence.* `call_every` with the timeout as its interval, and a whole `loop()`.
*Trade-off.* It is no longer done after every event. Programs that count on that are those whose
calls look at what handlers left, which no tool can tell; the page on porting says so.
"""

from __future__ import annotations

import libcst as cst

from .tree import (
    Tree,
    arguments,
    body_of,
    call_in,
    dotted,
    in_place_of,
    is_plain,
    statements,
    tree_of,
)

NAME = "timers"

_LOOP = ("timeout", "use_poll", "map", "count")
_POLL = ("timeout", "map")
# What classic `loop` waits at most if it isn't told (and `poll`, which then doesn't wait).
_USUAL = "30.0"


def apply(text: str) -> str:
    """Return a program with the loops of the known form replaced, and others marked."""
    tree = tree_of(text)
    for loop in tree.all(cst.While):
        _change(tree, loop)
    return tree.finished()


def _change(tree: Tree, loop: cst.While) -> None:
    body = list(body_of(loop))
    if not body:
        return
    passes = [call for call in map(call_in, body) if call is not None and _is_pass(tree, call)]
    if not passes:
        return
    words = "use asynccore.call_every(seconds, function) before one loop(), and stop() to end it"
    found = arguments(passes[0], *(_POLL if _name(tree, passes[0]) == "poll" else _LOOP))
    rest = [call_in(statement) for statement in body if call_in(statement) not in passes]
    forever = _forever(tree, loop.test)
    if (
        found is None
        or len(passes) > 1
        or not rest
        or forever is None
        or loop.orelse is not None
        or any(call is None or _is_no_tick(tree, call) for call in rest)
    ):
        if rest:
            tree.mark(loop, NAME, words)
        return
    timeout = tree.code(found["timeout"]) if "timeout" in found else _USUAL
    if timeout in ("0", "0.0") or ("timeout" not in found and _name(tree, passes[0]) == "poll"):
        tree.mark(loop, NAME, f"it polls without a rest; {words}")
        return
    owner = tree.code(passes[0].func).rpartition(".")[0]
    call_every = f"{owner}.call_every" if owner else ""
    if not call_every:
        tree.mark(loop, NAME, words)
        return
    where = f", map={tree.code(found['map'])}" if "map" in found else ""
    lines = [
        f"{call_every}({timeout}, {_function(tree, call)}{where})"
        for call in rest
        if call is not None
    ]
    options = [f"{name}={tree.code(found[name])}" for name in ("use_poll", "map") if name in found]
    if forever:
        options.append("until_idle=True")
    lines.append(f"{owner}.loop({', '.join(options)})")
    new = [statement for line in lines for statement in statements(line)]
    comments = [
        line for statement in body for line in statement.leading_lines if line.comment is not None
    ]

    def change(node: cst.While) -> cst.FlattenSentinel[cst.BaseStatement]:
        flat = list(in_place_of(node, new))
        first = flat[0]
        # What the body said about itself is said above the lines that do it now.
        flat[0] = first.with_changes(leading_lines=[*first.leading_lines, *comments])
        return cst.FlattenSentinel(flat)

    tree.edit(loop, change)


def _name(tree: Tree, call: cst.Call) -> str:
    return tree.meaning(call.func).removeprefix("asyncore.")


def _is_pass(tree: Tree, call: cst.Call) -> bool:
    name = _name(tree, call)
    if name == "loop":
        found = arguments(call, *_LOOP)
        count = found.get("count") if found is not None else None
        return isinstance(count, cst.Integer) and count.evaluated_value == 1
    return name == "poll"


def _is_no_tick(tree: Tree, call: cst.Call) -> bool:
    """Whether a call is about the loop itself, or a rest that must not come out of a timer."""
    meaning = tree.meaning(call.func)
    return meaning.startswith(("asyncore.", "time.", "select.", "sys.", "os."))


def _forever(tree: Tree, test: cst.BaseExpression) -> bool | None:
    """Return whether a loop goes on without channels, or None for what can't be told."""
    if isinstance(test, cst.Name) and test.value == "True":
        return True
    if isinstance(test, cst.Integer):
        return True if test.evaluated_value else None
    if isinstance(test, cst.Call) and dotted(test.func) == "len" and test.args:
        test = test.args[0].value
    return False if tree.meaning(test) == "asyncore.socket_map" else None


def _function(tree: Tree, call: cst.Call) -> str:
    """Return an expression for a function that does what a call does, each time anew."""
    if not call.args and is_plain(call.func):
        return tree.code(call.func)
    return f"lambda: {tree.code(call)}"
