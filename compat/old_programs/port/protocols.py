"""An `async_chat` as an `asyncio.Protocol` that does the same.

*Facts.* A channel is made with its socket and may push in its constructor; a protocol has its
transport only in `connection_made`. `handle_close` is for ends that the channel did not bring about
by `close`; `connection_lost` comes after any. Input is delivered as it comes, up to what may be
the beginning of a terminator, and programs bound it in `collect_incoming_data`.
*Consequence.* The class keeps its handlers; `data_received` does what asynchat did between them.
The constructor is cut before the first statement that needs the connection.
*Trade-off.* A class that uses anything else of asynchat's, or is used in a way that can't be seen
through, is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst

from asynccore import asynchat

from .tree import Tree, below, body_of, call_in, dotted, statements

# What channels have, methods and attributes; what of it is used decides whether it is understood.
API = frozenset(set(dir(asynchat.async_chat)) - set(dir(object)) | {"__init__"}) | frozenset(
    "socket addr connected accepting connecting closing incoming producer_fifo ac_in_buffer"
    " _map _fileno debug terminator".split()
)
_HANDLERS = ("collect_incoming_data", "found_terminator")
_METHODS = ("push", "send", "close", "close_when_done", "set_terminator", "get_terminator")
# What others may call on a protocol, if the class gets a method for it.
_SHORT = {
    "push": "def push(self, data):\n    self.transport.write(data)\n",
    "send": "def send(self, data):\n    self.transport.write(data)\n",
    "close_when_done": "def close_when_done(self):\n    self.transport.close()\n",
    "close": "def close(self):\n    self.transport.abort()\n",
}
_KEPT_DATA = """
def _get_data(self):
    data = b"".join(self.incoming)
    self.incoming.clear()
    return data
"""
_CLOSED = """
def close(self):
    self.is_closed = True
    self.transport.abort()

def connection_lost(self, why):
    if not self.is_closed:
        self.handle_close()
"""
_UP_TO_BYTES = """
def data_received(self, data):
    data, at = self.received + data, 0
    while at < len(data) and not self.transport.is_closing():
        wanted = self.terminator
        end = data.find(wanted, at)
        found = end >= 0
        if not found:
            # What may be the beginning of a terminator waits for the rest of it.
            held = max(n for n in range(len(wanted)) if data.endswith(wanted[:n], at))
            end = len(data) - held
        piece, at = data[at:end], end + len(wanted) * found
        if piece:
            self.collect_incoming_data(piece)
        if not found:
            break
        if not self.transport.is_closing():
            self.found_terminator()
    self.received = data[at:]
"""
_UP_TO_ANY = """
def data_received(self, data):
    data, at = self.received + data, 0
    while at < len(data) and not self.transport.is_closing():
        wanted = self.terminator
        if not wanted:
            end = after = len(data)
            found = False
        elif isinstance(wanted, int):
            end = after = min(at + wanted, len(data))
            self.terminator = wanted - (end - at)
            found = not self.terminator
        else:
            end = data.find(wanted, at)
            found = end >= 0
            if not found:
                # What may be the beginning of a terminator waits for the rest of it.
                held = max(n for n in range(len(wanted)) if data.endswith(wanted[:n], at))
                end = len(data) - held
            after = end + len(wanted) * found
        piece, at = data[at:end], after
        if piece:
            self.collect_incoming_data(piece)
        if not found:
            break
        if not self.transport.is_closing():
            self.found_terminator()
    self.received = data[at:]
"""
# asynccore's names, and what a protocol gets: a class of its own that has one means another thing.
_NEW = ("transport", "received", "is_closed", "data_received", "connection_made", "connection_lost")


class NotUnderstood(Exception):
    """A class can't be rewritten safely; the text says why, for whoever does it by hand."""


