"""A listener of asyncore as a class that serves on asyncio, and the loop as `asyncio.run`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import libcst as cst

from .protocols import API, ChatClass, NotUnderstood, with_blank
from .tree import Tree, arguments, below, body_of, call_in, dotted, statements

_PLAIN = ("create_socket", "set_reuse_addr", "bind", "listen")
_SERVE = """
async def serve(self):
    loop = asyncio.get_running_loop()
    server = await loop.create_server({factory}, sock=self.socket)
    await server.serve_forever()
"""
_ACCEPT = """
async def serve(self):
    loop = asyncio.get_running_loop()
    self.socket.setblocking(False)
    while True:
        try:
            {sock}, {addr} = await loop.sock_accept(self.socket)
        except OSError:  # too many open files, for example
            await asyncio.sleep(1)
            continue
"""


class Listener:
    """A listener that makes chat channels. Raises `NotUnderstood` for another form."""

    def __init__(self, tree: Tree, node: cst.ClassDef) -> None:
        self.tree, self.node = tree, node
        self.name = node.name.value
        self.methods = {
            line.name.value: line for line in body_of(node) if isinstance(line, cst.FunctionDef)
        }
        self.made = ""  # the class of its channels
        self.sock, self.addr = "sock", "addr"
        self.pair = ""  # the variable that holds both, if they are handed on together
        self.inline = False  # whether accept() is called where the channel is made
        self.rest: Sequence[Any] = ()  # what is done with a connection
        self.at = 0  # which of these makes the channel
        if len(node.bases) != 1 or node.keywords or node.decorators:
            raise NotUnderstood("it has several bases, or decorators")
        self._check_init()
        self._find_accept()
        self._check_uses()

    def _check_init(self) -> None:
        called = {dotted(part.func) for part in below(self.node) if isinstance(part, cst.Call)}
        if "self.connect" in called:
            raise NotUnderstood("it is a client, which loop.create_connection would make")
        if "self.listen" not in called:
            raise NotUnderstood("it reads and writes by itself; see docs/porting.md of asynccore")
        init = self.methods.get("__init__")
        if init is None:
            raise NotUnderstood("it has no constructor")
        self.plain: dict[str, int] = {}  # method of a dispatcher to statement
        for number, line in enumerate(body_of(init)):
            call = call_in(line)
            name = dotted(call.func).removeprefix("self.") if call is not None else ""
            if call is not None and self._is_base_init(call):
                name = "__init__"
                if len(call.args) > (0 if isinstance(call.func.value, cst.Call) else 1):
                    raise NotUnderstood("its constructor hands on more than itself")
            if name in (*_PLAIN, "__init__"):
                if name in self.plain:
                    raise NotUnderstood(f"its constructor calls {name} twice")
                self.plain[name] = number
        if not {"__init__", "create_socket", "bind", "listen"} <= set(self.plain):
            raise NotUnderstood("its constructor does not simply create a socket, bind and listen")
        self.init = init

    def _is_base_init(self, call: cst.Call) -> bool:
        if not isinstance(call.func, cst.Attribute) or call.func.attr.value != "__init__":
            return False
        owner = call.func.value
        return self.tree.meaning(owner) == "asyncore.dispatcher" or (
            isinstance(owner, cst.Call) and dotted(owner.func) == "super"
        )

    def _find_accept(self) -> None:
        accepted, accept = self.methods.get("handle_accepted"), self.methods.get("handle_accept")
        if (accepted is None) == (accept is None):
            raise NotUnderstood("it has not just one of handle_accept and handle_accepted")
        if accepted is not None:
            names = [parameter.name.value for parameter in accepted.params.params]
            if len(names) != 3:
                raise NotUnderstood("its handle_accepted takes other arguments")
            self.sock, self.addr = names[1:]
            self.rest = body_of(accepted)
            self.method = accepted
        else:
            assert accept is not None
            self.rest = self._after_accept(list(body_of(accept)))
            self.method = accept
        makes = [n for n, line in enumerate(self.rest) if self._making(line) is not None]
        if len(makes) != 1:
            raise NotUnderstood("it does not make one channel of each connection")
        self.at = makes[0]
        call = self._making(self.rest[self.at])
        assert call is not None
        self.made = dotted(call.func)
        uses = [
            node
            for line in self.rest
            for node in below(line)
            if isinstance(node, cst.Name) and node.value in (self.sock, self.pair)
        ]
        if len(uses) != (0 if self.inline else 1):
            raise NotUnderstood("it does more with a connection than make a channel of it")
        for line in self.rest:
            if any(isinstance(n, cst.Return | cst.Yield | cst.Await) for n in below(line)):
                raise NotUnderstood("it leaves its handler early")

    def _after_accept(self, lines: list[Any]) -> Sequence[Any]:
        """Return what follows `self.accept()`, in the forms that are usual."""
        first = self.tree.code(lines[0]).split("#")[0].strip() if lines else ""
        target, _, value = first.partition(" = ")
        if len(lines) == 1 and first.count("self.accept()") == 1:
            self.inline = True
            return lines
        if value != "self.accept()":
            raise NotUnderstood("its handle_accept is of another form")
        if "," in target:
            self._name(target)
            return lines[1:]
        second = lines[1] if len(lines) > 1 else None
        if isinstance(second, cst.If) and second.orelse is None:
            test = self.tree.code(second.test)
            inner = list(body_of(second))
            if test in (f"{target} is not None", target) and len(lines) == 2 and inner:
                return self._after_pair(target, inner)
            gives_up = len(inner) == 1 and self.tree.code(inner[0]).strip() == "return"
            if test in (f"{target} is None", f"not {target}") and gives_up:
                return self._after_pair(target, lines[2:])
        raise NotUnderstood("its handle_accept is of another form")

    def _after_pair(self, pair: str, lines: list[Any]) -> Sequence[Any]:
        first = self.tree.code(lines[0]).split("#")[0].strip() if lines else ""
        target, _, value = first.partition(" = ")
        if f"(*{pair}" in first:
            self.pair = pair
            return lines
        if value != pair or "," not in target:
            raise NotUnderstood("its handle_accept is of another form")
        self._name(target)
        return lines[1:]

    def _name(self, target: str) -> None:
        sock, _, addr = target.partition(",")
        if not sock.isidentifier() or not addr.strip():
            raise NotUnderstood("its handle_accept is of another form")
        self.sock, self.addr = sock, addr.strip()

    def _making(self, line: Any) -> cst.Call | None:
        """Return the call by which a statement makes a channel."""
        call = call_in(line)
        if call is None and isinstance(line, cst.SimpleStatementLine) and len(line.body) == 1:
            small = line.body[0]
            if isinstance(small, cst.Assign) and isinstance(small.value, cst.Call):
                call = small.value
        if call is None or not isinstance(call.func, cst.Name):
            return None
        return call if any(map(self._is_connection, call.args)) else None

    def _is_connection(self, argument: cst.Arg) -> bool:
        """Whether an argument is the connection, or that and its address ("*pair")."""
        text = self.tree.code(argument.value)
        if argument.star == "*":
            return text in (self.pair, "self.accept()") and bool(text)
        return not argument.star and text in (self.sock, "self.accept()[0]")

    def place(self) -> int | str:
        """Return which argument of the channel's constructor is the connection."""
        call = self._making(self.rest[self.at])
        assert call is not None
        for number, argument in enumerate(call.args):
            if self._is_connection(argument):
                return number if argument.keyword is None else argument.keyword.value
        raise AssertionError("a call that makes a channel is given the connection")

    def _check_uses(self) -> None:
        plain = [list(body_of(self.init))[number] for number in self.plain.values()]
        accepts = [
            node
            for node in below(self.method)
            if isinstance(node, cst.Attribute) and dotted(node) == "self.accept"
        ]
        known = {node for line in plain for node in below(line)}.union(accepts)
        bases = {node for base in self.node.bases for node in below(base)}
        for node in below(self.node):
            if node in known:
                continue
            if isinstance(node, cst.Attribute) and dotted(node.value) == "self":
                name = node.attr.value
                if name == "serve" or (name in API and name not in ("socket", *self.methods)):
                    raise NotUnderstood(f"it uses self.{name}")
            meaning = self.tree.meaning(node)
            if meaning.startswith(("asyncore.", "asynchat.")) and node not in bases:
                raise NotUnderstood(f"it uses {meaning}")
        for name in self.methods:
            if name in API and name not in ("__init__", "handle_accept", "handle_accepted"):
                raise NotUnderstood(f"it has a {name}() of its own")

    def change(self, chat: ChatClass, is_closed: bool) -> None:
        """Note the edits; `is_closed` says that somebody calls `close` on it."""
        tree = self.tree
        tree.edit(self.node, lambda old: old.with_changes(bases=[], lpar=_NONE, rpar=_NONE))
        tree.edit(self.init, self._changed_init)
        call = self._making(self.rest[self.at])
        assert call is not None
        args = [
            part.with_changes(comma=cst.MaybeSentinel.DEFAULT)
            for part in call.args
            if not self._is_connection(part)
        ]
        both = any(part.star == "*" for part in call.args)
        if both:
            args.insert(0, cst.Arg(cst.parse_expression(self.addr)))
        made = cst.Call(cst.Name(chat.name), args)
        factory = f"lambda: {tree.code(made)}" if args else chat.name
        line = self.rest[self.at]
        alone = len(self.rest) == 1 and call_in(line) is call and not both and not self._uses_addr()
        text = _SERVE if alone else _ACCEPT
        serve = statements(text.format(factory=factory, sock=self.sock, addr=self.addr))[0]
        if not alone:
            connect = f"await loop.connect_accepted_socket({factory}, {self.sock})"
            if call_in(line) is call:
                tree.replace(call, cst.parse_expression(connect))
            else:
                tree.edit(
                    tree.parents[call],
                    lambda old: old.with_changes(
                        value=cst.parse_expression(f"({connect})[1]"),
                    ),
                )
        tree.edit(self.method, lambda old: self._serving(old, serve, alone))
        if is_closed:
            close = statements("def close(self):\n    self.socket.close()\n")[0]
            tree.edit(
                self.node.body, lambda old: old.with_changes(body=[*old.body, with_blank(close)])
            )

    def _uses_addr(self) -> bool:
        return any(
            isinstance(node, cst.Name) and node.value in re.findall(r"\w+", self.addr)
            for line in self.rest
            for node in below(line)
        )

    def _serving(self, method: cst.FunctionDef, serve: Any, alone: bool) -> Any:
        serve = serve.with_changes(leading_lines=method.leading_lines)
        if alone:
            return serve
        lines: list[Any] = list(method.body.body)
        last = lines[-1]
        if self.rest[-1] not in body_of(self.method):
            lines = list(last.body.body)  # it is in "if pair is not None:"
        rest = lines[len(lines) - len(self.rest) :]
        loop = serve.body.body[-1]
        inner = loop.body.with_changes(body=[*loop.body.body, *rest])
        outer = serve.body.with_changes(body=[*serve.body.body[:-1], loop.with_changes(body=inner)])
        return serve.with_changes(body=outer)

    def _changed_init(self, init: cst.FunctionDef) -> Any:
        lines: list[Any] = list(init.body.body)
        new: list[Any] = []
        names = {number: name for name, number in self.plain.items()}
        for number, line in enumerate(lines):
            name = names.get(number, "")
            if not name:
                new.append(line)
            elif name != "__init__":
                call = call_in(line)
                assert call is not None
                given = self.tree.code(call)[len(f"self.{name}") :]
                text = {
                    "create_socket": f"self.socket = socket.socket{given}",
                    "set_reuse_addr": "self.socket.setsockopt(socket.SOL_SOCKET,"
                    " socket.SO_REUSEADDR, 1)",
                }.get(name, f"self.socket.{name}{given}")
                new.append(
                    statements(text)[0].with_changes(
                        leading_lines=line.leading_lines,
                        trailing_whitespace=line.trailing_whitespace,
                    )
                )
        return init.with_changes(body=init.body.with_changes(body=new))


