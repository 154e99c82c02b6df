"""Command-and-response protocols on dispatchers: the classic `asynchat`.

An `async_chat` reads until a terminator, hands what came before it to `collect_incoming_data`,
and then calls `found_terminator`. Its output is a queue of bytes and producers.

Facts. Handlers change the terminator, throw the buffers away, close the channel and run loops of
their own, all while input is being delivered. The classic buffer is sliced at every line.

Consequence. The place in the buffer is moved past what is delivered *before* a handler is called,
and everything is looked at again afterwards. A slice is made only of what a handler is given, so
the cost is linear. Nothing is delivered after `close()`. A handler that pauses reading has the rest
of the input taken away, out of reach of the loop that delivers, which need not look for it.
"""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING, Any
from warnings import warn as warn

from .channels import BACKLOG as _BACKLOG
from .channels import PAUSED as _PAUSED
from .channels import Map, reports_changes
from .classic.namespace import package
from .classic.own_names import hook
from .classic.removal import _DEPRECATION_MSG as _DEPRECATION_MSG
from .classic.removal import _deprecated as _deprecated
from .classic.text import not_bytes as _not_bytes
from .classic.text import place as _place
from .dispatchers.output_queue import OutputQueue
from .errors import reports_to_channel as _reports_to_channel
from .errors import reraised as _reraised
from .pollers.layered import layered_socket, waits_for

if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterable

    from .channels import SocketLike as _SocketLike

asyncore = package()  # the module that classic asynchat has under this name

__all__ = ["async_chat", "asyncore", "deque", "fifo", "find_prefix_at_end", "simple_producer"]

Terminator = bytes | bytearray | str | int | None

_UNASKED: Terminator = bytearray()  # none: it is still to be asked for

SKIPPED = 1  # of what comes next: it is the rest of a line that was too long


