"""Channels that write down what happens to them, for whichever implementation is given.

Each hook notes that it was called, and may carry out one action of the script before or after
its usual work: that is how handlers close other channels, raise, or run loops of their own.
"""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.differential.reference import Side
    from tests.differential.world import World

# Less than what is sent in one go, so that reading goes on over several passes.
RECEIVE_SIZE = 8192
CHAT_SIZE = 4096


class Spec(NamedTuple):
    """How a channel is to be made, and what its handlers do."""

    kind: str = "plain"  # plain, sender, chat
    predicates: str = "class"  # inherited, class, instance
    on_close: str = "close"  # or keep: handle_close leaves the channel open
    on_error: str = "log"  # or reraise

    @property
    def buffered(self) -> bool:
        return self.kind != "plain"


class Behaviour:
    """What the recording channels have in common; a mixin in front of a classic class."""

    world: World
    index: Any
    spec: Spec
    socket: Any

    def prepare(self, world: World, index: Any, spec: Spec) -> None:
        self.world, self.index, self.spec = world, index, spec
        self.want_read = self.want_write = True
        self.reactions: dict[tuple[str, bool], list[Any]] = {}
        self.ended = False
        self.failing = False
        if spec.kind == "plain":
            self.want_write = spec.predicates == "inherited"
        else:
            self.want_write = False
        if spec.predicates == "instance":
            self.assign()

    def assign(self) -> None:
        """Put predicates on the instance, as programs do to switch a channel off for a while."""
        vars(self)["readable"] = lambda: self.want_read
        vars(self)["writable"] = self.wants_to_write

    def wants_to_write(self) -> Any:
        if self.spec.buffered:
            return self.want_write or self.usual_writable()  # type: ignore[attr-defined]
        return self.want_write or self.connecting  # type: ignore[attr-defined]

    def note(self, what: str, detail: object = None) -> None:
        self.world.note(self.index, what, detail)

    def react(self, hook: str, before: bool) -> None:
        actions = self.reactions.get((hook, before))
        if actions and not (self.ended and hook in ("read", "write")):
            self.world.act(self, hook, actions.pop(0))

    # -- hooks ----------------------------------------------------------------------------------

    def handle_read(self) -> None:
        self.react("read", True)
        if self.spec.kind == "chat":
            super().handle_read()  # type: ignore[misc]
            return
        try:
            data = self.recv(RECEIVE_SIZE)  # type: ignore[attr-defined]
        except BlockingIOError:
            return  # a nested loop, or a stale event
        if data:
            self.note("data", data)
            self.react("read", False)

    def collect_incoming_data(self, data: bytes) -> None:
        self.note("data", bytes(data))
        self.react("collect", False)

    def found_terminator(self) -> None:
        self.note("terminator")
        self.react("found", False)

    def handle_write(self) -> None:
        self.note("wrote")
        self.react("write", True)
        if self.spec.buffered:
            super().handle_write()  # type: ignore[misc]

    def handle_connect(self) -> None:
        self.react("connect", True)
        self.note("connect")
        self.react("connect", False)

    def handle_expt(self) -> None:
        try:
            self.note("urgent", self.socket.recv(1, socket.MSG_OOB))
        except OSError:
            self.note("urgent")
        self.react("expt", False)

    def handle_error(self) -> None:
        self.note("error", sys.exc_info()[0].__name__)  # type: ignore[union-attr]
        if self.spec.on_error == "reraise":
            raise
        self.failing = True
        try:
            super().handle_error()  # type: ignore[misc]
        finally:
            self.failing = False

    def handle_close(self) -> None:
        self.note("close", "error" if self.failing else None)
        if not self.ended:  # the classic loop calls again, for a channel that stays open
            self.ended = True
            self.react("close", True)
        if self.spec.on_close == "close":
            self.close()  # type: ignore[attr-defined]
            self.note("closed")

    def log_info(self, message: Any, type: str = "info") -> None:
        self.note("log", type)

    # -- what the script asks for ---------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self.socket is not None and self.socket.fileno() >= 0

    def output(self, data: bytes) -> None:
        (self.push if self.spec.kind == "chat" else self.send)(data)  # type: ignore[attr-defined]

    def unsent(self) -> bool:
        """Whether output waits in the channel's own buffer."""
        if self.spec.kind == "chat":
            return bool(self.producer_fifo)  # type: ignore[attr-defined]
        return self.spec.kind == "sender" and bool(self.out_buffer)  # type: ignore[attr-defined]


class AskedOnClass:
    """Predicates on the class, which depend on anything."""

    want_read: bool

    def readable(self) -> Any:
        return self.want_read

    def writable(self) -> Any:
        return self.wants_to_write()  # type: ignore[attr-defined]


class Usurper:
    """Not a dispatcher: the least that a map can hold, in the place of the channel it is for."""

    accepting = False

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self.world = channel.world
        self.index = ("usurper", channel.index)
        self.over = False

    def readable(self) -> bool:
        return not self.over

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = self.channel.socket.recv(RECEIVE_SIZE)
            self.over = not data
            self.world.note(self.index, "data" if data else "over", data)

    def handle_write_event(self) -> None:
        self.world.note(self.index, "wrote")

    def handle_expt_event(self) -> None:
        self.world.note(self.index, "urgent")
        with contextlib.suppress(OSError):
            self.channel.socket.recv(1, socket.MSG_OOB)

    def handle_error(self) -> None:
        self.world.note(self.index, "error")
        self.over = True

    def handle_close(self) -> None:
        self.world.note(self.index, "close")
        self.over = True

    def close(self) -> None:
        self.over = True


@functools.cache
def _classes(asyncore: Any, asynchat: Any) -> dict[tuple[str, bool], type]:
    bases = {
        "plain": asyncore.dispatcher,
        "sender": asyncore.dispatcher_with_send,
        "chat": asynchat.async_chat,
    }
    made: dict[tuple[str, bool], type] = {}
    for kind, base in bases.items():
        extra = {
            "ac_in_buffer_size": CHAT_SIZE,
            "ac_out_buffer_size": CHAT_SIZE,
            "usual_writable": base.writable,
        }
        made[kind, False] = type(f"Recording_{kind}", (Behaviour, base), dict(extra))
        made[kind, True] = type(f"Asking_{kind}", (Behaviour, AskedOnClass, base), dict(extra))
    return made


def make(side: Side, world: World, index: int, spec: Spec, sock: Any) -> Any:
    """Return a channel; without a socket it is still to be connected."""
    cls = _classes(side.asyncore, side.asynchat)[spec.kind, spec.predicates == "class"]
    channel = cls.__new__(cls)
    channel.prepare(world, index, spec)
    channel.__init__(sock, map=world.map)
    if spec.kind == "chat":
        channel.set_terminator(b"\n")
    return channel
