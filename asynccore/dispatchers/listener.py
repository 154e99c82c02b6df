"""Listeners: accepting, resting where the system is exhausted, and limits.

Facts. What can't be accepted stays readable: a listener that is out of descriptors spins, and one
that is closed for it is dead. accept() makes two enumerations for every socket (socket.py), which
costs as much as the system call. The kernel keeps who waits in the backlog (listen(2)).

Consequence. Out of descriptors or memory, and after an exception, a listener rests for a while.
At a limit of its own it isn't read from until there is room; surplus connections of one peer are
accepted and refused, for they would stand in the way of the others' in the backlog. A socket
of the standard library is accepted by its own parts, without the enumerations.

Trade-off. A batch of connections is accepted at one event, while others wait; a listener with a
`readable` of its own is asked before each.
"""

from __future__ import annotations

import socket as _socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..channels import ENDED, FULL, RESTING, Map
from ..classic.own_names import OverridableProperty, hook
from ..classic.settings import adopt_late
from ..errors import EXHAUSTED, NOBODY, RERAISED
from ..listening import interception, socket_activation
from ..listening.connection_limits import NAMES, ConnectionLedger, Limit, check
from ..pollers import EVENTS_PER_PASS
from .duplex import Duplex

# How long a listener rests after it ran into a limit, in seconds. asyncio's ACCEPT_RETRY_DELAY.
ACCEPT_PAUSE = 1.0

# How many connections a listener accepts before others have their turn: as many as there are
# events in one pass.
ACCEPT_BATCH = EVENTS_PER_PASS

# How often a full listener looks for connections that ended without a word, in seconds: as often
# as the engine looks for what changed without a report.
LOOK_INTERVAL = 1.0

_PEERS = (int(_socket.AF_INET), int(_socket.AF_INET6))

_plain = _socket.socket
_accept_of_plain = _plain.accept
# What `socket.family` and `socket.type` make enumerations of.
_family_of = _socket.SocketType.family.__get__
_type_of = _socket.SocketType.type.__get__

# The connection that is being handed out. A dispatcher made of it knows the peer from here.
fresh: tuple[Any, Any] = (None, None)


class AcceptCounts(NamedTuple):
    """What a listener has counted since it was made."""

    accepted: int
    refused: int
    pauses: int


