"""What stands in front of a socket, and answers as that does where nothing else is to be said.

Programs say `settimeout(30)` or `setblocking(1)` to whatever `accept` returns, and a dispatcher
that takes it over undoes that. So it is kept, and told, and changes nothing else. A copy, or the
descriptor alone, would be in clear.
"""

from __future__ import annotations

import os
import socket as _socket
from errno import EBADF, EISCONN, ENOTCONN, EOPNOTSUPP
from typing import TYPE_CHECKING, Any, NoReturn

from .records import Data

if TYPE_CHECKING:
    from asynccore.listening.proxy_header import ProxyHeader


class SocketProxy:
    """A non-blocking socket's methods, most of them those of the socket underneath."""

    __slots__ = ("__dict__", "__weakref__", "_raw")

    _asked_timeout: float | None = 0.0

    def __init__(self, sock: _socket.socket) -> None:
        self._raw = sock

    @property
    def plain(self) -> _socket.socket:
        """The socket underneath."""
        return self._raw

    def _check_open(self) -> None:
        """Raise `OSError` (EBADF) if it is closed, as a plain socket does."""
        if self._raw.fileno() == -1:
            raise OSError(EBADF, os.strerror(EBADF))

    # -- what would have it wait, or would have another one -------------------------------------

    def setblocking(self, flag: bool) -> None:
        """Keep what is asked for, for `getblocking`; the socket stays non-blocking."""
        self._check_open()
        self._asked_timeout = None if flag else 0.0

    def settimeout(self, value: float | None) -> None:
        """Keep what is asked for, in seconds, for `gettimeout`; the socket stays non-blocking.

        Raises `ValueError` for less than 0, and `TypeError` for what is no number.
        """
        if value is not None:
            value = float(value)
            if not value >= 0:
                raise ValueError(f"a timeout is 0 or more seconds, not {value!r}")
        self._check_open()
        self._asked_timeout = value

    def gettimeout(self) -> float | None:
        """Return what `settimeout` or `setblocking` was told last; 0.0 before."""
        return self._asked_timeout

    def getblocking(self) -> bool:
        """Return what `setblocking` was told last."""
        return self._asked_timeout != 0

    @property
    def timeout(self) -> float | None:
        """What `gettimeout` returns."""
        return self._asked_timeout

    def detach(self) -> NoReturn:
        """Raise `OSError`: the descriptor alone would be in clear."""
        raise OSError(
            EOPNOTSUPP,
            f"{self!r} can't be detached: its descriptor alone would be in clear (the socket "
            "underneath is its plain)",
        )

    def dup(self) -> NoReturn:
        """Raise `OSError`: a copy would be in clear."""
        raise OSError(
            EOPNOTSUPP,
            f"there is no second {self!r}: it would be in clear (the socket underneath is its "
            "plain)",
        )

    def makefile(self, *args: object, **options: object) -> NoReturn:
        """Raise `OSError`: a file waits for its data, and the socket is for a loop."""
        raise OSError(
            EOPNOTSUPP,
            f"a file would wait for its data, and {self!r} never blocks: use recv and send, or "
            "asynchat.async_chat for lines",
        )

    # -- what follows from others ---------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Receive (recv(2))."""
        return self._raw.recv(bufsize, flags)

    def send(self, data: Data, flags: int = 0) -> int:
        """Send what fits and return how many bytes that is (send(2))."""
        return self._raw.send(data, flags)

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:
        """Receive into a writable buffer, at most `nbytes` if given; see `recv`."""
        view = memoryview(buffer).cast("B")
        data = self.recv(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """Return what `recv` returns, and `None`, as TCP has it; for a datagram, the peer's
        address."""
        return self.recv(bufsize, flags), self._sender()

    def recvfrom_into(
        self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Any]:
        """Return what `recv_into` returns, and an address as `recvfrom`."""
        return self.recv_into(buffer, nbytes, flags), self._sender()

    def _sender(self) -> Any:
        return None if self.type == _socket.SOCK_STREAM else self.getpeername()

    def sendall(self, data: Data, flags: int = 0) -> None:
        """Send everything. Raises `BlockingIOError` as soon as it does not fit, as a non-blocking
        socket does: nobody knows then how much was sent."""
        view = memoryview(data).cast("B")
        while len(view):
            view = view[self.send(view) :]

    def sendto(self, data: Data, *flags_and_address: Any) -> int:
        """Send to the peer, as `send`: `sendto(data, address)`, or `sendto(data, flags, address)`.

        Raises `OSError`: EISCONN for the address of anybody else, ENOTCONN before there is a peer.
        """
        if not 1 <= len(flags_and_address) <= 2:
            raise TypeError("sendto() takes data, perhaps flags, and an address")
        self._check_open()
        address = flags_and_address[-1]
        try:
            known = self.getpeername()
        except OSError:
            raise OSError(
                ENOTCONN, f"{self!r} has no peer: connect first, and then send; TLS is for two"
            ) from None
        if not self._is_peer(address, known):
            raise OSError(EISCONN, f"{self!r} is connected to {known!r}, not to {address!r}")
        return self.send(data)

    def _is_peer(self, address: object, known: object) -> bool:
        return bool(address == known)

    # -- what the socket underneath answers -----------------------------------------------------

    def bind(self, address: Any) -> None:
        """Bind to an address (bind(2))."""
        self._raw.bind(address)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._raw.fileno()

    def set_inheritable(self, inheritable: bool) -> None:
        """Say whether child processes have the descriptor: without what TLS knows of it."""
        self._raw.set_inheritable(inheritable)

    def get_inheritable(self) -> bool:
        """Return whether child processes have the descriptor."""
        return self._raw.get_inheritable()

    def getpeername(self) -> Any:
        """Return the peer's address (getpeername(2))."""
        return self._raw.getpeername()

    @property
    def proxy_header(self) -> ProxyHeader | None:
        """What a proxy has said of the connection (PROXY protocol); `None` without."""
        header: ProxyHeader | None = getattr(self._raw, "proxy_header", None)
        return header

    def getsockname(self) -> Any:
        """Return our own address (getsockname(2))."""
        return self._raw.getsockname()

    def getsockopt(self, level: int, option: int, *buflen: int) -> Any:
        """Return an option (getsockopt(2))."""
        return self._raw.getsockopt(level, option, *buflen)

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        """Set an option (setsockopt(2))."""
        self._raw.setsockopt(level, option, *value)

    @property
    def family(self) -> int:
        """The address family."""
        return self._raw.family

    @property
    def type(self) -> int:
        """The kind of socket: SOCK_STREAM, with DTLS SOCK_DGRAM."""
        return self._raw.type

    @property
    def proto(self) -> int:
        """The protocol number."""
        return self._raw.proto
