"""A mail server of smtpd as a handler of aiosmtpd, and its controller on the program's own thread.

smtpd hands `process_message` the message with its line ends as LF and without the last one, as
bytes or, with `decode_data`, as text. aiosmtpd has it as it came. `handle_DATA` hands on what smtpd
would have, so the program's own method stays as it is.
"""

from __future__ import annotations

from typing import Any

import libcst as cst

from .protocols import is_text, with_blank
from .tree import (
    Tree,
    arguments,
    body_of,
    call_in,
    dotted,
    in_place_of,
    statements,
    tree_of,
    with_import,
)

_SERVER = "smtpd.SMTPServer"
_CONSTRUCTOR = (
    *("localaddr", "remoteaddr", "data_size_limit", "map", "enable_SMTPUTF8", "decode_data"),
)
_HANDLE = """
async def handle_DATA(self, server, session, envelope):
    data = envelope.content.replace(b"\\r\\n", b"\\n").removesuffix(b"\\n"){decoded}
    reply = self.process_message({arguments})
    return reply or "250 OK"
"""
_ARGUMENTS = "session.peer, envelope.mail_from, envelope.rcpt_tos, data"
_OPTIONS = f"""
        {_ARGUMENTS},
        mail_options=envelope.mail_options, rcpt_options=envelope.rcpt_options,
    """


def is_one(text: str) -> bool:
    """Whether a program is a mail server and nothing else, in a form that is understood."""
    return _Program(tree_of(text)).is_known()


def apply(text: str) -> str:
    """Return such a program on aiosmtpd."""
    program = _Program(tree_of(text))
    assert program.is_known()
    text = program.changed()
    text = with_import(text, "import asyncio")
    return with_import(text, "from aiosmtpd.controller import UnthreadedController")


