"""What a listener keeps, and how it accepts: in batches, with rests, within limits.

Facts. What can't be accepted stays readable: a listener that is out of descriptors spins, and one
that is closed for it is dead. accept() makes two enumerations for every socket (socket.py), which
costs as much as the system call. The kernel keeps who waits in the backlog (listen(2)).

Consequence. Out of descriptors or memory, a listener rests for a while. So it does after several
exceptions in a row that left the connection where it was, for the same event would come at once.
What fails for one connection closes that, and the next one is accepted: else one client could keep
all others out. A program that waits by itself runs no timers; a rest is over there once somebody
asks after its time. At a limit of its own the listener isn't read from until there is room; surplus
connections of one peer are accepted and refused, for they would stand in the way of the others' in
the backlog. A socket of the standard library is accepted by its own parts, without the
enumerations.

Trade-off. A batch of connections is accepted at one event, while others wait; a listener with a
`readable` of its own is asked before each. An `Acceptor` is given its listener at each call: one
that kept it would be a circle, which only the garbage collector frees.
"""

from __future__ import annotations

import contextlib
import socket as _socket
import sys
import weakref
from collections.abc import Callable
from errno import EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP
from typing import Any, NamedTuple, Protocol

from ..channels import FULL, RESTING, Map, SocketLike, inspectors
from ..classic.blocking import blocks
from ..classic.own_names import hook
from ..engine.engine import Engine
from ..engine.timers import Timer
from ..errors import EXHAUSTED, NOBODY, reraised
from ..pollers import EVENTS_PER_PASS, READ
from ..pollers.single import readiness
from .connection_limits import NAMES, ConnectionLedger

# How long a listener rests after it ran into a limit, in seconds. asyncio's ACCEPT_RETRY_DELAY.
ACCEPT_PAUSE = 1.0

# How many events may fail in a row, with nothing accepted that is known of, before a listener
# rests: few enough not to spin, and more than the connections that fail between two that don't.
FAILURES = 10

# How many connections a listener accepts before others have their turn: as many as there are
# events in one pass.
ACCEPT_BATCH = EVENTS_PER_PASS

# How often a full listener looks for connections that ended without a word, in seconds: as often
# as the engine looks for what changed without a report.
LOOK_INTERVAL = 1.0

# Where peers have addresses of a network; at a Unix socket, who came by a proxy.
_PEERS = tuple(
    int(getattr(_socket, name))
    for name in ("AF_INET", "AF_INET6", "AF_UNIX")
    if hasattr(_socket, name)
)

_plain = _socket.socket
_accept_of_plain = _plain.accept
# What `socket.family` and `socket.type` make enumerations of.
_family_of = _socket.SocketType.family.__get__
_type_of = _socket.SocketType.type.__get__

# accept(2) of what listens no more, or never did: the fault is the listener's own, and stays.
_ITS_OWN = frozenset({EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP})

# A connection and the address of its peer.
Accepted = tuple[_socket.socket | Any, tuple[str, int] | Any]

# The connection that is being handed out. A dispatcher made of it knows the peer from here.
fresh: Accepted = (None, None)

# Its socket, if it has TCP_NODELAY from its listener's; and that listener.
sends_at_once: _socket.socket | None = None
_listener: Listener | None = None


def pass_no_delay_on() -> None:
    """Have all connections of the listener whose one is being handed out send at once.

    They get TCP_NODELAY from its socket in accept(2) on Linux, which saves a system call for each.
    """
    listener = _listener
    if listener is not None and sys.platform == "linux" and type(listener.socket) is _plain:
        with contextlib.suppress(OSError):  # it isn't one of TCP's, and neither are these
            listener.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        listener._ac_as_listener().passes_no_delay_on = listener.socket


class AcceptCounts(NamedTuple):
    """What a listener has counted since it was made."""

    accepted: int
    refused: int
    pauses: int


