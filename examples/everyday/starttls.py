"""A line protocol with STARTTLS: `starttls.py server|client PORT CERTIFICATES`."""

from __future__ import annotations

import functools
import os
import socket
import sys

import asynccore
import ssl_ext
from asynccore.channels import Map


class Session(ssl_ext.tls_line_chat):
    terminator = b"\r\n"
    idle_timeout = 30.0
    secure = False

    def __init__(self, sock: socket.socket, map: Map, ours: ssl_ext.Context) -> None:
        super().__init__(sock, map)
        self.ours = ours
        self.push(b"220 ready\r\n")

    def handle_line(self, line: bytes) -> None:
        if line == b"STARTTLS" and not self.secure:
            self.push(b"220 go ahead\r\n")
            self.start_tls(self.ours)
        elif line == b"QUIT":
            self.push(b"221 bye\r\n")
            self.close_when_done()
        else:
            self.push(b"250 " + line + b"\r\n" if self.secure else b"530 STARTTLS first\r\n")

    def handle_handshake(self) -> None:
        self.secure = True


class Client(ssl_ext.tls_line_chat):
    terminator = b"\r\n"

    def __init__(self, port: int, theirs: ssl_ext.Context, map: Map | None = None) -> None:
        super().__init__(None, map)
        self.theirs, self.todo = theirs, [b"HELLO", b"STARTTLS"]
        self.said: list[bytes] = []
        self.connect_name("localhost", port)

    def handle_line(self, line: bytes) -> None:
        self.said.append(line)
        if line.startswith(b"220 go"):
            self.start_tls(self.theirs, server_hostname="localhost")
        elif line.startswith(b"221"):
            self.close()
        elif self.todo:
            self.push(self.todo.pop(0) + b"\r\n")

    def handle_connect(self) -> None:
        """The server speaks first."""

    def handle_handshake(self) -> None:
        self.todo = [b"QUIT"]
        self.push(b"HELLO again\r\n")

    def handle_closed(self, exc: BaseException | None = None) -> None:
        print(b"\n".join(self.said).decode(), exc or "", flush=True)


if __name__ == "__main__":
    role, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if role == "server":
        files = os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
        make = functools.partial(Session, ours=ssl_ext.server_context(*files))
        asynccore.listener(("127.0.0.1", port), make)
    else:
        Client(port, ssl_ext.client_context(ca=os.path.join(folder, "ca.pem")))
    asynccore.loop()