class async_chat(OutputQueue):
    """A dispatcher that splits its input at terminators and queues its output.

    Define `collect_incoming_data(data)` and `found_terminator()`, and call `set_terminator`.
    """

    # How much is read at once, in bytes (classic asynchat since 3.6).
    ac_in_buffer_size = 65536

    max_line_length: int | None = None
    """How many bytes may come before a terminator of bytes. `None` means any number.

    The channel delivers that many. If more come, it calls `handle_line_too_long`.
    """

    terminator: Terminator

    # For classes that call dispatcher's __init__ alone, and assign the classic attributes.
    _ac_input = b""
    _ac_taken = 0  # how much of `_ac_input` was delivered
    _ac_special = 0  # what comes next takes more than to find its end: `SKIPPED`, and more in SMTP
    _ac_next_terminator: Terminator = 0  # once as many bytes have come as a number says
    _ac_terminator_place: str | None = None  # where a str was given
    _ac_line_length = 0  # what was delivered since the last terminator, if that is bounded
    # What had come when reading was paused, and the socket that it came from.
    _ac_backlog: tuple[_SocketLike, bytes] | None = None

    def __init__(self, sock: _socket.socket | Any = None, map: Map | None = None) -> None:
        self._ac_input = b""
        self._ac_taken = self._ac_line_length = self._ac_special = 0
        self.incoming: list[bytes] = []
        super().__init__(sock, map)

    @property
    def ac_in_buffer(self) -> bytes:
        """Input that was not delivered yet. You may assign to it."""
        if self._ac_backlog is not None:
            return self._ac_backlog[1]
        if self._ac_taken:
            self._ac_input = self._ac_input[self._ac_taken :]
            self._ac_taken = 0
        return self._ac_input

    @ac_in_buffer.setter
    def ac_in_buffer(self, data: bytes) -> None:
        self._ac_backlog = None
        self._ac_input = data
        self._ac_taken = 0
        if self._ac_pause_reasons & (_PAUSED | _BACKLOG):
            self._ac_keep_backlog(self.socket)

    # -- pausing --------------------------------------------------------------------------------

    def _ac_mute(self, why: int) -> None:
        super()._ac_mute(why)
        if why == _PAUSED and self._ac_pause_reasons & _PAUSED:
            hold = self._ac_hold
            held = None if hold is None else hold.socket  # to ask for `socket` would send
            self._ac_keep_backlog(self.socket if held is None else held)

    def _ac_keep_backlog(self, sock: _SocketLike) -> None:
        """Take the rest of the input away from the loop that delivers it."""
        if self._ac_taken < len(self._ac_input):
            # A handler that pauses, resumes and pauses again has the rest in here already.
            self._ac_backlog = sock, self._ac_input[self._ac_taken :]
            self._ac_input = b""
            self._ac_taken = 0

    def _ac_unmute(self, why: int) -> None:
        engine = self._ac_engine
        if self._ac_backlog is not None and self._ac_pause_reasons & why & _PAUSED:
            # It comes before anything that is read, and not in the middle of somebody's handler.
            self._ac_pause_reasons |= _BACKLOG
            why &= ~_BACKLOG
            if engine is not None:
                engine.call_soon_threadsafe(self._ac_deliver_backlog)
        super()._ac_unmute(why)

    @_reports_to_channel
    def _ac_deliver_backlog(self) -> None:
        """Deliver what had come before the pause that is over now."""
        if self._ac_pause_reasons & _PAUSED and not self._ac_closed:
            return  # paused again
        backlog, self._ac_backlog = self._ac_backlog, None
        super()._ac_unmute(_BACKLOG)
        if backlog is None or self._ac_closed:
            return
        sock, self._ac_input = backlog
        self._ac_taken = 0
        try:
            self._ac_deliver_lines(sock)
        except _reraised():
            raise
        except BaseException:
            self.handle_error()

    def _ac_goes_on(self) -> bool:
        engine = self._ac_engine
        if self._ac_pause_reasons == _BACKLOG and engine is not None:
            if engine.owner is None and engine.hosting is None:
                self._ac_deliver_backlog()  # to a program that waits by itself, and asks before
        return super()._ac_goes_on()

    # -- input ----------------------------------------------------------------------------------

    def collect_incoming_data(self, data: bytes) -> None:
        """Take a piece of the input that comes before the terminator."""
        raise NotImplementedError("a subclass must say what to do with input")

    def _collect_incoming_data(self, data: bytes) -> None:
        """Keep input in `incoming`. A class may use this as its `collect_incoming_data`."""
        self.incoming.append(data)

    def _get_data(self) -> bytes:
        """Return what `_collect_incoming_data` kept, and forget it."""
        data = b"".join(self.incoming)
        self.incoming.clear()
        return data

    def found_terminator(self) -> None:
        """Act on the input that was collected: the terminator has come."""
        raise NotImplementedError("a subclass must say what the terminator ends")

    def set_terminator(self, term: Terminator) -> None:
        """Set what ends the input that follows.

        Give bytes that the channel looks for (or a string, with `use_encoding`), or a number of
        bytes that it counts. `None`, or an empty value, means input without an end. Raises
        `ValueError` for a negative number.
        """
        if isinstance(term, int):
            if term < 0:
                raise ValueError(f"a terminator can't be {term} bytes: 0 or more, or None")
        elif isinstance(term, str):
            if self.use_encoding:
                term = term.encode(self.encoding)
            else:  # which may still be set, and is an error once something arrives
                self._ac_terminator_place = _place()
        self.terminator = term

    def get_terminator(self) -> Terminator:
        """Return the terminator. A number counts down as bytes arrive."""
        return self.terminator

    def handle_read(self) -> None:
        """Receive, and deliver what can be delivered."""
        try:
            data: Any = self.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError as why:
            if not waits_for(why):  # else a TLS socket says that it must wait
                self.handle_error()
            return
        # Nearly always one line has come, whole, and nothing bounds it or waits before it.
        if not (self._ac_input or self._ac_special or self._ac_closed) and (
            (hold := self._ac_hold) is None or not hold.more
        ):
            terminator = self.get_terminator()
            if type(terminator) is bytes and terminator and type(data) is bytes:
                line, found, rest = data.partition(terminator)
                if found and not rest and self.max_line_length is None:
                    self._ac_line_length = 0
                    if line:
                        self.collect_incoming_data(line)
                    if not self._ac_closed:
                        self.found_terminator()
                    return
        else:
            terminator = _UNASKED
        if isinstance(data, str) and self.use_encoding:
            data = data.encode(self.encoding)
        if self._ac_input:
            data = self._ac_input[self._ac_taken :] + data
        self._ac_input = data
        self._ac_taken = 0
        self._ac_deliver_lines(self.socket, terminator)

    def _ac_deliver_lines(self, sock: _SocketLike, terminator: Terminator = _UNASKED) -> None:
        """Deliver what came from `sock`; the first terminator may have been asked for already."""
        try:
            while True:
                received, start = self._ac_input, self._ac_taken
                length = len(received)
                if start >= length or self._ac_closed:
                    break
                hold = self._ac_hold
                present = self.socket if hold is None else self._ac_present_socket()
                if present is not sock:
                    if sock.fileno() != self._fileno or layered_socket(present) is not None:
                        # What is left is of another connection, or came in clear before TLS.
                        self.ac_in_buffer = b""
                        return
                    sock = present  # A wrapper of the old one goes on with what that has read.
                if terminator is _UNASKED:
                    terminator = self.get_terminator()
                if not terminator:
                    self._ac_taken = length
                    self.collect_incoming_data(received[start:])
                elif not isinstance(terminator, int):
                    if not self._ac_deliver_delimited(terminator):
                        return
                elif (end := start + terminator) > length:
                    self.terminator = end - length
                    self._ac_taken = length
                    self.collect_incoming_data(received[start:])
                else:
                    if hold is not None or (end < length and self._ac_joins_replies):
                        self._ac_expect(end < length)
                    self._ac_taken = end
                    self.collect_incoming_data(received[start:end])
                    if not self._ac_closed:
                        self.terminator = self._ac_next_terminator
                        self.found_terminator()
                terminator = _UNASKED
        finally:
            if self._ac_taken >= len(self._ac_input):
                self._ac_input = b""
                self._ac_taken = 0
            if self._ac_hold is not None:
                self._ac_hold.more = False
                self._ac_send_held()

    def _ac_present_socket(self) -> _SocketLike:
        hold = self._ac_hold
        if hold is None or hold.socket is None:
            return self.socket
        return hold.socket  # to ask for `socket` would send

    def _ac_take(self, end: int) -> bytes:
        start, self._ac_taken = self._ac_taken, end
        return self._ac_input[start:end] if start or end < len(self._ac_input) else self._ac_input

    def _ac_deliver_delimited(self, terminator: bytes | bytearray | str) -> bool:
        """Deliver up to the terminator; return False if more input is needed to tell."""
        if isinstance(terminator, str):
            terminator = self._ac_terminator_as_bytes(terminator)
        received, start = self._ac_input, self._ac_taken
        step = len(terminator)
        last = len(received) - step
        sock = None
        while True:
            found = received.find(terminator, start)
            more = 0 <= found < last
            hold = self._ac_hold
            if hold is not None and hold.socket is not None:
                hold.more = more
            elif hold is not None or (more and self._ac_joins_replies):
                self._ac_expect(more)
            if found < 0 or self.max_line_length is not None or self._ac_special:
                break
            # Nearly all lines are whole, and nothing bounds them.
            if more and sock is None:
                sock = self._ac_present_socket()
            self._ac_taken = end = found + step
            self._ac_line_length = 0
            if found > start:
                self.collect_incoming_data(received[start:found])
            if not self._ac_closed:
                self.found_terminator()
            hold = self._ac_hold
            held = None if hold is None else hold.socket
            # The next one, at once, if the handlers have left everything as it was.
            if (
                not more
                or self.terminator is not terminator
                or self._ac_taken != end
                or self._ac_input is not received
                or self._ac_closed
                or (self.socket if held is None else held) is not sock
                or getattr(self.get_terminator, "__func__", None) is not _GET_TERMINATOR
            ):
                return True
            start = end
        if found >= 0:
            end, held = found, 0
        else:
            # What was delivered already can't be the beginning of a terminator.
            tail = max(self._ac_taken, len(self._ac_input) - len(terminator) + 1)
            held = find_prefix_at_end(self._ac_input[tail:], terminator)
            end = len(self._ac_input) - held
        if (self.max_line_length is not None or self._ac_special) and not self._ac_bound(end):
            return True
        data = self._ac_take(end)
        if found < 0:
            if data:
                self.collect_incoming_data(data)
            return not held
        self._ac_taken = found + len(terminator)
        self._ac_line_length = 0
        if self._ac_special:
            self._ac_special = 0  # it ended here, and was told of already
            return True
        if data:
            self.collect_incoming_data(data)
        if not self._ac_closed:
            self.found_terminator()
        return True

    def _ac_terminator_as_bytes(self, terminator: str) -> bytes:
        if not self.use_encoding:
            raise _not_bytes("set_terminator()", terminator, self._ac_terminator_place)
        return terminator.encode(self.encoding)

    def _ac_bound(self, end: int) -> bool:
        """Count the input up to `end` to the present line; return whether it may be delivered.

        Else one step was taken, and everything is to be looked at again.
        """
        if self._ac_special:
            self._ac_taken = end
            return True
        limit = self.max_line_length
        if not isinstance(limit, int) or limit < 0:
            return True  # a program's own, which means something else by it
        room = max(limit - self._ac_line_length, 0)
        if end - self._ac_taken <= room:
            self._ac_line_length += end - self._ac_taken
            return True
        if room:
            self._ac_line_length += room
            self.collect_incoming_data(self._ac_take(self._ac_taken + room))
            return False
        self._ac_special = SKIPPED
        hook(self, "handle_line_too_long", 0)()
        if self._ac_special and (
            self.max_line_length is None or self._ac_line_length < self.max_line_length
        ):
            self._ac_special = 0  # the limit was raised
        return False

    def handle_line_too_long(self) -> None:
        """More than `max_line_length` bytes came without a terminator. Logs, and closes.

        The channel has delivered that many bytes, and delivers no more of the line. If you
        override this method, it may do one of these:

        - Close the channel.
        - Answer, and forget what it has collected. The channel then throws the rest of the line
          away, and does not call `found_terminator` for it.
        - Call `discard_buffers()`. This throws away all that has arrived, further lines too, and
          output that was not sent. What comes next begins a line.
        - Raise `max_line_length`, to get more of the line.
        """
        self.log_info(
            f"over {self.max_line_length} bytes without a terminator, closing channel {self!r}",
            "error",
        )
        self.handle_close()

    # -- both ways ------------------------------------------------------------------------------

    def handle_close(self) -> None:
        """The connection has ended."""
        self.close()

    @reports_changes
    def readable(self) -> bool:
        """Whether to wait for input. The answer is true unless reading is paused.

        `max_line_length` limits the length of a line.
        """
        return not self._ac_pause_reasons or self._ac_goes_on()

    def discard_buffers(self) -> None:
        """Throw away all input that was not delivered and all output that was not sent.

        What arrives next begins a line.
        """
        self.ac_in_buffer = b""
        self.incoming.clear()
        self._ac_line_length = 0
        self._ac_special &= ~SKIPPED
        super().discard_buffers()


