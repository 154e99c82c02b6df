"""Servers' TLS handshakes that a channel drives itself, in the forms that examples spread.

A class of such a form wraps its socket with `do_handshake_on_connect=False`, has a method that
tries `do_handshake` and clears a flag when it is over, and asks the flag in its read and write
handlers; or it waits for the handshake in a loop. All that goes: a socket of `ssl_ext` does its
handshake by itself, and the handlers run when there is plaintext.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import libcst as cst

from .text_channels import channel_classes
from .tree import (
    Tree,
    arguments,
    below,
    body_of,
    dotted,
    in_place_of,
    statements,
    tree_of,
    with_import,
)

_NAME = "tls"
_WRAP = (
    "sock keyfile certfile server_side cert_reqs ssl_version ca_certs"
    " do_handshake_on_connect suppress_ragged_eofs ciphers"
).split()
# What a server asked of its clients, in the words of `ssl_ext.server_context`.
_CLIENT_AUTH = {"CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required", "CERT_NONE": "none"}


def apply(text: str) -> str:
    """Return a program whose known handshakes are left to `ssl_ext`; others get a comment."""
    tree = tree_of(text)
    changed = False
    for node in channel_classes(tree):
        driven = [call for call in _calls(node) if dotted(call.func).endswith(".do_handshake")]
        if not driven or not dotted(driven[0].func).startswith("self."):
            continue
        known = _Handshake(tree, node, driven)
        if known.is_known():
            known.remove()
            changed = True
        else:
            words = "let ssl_ext do the handshake: see TLSMixin in asynccore's docs/tls.md"
            tree.mark(node, _NAME, words)
    text = tree.finished()
    return with_import(text, "from asynccore import ssl_ext") if changed else text


def _calls(node: cst.CSTNode) -> list[cst.Call]:
    return [found for found in below(node) if isinstance(found, cst.Call)]


class _Handshake:
    """What a class does about its handshake."""

    def __init__(self, tree: Tree, node: cst.ClassDef, driven: list[cst.Call]) -> None:
        self.tree, self.node = tree, node
        self.driven = driven
        self.method = ""  # which tries
        self.flag = ""  # which says that it is not over
        self.wrap: cst.Call | None = None
        self.found: dict[str, cst.BaseExpression] = {}
        self.gone: list[cst.CSTNode] = []  # statements
        self.guards: list[cst.If] = []

    def is_known(self) -> bool:
        """Whether everything that has to do with it is of a known form."""
        return (
            len(self.driven) == 1
            and self._find_wrap()
            and self._find_driver()
            and self._find_pending()
            and self._find_flag_uses()
        )

    def _find_wrap(self) -> bool:
        wraps = [c for c in _calls(self.node) if self.tree.meaning(c.func) == "ssl.wrap_socket"]
        found = arguments(wraps[0], *_WRAP) if len(wraps) == 1 else None
        if found is None or "certfile" not in found or "sock" not in found:
            return False
        self.wrap, self.found = wraps[0], found
        required = (
            self.tree.code(found["cert_reqs"]).rpartition(".")[2] if "cert_reqs" in found else ""
        )
        return (
            _is(found.get("server_side"), "True")
            and _is(found.get("do_handshake_on_connect"), "False")
            and not {"ciphers"} & set(found)
            and (not required or required in _CLIENT_AUTH)
            and isinstance(self.tree.statement(wraps[0]), cst.SimpleStatementLine)
        )

    def _find_driver(self) -> bool:
        """Find the method that tries, or the loop that waits."""
        waiting = self.tree.around(self.driven[0], cst.While)
        if waiting is not None:
            self.gone.append(waiting)
            return self._is_harmless(body_of(waiting))
        method = self.tree.around(self.driven[0], cst.FunctionDef)
        if method is None or method.name.value.startswith("handle_"):
            return False
        body = [line for line in body_of(method) if not _is_text(line)]
        if not body or not isinstance(body[0], cst.Try) or method.params.params[1:]:
            return False
        self.method = method.name.value
        flags = {
            dotted(target.target)
            for target in below(method)
            if isinstance(target, cst.AssignTarget)
        }
        if len(flags) != 1 or not self._is_harmless(body):
            return False
        self.flag = flags.pop()
        self.gone.append(method)
        return self.flag.startswith("self.")

    def _is_harmless(self, body: Sequence[Any]) -> bool:
        """Whether statements do nothing but try, wait, end or give up, and note that."""
        allowed = ("do_handshake", "select", "handle_close", "close", "setblocking")
        for node in (part for statement in body for part in below(statement)):
            if isinstance(node, cst.Call) and dotted(node.func).rpartition(".")[2] not in allowed:
                return False
            if isinstance(node, cst.Assign) and not _is_constant(node.value):
                return False
            if isinstance(node, cst.FunctionDef | cst.ClassDef | cst.With | cst.For):
                return False
        return True

    def _find_flag_uses(self) -> bool:
        """Find what asks the flag or calls the method; return whether all of it is known."""
        if not self.method:
            return True
        for node in below(self.node):
            if isinstance(node, cst.Attribute) and dotted(node) in (
                self.flag,
                f"self.{self.method}",
            ):
                if any(self.tree.around(node, cst.FunctionDef) is gone for gone in self.gone):
                    continue
                if not self._note_use(node):
                    return False
        names = (self.method, self.flag.partition(".")[2])
        inside = set(below(self.node))
        return all(
            dotted(node.value) == "self" and node in inside
            for node in self.tree.all(cst.Attribute)
            if node.attr.value in names
        )

    def _note_use(self, node: cst.Attribute) -> bool:
        guard = self.tree.around(node, cst.If)
        if guard is not None and (guard in self.guards or self._is_guard(guard)):
            if guard not in self.guards:
                self.guards.append(guard)
            return True
        line = self.tree.statement(node)
        if not isinstance(line, cst.SimpleStatementLine) or len(line.body) != 1:
            return False
        small = line.body[0]
        if isinstance(small, cst.Assign) and dotted(small.targets[0].target) == self.flag:
            self.gone.append(line)
            return True
        if isinstance(small, cst.Expr) and isinstance(small.value, cst.Call):
            self.gone.append(line)
            return small.value.func is node
        return False

    def _is_guard(self, guard: cst.If) -> bool:
        """Whether it is "if the handshake is on: go on with it", with or without an else."""
        lines = [self.tree.code(line).strip() for line in body_of(guard)]
        tries = f"self.{self.method}()"
        return (
            dotted(guard.test) == self.flag
            and (lines in ([tries], [f"return {tries}"]) or lines == [tries, "return"])
            and (guard.orelse is None or isinstance(guard.orelse, cst.Else))
            and (guard.orelse is not None or len(lines) == 2 or lines[0].startswith("return"))
        )

    def _find_pending(self) -> bool:
        """Find a `readable` that takes what TLS holds back; it is needed no more."""
        for call in _calls(self.node):
            if dotted(call.func) != "self.socket.pending":
                continue
            method = self.tree.around(call, cst.FunctionDef)
            if method is None or method.name.value != "readable":
                return False
            last = body_of(method)[-1]
            if self.tree.code(last).strip() != "return True":
                return False
            if method not in self.gone:
                self.gone.append(method)
        return True

    def remove(self) -> None:
        """Have the socket made by `ssl_ext`, and take the rest out."""
        tree = self.tree
        assert self.wrap is not None
        text = {name: tree.code(value) for name, value in self.found.items()}
        files = text["certfile"] + (f", {text['keyfile']}" if "keyfile" in text else "")
        if "cert_reqs" in text:
            mode = _CLIENT_AUTH[text["cert_reqs"].rpartition(".")[2]]
            files += f', client_auth="{mode}"'
        if "ca_certs" in text:
            files += f", ca={text['ca_certs']}"
        variable = "context" if tree.is_free("context") else "tls_context"
        made = statements(f"{variable} = ssl_ext.server_context({files})")
        sock = f"ssl_ext.OpenSSLSocket({variable}, {text['sock']}, server_side=True)"
        tree.replace(self.wrap, cst.parse_expression(sock))
        line = tree.statement(self.wrap)
        tree.edit(
            line, lambda node: in_place_of(node, [*made, node.with_changes(leading_lines=[])])
        )
        for statement in self.gone:
            tree.remove(statement)
        for guard in self.guards:
            tree.edit(guard, _unguarded)


def _unguarded(guard: cst.If) -> Any:
    if guard.orelse is None:
        return cst.RemovalSentinel.REMOVE
    return in_place_of(guard, body_of(guard.orelse))


def _is(node: cst.CSTNode | None, word: str) -> bool:
    return isinstance(node, cst.Name) and node.value == word


def _is_constant(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Name) and node.value in ("True", "False", "None")


def _is_text(line: cst.CSTNode) -> bool:
    return (
        isinstance(line, cst.SimpleStatementLine)
        and isinstance(line.body[0], cst.Expr)
        and isinstance(line.body[0].value, cst.SimpleString)
    )
