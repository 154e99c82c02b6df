"""The output of `async_chat`: a queue of bytes, producers, and `None` for the end.

Facts. Programs read, change and assign `producer_fifo`, and expect it to hold what classic asynchat
would have put in: bytes of `ac_out_buffer_size` at most. They override `send`, which then gets such
bytes. Cutting 64 MiB up, and cutting off what was sent of each piece, costs more than sending it.

Consequence. What is pushed stays whole, and what is left of a piece is a view of it. Both are made
classic when somebody asks for `producer_fifo`. A channel with the inherited `send` and a plain
or TLS socket sends all pieces at the head of the queue by one call; any other gets them one by one.

Trade-off. A program that keeps the queue it once asked for sees whole pieces, and a view, in it.

Replies that are held back (`joins_replies`). A channel has more input to deliver, and each reply to
a part of it costs a system call. What is pushed meanwhile stays in the queue, and the socket is
taken off the channel: who asks for it, to send something past the queue, to close it or to put
another in its place, makes the channel send first what was pushed first. Nobody else pays for that:
a descriptor without `__set__` counts only where the instance has no attribute of its name. A class
gets it when one of its channels first holds something back, for up to Python 3.14 at least it makes
the lookup of the attribute slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from errno import EMSGSIZE
from socket import socket as _plain_socket
from threading import get_ident
from time import monotonic
from typing import Any

from ..channels import Map, reports_changes
from ..classic.blocking import blocks
from ..classic.own_names import OverridableProperty
from ..classic.settings import Switch
from ..classic.text import not_bytes
from ..pollers import WRITE
from ..pollers.layered import waits_for
from ..producers import Producer, file_producer
from .dispatcher import dispatcher
from .duplex import ENDS_WHEN_SENT
from .vectored import (
    IOV_MAX,
    SEND_SIZE,
    SMALL_SHARE,
    keeps_bounds,
    send_pieces,
    share_of,
    takes_pieces,
)
from .watermarks import Watermarked

# The `send` that takes whatever its socket takes.
_SEND = dispatcher.send

# How long replies are held back, in seconds, and how many bytes of them: a handler that takes
# longer is not to keep the peer waiting for what it said first, and one send takes no more.
HELD_SECONDS = 0.001
HELD_BYTES = SEND_SIZE


class Hold:
    """Whether replies of a channel may be held back now, and the socket while some are."""

    __slots__ = ("more", "since", "size", "socket")

    def __init__(self) -> None:
        self.more = False  # there is more input to deliver
        self.socket: _plain_socket | Any = None  # the channel's, while something is held back
        self.size = 0
        self.since = 0.0


class _HiddenSocket:
    """The `socket` of a channel that has none in its instance, or that holds replies back."""

    def __get__(self, channel: OutputQueue | None, owner: type | None = None) -> Any:
        if channel is None or channel._ac_hold is None or channel._ac_hold.socket is None:
            return None
        channel._ac_send_held()
        return channel.socket


class OutputQueue(dispatcher, Watermarked):
    """A dispatcher with a queue for its output; the half of `async_chat` that sends."""

    # How much is sent at once, in bytes (classic asynchat since 3.6). A plain socket and the
    # inherited `send` may be given more.
    ac_out_buffer_size = 65536

    tcp_nodelay = Switch(True)

    joins_replies = Switch(False)
    """Whether replies to one piece of input go out together.

    What is pushed while the channel has more input to deliver is sent after the last of it, or
    when 64 KiB or a millisecond have come together, which is looked at in `push`; and before
    anything that the channel does otherwise (`send`, `close`, its `socket`). The order never
    changes. It is off unless set, for a handler that pushes, and then blocks without pushing, keeps
    the peer waiting for what it has pushed.
    """

    # Set `use_encoding` to a true value to let strings be pushed and be terminators.
    use_encoding: bool | int = 0
    encoding = "latin-1"

    _ac_joins_replies: bool
    _ac_full = False  # the socket took less than it was offered
    _ac_whole = False  # something in the queue is larger than `ac_out_buffer_size`
    _ac_shown = False  # the program has had the queue in its hands
    # What is left of a piece at the head of the queue.
    _ac_leftover: memoryview | None = None
    _ac_queued: int | None = None  # bytes in the queue, if that is known
    _ac_hold: Hold | None = None  # made when replies may be held back for the first time

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        Switch.adopt(cls, ("joins_replies",))

    def __init__(self, sock: _plain_socket | Any = None, map: Map | None = None) -> None:
        self._ac_fifo: deque[Any] = deque()
        self._ac_leftover = None
        self._ac_queued = None
        self._ac_hold = None
        super().__init__(sock, map)

    # -- the queue ------------------------------------------------------------------------------

    @property
    def producer_fifo(self) -> deque[Any]:
        """What is to be sent: bytes, producers, and `None` for the end; may be changed."""
        self._ac_send_held()
        if self._ac_whole or self._ac_leftover is not None:
            if self._ac_engine is None:
                self._ac_make_classic()
            else:
                self._ac_engine.run_on_loop(self._ac_make_classic)
        # Whoever asks may be about to change it.
        self._ac_full = False
        self._ac_shown = True
        self._ac_queued = None
        self._ac_touch()
        return self._ac_fifo

    @producer_fifo.setter
    def producer_fifo(self, fifo: deque[Any]) -> None:
        self._ac_fifo = fifo
        self._ac_full = False
        self._ac_shown = True
        self._ac_queued = None
        self._ac_touch()
        if self._ac_marks is not None:
            self._ac_output_changed()

    def _ac_piece_size(self) -> int:
        """Return `ac_out_buffer_size`, which programs divide, and then it is a float."""
        return max(1, int(self.ac_out_buffer_size))

    def _ac_make_classic(self) -> None:
        """Cut what is whole, and make bytes of what is left, in the very same queue."""
        size = self._ac_piece_size()
        items: list[Any] = []
        leftover: Any = self._ac_leftover
        for item in self._ac_fifo:
            if item is not None and item is leftover:
                item = bytes(item)
            if type(item) is bytes and len(item) > size:
                items.extend(item[start : start + size] for start in range(0, len(item), size))
            else:
                items.append(item)
        self._ac_fifo.clear()
        self._ac_fifo.extend(items)
        self._ac_whole = False
        self._ac_leftover = None

    def _ac_has_output(self) -> bool:
        return bool(self._ac_fifo)

    @OverridableProperty
    def write_buffer_size(self) -> int:
        """How many bytes of output wait for the socket, without what producers still have."""
        self._ac_send_held()
        return self._ac_write_buffer_size()

    def _ac_write_buffer_size(self) -> int:
        if self._ac_queued is not None and not self._ac_shown:
            return self._ac_queued
        size = 0
        for item in list(self._ac_fifo):
            if isinstance(item, memoryview):
                size += item.nbytes
            elif isinstance(item, (bytes, bytearray, str)):
                size += len(item)
        if self._ac_marks is not None:
            self._ac_queued = size
        return size

    # -- putting in -----------------------------------------------------------------------------

    def push(self, data: Any) -> None:
        """Queue bytes, and send what the socket takes at once. Safe from any thread.

        With `use_encoding` it takes strings, too. Raises `TypeError` for anything else, and
        `BrokenPipeError` after `shutdown_write`.
        """
        if type(data) is not bytes:
            data = self._ac_as_output(data, "push")
        if self._ac_shutdown_state:
            self._ac_check_output()
        engine = self._ac_engine
        if engine is not None and engine.owner != get_ident():
            engine.run_on_loop(self._ac_push, data)
            return
        hold = self._ac_hold
        if hold is not None and hold.more:
            # As `_ac_hold_back`, without the call, if something is held back already.
            size = len(data)
            if (
                hold.socket is not None
                and self._ac_queued is None
                and size <= self.ac_out_buffer_size
            ):
                self._ac_fifo.append(data)
                hold.size += size
                if hold.size >= HELD_BYTES or monotonic() - hold.since >= HELD_SECONDS:
                    self._ac_send_held()
                return
            if self._ac_hold_back(hold, data):
                return
        # The usual case, without a detour through the queue: nothing waits in it, one turn may send
        # all of it, the socket is a plain one or does the same, and no class and no instance has a
        # way of sending of its own.
        if (
            not self._ac_fifo
            and 0 < (size := len(data)) <= SMALL_SHARE
            and self.connected
            and not self._ac_closed
            and not self._ac_shutdown_state
            and (type(sock := self.socket) is _plain_socket or takes_pieces(sock))
        ):
            try:
                count = (
                    sock.send(data)
                    if self.send.__func__ is _SEND  # type: ignore[attr-defined]
                    and self.initiate_send.__func__ is _INITIATE_SEND  # type: ignore[attr-defined]
                    else None
                )
            except (AttributeError, OSError):
                count = None  # It is tried again there, and sorted out.
            if count is not None:
                # As `_ac_note_sent`, without the call.
                counts, times = self._ac_counts, self._ac_times
                if counts is not None and count:
                    counts.sent += count
                if times is not None and count:
                    times.active = times.sent = times.clock()
                if count < size:
                    self._ac_full = True
                    self._ac_push(data, count)
                return
        self._ac_push(data)

    def _ac_as_output(self, data: object, caller: str) -> bytes:
        if isinstance(data, str):
            if not self.use_encoding:
                raise not_bytes(f"{caller}()", data)
            data = data.encode(self.encoding)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{caller}() takes bytes-like data, not {type(data).__name__}")
        return bytes(data)  # a copy of what the caller may change

    def _ac_encoded(self, data: str, source: str) -> bytes:
        if data and not self.use_encoding:  # nothing is the end of a producer
            raise not_bytes("send()", data, f"what {source} gave")
        return data.encode(self.encoding)

    def _ac_push(self, data: bytes, sent: int = 0) -> None:
        hold = self._ac_hold
        if hold is not None and (hold.more or hold.socket is not None):
            if self._ac_hold_back(hold, data):
                return
        size = len(data)
        if size > self.ac_out_buffer_size:
            self._ac_whole = True
        if self._ac_queued is not None:
            self._ac_queued += size
        self._ac_fifo.append(data)
        if sent:
            self._ac_take_out(sent)
        self._ac_start_sending()

    # -- holding back ---------------------------------------------------------------------------

    def _ac_expect(self, more: bool) -> None:
        """Hold replies back from now on if there is `more` input to deliver, or else no longer."""
        hold = self._ac_hold
        if hold is not None and (hold.socket is not None or not more):
            hold.more = more
            return
        # Nobody may have a way of his own of sending them.
        if (
            more
            and self._ac_joins_replies
            and getattr(self.send, "__func__", None) is _SEND
            and getattr(self.initiate_send, "__func__", None) is _INITIATE_SEND
            and not keeps_bounds(self.socket)
        ):
            if hold is None:
                hold = self._ac_hold = Hold()
                cls = type(self)
                if cls.socket is None and "socket" not in vars(cls):
                    cls.socket = _HiddenSocket()
            hold.more = True

    def _ac_hold_back(self, hold: Hold, data: bytes) -> bool:
        """Queue `data`, to be sent with what comes after it; return whether that can be done."""
        now = monotonic()
        if hold.socket is None:
            if self._ac_fifo or not self.connected or self._ac_closed:
                return False  # it has to wait anyway
            sock = self.socket
            try:
                del self.socket
            except AttributeError:
                return False  # the program's class has a property of that name
            hold.socket, hold.since, hold.size = sock, now, 0
            self._ac_touch()  # a handler may run a loop of its own
        self._ac_fifo.append(data)
        size = len(data)
        hold.size += size
        if self._ac_queued is not None:
            self._ac_queued += size
        if size > self.ac_out_buffer_size:
            self._ac_whole = True
        if not hold.more or hold.size >= HELD_BYTES or now - hold.since >= HELD_SECONDS:
            self._ac_send_held()
        return True

    def _ac_show_socket(self, hold: Hold) -> Any:
        """Put the socket back; return what a handler has put in its place, if anything."""
        sock, hold.socket = hold.socket, None
        other, self.socket = self.socket, sock
        return other

    def _ac_send_held(self) -> None:
        """Send what is held back, if anything is."""
        hold = self._ac_hold
        if hold is None or hold.socket is None:
            return
        sock = hold.socket
        other = self._ac_show_socket(hold)
        with suppress(TypeError):  # a handler has queued something else than bytes
            joined = b"".join(self._ac_fifo)
            if len(joined) == hold.size:
                self._ac_fifo.clear()
                self._ac_fifo.append(joined)
        try:
            self._ac_start_sending()
        finally:
            if other is not None and self.socket is sock:
                self.socket = other

    def _ac_close(self) -> None:
        self._ac_send_held()
        super()._ac_close()

    def writelines(self, lines: Iterable[bytes | bytearray | memoryview | str]) -> None:
        """Queue several bytes-like objects, and send what the socket takes by as few calls as can
        be.

        Safe from any thread. Raises `TypeError` for what `push` refuses, before anything is queued.
        """
        pieces = [
            line if type(line) is bytes else self._ac_as_output(line, "writelines")
            for line in lines
        ]
        self._ac_check_output()
        if self._ac_engine is None:
            self._ac_push_lines(pieces)
        else:
            self._ac_engine.run_on_loop(self._ac_push_lines, pieces)

    def _ac_push_lines(self, pieces: list[bytes]) -> None:
        pieces = [piece for piece in pieces if piece]
        if pieces:
            if max(map(len, pieces)) > self.ac_out_buffer_size:
                self._ac_whole = True
            self._ac_queued = None
            self._ac_fifo.extend(pieces)
            self._ac_start_sending()

    def push_with_producer(self, producer: Producer | bytes) -> None:
        """Queue a producer. The channel calls `more()` for bytes until it returns none.

        Safe from any thread. `more()` runs on the thread of the loop. A `producers.file_producer`
        is sent without a copy where that is possible.
        """
        self._ac_check_output()
        if self._ac_engine is None:
            self._ac_push_producer(producer)
        else:
            self._ac_engine.run_on_loop(self._ac_push_producer, producer)

    def _ac_push_producer(self, producer: object) -> None:
        self._ac_queued = None  # it may as well be bytes
        self._ac_fifo.append(producer)
        self._ac_start_sending()

    def close_when_done(self) -> None:
        """Close the channel once everything queued so far is sent. Safe from any thread."""
        if self._ac_engine is None:
            self._ac_fifo.append(None)
        else:
            self._ac_engine.run_on_loop(self._ac_push_end)

    def _ac_push_end(self) -> None:
        self._ac_send_held()
        self._ac_fifo.append(None)
        self._ac_touch()

    def _ac_start_sending(self) -> None:
        if not self._ac_full:
            self.initiate_send()
        if self._ac_fifo:
            self._ac_touch()
            if self._ac_marks is not None:
                self._ac_look_at_marks()

    # -- sending --------------------------------------------------------------------------------

    def handle_write(self) -> None:
        """Send from the queue."""
        self.initiate_send()

    @reports_changes
    def writable(self) -> bool:
        """Whether something is to be sent, or the connection not yet established."""
        return self._ac_fifo or not self.connected  # type: ignore[return-value] # as the classic one

    def initiate_send(self) -> None:
        """Send from the queue until the socket is full, or other channels should have a turn."""
        if self._ac_hold is not None:
            self._ac_send_held()
        share = share_of(self)
        self._ac_full = False
        # Each round sends what is at the head of the queue. Handlers and producers run in between,
        # and may close the channel or change the queue, so all of it is looked at again.
        while (
            share > 0
            and self._ac_fifo
            and self.connected
            and not self._ac_closed
            and not self._ac_full
        ):
            first = self._ac_fifo[0]
            # The end of the queue closes the channel; an empty piece is passed over.
            if not first:
                self._ac_fifo.popleft()
                if first is None:
                    self._ac_shutdown_state &= ~ENDS_WHEN_SENT  # this says it
                    self.handle_close()
                    break
                continue
            # The way is chosen each time, for a producer may have put another socket in its place.
            send = self.send
            plain = getattr(send, "__func__", None) is _SEND and takes_pieces(self.socket)
            # The kernel sends a file by itself, where it can.
            if plain and type(first) is file_producer and first.can_send_to(self.socket):
                limit = SEND_SIZE if blocks(self.socket) else share
                share -= self._ac_send_file(first, limit)
                self._ac_full = self._ac_full or limit == SEND_SIZE
                continue
            # Bytes go whole where the socket takes whatever is offered. A `send` of the program's
            # own gets pieces of the classic size, and a producer is asked for one.
            whole = plain and (type(first) is bytes or first is self._ac_leftover)
            data: Any
            if not whole:
                data = self._ac_next_piece(first)
                if data is None:
                    continue
                size = len(data)
            elif len(self._ac_fifo) == 1 and len(first) <= SEND_SIZE:
                # Nearly all protocols that talk have one reply to send.
                data, size = first, len(first)
            else:
                data, size = self._ac_head(SEND_SIZE if blocks(self.socket) else share)
            # What it raises goes to `handle_error`, unless it says no more than that TLS must wait,
            # which a `send` of the program's own lets through.
            try:
                count = send_pieces(self, data, size) if type(data) is list else send(data)
            except OSError as why:
                if waits_for(why):
                    self._ac_must_wait(why, WRITE)
                    self._ac_full = True
                    break
                if why.errno == EMSGSIZE and self._ac_fifo and self._ac_fifo[0] is data:
                    # A datagram that never fits must not keep back those that wait behind it.
                    self._ac_fifo.popleft()
                    self._ac_queued = None
                self.handle_error()
                break
            # A socket that took nothing is full, or its channel was closed.
            if not count:
                self._ac_full = not self._ac_closed
                break
            # What was sent leaves the queue, if a handler has not changed its head meanwhile.
            share -= count
            if whole:
                self._ac_take_out(count)
                self._ac_full = count < size
            elif self._ac_fifo and self._ac_fifo[0] is data:
                if self._ac_queued is not None:
                    self._ac_queued -= count
                if count < len(data):
                    self._ac_fifo[0] = data[count:]
                    self._ac_full = True
                else:
                    self._ac_fifo.popleft()
            # One that blocks counts as full after each call, for the next may have to wait.
            if self._ac_fifo and blocks(self.socket):
                self._ac_full = True
        # The hooks of watermarks are called with the queue whole, and the output ends last.
        if self._ac_marks is not None:
            self._ac_look_at_marks()
        if self._ac_shutdown_state:
            self._ac_output_drained()

    def _ac_head(self, limit: int) -> tuple[list[bytes | memoryview], int]:
        """Return the bytes at the head of the queue, `limit` at most, and how many these are."""
        pieces: list[bytes | memoryview] = []
        size = 0
        leftover: Any = self._ac_leftover
        for piece in self._ac_fifo:
            if piece is None or (type(piece) is not bytes and piece is not leftover):
                break
            if size + len(piece) > limit:
                pieces.append(memoryview(piece)[: limit - size])
                return pieces, limit
            pieces.append(piece)
            size += len(piece)
            if size == limit or len(pieces) == IOV_MAX:
                break
        return pieces, size

    def _ac_take_out(self, count: int) -> None:
        """Take the first `count` bytes out of the queue; a piece that began to go leaves a view."""
        if self._ac_queued is not None:
            self._ac_queued -= count
        fifo = self._ac_fifo
        while count and count >= len(fifo[0]):
            count -= len(fifo.popleft())
        self._ac_leftover = None
        if count:
            self._ac_leftover = fifo[0] = memoryview(fifo[0])[count:]

    def _ac_send_file(self, producer: file_producer, limit: int) -> int:
        """Send from a file without a copy, and return how many bytes that was."""
        try:
            count = producer.send_to(self.socket, limit)
        except OSError as why:
            try:
                dispatcher._ac_not_sent(self, why)
            except OSError:
                self.handle_error()
            self._ac_full = True
            return 0
        if count == 0 and self._ac_fifo and self._ac_fifo[0] is producer:
            self._ac_fifo.popleft()
        if count:
            self._ac_note_sent(count)
        return count or 0

    def _ac_next_piece(self, first: Any) -> Any:
        """Put what one send() can take at the head of the queue and return it.

        `None` if the head was a producer with nothing more.
        """
        fifo = self._ac_fifo
        size = self._ac_piece_size()
        if isinstance(first, str):
            first = fifo[0] = self._ac_encoded(first, "producer_fifo")
            self._ac_queued = None
        elif isinstance(first, memoryview):
            if first is self._ac_leftover:
                self._ac_leftover = None
            first = fifo[0] = bytes(first)  # a `send` of the program's may know no views
        if isinstance(first, (bytes, bytearray)):
            if len(first) > size:
                fifo.popleft()
                pieces = [first[at : at + size] for at in range(0, len(first), size)]
                fifo.extendleft(reversed(pieces))
            elif len(fifo) > 1 and type(first) is bytes and type(fifo[1]) is bytes:
                if not keeps_bounds(self.socket):
                    self._ac_join_small(size)
            return fifo[0]
        if hasattr(first, "more"):
            data = first.more()
            if self._ac_closed:
                return None
            if isinstance(data, str):
                data = self._ac_encoded(data, f"{type(first).__name__}.more()")
            if data:
                fifo.appendleft(data)
                self._ac_queued = None
                return self._ac_next_piece(data) if len(data) > size else data
            if fifo and fifo[0] is first:
                fifo.popleft()
            return None
        # Something else that can be sliced, as the classic one allowed.
        fifo.popleft()
        fifo.extendleft((first[size:], first[:size]))
        self._ac_queued = None
        return fifo[0]

    def _ac_join_small(self, size: int) -> None:
        """Make one piece of the small ones at the head: one system call instead of many."""
        fifo = self._ac_fifo
        pieces: list[bytes] = []
        length = 0
        while fifo and type(fifo[0]) is bytes and (not pieces or length + len(fifo[0]) <= size):
            pieces.append(fifo.popleft())
            length += len(pieces[-1])
        fifo.appendleft(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def discard_buffers(self) -> None:
        """Throw away all output that was not sent. May be called from any thread."""
        if self._ac_engine is None:
            self._ac_discard()
        else:
            self._ac_engine.run_on_loop_at_once(self._ac_discard)

    def _ac_discard(self) -> None:
        self._ac_send_held()
        self._ac_fifo.clear()
        self._ac_full = self._ac_whole = False
        self._ac_leftover = None
        self._ac_queued = None
        if self._ac_marks is not None:
            self._ac_output_changed()
        if self._ac_shutdown_state:
            self._ac_on_loop(self._ac_output_drained)


# What `push` may go around, if a channel has no other.
_INITIATE_SEND = OutputQueue.initiate_send
