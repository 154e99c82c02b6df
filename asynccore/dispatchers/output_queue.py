"""The output of `async_chat`: a queue of bytes, producers, and `None` for the end.

Facts. Programs read, change and assign `producer_fifo`, and expect it to hold what classic asynchat
would have put in: bytes of `ac_out_buffer_size` at most. They override `send`, which then gets such
bytes. Cutting 64 MiB up, and cutting off what was sent of each piece, costs more than sending it.

Consequence. What is pushed stays whole, and what is left of a piece is a view of it. Both are made
classic when somebody asks for `producer_fifo`. A channel with the inherited `send` and a plain
or TLS socket sends all pieces at the head of the queue by one call; any other gets them one by one.

Trade-off. A program that keeps the queue it once asked for sees whole pieces, and a view, in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from errno import EMSGSIZE
from threading import get_ident
from typing import Any

from ..channels import Map, reports_changes
from ..classic.own_names import OverridableProperty
from ..pollers import WRITE
from ..pollers.layered import waits_for
from ..producers import file_producer
from .dispatcher import dispatcher
from .duplex import ENDS_WHEN_SENT
from .vectored import IOV_MAX, SEND_SHARE, keeps_bounds, send_pieces, takes_pieces
from .watermarks import Watermarked

# The `send` that takes whatever its socket takes.
_SEND = dispatcher.send


class OutputQueue(dispatcher, Watermarked):
    """A dispatcher with a queue for its output; the half of `async_chat` that sends."""

    # How much is sent at once, in bytes (classic asynchat since 3.6). A plain socket and the
    # inherited `send` may be given more.
    ac_out_buffer_size = 65536

    # Set `use_encoding` to a true value to let strings be pushed and be terminators.
    use_encoding: Any = 0
    encoding = "latin-1"

    _ac_full = False  # the socket took less than it was offered
    _ac_whole = False  # something in the queue is larger than `ac_out_buffer_size`
    _ac_shown = False  # the program has had the queue in its hands
    # What is left of a piece at the head of the queue.
    _ac_leftover: memoryview | None = None
    _ac_queued: int | None = None  # bytes in the queue, if that is known

    def __init__(self, sock: Any = None, map: Map | None = None) -> None:
        self._ac_fifo: deque[Any] = deque()
        self._ac_leftover = None
        self._ac_queued = None
        super().__init__(sock, map)

    # -- the queue ------------------------------------------------------------------------------

    @property
    def producer_fifo(self) -> deque[Any]:
        """What is to be sent: bytes, producers, and `None` for the end; may be changed."""
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

        Strings are taken with `use_encoding`. Raises `TypeError` for anything else, and
        `BrokenPipeError` after `shutdown_write`.
        """
        if type(data) is not bytes:
            data = self._ac_as_output(data, "push")
        if self._ac_shutdown_state:
            self._ac_check_output()
        engine = self._ac_engine
        if engine is None or engine.owner == get_ident():
            self._ac_push(data)
        else:
            engine.run_on_loop(self._ac_push, data)

    def _ac_as_output(self, data: Any, caller: str) -> bytes:
        if isinstance(data, str) and self.use_encoding:
            data = data.encode(self.encoding)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{caller}() takes bytes-like data, not {type(data).__name__}")
        return bytes(data)  # a copy of what the caller may change

    def _ac_push(self, data: bytes) -> None:
        size = len(data)
        if size > self.ac_out_buffer_size:
            self._ac_whole = True
        if self._ac_queued is not None:
            self._ac_queued += size
        self._ac_fifo.append(data)
        self._ac_start_sending()

    def writelines(self, lines: Iterable[Any]) -> None:
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

    def push_with_producer(self, producer: Any) -> None:
        """Queue a producer: its `more()` is called for bytes until it returns none.

        Safe from any thread; `more()` runs on the loop's. A `producers.file_producer` is sent
        without a copy where that is possible.
        """
        self._ac_check_output()
        if self._ac_engine is None:
            self._ac_push_producer(producer)
        else:
            self._ac_engine.run_on_loop(self._ac_push_producer, producer)

    def _ac_push_producer(self, producer: Any) -> None:
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
    def writable(self) -> Any:
        """Whether something is to be sent, or the connection not yet established."""
        return self._ac_fifo or not self.connected

    def initiate_send(self) -> None:
        """Send from the queue until the socket is full, or other channels should have a turn."""
        share = SEND_SHARE
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
                share -= self._ac_send_file(first, share)
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
            elif len(self._ac_fifo) == 1 and len(first) <= share:
                # Nearly all protocols that talk have one reply to send.
                data, size = first, len(first)
            else:
                data, size = self._ac_head(share)
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
        if count and self._ac_times is not None:
            self._ac_times.sent_now(count)
        return count or 0

    def _ac_next_piece(self, first: Any) -> Any:
        """Put what one send() can take at the head of the queue and return it.

        `None` if the head was a producer with nothing more.
        """
        fifo = self._ac_fifo
        size = self._ac_piece_size()
        if isinstance(first, str) and self.use_encoding:
            first = fifo[0] = first.encode(self.encoding)
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
            if isinstance(data, str) and self.use_encoding:
                data = data.encode(self.encoding)
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
        """Throw away all output that was not sent."""
        self._ac_fifo.clear()
        self._ac_full = self._ac_whole = False
        self._ac_leftover = None
        self._ac_queued = None
        if self._ac_marks is not None:
            self._ac_output_changed()
        if self._ac_shutdown_state:
            self._ac_on_loop(self._ac_output_drained)
