"""Serves with Twisted on a classic loop, and with dispatchers beside; clients block in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import compat

compat.install()
reactor = compat.install_reactor()

import asynchat  # noqa: E402
import asyncore  # noqa: E402

LOCAL = "127.0.0.1"


class Shout(asynchat.async_chat):
    """Answers each line in capitals."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.set_terminator(b"\r\n")
        self.line = b""

    def collect_incoming_data(self, data: bytes) -> None:
        self.line += data

    def found_terminator(self) -> None:
        line, self.line = self.line, b""
        self.push(line.upper() + b"\r\n")


class Shouter(asyncore.dispatcher):
    def __init__(self) -> None:
        super().__init__()
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.bind((LOCAL, 0))
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        Shout(sock)


def serve(factory: Any, client: Callable[[int], None], context: Any = None) -> None:
    """Serve until `client` is done, which is given the port; raise what it raised."""
    shouter = Shouter()
    if context is None:
        port = reactor.listenTCP(0, factory, interface=LOCAL)
    else:
        port = reactor.listenSSL(0, factory, context, interface=LOCAL)
    failures: list[BaseException] = []

    def end() -> None:
        port.stopListening()
        shouter.close()
        if failures:
            asyncore.close_all()  # clients that gave up may have left connections

    def run() -> None:
        try:
            with socket.create_connection(shouter.socket.getsockname(), 30) as legacy:
                lines = legacy.makefile("rb")
                for line in (b"before", b"after"):
                    legacy.sendall(line + b"\r\n")
                    assert lines.readline() == line.upper() + b"\r\n"
                    if line == b"before":
                        client(port.getHost().port)
                lines.close()
        except BaseException as why:
            failures.append(why)
        finally:
            reactor.callFromThread(end)

    thread = threading.Thread(target=run)
    thread.start()
    asyncore.loop()
    thread.join()
    if failures:
        raise failures[0]
    print("served", flush=True)
