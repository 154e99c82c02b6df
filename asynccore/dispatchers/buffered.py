"""`dispatcher_with_send`, and the buffer that makes its cost linear.

Facts. The classic buffer is one `bytes` that is sliced after each send and concatenated before:
4,000 sends of 4 KB took 8.5 s. Programs read `out_buffer` and assign it.

Consequence. `WriteBuffer` keeps the pieces in a queue. They are gathered, or joined up to one
send's size, when they are sent, and joined wholly only when somebody reads `out_buffer`. Nearly all
channels have nothing to send at nearly all times, and predicates of programs read `out_buffer`
before every wait: all of those share one empty buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from ..channels import Map, reports_changes
from ..classic.blocking import blocks
from ..classic.own_names import yield_to_mixins
from ..classic.settings import Switch
from ..classic.text import not_bytes
from ..errors import reports_to_channel, reraised
from .dispatcher import dispatcher
from .duplex import CLOSES_WHEN_SENT
from .vectored import (
    IOV_MAX,
    SEND_SHARE,
    SEND_SIZE,
    first_share,
    keeps_bounds,
    send_nothing,
    send_pieces,
    share_of,
    takes_pieces,
)
from .watermarks import Watermarked

if TYPE_CHECKING:
    import socket


class WriteBuffer:
    """A queue of bytes with cheap ends."""

    __slots__ = ("_offset", "_pieces", "size")

    def __init__(self, data: bytes = b"", offset: int = 0) -> None:
        self._pieces: deque[bytes] = deque((data,) if data else ())
        self._offset = offset  # how much of the first piece is gone
        self.size = len(data) - offset

    def __len__(self) -> int:
        return self.size

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._pieces.append(data)
        self.size += len(data)

    def peek(self, limit: int) -> memoryview | bytes:
        """Return the first bytes, `limit` at most, and leave them in."""
        pieces = self._pieces
        first = pieces[0]
        if len(first) - self._offset < limit and len(pieces) > 1:
            first = self._join(limit)
        if self._offset or len(first) > limit:
            return memoryview(first)[self._offset : self._offset + limit]
        return first

    def gather(self, limit: int) -> tuple[list[bytes | memoryview], int]:
        """Return the first bytes, `limit` at most, without a copy, and how many these are."""
        pieces: list[bytes | memoryview] = []
        size = 0
        for piece in self._pieces:
            found: bytes | memoryview = piece
            if not pieces and self._offset:
                found = memoryview(piece)[self._offset :]
            if size + len(found) > limit:
                found = memoryview(found)[: limit - size]
            pieces.append(found)
            size += len(found)
            if size == limit or len(pieces) == IOV_MAX:
                break
        return pieces, size

    def _join(self, limit: int) -> bytes:
        """Make one piece of the first ones, up to at least `limit` bytes, and return it."""
        pieces = self._pieces
        head = [pieces.popleft()[self._offset :]]
        length = len(head[0])
        while pieces and length < limit:
            head.append(pieces.popleft())
            length += len(head[-1])
        self._offset = 0
        pieces.appendleft(b"".join(head))
        return pieces[0]

    def consume(self, count: int) -> None:
        """Take out the first `count` bytes."""
        self.size -= count
        pieces = self._pieces
        count += self._offset
        while pieces and count >= len(pieces[0]):
            count -= len(pieces.popleft())
        self._offset = count

    @property
    def joined(self) -> bytes:
        """All of it."""
        if not self.size:
            return b""
        if self._offset or len(self._pieces) > 1:
            return self._join(self.size)
        return self._pieces[0]


class MessageBuffer(WriteBuffer):
    """A queue of messages for a socket that keeps their bounds (`vectored.keeps_bounds`)."""

    __slots__ = ("_sock",)

    def __init__(self, sock: Any, data: bytes = b"", offset: int = 0) -> None:
        sock._ac_check_message(data)  # else it would stand in the way of others
        super().__init__(data, offset)
        self._sock = sock

    def append(self, data: bytes) -> None:
        """Add a message at the end. Raises `OSError` (EMSGSIZE) for one that is too large."""
        self._sock._ac_check_message(data)
        super().append(data)

    def peek(self, limit: int) -> bytes:
        """Return the first message, of whatever size, and leave it in."""
        return self._pieces[0][self._offset :]

    @property
    def joined(self) -> bytes:
        """All of it, which stays as it is."""
        return b"".join(self._pieces)[self._offset :]


class _Nothing:
    """What a channel without output has for a buffer."""

    __slots__ = ("joined", "size")

    def __init__(self, joined: bytes = b"") -> None:
        self.joined = joined  # not empty only for `out_buffer = b"..."` in a class body
        self.size = len(joined)


_NOTHING = _Nothing()


class dispatcher_with_send(dispatcher, Watermarked):
    """A dispatcher whose `send` buffers what the socket does not take at once.

    With a `high_watermark` it tells when to stop sending: `handle_pause`, and `handle_resume`.
    """

    tcp_nodelay = Switch(True)

    _ac_output: WriteBuffer | _Nothing = _NOTHING
    _ac_sends_directly = True
    _ac_reporting_state = dispatcher._ac_reporting_state | {"out_buffer"}

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        yield_to_mixins(cls, ("close_when_done",))  # which is a classic name of `async_chat` alone
        # A rate limit, for example, sits in an `initiate_send` of the program's own.
        cls._ac_sends_directly = cls.initiate_send is dispatcher_with_send.initiate_send
        # `out_buffer = b"..."` in a class body is what every channel begins with.
        initial = cls.__dict__.get("out_buffer")
        if isinstance(initial, (bytes, bytearray)):
            del cls.out_buffer
            cls._ac_output = _Nothing(bytes(initial))

    def __init__(self, sock: socket.socket | Any = None, map: Map | None = None) -> None:
        initial = self._ac_output
        if initial.size:
            self._ac_output = WriteBuffer(initial.joined)
        else:
            self._ac_output = _NOTHING if self._ac_sends_directly else WriteBuffer()
        dispatcher.__init__(self, sock, map)  # as the classic one; super() takes its time

    @property
    def out_buffer(self) -> bytes:
        """What is still to be sent; may be assigned."""
        return self._ac_output.joined

    @out_buffer.setter
    def out_buffer(self, data: bytes) -> None:
        self._ac_output = self._ac_new_output(bytes(data)) if data else self._ac_no_output()
        self._ac_touch()
        if self._ac_marks is not None:
            self._ac_output_changed()
        if self._ac_shutdown_state:
            self._ac_on_loop(self._ac_output_drained)

    def _ac_write_buffer_size(self) -> int:
        return self._ac_output.size

    def _ac_has_output(self) -> bool:
        return bool(self._ac_output.size)

    def _ac_no_output(self) -> WriteBuffer | _Nothing:
        # Classes that don't send directly never have what `send` takes for the usual case.
        return _NOTHING if self._ac_sends_directly else self._ac_new_output()

    def _ac_new_output(self, data: bytes = b"", offset: int = 0) -> WriteBuffer:
        if keeps_bounds(self.socket):
            return MessageBuffer(self.socket, data, offset)
        return WriteBuffer(data, offset)

    def _ac_buffered(self) -> WriteBuffer | _Nothing:
        """Return the output; what a class body gave becomes the channel's own first."""
        if self._ac_output.size and not isinstance(self._ac_output, WriteBuffer):
            self._ac_output = self._ac_new_output(self._ac_output.joined)
        return self._ac_output

    def initiate_send(self) -> None:
        """Send from the buffer what the socket takes."""
        output = self._ac_buffered()
        if not output.size:
            send_nothing(self)
        # A socket that may block gets one call.
        share = share_of(self)
        if output.size > SEND_SIZE and blocks(self.socket):
            share = SEND_SIZE
        # Each round is one system call, until the socket is full or others should have a turn.
        while isinstance(output, WriteBuffer) and output.size and share > 0 and not self._ac_closed:
            # A socket takes the pieces as they are; what stands in for one may know only `bytes`.
            if takes_pieces(self.socket):
                pieces, size = output.gather(share)
                count = send_pieces(self, pieces, size)
            else:
                data = bytes(output.peek(SEND_SIZE))
                size = len(data)
                count = dispatcher.send(self, data) or 0
            # The round counts for nothing if a handler has assigned another buffer meanwhile.
            if not count or output is not self._ac_output:
                break
            # What was sent leaves the buffer; an empty one gives way to the one that all share.
            output.consume(count)
            if not output.size:
                self._ac_output = self._ac_no_output()
                break
            # A socket that took less than it was offered is full.
            share -= count
            if count < size:
                break
        # The hooks of watermarks are called with the buffer whole, and the output ends last.
        if self._ac_marks is not None:
            self._ac_look_at_marks()
        if self._ac_shutdown_state:
            self._ac_output_drained()

    def handle_write(self) -> None:
        """Send from the buffer (classic asyncore)."""
        self.initiate_send()

    @reports_changes
    def writable(self) -> bool:
        """Whether something is to be sent, or the connection not yet established."""
        return not self.connected or self._ac_output.size  # type: ignore[return-value] # as the classic one

    def send(self, data: bytes | Any) -> None:
        """Send `data`, now or as soon as the socket takes it. Safe from any thread.

        Raises `TypeError` if it is not bytes-like, and `BrokenPipeError` after `shutdown_write`.
        """
        if self.debug:
            self.log_info(f"sending {data!r}")
        if type(data) is not bytes:
            data = _as_bytes(data)
        engine = self._ac_engine
        if engine is not None and engine.owner != get_ident():
            self._ac_check_output()
            engine.run_on_loop(self._ac_send, data)
        elif self._ac_output is not _NOTHING or not (size := len(data)):
            self._ac_check_output()
            self._ac_send(data)
        else:
            # The usual case, without a detour through the buffer.
            try:
                count = self.socket.send(data if size <= SEND_SIZE else first_share(self, data))
            except OSError as why:
                count = self._ac_not_sent(why)
            # As `_ac_note_sent`, without the call.
            counts, times = self._ac_counts, self._ac_times
            if counts is not None and count:
                counts.sent += count
            if times is not None and count:
                times.active = times.sent = times.clock()
            if count != size:
                self._ac_send(data, count)

    def _ac_send(self, data: bytes, sent: int = 0) -> None:
        output = self._ac_buffered()
        if isinstance(output, WriteBuffer):
            # The socket is full, or not connected; the engine waits for it.
            output.append(data[sent:])
            if self._ac_sends_directly:
                if self._ac_marks is not None:
                    self._ac_look_at_marks()
                return
        elif data:
            self._ac_output = self._ac_new_output(data, sent)
        if not sent or (sent < SEND_SHARE and not blocks(self.socket)):
            self.initiate_send()
        if self._ac_output.size:
            self._ac_touch()
            if self._ac_marks is not None:
                self._ac_look_at_marks()

    def writelines(self, lines: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send several bytes-like objects as if joined, without joining large ones.

        Now or as soon as the socket takes them, and safe from any thread, as `send`. Raises
        `TypeError`, before anything is sent, if one is not bytes-like.
        """
        pieces = [line if type(line) is bytes else _as_bytes(line) for line in lines]
        if not self._ac_sends_directly or getattr(self.send, "__func__", None) is not _SEND:
            self.send(b"".join(pieces))  # the program's own, which may change what is sent
            return
        self._ac_check_output()
        if self.debug:
            self.log_info(f"sending {b''.join(pieces)!r}")
        if self._ac_engine is None:
            self._ac_send_lines(pieces)
        else:
            self._ac_engine.run_on_loop(self._ac_send_lines, pieces)

    def close_when_done(self) -> None:
        """Close the channel, by `handle_close`, once everything that was sent has gone out.

        As `async_chat` has it. `close` throws away what is still in the buffer. The channel goes
        on reading meanwhile; sending raises `BrokenPipeError`. May be called twice, and from any
        thread.
        """
        self._ac_on_loop(self._ac_close_when_done)

    def _ac_close_when_done(self) -> None:
        if self._ac_closed or self._ac_shutdown_state & CLOSES_WHEN_SENT:
            return
        self._ac_shutdown_state |= CLOSES_WHEN_SENT
        if self._ac_engine is not None:
            # Not in the middle of a handler, which may have something left to do.
            self._ac_engine.call_soon_threadsafe(self._ac_drained_soon)

    @reports_to_channel
    def _ac_drained_soon(self) -> None:
        try:
            self._ac_output_drained()
        except reraised():
            raise
        except BaseException:
            self.handle_error()

    def _ac_send_lines(self, pieces: list[bytes]) -> None:
        output = self._ac_buffered()
        idle = not output.size
        if not isinstance(output, WriteBuffer):
            output = self._ac_new_output()
        for piece in pieces:
            if piece:
                output.append(piece)
        if output.size:
            self._ac_output = output
        if idle:
            self.initiate_send()
        if self._ac_output.size:
            self._ac_touch()
            if self._ac_marks is not None:
                self._ac_look_at_marks()


# What `writelines` may go around, if a channel has no other.
_SEND = dispatcher_with_send.send


def _as_bytes(data: Any) -> bytes:
    if isinstance(data, str):
        raise not_bytes("send()", data)
    return bytes(memoryview(data))  # a copy: the caller may change its own afterwards
