"""A chat in the manner of IRC: `chat.py PORT`."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable

import asynccore
from asynccore import asynchat
from asynccore.channels import Map

room: dict[bytes, Session] = {}


class Session(asynchat.line_chat):
    terminator = b"\r\n"
    max_line_length = 512
    high_watermark = 64 * 1024
    read_timeout = 60.0

    def __init__(self, sock: socket.socket, map: Map) -> None:
        super().__init__(sock, map)
        self.nick, self.pinged = b"", False
        self.push(b"NOTICE * :say NICK name\r\n")

    def handle_line(self, line: bytes) -> None:
        self.pinged = False
        command, _, rest = line.partition(b" ")
        name = "do_" + command.decode("ascii", "replace").lower()
        method: Callable[[bytes], None] | None = getattr(self, name, None)
        if method is None:
            self.push(b"421 " + command + b" :unknown\r\n")
        else:
            method(rest)

    def do_nick(self, name: bytes) -> None:
        if name in room or not name:
            self.push(b"433 " + name + b" :in use\r\n")
            return
        room.pop(self.nick, None)
        self.nick, room[name] = name, self
        self.push(b"001 " + name + b" :welcome\r\n")

    def do_msg(self, text: bytes) -> None:
        for other in room.values():
            if other is not self:
                other.push(b":" + (self.nick or b"*") + b" MSG " + text + b"\r\n")

    def do_pong(self, text: bytes) -> None:
        """The client is there."""

    def do_quit(self, text: bytes) -> None:
        self.push(b"BYE\r\n")
        self.close_when_done()

    def handle_line_too_long(self) -> None:
        self.push(b"417 :line too long\r\n")

    def handle_pause(self) -> None:
        self.close()  # a client that does not read

    def handle_timeout(self, which: str) -> None:
        if self.pinged:
            self.push(b"ERROR :timeout\r\n")
            self.close_when_done()
        else:
            self.pinged = True
            self.push(b"PING\r\n")

    def handle_shutdown(self) -> None:
        self.push(b"ERROR :server is going down\r\n")

    def handle_closed(self, exc: BaseException | None = None) -> None:
        if room.get(self.nick) is self:
            del room[self.nick]


class Listener(asynccore.listener):
    channel_class = Session
    max_connections = 1000
    max_connections_per_peer = 20


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda signum, frame: asynccore.graceful_close(10))
    server = Listener(("127.0.0.1", int(sys.argv[1])))
    print("listening", server.socket.getsockname(), flush=True)
    asynccore.loop()
