"""Channels that were written for text: bytes where the asyncore API takes and gives them.

*Facts.* In Python 2 a string was bytes, and a program split, formatted and printed what came from
the network. Which of its strings should be bytes in Python 3 is a question of what flows where,
and a wrong answer sends "b'...'" to clients.
*Consequence.* A program of that kind stays one of text. What arrives becomes text where it arrives,
and what leaves becomes bytes where it leaves, by Latin-1, in which each byte is a character: any
byte goes through unharmed, lengths are right, and nothing in between need be known.
*Trade-off.* Text beyond Latin-1 has to be encoded by the program itself, as in Python 2; and a few
characters above 127 count as letters or blanks now.

A program that gives bytes literals to the API knows what bytes are, and is left alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from . import byte_strings
from .byte_strings import as_bytes, decoded, encoded, is_binary
from .tree import Tree, below, body_of, call_in, dotted, statements, tree_of

_NAME = "python3"

_CHANNELS = (
    "asyncore.dispatcher",
    "asyncore.dispatcher_with_send",
    "asyncore.file_dispatcher",
    "asynchat.async_chat",
)
_SMTP = ("smtpd.SMTPServer", "smtpd.DebuggingServer", "smtpd.PureProxy", "smtpd.MailmanProxy")
# Methods of a channel that take bytes first.
_TAKE = ("push", "send", "sendto", "set_terminator")
# … and of its socket.
_SOCKET_TAKE = ("send", "sendall", "sendto")
# What a channel of Python 2 passed on to its socket ("cheap inheritance"); that of 3.11 does not.
_OF_SOCKET = frozenset(
    "fileno getpeername getsockname getsockopt makefile recv_into recvfrom sendall sendto"
    " setblocking setsockopt settimeout shutdown".split()
)
_MAKE_BYTES = (
    "struct.pack",
    "pickle.dumps",
    "marshal.dumps",
    "zlib.compress",
    "zlib.decompress",
    "os.urandom",
)
_MAKE_TEXT = ("json.dumps", "time.ctime", "time.strftime", "time.asctime", "str", "repr", "hex")
_KEEP_KIND = frozenset(
    "upper lower strip lstrip rstrip replace join ljust rjust center zfill title capitalize"
    " expandtabs swapcase".split()
)

TEXT, BYTES, NUMBER, UNKNOWN = "text", "bytes", "number", ""


def apply(text: str, was_python2: bool) -> str:
    """Return a program whose channels take and give bytes, if it was written for text."""
    tree = tree_of(text)
    _Mail(tree).change()
    channels = channel_classes(tree)
    if channels:
        kinds = _Kinds(tree, was_python2)
        calls = _Calls(tree, channels)
        given = calls.given_to_api()
        knows_bytes = any(_literal_kind(part) == BYTES for value in given for part in below(value))
        if not knows_bytes and (was_python2 or TEXT in map(kinds.of, given)):
            if was_python2:
                byte_strings.change(tree)
                _change_inherited(tree, channels)
            _Text(tree, channels, kinds, calls).change()
    return tree.finished()


def channel_classes(tree: Tree) -> list[cst.ClassDef]:
    """Return the classes of a file that are channels."""
    return _channels(tree, _CHANNELS)


def _channels(tree: Tree, bases: Iterable[str]) -> list[cst.ClassDef]:
    """Return the classes that derive from these, by way of others of the file too."""
    wanted = set(bases)
    found: list[cst.ClassDef] = []
    names: set[str] = set()
    classes = list(tree.all(cst.ClassDef))
    more = True
    while more:
        more = False
        for node in classes:
            if node in found:
                continue
            if any(
                tree.meaning(base.value) in wanted or dotted(base.value) in names
                for base in node.bases
            ) or ("asynchat.async_chat" in wanted and _looks_like_one(node)):
                found.append(node)
                names.add(node.name.value)
                more = True
    return [node for node in classes if node in found]


def _looks_like_one(node: cst.ClassDef) -> bool:
    """Whether a class, of a base that the file only imports, has the methods of async_chat."""
    return {"collect_incoming_data", "found_terminator"} <= set(_methods(node))


def _methods(node: cst.ClassDef) -> dict[str, cst.FunctionDef]:
    return {line.name.value: line for line in body_of(node) if isinstance(line, cst.FunctionDef)}


def _as_block(suite: cst.BaseSuite) -> cst.IndentedBlock:
    """Return what follows a colon as a block, though it stood in the same line."""
    if isinstance(suite, cst.IndentedBlock):
        return suite
    assert isinstance(suite, cst.SimpleStatementSuite)
    line = cst.SimpleStatementLine(suite.body, trailing_whitespace=suite.trailing_whitespace)
    return cst.IndentedBlock([line])


def _literal_kind(node: cst.CSTNode) -> str:
    if isinstance(node, cst.SimpleString):
        return BYTES if "b" in node.prefix.lower() else TEXT
    if isinstance(node, cst.ConcatenatedString):
        return _literal_kind(node.left)
    return TEXT if isinstance(node, cst.FormattedString) else UNKNOWN


def _change_inherited(tree: Tree, channels: list[cst.ClassDef]) -> None:
    """Have methods of the socket looked up there."""
    for node in channels:
        for part in below(node):
            if (
                isinstance(part, cst.Attribute)
                and part.attr.value in _OF_SOCKET
                and dotted(part.value) == "self"
                and not tree.defines(part.attr.value)
            ):
                tree.change(part, value=cst.Attribute(cst.Name("self"), cst.Name("socket")))


class _Kinds:
    """Whether expressions are text or bytes, as far as their surroundings tell."""

    def __init__(self, tree: Tree, was_python2: bool) -> None:
        self.tree = tree
        # What gives bytes gives text there, once `byte_strings` has seen to it.
        self.binary = TEXT if was_python2 else BYTES
        self._asked: set[tuple[cst.CSTNode, str]] = set()

    def of(self, node: cst.CSTNode) -> str:
        """Return the kind of an expression: TEXT, BYTES, NUMBER or UNKNOWN."""
        literal = _literal_kind(node)
        if literal:
            return literal
        if isinstance(node, cst.Integer) or (isinstance(node, cst.Name) and node.value == "None"):
            return NUMBER
        if isinstance(node, cst.BinaryOperation):
            return self._of_operation(node)
        if isinstance(node, cst.IfExp):
            return self._common([node.body, node.orelse])
        if isinstance(node, cst.BooleanOperation):
            return self._common([node.left, node.right])
        if isinstance(node, cst.Subscript):
            kind = self.of(node.value)
            return kind if kind == TEXT or isinstance(node.slice[0].slice, cst.Slice) else UNKNOWN
        if isinstance(node, cst.Call):
            return self._of_call(node)
        if isinstance(node, cst.Name | cst.Attribute):
            return self._of_variable(node)
        return UNKNOWN

    def _common(self, nodes: Iterable[cst.CSTNode]) -> str:
        kinds = {self.of(node) for node in nodes} - {UNKNOWN}
        return kinds.pop() if len(kinds) == 1 else UNKNOWN

    def _of_operation(self, node: cst.BinaryOperation) -> str:
        left, right = self.of(node.left), self.of(node.right)
        if isinstance(node.operator, cst.Modulo):
            return left
        for kind in (TEXT, BYTES):
            if kind in (left, right):
                return kind
        return NUMBER if NUMBER in (left, right) else UNKNOWN

    def _of_call(self, node: cst.Call) -> str:
        meaning = self.tree.meaning(node.func) or dotted(node.func)
        if meaning in ("bytes", "bytearray"):
            return BYTES
        if meaning in _MAKE_BYTES:
            return self.binary
        if meaning in _MAKE_TEXT:
            return TEXT
        if meaning in ("int", "len", "min", "max", "float"):
            return NUMBER
        if not isinstance(node.func, cst.Attribute):
            return UNKNOWN
        name = node.func.attr.value
        if name in ("encode", "digest"):
            return self.binary
        if name in ("decode", "recv", "hexdigest", "_get_data"):
            return TEXT  # once it is changed
        if name == "read" and is_binary(self.tree, node.func.value):
            return self.binary
        return self.of(node.func.value) if name in _KEEP_KIND else UNKNOWN

    def _of_variable(self, node: cst.Name | cst.Attribute) -> str:
        name = dotted(node)
        scope = self._scope(node)
        key = (scope, name)
        if not name or key in self._asked:
            return UNKNOWN
        self._asked.add(key)
        try:
            method = self.tree.around(node, cst.FunctionDef)
            if method is not None and _collected(method) == name:
                return TEXT  # once it is changed
            return self._common(self._assigned(node))
        finally:
            self._asked.remove(key)

    def _scope(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return where a variable is assigned: a class for attributes, else a function."""
        if isinstance(node, cst.Attribute):
            return self.tree.around(node, cst.ClassDef) or self.tree.module
        return self.tree.around(node, cst.FunctionDef) or self.tree.module

    def _assigned(self, node: cst.CSTNode) -> list[cst.CSTNode]:
        """Return what is assigned to a variable, in its function, or its class if it is self's."""
        name = dotted(node)
        values: list[cst.CSTNode] = []
        for part in below(self._scope(node)):
            if isinstance(part, cst.Assign):
                in_class = self.tree.around(part, cst.FunctionDef, cst.ClassDef) is self._scope(
                    node
                )
                wanted = name.removeprefix("self.") if in_class else name
                for target in part.targets:
                    values += _paired(target.target, part.value, wanted)
            elif isinstance(part, cst.AugAssign) and dotted(part.target) == name:
                values.append(part.value)
            elif isinstance(part, cst.WithItem) and part.asname is not None:
                if dotted(part.asname.name) == name:
                    values.append(part.item)
        return values


