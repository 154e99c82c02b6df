"""TLS for programs that know nothing of it: a listening socket that does the handshakes itself.

Facts. A program makes a channel of whatever `accept()` returns, and talks to it. A handshake takes
several turns of the loop, or for ever, and most that fail are those of strangers who try doors.
What fails later in TLS comes as errors that no plaintext program has heard of. To open connections
and say nothing costs a stranger nothing; an honest client speaks first, and at once.

Consequence. An `AcceptingSocket` takes the place of a listening socket. It accepts by itself, and
each handshake is a channel of its own; the listener is readable when one is over, and `accept()`
returns that connection, ready for use. A handshake that fails or stalls is nobody's business but
its own. What such a connection meets later looks like a reset one, which every program handles.
So many handshakes may be under way, and of one peer so many whose client has said nothing: beyond,
the oldest of these ends for the sake of the new one (`handshake_table`).

Trade-off. The map holds an entry for each handshake under way: who counts its entries counts them
too. Limits on connections see a connection after its handshake.
"""

from __future__ import annotations

import os
import socket as _socket
from collections.abc import Callable
from errno import ECONNRESET
from typing import TYPE_CHECKING, Any, cast

from asynccore import logs
from asynccore.channels import Map, NullChannel
from asynccore.classic.former import formerly
from asynccore.engine import engine_for, leave_map
from asynccore.engine.timers import Timer
from asynccore.listening.front import ListenerFront
from asynccore.listening.socket_activation import close_port
from asynccore.pollers import READ

from ..errors import HandshakeError, TLSError
from ..states import HANDSHAKE_TIMEOUT, OPEN, SHUTDOWN_TIMEOUT
from .handshake_table import MADE_ROOM, MAX_HANDSHAKES, HandshakeTable
from .proxy import SocketProxy
from .records import nothing
from .tls_socket import OpenSSLSocket
from .translation import AnyContext, adapted, blocked

if TYPE_CHECKING:
    from asynccore.listening.proxy_protocol import ProxyListener


class TransparentSocket(OpenSSLSocket):
    """An `OpenSSLSocket` for programs that know nothing of TLS.

    Where TLS fails, `recv` and `send` raise `ConnectionResetError`; `failure` has the reason.
    """

    def _raise_failure(self) -> None:
        if isinstance(self.failure, TLSError):
            self._ac_acknowledge_failure()
            raise ConnectionResetError(ECONNRESET, os.strerror(ECONNRESET)) from self.failure
        super()._raise_failure()


