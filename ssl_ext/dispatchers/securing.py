"""`secure`: dispatcher classes that speak TLS without having been written for it.

Facts. A class has its own constructor, which may take anything; it gets its socket by
`create_socket`, by `set_socket`, as an argument that it hands on, or assigns it; it may listen,
connect, or both, by its own methods or the socket's. Its base classes may come in any order. It
knows nothing of handshakes, and may have a `server_name` or a `handle_handshake` for itself.

Consequence. Whatever becomes `self.socket` is looked at where it enters a map, before it listens or
connects, and before it is used: a connected socket becomes an `OpenSSLSocket`, and a listening one
an `AcceptingSocket`. One that a server has not used yet may become either, and is guarded until
then (`interception`). Which side of TLS the class is stands in attributes that no program
has, and what the class has by the names of `TLSMixin` goes before ours.

What the class keeps under another name acts by these (`sockets.kept`, and `interception`).

Trade-off. What a class sends by a descriptor's number, or by a copy of a socket that it has made
before, is in clear, as it would be without a dispatcher.
"""

from __future__ import annotations

import socket as _socket
from typing import Any, TypeVar

from asynccore.asynchat import async_chat
from asynccore.channels import Map
from asynccore.classic.own_names import yield_to_mixins
from asynccore.dispatchers.buffered import dispatcher_with_send
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.dispatchers.timeouts import check
from asynccore.engine import engine_for
from asynccore.listening import interception

from ..sockets.accepting import AcceptingSocket
from ..sockets.kept import front_of, taken_over
from ..sockets.tls_socket import OpenSSLSocket
from ..sockets.translation import AnyContext, adapted
from ..states import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT
from .listener import limit_of
from .mixin import Role, TLSMixin, tls_async_chat, tls_dispatcher_with_send

D = TypeVar("D", bound=dispatcher)

# The kind of a socket, without SOCK_NONBLOCK and SOCK_CLOEXEC: SOCK_TYPE_MASK of Linux.
_KIND = 0xF

# What a class may say for itself although it comes after `TLSMixin`, besides `NEW_TLS_NAMES`.
_TIMEOUTS = ("handshake_timeout", "shutdown_timeout")

# What says which side a class is, where it has nothing else by these names.
_ROLE = ("tls_context", "server_side", "server_hostname")

# How the output of a class is found and forgotten, and its input forgotten.
_BUFFERING = ("_ac_output_now", "_ac_forget_output", "_ac_forget_input", "_ac_as_bytes")
_BUFFERS: tuple[tuple[type, type], ...] = (
    (async_chat, tls_async_chat),
    (dispatcher_with_send, tls_dispatcher_with_send),
)


class _SecuredMixin(TLSMixin):
    """What `secure` puts in front of a class."""

    _ac_secure_role: Role

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        yield_to_mixins(cls, _ROLE)

    def __init__(self, *args: Any, **options: Any) -> None:
        super(TLSMixin, self).__init__(*args, **options)  # the constructor of the class itself

    def _ac_role(self) -> Role:
        return self._ac_secure_role

    def _ac_wrapped(self, sock: object) -> OpenSSLSocket:
        return front_of(sock) or taken_over(sock, super()._ac_wrapped)

    def create_socket(self, family: int = _socket.AF_INET, type: int = _socket.SOCK_STREAM) -> None:
        if getattr(self._ac_role().context, "dtls", False):
            if type & _KIND != _socket.SOCK_DGRAM:
                raise ValueError(
                    f"a context made with dtls=True needs a datagram socket, not one of the type "
                    f"{type!r}: for TCP, make a context without dtls=True"
                )
        elif type & _KIND != _socket.SOCK_STREAM:
            raise ValueError(
                f"TLS needs a stream socket, not one of the type {type!r}; for datagrams, a client "
                "takes a context made with dtls=True, and a server is a ssl_ext.tls_listener"
            )
        super().create_socket(family, type)

    def set_socket(self, sock: Any, map: Map | None = None) -> None:
        sock = self._ac_secured(sock)
        if isinstance(sock, OpenSSLSocket):
            super().set_socket(sock, map)
        else:
            self._ac_tls = None
            super(TLSMixin, self).set_socket(sock, map)

    def add_channel(self, map: Map | None = None) -> None:
        self._ac_secure_socket()
        super().add_channel(map)

    def listen(self, num: int) -> None:
        if not self._ac_role().server_side:
            raise ValueError(
                f"{self!r} was made secure with a client's context: for a listener, it takes "
                "ssl_ext.server_context(...)"
            )
        super().listen(num)
        self._ac_secure_socket()

    def connect(self, address: Any) -> None:
        if _in_clear(self.socket):
            self._ac_replace_socket(self._ac_wrapped(self.socket))
        super().connect(address)

    # What may find a socket that was assigned since.

    def accept(self) -> tuple[Any, Any] | None:
        self._ac_secure_socket()
        return super().accept()

    def recv(self, buffer_size: int) -> bytes:
        self._ac_secure_socket()
        return super().recv(buffer_size)

    def send(self, data: Any) -> int | None:
        self._ac_secure_socket()
        return super().send(data)

    def handle_read_event(self) -> None:
        if not self._ac_secure_socket():
            super().handle_read_event()

    def handle_write_event(self) -> None:
        if not self._ac_secure_socket():
            super().handle_write_event()

    def _ac_secure_socket(self) -> bool:
        """Put TLS in front of a socket in clear; tell whether there is another one now."""
        if not _in_clear(self.socket):
            return False
        sock = self._ac_secured(self.socket)
        if sock is self.socket:
            return False
        self._ac_replace_socket(sock)
        return True

    def _ac_replace_socket(self, sock: object) -> None:
        if isinstance(sock, OpenSSLSocket):
            self._ac_follow(sock)
        self.socket = sock
        if self._ac_engine is None and self._map.get(self._fileno) is self:
            self._ac_engine = engine_for(self._map)  # it has entered by itself
        self._ac_touch()

    def _ac_secured(self, sock: object) -> Any:
        """Return what takes the place of a socket: what does TLS, or itself, guarded, if it is
        still to be seen what it becomes."""
        server_side = self._ac_role().server_side
        if sock is self._ac_unwrapped or not _in_clear(sock):
            return sock
        if not server_side or interception.is_connected(sock):
            return self._ac_wrapped(sock)
        interception.guard(self, sock, _secured_listener)
        return self._ac_in_front_of(sock) if interception.listens(sock) else sock

    def _ac_in_front_of(self, sock: object) -> AcceptingSocket:
        context = self._ac_role().context
        assert context is not None  # `secure` was given one
        return in_front_of(
            self,
            context,
            sock,
            handshake_timeout=self.handshake_timeout,
            shutdown_timeout=self.shutdown_timeout,
        )


