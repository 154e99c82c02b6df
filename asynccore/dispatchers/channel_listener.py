"""`listener`: a dispatcher that listens, and makes a channel of each connection."""

from __future__ import annotations

import socket as _socket
from collections.abc import Callable
from types import FunctionType
from typing import Any

from ..channels import Address, Map
from ..classic.own_names import takes
from ..listening.interception import check_proxies
from .dispatcher import dispatcher

# A channel is made of its socket and the map, as `dispatcher` itself is.
ChannelFactory = Callable[[_socket.socket, Map], dispatcher]


class listener(dispatcher):
    """A listener that makes a channel of each connection; `ssl_ext.tls_listener` is its twin.

    `address` is what `bind` takes: host and port, or a path for AF_UNIX. The listener calls
    `channel_class(sock, map)` for each connection. The channel that it returns has the peer's
    address in `addr`. `family` is by default that of the address. Limits (`max_connections` and the
    like) are attributes, as of any listener. `proxy_protocol` names the proxies in front of the
    listener, as the attribute does.

    Override `handle_channel`. Raises `TypeError` if `channel_class` does not take these two
    arguments, `ValueError` for proxies that cannot be used, and `OSError` if it cannot listen at
    the address.
    """

    channel_class: ChannelFactory | None = None

    def __init__(
        self,
        address: Address | None = None,
        channel_class: ChannelFactory | None = None,
        *,
        map: Map | None = None,
        family: int = 0,
        backlog: int = 128,
        proxy_protocol: str | None = None,
    ) -> None:
        super().__init__(None, map)
        if proxy_protocol is not None:
            check_proxies("proxy_protocol", proxy_protocol)
            self.proxy_protocol = proxy_protocol
        if channel_class is not None:
            self.channel_class = channel_class
        _check(self.channel_class)
        if address is not None:
            self.create_socket(family or family_of(address))
            try:
                self.set_reuse_addr()
                self.bind(address)
                self.listen(backlog)
            except BaseException:
                self.close()
                raise

    def handle_accepted(self, sock: _socket.socket | Any, addr: tuple[str, int] | Any) -> None:
        """Make a channel of a connection, and hand it to `handle_channel`."""
        make: Any = self.channel_class
        self.handle_channel(make(sock, self._map), addr)

    def handle_channel(self, channel: Any, addr: tuple[str, int] | Any) -> None:
        """There is a new channel."""


def _check(made: object) -> None:
    """Raise `TypeError` for what can't be called with a socket and a map."""
    if isinstance(made, type):
        begin = getattr(made, "__init__", None)
        fits = not isinstance(begin, FunctionType) or takes(begin, 3)
    else:
        fits = takes(made, 2)
    if not fits:
        raise TypeError(
            f"a listener calls channel_class(sock, map) for each connection, and {made!r} can't be "
            "called like that: take these two, or override handle_accepted(sock, addr)"
        )


def family_of(address: Address) -> int:
    """Return the address family of what `bind` takes."""
    if isinstance(address, (str, bytes)):
        return int(getattr(_socket, "AF_UNIX"))  # noqa: B009 - Windows has none
    return int(_socket.AF_INET6 if ":" in str(address[0]) else _socket.AF_INET)
