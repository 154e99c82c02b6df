"""A plain socket that a program has a name for, and that has TLS in front of it by now.

Facts. A class that is made secure may keep what it was given, or has made, under a name of its own,
and send by that: in clear, over a connection that everybody takes for a secret one.

Consequence. The descriptor goes to another socket object, which TLS has for itself. The object that
the program knows has none any more: whatever it is asked to do, the TLS socket does or refuses.

Trade-off. `type(sock)` of such a socket is not what it was; `isinstance` says what it said. One of
another class than `socket.socket` stays what it is.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Callable
from errno import EBADF, EOPNOTSUPP
from typing import Any

from .tls_socket import OpenSSLSocket

# What speaks TLS for each. A channel holds that, and perhaps the kept one too.
_fronts: weakref.WeakKeyDictionary[socket.socket, weakref.ref[OpenSSLSocket]]
_fronts = weakref.WeakKeyDictionary()


class KeptSocket(socket.socket):
    """A `socket.socket` without a descriptor, in whose name an `OpenSSLSocket` acts."""

    __slots__ = ()

    @property
    def timeout(self) -> float | None:
        """What `gettimeout` returns."""
        return self.gettimeout()


def _acting(name: str) -> Callable[..., Any]:
    def act(self: KeptSocket, *args: object, **options: object) -> Any:
        front = front_of(self)
        if front is None:
            if name in _WITHOUT:
                return _WITHOUT[name]
            raise OSError(EBADF, os.strerror(EBADF))
        method = getattr(front, name, None)
        if method is None:
            raise OSError(EOPNOTSUPP, f"{name}() of {self!r} would be in clear: it speaks TLS")
        return method(*args, **options)

    act.__name__ = name
    return act


# What a closed socket answers.
_WITHOUT = {"fileno": -1, "close": None}

for _name in dir(socket.socket):
    if not _name.startswith("_") and callable(getattr(socket.socket, _name)):
        setattr(KeptSocket, _name, _acting(_name))


def front_of(sock: object) -> OpenSSLSocket | None:
    """Return what speaks TLS for a kept socket; `None` if it has gone, and for any other."""
    reference = _fronts.get(sock) if isinstance(sock, KeptSocket) else None
    return None if reference is None else reference()


def taken_over(sock: object, wrap: Callable[[Any], OpenSSLSocket]) -> OpenSSLSocket:
    """Return what `wrap` makes of a socket; what the program has of that acts by it.

    Raises what `wrap` raises, and then leaves the socket as it was.
    """
    if type(sock) is not socket.socket:
        return wrap(sock)
    timeout = sock.gettimeout()
    kind = sock.family, sock.type, sock.proto
    inner = socket.socket(*kind, sock.detach())
    try:
        front = wrap(inner)
    except BaseException:
        sock.__init__(*kind, inner.detach())  # type: ignore[misc]
        sock.settimeout(timeout)
        raise
    sock.__class__ = KeptSocket
    _fronts[sock] = weakref.ref(front)
    return front
