"""What a dispatcher offers for being a listener; how it accepts is `listening.acceptor`'s."""

from __future__ import annotations

import socket as _socket
from typing import TYPE_CHECKING, Any

from ..channels import ENDED, UNUSED, Map, inspectors
from ..classic.own_names import OverridableProperty
from ..classic.settings import adopt_late
from ..listening import socket_activation
from ..listening.acceptor import AcceptCounts, Accepted, Acceptor
from ..listening.connection_limits import NAMES, Limit, check
from ..listening.interception import TrustedProxies, behind_header, check_proxies
from .duplex import Duplex

if TYPE_CHECKING:
    from ..listening.proxy_header import ProxyHeader


class Listening(Duplex):
    """What a dispatcher has for being a listener."""

    max_connections = Limit()
    """How many accepted connections may be open. If so many are open, the listener accepts nothing
    until one has ended. The others wait in the backlog. `None` means any number."""
    max_connections_per_peer = Limit()
    """How many open connections may come from one address. Surplus ones go to `handle_refused`.
    `None` means any number. Only IPv4 and IPv6 connections count."""
    max_handshakes = Limit()
    """How many handshakes may be unfinished (`handshake_begun`). If so many are, the listener
    accepts nothing until one has ended. `None` means any number."""
    proxy_protocol = TrustedProxies()
    """The proxies that say who their clients are, in a header of the PROXY protocol (version 1 or
    2). Write a text such as "10.0.0.1,fd00::/8", with "unix:" for the peers of a Unix socket. Each
    connection must then begin with a header, and the listener closes connections of anybody else.
    Set it before the channel begins to listen. `None` means connections without a header."""

    _ac_proxy_protocol: str | None
    _ac_max_connections: int | None
    _ac_max_connections_per_peer: int | None
    _ac_max_handshakes: int | None
    _ac_acceptor: Acceptor | None = None  # a connection has none

    _map: Map

    if TYPE_CHECKING:

        def log_info(self, message: str | Any, type: str = "info") -> None: ...

        def _ac_touch(self) -> None: ...

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        # `max_connections = 30` in a class body becomes what it is here.
        Limit.adopt(cls, NAMES)
        TrustedProxies.adopt(cls, ("proxy_protocol",))

    def listen(self, num: int) -> None:
        """Become a listener with a backlog of `num` connections (listen(2))."""
        if socket_activation.arranged is not None:
            socket_activation.arranged.check_listener(getattr(self, "addr", None))
        for name in NAMES:
            adopt_late(self, name, check)
        adopt_late(self, "proxy_protocol", check_proxies)
        self._ac_as_listener().look_at_limits(self)
        self.accepting = True
        self.connected = False
        self.socket.listen(num)
        if socket_activation.arranged is not None:
            socket_activation.arranged.listens(self.socket)
        # Before bind() the socket may have been taken for one whose connection is over.
        self._ac_ended = 0
        self._ac_shutdown_state = 0
        if self._ac_pause_reasons & (ENDED | UNUSED):
            self._ac_on_loop(self._ac_unmute, ENDED | UNUSED)
        if self._ac_proxy_protocol is not None:
            self.socket = behind_header(self, self.socket)
        if inspectors:
            for inspect in inspectors:
                inspect(self)
        self._ac_touch()

    # -- accepting ------------------------------------------------------------------------------

    def accept(self) -> Accepted | None:
        """Return a new connection and its peer's address, or `None` if there is none (any more).

        Out of descriptors or memory, the listener rests for `ACCEPT_PAUSE` seconds. At a limit
        there is nobody either.
        """
        return (self._ac_acceptor or self._ac_as_listener()).accept(self)

    def handle_accept(self) -> None:
        """Somebody wants to connect: accept, and hand the connection to `handle_accepted`.

        Up to `ACCEPT_BATCH` connections are accepted at once, if they come in numbers. If
        `handle_accepted` raises, its connection is closed and the exception goes on to
        `handle_error`.
        """
        acceptor = self._ac_acceptor or self._ac_as_listener()
        accept = self.accept
        acceptor.hand_out(self, None if getattr(accept, "__func__", None) is _ACCEPT else accept)

    def _ac_as_listener(self) -> Acceptor:
        """Return the acceptor: a program may listen, and set `accepting`, without `listen`."""
        if self._ac_acceptor is None:
            self._ac_acceptor = Acceptor(self)
        return self._ac_acceptor

    def _ac_accept_failed(self) -> None:
        """Handling an event has raised."""
        self._ac_as_listener().failed(self)

    def _ac_goes_on(self) -> bool:
        """Whether a pause is over, though nobody has ended it: a listener's ends by time, too."""
        if self._ac_acceptor is not None:
            self._ac_acceptor.catch_up(self)
        return not self._ac_pause_reasons

    def _ac_accept_within_limits(self) -> None:
        """Handle an event, and see whether a limit is reached now."""
        try:
            self.handle_accept()
        finally:
            acceptor = self._ac_acceptor
            if self.accepting and acceptor is not None and acceptor.limited:
                acceptor.is_full(self)
        if acceptor is not None:
            acceptor.latest = None
            acceptor.failures = 0

    def handle_accepted(self, sock: _socket.socket | Any, addr: tuple[str, int] | Any) -> None:
        """A connection was accepted; `sock` is its socket and `addr` its peer's address."""
        sock.close()
        self.log_info("unhandled accepted event", "warning")

    def _ac_stop_listening(self) -> None:
        if self._ac_acceptor is not None:
            self._ac_acceptor.stop()
        if socket_activation.arranged is not None and self.socket is not None:
            socket_activation.arranged.closes(self.socket)

    @OverridableProperty
    def proxy_header(self) -> ProxyHeader | None:
        """What a proxy has said of this connection, `None` without the PROXY protocol."""
        header: ProxyHeader | None = getattr(self.socket, "proxy_header", None)
        return header

    @OverridableProperty
    def accept_counts(self) -> AcceptCounts:
        """How many connections were accepted and refused, and how often accepting paused."""
        found = self._ac_acceptor
        if found is None:
            return AcceptCounts(0, 0, 0)
        return AcceptCounts(found.accepted, found.refused, found.pauses)

    # -- limits ---------------------------------------------------------------------------------

    def handle_refused(
        self, sock: _socket.socket | Any, addr: tuple[str, int] | Any, reason: str
    ) -> None:
        """A connection is one too many; `reason` is the name of the limit.

        Unless overridden it is closed, and one line for each peer and second logged. `sock` is
        the socket, which may be written to first, and `addr` the peer's address.
        """
        sock.close()
        if self._ac_engine is not None:
            refusals = self._ac_as_listener().refusals
            if not refusals.is_to_be_told(addr[0], self._ac_engine.clock()):
                return
        self.log_info(f"refused a connection of {addr[0]}: {reason}")

    def handshake_begun(self, channel: object) -> None:
        """Count a channel's handshake as unfinished until `handshake_ended`, or its close.

        May be called twice, and from any thread.
        """
        self._ac_on_loop(self._ac_handshake_begun, channel)

    def handshake_ended(self, channel: object) -> None:
        """Count a channel's handshake no more. May be called twice, and from any thread."""
        self._ac_on_loop(self._ac_handshake_ended, channel)

    def _ac_handshake_begun(self, channel: object) -> None:
        self._ac_as_listener().handshake_begun(self, channel)

    def _ac_handshake_ended(self, channel: object) -> None:
        self._ac_as_listener().handshake_ended(self, channel)

    def _ac_makes_room_for_handshakes(self) -> bool:
        """Whether a new handshake ends another where there are `max_handshakes`."""
        return False

    def _ac_limits_changed(self) -> None:
        acceptor = self._ac_as_listener()
        acceptor.look_at_limits(self)
        self._ac_on_loop(acceptor.look_for_room, self)

    def _ac_look_for_room(self) -> None:
        if self._ac_acceptor is not None:
            self._ac_acceptor.look_for_room(self)


# The `accept` of whoever has no other, around which there is a shorter way.
_ACCEPT = Listening.accept
