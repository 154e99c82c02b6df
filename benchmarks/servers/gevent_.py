"""gevent's StreamServer: one greenlet for each connection."""

from __future__ import annotations

from typing import Any

from gevent.server import StreamServer

from benchmarks.servers import common


def echo(connection: Any, address: object) -> None:
    """Send back what comes."""
    while data := connection.recv(common.RECEIVE_SIZE):
        connection.sendall(data)


def stream(connection: Any, address: object) -> None:
    """Answer ``TOTAL CHUNK`` with that many bytes."""
    while data := connection.recv(common.RECEIVE_SIZE):
        for piece in common.pieces(data):
            connection.sendall(piece)


def lines(connection: Any, address: object) -> None:
    """Send back each line."""
    with connection.makefile("rb") as file:
        for line in file:
            connection.sendall(line)


def counted(connection: Any, address: object) -> None:
    """Send back messages that begin with their length."""
    with connection.makefile("rb") as file:
        while head := file.read(common.HEAD):
            connection.sendall(head + file.read(int.from_bytes(head, "big")))


def fair(connection: Any, address: object) -> None:
    """Send back each line, and the bytes that a line asks for."""
    with connection.makefile("rb") as file:
        for line in file:
            asks = line.startswith(common.PUSH)
            connection.sendall(common.payload(int(line[len(common.PUSH) :])) if asks else line)


HANDLERS = {"echo": echo, "stream": stream, "lines": lines, "counted": counted, "fair": fair}


def main() -> None:
    """Listen, announce, serve until killed."""
    options = common.parse()
    server = StreamServer(
        (common.HOST, options.port), HANDLERS[options.role], backlog=common.BACKLOG
    )
    server.start()
    common.announce(server.server_port, common.version_of("gevent"))
    server.serve_forever()


if __name__ == "__main__":
    main()
