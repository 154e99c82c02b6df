"""Ports of a reactor that workers share or inherit, as the listeners of dispatchers are.

Twisted binds a port's socket itself. Where `asynccore run` was given `--workers`, `--fd` or sockets
of a service manager, it is bound here (see `asynccore.listening.socket_activation`), and Twisted
adopts it.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.error import CannotListenError

from asynccore.listening import socket_activation
from asynccore.listening.socket_activation import Arrangement

# There is none on Windows, nor is `listenUNIX`.
_AF_UNIX: int = getattr(socket, "AF_UNIX", -1)


def stream_port(
    reactor: Any, arranged: Arrangement, port: int, factory: Any, backlog: int, interface: str
) -> Any:
    """Do as `listenTCP`. Raises `CannotListenError`."""
    with socket.socket(_family(interface), socket.SOCK_STREAM) as sock:
        try:
            arranged.check_listener((interface, port))
            _bind(sock, interface, port)
            sock.listen(backlog)
        except OSError as why:
            raise _cannot_listen(interface, port, why) from why
        adopted = reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
    arranged.listens(adopted)
    lose = adopted.connectionLost

    def lost(reason: object) -> None:
        arranged.closes(adopted)
        lose(reason)

    adopted.connectionLost = lost
    return adopted


def datagram_port(reactor: Any, port: int, protocol: Any, interface: str, size: int) -> Any:
    """Do as `listenUDP`. Raises `CannotListenError`."""
    with socket.socket(_family(interface), socket.SOCK_DGRAM) as sock:
        try:
            _bind(sock, interface, port)
        except OSError as why:
            raise _cannot_listen(interface, port, why) from why
        return reactor.adoptDatagramPort(sock.fileno(), sock.family, protocol, size)


def unix_port(reactor: Any, path: object, factory: Any, backlog: int) -> Any:
    """Do as `listenUNIX` with an inherited socket; `None` if there is none for that path.

    Raises `CannotListenError` for what workers can't share.
    """
    with socket.socket(_AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            if not socket_activation.inherit(sock, path):
                return None
            sock.listen(backlog)
        except OSError as why:
            raise _cannot_listen(None, path, why) from why
        return reactor.adoptStreamPort(sock.fileno(), _AF_UNIX, factory)


def _cannot_listen(interface: str | None, port: object, why: OSError) -> CannotListenError:
    return CannotListenError(interface, port, why)  # type: ignore[no-untyped-call]


def _family(interface: str) -> int:
    return socket.AF_INET6 if isIPv6Address(interface) else socket.AF_INET


def _bind(sock: socket.socket, interface: str, port: int) -> None:
    sock.setblocking(False)
    if not socket_activation.inherit(sock, (interface, port)):
        if sock.type == socket.SOCK_STREAM and os.name == "posix":
            # This is Twisted's, too: a server that is started again has its port at once.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((interface, port))