class Listener(Protocol):
    """What an acceptor needs of the channel that listens."""

    socket: _socket.socket | Any
    accepting: bool
    _map: Map
    _fileno: int | None
    _ac_engine: Engine | None
    _ac_pause_reasons: int
    _ac_max_connections: int | None
    _ac_max_connections_per_peer: int | None
    _ac_max_handshakes: int | None

    def handle_accepted(
        self, sock: _socket.socket | Any, addr: tuple[str, int] | Any
    ) -> object: ...

    def log_info(self, message: str | Any, type: str = "info") -> object: ...

    def _ac_makes_room_for_handshakes(self) -> bool: ...

    def _ac_as_listener(self) -> Acceptor: ...

    def _ac_on_loop(self, function: Callable[..., object], *args: object) -> None: ...

    def _ac_mute(self, why: int) -> None: ...

    def _ac_unmute(self, why: int) -> None: ...


class RefusalLog:
    """Whose refusals the log was told of."""

    def __init__(self) -> None:
        self._said: tuple[float, set[object]] = (float("-inf"), set())

    def is_to_be_told(self, peer: object, now: float) -> bool:
        """Whether the log is to be told of a refusal: one line for each peer and second."""
        since, said = self._said
        if not 0 <= now - since < ACCEPT_PAUSE:
            since, said = now, set()
            self._said = since, said
        if peer in said:
            return False
        said.add(peer)
        return True


