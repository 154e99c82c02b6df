"""`tls_listener`: a dispatcher that listens, and hands out channels which speak TLS.

Facts. A handshake is several turns of the loop, and a client may never finish one. A listener of
datagrams makes its clients' sockets itself, before there is a channel that could say how.

Consequence. The handshake is the channel's own matter, and the listener counts those under way: so
many may be, and of one peer so many whose client has said nothing (`handshake_table`). A listener
of datagrams is told what its channels would say.
"""

from __future__ import annotations

import functools
import socket as _socket
import weakref
from collections.abc import Callable
from types import NoneType
from typing import Any, TypeVar

from asynccore.channels import Address, Map
from asynccore.classic.former import warn_former
from asynccore.dispatchers.channel_listener import family_of
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.dispatchers.timeouts import check
from asynccore.listening.interception import check_proxies

from ..sockets.dtls_socket import DTLSSocket
from ..sockets.handshake_table import MAX_HANDSHAKES, HandshakeTable
from ..sockets.tls_socket import OpenSSLSocket
from ..sockets.translation import AnyContext, adapted
from .mixin import TLSMixin, tls_dispatcher_with_send

_Function = TypeVar("_Function", bound=Callable[..., None])


class HandshakeListener(dispatcher):
    """A listener whose channels do their handshakes themselves (`handshake_begun`)."""

    max_handshakes: int | None = MAX_HANDSHAKES
    """How many handshakes may be under way, and a quarter of that of one peer whose clients have
    said nothing; the oldest of those who have said nothing ends for a new one, with a
    `HandshakeError`. Where all have spoken, nobody is accepted. `None` for any number."""

    _ac_handshakes: HandshakeTable | None = None

    def _ac_handshake_begun(self, channel: Any) -> None:
        sock = getattr(channel, "_ac_tls", None)
        if sock is not None and self._ac_max_handshakes is not None:
            if self._ac_handshakes is None:
                self._ac_handshakes = HandshakeTable(limit_of(self))
            sock._ac_count_in(self._ac_handshakes, channel.addr)
        super()._ac_handshake_begun(channel)

    def _ac_makes_room_for_handshakes(self) -> bool:
        table = self._ac_handshakes
        return table is not None and table.has_room(0)


def limit_of(channel: dispatcher) -> Callable[[], int | None]:
    """Return what tells the `max_handshakes` of a listener, and does not keep it."""
    reference = weakref.ref(channel)

    def most() -> int | None:
        channel = reference()
        # A channel of others has none.
        return getattr(channel, "_ac_max_handshakes", None)

    return most


def _takes_former_order(function: _Function) -> _Function:
    """Have a constructor take `(address, context, channel_class, map)`, with a warning."""

    @functools.wraps(function)
    def call(self: object, address: object = None, *args: object, **options: object) -> None:
        second_is_class = not args or "context" in options or isinstance(args[0], (type, NoneType))
        if len(args) > 1 or not second_is_class:
            warn_former(
                "tls_listener() takes its context by name, as what else listens: "
                "tls_listener(address, channel_class, context=...)"
            )
            former = ("context", "channel_class", "map")
            function(self, address, **dict(zip(former, args, strict=False)), **options)
        else:
            function(self, address, *args, **options)

    return call  # type: ignore[return-value]


class tls_listener(HandshakeListener):
    """A listener that makes a channel of each connection, and the channel speaks TLS.

    `address` is what `bind` takes: host and port, or a path for AF_UNIX. The listener calls
    `channel_class(sock, map, context=context, server_side=True)` for each connection. The class
    must be derived from `TLSMixin`. You must give a `context`, which `server_context` makes. Each
    channel makes its own handshake, so a slow handshake delays nobody.

    `proxy_protocol` names the proxies in front of the listener. Their header comes before the
    handshake.

    Override `handle_channel`. Raises `TypeError` and `ValueError` for a context, a class or proxies
    that cannot be used, and `OSError` if it cannot listen at the address.
    """

    channel_class: type[TLSMixin] = tls_dispatcher_with_send

    @_takes_former_order
    def __init__(
        self,
        address: Address | None = None,
        channel_class: type[TLSMixin] | None = None,
        *,
        context: AnyContext | None = None,
        map: Map | None = None,
        family: int = 0,
        backlog: int = 128,
        proxy_protocol: str | None = None,
    ) -> None:
        super().__init__(None, map)
        if proxy_protocol is not None:
            check_proxies("proxy_protocol", proxy_protocol)
            if getattr(context, "dtls", False):
                raise ValueError("proxy_protocol is for streams, not for datagrams (dtls=True)")
            self.proxy_protocol = proxy_protocol
        if context is None:
            raise TypeError("a TLS listener needs context=ssl_ext.server_context(...)")
        adapted(context)  # this fails before anything listens
        if not getattr(context, "server_side", True):
            raise ValueError(
                f"{context!r} is a client's: a listener takes ssl_ext.server_context(...)"
            )
        self.context = context
        if channel_class is not None:
            self.channel_class = channel_class
        if not (isinstance(self.channel_class, type) and issubclass(self.channel_class, TLSMixin)):
            raise TypeError(
                f"{self.channel_class!r} doesn't speak TLS: derive it from ssl_ext.TLSMixin or one "
                "of the ready classes, or make another class secure with ssl_ext.secure()"
            )
        if address is not None:
            family = family or family_of(address)
            if getattr(context, "dtls", False):
                self.set_socket(self._ac_datagrams(family))
            else:
                self.create_socket(family)
            try:
                self.set_reuse_addr()  # of which a `DTLSSocket` makes nothing
                self.bind(address)
                self.listen(backlog)
            except BaseException:
                self.close()
                raise

    def _ac_datagrams(self, family: int) -> DTLSSocket:
        """Return a socket whose clients' sockets are as their channels would make them."""
        kind = self.channel_class
        check("handshake_timeout", kind.handshake_timeout)
        sock = _socket.socket(family, _socket.SOCK_DGRAM)
        try:
            return DTLSSocket(
                self.context,
                sock,
                server_side=True,
                mtu=kind.mtu,
                handshake_timeout=kind.handshake_timeout,
                shutdown_timeout=kind.shutdown_timeout,
            )
        except BaseException:
            sock.close()
            raise

    def handle_accepted(self, sock: OpenSSLSocket | Any, addr: tuple[str, int] | Any) -> None:
        """Make a channel of a connection, and hand it to `handle_channel`."""
        channel = self.channel_class(sock, self._map, context=self.context, server_side=True)
        channel._ac_listener = self
        self._ac_on_loop(self._ac_handshake_begun, channel)
        self.handle_channel(channel, addr)

    def handle_channel(self, channel: TLSMixin, addr: tuple[str, int] | Any) -> None:
        """There is a new channel; its handshake has yet to come."""