class ChatClass:
    """An `async_chat` of a file. Raises `NotUnderstood` if it is none of the known form."""

    def __init__(self, tree: Tree, node: cst.ClassDef) -> None:
        self.tree, self.node = tree, node
        self.name = node.name.value
        self.methods = {
            line.name.value: line for line in body_of(node) if isinstance(line, cst.FunctionDef)
        }
        self.init = self.methods.get("__init__")
        self.base_call: cst.Call | None = None
        self.sock = ""  # the parameter that is the socket
        self.place = 0  # which argument of the constructor it is
        self.first_moved = 0  # the first statement of the constructor that needs the connection
        self.uses: list[cst.Attribute] = []
        self._check_form()
        self._check_init()
        self._check_uses()

    def _check_form(self) -> None:
        if len(self.node.bases) != 1 or self.node.keywords or self.node.decorators:
            raise NotUnderstood("it has several bases, or decorators")
        for name in self.methods:
            if name in API and name not in (*_HANDLERS, "handle_close", "__init__"):
                raise NotUnderstood(f"it has a {name}() of its own")
        for line in body_of(self.node):
            simple = isinstance(line, cst.SimpleStatementLine)
            if not isinstance(line, cst.FunctionDef) and not (
                simple and all(isinstance(p, cst.Assign | cst.Expr | cst.Pass) for p in line.body)
            ):
                raise NotUnderstood("its body has more than methods and values")
            for part in line.body if simple else ():
                for target in part.targets if isinstance(part, cst.Assign) else ():
                    if dotted(target.target) in API:
                        raise NotUnderstood(f"it sets {dotted(target.target)}")
        if any(
            isinstance(part, cst.Call) and dotted(part.func) == "self.connect"
            for part in below(self.node)
        ):
            raise NotUnderstood("it is a client, which loop.create_connection would make")
        for name in _HANDLERS:
            if name not in self.methods:
                raise NotUnderstood(f"it has no {name}() in its own body")

    # -- the constructor --------------------------------------------------------------------------

    def _check_init(self) -> None:
        if self.init is None:
            return
        parameters = self.init.params
        if parameters.star_kwarg or parameters.kwonly_params or self.init.decorators:
            raise NotUnderstood("its constructor takes keywords")
        if not isinstance(parameters.star_arg, cst.MaybeSentinel):
            raise NotUnderstood("its constructor takes any number of arguments")
        names = [parameter.name.value for parameter in parameters.params]
        calls = [
            (number, call)
            for number, line in enumerate(body_of(self.init))
            if (call := call_in(line)) is not None and self._is_base(call, "__init__")
        ]
        if len(calls) != 1:
            raise NotUnderstood("its constructor does not simply call async_chat's")
        self.base_at, self.base_call = calls[0]
        given = [dotted(part.value) for part in self.base_call.args]
        if dotted(self.base_call.func) and given[:1] == ["self"]:
            given = given[1:]
        if len(given) != 1 or given[0] not in names[1:]:
            raise NotUnderstood("its constructor is not given the socket")
        self.sock = given[0]
        self.place = names.index(self.sock) - 1
        if parameters.params[self.place + 1].default is not None:
            raise NotUnderstood("it may be made without a socket, as clients are")
        if len(self.tree.uses(self.sock, self.init)) != 2:  # the parameter, and the base's call
            raise NotUnderstood(f"its constructor does more with {self.sock} than hand it on")
        self.first_moved = len(body_of(self.init))
        for number, line in enumerate(body_of(self.init)):
            if number != self.base_at and self._needs_connection(line):
                self.first_moved = number
                break
        if self.first_moved < self.base_at:
            raise NotUnderstood("its constructor uses the connection before there is one")
        self._check_moved()

    def _is_base(self, call: cst.Call, name: str) -> bool:
        """Whether a call is that of asynchat's method."""
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value != name:
            return False
        owner = call.func.value
        return self.tree.meaning(owner) == "asynchat.async_chat" or (
            isinstance(owner, cst.Call) and dotted(owner.func) == "super"
        )

    def _needs_connection(self, line: cst.CSTNode) -> bool:
        for node in below(line):
            if isinstance(node, cst.Name) and node.value == "self":
                parent = self.tree.parents[node]
                if not isinstance(parent, cst.Attribute) or parent.value is not node:
                    return True  # somebody else may push to it from then on
                name = parent.attr.value
                if name in self.methods or (name in API and name != "set_terminator"):
                    return not self._is_store(parent)
        return False

    def _is_store(self, node: cst.Attribute) -> bool:
        return isinstance(self.tree.parents[node], cst.AssignTarget)

    def _check_moved(self) -> None:
        assert self.init is not None
        lines = list(body_of(self.init))
        moved = {
            node.value
            for line in lines[self.first_moved :]
            for node in below(line)
            if isinstance(node, cst.Name)
        }
        local = {
            dotted(target.target)
            for line in lines[: self.first_moved]
            for target in below(line)
            if isinstance(target, cst.AssignTarget)
        }
        if moved & local:
            raise NotUnderstood("its constructor needs the connection in the middle")
        if any(isinstance(n, cst.Return) for line in lines for n in below(line)):
            raise NotUnderstood("its constructor returns early")
        attributes = {
            node.attr.value for node in below(self.node) if isinstance(node, cst.Attribute)
        }
        self.stored: dict[str, str] = {}  # parameter to attribute
        self.added: list[str] = []
        for parameter in self.init.params.params[1:]:
            name = parameter.name.value
            if name == self.sock or name not in moved:
                continue
            attribute = self._attribute_of(name, lines[: self.first_moved])
            if not attribute:
                if name in attributes or name in self.methods or name in API:
                    raise NotUnderstood(f"its constructor needs {name} when it is connected")
                attribute = name
                self.added.append(name)
            self.stored[name] = attribute

    def _attribute_of(self, name: str, lines: Sequence[Any]) -> str:
        for line in lines:
            for part in below(line):
                if isinstance(part, cst.Assign) and dotted(part.value) == name:
                    target = dotted(part.targets[0].target)
                    if target.startswith("self."):
                        return target.removeprefix("self.")
        return ""

    # -- what is used -----------------------------------------------------------------------------

    def _check_uses(self) -> None:
        own = {
            node.attr.value
            for node in below(self.node)
            if isinstance(node, cst.Attribute)
            and dotted(node.value) == "self"
            and self._is_store(node)
        }
        if own & set(_NEW) or set(self.methods) & set(_NEW):
            raise NotUnderstood("it has names that protocols have")
        for node in below(self.node):
            meaning = self.tree.meaning(node)
            if meaning.startswith(("asyncore.", "asynchat.")) and not self._is_known_name(node):
                raise NotUnderstood(f"it uses {meaning}")
            if isinstance(node, cst.Call) and dotted(node.func) == "super":
                outer = self.tree.parents[self.tree.parents[node]]
                if outer is not self.base_call and not self._is_end(outer):
                    raise NotUnderstood("it uses super()")
            if not isinstance(node, cst.Attribute) or dotted(node.value) != "self":
                continue
            name = node.attr.value
            if name not in API or name in own - {"socket"} or name in self.methods:
                continue
            called = isinstance(self.tree.parents[node], cst.Call)
            kept = ("_collect_incoming_data", "_get_data")
            if not (name in (*_METHODS, *kept) and called) and name != "addr":
                raise NotUnderstood(f"it uses self.{name}")
            if name == "send" and call_in(self.tree.statement(node)) is None:
                raise NotUnderstood("it uses what send() returns")
            self.uses.append(node)

    def _is_known_name(self, node: cst.CSTNode) -> bool:
        if any(node in list(below(base)) for base in self.node.bases):
            return True
        call = self.tree.around(node, cst.Call)
        return call is not None and (call is self.base_call or self._is_end(call))

    def _is_end(self, node: cst.CSTNode) -> bool:
        """Whether a call is `handle_close` calling the inherited one."""
        method = self.tree.around(node, cst.FunctionDef)
        return (
            isinstance(node, cst.Call)
            and self._is_base(node, "handle_close")
            and method is self.methods.get("handle_close")
            and call_in(self.tree.statement(node)) is node
        )

    # -- the edits --------------------------------------------------------------------------------

    def change(self, needed: set[str]) -> None:
        """Note the edits; `needed` are methods of a channel that others call on it."""
        tree = self.tree
        tree.replace(self.node.bases[0].value, cst.parse_expression("asyncio.Protocol"))
        ends = [call for call in below(self.node) if self._is_end(call)]
        closes = [node for node in self.uses if node.attr.value == "close"]
        end = self.methods.get("handle_close")
        inside = [node for node in closes if tree.around(node, cst.FunctionDef) is end]
        called = any(
            isinstance(node, cst.Attribute) and node.attr.value == "handle_close"
            for node in below(tree.module)
            if tree.around(node, cst.Call) not in ends
        )
        guarded = end is not None and (len(closes) > len(inside) or "close" in needed or called)
        for node in self.uses:
            self._change_use(node, guarded)
        for call in ends:
            assert isinstance(call, cst.Call)
            tree.replace(call, cst.parse_expression("self.close()" if guarded else _ABORT))
        if end is not None and not guarded:
            tree.edit(end, _as_connection_lost)
        self._change_body(needed, guarded)
        if self.init is not None:
            tree.edit(self.init, self._changed_init)

    def _change_use(self, node: cst.Attribute, guarded: bool) -> None:
        tree, name = self.tree, node.attr.value
        call = tree.parents[node]
        if name in ("push", "send"):
            tree.replace(node, cst.parse_expression("self.transport.write"))
        elif name == "close_when_done":
            tree.replace(node, cst.parse_expression("self.transport.close"))
        elif name == "close" and not guarded:
            tree.replace(node, cst.parse_expression("self.transport.abort"))
        elif name == "_collect_incoming_data":
            tree.replace(node, cst.parse_expression("self.incoming.append"))
        elif name == "get_terminator":
            tree.replace(call, cst.parse_expression("self.terminator"))
        elif name == "addr":
            tree.replace(node, cst.parse_expression('self.transport.get_extra_info("peername")'))
        elif name == "set_terminator":
            self._change_terminator(call)

    def _change_terminator(self, call: Any) -> None:
        line = self.tree.statement(call)
        if call_in(line) is call and len(call.args) == 1:
            target = cst.AssignTarget(cst.Attribute(cst.Name("self"), cst.Name("terminator")))
            self.tree.edit(
                self.tree.parents[call],
                lambda old: cst.Assign([target], old.value.args[0].value),
            )
        # Elsewhere it is called as a method, which `_change_body` adds.

    def _change_body(self, needed: set[str], guarded: bool) -> None:
        parts: list[str] = []
        terminators = [
            self.tree.parents[node] for node in self.uses if node.attr.value == "set_terminator"
        ]
        values = [call.args[0].value for call in terminators if isinstance(call, cst.Call)]
        simple = values and all(
            isinstance(value, cst.SimpleString) and "b" in value.prefix for value in values
        )
        parts.append(_UP_TO_BYTES if simple else _UP_TO_ANY)
        keeps = any(n.attr.value in ("_collect_incoming_data", "_get_data") for n in self.uses)
        if keeps:
            parts.append(_KEPT_DATA)
        if guarded:
            parts.append(_CLOSED)
        parts += [_SHORT[name] for name in sorted(needed - ({"close"} if guarded else set()))]
        first = ['received = b""'] + (["is_closed = False"] if guarded else [])
        if not self._sets_terminator_first():
            first.append("terminator = None")
        new = [with_blank(line) for part in parts for line in statements(part)]
        made = [] if self.init is not None else [with_blank(line) for line in statements(_MADE)]
        if self.init is None and keeps:
            made = [with_blank(line) for line in statements(_MADE_KEEPING)]

        def change(block: cst.IndentedBlock) -> cst.IndentedBlock:
            lines = list(block.body)
            at = 1 if is_text(lines[0]) else 0
            values = [line for text in first for line in statements(text)]
            if at:
                values[0] = with_blank(values[0])
            rest = [*made, *lines[at:], *new]
            if not rest[0].leading_lines:
                rest[0] = with_blank(rest[0])
            return block.with_changes(body=[*lines[:at], *values, *rest])

        self.keeps = keeps
        self.tree.edit(self.node.body, change)

    def _sets_terminator_first(self) -> bool:
        lines = list(body_of(self.init))[: self.first_moved] if self.init is not None else []
        calls = [call for line in lines if (call := call_in(line)) is not None]
        return any(dotted(call.func) == "self.set_terminator" for call in calls)

    def _changed_init(self, init: cst.FunctionDef) -> Any:
        lines: list[Any] = list(init.body.body)
        moved = [line.visit(_Stored(self.stored)) for line in lines[self.first_moved :]]
        kept = [line for n, line in enumerate(lines[: self.first_moved]) if n != self.base_at]
        comments = list(getattr(lines[self.base_at], "leading_lines", ()))
        if kept and self.base_at < len(lines) - 1 and any(line.comment for line in comments):
            at = min(self.base_at, len(kept) - 1)
            kept[at] = kept[at].with_changes(leading_lines=[*comments, *kept[at].leading_lines])
        kept += [line for name in self.added for line in statements(f"self.{name} = {name}")]
        if self.keeps:
            kept += statements("self.incoming = []")
        parameters = [p for p in init.params.params if p.name.value != self.sock]
        parameters[-1] = parameters[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        made = with_blank(statements(_MADE)[0])
        made = made.with_changes(body=made.body.with_changes(body=[*made.body.body, *moved]))
        if not kept:
            return made.with_changes(leading_lines=init.leading_lines)
        constructor = init.with_changes(
            params=init.params.with_changes(params=parameters),
            body=init.body.with_changes(body=kept),
        )
        return cst.FlattenSentinel([constructor, made])


_ABORT = "self.transport.abort()"
_MADE = "def connection_made(self, transport):\n    self.transport = transport\n"
_MADE_KEEPING = f"{_MADE}    self.incoming = []\n"


class _Stored(cst.CSTTransformer):
    """Has parameters that became attributes looked up there."""

    def __init__(self, stored: dict[str, str]) -> None:
        super().__init__()
        self.stored = stored

    def visit_Attribute_attr(self, node: cst.Attribute) -> None: ...

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> Any:
        return updated_node.with_changes(attr=original_node.attr)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> Any:
        return updated_node.with_changes(keyword=original_node.keyword)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> Any:
        if original_node.value in self.stored:
            return cst.parse_expression(f"self.{self.stored[original_node.value]}")
        return updated_node


def _as_connection_lost(method: cst.FunctionDef) -> Any:
    """`handle_close` by its new name, without the closing that has been done already."""
    lines = [
        line
        for line in method.body.body
        if not (call := call_in(line)) or cst.Module([]).code_for_node(call) != _ABORT
    ]
    if not lines:
        return cst.RemovalSentinel.REMOVE
    why = cst.Param(cst.Name("why"))
    parameters = method.params.with_changes(params=[*method.params.params, why])
    return method.with_changes(
        name=cst.Name("connection_lost"),
        params=parameters,
        body=method.body.with_changes(body=lines),
    )


def with_blank(line: Any) -> Any:
    """Return a method with a blank line above it."""
    return line.with_changes(leading_lines=[cst.EmptyLine(indent=False)])


def is_text(line: cst.CSTNode) -> bool:
    """Whether a statement is a docstring."""
    return (
        isinstance(line, cst.SimpleStatementLine)
        and isinstance(line.body[0], cst.Expr)
        and isinstance(line.body[0].value, cst.SimpleString)
    )


def needed_by_others(tree: Tree, classes: Sequence[ChatClass]) -> set[str]:
    """Return which methods of a channel are called on something that may be one of these.

    Raises `NotUnderstood` for attributes that protocols have not.
    """
    needed = set()
    for node in tree.all(cst.Attribute):
        name = node.attr.value
        if name not in API or dotted(node.value) == "self" or tree.meaning(node.value):
            continue
        if isinstance(node.value, cst.Call) and dotted(node.value.func) == "super":
            continue
        if name in _SHORT and isinstance(tree.parents[node], cst.Call):
            needed.add(name)
        elif name in ("connected", "producer_fifo", "push_with_producer", "set_terminator"):
            raise NotUnderstood(f"{tree.code(node)} is used, which protocols have not")
    return needed