class AcceptingSocket(ListenerFront, SocketProxy):
    """A listening socket whose `accept` returns connections after their handshake.

    `context` is as for `OpenSSLSocket`, `sock` the socket, which listens. `max_handshakes` is
    how many may be under way, or a function that returns that, `None` for the usual 512. For
    whatever is not here, the socket itself is asked.

    Raises `TypeError` for what is no context, and `ValueError` for one of a client.
    """

    _watching: Timer | None = None

    @formerly("max_handshakes")
    def __init__(
        self,
        context: AnyContext,
        sock: _socket.socket,
        *,
        max_handshakes: int | Callable[[], int | None] = MAX_HANDSHAKES,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        shutdown_timeout: float | None = SHUTDOWN_TIMEOUT,
    ) -> None:
        adapted(context)
        if not getattr(context, "server_side", True):
            raise ValueError(f"a listener needs a server's context, not {context!r}")
        if getattr(context, "dtls", False):
            raise TypeError(
                f"{context!r} is for datagrams: make a context without dtls=True, or give a "
                "listening datagram socket to ssl_ext.DTLSSocket"
            )
        super().__init__(sock)
        self.context = context
        self.handshake_timeout = handshake_timeout
        self.shutdown_timeout = shutdown_timeout
        # Headers of proxies may be read before TLS begins, by a `LayeredSocket`.
        self._headers = cast(
            "ProxyListener | None", sock if hasattr(type(sock), "_ac_poll_interest") else None
        )
        self._pending = HandshakeTable(
            max_handshakes if callable(max_handshakes) else lambda: max_handshakes
        )
        self._ac_map: Map | None = None
        self._report: Callable[[], None] = nothing
        self._listen_on(sock)

    def __repr__(self) -> str:
        return f"<AcceptingSocket fd={self._raw.fileno()}, {len(self._pending)} handshakes>"

    def __del__(self) -> None:
        self._stop_watching()  # it was forgotten, and not closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    # -- for the engine (`LayeredSocket`) -------------------------------------------

    def _ac_entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a listener in `map`."""
        self._stop_watching()
        self._ac_map = map
        self._report = report
        if self._headers is not None:
            self._headers._ac_entered(map, self._accept_those_with_header)
        watch = getattr(self.context, "watch", None)
        if watch is not None:
            self._watching = watch(map)  # its files, for as long as this listens

    def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            self._watching = None

    def _ac_poll_interest(self, wanted: int) -> int:
        """Return what to wait for: new connections, as long as there is room for handshakes."""
        if self._is_full():
            return 0
        return wanted & READ if self._headers is None else self._headers._ac_poll_interest(wanted)

    def _is_full(self) -> bool:
        return not self._accepts or not self._pending.has_room(len(self._ready))

    @property
    def plain(self) -> _socket.socket:
        """The socket underneath."""
        return self._raw if self._headers is None else self._headers.plain

    @property
    def _ac_unfinished(self) -> int:
        """How many connections were accepted here, and not handed out yet."""
        headers = 0 if self._headers is None else self._headers._ac_unfinished
        return len(self._pending) + len(self._ready) + headers

    def _ac_accept_no_more(self) -> None:
        """Accept who waits, and nobody else: the port is closed, the descriptor stays."""
        if self._headers is not None:
            self._headers._ac_accept_no_more()
        self._accept_the_rest()
        if self._headers is None:
            self._accepts = False
            close_port(self._raw, self._ac_map)

    # -- handshakes -----------------------------------------------------------------------------

    def _accept_those_with_header(self) -> None:
        self._accept_all()
        self._report()

    def _begin(self, sock: _socket.socket, address: object, map: Map) -> None:
        try:
            secure = TransparentSocket(
                self.context,
                sock,
                server_side=True,
                handshake_timeout=self.handshake_timeout,
                shutdown_timeout=self.shutdown_timeout,
            )
        except Exception as why:
            sock.close()
            _tell(address, why)
            return
        handshake = PendingHandshake(self, map, secure, address)
        surplus = self._pending.add(handshake, address, len(self._ready))
        if surplus is not None:
            _tell(surplus.addr, HandshakeError(MADE_ROOM))
            surplus.close()

    def _over(self, handshake: PendingHandshake) -> None:
        """A handshake has ended, one way or the other, and left the map."""
        self._pending.remove(handshake)
        sock = handshake.socket
        if sock.state is OPEN:
            self._ready.append((sock, handshake.addr))
        else:
            if sock.failure is not None:
                _tell(handshake.addr, sock.failure)
            sock.close()
        self._room_again()

    def _room_again(self) -> None:
        self._report()
        if self._headers is not None and self._headers._ac_read_ahead and self._ac_map is not None:
            engine_for(self._ac_map).call_soon_threadsafe(self._accept_all)

    # -- as any listening socket ----------------------------------------------------------------

    def accept(self) -> tuple[OpenSSLSocket, Any]:
        """Return a connection whose handshake is over, and its peer's address.

        Raises `BlockingIOError` if there is none, and what accept(2) raised.
        """
        if self._ready:
            found = self._ready.popleft()
            self._room_again()  # and there may be more
            return found
        self._report()
        self._raise_error()
        self._check_open()
        raise blocked()

    def close(self) -> None:
        """Close the socket, and all connections that nobody has accepted."""
        self._stop_watching()
        self._raw.close()
        for handshake in tuple(self._pending):
            handshake.close()
        while self._ready:
            self._ready.popleft()[0].close()


class PendingHandshake(NullChannel):
    """A channel that lasts as long as the handshake of `socket`; it enters `map` by itself."""

    connected = True
    debug = False

    def __init__(
        self, listener: AcceptingSocket, map: Map, sock: OpenSSLSocket, address: object
    ) -> None:
        self.socket = sock
        self.addr = address
        self._listener = listener
        self._map = map
        self._fd = sock.fileno()
        map[self._fd] = self

    def __repr__(self) -> str:
        return f"<TLS handshake with {self.addr!r}>"

    def _ac_has_heard(self) -> bool:
        """Tell whether the client has said anything."""
        return self.socket._ac_has_heard()

    def writable(self) -> bool:
        """Always: the socket can take plaintext when the handshake is over."""
        return True

    def handle_write_event(self) -> None:
        """The handshake is over, or has failed."""
        self.close()

    handle_read_event = handle_expt_event = handle_error = handle_write_event

    def close(self) -> None:
        """Leave the map and report."""
        leave_map(self._map, self._fd, self)
        self._listener._over(self)


def _tell(address: object, why: Exception) -> None:
    """Tell who has called `use_logging`, and nobody else: strangers can cause any number."""
    logs.emit("warning", f"no TLS with {address!r}: {why}")
