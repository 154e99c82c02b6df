"""Whatever is sent in whatever way, and whatever the socket takes: the same bytes, in order.

Over real sockets, whose plain kind is sent to by other calls than what stands in for one.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EAGAIN, EMSGSIZE
from itertools import cycle
from typing import IO, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccore import dispatcher_with_send
from asynccore.asynchat import async_chat, simple_producer
from asynccore.dispatchers.watermarks import Watermarked
from asynccore.producers import file_producer
from tests.core.fakes import PATIENT, FakeSocket

HIGH, LOW = 20_000, 3_000


class Noting(Watermarked):
    """Notes the hooks, and that they come in turn, with the buffers as they say."""

    def __init__(self, *args: Any) -> None:
        self.hooks: list[str] = []
        super().__init__(*args)

    def handle_pause(self) -> None:
        assert self.hooks[-1:] != ["pause"]
        assert self.high_watermark is not None and self.write_buffer_size > self.high_watermark
        self.hooks.append("pause")

    def handle_resume(self) -> None:
        assert self.hooks[-1:] == ["pause"]
        assert self.low_watermark is not None and self.write_buffer_size <= self.low_watermark
        self.hooks.append("resume")


class Chat(Noting, async_chat):
    ac_out_buffer_size = 5_000


class OwnSend(Chat):
    """Gets what classic asynchat hands to `send`: bytes, so many at most."""

    def send(self, data: Any) -> Any:
        assert type(data) in (bytes, bytearray) and 0 < len(data) <= self.ac_out_buffer_size
        return super().send(data)


class Sender(Noting, dispatcher_with_send):
    pass


class End:
    """The two ends of a connection with little room, and what came out so far."""

    def __init__(self) -> None:
        self.mine, self.peer = socket.socketpair()
        for sock, option in ((self.mine, socket.SO_SNDBUF), (self.peer, socket.SO_RCVBUF)):
            sock.setsockopt(socket.SOL_SOCKET, option, 4_096)
            sock.setblocking(False)
        self.got = bytearray()

    def read(self, size: int) -> None:
        try:
            self.got += self.peer.recv(size)
        except BlockingIOError:
            pass


class FakeEnd:
    """The same without a network: what the socket takes is what the peer reads."""

    def __init__(self) -> None:
        self.mine = FakeSocket()
        self.mine.takes.extend([0] * 3)
        self.peer = FakeSocket()

    def read(self, size: int) -> None:
        self.mine.takes.append(size)

    @property
    def got(self) -> bytes:
        return self.mine.output


@contextmanager
def connected(kind: Any, plain: bool, marked: bool) -> Iterator[tuple[Any, Any]]:
    end: Any = End() if plain else FakeEnd()
    channel = kind(end.mine, {})
    if marked:
        channel.high_watermark = HIGH
        channel.low_watermark = LOW
    try:
        yield channel, end
    finally:
        channel.close()
        end.peer.close()


def check_end(channel: Any, end: Any, expected: bytes, marked: bool) -> None:
    for size in cycle([100_000]):
        if channel._ac_closed or not channel.writable():
            break
        channel.handle_write()
        end.read(size)
    while plain_rest(end, expected):
        end.read(100_000)
    assert bytes(end.got) == expected
    if not marked:
        assert channel.hooks == []
    if channel._ac_closed and channel.hooks[-1:] == ["pause"]:
        channel.hooks.append("resume")  # not told: there is nothing to go on with
    assert channel.hooks == ["pause", "resume"] * (len(channel.hooks) // 2)
    assert not channel._ac_paused


def plain_rest(end: Any, expected: bytes) -> bool:
    before = len(end.got)
    end.read(100_000)
    return before < len(end.got) < len(expected)


SIZES = st.sampled_from([0, 1, 10, 999, 4_000, 5_000, 5_001, 30_000])
OPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["push", "lines", "small", "producer", "file", "show", "append", "array", "view"]
            + ["write", "read"] * 3
        ),
        SIZES,
    ),
    max_size=14,
)


def make(number: int, size: int) -> bytes:
    """Bytes that are found again only in their own place."""
    return (b"%d:" % number * size)[:size]


def as_file(files: list[IO[bytes]], data: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()
    files.append(file)
    file.write(b"before" + data + b"after")
    file.seek(6)
    return file


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("kind", [Chat, OwnSend])
@settings(PATIENT, max_examples=60)
@given(OPS, st.booleans())
def test_chat(kind: Any, plain: bool, ops: list[tuple[str, int]], marked: bool) -> None:
    files: list[IO[bytes]] = []
    expected = b""
    with connected(kind, plain, marked) as (channel, end):
        for number, (how, size) in enumerate(ops):
            data = make(number, size)
            if how == "push":
                channel.push(data)
            elif how == "lines":
                channel.writelines([data, memoryview(data), b"", bytearray(b"!")])
                data += data + b"!"
            elif how == "small":
                channel.writelines(bytes([byte]) for byte in data[:1000])
                data = data[:1000]
            elif how == "producer":
                channel.push_with_producer(simple_producer(data, 700))
            elif how == "file":
                channel.push_with_producer(file_producer(as_file(files, data), count=len(data)))
            elif how in ("append", "array", "view"):
                item = {"append": bytes, "array": bytearray, "view": memoryview}[how](data)
                channel.producer_fifo.append(item)
            else:
                if how == "write":
                    channel.handle_write()
                elif how == "read":
                    end.read(size)
                else:
                    shown = channel.producer_fifo
                    if ("append", 30_000) not in ops and ("append", 5_001) not in ops:
                        assert all(len(item) <= 5_000 for item in shown if type(item) is bytes)
                data = b""
            expected += data
        channel.close_when_done()
        check_end(channel, end, expected, marked)
        assert channel._ac_closed and not channel.producer_fifo
    for file in files:
        file.close()


def test_what_is_left_of_a_piece_is_shown_as_bytes() -> None:
    with connected(Chat, True, False) as (channel, end):
        channel.push(b"x" * 300_000)
        channel.push(b"last")
        shown = channel.producer_fifo
        assert {type(item) for item in shown} == {bytes}
        assert max(map(len, shown)) == channel.ac_out_buffer_size
        left = b"".join(shown)
        channel._ac_fifo.clear()
        end.read(300_000)
        assert bytes(end.got) + left == b"x" * 300_000 + b"last"


def test_a_small_piece_of_which_some_is_left_is_shown_as_bytes() -> None:
    with connected(Chat, True, False) as (channel, _):
        while not channel.writable():
            channel.push(b"x" * channel.ac_out_buffer_size)
        assert not channel._ac_whole
        assert {type(item) for item in channel.producer_fifo} == {bytes}


def test_a_socket_that_took_less_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    offered: list[int] = []
    original = socket.socket.send

    def send(sock: socket.socket, data: Any) -> int:
        offered.append(len(data))
        return original(sock, data)

    monkeypatch.setattr(socket.socket, "send", send)
    with connected(Chat, True, False) as (channel, end):
        channel.push(b"x" * 300_000)
        channel.push(b"more")
        assert offered == [300_000]
        while channel.writable():
            end.read(300_000)
            channel.handle_write()
        assert channel._ac_leftover is None  # or it would keep what was sent in memory


@pytest.mark.parametrize("shown", [True, False])
def test_what_was_sent_is_not_kept(shown: bool) -> None:
    with connected(Chat, True, False) as (channel, end):
        channel.push(b"x" * 300_000)
        channel.socket = other = FakeSocket(end.mine.fileno())
        if shown:
            assert channel.producer_fifo
        channel.handle_write()
        assert channel._ac_leftover is None
        end.read(300_000)
        assert bytes(end.got) + other.output == b"x" * 300_000
        end.mine.close()


def test_a_producer_that_puts_another_socket_in_place() -> None:
    """As `start_tls` does: it may know nothing but `send`."""
    with connected(Chat, True, False) as (channel, end):
        other = FakeSocket(end.mine.fileno())

        class Changes:
            pieces = 2

            def more(self) -> bytes:
                channel.socket = other
                self.pieces -= 1
                return b"secret " if self.pieces >= 0 else b""

        channel._ac_full = True
        channel.push_with_producer(Changes())
        channel.push(b"more")
        channel.push(b"!" * 6_000)
        channel.handle_write()
        assert other.output == b"secret secret more" + b"!" * 6_000
        assert all(len(piece) <= channel.ac_out_buffer_size for piece in other.sent)
        end.mine.close()


SENDS = st.lists(
    st.tuples(
        st.sampled_from(["send", "lines", "small", "show", "assign"] + ["write", "read"] * 3),
        SIZES,
    ),
    max_size=14,
)


@pytest.mark.parametrize("plain", [True, False])
@settings(PATIENT, max_examples=60)
@given(SENDS, st.booleans())
def test_dispatcher_with_send(plain: bool, ops: list[tuple[str, int]], marked: bool) -> None:
    expected = b""
    with connected(Sender, plain, marked) as (channel, end):
        for number, (how, size) in enumerate(ops):
            data = make(number, size)
            if how == "send":
                channel.send(data)
            elif how == "lines":
                channel.writelines([data, memoryview(data), b"", bytearray(b"!")])
                data += data + b"!"
            elif how == "small":
                channel.writelines(bytes([byte]) for byte in data[:1000])
                data = data[:1000]
            elif how == "assign":
                channel.out_buffer = channel.out_buffer + data
            else:
                if how == "write":
                    channel.handle_write()
                elif how == "read":
                    end.read(size)
                else:
                    assert len(channel.out_buffer) == channel.write_buffer_size
                data = b""
            expected += data
        check_end(channel, end, expected, marked)


# Messages -----------------------------------------------------------------------------------


class Messages(FakeSocket):
    """Sends whole messages of up to 9 bytes, when it has room."""

    _ac_keeps_bounds = True

    def _ac_check_message(self, data: bytes) -> None:
        if len(data) > 9:
            raise OSError(EMSGSIZE, "too large")

    def send(self, data: Any) -> int:
        self._ac_check_message(data)
        return super().send(data)


MESSAGES = st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.booleans(), st.booleans()))


@settings(PATIENT)
@given(MESSAGES, st.booleans())
def test_messages_keep_their_bounds(ops: list[tuple[bytes, bool, bool]], chats: bool) -> None:
    """Whenever there is room, and whether or not the program looks at its output meanwhile."""
    sock = Messages()
    channel: Any = (Chat if chats else Sender)(sock, {})
    for data, room, looks in ops:
        sock.takes.extend([] if room else [BlockingIOError(EAGAIN, "no room")])
        (channel.push if chats else channel.send)(data)
        if looks:
            assert channel.producer_fifo is not None if chats else channel.out_buffer is not None
    sock.takes.clear()
    while channel.writable():
        channel.handle_write()
    assert sock.sent == [data for data, _, _ in ops]


def test_a_message_that_never_fits_is_refused_before_it_is_in_the_way() -> None:
    sock = Messages(takes=[BlockingIOError(EAGAIN, "no room")])
    channel = Sender(sock, {})
    channel.send(b"one")
    for _ in range(2):
        with pytest.raises(OSError, match="too large"):
            channel.send(b"0123456789")
        with pytest.raises(OSError, match="too large"):
            channel.out_buffer = b"0123456789"
        channel.handle_write()  # and once more when nothing waits
    channel.send(b"two")
    assert sock.sent == [b"one", b"two"] and not channel.out_buffer
