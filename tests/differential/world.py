"""A listener, channels and their peers, which a script of steps is carried out on.

After each step the loop is run until nothing happens any more. It is run in one of two ways:
- *outside*: steps are taken between calls of `loop(count=1)`;
- *inside*: one `loop()` goes on, and the steps are taken by a handler in it, so that nothing but
  the map and the channels themselves can tell the loop of a change.

Loopback delivers while the sender is still in its system call, nearly always: under load it may
take a moment more. A *patient* world gives each pass some time; a difference counts only if it is
there with patience too.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from typing import Any, NamedTuple

from tests.differential import recording
from tests.differential.recording import Spec
from tests.differential.reference import Side

QUIET = 2  # passes without a note end a step
LIMIT = 14  # passes that one step may have
PATIENCE = 0.003  # seconds for each pass of a patient world
FINAL = 5.0  # seconds until what was sent must have arrived; only a failure takes so long
MAX_CHANNELS = 8
MAX_SENT = 60_000  # by one peer: fits into every loopback's buffers, read or not


class Note(NamedTuple):
    step: int
    index: Any
    what: str
    detail: Any


class Result(NamedTuple):
    """What a run gave, before differences are normalised."""

    notes: list[Note]
    ends: dict[int, dict[str, Any]]
    received: dict[int, bytes]  # by the peers
    unsent: set[int]  # the channels that ended with output of their own still waiting
    specs: dict[int, Spec]


class Left(Exception):
    """A script's own exception, raised in handlers."""