class _Program:
    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.classes = [
            node
            for node in tree.all(cst.ClassDef)
            if any(tree.meaning(base.value).startswith(_MODULES) for base in node.bases)
        ]
        self.loops = [c for c in tree.all(cst.Call) if tree.meaning(c.func) == "asyncore.loop"]
        self.made: list[tuple[cst.Call, dict[str, cst.BaseExpression]]] = []

    def is_known(self) -> bool:
        """Whether there is one loop, and servers that have a `process_message` and no more."""
        tree = self.tree
        if not self.classes or len(self.loops) != 1:
            return False
        loop = self.loops[0]
        if call_in(tree.statement(loop)) is not loop or not tree.is_free("mail_loop"):
            return False
        if arguments(loop, "timeout", "use_poll") is None:
            return False
        return all(self._is_simple(node) for node in self.classes) and self._are_made_simply()

    def _is_simple(self, node: cst.ClassDef) -> bool:
        methods = [line.name.value for line in body_of(node) if isinstance(line, cst.FunctionDef)]
        if [self.tree.meaning(base.value) for base in node.bases] != [_SERVER]:
            return False
        known = not {"__init__", "handle_DATA", "handle_accepted"} & set(methods)
        uses = [
            part
            for part in self.tree.all(cst.Attribute)
            if dotted(part.value) == "self" and part.attr.value in _OWN
        ]
        process = [
            line
            for line in body_of(node)
            if isinstance(line, cst.FunctionDef) and line.name.value == "process_message"
        ]
        takes = len(process) == 1 and len(process[0].params.params) == 5
        return known and not uses and takes and not _RESERVED & set(methods)

    def _are_made_simply(self) -> bool:
        """Whether each server is made by a line beside the loop, with an address and no relay."""
        tree = self.tree
        block = tree.parents[tree.statement(self.loops[0])]
        for node in self.classes:
            uses = [use for use in tree.uses(node.name.value) if use is not node.name]
            calls = [tree.parents[use] for use in uses]
            if (
                len(calls) != 1
                or not isinstance(calls[0], cst.Call)
                or calls[0].func is not uses[0]
            ):
                return False
            call = calls[0]
            line, small = tree.statement(call), tree.parents[call]
            found = arguments(call, *_CONSTRUCTOR)
            beside: Any = block
            while beside is not tree.parents[line] and beside in tree.parents:
                beside = tree.parents[beside]
            if (
                beside is not tree.parents[line]
                or found is None
                or {"map", "enable_SMTPUTF8"} & set(found)
                or not isinstance(found.get("localaddr"), cst.Tuple)
                or not (isinstance(small, cst.Expr) or _is_variable(small))
            ):
                return False
            self.made.append((call, found))
        others = [
            node
            for node in tree.all(cst.Attribute, cst.Name)
            if tree.meaning(node).startswith((*_MODULES, "asyncore.", "asynchat."))
            and tree.around(node, cst.Import, cst.ImportFrom) is None
            and tree.meaning(node) not in (_SERVER, "asyncore.loop", "asyncore.close_all")
        ]
        return not others

    def changed(self) -> str:
        tree = self.tree
        for node, (call, found) in zip(self.classes, self.made, strict=True):
            self._change_class(node, found)
            self._change_making(node, call, found)
        loop = self.loops[0]
        tree.replace(loop, cst.parse_expression("mail_loop.run_forever()"))
        first = tree.statement(self.made[0][0])
        made = statements("mail_loop = asyncio.new_event_loop()")
        tree.edit(first, lambda old: _before(old, made))
        for call in tree.all(cst.Call):
            if tree.meaning(call.func) == "asyncore.close_all":
                tree.replace(call, cst.parse_expression("mail_loop.stop()"))
        return tree.finished()

    def _change_class(self, node: cst.ClassDef, found: dict[str, cst.BaseExpression]) -> None:
        decodes = "decode_data" in found and dotted(found["decode_data"]) == "True"
        process = next(
            line
            for line in body_of(node)
            if isinstance(line, cst.FunctionDef) and line.name.value == "process_message"
        )
        takes_options = process.params.star_kwarg is not None
        text = _HANDLE.format(
            decoded=".decode()" if decodes else "",
            arguments=_OPTIONS if takes_options and not decodes else _ARGUMENTS,
        )
        handle = statements(text)[0].with_changes(leading_lines=[])

        def change(old: cst.ClassDef) -> cst.ClassDef:
            lines = list(old.body.body)
            at = 1 if is_text(lines[0]) else 0
            first = with_blank(handle) if at else handle
            body = old.body.with_changes(body=[*lines[:at], first, *_spaced(lines[at:])])
            return old.with_changes(
                bases=[],
                lpar=cst.MaybeSentinel.DEFAULT,
                rpar=cst.MaybeSentinel.DEFAULT,
                body=body,
            )

        self.tree.edit(node, change)

    def _change_making(
        self, node: cst.ClassDef, call: cst.Call, found: dict[str, cst.BaseExpression]
    ) -> None:
        tree = self.tree
        address = found["localaddr"]
        assert isinstance(address, cst.Tuple)
        host, port = (tree.code(part.value) for part in address.elements[:2])
        options = (
            f", data_size_limit={tree.code(found['data_size_limit'])}"
            if ("data_size_limit" in found)
            else ""
        )
        made = (
            f"UnthreadedController({node.name.value}(), hostname={host}, port={port},"
            f" loop=mail_loop{options})"
        )
        small, line = tree.parents[call], tree.statement(call)
        name = dotted(small.targets[0].target) if isinstance(small, cst.Assign) else ""
        name = name or next(n for n in ("controller", "mail_controller") if tree.is_free(n))
        lines = statements(f"{name} = {made}\n{name}.begin()")
        tree.edit(line, lambda old: in_place_of(old, lines))
        if isinstance(small, cst.Assign):
            for use in tree.all(cst.Attribute):
                if dotted(use.value) == name and use.attr.value == "close":
                    # Its own `end` waits for connections, which may never end once the loop has.
                    tree.replace(use, cst.parse_expression(f"{name}.server.close"))


def _before(old: Any, new: Any) -> Any:
    nodes = list(old) if isinstance(old, cst.FlattenSentinel) else [old]
    above = nodes[0].leading_lines
    first = [new[0].with_changes(leading_lines=above), *new[1:]]
    return cst.FlattenSentinel([*first, nodes[0].with_changes(leading_lines=[]), *nodes[1:]])


def _is_variable(small: cst.CSTNode) -> bool:
    return (
        isinstance(small, cst.Assign)
        and len(small.targets) == 1
        and isinstance(small.targets[0].target, cst.Name)
    )


def _spaced(lines: list[Any]) -> list[Any]:
    if lines and not lines[0].leading_lines:
        lines[0] = with_blank(lines[0])
    return lines


_MODULES = ("smtpd.",)
# What a server has of its own in smtpd, and a handler has not.
_OWN = frozenset("socket close addr map channel_class _localaddr _remoteaddr listen bind".split())
_RESERVED = frozenset("handle_accept handle_close handle_error writable readable close".split())