def _paired(target: cst.CSTNode, value: cst.CSTNode, name: str) -> list[cst.CSTNode]:
    if dotted(target) == name:
        return [value]
    if isinstance(target, cst.Tuple) and isinstance(value, cst.Tuple):
        pairs = zip(target.elements, value.elements, strict=False)
        return [part for left, right in pairs for part in _paired(left.value, right.value, name)]
    return []


def _collected(method: cst.FunctionDef) -> str:
    """Return the name of what `collect_incoming_data` is given, "" for another method."""
    parameters = method.params.params
    if method.name.value != "collect_incoming_data" or len(parameters) != 2:
        return ""
    return parameters[1].name.value


class _Calls:
    """Where a file gives something to the API of channels, and to sockets."""

    def __init__(self, tree: Tree, channels: list[cst.ClassDef]) -> None:
        self.tree, self.channels = tree, channels
        self.own = {
            name for node in tree.all(cst.ClassDef) for name in _methods(node) if name in _TAKE
        }
        self.sends: list[cst.Call] = []  # takes bytes in the first argument
        self.base_sends: list[cst.Call] = []  # … in the second, after self
        self.producers: list[cst.Call] = []
        for call in tree.all(cst.Call):
            self._sort(call)

    def _sort(self, call: cst.Call) -> None:
        if self.tree.meaning(call.func) == "asynchat.simple_producer":
            self.producers.append(call)
        if not isinstance(call.func, cst.Attribute) or not call.args or call.args[0].star:
            return
        name, owner = call.func.attr.value, call.func.value
        inside = self.tree.around(call, cst.ClassDef) in self.channels
        if self.tree.meaning(owner) in _CHANNELS and dotted(call.args[0].value) == "self":
            if name in _TAKE and len(call.args) > 1:
                self.base_sends.append(call)
        elif isinstance(owner, cst.Call) and dotted(owner.func) == "super":
            if name in _TAKE:
                self.sends.append(call)
        elif dotted(owner) == "self" and inside:
            if name in _TAKE and name not in self.own:
                self.sends.append(call)
        elif dotted(owner).endswith(("socket", "sock", "conn")) and name in _SOCKET_TAKE:
            self.sends.append(call)
        elif (
            name in ("push", "set_terminator") and name not in self.own and not self._is_list(owner)
        ):
            self.sends.append(call)

    def _is_list(self, owner: cst.CSTNode) -> bool:
        return bool(self.tree.meaning(owner))

    def given_to_api(self) -> list[cst.BaseExpression]:
        """Return the expressions that must be bytes, or numbers, or None."""
        return [
            *(call.args[0].value for call in self.sends),
            *(call.args[1].value for call in self.base_sends),
            *(call.args[0].value for call in self.producers if call.args),
        ]


