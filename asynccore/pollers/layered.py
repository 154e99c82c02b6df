"""Layered sockets: what stands in for a socket and speaks a protocol of its own, such as TLS.

Facts. Between such a socket and its channel there are two kinds of readiness. The descriptor is
readable while a handshake goes on, or while half a record has come, and there is nothing for a
handler to read; a record that was read whole leaves bytes that no poller sees; and what reads may
have to wait until the descriptor is *writable*. A poller that is told both what the channel and
what the protocol wants spins at 100 % CPU.

Consequence. A `LayeredPoller` stands between the engine and the real poller of a map from the
moment that a channel has such a socket. The engine sees plaintext alone: `interest` is what the
channels want, and `wait` reports what is ready for them. What the kernel is told is the socket's
own decision. Maps without such sockets, which are nearly all, never have one.

A socket acts on its event right before its channel's handler runs, and not for a whole batch
beforehand: what it has just decrypted is then still in the processor's cache, and one batch holds
the plaintext of one channel at a time.

Trade-off. A map that has them pays a dictionary look-up for each event of its plain channels too.

Two kinds are known, by what they offer and not by their class:

- a `LayeredSocket` socket, such as `ssl_ext.OpenSSLSocket`, decides for itself;
- one with `pending` and `do_handshake`, such as `ssl.SSLSocket`, whose program drives it: only what
  it holds back, and what it raises in order to say that it must wait, is seen to. Reading and
  writing wait each for themselves: a half record that came must not keep output from going out.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Protocol, cast

from ..channels import Map
from . import ERROR, HANGUP, READ, WRITE, Event, Events, Poller, ProxyPoller

_BOTH = READ | WRITE
_GONE = ERROR | HANGUP

# What a TLS library raises for "come again when the descriptor is ready", by the names of the
# classes in `ssl` and `OpenSSL.SSL`, neither of which is imported here.
_WAITS = {
    "SSLWantReadError": READ,
    "SSLWantWriteError": WRITE,
    "WantReadError": READ,
    "WantWriteError": WRITE,
}


class LayeredSocket(Protocol):
    """What a socket offers that decides for itself. Nothing here may raise.

    All masks are made of `READ` and `WRITE` (1 and 4, as poll(2) has them). The names begin with
    `_ac_`: programs meet such sockets, and have no use for these. It may be a `ReportingSocket`.
    With a true `_ac_takes_pieces` it is offered output as a plain socket is, and with a true
    `_ac_keeps_bounds` one message at a time (`dispatchers.vectored`). One that is made for the
    descriptor of a channel calls `asynccore.engine.descriptor_changed`, for its program may put it
    in the old socket's place and say nothing.
    """

    @property
    def _ac_read_ahead(self) -> object:
        """What it has read and not yet handed out. True has it looked at again after its channel
        has read; otherwise it must `report()` what changed in the meantime."""

    def _ac_poll_interest(self, wanted: int) -> int:
        """Return what to wait for at the descriptor, while the channel wants `wanted`."""

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        """Act on what the poller reported; return what the channel may do now, of `wanted`."""

    def _ac_ready_now(self, wanted: int) -> int:
        """Return what the channel may do, of `wanted`, without any event.

        Or `ERROR | PRIORITY` for a failure that its channel must hear of though it wants nothing:
        then SO_ERROR raises it.
        """


class ReportingSocket(LayeredSocket, Protocol):
    """A layered socket that is told whom it serves."""

    def _ac_entered(self, map: Map, report: Callable[[], None]) -> None:
        """Serve a channel of a map from now on.

        `report()` has it looked at again before the next wait, after something changed outside of
        an event.
        """


class NotReady(BlockingIOError):
    """What a `LayeredSocket` socket raises that can't do it before its handshake is over.

    Its handler was called too early: the socket came in the middle of a batch of events.
    """


def waits_for(why: BaseException) -> int:
    """Return `READ` or `WRITE` if an exception says that its socket waits for that, else 0."""
    if isinstance(why, NotReady):
        return READ  # the socket knows better
    return _WAITS.get(type(why).__name__, 0)


class _HoldsBack(Protocol):
    """A socket that may have read more than it handed out."""

    def pending(self) -> int:
        """Return how many bytes that is."""


class _Driven:
    """A socket whose program does the handshake and the like by itself."""

    __slots__ = ("reads", "sock", "writes")

    _ac_read_ahead = True  # its program reports nothing

    def __init__(self, sock: _HoldsBack) -> None:
        self.sock = sock
        self.reads = READ  # what its channel waits for in order to read
        self.writes = WRITE  # and in order to write

    def _ac_poll_interest(self, wanted: int) -> int:
        return (self.reads if wanted & READ else 0) | (self.writes if wanted & WRITE else 0)

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        ready = mask & ~_BOTH
        # What was waited for has come, also if nobody wants to go on yet: the handler for the other
        # direction may use it up, and then it would not come again.
        if mask & (self.reads | _GONE):
            self.reads = READ
            ready |= wanted & READ
        if mask & (self.writes | _GONE):
            self.writes = WRITE
            ready |= wanted & WRITE
        return ready

    def set_wait(self, mask: int, doing: int) -> None:
        if doing == READ:
            self.reads = mask
        else:
            self.writes = mask

    def _ac_ready_now(self, wanted: int) -> int:
        if not wanted & self.reads & READ:
            return 0
        try:
            return READ if self.sock.pending() else 0
        except Exception:
            return 0  # closed, or not connected: there is nothing


def layered_socket(sock: object) -> LayeredSocket | None:
    """Return what speaks for a layered socket, or `None` for any other."""
    cls = type(sock)  # an instance that answers to every name is no reason
    if hasattr(cls, "_ac_poll_interest"):
        return cast(LayeredSocket, sock)
    if hasattr(cls, "pending") and hasattr(cls, "do_handshake"):
        return _Driven(cast(_HoldsBack, sock))
    return None


class _Batch(list[Event]):
    """Events that are handed out as they are `found`, of which there are no more than these."""

    __slots__ = ("found",)

    found: Iterator[Event]

    def __iter__(self) -> Iterator[Event]:
        return self.found


class LayeredPoller(ProxyPoller):
    """A poller of plaintext, in front of the one that watches the descriptors.

    `interest` is what the channels want; `real.interest` is what the kernel was told.
    """

    def __init__(self, real: Poller) -> None:
        super().__init__(real)
        self.sockets: dict[int, LayeredSocket] = {}
        # To be looked at before the next wait, in this order.
        self._to_look_at: dict[int, None] = {}
        self._acting: int | None = None  # whose handler runs

    def add(self, fd: int, sock: object, map: Map) -> bool:
        """Know the socket of a channel; returns whether it is layered."""
        present = self.sockets.get(fd)
        if present is not None and (present is sock or getattr(present, "sock", None) is sock):
            return True
        found = layered_socket(sock)
        if found is None:
            if present is not None:
                self.discard(fd)
                self.real.set(fd, self.interest.get(fd, 0))
            return False
        self.sockets[fd] = found
        self._to_look_at[fd] = None
        if hasattr(found, "_ac_entered"):
            cast(ReportingSocket, found)._ac_entered(map, self._reporter(fd, found))
        return True

    def _reporter(self, fd: int, sock: LayeredSocket) -> Callable[[], None]:
        def report() -> None:
            if self.sockets.get(fd) is sock:
                self._to_look_at[fd] = None

        return report

    def discard(self, fd: int) -> None:
        """Know nothing of a descriptor any more."""
        self.sockets.pop(fd, None)
        self._to_look_at.pop(fd, None)

    def set_wait(self, fd: int, mask: int, doing: int) -> None:
        """A socket said, by what it raised, that `READ` or `WRITE` has to wait for `mask`."""
        sock = self.sockets.get(fd)
        if isinstance(sock, _Driven):
            sock.set_wait(mask, doing)
            self._to_look_at[fd] = None

    # -- as the engine sees it ------------------------------------------------------------------

    @property
    def always_ready(self) -> bool:  # type: ignore[override]
        """Whether `wait` has something to see to before anybody waits."""
        return bool(self._to_look_at) or self._acting is not None or super().always_ready

    def set(self, fd: int, mask: int) -> None:
        sock = self.sockets.get(fd)
        if sock is None:
            self.real.set(fd, mask)
        else:
            self._tell(fd, sock, mask)
            self._to_look_at[fd] = None
        if mask:
            self.interest[fd] = mask
        else:
            self.interest.pop(fd, None)

    def _tell(self, fd: int, sock: LayeredSocket, mask: int) -> None:
        wanted = sock._ac_poll_interest(mask & _BOTH)
        if wanted != self.real.interest.get(fd, 0):
            self.real.set(fd, wanted)

    def wait(self, timeout: float | None) -> Events:
        if self._acting is not None:
            # Its handler has not come back: it raised, or runs this very loop.
            self._to_look_at[self._acting] = None
            self._acting = None
        ready = self._look() if self._to_look_at else {}
        events = self.real.wait(0 if ready else timeout)
        if ready:
            reported = {fd for fd, _ in events}
            events = self.share([*events, *((fd, 0) for fd in ready if fd not in reported)])
        if not events:
            return events
        batch = _Batch(events)
        batch.found = self._act(events, ready)
        return batch

    def _act(self, events: Iterable[Event], ready: Container[int]) -> Iterator[Event]:
        """Have the sockets act on their events, each right before that is handled.

        What is not asked for, since the batch ended early, is ready still: the kernel holds it, or
        the socket.
        """
        sockets, interest = self.sockets, self.interest
        for fd, mask in events:
            sock = sockets.get(fd)
            if sock is None:
                if mask:
                    yield fd, mask
                continue
            wanted = interest.get(fd, 0) & _BOTH
            if mask:
                mask = sock._ac_handle_event(mask, wanted)
            if fd in ready:
                mask |= sock._ac_ready_now(wanted)
            if not mask:
                self._tell_unless_gone(fd, sock, wanted)
                continue
            self._acting = fd
            yield fd, mask
            self._acting = None
            if mask != READ or sock._ac_read_ahead:
                self._to_look_at[fd] = None

    def _look(self) -> dict[int, None]:
        """Find what is ready without an event, and tell the kernel what the sockets want now."""
        ready: dict[int, None] = {}
        noted, self._to_look_at = self._to_look_at, {}
        interest, told = self.interest, self.real.interest
        for fd in noted:
            sock = self.sockets.get(fd)
            if sock is None:
                continue
            wanted = interest.get(fd, 0) & _BOTH
            if sock._ac_ready_now(wanted):
                ready[fd] = self._to_look_at[fd] = None
            if sock._ac_poll_interest(wanted) != told.get(fd, 0):
                self._tell_unless_gone(fd, sock, wanted)
        return ready

    def _tell_unless_gone(self, fd: int, sock: LayeredSocket, wanted: int) -> None:
        try:
            self._tell(fd, sock, wanted)
        except (OSError, ValueError):
            pass  # closed behind the loop's back: the next review tells its channel

    def verify(self, fd: int) -> bool:
        return fd not in self.real.interest or self.real.verify(fd)
