"""What gave and took the strings of Python 2 and gives and takes bytes in Python 3.

A program of Python 2 becomes one whose strings hold bytes, one in each character (Latin-1). So
what packs, hashes, encodes or reads a binary file gives such a string, and what unpacks, decodes
or writes one is given bytes.
"""

from __future__ import annotations

import codecs
from typing import Any

import libcst as cst

from .strings import in_brackets
from .tree import Tree, below, dotted, statements

_NAME = "python3"

_GIVE = frozenset(
    "struct.pack pickle.dumps marshal.dumps zlib.compress zlib.decompress os.urandom"
    " base64.b64encode base64.b64decode base64.encodebytes base64.decodebytes"
    " base64.encodestring base64.decodestring"
    " binascii.hexlify binascii.unhexlify binascii.b2a_hex binascii.a2b_hex".split()
)
# Which argument they take.
_TAKE = {
    "struct.unpack": 1,
    "pickle.loads": 0,
    "marshal.loads": 0,
    "zlib.compress": 0,
    "zlib.decompress": 0,
    "zlib.crc32": 0,
    "zlib.adler32": 0,
    "base64.b64encode": 0,
    "base64.b64decode": 0,
    "base64.encodebytes": 0,
    "base64.decodebytes": 0,
    "base64.encodestring": 0,
    "base64.decodestring": 0,
    "binascii.hexlify": 0,
    "binascii.unhexlify": 0,
    "binascii.b2a_hex": 0,
    "binascii.a2b_hex": 0,
    "hashlib.md5": 0,
    "hashlib.sha1": 0,
    "hashlib.sha256": 0,
    "hmac.new": 0,
}
_HASHES = ("hashlib.md5", "hashlib.sha1", "hashlib.sha256", "hmac.new")
_READS = ("read", "readline")


def change(tree: Tree) -> None:
    """Note the edits for a program that came from Python 2."""
    for call in tree.all(cst.Call):
        meaning = tree.meaning(call.func)
        at = _TAKE.get(meaning)
        if at is not None and len(call.args) > at and not call.args[at].star:
            tree.edit(call.args[at].value, encoded)
        if meaning in _GIVE:
            tree.edit(call, decoded)
        elif meaning == "struct.unpack":
            _change_unpacked(tree, call)
        elif isinstance(call.func, cst.Attribute) and not meaning:
            _change_method(tree, call, call.func.attr.value, call.func.value)
        elif dotted(call.func) == "str" and len(call.args) > 1:
            # It was `unicode(text, encoding)`.
            tree.edit(call, _str_with_encoding)


def _change_method(tree: Tree, call: cst.Call, name: str, owner: cst.BaseExpression) -> None:
    if name in ("encode", "decode") and call.args:
        encoding = call.args[0].value
        if not isinstance(encoding, cst.SimpleString) or not _is_of_text(encoding):
            tree.mark(call, _NAME, f"{name}() is between text and bytes only, in Python 3")
        elif name == "encode":
            tree.edit(call, _plain if _is_latin1(encoding) else decoded)
        else:
            tree.edit(call, _plain if _is_latin1(encoding) else _from_bytes)
    elif name == "digest" and not call.args:
        tree.edit(call, decoded)
    elif name == "update" and _is_hash(tree, owner) and call.args:
        tree.edit(call.args[0].value, encoded)
    elif name in _READS and is_binary(tree, owner):
        tree.edit(call, decoded)
    elif name == "write" and is_binary(tree, owner) and call.args:
        tree.edit(call.args[0].value, encoded)


def _change_unpacked(tree: Tree, call: cst.Call) -> None:
    """Have text in what is unpacked as a string ("16s")."""
    form = call.args[0].value if call.args else None
    if not isinstance(form, cst.SimpleString):
        return  # most are numbers, and this can't be told
    items = _items(str(form.evaluated_value))
    parent = tree.parents[call]
    if isinstance(parent, cst.Subscript) and isinstance(parent.slice[0].slice, cst.Index):
        at = parent.slice[0].slice.value
        number = at.evaluated_value if isinstance(at, cst.Integer) else len(items)
        if items[number : number + 1] == "s":
            tree.edit(parent, decoded)
    elif "s" in items:
        line = tree.statement(call)
        target = parent.targets[0].target if isinstance(parent, cst.Assign) else None
        names = [dotted(part.value) for part in getattr(target, "elements", ())]
        if len(names) != len(items) or not all(names):
            tree.mark(call, _NAME, 'strings that are unpacked are bytes: .decode("latin-1")')
            return
        lines = [
            statements(f'{name} = {name}.decode("latin-1")')[0]
            for name, item in zip(names, items, strict=True)
            if item == "s"
        ]
        tree.edit(line, lambda old: cst.FlattenSentinel([old, *lines]))