class _Driver:
    """A channel that is ready in every pass and takes the next step when all is quiet."""

    def __init__(self, world: World, script: list[Any]) -> None:
        self.world, self.script = world, script
        self.near, self.far = socket.socketpair()
        self.far.send(b".")
        self.quiet = self.passes = 0
        self.seen = len(world.notes)
        self.done = False
        driver = self

        class Driver(world.side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
            def writable(self) -> bool:
                return False

            def handle_read(self) -> None:
                driver.tick()

            def handle_error(self) -> None:
                raise

        self.channel = Driver(self.near, map=world.map)

    def tick(self) -> None:
        world = self.world
        if world.nested:
            return
        world.drain()
        self.passes += 1
        self.quiet = self.quiet + 1 if len(world.notes) == self.seen else 0
        self.seen = len(world.notes)
        if self.quiet < QUIET and self.passes < LIMIT:
            if world.patient:
                select.select([], [], [], PATIENCE)
            return
        self.quiet = self.passes = 0
        if self.script:
            world.step += 1
            world.take(self.script.pop(0))
        else:
            self.done = True
            self.channel.close()

    def close(self) -> None:
        self.channel.close()
        self.near.close()
        self.far.close()


class World:
    """One run of a script on one side."""

    def __init__(self, side: Side, *, inside: bool = False, patient: bool = False) -> None:
        self.side, self.inside, self.patient = side, inside, patient
        self.map = side.new_map()
        self.notes: list[Note] = []
        self.step = 0
        self.nested = 0
        self.channels: list[Any] = []
        self.peers: dict[int, socket.socket] = {}
        self.sent: dict[int, int] = {}
        self.received: dict[int, bytearray] = {}
        self.unsent: set[int] = set()
        self.server_spec = Spec()
        self.clients: list[socket.socket] = []  # raw ones, whose other end is not accepted yet
        self.listener = self._listen()
        self.closed_port = socket.socket()
        self.closed_port.bind(("127.0.0.1", 0))

    def _listen(self) -> Any:
        world = self

        class Listener(self.side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
            def writable(self) -> bool:
                return False

            def handle_accepted(self, sock: Any, addr: Any) -> None:
                world.note("listener", "accepted")
                peer = world.clients.pop(0) if world.clients else None
                world.open(world.server_spec, sock, peer)

            def handle_error(self) -> None:
                world.note("listener", "error")

        listener = Listener(map=self.map)
        listener.create_socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        return listener

    # -- records --------------------------------------------------------------------------------

    def note(self, index: Any, what: str, detail: Any = None) -> None:
        self.notes.append(Note(self.step, index, what, detail))
        if what in ("close", "closes") and self.channels[index].unsent():
            self.unsent.add(index)

    def open(self, spec: Spec, sock: Any, peer: socket.socket | None) -> Any:
        index = len(self.channels)
        if peer is not None:
            peer.setblocking(False)
            self.peers[index] = peer
            self.sent[index] = 0
        self.received[index] = bytearray()
        self.channels.append(None)
        self.channels[index] = recording.make(self.side, self, index, spec, sock)
        return self.channels[index]

    # -- running --------------------------------------------------------------------------------

    def run(self, script: list[Any]) -> Result:
        """Carry out a script and return what happened."""
        try:
            if self.inside:
                self._run_inside(list(script))
            else:
                for step in script:
                    self.step += 1
                    self.take(step)
                    self._pump()
            return self._result()
        finally:
            self._close()

    def _run_inside(self, script: list[Any]) -> None:
        driver = _Driver(self, script)
        try:
            for _ in range(10 * len(script) + 10):
                if driver.done:
                    break
                self._loop(2 * LIMIT * (len(script) + 1))
        finally:
            driver.close()

    def _pump(self) -> None:
        quiet = 0
        for _ in range(LIMIT):
            before = len(self.notes)
            self._loop(1)
            moved = self.drain()
            quiet = 0 if moved or len(self.notes) != before else quiet + 1
            if quiet >= QUIET:
                return

    def _loop(self, count: int) -> None:
        try:
            timeout = PATIENCE if self.patient and not self.inside else 0.0
            self.side.loop(self.map, count, timeout)
        except Exception as left:
            self.note("loop", "left", type(left).__name__)

    def drain(self) -> bool:
        """Let the peers read what has arrived."""
        moved = False
        for index, peer in self.peers.items():
            with contextlib.suppress(OSError):
                while data := peer.recv(65536):
                    self.received[index] += data
                    moved = True
        return moved

    def _result(self) -> Result:
        ends = {}
        for index, channel in enumerate(self.channels):
            if channel.unsent():
                self.unsent.add(index)
            ends[index] = {
                "mapped": any(found is channel for found in self.map.values()),
                "open": channel.is_open,
                "connected": channel.connected,
                "connecting": channel.connecting,
                "accepting": channel.accepting,
            }
        self._close_channels()
        for index, peer in self.peers.items():
            if peer.fileno() >= 0:
                peer.settimeout(FINAL)
                with contextlib.suppress(ConnectionError):
                    while data := peer.recv(65536):
                        self.received[index] += data
        return Result(
            self.notes,
            ends,
            {index: bytes(data) for index, data in self.received.items()},
            self.unsent,
            {index: channel.spec for index, channel in enumerate(self.channels)},
        )

    def _close_channels(self) -> None:
        for channel in [*self.channels, self.listener]:
            channel.close()
            if channel.socket is not None:
                channel.socket.close()
        self.map.clear()

    def _close(self) -> None:
        self._close_channels()
        for sock in [*self.peers.values(), *self.clients, self.closed_port]:
            sock.close()

    # -- steps ----------------------------------------------------------------------------------

    def take(self, step: Any) -> None:
        """Carry out one step of a script: ("verb", argument, ...)."""
        verb, *arguments = step
        try:
            getattr(self, f"do_{verb}")(*arguments)
        except Exception as raised:
            self.note("step", "raised", type(raised).__name__)

    def act(self, channel: Any, hook: str, action: Any) -> None:
        """Carry out an action of a script in a handler of a channel."""
        verb, *arguments = action
        if hook == "collect" and verb in ("raise", "exit", "nested"):
            return  # the classic buffer still holds what is being collected, and gives it again
        leaves = verb == "exit" or (verb == "raise" and channel.spec.on_error == "reraise")
        if hook == "close" and leaves:
            return  # see test_defects.py: an end that could not be handled
        if verb == "raise":
            raise Left("from a handler")
        if verb == "exit":
            raise self.side.asyncore.ExitNow("from a handler")
        if verb == "nested":
            self.nested += 1
            try:
                self.side.loop(self.map, 1)
            finally:
                self.nested -= 1
        elif verb == "close_other":
            self.do_close(*arguments)
        elif verb == "want":
            own = hook in ("read", "collect", "found")
            self._want(channel, *arguments, assign=own or not self.inside)
        else:
            getattr(self, f"do_{verb}")(channel.index, *arguments)

    def _at(self, index: int) -> Any:
        return self.channels[index % len(self.channels)] if self.channels else None

    def do_open(self, spec: Spec, transport: str) -> None:
        if len(self.channels) >= MAX_CHANNELS:
            return
        if transport == "pair":
            near, far = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as server:
                far = socket.create_connection(server.getsockname())
                near, _ = server.accept()
        self.open(spec, near, far)

    def do_arrive(self, spec: Spec) -> None:
        """A stranger connects to the listener."""
        if len(self.channels) < MAX_CHANNELS and self.listener.accepting:
            self.server_spec = spec
            self.clients.append(socket.create_connection(self.listener.socket.getsockname()))
            self._await(self.listener)

    def do_connect(self, spec: Spec, server_spec: Spec, refused: bool) -> None:
        """A new channel connects, to the listener or where nobody listens."""
        if len(self.channels) + 1 < MAX_CHANNELS:
            self._connect(self.open(spec, None, None), server_spec, refused)

    def do_reconnect(self, index: int) -> None:
        """A closed channel is used again."""
        channel = self._at(index)
        closed = channel is not None and channel.index not in self.peers and not channel.is_open
        if closed and len(self.channels) < MAX_CHANNELS:
            self.note(channel.index, "opens")
            channel.ended = False
            self._connect(channel, Spec(), False)

    def _connect(self, channel: Any, server_spec: Spec, refused: bool) -> None:
        self.server_spec = server_spec
        channel.create_socket()
        if channel.spec.predicates == "instance":
            channel.assign()
        to = self.closed_port if refused else self.listener.socket
        try:
            channel.connect(to.getsockname())
        finally:
            if not refused:
                self._await(self.listener)

    def _await(self, channel: Any) -> None:
        """Wait until the kernel has delivered what a peer just did."""
        sock = channel.socket
        if self.patient and sock is not None and sock.fileno() >= 0:
            select.select([sock], [], [sock], PATIENCE)

    def _peer(self, index: int) -> tuple[Any, socket.socket | None]:
        channel = self._at(index)
        peer = self.peers.get(channel.index) if channel is not None else None
        return channel, peer if peer is not None and peer.fileno() >= 0 else None

    def do_peer_send(self, index: int, data: bytes) -> None:
        channel, peer = self._peer(index)
        if peer is not None and self.sent[channel.index] + len(data) <= MAX_SENT:
            self.sent[channel.index] += len(data)
            with contextlib.suppress(ConnectionError):
                peer.sendall(data)
            self._await(channel)

    def do_peer_urgent(self, index: int) -> None:
        channel, peer = self._peer(index)
        if peer is not None and peer.family == socket.AF_INET:
            with contextlib.suppress(OSError):
                peer.send(b"!", socket.MSG_OOB)
            self._await(channel)

    def do_peer_shutdown(self, index: int) -> None:
        channel, peer = self._peer(index)
        if peer is not None:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)
            self._await(channel)

    def do_peer_close(self, index: int, reset: bool = False) -> None:
        channel, peer = self._peer(index)
        if peer is not None:
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                self.drain()  # else what is left unread would make it a reset
            peer.close()
            self._await(channel)

    def do_want(self, index: int, reading: bool, writing: bool) -> None:
        channel = self._at(index)
        if channel is not None:
            self._want(channel, reading, writing, assign=not self.inside)

    def _want(self, channel: Any, reading: bool, writing: bool, assign: bool) -> None:
        # An assignment to another channel while a loop runs may be noticed a second late
        # (asynccore.interest says so), which no script can wait for.
        if channel.spec.predicates != "inherited" or assign:
            # With nothing to send, only the classic b'' could find the other end gone.
            channel.want_read = reading
            channel.want_write = writing and channel.spec.kind != "sender"
            if channel.spec.predicates == "inherited":
                channel.assign()

    def do_unassign(self, index: int) -> None:
        channel = self._at(index)
        if channel is not None and channel.spec.predicates == "inherited" and not self.inside:
            vars(channel).pop("readable", None)
            vars(channel).pop("writable", None)

    def do_send(self, index: int, size: int) -> None:
        channel = self._at(index)
        # An empty send() is one way to find the other end gone: the classic one makes it, ours
        # does not.
        if channel is not None and (size or channel.spec.kind == "chat"):
            channel.output(bytes(i % 251 for i in range(size)))

    def do_close_when_done(self, index: int) -> None:
        channel = self._at(index)
        # It calls handle_close() whenever all is sent, which is no end of the connection where
        # that leaves the channel open.
        if channel is not None and channel.spec.kind == "chat" and channel.spec.on_close == "close":
            channel.close_when_done()

    def do_terminator(self, index: int, terminator: Any) -> None:
        channel = self._at(index)
        if channel is not None and channel.spec.kind == "chat":
            channel.set_terminator(terminator)

    def do_close(self, index: int) -> None:
        channel = self._at(index)
        if channel is not None and channel.is_open:
            self.note(channel.index, "closes")
            channel.close()

    def do_unmap(self, index: int) -> None:
        channel = self._at(index)
        if channel is not None and self.map.get(channel._fileno) is channel:
            self.note(channel.index, "unmapped")
            del self.map[channel._fileno]

    def do_remap(self, index: int) -> None:
        channel = self._at(index)
        if channel is not None and channel.is_open and channel._fileno is not None:
            self.note(channel.index, "mapped")
            channel.add_channel()

    def do_usurp(self, index: int) -> None:
        channel = self._at(index)
        if channel is not None and self.map.get(channel._fileno) is channel:
            self.note(channel.index, "unmapped")
            self.map[channel._fileno] = recording.Usurper(channel)

    def do_react(self, index: int, hook: str, before: bool, action: Any) -> None:
        channel = self._at(index)
        if channel is not None:
            channel.reactions.setdefault((hook, before), []).append(action)
