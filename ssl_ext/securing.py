"""`secure`: dispatcher classes that speak TLS without having been written for it.

Facts. A class has its own constructor, which may take anything; it gets its socket by
`create_socket`, by `set_socket`, or as an argument that it hands on; it may listen, connect, or
both. Its base classes may come in any order. It knows nothing of handshakes.

Consequence. All ways lead through `set_socket`, `listen` and `connect`, which a class derived from
it takes over: a connected socket becomes an `OpenSSLSocket` there, and a listening one an
`AcceptingSocket`.

Trade-off. A class that assigns `self.socket` by itself is not reached: give it an `OpenSSLSocket`.
"""

from __future__ import annotations

import socket as _socket
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from asynccore.asynchat import async_chat
from asynccore.buffered import dispatcher_with_send
from asynccore.channels import Map
from asynccore.dispatcher import dispatcher
from asynccore.timeouts import check

from .accepting import AcceptingSocket
from .dispatchers import TLSMixin, tls_async_chat, tls_dispatcher_with_send
from .phases import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT
from .socket import OpenSSLSocket
from .translation import adapted

D = TypeVar("D", bound=dispatcher)

# The kind of a socket, without SOCK_NONBLOCK and SOCK_CLOEXEC: SOCK_TYPE_MASK of Linux.
_KIND = 0xF

# What a class may say for itself although it comes after `TLSMixin`.
_ITS_OWN = (
    "handle_handshake",
    "handle_tls_error",
    "handle_unwrapped",
    "handshake_timeout",
    "shutdown_timeout",
)

# How the queue of a class is emptied, and its input forgotten.
_BUFFERS: tuple[tuple[type, type], ...] = (
    (async_chat, tls_async_chat),
    (dispatcher_with_send, tls_dispatcher_with_send),
)


class _Secured(TLSMixin):
    """What `secure` puts in front of a class."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super(TLSMixin, self).__init__(*args, **options)  # the constructor of the class itself

    def create_socket(self, family: int = _socket.AF_INET, type: int = _socket.SOCK_STREAM) -> None:
        if type & _KIND != _socket.SOCK_STREAM:
            raise ValueError(f"TLS needs a stream socket, not one of the type {type!r}")
        super().create_socket(family, type)

    def set_socket(self, sock: Any, map: Map | None = None) -> None:
        if self.server_side and not isinstance(sock, OpenSSLSocket) and _listens(sock):
            sock = self._in_front_of(sock)
        if isinstance(sock, AcceptingSocket):
            self._ac_tls = None
            super(TLSMixin, self).set_socket(sock, map)
        else:
            super().set_socket(sock, map)

    def listen(self, num: int) -> None:
        if not self.server_side:
            raise ValueError(
                f"{self!r} was made secure with a client's context: for a listener, it takes "
                "ssl_ext.server_context(...)"
            )
        super().listen(num)
        if isinstance(self.socket, OpenSSLSocket):
            # It was to be a connection, as far as one could tell.
            self._ac_tls = None
            self.socket = self._in_front_of(self.socket.plain)
            self._ac_touch()

    def _in_front_of(self, sock: Any) -> AcceptingSocket:
        return in_front_of(
            self,
            self.tls_context,
            sock,
            handshake_timeout=self.handshake_timeout,
            shutdown_timeout=self.shutdown_timeout,
        )


def secure(
    dispatcher_class: type[D],
    context: Any,
    *,
    server_side: bool | None = None,
    server_hostname: str | None = None,
    handshake_timeout: float | None = None,
    shutdown_timeout: float | None = None,
) -> type[D]:
    """Return a class derived from `dispatcher_class` that speaks TLS, with the same constructor.

    - With a server's context, a listener's `accept` (`handle_accepted`) gives connections whose
      handshake is over, for whatever class: `TransparentSocket`s. `max_handshakes` of the listener
      is how many may be under way, 512 unless it says. A class that is given an accepted socket
      does the handshake itself.
    - With a client's, `handle_connect` follows the handshake; the server is expected to be the host
      that `connect` is given, or `server_hostname`.

    The handlers are called as without TLS, and the class has the rest of `TLSMixin`, too: hooks
    (`handle_handshake`, `handle_tls_error`), if it wants them, and what the peer is.

    `server_side` need be given for a plain `OpenSSL.SSL.Context` alone. The timeouts are in
    seconds, by default those of the class or `TLSMixin`'s, 60 and 30.

    Raises `TypeError` for what is no dispatcher class or no context, and `ValueError` for options
    that contradict each other.
    """
    if not (isinstance(dispatcher_class, type) and issubclass(dispatcher_class, dispatcher)):
        raise TypeError(
            f"{dispatcher_class!r} is no dispatcher class of asynccore; if it is derived from the "
            "asyncore of somebody else, install the legacy names first (compat.install())"
        )
    adapted(context)
    role = getattr(context, "server_side", None)
    if role is None and server_side is None:
        raise ValueError(
            "an OpenSSL context doesn't say for which side it is: give server_side=..."
        )
    if role is not None and server_side is not None and role != server_side:
        raise ValueError(f"{context!r} can't be used for the other side of a connection")
    is_server = bool(server_side if role is None else role)
    if is_server and server_hostname is not None:
        raise ValueError("server_hostname is for clients: whom they expect to find")
    own: dict[str, Any] = {
        "__module__": dispatcher_class.__module__,
        "__qualname__": dispatcher_class.__qualname__,
        "__doc__": dispatcher_class.__doc__,
        "tls_context": context,
        "server_side": is_server,
        "server_hostname": server_hostname,
    }
    own.update(
        (name, getattr(dispatcher_class, name))
        for name in _ITS_OWN
        if hasattr(dispatcher_class, name)
    )
    for name, seconds in (
        ("handshake_timeout", handshake_timeout),
        ("shutdown_timeout", shutdown_timeout),
    ):
        if seconds is not None:
            own[name] = seconds
        check(name, own.get(name))
    bases: tuple[type, ...] = (dispatcher_class,)
    if not issubclass(dispatcher_class, TLSMixin):
        bases = (_Secured, dispatcher_class)
        for kind, ready in _BUFFERS:
            if issubclass(dispatcher_class, kind):
                own.update(
                    (name, vars(ready)[name])
                    for name in ("_ac_take_output", "_ac_forget_input", "_ac_as_bytes")
                    if name in vars(ready)
                )
    metaclass: Any = type(dispatcher_class)
    made: type[D] = metaclass(dispatcher_class.__name__, bases, own)
    return made


def in_front_of(
    channel: dispatcher,
    context: Any,
    sock: Any,
    *,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
) -> AcceptingSocket:
    """Return what takes the place of a channel's listening socket."""
    return AcceptingSocket(
        context,
        sock,
        _limit_of(weakref.ref(channel)),
        handshake_timeout=handshake_timeout,
        shutdown_timeout=shutdown_timeout,
    )


def _limit_of(reference: Callable[[], dispatcher | None]) -> Callable[[], int | None]:
    def most() -> int | None:
        channel = reference()
        return None if channel is None else channel.max_handshakes

    return most


def _listens(sock: Any) -> bool:
    try:
        return bool(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))
    except OSError:
        return False  # a platform that doesn't tell: `listen` is called, or it is too late
