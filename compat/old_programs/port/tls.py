"""The step `tls`: what `ssl.wrap_socket` did, by contexts; known handshakes, by `ssl_ext`.

*Facts.* `ssl.wrap_socket` went with Python 3.12. It verified nothing unless told to, never looked
at host names, and waited for the handshake. Programs on asyncore that would not wait drove the
handshake themselves, nearly all in the way of the examples of their day.
*Consequence.* A context is made right before each call, with the settings that the call had.
Where a class of a known form drives a server's handshake, the handshake goes, and the socket is
one of `ssl_ext`, which needs none of it.
*Trade-off.* Clients believe what they believed before, and a comment says so: a certificate that
suddenly counts would stop programs that have run for years.
"""

from __future__ import annotations

import libcst as cst

from . import handshakes
from .tree import Tree, arguments, drop_imported, in_place_of, statements, tree_of, with_import

NAME = "tls"

WRAP = (
    "sock keyfile certfile server_side cert_reqs ssl_version ca_certs"
    " do_handshake_on_connect suppress_ragged_eofs ciphers"
).split()
# These negotiate, as contexts do; the others insisted on one version.
_NEGOTIATING = ("PROTOCOL_SSLv23", "PROTOCOL_TLS")
_PASSED_ON = ("do_handshake_on_connect", "suppress_ragged_eofs")


def apply(text: str) -> str:
    """Return a program that calls `ssl.wrap_socket` only where no context could be made."""
    text = handshakes.apply(text)
    tree = tree_of(text)
    calls = [call for call in tree.all(cst.Call) if tree.meaning(call.func) == "ssl.wrap_socket"]
    variable = "context" if tree.is_free("context") else "tls_context"
    wrapped: set[cst.CSTNode] = set()
    replaced = 0
    for call in calls:
        line = tree.around(call, cst.SimpleStatementLine)
        found = arguments(call, *WRAP)
        if (
            line is None
            or line in wrapped
            or found is None
            or "sock" not in found
            or _side(found) is None
            or tree.around(call, cst.Lambda, cst.BaseComp) is not None
        ):
            words = "use ssl.SSLContext(...).wrap_socket, or ssl_ext; see asynccore's docs/tls.md"
            tree.mark(call, NAME, words)
            continue
        wrapped.add(line)
        replaced += 1
        _replace(tree, call, line, found, variable)
    if replaced == len(calls):
        drop_imported(tree, "ssl", {"wrap_socket"})
    needs_module = any(isinstance(call.func, cst.Name) for call in calls) and replaced
    text = tree.finished()
    return with_import(text, "import ssl") if needs_module else text


def _side(found: dict[str, cst.BaseExpression]) -> bool | None:
    """Return whether a call is a server's, None if that can't be told."""
    side = found.get("server_side")
    if side is None:
        return False
    if isinstance(side, cst.Name) and side.value in ("True", "False"):
        return side.value == "True"
    return bool(side.evaluated_value) if isinstance(side, cst.Integer) else None


def _replace(
    tree: Tree,
    call: cst.Call,
    line: cst.SimpleStatementLine,
    found: dict[str, cst.BaseExpression],
    variable: str,
) -> None:
    server = bool(_side(found))
    ssl = tree.code(call.func.value) if isinstance(call.func, cst.Attribute) else "ssl"
    text = {name: tree.code(value) for name, value in found.items()}
    made = [f"{variable} = {ssl}.SSLContext({ssl}.PROTOCOL_TLS_{'SERVER' if server else 'CLIENT'})"]
    required = text.get("cert_reqs", f"{ssl}.CERT_NONE")
    if not server:
        made.append(f"{variable}.check_hostname = False")
    if not server or "cert_reqs" in text:
        made.append(f"{variable}.verify_mode = {required}")
    if "certfile" in text:
        files = text["certfile"] + (f", {text['keyfile']}" if "keyfile" in text else "")
        load = f"{variable}.load_cert_chain({files})"
        made.append(load if server else _if_given(found["certfile"], text["certfile"], load))
    if "ca_certs" in text:
        load = f"{variable}.load_verify_locations({text['ca_certs']})"
        made.append(_if_given(found["ca_certs"], text["ca_certs"], load))
    if "ciphers" in text:
        load = f"{variable}.set_ciphers({text['ciphers']})"
        made.append(_if_given(found["ciphers"], text["ciphers"], load))
    if not server:
        believes = "any certificate" if required.endswith("CERT_NONE") else "any host's certificate"
        words = f"it believes {believes}, as ever"
        tree.mark(line, NAME, words)
    version = text.get("ssl_version", _NEGOTIATING[0]).rpartition(".")[2]
    if version not in _NEGOTIATING:
        words = f"it asked for {version}; TLS 1.2 or later is spoken now"
        tree.mark(line, NAME, words)
    options = ["server_side=True"] if server else []
    options += [f"{name}={text[name]}" for name in _PASSED_ON if name in text]
    wrap = f"{variable}.wrap_socket({', '.join([text['sock'], *options])})"
    tree.replace(call, cst.parse_expression(wrap))
    before = [statement for part in made for statement in statements(part)]
    tree.edit(line, lambda node: in_place_of(node, [*before, node.with_changes(leading_lines=[])]))


def _if_given(node: cst.BaseExpression, text: str, load: str) -> str:
    # What is no constant may be None, which wrap_socket took for "none".
    if isinstance(node, cst.SimpleString):
        return load
    return f"if {text}:\n    {load}"
