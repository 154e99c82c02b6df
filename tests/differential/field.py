"""Programs in the styles of the field, carried out on the classic modules and on ours.

A script of steps makes channels and peers, sends, replaces sockets in hooks and closes. The classic
side takes every step between two passes. Ours is run in one of several styles, which must come to
the same: a loop of the program's own, rebound names of the module, or a thread that waits in
`loop()` while another one takes the steps.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import asynccore
from asynccore.engine import engine_for
from tests.differential.reference import Side

PASSES = 6  # between two steps: enough for what one step can set off
PATIENCE = 10.0  # seconds; only a failure takes so long

STYLES = ("loop", "poll", "own select", "rebound", "thread")
HOOKS = ("connect", "read", "write", "line", "accepted")
WAYS = ("assigned", "set", "moved")


class Wrapped:
    """What programs put in the place of a socket: another object, which hands everything on."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Behaviour:
    """What the channels of both sides do; a mixin in front of a classic class."""

    world: FieldWorld
    socket: Any
    connected: Any

    def prepare(self, world: FieldWorld, number: int) -> None:
        self.world, self.number = world, number
        self.replacements: list[tuple[str, str]] = []
        self.notes: dict[str, Any] = {"connects": 0, "read": b"", "lines": [], "closed": False}
        world.channels.append(self)

    def happens(self, hook: str) -> None:
        if self.socket.fileno() == -1:
            return  # recv() has found the end
        if self.replacements and self.replacements[0][0] == hook:
            self.replace(self.replacements.pop(0)[1])

    def replace(self, way: str) -> None:
        channel: Any = self
        wrapped = Wrapped(self.socket)
        if way == "assigned":
            channel.socket = wrapped
        elif way == "set":
            channel.set_socket(wrapped)
        else:
            channel.del_channel()
            channel.set_socket(wrapped)

    def handle_connect(self) -> None:
        self.notes["connects"] += 1
        self.happens("connect")

    def handle_close(self) -> None:
        self.notes["closed"] = True
        channel: Any = self
        channel.close()

    def handle_error(self) -> None:
        raise

    def handle_expt(self) -> None:
        pass


