"""Command-and-response protocols on dispatchers: the classic `asynchat`.

An `async_chat` reads until a terminator, hands what came before it to `collect_incoming_data`,
and then calls `found_terminator`. Its output is a queue of bytes and producers.

Facts. Handlers change the terminator, throw the buffers away, close the channel and run loops of
their own, all while input is being delivered. The classic buffer is sliced at every line.

Consequence. The place in the buffer is moved past what is delivered *before* a handler is called,
and everything is looked at again afterwards. A slice is made only of what a handler is given, so
the cost is linear. Nothing is delivered after `close()`.
"""

from __future__ import annotations

import warnings
from collections import deque
from typing import Any
from warnings import warn as warn

from .buffered import SEND_SHARE
from .channels import Map, reports_changes
from .dispatcher import dispatcher
from .namespace import package
from .removed import _DEPRECATION_MSG as _DEPRECATION_MSG
from .removed import _deprecated as _deprecated
from .wrapped import direction

asyncore = package()  # the module that classic asynchat has under this name

__all__ = ["async_chat", "asyncore", "deque", "fifo", "find_prefix_at_end", "simple_producer"]

Terminator = bytes | bytearray | str | int | None


class async_chat(dispatcher):
    """A dispatcher that splits its input at terminators and queues its output.

    Define `collect_incoming_data(data)` and `found_terminator()`, and call `set_terminator`.
    """

    # How much is read, and how much is sent, at once, in bytes (classic asynchat since 3.6).
    ac_in_buffer_size = 65536
    ac_out_buffer_size = 65536

    # Set `use_encoding` to a true value to let strings be pushed and be terminators.
    use_encoding: Any = 0
    encoding = "latin-1"

    terminator: Any
    _full = False  # the socket took less than it was offered

    def __init__(self, sock: Any = None, map: Map | None = None) -> None:
        self._input = b""
        self._taken = 0  # how much of `_input` was delivered
        self.incoming: list[bytes] = []
        self._fifo: deque[Any] = deque()
        super().__init__(sock, map)

    @property
    def ac_in_buffer(self) -> bytes:
        """Input that was not delivered yet; may be assigned."""
        if self._taken:
            self._input = self._input[self._taken :]
            self._taken = 0
        return self._input

    @ac_in_buffer.setter
    def ac_in_buffer(self, data: bytes) -> None:
        self._input = data
        self._taken = 0

    @property
    def producer_fifo(self) -> deque[Any]:
        """What is to be sent: bytes, producers, and `None` for the end; may be changed."""
        # Whoever asks may be about to change it.
        self._full = False
        self.touch()
        return self._fifo

    @producer_fifo.setter
    def producer_fifo(self, fifo: deque[Any]) -> None:
        self._fifo = fifo
        self._full = False
        self.touch()

    # -- input ----------------------------------------------------------------------------------

    def collect_incoming_data(self, data: bytes) -> None:
        """Take input that is not yet, or not with these bytes, ended by the terminator."""
        raise NotImplementedError("a subclass must say what to do with input")

    def _collect_incoming_data(self, data: bytes) -> None:
        """Keep input in `incoming`, for classes that want no more (classic asynchat)."""
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

        Bytes (or a string, with `use_encoding`) to be found; a number of bytes to be counted;
        `None` or an empty value for input without an end. Raises `ValueError` for a negative
        number.
        """
        if isinstance(term, str) and self.use_encoding:
            term = term.encode(self.encoding)
        elif isinstance(term, int) and term < 0:
            raise ValueError(f"a terminator can't be {term} bytes: 0 or more, or None")
        self.terminator = term

    def get_terminator(self) -> Any:
        """Return the terminator; a number counts down as bytes arrive."""
        return self.terminator

    def handle_read(self) -> None:
        """Receive, and deliver what can be delivered."""
        try:
            data: Any = self.recv(self.ac_in_buffer_size)
        except BlockingIOError:
            return
        except OSError as why:
            if not direction(why):  # else a TLS socket says that it must wait
                self.handle_error()
            return
        if isinstance(data, str) and self.use_encoding:
            data = data.encode(self.encoding)
        self._input = self._input[self._taken :] + data
        self._taken = 0
        self._deliver()

    def _deliver(self) -> None:
        sock = self.socket
        while self._taken < len(self._input) and not self._closed:
            if self.socket is not sock:
                self.ac_in_buffer = b""  # of the old connection; a handler made a new one
                return
            terminator = self.get_terminator()
            if not terminator:
                self.collect_incoming_data(self._take(len(self._input)))
            elif isinstance(terminator, int):
                self._deliver_counted(terminator)
            elif not self._deliver_delimited(terminator):
                return

    def _take(self, end: int) -> bytes:
        start, self._taken = self._taken, end
        return self._input[start:end] if start or end < len(self._input) else self._input

    def _deliver_counted(self, count: int) -> None:
        left = len(self._input) - self._taken
        if left < count:
            self.terminator = count - left
            self.collect_incoming_data(self._take(len(self._input)))
        else:
            self.collect_incoming_data(self._take(self._taken + count))
            if not self._closed:
                self.terminator = 0
                self.found_terminator()

    def _deliver_delimited(self, terminator: Any) -> bool:
        """Deliver up to the terminator; return False if more input is needed to tell."""
        if isinstance(terminator, str) and self.use_encoding:
            terminator = terminator.encode(self.encoding)
        found = self._input.find(terminator, self._taken)
        if found >= 0:
            data = self._take(found)
            self._taken = found + len(terminator)
            if data:
                self.collect_incoming_data(data)
            if not self._closed:
                self.found_terminator()
            return True
        # What was delivered already can't be the beginning of a terminator.
        tail = max(self._taken, len(self._input) - len(terminator) + 1)
        held = find_prefix_at_end(self._input[tail:], terminator)
        data = self._take(len(self._input) - held)
        if data:
            self.collect_incoming_data(data)
        return not held

    # -- output ---------------------------------------------------------------------------------

    def handle_write(self) -> None:
        """Send from the queue."""
        self.initiate_send()

    def handle_close(self) -> None:
        """The connection has ended."""
        self.close()

    def push(self, data: Any) -> None:
        """Queue bytes, and send what the socket takes at once. Safe from any thread.

        Strings are taken with `use_encoding`. Raises `TypeError` for anything else.
        """
        if isinstance(data, str) and self.use_encoding:
            data = data.encode(self.encoding)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"push() takes bytes-like data, not {type(data).__name__}")
        data = bytes(data)  # a copy of what the caller may change
        if self._engine is None:
            self._push(data)
        else:
            self._engine.run_on_loop(self._push, data)

    def _push(self, data: bytes) -> None:
        size = self.ac_out_buffer_size
        if len(data) > size:
            self._fifo.extend(data[start : start + size] for start in range(0, len(data), size))
        else:
            self._fifo.append(data)
        self._start_sending()

    def push_with_producer(self, producer: Any) -> None:
        """Queue a producer: its `more()` is called for bytes until it returns none.

        Safe from any thread; `more()` runs on the loop's.
        """
        if self._engine is None:
            self._push_producer(producer)
        else:
            self._engine.run_on_loop(self._push_producer, producer)

    def _push_producer(self, producer: Any) -> None:
        self._fifo.append(producer)
        self._start_sending()

    def close_when_done(self) -> None:
        """Close the channel once everything queued so far is sent. Safe from any thread."""
        if self._engine is None:
            self._fifo.append(None)
        else:
            self._engine.run_on_loop(self._push_end)

    def _push_end(self) -> None:
        self._fifo.append(None)
        self.touch()

    def _start_sending(self) -> None:
        if not self._full:
            self.initiate_send()
        if self._fifo:
            self.touch()

    @reports_changes
    def readable(self) -> Any:
        """Whether to wait for input: always. Large input is the handlers' matter."""
        return 1

    @reports_changes
    def writable(self) -> Any:
        """Whether something is to be sent, or the connection not yet established."""
        return self._fifo or not self.connected

    def initiate_send(self) -> None:
        """Send from the queue until the socket is full, or other channels should have a turn."""
        share = SEND_SHARE
        self._full = False
        while share > 0 and self._fifo and self.connected and not self._closed:
            first = self._fifo[0]
            if not first:
                self._fifo.popleft()
                if first is None:
                    self.handle_close()
                    return
                continue
            data = self._next_piece(first)
            if data is None:
                continue
            try:
                count = self.send(data)
            except OSError:
                self.handle_error()
                return
            if not count:
                self._full = not self._closed
                return
            share -= count
            if self._fifo and self._fifo[0] is data:
                if count < len(data):
                    self._fifo[0] = data[count:]
                    self._full = True
                    return
                self._fifo.popleft()

    def _next_piece(self, first: Any) -> Any:
        """Put what one send() can take at the head of the queue and return it.

        `None` if the head was a producer with nothing more.
        """
        fifo = self._fifo
        size = self.ac_out_buffer_size
        if isinstance(first, str) and self.use_encoding:
            first = fifo[0] = first.encode(self.encoding)
        if isinstance(first, (bytes, bytearray, memoryview)):
            if len(first) > size:
                fifo.popleft()
                pieces = [first[at : at + size] for at in range(0, len(first), size)]
                fifo.extendleft(reversed(pieces))
            elif len(fifo) > 1 and type(first) is bytes and type(fifo[1]) is bytes:
                self._join_small(size)
            return fifo[0]
        if hasattr(first, "more"):
            data = first.more()
            if self._closed:
                return None
            if isinstance(data, str) and self.use_encoding:
                data = data.encode(self.encoding)
            if data:
                fifo.appendleft(data)
                return self._next_piece(data) if len(data) > size else data
            if fifo and fifo[0] is first:
                fifo.popleft()
            return None
        # Something else that can be sliced, as the classic one allowed.
        fifo.popleft()
        fifo.extendleft((first[size:], first[:size]))
        return fifo[0]

    def _join_small(self, size: int) -> None:
        """Make one piece of the small ones at the head: one system call instead of many."""
        fifo = self._fifo
        pieces: list[bytes] = []
        length = 0
        while fifo and type(fifo[0]) is bytes and (not pieces or length + len(fifo[0]) <= size):
            pieces.append(fifo.popleft())
            length += len(pieces[-1])
        fifo.appendleft(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def discard_buffers(self) -> None:
        """Throw away all input that was not delivered and all output that was not sent."""
        self.ac_in_buffer = b""
        self.incoming.clear()
        self._fifo.clear()
        self._full = False


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
    """A queue, as asynchat had until Python 3.6: `push`, and `pop` for a flag and an item."""

    def __init__(self, list: Any = None) -> None:
        self.list: deque[Any] = deque(list or ())

    def __len__(self) -> int:
        return len(self.list)

    def is_empty(self) -> bool:
        """Whether there is nothing in the queue."""
        return not self.list

    def first(self) -> Any:
        """Return the oldest item and leave it in. Raises `IndexError` if there is none."""
        return self.list[0]

    def push(self, data: Any) -> None:
        """Append an item."""
        self.list.append(data)

    def pop(self) -> tuple[int, Any]:
        """Take the oldest item out: `(1, item)`, or `(0, None)` if there is none."""
        if self.list:
            return 1, self.list.popleft()
        return 0, None


def find_prefix_at_end(haystack: Any, needle: Any) -> int:
    """Return how many bytes at the end of `haystack` begin `needle`, without being all of it.

    >>> find_prefix_at_end(b"qwerty\\r", b"\\r\\n")
    1
    """
    length = min(len(needle) - 1, len(haystack))
    while length > 0 and not haystack.endswith(needle[:length]):
        length -= 1
    return max(length, 0)


# Read by programs: `asynchat.asyncore`, `asynchat.warnings`.
_classic_names = (warnings,)