def _in_clear(sock: object) -> bool:
    return sock is not None and not isinstance(sock, (OpenSSLSocket, AcceptingSocket))


def _secured_listener(channel: _SecuredMixin) -> Any:
    channel._ac_replace_socket(channel._ac_in_front_of(channel.socket))
    return channel.socket


def secure(
    dispatcher_class: type[D],
    context: AnyContext,
    *,
    server_side: bool | None = None,
    server_hostname: str | None = None,
    handshake_timeout: float | None = None,
    shutdown_timeout: float | None = None,
) -> type[D]:
    """Return a class derived from `dispatcher_class` that speaks TLS, with the same constructor.

    - With a server's context, a listener's `accept` (`handle_accepted`) gives connections whose
      handshake is over, for channels of any class. They are `TransparentSocket`s. At most
      `max_handshakes` of the listener go on at a time, by default 512. A class that gets an
      accepted socket does the handshake itself.
    - With a client's context, `handle_connect` comes after the handshake. The server must be the
      host that `connect` gets, or `server_hostname`.
    - With a client's context made with `dtls=True`, the class connects a datagram socket.

    The handlers are called as without TLS. The class also has the rest of `TLSMixin`: the hooks
    `handle_handshake` and `handle_tls_error`, and the attributes that describe the peer. If your
    class uses one of these names for something else, its own meaning wins, and so does what you
    assign to an instance. A hook that takes other arguments is not called.

    Give `server_side` only for a plain `OpenSSL.SSL.Context`. The timeouts are in seconds, by
    default those of the class or `TLSMixin`'s, 60 and 30.

    Raises `TypeError` for a class that is no dispatcher or can't be derived from, and for a context
    that is none. Raises `ValueError` for options that contradict each other, and for a server's
    context for datagrams.
    """
    if not (isinstance(dispatcher_class, type) and issubclass(dispatcher_class, dispatcher)):
        raise TypeError(
            f"{dispatcher_class!r} is no dispatcher class of asynccore; if it is derived from the "
            "asyncore of somebody else, install the legacy names first (compat.install())"
        )
    adapted(context)
    side = getattr(context, "server_side", None)
    if side is None and server_side is None:
        raise ValueError(
            "an OpenSSL context doesn't say for which side it is: give server_side=..."
        )
    if side is not None and server_side is not None and side != server_side:
        raise ValueError(f"{context!r} can't be used for the other side of a connection")
    is_server = bool(server_side if side is None else side)
    if is_server and server_hostname is not None:
        raise ValueError("server_hostname is for clients: whom they expect to find")
    if is_server and getattr(context, "dtls", False):
        raise ValueError(
            f"{context!r} is for datagrams, whose server is ssl_ext.tls_listener(address, "
            "channel_class, context=...); a class is made secure for TCP with a context without "
            "dtls=True"
        )
    own: dict[str, Any] = {
        "__module__": dispatcher_class.__module__,
        "__qualname__": dispatcher_class.__qualname__,
        "__doc__": dispatcher_class.__doc__,
    }
    role = Role(context, is_server, server_hostname)
    own.update(
        (name, getattr(dispatcher_class, name))
        for name in _TIMEOUTS
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
    knows_tls = issubclass(dispatcher_class, TLSMixin)
    own.update(
        (name, value)
        for name, value in zip(_ROLE, role, strict=True)
        if knows_tls or not hasattr(dispatcher_class, name)
    )
    own["_ac_secure_role"] = role
    if not knows_tls:
        bases = (_SecuredMixin, dispatcher_class)
        for kind, ready in _BUFFERS:
            if issubclass(dispatcher_class, kind):
                own.update((name, vars(ready)[name]) for name in _BUFFERING if name in vars(ready))
                break
    metaclass: Any = type(dispatcher_class)
    try:
        made: type[D] = metaclass(dispatcher_class.__name__, bases, own)
    except TypeError as why:
        raise TypeError(
            f"{dispatcher_class!r} can't be made secure, for no class can be derived from it like "
            f"this: {why}. If that takes arguments, write class Mine(ssl_ext.TLSMixin, "
            f"{dispatcher_class.__name__}, ...), or give its __init_subclass__ defaults"
        ) from why
    return made


def in_front_of(
    channel: dispatcher,
    context: AnyContext,
    sock: Any,
    *,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
) -> AcceptingSocket:
    """Return what takes the place of a channel's listening socket."""
    return AcceptingSocket(
        context,
        interception.behind_header(channel, sock),
        max_handshakes=limit_of(channel),
        handshake_timeout=handshake_timeout,
        shutdown_timeout=shutdown_timeout,
    )