def classes_of(side: Side) -> dict[str, Any]:
    """Return the classes of a side by the names that scripts have for them."""

    class Sender(Behaviour, side.asyncore.dispatcher_with_send):  # type: ignore[misc,name-defined]
        def handle_read(self) -> None:
            self.notes["read"] += self.recv(4096)
            self.happens("read")

        def output(self, data: bytes) -> None:
            self.send(data)

    class Chat(Behaviour, side.asynchat.async_chat):  # type: ignore[misc,name-defined]
        def prepare(self, world: FieldWorld, number: int) -> None:
            super().prepare(world, number)
            self.set_terminator(b"\n")
            self.line = b""

        def collect_incoming_data(self, data: bytes) -> None:
            self.line += data

        def found_terminator(self) -> None:
            self.notes["lines"].append(self.line)
            self.line = b""
            self.happens("line")

        def output(self, data: bytes) -> None:
            self.push(data)

    class Plain(Behaviour, side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
        pending = b""

        def handle_read(self) -> None:
            self.notes["read"] += self.recv(4096)
            self.happens("read")

        def writable(self) -> bool:
            return not self.connected or bool(self.pending)

        def handle_write(self) -> None:
            self.pending = self.pending[self.send(self.pending) :]
            self.happens("write")

        def output(self, data: bytes) -> None:
            self.pending += data
            if isinstance(self, asynccore.dispatcher):
                self.touch()  # from another thread; a program's own predicate is asked as ever

    class Listener(Behaviour, side.asyncore.dispatcher):  # type: ignore[misc,name-defined]
        def writable(self) -> bool:
            return False

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            self.happens("accepted")
            made = classes[self.world.next_kind](sock, self.world.map)
            made.prepare(self.world, len(self.world.channels))

    classes = {"sender": Sender, "chat": Chat, "plain": Plain, "listener": Listener}
    return classes


class FieldWorld:
    """One run of a script on one side."""

    def __init__(self, side: Side, style: str = "loop") -> None:
        self.side, self.style = side, style
        self.map = side.new_map()
        self.classes = classes_of(side)
        self.channels: list[Any] = []
        self.peers: dict[int, socket.socket] = {}
        self.received: dict[int, bytes] = {}
        self.open: list[socket.socket] = []
        self.next_kind = "sender"
        self.called: set[str] = set()
        self.thread: threading.Thread | None = None

    # -- running --------------------------------------------------------------------------------

    def run(self, script: list[Any]) -> list[Any]:
        """Carry a script out, and return what can be seen of it."""
        with self.styled() as settle:
            for verb, *arguments in script:
                getattr(self, f"do_{verb}")(*arguments)
                settle()
                self.drain()
            seen = [self.see(channel) for channel in self.channels]
            for channel in self.channels:
                if channel.socket is not None:
                    channel.close()
            settle()
            self.drain()
        for sock in self.open:
            sock.close()
        return [*seen, self.received]

    @contextlib.contextmanager
    def styled(self) -> Iterator[Callable[[], None]]:
        if self.style == "thread":
            with self.looping_thread():
                yield self.let_pass
        elif self.style == "rebound":
            names = self.side.asyncore
            before = names.read, names.write
            names.read, names.write = self.counted("read"), self.counted("write")
            try:
                yield lambda: self.side.loop(self.map, PASSES)
            finally:
                names.read, names.write = before
        else:
            yield {"loop": self.loop, "poll": self.poll, "own select": self.own}[self.style]

    def loop(self) -> None:
        self.side.loop(self.map, PASSES)

    def poll(self) -> None:
        for _ in range(PASSES):
            self.side.asyncore.poll(0, self.map)

    def own(self) -> None:
        for _ in range(PASSES):
            items = list(self.map.items())
            reading = [fd for fd, channel in items if channel.readable()]
            writing = [fd for fd, it in items if it.writable() and not it.accepting]
            readable, writable, _ = select.select(reading, writing, [], 0)
            for fds, name in ((readable, "read"), (writable, "write")):
                for fd in fds:
                    channel = self.map.get(fd)
                    if channel is not None:
                        getattr(self.side.asyncore, name)(channel)

    def counted(self, name: str) -> Callable[[Any], None]:
        function = getattr(self.side.asyncore, name)

        def call(channel: Any) -> None:
            self.called.add(name)
            function(channel)

        return call

    @contextlib.contextmanager
    def looping_thread(self) -> Iterator[None]:
        keep, end = socket.socketpair()
        holder = self.side.asyncore.dispatcher_with_send(keep, self.map)
        engine = engine_for(self.map)
        raised: list[BaseException] = []

        def loop() -> None:
            try:
                asynccore.loop(60, map=self.map, poller=self.side.poller)
            except BaseException as why:
                raised.append(why)

        self.thread = thread = threading.Thread(target=loop)
        thread.start()
        try:
            while not (engine.waiting or raised):
                thread.join(0.001)
            yield
        finally:
            holder.close()
            asynccore.stop(map=self.map)
            thread.join(PATIENCE)
            end.close()
        assert not thread.is_alive() and not raised, raised

    def let_pass(self) -> None:
        for _ in range(PASSES):
            passed = threading.Event()
            asynccore.call_soon_threadsafe(passed.set, map=self.map)
            while not passed.wait(0.1):
                assert self.thread is not None and self.thread.is_alive(), "the loop has ended"

    # -- what can be seen -----------------------------------------------------------------------

    def drain(self) -> None:
        for number, peer in self.peers.items():
            with contextlib.suppress(BlockingIOError, OSError):
                while data := peer.recv(65536):
                    self.received[number] = self.received.get(number, b"") + data

    def see(self, channel: Any) -> dict[str, Any]:
        sock = channel.socket
        return {
            **channel.notes,
            "connected": bool(channel.connected),
            "open": sock is not None and sock.fileno() != -1,
            "mapped": any(one is channel for one in dict(self.map).values()),
        }

    # -- steps ----------------------------------------------------------------------------------

    def peer_of(self, index: int) -> Any:
        return self.peers.get(index % len(self.channels)) if self.channels else None

    def channel_of(self, index: int) -> Any:
        return self.channels[index % len(self.channels)] if self.channels else None

    def new_peer(self, number: int, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.peers[number] = sock
        self.open.append(sock)

    def do_make(self, kind: str, how: str) -> None:
        number = len(self.channels)
        channel = self.classes[kind](map=self.map)
        if how == "connect":
            channel.prepare(self, number)
            with socket.create_server(("127.0.0.1", 0)) as server:
                server.settimeout(PATIENCE)
                channel.create_socket()
                channel.connect(server.getsockname())
                self.new_peer(number, server.accept()[0])
            return
        end, peer = socket.socketpair()
        self.new_peer(number, peer)
        channel.prepare(self, number)
        end.setblocking(how == "blocking")
        channel.connected = True
        channel.set_socket(end, self.map)

    def do_listen(self, how: str) -> None:
        listener = self.classes["listener"](map=self.map)
        listener.prepare(self, len(self.channels))
        if how == "blocking":
            sock = socket.create_server(("127.0.0.1", 0))
            listener.accepting = True
            listener.set_socket(sock, self.map)
        else:
            listener.create_socket()
            listener.bind(("127.0.0.1", 0))
            listener.listen(5)

    def do_dial(self, index: int, kind: str) -> None:
        listeners = [it for it in self.channels if it.accepting and it.socket.fileno() != -1]
        if not listeners:
            return
        self.next_kind = kind
        to = listeners[index % len(listeners)].socket.getsockname()
        self.new_peer(len(self.channels), socket.create_connection(to))

    def do_send(self, index: int, data: bytes) -> None:
        channel = self.channel_of(index)
        if channel is not None and channel.connected:
            channel.output(data)

    def do_peer_send(self, index: int, data: bytes) -> None:
        peer = self.peer_of(index)
        if peer is not None:
            with contextlib.suppress(OSError):
                peer.send(data)

    def do_peer_close(self, index: int) -> None:
        peer = self.peer_of(index)
        if peer is not None:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_WR)

    def do_replace(self, index: int, hook: str, way: str) -> None:
        channel = self.channel_of(index)
        if channel is not None:
            channel.replacements.append((hook, way))

    def do_close(self, index: int) -> None:
        channel = self.channel_of(index)
        if channel is not None and channel.socket is not None:
            channel.close()
            assert channel.socket.fileno() == -1  # on return, in whatever thread
