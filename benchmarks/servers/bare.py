"""The limit of pure Python: an epoll loop that makes the system calls, and nothing around them."""

from __future__ import annotations

import platform
import select
import socket

from benchmarks.servers import common

RECEIVE_SIZE = 8192  # as the classic echo class


def serve(listener: socket.socket) -> None:
    """Send back what comes, for ever. A ping always fits into the socket."""
    poller, own = select.epoll(), listener.fileno()
    peers: dict[int, socket.socket] = {}
    poller.register(own, select.EPOLLIN)
    while True:
        for descriptor, _ in poller.poll():
            if descriptor == own:
                accepted, _ = listener.accept()
                accepted.setblocking(False)
                peers[accepted.fileno()] = accepted
                poller.register(accepted.fileno(), select.EPOLLIN)
                continue
            peer = peers[descriptor]
            try:
                data = peer.recv(RECEIVE_SIZE)
            except ConnectionError:
                data = b""
            if data:
                peer.send(data)
            else:
                poller.unregister(descriptor)
                peers.pop(descriptor).close()


def main() -> None:
    """Listen, announce, serve until killed."""
    options = common.parse()
    listener = socket.create_server((common.HOST, options.port), backlog=common.BACKLOG)
    common.announce(listener.getsockname()[1], f"Python {platform.python_version()}")
    serve(listener)


if __name__ == "__main__":
    main()
