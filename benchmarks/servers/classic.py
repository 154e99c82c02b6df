"""One classic program, run on asynccore or on pyasyncore: the classes differ in nothing else."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import platform
import socket
import sys
import time
from types import ModuleType
from typing import Any

from benchmarks.servers import common, timers


def _load(name: str, distribution: str) -> ModuleType:
    """Module ``name`` from where ``distribution`` installed it.

    On 3.10 and 3.11 a plain import would find the standard library's module first.
    """
    path = importlib.metadata.distribution(distribution).locate_file(f"{name}/__init__.py")
    spec = importlib.util.spec_from_file_location(name, str(path))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def classic(name: str, distribution: str) -> tuple[ModuleType, str]:
    """Return a classic module, and what it is."""
    try:
        return _load(name, distribution), common.version_of(distribution)
    except importlib.metadata.PackageNotFoundError:
        # Up to 3.11 the standard library has the module itself.
        return importlib.import_module(name), f"{name} of Python {platform.python_version()}"


def _ours(name: str) -> tuple[ModuleType, str]:
    try:
        version = common.version_of("asynccore")
    except importlib.metadata.PackageNotFoundError:
        version = "asynccore (this checkout)"
    return importlib.import_module(name), version


def modules(options: common.Options) -> tuple[ModuleType, ModuleType | None, str]:
    """asyncore, asynchat if the role needs it, and what they are."""
    chats = options.chat or options.role in ("lines", "counted", "fair")
    if options.module == "asynccore":
        asyncore, version = _ours("asynccore")
        return asyncore, _ours("asynccore.asynchat")[0] if chats else None, version
    asyncore, version = classic("asyncore", "pyasyncore")
    if not chats:
        return asyncore, None, version
    asynchat, chat_version = classic("asynchat", "pyasynchat")
    return asyncore, asynchat, f"{version}, {chat_version}"


def echo_class(asyncore: Any, predicates: str, receive_size: int = 8192) -> type:
    """Sends back what comes; overrides no predicate, ``one`` (readable) or ``both``.

    ``asked`` overrides both with such as read what nobody reports.
    """

    class Echo(asyncore.dispatcher_with_send):  # type: ignore[misc]
        def handle_read(self) -> None:
            data = self.recv(receive_size)
            if data:
                self.send(data)

    class OnePredicate(Echo):
        def readable(self) -> bool:
            return True

    class BothPredicates(OnePredicate):
        def writable(self) -> bool:
            return bool(self.out_buffer)

    class AskedPredicates(Echo):
        paused = False
        backlog = b""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.paused = False
            self.backlog = b""

        def readable(self) -> bool:
            return not self.paused

        def writable(self) -> bool:
            return bool(self.backlog or self.out_buffer)

    classes = {
        "none": Echo,
        "one": OnePredicate,
        "both": BothPredicates,
        "asked": AskedPredicates,
    }
    return classes[predicates]


def stream_class(asyncore: Any) -> type:
    """Answers ``TOTAL CHUNK`` with that many bytes through ``send``."""

    class Stream(asyncore.dispatcher_with_send):  # type: ignore[misc]
        def handle_read(self) -> None:
            data = self.recv(8192)
            if data:
                for piece in common.pieces(data):
                    self.send(piece)

    return Stream


def chat_class(asynchat: Any) -> type:
    """The same through ``async_chat.push``."""

    class Chat(asynchat.async_chat):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.set_terminator(b"\n")
            self.request = b""

        def collect_incoming_data(self, data: bytes) -> None:
            self.request += data

        def found_terminator(self) -> None:
            request, self.request = self.request, b""
            for piece in common.pieces(request):
                self.push(piece)

    return Chat


def lines_class(asynchat: Any, joins_replies: bool) -> type:
    """Sends back each line."""

    class Lines(asynchat.async_chat):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.set_terminator(b"\n")
            self.pieces: list[bytes] = []

        def collect_incoming_data(self, data: bytes) -> None:
            self.pieces.append(data)

        def found_terminator(self) -> None:
            line = b"".join(self.pieces)
            self.pieces.clear()
            self.push(line + b"\n")

    return type("Joining", (Lines,), {"joins_replies": True}) if joins_replies else Lines


def fair_class(asynchat: Any, joins_replies: bool) -> type:
    """Sends back each line, and the bytes that a line asks for."""

    class Fair(lines_class(asynchat, joins_replies)):  # type: ignore[misc]
        def found_terminator(self) -> None:
            if self.pieces[0].startswith(common.PUSH):
                size = b"".join(self.pieces)[len(common.PUSH) :]
                self.pieces.clear()
                self.push(common.payload(int(size)))
            else:
                super().found_terminator()

    return Fair


def counted_class(asynchat: Any, joins_replies: bool) -> type:
    """Sends back messages that begin with their length."""

    class Counted(asynchat.async_chat):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.set_terminator(common.HEAD)
            self.pieces: list[bytes] = []
            self.head = b""

        def collect_incoming_data(self, data: bytes) -> None:
            self.pieces.append(data)

        def found_terminator(self) -> None:
            data = b"".join(self.pieces)
            self.pieces.clear()
            if self.head:
                self.push(self.head + data)
                self.head = b""
                self.set_terminator(common.HEAD)
            else:
                self.head = data
                self.set_terminator(int.from_bytes(data, "big"))

    if joins_replies:
        return type("Joining", (Counted,), {"joins_replies": True})
    return Counted


CHATS = {"lines": lines_class, "counted": counted_class, "fair": fair_class}

PUMPED = (3, 30)  # channels of a loop that is run pass by pass
PASSES = 5000


def pump(asyncore: Any, version: str) -> None:
    """Announce, and measure passes of `loop(timeout=0, count=1)` in which nothing happens."""

    class Quiet(asyncore.dispatcher):  # type: ignore[misc]
        def writable(self) -> bool:
            return False

    common.announce(0, version)
    sys.stdin.readline()
    figures: dict[str, float] = {}
    for count in PUMPED:
        channels: dict[int, Any] = {}
        peers = []
        for _ in range(count):
            ours, other = socket.socketpair()
            peers.append(other)
            Quiet(ours, channels)
        begin = time.process_time()
        for _ in range(PASSES):
            asyncore.loop(timeout=0, count=1, map=channels)
        figures[f"of_{count}"] = (time.process_time() - begin) / PASSES * 1e6
        asyncore.close_all(channels)
        for other in peers:
            other.close()
    common.say({"event": "end", **figures})


def hosted(host: str) -> None:
    """Let a host drive the channels until killed."""
    compat = importlib.import_module("compat")
    if host == "twisted":
        importlib.import_module("twisted.internet.epollreactor").install()
        reactor = importlib.import_module("twisted.internet.reactor")
        compat.attach(reactor)
        reactor.run()  # type: ignore[attr-defined]
    else:
        loop = importlib.import_module(host).new_event_loop()
        compat.attach(loop)
        loop.run_forever()


def main() -> None:
    """Listen, announce, loop until killed."""
    options = common.parse()
    loaded, asynchat, version = modules(options)
    asyncore: Any = loaded
    if options.role == "timers":
        timers.on_asynccore(asyncore, version)
        return
    if options.role == "pump":
        pump(asyncore, version)
        return
    if options.role in CHATS:
        channel = CHATS[options.role](asynchat, options.joins_replies)
    elif options.role == "echo":
        channel = echo_class(asyncore, options.predicates)
        if options.idle_timeout is not None:
            channel = type("Timed", (channel,), {"idle_timeout": options.idle_timeout})
    else:
        channel = chat_class(asynchat) if asynchat is not None else stream_class(asyncore)

    class Listener(asyncore.dispatcher):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.create_socket()
            self.set_reuse_addr()
            self.bind((common.HOST, options.port))
            self.listen(common.BACKLOG)

        def handle_accepted(self, connection: Any, address: object) -> None:
            channel(connection)

    listener = Listener()
    if options.scraped:
        # What the first look of `asynccore metrics` at a program leaves behind.
        server = importlib.import_module("asynccore.monitoring.server")
        engine = importlib.import_module("asynccore.engine").engine_for(asyncore.socket_map)
        server._snapshot(engine, measured=False)
    common.announce(listener.socket.getsockname()[1], version)
    if options.attach:
        hosted(options.attach)
    elif options.module == "asynccore" and options.poller:
        asyncore.loop(poller=options.poller)
    else:
        asyncore.loop(use_poll=options.poller == "poll")


if __name__ == "__main__":
    main()
