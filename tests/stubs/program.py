"""A classic program with types, as somebody checks it who has asynccore installed; never run.

tox's `dist` has it checked by mypy and pyright, away from the checkout, beside the wheel. The names
are the standard library's on Python 3.10 and 3.11, and ours later. It must be right on all.
"""

# pyright: basic

from __future__ import annotations

import asynchat
import asyncore
import smtpd
import socket


class Echo(asyncore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(8192))


class Server(asyncore.dispatcher):
    def __init__(self, port: int) -> None:
        super().__init__()
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(5)

    def handle_accepted(self, sock: socket.socket, addr: object) -> None:
        Echo(sock)


class Lines(asynchat.async_chat):
    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.set_terminator(b"\r\n")

    def found_terminator(self) -> None:
        self.push(b"250 ok\r\n")
        self.close_when_done()


def main() -> None:
    Server(0)
    smtpd.DebuggingServer(("127.0.0.1", 0), ("127.0.0.1", 25))
    asyncore.loop(timeout=1.0, count=1)
    asyncore.close_all()
    print(len(asyncore.socket_map))
