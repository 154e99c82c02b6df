"""Socket options of a dispatcher, under the names and units of the field.

The numbers and their meaning: socket(7) and tcp(7); macOS calls TCP_KEEPIDLE TCP_KEEPALIVE.
"""

from __future__ import annotations

import math
import socket as _socket
from errno import ENOPROTOOPT
from typing import Any

from ..classic.settings import Switch

# As plain numbers: comparing enumerations costs more than the system call that is judged by it.
_SOCK_DGRAM = int(_socket.SOCK_DGRAM)
_SO_TYPE = int(_socket.SO_TYPE)

# What `socket.type` makes an enumeration of.
_kind_of = _socket.SocketType.type.__get__


def is_datagram(sock: _socket.socket | Any) -> bool:
    """Whether a socket, or what stands in for one, has messages instead of a stream."""
    try:
        kind = _kind_of(sock)
    except TypeError:
        try:
            kind = sock.getsockopt(_socket.SOL_SOCKET, _SO_TYPE)
        except (OSError, NotImplementedError, AttributeError):
            return False
    return bool(kind == _SOCK_DGRAM)


def send_at_once(sock: _socket.socket | Any, whether: bool = True) -> None:
    """Turn Nagle's algorithm off (TCP_NODELAY, tcp(7)), or on, if a socket is one of TCP's."""
    if not isinstance(sock, _socket.socket) and not getattr(type(sock), "_ac_takes_pieces", False):
        return  # what stands in for a socket may know nothing of options
    try:
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, whether)
    except OSError:
        pass  # others have no such option, and macOS says EINVAL for one that was reset


class SocketOptions:
    """What a dispatcher has for the options of its socket."""

    socket: _socket.socket | Any = None

    tcp_nodelay = Switch(False)
    """Whether a TCP socket that is taken over gets TCP_NODELAY.

    It does in classes that buffer their output, as in asyncio since Python 3.6: without it, a reply
    that is sent in two pieces waits for an acknowledgement that the peer delays by 40 ms and more
    (RFC 1122 section 4.2.3.2). `False` leaves sockets as they are.
    """
    _ac_tcp_nodelay: bool

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        Switch.adopt(cls, ("tcp_nodelay",))

    def set_reuse_addr(self) -> None:
        """Let the address be bound while old connections linger (SO_REUSEADDR, socket(7))."""
        try:
            present = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR)
            self.socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, present | 1)
        except OSError:
            pass

    def set_reuse_port(self) -> None:
        """Share the address with other processes' listeners (SO_REUSEPORT, socket(7)).

        Call it before `bind`. Raises `OSError` (ENOPROTOOPT) where the platform has no such
        option, and `RuntimeError` without a socket.
        """
        self._ac_set_option(_socket.SOL_SOCKET, ("SO_REUSEPORT",), 1)

    def set_nodelay(self, on: bool = True) -> None:
        """Send small pieces at once instead of waiting for more (TCP_NODELAY, tcp(7)).

        Raises `OSError` if the socket isn't TCP's, and `RuntimeError` without a socket.
        """
        self._ac_set_option(_socket.IPPROTO_TCP, ("TCP_NODELAY",), int(on))

    def set_keepalive(
        self,
        idle: float | None = None,
        interval: float | None = None,
        count: int | None = None,
        on: bool = True,
    ) -> None:
        """Have the system look whether a silent peer is still there (SO_KEEPALIVE, tcp(7)).

        First after `idle` seconds without traffic, then every `interval` seconds, and give up
        after `count` tries; `None` leaves the system's own value. Fractions are rounded up.
        Raises `ValueError` for what is not at least 1, `OSError` for what the platform or the
        socket lacks, and `RuntimeError` without a socket.
        """
        settings = (
            ("idle", idle, ("TCP_KEEPIDLE", "TCP_KEEPALIVE")),
            ("interval", interval, ("TCP_KEEPINTVL",)),
            ("count", count, ("TCP_KEEPCNT",)),
        )
        for name, value, _ in settings:
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is None or at least 1, not {value!r}")
        self._ac_set_option(_socket.SOL_SOCKET, ("SO_KEEPALIVE",), int(on))
        for _, value, names in settings:
            if value is not None:
                self._ac_set_option(_socket.IPPROTO_TCP, names, math.ceil(value))

    def _ac_set_option(self, level: int, names: tuple[str, ...], value: int) -> None:
        if self.socket is None:
            raise RuntimeError(f"{self!r} has no socket yet: call create_socket() first")
        for name in names:
            option = getattr(_socket, name, None)
            if option is not None:
                self.socket.setsockopt(level, option, value)
                return
        raise OSError(ENOPROTOOPT, f"this platform has no {names[0]}")
