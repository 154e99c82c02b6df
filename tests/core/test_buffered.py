"""dispatcher_with_send, and the buffer that makes its cost linear."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asynccore import dispatcher, dispatcher_with_send
from asynccore.dispatchers.buffered import SEND_SIZE, WriteBuffer
from asynccore.dispatchers.vectored import SEND_SHARE
from asynccore.pollers import READ, WRITE
from asynccore.testing import Fakes
from tests.core.fakes import PATIENT, Channel, FakeSocket

# The buffer ---------------------------------------------------------------------------------


class BufferModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = WriteBuffer()
        self.model = b""

    @rule(data=st.binary(max_size=20), offset=st.integers(0, 20))
    def begin(self, data: bytes, offset: int) -> None:
        offset = min(offset, len(data))
        self.buffer = WriteBuffer(data, offset)
        self.model = data[offset:]

    @rule(data=st.binary(max_size=20))
    def append(self, data: bytes) -> None:
        self.buffer.append(data)
        self.model += data

    @precondition(lambda self: self.model)
    @rule(limit=st.integers(1, 30))
    def peek(self, limit: int) -> None:
        piece = self.buffer.peek(limit)
        assert 1 <= len(piece) <= limit
        assert self.model.startswith(piece)
        assert len(piece) == min(limit, len(self.model))

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def consume(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(self.model)))
        self.buffer.consume(count)
        self.model = self.model[count:]

    @rule()
    def join(self) -> None:
        assert self.buffer.joined == self.model

    @invariant()
    def size(self) -> None:
        assert len(self.buffer) == self.buffer.size == len(self.model)


BufferModel.TestCase.settings = settings(PATIENT, max_examples=80, stateful_step_count=30)
TestBufferModel = BufferModel.TestCase


class Counted(bytes):
    """Bytes that count how many of them are copied by slicing."""

    copied = 0

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        if isinstance(place, slice):
            Counted.copied += len(found)
            return Counted(found)
        return found


def copied(pieces: int, size: int, step: int) -> int:
    Counted.copied = 0
    buffer = WriteBuffer()
    for _ in range(pieces):
        buffer.append(Counted(size))
    for _ in range(2 * pieces * (size // step + 2)):
        if not buffer.size:
            return Counted.copied
        data = buffer.peek(SEND_SIZE)
        if type(data) is not memoryview:
            Counted.copied += len(data)  # at the worst it was joined for this send
        buffer.consume(min(step, len(data)))
    pytest.fail("the buffer never gets empty")


@pytest.mark.parametrize(
    ("pieces", "size", "step"),
    [(2_000, 4096, SEND_SIZE), (1, 8_000_000, 10_000), (40, 200_000, 30_000), (4_000, 100, 100)],
)
def test_copying_is_linear(pieces: int, size: int, step: int) -> None:
    """Twice the output must not cost much more than twice the copying."""
    once, twice = copied(pieces, size, step), copied(2 * pieces, size, step)
    if pieces * size > SEND_SIZE * 8:
        assert once <= 8 * pieces * size
        assert twice <= 3 * once + SEND_SIZE


# The dispatcher -----------------------------------------------------------------------------


class Sender(dispatcher_with_send):
    def __init__(self, *takes: int | Exception, map: Any = None) -> None:
        self.log: list[str] = []
        super().__init__(FakeSocket(1000, takes=takes), {} if map is None else map)

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log.append("error")


def drain(channel: Sender) -> bytes:
    for _ in range(1000):
        if not channel.writable():
            break
        channel.handle_write()
    else:
        pytest.fail("still not sent")
    output: bytes = channel.socket.output
    return output


def test_what_fits_is_sent_at_once() -> None:
    channel = Sender()
    assert channel.send(b"hello") is None
    assert channel.socket.sent == [b"hello"]
    assert channel.out_buffer == b"" and not channel.writable()


@pytest.mark.parametrize("first", [0, 2])
def test_the_rest_waits(first: int) -> None:
    channel = Sender(first, 0, 1)
    channel.send(b"hello")
    channel.send(b" world")
    assert channel.writable()
    assert channel.out_buffer == b"hello world"[first:]
    assert drain(channel) == b"hello world"
    assert channel.out_buffer == b""


@pytest.mark.parametrize(
    "data", [bytearray(b"data"), memoryview(b"data"), memoryview(b"dXaXtXaX")[::2]]
)
def test_anything_like_bytes_is_taken(data: Any) -> None:
    channel = Sender(0)
    channel.send(data)
    if isinstance(data, bytearray):
        data[:] = b"DATA"
    assert channel.out_buffer == b"data"


@pytest.mark.parametrize("data", ["text", None, 5])
def test_the_rest_is_refused(data: Any) -> None:
    channel = Sender()
    with pytest.raises(TypeError):
        channel.send(data)
    assert channel.socket.sent == [] and channel.out_buffer == b""


def test_a_string_is_refused_with_advice() -> None:
    with pytest.raises(TypeError, match=r"send\(\) takes bytes, not str: 'text' in "):
        Sender().send("text")


def test_nothing_is_not_sent() -> None:
    channel = Sender()
    channel.send(b"")
    channel.handle_write()
    assert channel.socket.sent == []


def test_it_waits_for_the_connection() -> None:
    channel = Sender()
    channel.connected = False
    assert channel.writable()
    channel.connected = True
    assert not channel.writable()


def test_debug_says_what_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    channel = Sender()
    channel.debug = True
    channel.send(b"hello")
    assert capsys.readouterr().out == "info: sending b'hello'\n"


def test_one_turn_sends_its_share() -> None:
    channel = Sender(0)
    data = bytes(2 * SEND_SHARE + 5)
    channel.send(data)
    channel.handle_write()
    assert SEND_SHARE <= len(channel.socket.output) <= SEND_SHARE + SEND_SIZE
    assert max(map(len, channel.socket.sent[1:])) == SEND_SIZE
    assert drain(channel) == data


def test_the_buffer_may_be_assigned(fakes: Fakes) -> None:
    channel = Sender(map=fakes.engine.map)
    fakes.engine.run_pass(0)
    assert not fakes.poller.interest[1000] & WRITE
    channel.out_buffer = b"assigned"
    assert channel.out_buffer == b"assigned"
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & WRITE
    channel.out_buffer = channel.out_buffer[2:] + b"!"
    channel.send(b"?")
    assert drain(channel) == b"signed!?"
    channel.out_buffer = b""
    assert not channel.writable()


def test_bytes_assigned_from_elsewhere_are_copied() -> None:
    channel = Sender(0)
    mine = bytearray(b"data")
    channel.out_buffer = mine  # type: ignore[assignment]
    mine[:] = b"DATA"
    assert channel.out_buffer == b"data"


@pytest.mark.parametrize("error", [errno.ECONNRESET, errno.EPIPE, errno.EBADF, errno.EHOSTUNREACH])
@pytest.mark.parametrize("waiting", [False, True])
def test_a_connection_that_is_gone_is_closed_once(error: int, waiting: bool) -> None:
    gone = OSError(error, "gone")
    channel = Sender(*([1, gone] if waiting else [gone]))
    channel.send(b"hello")
    channel.handle_write()
    channel.send(b"again")
    assert channel.log == ["close"]
    assert channel.socket.closed == 1


def test_other_errors_come_out() -> None:
    channel = Sender(OSError(errno.EMSGSIZE, "too long"))
    with pytest.raises(OSError, match="too long"):
        channel.send(b"hello")


def test_a_full_socket_is_no_error() -> None:
    channel = Sender(BlockingIOError(errno.EWOULDBLOCK, "full"))
    channel.send(b"hello")
    assert channel.out_buffer == b"hello"
    assert drain(channel) == b"hello"


def test_a_handler_that_assigns_while_it_is_sent() -> None:
    class Restarts(Sender):
        def handle_close(self) -> None:
            self.out_buffer = b"fresh"

    channel = Restarts(1, OSError(errno.EPIPE, "gone"))
    channel.send(b"hello")
    channel.handle_write()
    assert channel.out_buffer == b"fresh"


def test_the_loop_sends_what_waits(fakes: Fakes) -> None:
    channel = Sender(2, 0, map=fakes.engine.map)
    channel.send(b"hello")
    fakes.engine.run_pass(0)
    for _ in range(3):
        if fakes.poller.interest[1000] & WRITE:
            fakes.poller.report((1000, WRITE))
        fakes.engine.run_pass(0)
    assert channel.socket.output == b"hello"
    assert not fakes.poller.interest[1000] & WRITE


def test_another_thread_may_send(fakes: Fakes) -> None:
    channel = Sender(map=fakes.engine.map)

    def read() -> None:
        # The loop's thread holds the turn: the other leaves an errand, and doesn't wait.
        thread = threading.Thread(target=channel.send, args=(b"from elsewhere",))
        thread.start()
        thread.join()
        assert channel.socket.sent == []

    channel.handle_read = read  # type: ignore[method-assign]
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    assert channel.socket.output == b"from elsewhere"


def test_what_fails_for_another_thread_does_not_end_the_loop(fakes: Fakes) -> None:
    channel = Sender(OSError(errno.EMSGSIZE, "too long"), map=fakes.engine.map)

    def read() -> None:
        thread = threading.Thread(target=channel.send, args=(b"from elsewhere",))
        thread.start()
        thread.join()

    channel.handle_read = read  # type: ignore[method-assign]
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    assert channel.log == ["error"]


def test_real_sockets_and_large_output() -> None:
    mine, other = socket.socketpair()
    mine.setblocking(False)
    map: dict[int, Any] = {}
    channel = dispatcher_with_send(mine, map)
    data = bytes(range(256)) * 8192
    received = bytearray()
    thread = threading.Thread(
        target=lambda: [received.extend(piece) for piece in iter(lambda: other.recv(65536), b"")]
    )
    thread.start()
    channel.handle_read = lambda: None  # type: ignore[method-assign]
    channel.send(data)
    while channel.writable():
        from asynccore import poll

        poll(30, map)
    channel.close()
    poll_rest(map, channel)
    thread.join()
    other.close()
    assert bytes(received) == data


def poll_rest(map: dict[int, Any], channel: Any) -> None:
    """Let the engine of an emptied map give its descriptors back."""
    channel._ac_engine.run_pass(0)
    assert not map


def in_handler(fakes: Fakes, channel: Sender, act: Callable[[], object]) -> None:
    """Do something where nearly all sending is done."""
    channel.handle_read = act  # type: ignore[method-assign]
    fakes.engine.map[999] = Channel(False, False)
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)


FULL = BlockingIOError(errno.EWOULDBLOCK, "full")


@pytest.mark.parametrize("takes", [(), (2, 0), (0, 0), (FULL, FULL)])
@pytest.mark.parametrize("empty", [False, True])
def test_a_handler_sends(fakes: Fakes, takes: Any, empty: bool) -> None:
    channel = Sender(*takes, map=fakes.engine.map)
    in_handler(fakes, channel, lambda: channel.send(b"" if empty else bytearray(b"hello")))
    sent = b"" if empty else b"hello"
    assert channel.socket.output + channel.out_buffer == sent
    fakes.engine.run_pass(0)
    assert bool(fakes.poller.interest[1000] & WRITE) == bool(channel.out_buffer)
    assert bool(channel.out_buffer) == (bool(takes) and not empty)
    assert drain(channel) == sent


def test_a_handler_sends_to_a_connection_that_is_gone(fakes: Fakes) -> None:
    channel = Sender(OSError(errno.EPIPE, "gone"), map=fakes.engine.map)
    in_handler(fakes, channel, lambda: [channel.send(b"hello"), channel.send(b"again")])
    assert channel.log == ["close"]
    assert channel.socket.sent == []


def test_what_sending_raises_in_a_handler_is_the_handlers(fakes: Fakes) -> None:
    channel = Sender(OSError(errno.EMSGSIZE, "too long"), map=fakes.engine.map)

    def act() -> None:
        with pytest.raises(OSError, match="too long"):
            channel.send(b"hello")

    in_handler(fakes, channel, act)
    assert channel.log == [] and channel.out_buffer == b""


def test_sending_in_a_handler_puts_the_timeouts_off(fakes: Fakes) -> None:
    channel = Sender(map=fakes.engine.map)
    channel.idle_timeout = 10
    expired: list[float] = []
    channel.handle_timeout = lambda which: expired.append(  # type: ignore[method-assign]
        fakes.clock() - 1000.0
    )

    def act() -> None:
        fakes.clock.advance(4.0)
        channel.send(b"hello")

    in_handler(fakes, channel, act)
    while not expired:
        fakes.engine.run_pass(60.0)
    assert expired == [14.0]
    channel.close()


# What programs override ----------------------------------------------------------------------


class ByHand:
    """Keeps everything until it is told how much may go."""

    allowed = 0

    def initiate_send(self: Any) -> None:
        self.log.append("initiate_send")
        count, self.allowed = self.allowed, 0
        if count:
            sent = dispatcher.send(self, self.out_buffer[:count])
            self.out_buffer = self.out_buffer[sent:]


class Limited(ByHand, Sender):
    """A rate limit, mixed in."""


class Derived(Limited):
    """The same, inherited."""


@pytest.mark.parametrize("cls", [Limited, Derived])
def test_every_send_goes_through_an_initiate_send_of_the_programs_own(
    fakes: Fakes, cls: type[Any]
) -> None:
    channel = cls(map=fakes.engine.map)
    channel.send(b"hello")
    assert channel.log == ["initiate_send"]
    assert channel.socket.sent == [] and channel.out_buffer == b"hello"
    channel.allowed = 7
    channel.send(b" world")
    assert channel.log == ["initiate_send"] * 2
    assert channel.socket.sent == [b"hello w"] and channel.out_buffer == b"orld"
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & WRITE
    channel.allowed = 100
    fakes.poller.report((1000, WRITE))
    fakes.engine.run_pass(0)
    assert channel.socket.output == b"hello world" and not channel.writable()


def test_sending_nothing_calls_it_too() -> None:
    channel = Limited()
    channel.send(b"")
    assert channel.log == ["initiate_send"]
    assert channel.out_buffer == b""


def test_an_initiate_send_that_calls_ours_loses_nothing() -> None:
    class Logging(Sender):
        def initiate_send(self) -> None:
            self.log.append("initiate_send")
            super().initiate_send()

    channel = Logging(2, 0)
    for piece in (b"hello", b" ", b"world"):
        channel.send(piece)
    assert channel.log == ["initiate_send"] * 3
    assert drain(channel) == b"hello world"


# `out_buffer` in a class body ---------------------------------------------------------------


class Greeting(Sender):
    out_buffer = b"220 ready\r\n"  # type: ignore[assignment]


class Inherits(Greeting):
    pass


class Other(Greeting):
    out_buffer = bytearray(b"421 busy\r\n")  # type: ignore[assignment]


class Silent(Greeting):
    out_buffer = b""  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("cls", "output"),
    [
        (Greeting, b"220 ready\r\n"),
        (Inherits, b"220 ready\r\n"),
        (Other, b"421 busy\r\n"),
        (Silent, b""),
        (Sender, b""),
    ],
)
def test_every_channel_begins_with_the_classs_out_buffer(cls: type[Sender], output: bytes) -> None:
    first, second = cls(0), cls()
    assert first.out_buffer == second.out_buffer == output
    assert bool(first.writable()) == bool(output)
    first.send(b"more")
    first.send(b"!")
    assert drain(first) == output + b"more!"
    assert second.out_buffer == output  # each has its own
    assert drain(second) == output


def test_it_may_be_assigned_as_ever() -> None:
    channel = Greeting()
    channel.out_buffer = channel.out_buffer + b"more"
    assert drain(channel) == b"220 ready\r\nmore"
    channel.out_buffer = b""
    assert not channel.writable()


def test_the_loop_sends_it(fakes: Fakes) -> None:
    channel = Greeting(map=fakes.engine.map)
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, WRITE))
    fakes.engine.run_pass(0)
    assert channel.socket.output == b"220 ready\r\n"
    fakes.engine.run_pass(0)
    assert not fakes.poller.interest[1000] & WRITE


def test_a_property_of_the_programs_own_is_left_alone() -> None:
    class Own(Sender):
        @property
        def out_buffer(self) -> bytes:  # type: ignore[override]
            return b"mine"

    assert Own().out_buffer == b"mine"
    assert isinstance(Own.__dict__["out_buffer"], property)