_GET_TERMINATOR = async_chat.get_terminator


class line_chat(async_chat):
    """An `async_chat` that collects its input by itself, and calls `handle_line` for each line.

    Set `terminator` in the class, and define `handle_line(line)`.
    """

    terminator: Terminator = b"\n"
    """What ends a line: bytes, or anything that `set_terminator` takes.

    With a number in the class, each line is so many bytes long.
    """

    max_line_length: int | None = 65536
    """How many bytes a line may have. The default is that of asyncio's `StreamReader.readline`."""

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        size = cls.terminator
        cls._ac_next_terminator = size if isinstance(size, int) else 0

    def collect_incoming_data(self, data: bytes) -> None:
        """Keep a piece of a line."""
        self.incoming.append(data)

    def found_terminator(self) -> None:
        """Put the pieces of a line together."""
        incoming = self.incoming
        line = incoming[0] if len(incoming) == 1 else b"".join(incoming)
        incoming.clear()
        self.handle_line(line)

    def handle_line(self, line: bytes) -> None:
        """A line has come, here without its terminator."""
        raise NotImplementedError("a subclass must say what to do with a line")

    def _ac_bound(self, end: int) -> bool:
        delivers = super()._ac_bound(end)
        if self._ac_special:
            self.incoming.clear()  # whoever answers to a line that is too long need not forget it
        return delivers


