"""An SMTP channel without a socket: pieces of input go in, replies and messages come out."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from asynccore import smtpd

CLASSIC = ("smtpd", "test.smtpd", "test.support.smtpd")
FQDN = "mail.example"
PEER = ("192.0.2.1", 1025)


class FakeSocket:
    """What a channel needs of a socket. `incoming` is what each recv() returns."""

    def __init__(self, peername_error: OSError | None = None) -> None:
        self.incoming: list[bytes] = []
        self.sent = bytearray()
        self.closed = 0
        self.peername_error = peername_error

    def fileno(self) -> int:
        return 10_000  # no open descriptor of a test run has such a number

    def setblocking(self, flag: bool) -> None:
        assert flag in (0, False)

    def getpeername(self) -> tuple[str, int]:
        if self.peername_error:
            raise self.peername_error
        return PEER

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError
        return self.incoming.pop(0)

    def send(self, data: bytes) -> int:
        assert not self.closed, f"sent to a closed socket: {data!r}"
        self.sent += data
        return len(data)

    def close(self) -> None:
        self.closed += 1

    def take(self) -> bytes:
        """What was sent since the last time."""
        sent = bytes(self.sent)
        self.sent.clear()
        return sent


class Mailbox:
    """A server for a channel: keeps the messages, and answers with `status`."""

    def __init__(self, status: Any = None) -> None:
        self.messages: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.status = status

    def process_message(self, *args: Any, **kwargs: Any) -> Any:
        # The recipients are the channel's own list.
        peer, mailfrom, rcpttos, data = args
        self.messages.append(((peer, mailfrom, list(rcpttos), data), kwargs))
        return self.status


# What a program may look at between two commands.
STATE = """
    smtp_state seen_greeting mailfrom rcpttos received_lines received_data num_bytes extended_smtp
    peer fqdn addr data_size_limit mail_options rcpt_options max_command_size_limit terminator
""".split()


@dataclass
class Talk:
    """One conversation with a channel of the module `module`, or of the class given."""

    module: ModuleType = smtpd
    options: dict[str, Any] = field(default_factory=dict)
    status: Any = None
    map: dict[int, Any] = field(default_factory=dict)
    channel_class: Any = None

    def __post_init__(self) -> None:
        self.mailbox = Mailbox(self.status)
        self.socket = FakeSocket()
        if getattr(self.module, "__name__", "") in CLASSIC:
            # The classic limits are one dictionary for all connections.
            self.module.SMTPChannel.command_size_limits.clear()
        make = self.channel_class or self.module.SMTPChannel
        self.channel = make(self.mailbox, self.socket, ("addr", 1), map=self.map, **self.options)
        self.greeting = self.socket.take()

    def send(self, *pieces: bytes) -> bytes:
        """Let the channel read the pieces, one after the other; return what it answers."""
        for piece in pieces:
            self.socket.incoming = [piece]
            self.channel.handle_read()
        return self.socket.take()

    def say(self, *lines: str | bytes) -> list[str]:
        """Send lines, each in one piece; return the answer to each, without its last CRLF."""
        answers = []
        for line in lines:
            data = line if isinstance(line, bytes) else line.encode()
            answers.append(self.send(data + b"\r\n").decode().removesuffix("\r\n"))
        return answers

    def state(self) -> dict[str, Any]:
        # Before its first MAIL and RCPT the classic channel has no options.
        return {name: getattr(self.channel, name, []) for name in STATE}

    @property
    def last_message(self) -> Any:
        return self.mailbox.messages[-1][0][3]


TO_DATA = ("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA")


def classic() -> ModuleType | None:
    """The interpreter's own smtpd, where it has one; since 3.12 among its tests, if anywhere."""
    for name in CLASSIC:
        if name == "smtpd" and sys.version_info >= (3, 12):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                module = importlib.import_module(name)
            except ImportError:
                continue
        assert module.__file__ != smtpd.__file__
        return module
    return None


@contextmanager
def debug_output(*modules: ModuleType) -> Iterator[list[io.StringIO]]:
    """Give each of the modules a debug stream of its own."""
    streams = [io.StringIO() for _ in modules]
    before = [module.DEBUGSTREAM for module in modules]
    for module, stream in zip(modules, streams, strict=True):
        module.DEBUGSTREAM = stream  # type: ignore[attr-defined]
    try:
        yield streams
    finally:
        for module, stream in zip(modules, before, strict=True):
            module.DEBUGSTREAM = stream  # type: ignore[attr-defined]


def bytewise(data: bytes) -> Iterable[bytes]:
    return (data[i : i + 1] for i in range(len(data)))
