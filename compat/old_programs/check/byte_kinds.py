"""Where text meets bytes: what the channels take and give, followed through each class.

*Facts.* asyncore's classes take and give bytes. In Python 2 that was `str`, and so is every
literal of these programs, which is text in Python 3. A client is dropped by the first of them that
meets a received byte.
*Consequence.* Each class is run over with kinds instead of values: what `recv` and
`collect_incoming_data` give is bytes, a plain literal is text, and methods, attributes and local
names carry the kinds on, until nothing changes. Bytes win over a literal that was only a
beginning (`self.data = ''`), for that is what has to change then.
*Trade-off.* What comes from elsewhere has no kind, and nothing is said about it: a finding is to
be right, and a second run after the first remedies finds the rest.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable

from .program import Class, Function, Program

BYTES, STR, NUMBER = "bytes", "str", "a number"
TEXT_FILE, BYTES_FILE = "a text file", "a file of bytes"
LIST_BYTES, LIST_STR, LIST_NUMBERS = "bytes in a list", "str in a list", "numbers in a list"
STR_KEYS = "a dict with keys of str"
Kind = str | None
Env = dict[str, Kind]

_LISTS = {BYTES: LIST_BYTES, STR: LIST_STR}
_ELEMENTS = {LIST_BYTES: BYTES, LIST_STR: STR, LIST_NUMBERS: NUMBER, BYTES: NUMBER, STR: STR}
# What list() and its like make of each.
_LISTS_OF = {
    **{kind: kind for kind in (LIST_BYTES, LIST_STR, LIST_NUMBERS)},
    BYTES: LIST_NUMBERS,
    STR: LIST_STR,
}

# Methods of both kinds of string, by what they return.
_SAME = {
    "capitalize", "center", "expandtabs", "ljust", "lower", "lstrip", "replace", "rjust", "rstrip",
    "strip", "swapcase", "title", "translate", "upper", "zfill",
}  # fmt: skip
_SPLITS = {"split", "rsplit", "splitlines", "partition", "rpartition"}
# Those whose operands are strings of the same kind.
_TAKES_ITS_KIND = {
    "count", "endswith", "find", "index", "lstrip", "partition", "replace", "rfind", "rindex",
    "rpartition", "rsplit", "rstrip", "split", "startswith", "strip",
}  # fmt: skip

_GIVES = {
    **dict.fromkeys(
        (
            *("str", "repr", "chr", "hex", "oct", "bin", "unicode", "json.dumps", "time.ctime"),
            *("time.asctime", "time.strftime", "socket.gethostname", "os.getcwd", "urllib.quote"),
            *("urllib.unquote", "urllib.urlencode", "urllib.parse.quote", "urllib.parse.unquote"),
            *("traceback.format_exc", "binascii.hexlify_str", "platform.platform"),
        ),
        STR,
    ),
    **dict.fromkeys(
        (
            *("bytes", "struct.pack", "pickle.dumps", "cPickle.dumps", "zlib.compress"),
            *("zlib.decompress", "base64.b64encode", "base64.b64decode", "os.urandom"),
            *("binascii.hexlify", "binascii.unhexlify", "base64.encodebytes", "socket.inet_aton"),
        ),
        BYTES,
    ),
    **dict.fromkeys(("StringIO.StringIO", "cStringIO.StringIO", "io.StringIO"), TEXT_FILE),
    "io.BytesIO": BYTES_FILE,
    **dict.fromkeys(("len", "int", "ord", "time.time"), NUMBER),
}

# What takes bytes: method, and the place of the operand.
_TAKES_BYTES = {
    "push": 0, "send": 0, "sendall": 0, "sendto": 0, "set_terminator": 0,
}  # fmt: skip
_PRODUCERS = {"asynchat.simple_producer": 0}
# Attributes of the classic classes that hold bytes.
_SEEDS = {"out_buffer": BYTES, "ac_in_buffer": BYTES, "ac_out_buffer": BYTES}
_SOCKETS = ("sock", "conn", "client", "channel", "peer")


class _Meaning:
    """The kinds in one class, or in the functions of a module."""

    def __init__(self, program: Program, found: Class | None, globals_: Env) -> None:
        self.program = program
        self.found = found
        self.globals = globals_
        self.attributes: Env = dict(_SEEDS) if self.is_channel else {}
        # What an attribute was begun with, which bytes turn into a finding.
        self.begun: dict[str, list[ast.AST]] = {}
        self.grown: set[str] = set()  # attributes that bytes are added to
        self.firm: set[str] = set()  # those that are text for sure
        self.parameters: dict[tuple[str, str], Kind] = {}
        self.returns: Env = {}
        self.reporting = False
        self.changed = False
        self.method = ""
        self.returned: list[Kind] = []

    @property
    def is_channel(self) -> bool:
        return self.found is not None and self.found.kind is not None

    # Running -------------------------------------------------------------------------------

    def run(self, functions: Iterable[Function]) -> None:
        functions = list(functions)
        # Each round carries kinds over one more call; chains of calls are short.
        for _ in range(5):
            self.changed = False
            for function in functions:
                self.function(function)
            if not self.changed:
                break
        self.reporting = True
        for function in functions:
            self.function(function)
        for name in sorted(self.grown & self.begun.keys() - self.firm):
            for node in self.begun[name]:
                self.program.add(node, "AC206", f"self.{name} begins as str, and gets bytes")

    def function(self, function: Function) -> None:
        self.method = function.name
        self.returned = []
        env: Env = {}
        for arg in function.args.args:
            env[arg.arg] = self.parameters.get((function.name, arg.arg))
        names = [arg.arg for arg in function.args.args]
        if self.is_channel and function.name == "collect_incoming_data" and len(names) == 2:
            env[names[1]] = BYTES
        if self.gets_mail(function) and len(names) >= 5:
            env[names[4]] = BYTES
        self.block(function.body, env)
        kinds = set(self.returned)
        kind = kinds.pop() if len(kinds) == 1 else None
        self.learn(self.returns, function.name, kind)

    def gets_mail(self, function: Function) -> bool:
        """Whether this is a process_message that is given bytes."""
        if function.name != "process_message" or not self.is_channel or not function.args.kwarg:
            return False
        assert self.program.tree is not None
        return not any(
            isinstance(node, ast.keyword) and node.arg == "decode_data"
            for node in ast.walk(self.program.tree)
        )

    def learn(self, table: Env, name: str, kind: Kind) -> None:
        if table.get(name) != kind:
            table[name] = kind
            self.changed = True

    def report(self, node: ast.AST, code: str, what: str, remedy: str | None = None) -> None:
        if self.reporting:
            self.program.add(node, code, what, remedy)

    def block(self, statements: Iterable[ast.stmt], env: Env) -> None:
        for statement in statements:
            if self.program.lives(statement):
                self.statement(statement, env)

    def statement(self, node: ast.stmt, env: Env) -> None:
        match node:
            case ast.Assign(targets, value):
                for target in targets:
                    self.assign(target, value, self.kind(value, env), env)
            case ast.AnnAssign(target, _, value) if value is not None:
                self.assign(target, value, self.kind(value, env), env)
            case ast.AugAssign(target, op, value):
                self.augment(node, target, op, value, env)
            case ast.If(test, body, orelse):
                self.kind(test, env)
                self.branches([body, orelse], env)
            case ast.Match(subject, cases):
                self.kind(subject, env)
                self.branches([*(case.body for case in cases), []], env)
            case ast.While(test, body, orelse):
                self.kind(test, env)
                self.branches([body, []], env)
                self.block(orelse, env)
            case ast.For(target, values, body, orelse):
                found = self.kind(values, env)
                self.assign(target, None, _ELEMENTS.get(found or ""), env)
                self.branches([body, []], env)
                self.block(orelse, env)
            case ast.Try():
                self.block(node.body, env)
                self.branches([*(handler.body for handler in node.handlers), node.orelse], env)
                self.block(node.finalbody, env)
            case ast.With(items, body):
                for item in items:
                    found = self.kind(item.context_expr, env)
                    if item.optional_vars is not None:
                        self.assign(item.optional_vars, None, found, env)
                self.block(body, env)
            case ast.Return(value):
                found = self.kind(value, env) if value is not None else None
                if self.method == "more" and found == STR and not _is_empty(value):
                    if self.program.imports_any("asynchat"):
                        self.report(node, "AC201", "more() returns str")
                if value is not None:
                    self.returned.append(found)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                pass
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.kind(child, env)

    def branches(self, blocks: list[list[ast.stmt]], env: Env) -> None:
        ends = []
        for body in blocks:
            inner = dict(env)
            self.block(body, inner)
            # What a branch knows that is left for good matters no more.
            if not (
                body and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))
            ):
                ends.append(inner)
        for name in {name for end in ends for name in end}:
            kinds = {end.get(name) for end in ends}
            env[name] = kinds.pop() if len(kinds) == 1 else None

    def assign(self, target: ast.expr, value: ast.expr | None, kind: Kind, env: Env) -> None:
        match target:
            case ast.Name(name):
                env[name] = kind
            case ast.Tuple(targets) | ast.List(targets):
                values = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
                for at, inner in enumerate(targets):
                    one = values[at] if len(values) == len(targets) else None
                    found = self.kind(one, env) if one is not None else _ELEMENTS.get(kind or "")
                    self.assign(inner, one, found if kind != BYTES else None, env)
            case ast.Attribute(ast.Name("self"), name):
                self.attribute(target, name, value, kind, env)
            case ast.Subscript(container, index):
                self.kind(container, env)
                self.kind(index, env)

    def attribute(
        self, target: ast.Attribute, name: str, value: ast.expr | None, kind: Kind, env: Env
    ) -> None:
        if name == "terminator" and self.is_channel and kind == STR and not self.encodes:
            self.report(value or target, "AC201", "self.terminator is given a str")
        if isinstance(value, ast.Constant) and kind == STR:
            # A beginning: it says little of what comes.
            begun = self.begun.setdefault(name, [])
            if value not in begun:
                begun.append(value)
            if self.attributes.get(name) is None and name not in self.attributes:
                self.learn(self.attributes, name, STR)
        elif kind == BYTES or kind == LIST_BYTES:
            if value is not None and _mentions(value, name):
                self.grown.add(name)
            if name not in self.firm:
                self.learn(self.attributes, name, kind)
        elif kind is not None:
            if kind == STR and self.attributes.get(name) == BYTES:
                if value is None or not _mentions(value, name):
                    self.firm.add(name)
                    self.learn(self.attributes, name, None)
            elif name not in self.firm:
                self.learn(self.attributes, name, kind)
        elif isinstance(value, (ast.List, ast.Dict, ast.Constant)):
            self.attributes.setdefault(name, None)
        elif self.attributes.get(name) == STR:
            # It may be anything.
            self.learn(self.attributes, name, None)
            self.firm.add(name)

    def augment(
        self, node: ast.AugAssign, target: ast.expr, op: ast.operator, value: ast.expr, env: Env
    ) -> None:
        added = self.kind(value, env)
        if not isinstance(op, ast.Add):
            return
        if isinstance(target, ast.Attribute) and _is_self(target.value):
            before = self.attributes.get(target.attr)
            if added == BYTES and target.attr not in self.firm:
                self.grown.add(target.attr)
                if before in (None, STR):
                    self.learn(self.attributes, target.attr, BYTES)
            elif added == STR and before == BYTES:
                self.report(node, "AC206", f"str added to self.{target.attr}, which holds bytes",
                            "add bytes: a literal b'…', or ….encode()")  # fmt: skip
            elif added in (LIST_BYTES, LIST_STR):
                self.learn(self.attributes, target.attr, added)
        elif isinstance(target, ast.Name):
            env[target.id] = self.sum(node, self.kind(target, env), added)

    # Expressions -----------------------------------------------------------------------------

    def kind(self, node: ast.expr, env: Env) -> Kind:
        match node:
            case ast.Constant(value):
                if isinstance(value, str):
                    return STR
                return BYTES if isinstance(value, bytes) else None
            case ast.JoinedStr(values):
                for part in values:
                    if isinstance(part, ast.FormattedValue):
                        found = self.kind(part.value, env)
                        if part.conversion in (-1, ord("s")):
                            self.formatted(part.value, found)
                return STR
            case ast.Name(name):
                return env[name] if name in env else self.globals.get(name)
            case ast.Attribute(ast.Name("self"), name):
                return self.attributes.get(name)
            case ast.BinOp(left, op, right):
                return self.operation(node, left, op, right, env)
            case ast.BoolOp(_, values):
                kinds = {self.kind(value, env) for value in values}
                return kinds.pop() if len(kinds) == 1 else None
            case ast.IfExp(test, body, orelse):
                self.kind(test, env)
                kinds = {self.kind(body, env), self.kind(orelse, env)}
                return kinds.pop() if len(kinds) == 1 else None
            case ast.Compare(left, ops, comparators):
                self.compare(node, [left, *comparators], ops, env)
                return None
            case ast.Subscript(value, index):
                return self.subscript(node, value, index, env)
            case ast.Call():
                return self.call(node, env)
            case ast.List(elements) | ast.Tuple(elements):
                kinds = {self.kind(element, env) for element in elements}
                return _LISTS.get(kinds.pop() or "") if len(kinds) == 1 else None
            case ast.Dict(keys, values):
                kinds = {self.kind(key, env) for key in keys if key is not None}
                for value in values:
                    self.kind(value, env)
                return STR_KEYS if kinds == {STR} else None
            case ast.ListComp(element, generators) | ast.GeneratorExp(element, generators):
                inner = dict(env)
                for generator in generators:
                    found = self.kind(generator.iter, inner)
                    self.assign(generator.target, None, _ELEMENTS.get(found or ""), inner)
                    for condition in generator.ifs:
                        self.kind(condition, inner)
                return _LISTS.get(self.kind(element, inner) or "")
            case ast.Lambda():
                return None
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.kind(child, env)
        return None

    def operation(
        self, node: ast.BinOp, left: ast.expr, op: ast.operator, right: ast.expr, env: Env
    ) -> Kind:
        first = self.kind(left, env)
        if isinstance(op, ast.Mod) and first == STR:
            values = right.elts if isinstance(right, ast.Tuple) else [right]
            kinds = [self.kind(value, env) for value in values]
            # %r is meant to show what it is.
            said = _formats(left)
            for at, (value, kind) in enumerate(zip(values, kinds, strict=True)):
                if (at < len(said) and said[at] == "s") or not said:
                    self.formatted(value, kind)
            return STR
        second = self.kind(right, env)
        if isinstance(op, ast.Add):
            return self.sum(node, first, second)
        if isinstance(op, ast.Mult):
            return first if first in (STR, BYTES) else second if second in (STR, BYTES) else None
        return BYTES if isinstance(op, ast.Mod) and first == BYTES else None

    def sum(self, node: ast.AST, first: Kind, second: Kind) -> Kind:
        if {first, second} == {STR, BYTES}:
            self.report(node, "AC206", "str and bytes added")
            return BYTES
        if first in (LIST_BYTES, LIST_STR) and second in (None, first):
            return first
        for kind in (first, second):
            if kind in (STR, BYTES):
                return kind
        return None

    def formatted(self, node: ast.expr, kind: Kind) -> None:
        if kind == BYTES:
            self.report(node, "AC205", f"{_short(node)} is bytes, and shown as b'…'")

    def compare(
        self, node: ast.Compare, sides: list[ast.expr], ops: list[ast.cmpop], env: Env
    ) -> None:
        kinds = [self.kind(side, env) for side in sides]
        for at, op in enumerate(ops):
            pair = (kinds[at], kinds[at + 1])
            if isinstance(op, (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)):
                # An empty literal is as unlike as any other.
                wrong = set(pair) == {STR, BYTES} or (
                    set(pair) == {STR, NUMBER}
                    and any(isinstance(side, ast.Subscript) for side in sides[at : at + 2])
                )
            elif isinstance(op, (ast.In, ast.NotIn)):
                wrong = pair in {
                    (STR, BYTES), (BYTES, STR), (BYTES, LIST_STR), (STR, LIST_BYTES),
                    (BYTES, STR_KEYS), (NUMBER, STR),
                }  # fmt: skip
            else:
                wrong = False
            if wrong:
                self.report(node, "AC202", f"{_short(node)}: {pair[0]} and {pair[1]}")

    def subscript(self, node: ast.Subscript, value: ast.expr, index: ast.expr, env: Env) -> Kind:
        whole = self.kind(value, env)
        if isinstance(index, ast.Slice):
            for part in (index.lower, index.upper, index.step):
                if part is not None:
                    self.kind(part, env)
            return whole
        key = self.kind(index, env)
        if whole == STR_KEYS and key == BYTES:
            self.report(node, "AC202", f"{_short(node)}: bytes looked up among str")
        return _ELEMENTS.get(whole or "")

    # Calls -----------------------------------------------------------------------------------

    def call(self, node: ast.Call, env: Env) -> Kind:
        kinds = [self.kind(arg, env) for arg in node.args]
        for keyword in node.keywords:
            self.kind(keyword.value, env)
        dotted = self.program.dotted(node.func) or ""
        if dotted in ("print", "str", "unicode") and not (dotted != "print" and len(kinds) > 1):
            for arg, kind in zip(node.args, kinds, strict=True):
                self.formatted(arg, kind)
        if dotted == "ord" and kinds[:1] == [NUMBER] and isinstance(node.args[0], ast.Subscript):
            self.report(node, "AC202", f"{_short(node)}: one of bytes is a number already",
                        "leave ord() out")  # fmt: skip
        if dotted in _PRODUCERS and kinds[:1] == [STR]:
            self.report(node.args[0], "AC201", f"{_short(node.func)}() is given a str")
        if dotted.startswith("re.") and kinds[:2] == [STR, BYTES]:
            self.report(node, "AC202", f"{_short(node.func)}(): a pattern of str and bytes")
            return None
        if dotted in ("string.join", "string.joinfields") and kinds[:1] == [LIST_BYTES]:
            self.report(node, "AC203", _short(node))
            return BYTES
        if dotted.startswith("string.") and kinds:
            return self.text_method(node, dotted[7:], kinds[0], kinds[1:])
        if dotted in _GIVES and (dotted != "bytes" or kinds):
            return _GIVES[dotted]
        if dotted in ("list", "sorted", "reversed", "tuple") and kinds:
            return _LISTS_OF.get(kinds[0] or "")
        if dotted == "open":
            return self.opened(node, kinds)
        if isinstance(node.func, ast.Attribute):
            return self.method_call(node, node.func, kinds, env)
        return None

    def opened(self, node: ast.Call, kinds: list[Kind]) -> Kind:
        mode = node.args[1] if len(node.args) > 1 else None
        if mode is None or not isinstance(mode, ast.Constant):
            return TEXT_FILE if mode is None and not node.keywords else None
        return BYTES_FILE if "b" in str(mode.value) else TEXT_FILE

    def method_call(self, node: ast.Call, func: ast.Attribute, kinds: list[Kind], env: Env) -> Kind:
        name = func.attr
        if _is_self(func.value):
            return self.own_method(node, name, kinds)
        owner = self.kind(func.value, env)
        if name == "recv" and self.is_socket(func.value):
            return BYTES
        if name == "recvfrom":
            return None
        first = kinds[0] if kinds else None
        if name == "join":
            if owner == STR and first in (LIST_BYTES, LIST_NUMBERS):
                self.report(node, "AC203", _short(node))
                return BYTES
            return owner
        if owner in (STR, BYTES):
            return self.text_method(node, name, owner, kinds)
        if name in ("encode", "decode"):
            return BYTES if name == "encode" else STR
        if owner in (TEXT_FILE, BYTES_FILE):
            return self.file_method(node, func, owner, first)
        if name in ("append", "insert", "appendleft") and kinds:
            self.appended(func.value, kinds[-1], env)
        if name in ("get", "has_key", "pop") and owner == STR_KEYS and first == BYTES:
            self.report(node, "AC202", f"{_short(node)}: bytes looked up among str")
        if name == "pop" and owner in (LIST_BYTES, LIST_STR):
            return _ELEMENTS[owner]
        self.sent(node, name, kinds, func.value)
        if _is_super(func.value) or self.is_base(func.value):
            return BYTES if name == "recv" else None
        return None

    def file_method(self, node: ast.Call, func: ast.Attribute, owner: Kind, first: Kind) -> Kind:
        if func.attr in ("write", "writelines"):
            if owner == TEXT_FILE and first in (BYTES, LIST_BYTES):
                self.report(node, "AC206", f"{_short(func)}() is given bytes",
                            "write to io.BytesIO, or to a file opened with mode 'wb'")  # fmt: skip
            elif owner == BYTES_FILE and first in (STR, LIST_STR):
                self.report(node, "AC206", f"{_short(func)}() is given str",
                            "write bytes: a literal b'…', or ….encode()")  # fmt: skip
        if func.attr in ("getvalue", "read", "readline"):
            return STR if owner == TEXT_FILE else BYTES
        return None

    def own_method(self, node: ast.Call, name: str, kinds: list[Kind]) -> Kind:
        method = self.found.methods.get(name) if self.found is not None else None
        if method is None:
            self.sent(node, name, kinds, None)
            return BYTES if name == "recv" and self.is_channel else None
        names = [arg.arg for arg in method.args.args][1:]
        for parameter, kind in zip(names, kinds, strict=False):
            known = self.parameters.get((name, parameter))
            if (name, parameter) not in self.parameters or known == kind:
                joined = kind
            else:
                joined = BYTES if BYTES in (known, kind) and None not in (known, kind) else None
            if self.parameters.get((name, parameter), "") != joined:
                self.parameters[name, parameter] = joined
                self.changed = True
        return self.returns.get(name)

    def text_method(self, node: ast.Call, name: str, owner: Kind, kinds: list[Kind]) -> Kind:
        if owner not in (STR, BYTES):
            return None
        other = STR if owner == BYTES else BYTES
        if name in _TAKES_ITS_KIND and other in kinds:
            self.report(node, "AC202", f"{_short(node)}: {owner} and {other}")
        if name == "format" and owner == STR:
            for arg, kind in zip(node.args, kinds, strict=True):
                self.formatted(arg, kind)
            return STR
        if name == "encode":
            return BYTES
        if name == "decode":
            return STR
        if name in _SPLITS:
            return _LISTS[owner]
        if name in ("hexdigest", "hex"):
            return STR
        return owner if name in _SAME else None

    def sent(self, node: ast.Call, name: str, kinds: list[Kind], owner: ast.expr | None) -> None:
        """Add a str that is given to a channel, or to a socket."""
        if name not in _TAKES_BYTES or self.encodes:
            return
        # A method of the program's own may take text; whose it is, only `self` tells.
        if name in self.program.own_names and not (owner is None and not self.inherits(name)):
            return
        if name == "push" and self.found is not None and self.found.kind == "smtpd.SMTPChannel":
            return  # which encodes its replies itself
        at = _TAKES_BYTES[name]
        if owner is not None and self.is_base(owner):
            at += 1  # asynchat.async_chat.push(self, data)
        elif owner is None and not self.is_channel:
            return
        elif owner is not None and name in ("send", "sendall", "sendto"):
            if not (self.is_socket(owner) or _is_super(owner)):
                return
        elif owner is not None and not self.program.imports_any("asynchat", "asyncore"):
            return
        if at < len(kinds) and kinds[at] == STR:
            self.report(node.args[at], "AC201", f"{name}() is given {_short(node.args[at])}")

    @functools.cached_property
    def encodes(self) -> bool:
        """Whether the class has asynchat encode its text (`use_encoding`)."""
        return self.found is not None and any(
            isinstance(node, ast.Assign)
            and any(ast.unparse(target).endswith("use_encoding") for target in node.targets)
            for node in ast.walk(self.found.node)
        )

    def inherits(self, method: str) -> bool:
        """Whether a class of this file that the class is derived from has such a method."""
        waiting, seen = [self.found], set()
        while waiting:
            found = waiting.pop()
            if found is None or id(found) in seen:
                continue
            seen.add(id(found))
            if method in found.methods:
                return True
            waiting += [self.program.classes.get(base) for base in found.bases]
        return False

    def is_base(self, node: ast.expr) -> bool:
        """Whether this is a class that a method is called of, as in `async_chat.push(self, …)`."""
        return self.found is not None and (self.program.dotted(node) or "") in self.found.bases

    def is_socket(self, node: ast.expr) -> bool:
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
        return (
            any(word in str(name).lower() for word in _SOCKETS)
            or _is_super(node)
            or (self.is_base(node))
        )

    def appended(self, target: ast.expr, kind: Kind, env: Env) -> None:
        found = _LISTS.get(kind or "")
        if isinstance(target, ast.Attribute) and _is_self(target.value):
            name = target.attr
            if name == "producer_fifo":
                return
            known = self.attributes.get(name)
            if found is not None and known in (None, found):
                self.learn(self.attributes, name, found)
            elif found is not None:
                self.learn(self.attributes, name, None)
        elif isinstance(target, ast.Name) and env.get(target.id) in (None, found):
            env[target.id] = found


def _is_empty(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def _mentions(value: ast.expr, name: str) -> bool:
    """Whether an attribute's new value is made of its old one, by adding."""
    return isinstance(value, ast.BinOp) and any(
        isinstance(node, ast.Attribute) and node.attr == name and _is_self(node.value)
        for node in ast.walk(value)
    )