class simple_producer:
    """A producer that hands out bytes, `buffer_size` at a time."""

    def __init__(self, data: Any, buffer_size: int = 512) -> None:
        self.data = data
        self.buffer_size = buffer_size

    def more(self) -> Any:
        """Return the next piece, or an empty one at the end."""
        piece = self.data[: self.buffer_size]
        self.data = self.data[self.buffer_size :]
        return piece


class fifo:
    """The queue that asynchat had until Python 3.6."""

    def __init__(self, list: Iterable[Any] | None = None) -> None:
        self.list: deque[Any] = deque(list or ())

    def __len__(self) -> int:
        return len(self.list)

    def is_empty(self) -> bool:
        """Whether there is nothing in the queue."""
        return not self.list

    def first(self) -> Any:
        """Return the oldest item, and leave it in the queue. Raises `IndexError` if it is empty."""
        return self.list[0]

    def push(self, data: Any) -> None:
        """Append an item."""
        self.list.append(data)

    def pop(self) -> tuple[int, Any]:
        """Take the oldest item out. Returns `(1, item)`, or `(0, None)` if the queue is empty."""
        if self.list:
            return 1, self.list.popleft()
        return 0, None


def find_prefix_at_end(haystack: Any, needle: Any) -> int:
    """Return how many bytes at the end of `haystack` are the beginning of `needle`.

    All of `needle` does not count.

    >>> find_prefix_at_end(b"qwerty\\r", b"\\r\\n")
    1
    """
    length = min(len(needle) - 1, len(haystack))
    while length > 0 and not haystack.endswith(needle[:length]):
        length -= 1
    return max(length, 0)


# Read by programs: `asynchat.asyncore`, `asynchat.warnings`.
_classic_names = (warnings,)
