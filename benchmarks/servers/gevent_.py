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


def main() -> None:
    """Listen, announce, serve until killed."""
    options = common.parse()
    handle = {"echo": echo, "stream": stream, "lines": lines}[options.role]
    server = StreamServer((common.HOST, options.port), handle, backlog=common.BACKLOG)
    server.start()
    common.announce(server.server_port, common.version_of("gevent"))
    server.serve_forever()


if __name__ == "__main__":
    main()
