"""The step `asyncio`: channels become protocols, class by class, and the loop is asyncio's.

*Facts.* Channels run on asyncio's loop as they are (`attach`), so a program works while some of its
classes are ported and others are not. What a class is depends on how it is used: a protocol is made
by a server, and a server has to be started by a coroutine.
*Consequence.* A chat class and the listener that makes its channels go together, if the file shows
all that happens to both.
*Trade-off.* Everything else stays a channel, which the same loop drives, with a comment that says
what stood in the way.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import libcst as cst

from . import mail_handlers
from .listeners import Listener, Loop
from .protocols import ChatClass, NotUnderstood, needed_by_others
from .tree import SIGN, Tree, below, dotted, drop_imported, tree_of, with_import

NAME = "asyncio"

_BASES = (
    *("asyncore.dispatcher", "asyncore.dispatcher_with_send", "asyncore.file_dispatcher"),
    *("asynchat.async_chat", "smtpd.SMTPServer", "smtpd.SMTPChannel", "smtpd.DebuggingServer"),
    "smtpd.PureProxy",
)


def apply(text: str, elsewhere: Collection[str] = (), wanted: Collection[str] = ()) -> str:
    """Return a program whose loop is asyncio's, and whose classes are ported where that is safe.

    `elsewhere` are names that other files use; `wanted` are classes, all if there are none.
    """
    text = _without_marks(text)
    if mail_handlers.is_one(text):
        return _tidied(mail_handlers.apply(text))
    tree = tree_of(text)
    channels = [node for node in tree.all(cst.ClassDef) if _is_channel(tree, node)]
    loop = Loop.find(tree)
    if loop is None:
        for call in tree.all(cst.Call):
            if tree.meaning(call.func) == "asyncore.loop":
                words = "await compat.attach() in a coroutine instead of this"
                tree.mark(call, NAME, words)
        return tree.finished()
    ported = _Classes(tree, channels, loop, elsewhere, wanted)
    ported.choose()
    ported.change()
    return _tidied(tree.finished())


def _without_marks(text: str) -> str:
    """Return a text without this step's comments, which are made anew."""
    tree = tree_of(text)
    for line in tree.all(cst.EmptyLine):
        if line.comment is not None and line.comment.value.startswith(f"{SIGN} [{NAME}]"):
            tree.remove(line)
    return tree.finished()


def _is_channel(tree: Tree, node: cst.ClassDef) -> bool:
    return any(tree.meaning(base.value) in _BASES for base in node.bases)


def _tidied(text: str) -> str:
    """Return a program that imports what it uses now, and no classic module for nothing."""
    if "asyncio." in text:
        text = with_import(text, "import asyncio")
    if "attach()" in text:
        text = with_import(text, "from asynccore.compat import attach")
    if "socket.socket(" in text:
        text = with_import(text, "import socket")
    tree = tree_of(text)
    unused = {
        meaning
        for bound, meaning in tree.imported.items()
        if meaning in ("asyncore", "asynchat", "smtpd") and not tree.uses(bound)
    }
    drop_imported(tree, "asynccore", unused - {"asyncore"})
    if "asyncore" in unused:
        drop_imported(tree, "", {"asynccore"})
    return tree.finished()