_NONE = cst.MaybeSentinel.DEFAULT

_MAIN = '''
async def {name}(*servers):
    """Serve, and run the channels that are left, until the program is interrupted."""
    async with attach() as channels:
        await asyncio.gather(channels, *(server.serve() for server in servers))
'''
_MAIN_SERVERS = '''
async def {name}(*servers):
    """Serve until the program is interrupted."""
    await asyncio.gather(*(server.serve() for server in servers))
'''
_MAIN_CHANNELS = '''
async def {name}():
    """Run the channels on asyncio's loop until none is left."""
    async with attach() as channels:
        await channels
'''
_MAIN_TIMERS = '''
async def {name}():
    """Run the channels and timers on asyncio's loop until the program is interrupted."""
    async with attach() as channels:
        await asyncio.gather(channels, asyncio.Event().wait())
'''
_MAINS = (_MAIN, _MAIN_SERVERS, _MAIN_CHANNELS, _MAIN_TIMERS)


@dataclass
class Loop:
    """The one place of a file that runs the loop: `loop()`, or what an earlier run made of it."""

    tree: Tree
    call: cst.Call
    name: str  # of the coroutine
    made: cst.FunctionDef | None = None  # the coroutine, if there is one
    has_timers: bool = False  # whether it goes on for timers alone
    servers: list[str] = field(default_factory=list)  # what it serves already

    @classmethod
    def find(cls, tree: Tree) -> Loop | None:
        """Return the loop of a file; None if there is none, or not just one of a known form."""
        calls = [call for call in tree.all(cst.Call) if tree.meaning(call.func) == "asyncore.loop"]
        found: list[Loop] = []
        for call in calls:
            if call.args and dotted(call.args[-1].keyword or call) == "until_idle":
                given = arguments(call, "timeout", "use_poll", "until_idle")
            else:
                given = arguments(call, "timeout", "use_poll")
            if given is None or call_in(tree.statement(call)) is not call:
                return None
            name = next((name for name in _NAMES if tree.is_free(name)), "")
            found.append(Loop(tree, call, name, has_timers="until_idle" in given))
        for call in tree.all(cst.Call):
            if tree.meaning(call.func) == "asyncio.run" and call.args:
                inner = call.args[0].value
                if isinstance(inner, cst.Call) and (made := _main(tree, dotted(inner.func))):
                    servers = [tree.code(part.value) for part in inner.args]
                    found.append(Loop(tree, call, made.name.value, made, servers=servers))
        return found[0] if len(found) == 1 and found[0].name else None

    def change(self, servers: Sequence[str], channels_left: bool) -> None:
        """Note the edits; `servers` are the variables of those that are new."""
        tree = self.tree
        all_servers = [*self.servers, *(name for name in servers if name not in self.servers)]
        timers = self.has_timers or (self.made is not None and "Event()" in tree.code(self.made))
        if not all_servers:
            text = _MAIN_TIMERS if timers else _MAIN_CHANNELS
        else:
            text = _MAIN if channels_left else _MAIN_SERVERS
        main = statements(text.format(name=self.name))[0]
        run = f"asyncio.run({self.name}({', '.join(all_servers)}))"
        if tree.code(self.call) != run:
            tree.replace(self.call, cst.parse_expression(run))
        if self.made is not None:
            if tree.code(self.made).split() != tree.code(main).split():
                above = self.made.leading_lines
                tree.edit(self.made, lambda _: main.with_changes(leading_lines=above))
            return
        top: Any = self.call
        while tree.parents[top] is not tree.module:
            top = tree.parents[top]
        blank = cst.EmptyLine(indent=False)
        tree.edit(
            top,
            lambda old: cst.FlattenSentinel(
                [
                    main.with_changes(leading_lines=[blank, blank]),
                    old.with_changes(leading_lines=_spaced(old.leading_lines)),
                ]
            ),
        )


_NAMES = ("main", "run_channels", "run_all_channels")


def _spaced(lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    """Return leading lines with two blank ones before the comments."""
    kept = list(lines)
    while kept and kept[0].comment is None:
        del kept[0]
    blank = cst.EmptyLine(indent=False)
    return [blank, blank, *kept]


def _main(tree: Tree, name: str) -> cst.FunctionDef | None:
    for line in tree.module.body:
        if isinstance(line, cst.FunctionDef) and line.name.value == name:
            text = tree.code(line).split()  # whatever a program indents by
            if text in [form.format(name=name).split() for form in _MAINS]:
                return line
    return None