class Acceptor:
    """The accepting of one listener."""

    def __init__(self, channel: Listener) -> None:
        self.limited = False  # some limit was set
        self.ledger = ConnectionLedger(channel)
        self.accepted = self.refused = self.pauses = 0
        self._lost = 0  # connections that failed in `accept` itself
        self._counted = 0  # all of these, when handling an event last failed
        self.failures = 0  # in a row, with nothing accepted that is known of
        # What `accept` has handed to a program's own `handle_accept`, while that runs.
        self.latest: Callable[[], _socket.socket | None] | None = None
        self._rest_ends = self._next_look = 0.0
        self.passes_no_delay_on: _socket.socket | None = (
            None  # the socket that does, of those that it has had
        )
        self._crowded = True  # at the last event there was more than one connection
        self._event_pass = 0  # when that was
        # The socket that was accepted from last, and its kind: that of all that it gives.
        self._kind: tuple[_socket.socket | None, int, int, int] = (None, 0, 0, 0)
        self._look_timer: Timer | None = None
        self._said_full = float("-inf")  # when the log was last told
        self.refusals = RefusalLog()
        self.look_at_limits(channel)

    def look_at_limits(self, channel: Listener) -> None:
        """Look whether there are limits now."""
        self.limited = self.limited or any(
            getattr(channel, f"_ac_{name}") is not None for name in NAMES
        )

    # -- accepting ------------------------------------------------------------------------------

    def accept(self, channel: Listener) -> Accepted | None:
        """Return a new connection and its peer's address, or `None` if there is none (any more)."""
        pair = self._accept_within_limits(channel) if self.limited else self._accept_now(channel)
        if pair is not None:
            with contextlib.suppress(TypeError):  # It can't be referred to, and is not kept.
                self.latest = weakref.ref(pair[0])
        return pair

    def _accept_now(self, channel: Listener) -> Accepted | None:
        if inspectors:
            for inspect in inspectors:  # it may listen without `listen`
                inspect(channel)
        sock = channel.socket
        try:
            if type(sock) is _plain and _plain.accept is _accept_of_plain and not sock.gettimeout():
                known, family, type_, proto = self._kind
                if known is not sock:
                    family, type_, proto = _family_of(sock), _type_of(sock), sock.proto
                    self._kind = sock, family, type_, proto
                fd, addr = sock._accept()  # type: ignore[attr-defined]
                pair: Accepted = _plain(family, type_, proto, fd), addr
            else:
                pair = sock.accept()
            self.accepted += 1
            return pair
        except TypeError:
            # macOS: accept() may return no address for a peer that has gone.
            return None
        except OSError as why:
            if why.errno in NOBODY:
                return None
            if why.errno in EXHAUSTED:
                channel.log_info(f"can't accept for {ACCEPT_PAUSE:g} s: {why}", "error")
                self.rest(channel)
                return None
            if why.errno not in _ITS_OWN:
                self._lost += 1
            raise
        except Exception:
            self._lost += 1  # A TLS socket shakes hands with whom it accepts.
            raise

    def hand_out(self, channel: Listener, accept: Callable[[], Accepted | None] | None) -> None:
        """Accept up to `ACCEPT_BATCH` connections, and hand each to `handle_accepted`.

        `accept` is the program's own, if it has one. A connection whose handler raises is closed.
        """
        global fresh, sends_at_once, _listener
        engine = channel._ac_engine
        most = ACCEPT_BATCH
        if engine is not None:
            # Asking in vain costs as much as accepting. Who is still there is reported at once.
            if not self._crowded and engine.passes - self._event_pass > 1:
                most = 1
            self._event_pass = engine.passes
        taken = 0
        while taken < most:
            if accept is not None:
                pair = accept()
            elif self.limited:
                pair = self._accept_within_limits(channel)
            else:
                pair = self._accept_now(channel)
            if pair is None:
                break
            taken += 1
            if taken == 1 and most > 1 and blocks(channel.socket):
                most = 1
            fresh = pair
            sock, addr = pair
            _listener = channel
            sends_at_once = sock if self.passes_no_delay_on is channel.socket else None
            try:
                channel.handle_accepted(sock, addr)
            except reraised():
                raise
            except BaseException:
                _discard(sock, channel._map)
                raise
            finally:
                fresh = (None, None)
                sends_at_once = _listener = None
            # A listener with a `readable` of its own, a limit perhaps, wants to be asked first.
            fd = channel._fileno
            if (
                engine is None
                or fd is None
                or not channel.accepting
                or channel._ac_pause_reasons
                or not engine.need_not_ask(fd, channel)
            ):
                break
        self._crowded = taken > 1

    def failed(self, channel: Listener) -> None:
        """Handling an event has raised: close its connection, or rest if there was none."""
        latest = None if self.latest is None else self.latest()
        self.latest = None
        if latest is not None:
            _discard(latest, channel._map)
        counted = self.accepted + self.refused + self._lost
        before, self._counted = self._counted, counted
        if counted != before or not channel.accepting or not readiness(channel._fileno, READ):
            self.failures = 0
            return
        # What is ready may be another one, of a program that goes around `accept`.
        self.failures += 1
        if self.failures == FAILURES:
            self.failures = 0
            self.rest(channel)

    def rest(self, channel: Listener) -> None:
        """Accept nothing for `ACCEPT_PAUSE` seconds."""
        engine = channel._ac_engine
        if engine is not None:
            channel._ac_on_loop(self._begin_rest, channel, engine)

    def _begin_rest(self, channel: Listener, engine: Engine) -> None:
        self.pauses += 1
        engine.accept_pauses += 1
        channel._ac_mute(RESTING)
        self._rest_ends = engine.clock() + ACCEPT_PAUSE
        engine.timers.call_later(ACCEPT_PAUSE, self._end_rest, channel, channel.socket, engine)

    def _end_rest(self, channel: Listener, sock: object, engine: Engine) -> None:
        if channel.socket is sock and engine.clock() >= self._rest_ends:  # else it rests anew
            channel._ac_unmute(RESTING)

    def catch_up(self, channel: Listener) -> None:
        """End what a timer would end, for a program whose own loop runs none."""
        engine = channel._ac_engine
        if engine is None:
            return
        now = engine.clock()
        if channel._ac_pause_reasons & RESTING and now >= self._rest_ends:
            channel._ac_unmute(RESTING)
        if channel._ac_pause_reasons & FULL and now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self.ledger.look()
            self.look_for_room(channel)

    def stop(self) -> None:
        """The listener is closed."""
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None

    # -- limits ---------------------------------------------------------------------------------

    def is_full(self, channel: Listener) -> bool:
        """Whether a limit is reached; then nothing is accepted until there is room."""
        self.ledger.settle(channel._map)
        reached = self._reached(channel)
        if reached is None:
            return False
        if not channel._ac_pause_reasons & FULL and channel._ac_engine is not None:
            channel._ac_on_loop(self._pause_for, channel, reached, channel._ac_engine)
        return True

    def look_for_room(self, channel: Listener) -> None:
        """Accept again, if it was a limit that forbade it and there is room now."""
        if channel._ac_pause_reasons & FULL and self._reached(channel) is None:
            channel._ac_unmute(FULL)

    def handshake_begun(self, channel: Listener, connection: object) -> None:
        """Count a handshake as unfinished. On the loop's thread."""
        self.ledger.handshake_begun(connection)
        if self.limited and channel.accepting:
            self.is_full(channel)

    def handshake_ended(self, channel: Listener, connection: object) -> None:
        """Count a handshake no more. On the loop's thread."""
        self.ledger.handshake_ended(connection)
        self.look_for_room(channel)

    def _accept_within_limits(self, channel: Listener) -> Accepted | None:
        for turn in range(ACCEPT_BATCH):
            if self.is_full(channel) or (turn and blocks(channel.socket)):
                return None
            pair = self._accept_now(channel)
            if pair is None:
                return None
            sock, addr = pair
            known = isinstance(addr, tuple) and addr and _family_of_any(sock) in _PEERS
            peer = addr[0] if known else None
            most = channel._ac_max_connections_per_peer
            if most is None or peer is None or self.ledger.from_peer(peer) < most:
                self.ledger.opened(sock, peer)
                return pair
            self.accepted -= 1
            self.refused += 1
            try:
                hook(channel, "handle_refused", 3)(sock, addr, "max_connections_per_peer")
            except reraised():
                raise
            except BaseException:
                _discard(sock, channel._map)
                raise
        return None

    def _reached(self, channel: Listener) -> str | None:
        most = channel._ac_max_connections
        if most is not None and self.ledger.connections >= most:
            return f"{most} connections are open (max_connections)"
        most = channel._ac_max_handshakes
        if (
            most is not None
            and self.ledger.handshakes >= most
            and not channel._ac_makes_room_for_handshakes()
        ):
            return f"{most} handshakes are unfinished (max_handshakes)"
        return None

    def _pause_for(self, channel: Listener, reached: str, engine: Engine) -> None:
        self.pauses += 1
        engine.accept_pauses += 1
        channel._ac_mute(FULL)
        now = engine.clock()
        self._next_look = now + LOOK_INTERVAL
        if now - self._said_full >= LOOK_INTERVAL:
            # A listener that is full all the time pauses after each connection.
            self._said_full = now
            channel.log_info(f"accepting pauses: {reached}")
        if self._look_timer is None:
            self._look_timer = engine.timers.call_later(LOOK_INTERVAL, self._look, channel, engine)

    def _look(self, channel: Listener, engine: Engine) -> None:
        self._look_timer = None
        if channel._ac_pause_reasons & FULL:
            self.ledger.look()
            self.look_for_room(channel)
            if channel._ac_pause_reasons & FULL:
                self._look_timer = engine.timers.call_later(
                    LOOK_INTERVAL, self._look, channel, engine
                )


def _family_of_any(sock: object) -> int:
    try:
        return int(_family_of(sock))
    except TypeError:
        return int(getattr(sock, "family", -1))


def _discard(sock: SocketLike, map: Map) -> None:
    """Close a connection whose handler failed, with the channel that it may have got already."""
    channel = map.get(sock.fileno()) if hasattr(sock, "fileno") else None
    close: Callable[[], object] = sock.close
    if channel is not None and getattr(channel, "socket", None) is sock:
        close = channel.close
    close()