class _Classes:
    """Which classes of a file can be ported together, and why others can't."""

    def __init__(
        self,
        tree: Tree,
        channels: Sequence[cst.ClassDef],
        loop: Loop,
        elsewhere: Collection[str],
        wanted: Collection[str],
    ) -> None:
        self.tree, self.channels, self.loop = tree, channels, loop
        self.elsewhere, self.wanted = elsewhere, wanted
        self.chats: dict[str, ChatClass] = {}
        self.listeners: dict[str, Listener] = {}
        self.why: dict[str, str] = {}  # class to what stands in the way
        self.needed: set[str] = set()
        self._given: set[str] = set()  # new variables for listeners

    def choose(self) -> None:
        """Find the classes of a known form, and leave out those that hang on others."""
        for node in self.channels:
            try:
                self._take(node)
            except NotUnderstood as why:
                self.why[node.name.value] = str(why)
        try:
            self.needed = needed_by_others(self.tree, list(self.chats.values()))
        except NotUnderstood as why:
            for name in self.chats:
                self.why[name] = str(why)
            self.chats.clear()
        more = True
        while more:
            more = False
            for name in list(self.listeners):
                made = self.listeners[name].made
                if made in self.chats and not self._fits(self.listeners[name]):
                    del self.listeners[name]
                    self._leave(name, f"it makes a {made} with the connection in another place")
                    more = True
                    continue
                if made not in self.chats:
                    del self.listeners[name]
                    self._leave(name, f"{made}, which it makes, is left")
                    more = True
            for name in list(self.chats):
                makers = [item for item in self.listeners.values() if item.made == name]
                if len(self._calls(name)) != len(makers) or not makers:
                    del self.chats[name]
                    self._leave(name, "it is made by what is no listener of a known form")
                    more = True

    def _fits(self, listener: Listener) -> bool:
        chat = self.chats[listener.made]
        if chat.init is None:
            return listener.place() == 0
        return listener.place() in (chat.place, chat.sock)

    def _leave(self, name: str, why: str) -> None:
        self.why.setdefault(name, why)

    def _take(self, node: cst.ClassDef) -> None:
        name = node.name.value
        meanings = [self.tree.meaning(base.value) for base in node.bases]
        base = next(meaning for meaning in meanings if meaning in _BASES)
        if any(dotted(b.value) == name for n in self.tree.all(cst.ClassDef) for b in n.bases):
            raise NotUnderstood("other classes derive from it")
        if name in self.elsewhere:
            raise NotUnderstood("another file uses it")
        if base == "asynchat.async_chat":
            if self.wanted and name not in self.wanted:
                return
            chat = ChatClass(self.tree, node)
            self._check_references(name, chat.node)
            self.chats[name] = chat
        elif base == "asyncore.dispatcher":
            listener = Listener(self.tree, node)
            self._check_references(name, listener.node)
            self._check_start(name)
            self.listeners[name] = listener
        else:
            raise NotUnderstood(
                f"{base} has no simple counterpart; see docs/porting.md of asynccore"
            )

    def _calls(self, name: str) -> list[cst.Call]:
        return [call for call in self.tree.all(cst.Call) if dotted(call.func) == name]

    def _check_references(self, name: str, node: cst.ClassDef) -> None:
        """The class is called, asked for its attributes or in isinstance, and not handed around."""
        for use in self.tree.uses(name):
            parent = self.tree.parents[use]
            call = self.tree.around(use, cst.Call)
            if (
                use is node.name
                or (isinstance(parent, cst.Call) and parent.func is use)
                or (isinstance(parent, cst.Attribute) and parent.value is use)
                or (call is not None and dotted(call.func) == "isinstance")
                or (call is not None and dotted(call.func) == "super")
            ):
                continue
            raise NotUnderstood("the class is handed to others")

    def _check_start(self, name: str) -> None:
        """Each listener is made right before the loop, by a statement of its own."""
        calls = self._calls(name)
        blocks = []
        at: Any = self.loop.call
        while at in self.tree.parents:
            at = self.tree.parents[at]
            blocks.append(at)
        for call in calls:
            line = self.tree.statement(call)
            small = self.tree.parents[call]
            plain = isinstance(small, cst.Expr) or (
                isinstance(small, cst.Assign)
                and len(small.targets) == 1
                and isinstance(small.targets[0].target, cst.Name)
            )
            block = self.tree.parents.get(line)
            if not plain or not isinstance(line, cst.SimpleStatementLine) or block not in blocks:
                raise NotUnderstood("it is not made by a line of its own beside the loop")
        if not calls:
            raise NotUnderstood("nothing in this file makes one")

    # -- the edits --------------------------------------------------------------------------------

    def change(self) -> None:
        """Note the edits of what is ported, of the loop, and the comments for the rest."""
        tree = self.tree
        for name, chat in self.chats.items():
            chat.change(self.needed)
            assert name not in self.why
        servers: list[str] = []
        for name, listener in self.listeners.items():
            new = [self._variable(call) for call in self._calls(name)]
            servers += new
            closed = any(
                isinstance(node, cst.Attribute)
                and node.attr.value == "close"
                and dotted(node.value) in new
                for node in below(tree.module)
            )
            listener.change(self.chats[listener.made], closed)
        left = [
            node
            for node in self.channels
            if node.name.value not in self.chats and node.name.value not in self.listeners
        ]
        for node in left:
            name = node.name.value
            if name in self.why and (not self.wanted or name in self.wanted):
                tree.mark(node, NAME, f"left on asynccore: {self.why[name]}")
        self.loop.change(servers, bool(left) or self._uses_more())

    def _variable(self, call: cst.Call) -> str:
        """Return the variable that a listener is assigned to, perhaps a new one."""
        small = self.tree.parents[call]
        if isinstance(small, cst.Assign):
            return dotted(small.targets[0].target)
        number, name = 1, "server"
        while not self.tree.is_free(name) or name in self._given:
            number += 1
            name = f"server{number}"
        self._given.add(name)
        target = cst.AssignTarget(cst.Name(name))
        self.tree.edit(small, lambda old: cst.Assign([target], old.value))
        return name

    def _uses_more(self) -> bool:
        """Whether the program asks asynccore for something else: timers, for example."""
        ported = [chat.node for chat in self.chats.values()]
        ported += [listener.node for listener in self.listeners.values()]
        inside = {node for item in ported for node in below(item)}
        for node in self.tree.all(cst.Attribute, cst.Name):
            meaning = self.tree.meaning(node)
            if meaning.startswith(("asyncore.", "asynchat.", "smtpd.")) and node not in inside:
                around = self.tree.around(node, cst.Import, cst.ImportFrom)
                if around is None and meaning not in ("asyncore.loop", "asyncore.close_all"):
                    return True
        return False