def _formats(node: ast.expr) -> list[str]:
    """Return the letters of the conversions in a format, if it is a literal."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
        return []
    letters = []
    text = node.value.replace("%%", "")
    while "%" in text:
        _, _, text = text.partition("%")
        if text.startswith("("):
            text = text.partition(")")[2]
        text = text.lstrip("#0- +123456789.*")
        letters.append(text[:1])
    return letters


def _short(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else f"{text[:37]}…"


def look(program: Program) -> None:
    """Add where text and bytes meet."""
    tree = program.tree
    if tree is None or not program.imports_any("asyncore", "asynchat", "smtpd", "socket"):
        return
    everywhere = _Meaning(program, None, {})
    globals_: Env = {}
    everywhere.block(tree.body, globals_)
    everywhere.globals = globals_
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef,))]
    everywhere.run(f for f in functions if program.lives(f))
    for node in program.walk():
        if isinstance(node, ast.ClassDef):
            found = program.classes[node.name]
            if found.node is not node:
                continue
            meaning = _Meaning(program, found, globals_)
            _inherit(program, found, meaning)
            for statement in node.body:
                if isinstance(statement, ast.Assign):
                    for target in statement.targets:
                        if isinstance(target, ast.Name):
                            kind = meaning.kind(statement.value, {})
                            own = ast.Attribute(ast.Name("self"), target.id, ast.Store())
                            meaning.attribute(own, target.id, statement.value, kind, {})
            meaning.run(found.methods.values())
            _process_message(program, found)


def _inherit(program: Program, found: Class, meaning: _Meaning) -> None:
    """Give a class the kinds of attributes that its bases in the same file begin with."""
    for base in found.bases:
        above = program.classes.get(base)
        if above is None or above is found:
            continue
        for method in above.methods.values():
            for node in ast.walk(method):
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                    for target in node.targets:
                        if isinstance(target, ast.Attribute) and _is_self(target.value):
                            kind = meaning.kind(node.value, {})
                            meaning.attributes.setdefault(target.attr, kind)


def _process_message(program: Program, found: Class) -> None:
    method = found.methods.get("process_message")
    if method is not None and found.kind is not None and found.kind.startswith("smtpd."):
        if (
            method.args.kwarg is None
            and not method.args.kwonlyargs
            and len(method.args.args) <= 5
            and method.args.vararg is None
        ):
            program.add(method, "AC204", f"{found.node.name}.process_message")