def _items(form: str) -> str:
    """Return one letter for each item that a format of `struct` gives: "s" for strings."""
    found, count = "", ""
    for letter in form:
        if letter.isdigit():
            count += letter
            continue
        if letter.isalpha() or letter == "?":
            if letter in "sp":
                found += "s"
            elif letter != "x":
                found += ("s" if letter == "c" else letter) * int(count or 1)
        count = ""
    return found


def _is_of_text(encoding: cst.SimpleString) -> bool:
    try:
        # The same question that `str.encode` asks.
        return bool(codecs.lookup(str(encoding.evaluated_value))._is_text_encoding)
    except LookupError:
        return False


def _is_latin1(encoding: cst.SimpleString) -> bool:
    return codecs.lookup(str(encoding.evaluated_value)).name == "iso8859-1"


def _sources(tree: Tree, node: cst.CSTNode) -> list[cst.CSTNode]:
    """Return the expressions that a variable, or an attribute of self, is assigned."""
    if isinstance(node, cst.Call):
        return [node]
    name = dotted(node)
    kind = cst.ClassDef if isinstance(node, cst.Attribute) else cst.FunctionDef
    scope: cst.CSTNode = tree.around(node, kind) or tree.module
    found: list[cst.CSTNode] = []
    for part in below(scope):
        if isinstance(part, cst.Assign) and any(dotted(t.target) == name for t in part.targets):
            found.append(part.value)
        elif isinstance(part, cst.WithItem) and part.asname is not None:
            found += [part.item] if dotted(part.asname.name) == name else []
    return found if name else []


def is_binary(tree: Tree, node: cst.CSTNode) -> bool:
    """Whether an expression is a file that was opened in binary mode."""
    for call in _sources(tree, node):
        if isinstance(call, cst.Call) and dotted(call.func) in ("open", "io.open"):
            mode = call.args[1].value if len(call.args) > 1 else None
            if isinstance(mode, cst.SimpleString) and "b" in str(mode.evaluated_value):
                return True
    return False


def _is_hash(tree: Tree, node: cst.CSTNode) -> bool:
    return any(
        isinstance(call, cst.Call) and tree.meaning(call.func) in _HASHES
        for call in _sources(tree, node)
    )


# -- edits ----------------------------------------------------------------------------------------


def encoded(node: object) -> Any:
    """Return an expression of text as one of bytes: a literal if it is one."""
    return as_bytes(node) or _followed(node, "encode", "latin-1")


def decoded(node: object) -> Any:
    """Return an expression of bytes as one of text."""
    return _followed(node, "decode", "latin-1")


def as_bytes(node: object) -> Any:
    r"""Return a literal with a b in front, None for what is none.

    Where bytes could not be said so (\u, é), it is encoded as a file of Python 2 most likely was.
    """
    if not isinstance(node, cst.SimpleString | cst.ConcatenatedString):
        return None
    return _with_prefix(node) or _followed(node, "encode", "utf-8")


def _with_prefix(node: object) -> Any:
    if isinstance(node, cst.ConcatenatedString):
        left, right = _with_prefix(node.left), _with_prefix(node.right)
        return node.with_changes(left=left, right=right) if left and right else None
    if not isinstance(node, cst.SimpleString) or not node.value.isascii():
        return None
    if any(escape in node.value for escape in ("\\u", "\\U", "\\N")):
        return None
    prefix = node.prefix.lower().replace("u", "").replace("b", "")
    return node.with_changes(value=f"b{prefix}{node.value[len(node.prefix) :]}")


def _followed(node: Any, method: str, encoding: str) -> Any:
    other = "decode" if method == "encode" else "encode"
    if _is_call_of(node, other, encoding):
        return node.func.value  # the one undoes the other
    attribute = cst.Attribute(in_brackets(node), cst.Name(method))
    return cst.Call(attribute, [cst.Arg(cst.SimpleString(f'"{encoding}"'))])


def _is_call_of(node: object, method: str, encoding: str) -> bool:
    return (
        isinstance(node, cst.Call)
        and isinstance(node.func, cst.Attribute)
        and node.func.attr.value == method
        and len(node.args) == 1
        and isinstance(node.args[0].value, cst.SimpleString)
        and node.args[0].value.evaluated_value == encoding
    )


def _plain(call: Any) -> Any:
    """Latin-1 to Latin-1: what is encoded or decoded stays as it is."""
    return call.func.value


def _from_bytes(call: Any) -> Any:
    return call.with_changes(func=call.func.with_changes(value=encoded(call.func.value)))


def _str_with_encoding(call: Any) -> Any:
    first, second = call.args[0], call.args[1]
    if isinstance(second.value, cst.SimpleString) and _is_of_text(second.value):
        if _is_latin1(second.value):
            return call.with_changes(args=[first.with_changes(comma=cst.MaybeSentinel.DEFAULT)])
    return call.with_changes(args=[first.with_changes(value=encoded(first.value)), *call.args[1:]])