class Listening(Duplex):
    """What a dispatcher has for being a listener."""

    max_connections = Limit()
    """How many accepted connections may be open. At that many the listener accepts nothing until
    one has ended; the others wait in the backlog. `None` for any number."""
    max_connections_per_peer = Limit()
    """How many of them may come from one address. Surplus ones go to `handle_refused`. `None` for
    any number; without meaning for families other than IPv4 and IPv6."""
    max_handshakes = Limit()
    """How many handshakes may be unfinished (`handshake_begun`). At that many the listener
    accepts nothing until one has ended. `None` for any number."""

    _ac_crowded = True  # at the last event there was more than one connection
    _ac_accept_pass = 0  # when that was
    _ac_limited = False
    _ac_max_connections: int | None
    _ac_max_connections_per_peer: int | None
    _ac_max_handshakes: int | None
    _ac_kind: tuple[Any, int, int, int] = (None, 0, 0, 0)  # of `socket`, and so of what it accepts
    _ac_ledger: ConnectionLedger | None = None
    _ac_look_timer: Any = None
    _ac_accepted_count = 0
    _ac_refused_count = 0
    _ac_pause_count = 0
    _ac_said_full = float("-inf")  # when the log was last told
    _ac_said_refused: tuple[float, set[Any]] = (float("-inf"), set())

    _map: Map

    if TYPE_CHECKING:

        def log_info(self, message: Any, type: str = "info") -> None: ...

        def _ac_touch(self) -> None: ...

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # `max_connections = 30` in a class body becomes what it is here.
        Limit.adopt(cls, NAMES)

    def listen(self, num: int) -> None:
        """Become a listener with a backlog of `num` connections (listen(2))."""
        if socket_activation.arranged is not None:
            socket_activation.arranged.check_listener(getattr(self, "addr", None))
        for name in NAMES:
            adopt_late(self, name, check)
            self._ac_limited = self._ac_limited or getattr(self, f"_ac_{name}") is not None
        self.accepting = True
        self.connected = False
        self.socket.listen(num)
        # Before bind() the socket may have been taken for one whose connection is over.
        self._ac_ended = False
        self._ac_shutdown_state = 0
        if self._ac_pause_reasons & ENDED:
            self._ac_on_loop(self._ac_unmute, ENDED)
        if interception.wanted:
            interception.cover(self)
        self._ac_touch()

    # -- accepting ------------------------------------------------------------------------------

    def accept(self) -> tuple[Any, Any] | None:
        """Return a new connection and its peer's address, or `None` if there is none (any more).

        Out of descriptors or memory, the listener rests for `ACCEPT_PAUSE` seconds. At a limit
        there is nobody either.
        """
        if self._ac_limited:
            return self._ac_accept_within_limits()
        return self._ac_accept_now()

    def _ac_accept_now(self) -> tuple[Any, Any] | None:
        sock = self.socket
        if interception.wanted:
            sock = interception.cover(self)  # it may listen without `listen`
        try:
            if type(sock) is _plain and _plain.accept is _accept_of_plain and not sock.gettimeout():
                known, family, type_, proto = self._ac_kind
                if known is not sock:
                    family, type_, proto = _family_of(sock), _type_of(sock), sock.proto
                    self._ac_kind = sock, family, type_, proto
                fd, addr = sock._accept()  # type: ignore[attr-defined]
                pair: tuple[Any, Any] = _plain(family, type_, proto, fd), addr
            else:
                pair = sock.accept()
            self._ac_accepted_count += 1
            return pair
        except TypeError:
            # macOS: accept() may return no address for a peer that has gone.
            return None
        except OSError as why:
            if why.errno in NOBODY:
                return None
            if why.errno in EXHAUSTED:
                self.log_info(f"can't accept for {ACCEPT_PAUSE:g} s: {why}", "error")
                self._ac_rest()
                return None
            raise

    def handle_accept(self) -> None:
        """Somebody wants to connect: accept, and hand the connection to `handle_accepted`.

        Up to `ACCEPT_BATCH` connections are accepted at once, if they come in numbers. If
        `handle_accepted` raises, its connection is closed and the exception goes on to
        `handle_error`.
        """
        global fresh
        engine = self._ac_engine
        most = ACCEPT_BATCH
        if engine is not None:
            # Asking in vain costs as much as accepting. Who is still there is reported at once.
            if not self._ac_crowded and engine.passes - self._ac_accept_pass > 1:
                most = 1
            self._ac_accept_pass = engine.passes
        taken = 0
        while taken < most:
            pair = self.accept()
            if pair is None:
                break
            taken += 1
            fresh = pair
            sock, addr = pair
            try:
                self.handle_accepted(sock, addr)
            except RERAISED:
                raise
            except BaseException:
                _discard(sock, self._map)
                raise
            finally:
                fresh = (None, None)
            # A listener with a `readable` of its own, a limit perhaps, wants to be asked first.
            fd = self._fileno
            if (
                engine is None
                or fd is None
                or not self.accepting
                or self._ac_pause_reasons
                or not engine.need_not_ask(fd, self)
            ):
                break
        self._ac_crowded = taken > 1

    def _ac_handle_accept_event(self) -> None:
        if interception.wanted:
            sock = self.socket
            if interception.cover(self) is not sock:
                return  # whoever is there is there for the new one
        if not self._ac_limited:
            self.handle_accept()
            return
        try:
            self.handle_accept()
        finally:
            if self.accepting and self._ac_limited:
                self._ac_is_full()

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        """A connection was accepted; `sock` is its socket and `addr` its peer's address."""
        sock.close()
        self.log_info("unhandled accepted event", "warning")

    def _ac_rest(self) -> None:
        """Accept nothing for `ACCEPT_PAUSE` seconds."""
        if self._ac_engine is not None:
            self._ac_on_loop(self._ac_begin_rest, self._ac_engine)

    def _ac_begin_rest(self, engine: Any) -> None:
        self._ac_pause_count += 1
        engine.accept_pauses += 1
        self._ac_mute(RESTING)
        engine.timers.call_later(ACCEPT_PAUSE, self._ac_end_rest, self.socket)

    def _ac_end_rest(self, sock: Any) -> None:
        if self.socket is sock:
            self._ac_unmute(RESTING)

    @OverridableProperty
    def accept_counts(self) -> AcceptCounts:
        """How many connections were accepted and refused, and how often accepting paused."""
        return AcceptCounts(self._ac_accepted_count, self._ac_refused_count, self._ac_pause_count)

    # -- limits ---------------------------------------------------------------------------------

    def handle_refused(self, sock: Any, addr: Any, reason: str) -> None:
        """A connection is one too many; `reason` is the name of the limit.

        Unless overridden it is closed, and one line for each peer and second logged. `sock` is
        the socket, which may be written to first, and `addr` the peer's address.
        """
        sock.close()
        if self._ac_engine is not None:
            now = self._ac_engine.clock()
            since, said = self._ac_said_refused
            if not 0 <= now - since < ACCEPT_PAUSE:
                since, said = now, set()
                self._ac_said_refused = since, said
            if addr[0] in said:
                return
            said.add(addr[0])
        self.log_info(f"refused a connection of {addr[0]}: {reason}")

    def handshake_begun(self, channel: Any) -> None:
        """Count a channel's handshake as unfinished until `handshake_ended`, or its close.

        May be called twice, and from any thread.
        """
        self._ac_on_loop(self._ac_handshake_begun, channel)

    def handshake_ended(self, channel: Any) -> None:
        """Count a channel's handshake no more. May be called twice, and from any thread."""
        self._ac_on_loop(self._ac_handshake_ended, channel)

    def _ac_handshake_begun(self, channel: Any) -> None:
        self._ac_book().handshake_begun(channel)
        if self._ac_limited and self.accepting:
            self._ac_is_full()

    def _ac_handshake_ended(self, channel: Any) -> None:
        self._ac_book().handshake_ended(channel)
        self._ac_look_for_room()

    def _ac_book(self) -> ConnectionLedger:
        if self._ac_ledger is None:
            self._ac_ledger = ConnectionLedger(self)
        return self._ac_ledger

    def _ac_limits_changed(self) -> None:
        self._ac_limited = True
        self._ac_on_loop(self._ac_look_for_room)

    def _ac_accept_within_limits(self) -> tuple[Any, Any] | None:
        for _ in range(ACCEPT_BATCH):
            if self._ac_is_full():
                return None
            pair = self._ac_accept_now()
            if pair is None:
                return None
            sock, addr = pair
            peer = addr[0] if addr and _family_of_any(sock) in _PEERS else None
            book = self._ac_book()
            most = self._ac_max_connections_per_peer
            if most is None or peer is None or book.from_peer(peer) < most:
                book.opened(sock, peer)
                return pair
            self._ac_accepted_count -= 1
            self._ac_refused_count += 1
            try:
                hook(self, "handle_refused", 3)(sock, addr, "max_connections_per_peer")
            except RERAISED:
                raise
            except BaseException:
                _discard(sock, self._map)
                raise
        return None

    def _ac_is_full(self) -> bool:
        """Whether a limit is reached; then nothing is accepted until there is room."""
        book = self._ac_book()
        book.settle(self._map)
        reached = self._ac_reached(book)
        if reached is None:
            return False
        if not self._ac_pause_reasons & FULL and self._ac_engine is not None:
            self._ac_on_loop(self._ac_pause_for, reached, self._ac_engine)
        return True

    def _ac_reached(self, book: ConnectionLedger) -> str | None:
        most = self._ac_max_connections
        if most is not None and book.connections >= most:
            return f"{most} connections are open (max_connections)"
        most = self._ac_max_handshakes
        if most is not None and book.handshakes >= most:
            return f"{most} handshakes are unfinished (max_handshakes)"
        return None

    def _ac_pause_for(self, reached: str, engine: Any) -> None:
        self._ac_pause_count += 1
        engine.accept_pauses += 1
        self._ac_mute(FULL)
        now = engine.clock()
        if now - self._ac_said_full >= LOOK_INTERVAL:
            # A listener that is full all the time pauses after each connection.
            self._ac_said_full = now
            self.log_info(f"accepting pauses: {reached}")
        if self._ac_look_timer is None:
            self._ac_look_timer = engine.timers.call_later(LOOK_INTERVAL, self._ac_look, engine)

    def _ac_look(self, engine: Any) -> None:
        self._ac_look_timer = None
        if self._ac_pause_reasons & FULL:
            self._ac_book().look()
            self._ac_look_for_room()
            if self._ac_pause_reasons & FULL:
                self._ac_look_timer = engine.timers.call_later(LOOK_INTERVAL, self._ac_look, engine)

    def _ac_look_for_room(self) -> None:
        """Accept again, if it was a limit that forbade it and there is room now."""
        if self._ac_pause_reasons & FULL and self._ac_reached(self._ac_book()) is None:
            self._ac_unmute(FULL)

    def _ac_stop_listening(self) -> None:
        if self._ac_look_timer is not None:
            self._ac_look_timer.cancel()
            self._ac_look_timer = None


def _family_of_any(sock: Any) -> int:
    try:
        return int(_family_of(sock))
    except TypeError:
        return int(getattr(sock, "family", -1))


def _discard(sock: Any, map: Map) -> None:
    """Close a connection whose handler failed, with the channel that it may have got already."""
    channel = map.get(sock.fileno()) if hasattr(sock, "fileno") else None
    close: Callable[[], object] = sock.close
    if channel is not None and getattr(channel, "socket", None) is sock:
        close = channel.close
    close()