class _Text:
    """The edits that keep a program one of text."""

    def __init__(
        self, tree: Tree, channels: list[cst.ClassDef], kinds: _Kinds, calls: _Calls
    ) -> None:
        self.tree, self.channels, self.kinds, self.calls = tree, channels, kinds, calls

    def change(self) -> None:
        for value in self.calls.given_to_api():
            self._give_bytes(value)
        for call in self.tree.all(cst.Call):
            self._take_text(call)
        for node in self.channels:
            methods = _methods(node)
            if "collect_incoming_data" in methods:
                self._decode_collected(methods["collect_incoming_data"])
        for comparison in self.tree.all(cst.Comparison):
            self._compare(comparison)
        for node in self.tree.all(cst.ClassDef):
            more = _methods(node).get("more")
            if more is not None and len(more.params.params) == 1:
                self._produce(more)

    def _give_bytes(self, node: cst.BaseExpression) -> None:
        kind = self.kinds.of(node)
        if kind in (BYTES, NUMBER):
            return
        call = (
            self.tree.around(node, cst.Call)
            if not isinstance(node, cst.Call)
            else (self.tree.around(self.tree.parents[node], cst.Call))
        )
        assert call is not None
        name = getattr(call.func, "attr", call.func)
        if kind == UNKNOWN and dotted(name) == "set_terminator":
            words = "a terminator is bytes or a number: see that it is no str"
            self.tree.mark(node, _NAME, words)
        else:
            self._encode(node)

    def _encode(self, node: cst.BaseExpression) -> None:
        self.tree.edit(node, encoded)

    def _take_text(self, call: cst.Call) -> None:
        if not isinstance(call.func, cst.Attribute):
            return
        name, owner = call.func.attr.value, call.func.value
        if self.tree.meaning(owner):  # asyncore.dispatcher.recv(self, n), in a recv of its own
            return
        if name == "recv" and len(call.args) in (1, 2):
            method = self.tree.around(call, cst.FunctionDef)
            if method is None or method.name.value != "recv":
                self.tree.edit(call, decoded)
        elif name == "_get_data" and dotted(owner) == "self":
            self.tree.edit(call, decoded)
        elif name == "join" and call.args and dotted(call.args[0].value) == "self.incoming":
            if _literal_kind(owner) == TEXT:
                self.tree.edit(owner, as_bytes)
                self.tree.edit(call, decoded)
        elif name == "recvfrom":
            self._decode_datagram(call)

    def _decode_datagram(self, call: cst.Call) -> None:
        line = self.tree.statement(call)
        small = line.body[0] if isinstance(line, cst.SimpleStatementLine) else None
        if (
            isinstance(small, cst.Assign)
            and small.value is call
            and isinstance(small.targets[0].target, cst.Tuple)
            and dotted(small.targets[0].target.elements[0].value)
        ):
            name = dotted(small.targets[0].target.elements[0].value)
            after = statements(f'{name} = {name}.decode("latin-1")')
            self.tree.edit(line, lambda old: cst.FlattenSentinel([old, *after]))
        else:
            self.tree.mark(call, _NAME, 'what it receives is bytes: .decode("latin-1")')

    def _decode_collected(self, method: cst.FunctionDef) -> None:
        name = _collected(method)
        hands_on = [call_in(line) for line in _as_block(method.body).body]
        if not name:
            self.tree.mark(method, _NAME, "it is given bytes: decode them")
            return
        if any(call is not None and _calls(call, "_collect_incoming_data") for call in hands_on):
            return
        new = statements(f'{name} = {name}.decode("latin-1")')[0]

        def change(suite: cst.BaseSuite) -> cst.IndentedBlock:
            block = _as_block(suite)
            lines = list(block.body)
            at = 1 if _is_docstring(lines[0]) else 0
            return block.with_changes(body=[*lines[:at], new, *lines[at:]])

        self.tree.edit(method.body, change)

    def _compare(self, node: cst.Comparison) -> None:
        sides = [node.left, *(target.comparator for target in node.comparisons)]
        asked = [
            side
            for side in sides
            if dotted(side) == "self.terminator"
            or (isinstance(side, cst.Call) and dotted(side.func).endswith(".get_terminator"))
        ]
        for side in sides if asked else ():
            if isinstance(side, cst.SimpleString) and _literal_kind(side) == TEXT:
                self.tree.edit(side, as_bytes)

    def _produce(self, more: cst.FunctionDef) -> None:
        for node in below(more):
            if isinstance(node, cst.Return) and node.value is not None:
                kind = self.kinds.of(node.value)
                if kind == TEXT:
                    self._encode(node.value)
                elif kind == UNKNOWN:
                    words = "a producer's more() returns bytes: see that this is no str"
                    self.tree.mark(node, _NAME, words)


