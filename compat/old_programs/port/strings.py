"""Functions of the module `string`, and of `rfc822`, that became methods and `email`."""

from __future__ import annotations

import libcst as cst

from .tree import Tree, dotted, drop_imported, tree_of, with_import

# They took the string first; removed in Python 3.0 ("deprecated string functions" of 2.4's docs).
_METHODS = frozenset(
    "capitalize center count expandtabs find index ljust lower lstrip replace rfind rindex rjust"
    " rstrip split strip swapcase translate upper zfill".split()
)
_NUMBERS = {"atoi": "int", "atol": "int", "atof": "float"}
# Modules that Python 2.5 had for hashes, and 3.0 removed.
_HASHES = {"md5.new": "md5", "md5.md5": "md5", "sha.new": "sha1", "sha.sha": "sha1"}
_JOINS = ("join", "joinfields")


def apply(text: str) -> str:
    """Return a program that calls methods instead."""
    tree = tree_of(text)
    done: set[str] = set()
    hashes: set[str] = set()
    for call in tree.all(cst.Call):
        module, _, name = tree.meaning(call.func).partition(".")
        if module == "string" and _is_simple(call):
            done |= {name} if _change(tree, call, name) else set()
        elif module == "rfc822" and name == "Message":
            tree.edit(
                call, lambda old: old.with_changes(func=_expression("email.message_from_file"))
            )
            done.add("Message")
        elif f"{module}.{name}" in _HASHES:
            _change_hash(tree, call, _HASHES[f"{module}.{name}"])
            hashes.add(module)
    for module in hashes:
        drop_imported(tree, "", {module})
        drop_imported(tree, module, {"new", module})
    reads_mail = "Message" in done
    if reads_mail:
        for node in tree.all(cst.Attribute):
            if node.attr.value == "getheader":
                tree.change(node, attr=cst.Name("get"))
        drop_imported(tree, "", {"rfc822"})
        drop_imported(tree, "rfc822", {"Message"})
    for node in tree.all(cst.ImportFrom):
        if node.module is not None and dotted(node.module) == "string":
            drop_imported(tree, "string", done)
    text = tree.finished()
    text = with_import(text, "import hashlib") if hashes else text
    return with_import(text, "import email") if reads_mail else text


def _change_hash(tree: Tree, call: cst.Call, name: str) -> None:
    tree.change(call, func=_expression(f"hashlib.{name}"))


def _is_simple(call: cst.Call) -> bool:
    return bool(call.args) and not any(arg.star or arg.keyword for arg in call.args)


def _change(tree: Tree, call: cst.Call, name: str) -> bool:
    if name in _NUMBERS:
        tree.change(call, func=cst.Name(_NUMBERS[name]))
    elif name in _METHODS or name == "splitfields":
        tree.edit(call, lambda old: _method(old.args[0], name.replace("fields", ""), old.args[1:]))
    elif name in _JOINS and len(call.args) == 1:
        blank = cst.Arg(cst.SimpleString("' '"))
        tree.edit(call, lambda old: _method(blank, "join", old.args))
    elif name in _JOINS and len(call.args) == 2:
        tree.edit(call, lambda old: _method(old.args[1], "join", old.args[:1]))
    else:
        return False
    return True


def _method(owner: cst.Arg, name: str, args: object) -> cst.Call:
    left = list(args)  # type: ignore[call-overload]
    if left:
        left[-1] = left[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    value = in_brackets(owner.value)
    return cst.Call(cst.Attribute(value, cst.Name(name)), left)


def in_brackets(node: cst.BaseExpression) -> cst.BaseExpression:
    """Return an expression that may be followed by a dot."""
    simple = (
        cst.Name | cst.Attribute | cst.Call | cst.Subscript | cst.SimpleString | cst.FormattedString
    )
    if isinstance(node, simple) or node.lpar:
        return node
    return node.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])


def _expression(text: str) -> cst.BaseExpression:
    return cst.parse_expression(text)
