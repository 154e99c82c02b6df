"""TLS in front of listeners that know nothing of it, where `asynccore run --tls-cert` says so.

Facts. The program is unmodified, and may start others. Who asked for TLS must not get plaintext,
whatever else goes wrong. A program may call `listen` and `accept` of its dispatcher, or of the
socket itself, which it may have made and kept, or got while it listened already. This floor knows
nothing of TLS.

Consequence. Environment variables, which child processes inherit, say that there is to be TLS.
Every TCP socket that a dispatcher listens on is then replaced by what `ssl_ext.termination` puts
in front of it, as soon as it listens: when it enters a map, in the dispatcher's `listen`, and in
its own. For the latter, the class of a socket that may yet listen is one derived from its class
(`Guarded`), whose `accept` is that of the front, until it connects. Whatever has escaped all this
is found when the loop looks at the channel, and before its first event. If TLS can't be had, an
`OSError` is raised there.

Trade-off. `type(sock)` of such a socket is not what it was; `isinstance` says what it said. Unix
sockets stay plain: they are for this machine, under the guard of their file mode. A program that
listens without a dispatcher is not reached, nor one that has made something else than a
`socket.socket` and accepts from that, behind its dispatcher's back. Without the variables
`add_channel`, `listen` and `accept` pay for one look at a module attribute.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

# The file of the server's certificate chain; the variables beside it are `ssl_ext.termination`'s.
VARIABLE = "ASYNCCORE_TLS_CERT"

# How all of them begin. Any will do: half of what was said is no reason for plaintext.
PREFIX = "ASYNCCORE_TLS_"

wanted = any(name.startswith(PREFIX) for name in os.environ)

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TCP = (socket.AF_INET, socket.AF_INET6)

# The channels of guarded sockets, and what puts TLS in front of those.
_guards: weakref.WeakKeyDictionary[Any, tuple[weakref.ref[Any], Callable[[Any], Any]]]
_guards = weakref.WeakKeyDictionary()


class Guarded(socket.socket if TYPE_CHECKING else object):  # type: ignore[misc]
    """A TCP socket of a channel, which is not connected: one with the class of before behind it.

    As soon as it listens, by whomever, there is TLS in front of it, and `accept` gives what is
    accepted there.
    """

    __slots__ = ()

    def listen(self, *backlog: int) -> None:
        """Listen (listen(2)), and put TLS in front. Raises as `cover`."""
        super().listen(*backlog)
        channel, cover = _guard_of(self)
        if channel is not None and channel.socket is self:
            cover(channel)

    def accept(self) -> tuple[Any, Any]:
        """Return what `accept` of the front returns. Raises as `cover`, and `OSError` if the
        socket has no channel any more."""
        channel, cover = _guard_of(self)
        front = None if channel is None else channel.socket
        if front is self:
            front = cover(channel)
        if front is None or getattr(front, "plain", None) is not self:
            raise OSError(
                errno.EOPNOTSUPP,
                f"the dispatcher of {self!r} has gone or got another socket, and nothing is "
                "accepted in clear: give the socket to a dispatcher",
            )
        pair: tuple[Any, Any] = front.accept()
        return pair

    def accept_in_clear(self) -> tuple[socket.socket, Any]:
        """Return a new connection, for the front to do TLS with (accept(2))."""
        pair: tuple[socket.socket, Any] = super().accept()
        return pair

    def connect(self, address: Any) -> None:
        """Connect (connect(2)); it will not listen any more."""
        _let_go(self)
        self.connect(address)

    def connect_ex(self, address: Any) -> int:
        """Connect (connect(2)); it will not listen any more."""
        _let_go(self)
        return self.connect_ex(address)


@functools.cache
def _guarded(cls: Any) -> type:
    names = {"__slots__": (), "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (Guarded, cls), names)


def guard(channel: Any, sock: Any, cover: Callable[[Any], Any]) -> None:
    """Have `cover(channel)` called as soon as a socket listens, which returns what is in front."""
    try:
        if isinstance(sock, socket.socket):
            _guards[sock] = weakref.ref(channel), cover
            if not isinstance(sock, Guarded):
                own: Any = type(sock)
                sock.__class__ = _guarded(own)
    except TypeError:
        pass  # a class that can't be derived from, or a channel of others: the loop sees to it


def _let_go(sock: socket.socket) -> None:
    _guards.pop(sock, None)
    sock.__class__ = type(sock).__bases__[1]


def _guard_of(sock: socket.socket) -> tuple[Any, Callable[[Any], Any]]:
    reference, how = _guards.get(sock, (None, cover))
    return None if reference is None else reference(), how


def look_at(channel: Any) -> None:
    """Put TLS in front of a channel's socket if it listens in clear, and guard it if it may yet.

    For a channel that enters a map, and whenever the loop asks it. Raises as `cover`.
    """
    sock: Any = getattr(channel, "socket", None)
    if not _is_clear_tcp(sock):
        return
    guarded = isinstance(sock, Guarded)
    if is_connected(sock):
        if guarded:
            _let_go(sock)  # it did not connect by its own methods
        return
    owner, how = _guard_of(sock) if guarded else (None, cover)
    if owner is not channel:
        how = cover  # else it is the channel's own, perhaps of a class made secure
    if listens(sock):
        how(channel)
    elif owner is not channel:
        guard(channel, sock, how)


def found_in_clear(channel: Any) -> bool:
    """Put TLS in front of the socket of a channel, if it listens in clear; return whether it did.

    Raises as `cover`.
    """
    sock = getattr(channel, "socket", None)
    if not _is_clear_tcp(sock) or not listens(sock):
        return False
    cover(channel)
    return True


def cover(channel: Any) -> Any:
    """Put TLS in front of a channel's listening socket, and return what `channel.socket` is now.

    What is no TCP socket, or does TLS by itself already, stays what it is. Raises as
    `ssl_ext.termination.in_front_of` does, and `OSError` if there is no such thing.
    """
    sock = channel.socket
    if _is_clear_tcp(sock):
        guard(channel, sock, cover)  # its owner may know it by another name
        channel.socket = sock = find().in_front_of(channel)
        touch = getattr(channel, "_ac_touch", None)
        if touch is not None:
            touch()
    return sock


def _is_clear_tcp(sock: Any) -> bool:
    # A TLS socket of the standard library, or one that has a will of its own already.
    does_tls = hasattr(type(sock), "do_handshake") or hasattr(type(sock), "poll_interest")
    return (
        not does_tls
        and getattr(sock, "family", None) in _TCP
        and bool(sock.type == socket.SOCK_STREAM)
    )


def listens(sock: Any) -> bool:
    """Whether a socket listens, as far as the platform tells."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False  # a platform that doesn't tell: its channel says that it is accepting


def is_connected(sock: Any) -> bool:
    """Whether a socket has a peer."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def find() -> Any:
    """Import `ssl_ext.termination`, from beside this package.

    It may be in no folder of `sys.path`, and a program may have an `ssl_ext` of its own. Raises
    `OSError` without it.
    """
    # Hardly anybody gets here, and these load much.
    from importlib import import_module
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    name = "ssl_ext"
    try:
        if name not in sys.modules:
            spec = PathFinder.find_spec(name, [os.path.dirname(_HERE)])
            if spec is not None and spec.loader is not None:
                module = sys.modules[name] = module_from_spec(spec)
                spec.loader.exec_module(module)
        return import_module("ssl_ext.termination")
    except ImportError as why:
        raise OSError(f"{PREFIX}... is set, and there is no TLS: {why}") from why