def _calls(call: cst.Call, name: str) -> bool:
    return isinstance(call.func, cst.Attribute) and call.func.attr.value == name


def _is_docstring(line: cst.CSTNode) -> bool:
    return (
        isinstance(line, cst.SimpleStatementLine)
        and isinstance(line.body[0], cst.Expr)
        and _literal_kind(line.body[0].value) == TEXT
    )


class _Mail:
    """Mail servers from before Python 3.5, whose `process_message` takes text and no keywords."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree

    def change(self) -> None:
        found = False
        for node in _channels(self.tree, _SMTP):
            method = _methods(node).get("process_message")
            if method is None or method.params.star_kwarg is not None:
                continue
            if len(method.params.params) != 5 or method.params.kwonly_params:
                continue
            found = True
            self.tree.edit(method.params, _with_keywords)
            calls = self._made(node)
            for call in calls:
                self.tree.edit(call, _with_decode_data)
            if not calls:
                self.tree.mark(node, _NAME, "it is given text if it is made with decode_data=True")
        if found:
            self._change_channels()

    def _change_channels(self) -> None:
        """Have channels that a server makes itself decode, too: each is told so by its maker."""
        calls = [
            call
            for call in self.tree.all(cst.Call)
            if self.tree.meaning(call.func) == "smtpd.SMTPChannel"
            and not any(_is_keyword(a, "decode_data") for a in call.args)
        ]
        for node in _channels(self.tree, ("smtpd.SMTPChannel",)):
            calls += self._made(node)
        for call in calls:
            self.tree.edit(call, _with_decode_data)

    def _made(self, node: cst.ClassDef) -> list[cst.Call]:
        """Return the calls that make a server of a class, or that of its base's constructor."""
        init = _methods(node).get("__init__")
        if init is None:
            found = [c for c in self.tree.all(cst.Call) if dotted(c.func) == node.name.value]
        else:
            found = [
                part
                for part in below(init)
                if isinstance(part, cst.Call)
                and isinstance(part.func, cst.Attribute)
                and part.func.attr.value == "__init__"
            ]
        return [call for call in found if not any(_is_keyword(a, "decode_data") for a in call.args)]


def _is_keyword(argument: cst.Arg, name: str) -> bool:
    return argument.star == "**" or (
        argument.keyword is not None and argument.keyword.value == name
    )


def _with_keywords(parameters: cst.Parameters) -> cst.Parameters:
    return parameters.with_changes(star_kwarg=cst.Param(cst.Name("kwargs"), star="**"))


def _with_decode_data(call: cst.Call) -> cst.Call:
    equal = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
    new = cst.Arg(cst.Name("True"), cst.Name("decode_data"), equal)
    return call.with_changes(args=[*call.args, new])
