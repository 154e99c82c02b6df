"""`file_producer`: by sendfile where it can be, by reading where not, the same bytes."""

from __future__ import annotations

import errno
import gzip
import io
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import asynccore
from asynccore.asynchat import async_chat
from asynccore.dispatchers.vectored import CAN_GATHER, IOV_MAX
from asynccore.producers import BUFFER_SIZE, file_producer
from tests.core.fakes import FakeSocket

DATA = bytes(range(256)) * 1200  # more than a socket takes at once

needs_sendfile = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="no os.sendfile here")


class Chat(async_chat):
    errors: Any = ()

    def handle_error(self) -> None:
        import sys

        self.errors = (*self.errors, sys.exc_info()[1])
        self.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def pair() -> Iterator[tuple[Chat, socket.socket]]:
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    peer.setblocking(False)
    chat = Chat(mine, {})
    yield chat, peer
    chat.close()
    peer.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much each os.sendfile() took."""
    counts: list[int] = []
    original = os.sendfile

    def sendfile(*args: Any) -> int:
        count = original(*args)
        counts.append(count)
        return count

    monkeypatch.setattr(os, "sendfile", sendfile)
    return counts


def receive(chat: Chat, peer: socket.socket) -> bytes:
    got = bytearray()
    while True:
        try:
            while piece := peer.recv(100_000):
                got += piece
        except BlockingIOError:
            pass
        if not chat.writable() or chat._ac_closed:
            break
        chat.handle_write()
    return bytes(got)


def read_all(producer: Any) -> bytes:
    return b"".join(iter(producer.more, b""))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.none() | st.integers(0, 30), st.none() | st.integers(0, 30), st.integers(1, 9), st.data())
def test_more(offset: int | None, count: int | None, size: int, draw: st.DataObject) -> None:
    file = io.BytesIO(b"0123456789abcdefghij")
    start = draw.draw(st.integers(0, 20))
    file.seek(start)
    producer = file_producer(file, offset, count, size)
    expected = file.getvalue()[start if offset is None else offset :][:count]
    pieces = list(iter(producer.more, b""))
    assert b"".join(pieces) == expected
    assert all(len(piece) <= size for piece in pieces)
    assert producer.more() == b""
    if offset is None or offset <= 20:
        assert file.tell() == (start if offset is None else offset) + len(expected)


@needs_sendfile
@pytest.mark.parametrize("buffering", [0, -1])
def test_a_file_goes_without_a_copy(buffering: int, path: Path, pair: Any, sent: list[int]) -> None:
    chat, peer = pair
    with open(path, "rb", buffering) as file:
        file.seek(5)
        chat.push(b"before ")
        chat.push_with_producer(file_producer(file, count=len(DATA) - 10))
        chat.push(b" after")
        assert chat.write_buffer_size == len(b" after")
        assert receive(chat, peer) == b"before " + DATA[5:-5] + b" after"
        assert file.tell() == len(DATA) - 5
    assert sum(sent) == len(DATA) - 10 and len(sent) > 1
    assert not chat.errors


@needs_sendfile
def test_over_tcp_and_in_a_loop(path: Path, tcp_pair: Any, sent: list[int]) -> None:
    mine, peer = tcp_pair()
    channels: dict[int, Any] = {}
    mine.setblocking(False)
    peer.setblocking(False)
    chat = Chat(mine, channels)
    got = bytearray()
    with open(path, "rb") as file:
        chat.push_with_producer(file_producer(file, 0))
        chat.close_when_done()
        while channels:
            asynccore.loop(timeout=0, map=channels, count=1)
            try:
                got += peer.recv(100_000)
            except BlockingIOError:
                pass
    peer.setblocking(True)
    while piece := peer.recv(100_000):
        got += piece
    assert bytes(got) == DATA
    assert sum(sent) == len(DATA)


@needs_sendfile
def test_what_was_written_to_the_file_is_sent(path: Path, pair: Any, sent: list[int]) -> None:
    chat, peer = pair
    with open(path, "r+b") as file:
        file.write(b"new")
        chat.push_with_producer(file_producer(file, 0))
        assert receive(chat, peer) == b"new" + DATA[3:]
    assert sum(sent) == len(DATA)


@needs_sendfile
def test_what_is_written_before_it_is_sent_counts_too(path: Path, pair: Any) -> None:
    chat, peer = pair
    with open(path, "r+b") as file:
        producer = file_producer(file, 0)
        file.write(b"new")
        chat.push_with_producer(producer)
        assert receive(chat, peer) == b"new" + DATA[3:]


@needs_sendfile
@pytest.mark.parametrize("code", ["EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOTSOCK"])
def test_what_sendfile_can_not_is_read(
    code: str, path: Path, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, peer = pair
    calls: list[int] = []
    original = os.sendfile

    def sendfile(out: int, fd: int, offset: int, size: int) -> int:
        calls.append(offset)
        if len(calls) > 2:
            raise OSError(getattr(errno, code), code)
        return original(out, fd, offset, 1000)

    monkeypatch.setattr(os, "sendfile", sendfile)
    with open(path, "rb") as file:
        chat.push_with_producer(file_producer(file, 7))
        assert receive(chat, peer) == DATA[7:]
    assert calls == [7, 1007, 2007]


@pytest.mark.parametrize("kind", ["no sendfile", "own send", "fake", "gzip", "wrapped", "bytes"])
def test_other_channels_and_files_are_read(
    kind: str, path: Path, pair: Any, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, peer = pair
    if kind == "no sendfile":
        monkeypatch.delattr(os, "sendfile")
    if kind == "own send":
        chat.send = lambda data: type(chat).send(chat, data)
    if kind == "fake":
        chat = Chat(FakeSocket(), {})
    if kind == "gzip":
        path.write_bytes(gzip.compress(DATA))
    opened: Any = gzip.open(path) if kind == "gzip" else open(path, "rb")
    with opened as file:
        source = io.BufferedReader(Raw(DATA)) if kind == "wrapped" else file
        if kind == "bytes":
            source = io.BytesIO(DATA)
        chat.push_with_producer(file_producer(source))
        got = receive(chat, peer)
    assert (chat.socket.output if kind == "fake" else got) == DATA
    assert sent == []
    chat.close()


class Raw(io.RawIOBase):
    """What a BufferedReader may read from, without a descriptor."""

    def __init__(self, data: bytes) -> None:
        self.data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.data.readinto(buffer)


def test_a_pipe_is_read(pair: Any, sent: list[int]) -> None:
    chat, peer = pair
    out, into = os.pipe()
    os.write(into, b"through a pipe")
    os.close(into)
    with open(out, "rb") as file:
        chat.push_with_producer(file_producer(file))
        assert receive(chat, peer) == b"through a pipe"
    assert sent == []


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no /dev/zero here")
def test_a_device_is_read(pair: Any, sent: list[int]) -> None:
    chat, peer = pair
    with open("/dev/zero", "rb") as file:
        chat.push_with_producer(file_producer(file, count=1000))
        assert receive(chat, peer) == bytes(1000)
    assert sent == []


@needs_sendfile
def test_a_file_that_shrinks_ends_the_output(path: Path, pair: Any) -> None:
    chat, peer = pair
    with open(path, "rb") as file:
        producer = file_producer(file, 0, len(DATA) + 10)
        chat.push_with_producer(producer)
        chat.push(b"end")
        os.truncate(path, 100)
        got = receive(chat, peer)
    # What the kernel was given but has not sent yet are the file's own pages, cut off by now.
    assert got.endswith(b"end") and got[:100] == DATA[:100] and len(got) < len(DATA)
    assert producer.left == 0 and not chat.errors


@needs_sendfile
def test_one_file_for_several_channels(path: Path, pair: Any) -> None:
    """Each producer keeps its place, whoever else moves the file."""
    chat, peer = pair
    with open(path, "rb") as file:
        first, second = file_producer(file, 0), file_producer(file, 100)
        pieces = [(first.more(), second.more()) for _ in range(2)]
        assert b"".join(a for a, _ in pieces) == DATA[: 2 * BUFFER_SIZE]
        assert b"".join(b for _, b in pieces) == DATA[100 : 100 + 2 * BUFFER_SIZE]
        chat.push_with_producer(first)
        assert receive(chat, peer) == DATA[2 * BUFFER_SIZE :]


@needs_sendfile
@pytest.mark.parametrize("how", ["closed", "broken"])
def test_errors_of_the_file_go_to_handle_error(
    how: str, path: Path, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat, _ = pair

    def broken(*args: int) -> int:
        raise OSError(errno.EIO, "broken")

    with open(path, "rb") as file:
        chat.push_with_producer(file_producer(file, 0))
        if how == "broken":
            monkeypatch.setattr(os, "sendfile", broken)
            while not chat.errors:
                receive(chat, pair[1])
            assert [error.errno for error in chat.errors] == [errno.EIO]
            return
    with pytest.raises(ValueError, match="was closed before all of it was sent"):
        receive(chat, pair[1])


@needs_sendfile
def test_a_peer_that_is_gone_closes_the_channel(path: Path, pair: Any) -> None:
    chat, peer = pair
    peer.close()
    with open(path, "rb") as file:
        chat.push_with_producer(file_producer(file))
    assert chat._ac_closed and not chat.errors


@needs_sendfile
def test_sending_a_file_puts_the_timeouts_off(path: Path, pair: Any) -> None:
    chat, peer = pair
    chat.write_timeout = 1000
    chat._ac_times.sent = 0.0
    with open(path, "rb") as file:
        chat.push_with_producer(file_producer(file))
        receive(chat, peer)
    assert chat._ac_times.sent > 0.0


@needs_sendfile
@pytest.mark.parametrize("how", ["sent", "read", "thrown away", "by hand"])
def test_it_closes_the_file_if_asked_to(how: str, path: Path, pair: Any) -> None:
    chat, peer = pair
    file = open(path, "rb")
    producer: Any = file_producer(file, close=True)
    if how == "sent":
        chat.push_with_producer(producer)
        assert receive(chat, peer) == DATA
    elif how == "read":
        assert read_all(producer) == DATA
    elif how == "by hand":
        producer.close()
        producer.close()
    else:
        chat.push_with_producer(producer)
        del producer
        assert not file.closed
        chat.discard_buffers()
    assert file.closed


def test_it_closes_nothing_else(path: Path) -> None:
    with open(path, "rb") as file:
        producer = file_producer(file)
        assert read_all(producer) == DATA
        producer.close()
        del producer
        assert not file.closed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"offset": -1}, ValueError, "offset is at least 0 bytes, not -1"),
        ({"count": -1}, ValueError, "count is at least 0 bytes, not -1"),
        ({"buffer_size": 0}, ValueError, "buffer_size is at least 1 bytes, not 0"),
        ({"buffer_size": None}, TypeError, "buffer_size is a number of bytes, not None"),
        ({"count": 1.5}, TypeError, "count is a number of bytes, not 1.5"),
        ({"offset": True}, TypeError, "offset is a number of bytes, not True"),
    ],
)
def test_nonsense_is_refused(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        file_producer(io.BytesIO(b"x"), close=True, **options)


def test_what_is_no_binary_file_is_refused(path: Path) -> None:
    with open(path, encoding="latin-1") as file, pytest.raises(TypeError, match="binary mode"):
        file_producer(file)
    with pytest.raises(TypeError, match="binary mode"):
        file_producer("name")


def test_a_place_in_what_has_none_is_refused() -> None:
    out, into = os.pipe()
    os.close(into)
    with open(out, "rb") as file, pytest.raises(OSError):
        file_producer(file, offset=3)


# writelines ----------------------------------------------------------------------------------


class Sender(asynccore.dispatcher_with_send):
    pass


@pytest.mark.parametrize("kind", [Sender, Chat])
@pytest.mark.parametrize("size", [10, 5_000])
def test_many_lines_at_once(kind: Any, size: int) -> None:
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    channel = kind(mine, {})
    lines = [bytes([65 + number % 26]) * size for number in range(20)]
    channel.writelines(lines)
    assert channel.write_buffer_size == 0
    assert peer.recv(1_000_000) == b"".join(lines)
    channel.close()
    peer.close()


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_more_lines_than_one_call_takes(kind: Any) -> None:
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    channel = kind(mine, {})
    lines = [b"%07d " % number for number in range(2 * IOV_MAX + 1)]
    channel.writelines(lines)
    got = bytearray(peer.recv(1_000_000))
    while channel.writable():
        channel.handle_write()
        got += peer.recv(1_000_000)
    assert bytes(got) == b"".join(lines)
    channel.close()
    peer.close()


@pytest.mark.skipif(not CAN_GATHER, reason="no sendmsg here")
@pytest.mark.parametrize("kind", [Sender, Chat])
def test_a_call_gets_no_more_than_the_system_takes(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asynccore.dispatchers.buffered.IOV_MAX", 3)
    monkeypatch.setattr("asynccore.dispatchers.output_queue.IOV_MAX", 3)
    counts: list[int] = []
    original = socket.socket.sendmsg

    def sendmsg(sock: socket.socket, pieces: list[bytes]) -> int:
        counts.append(len(pieces))
        return original(sock, pieces)

    monkeypatch.setattr(socket.socket, "sendmsg", sendmsg)
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    channel = kind(mine, {})
    lines = [bytes([65 + number]) * 2_000 for number in range(8)]
    channel.writelines(lines)
    while channel.writable():
        channel.handle_write()
    assert peer.recv(1_000_000) == b"".join(lines)
    assert counts == [3, 3, 2]
    channel.close()
    peer.close()


@pytest.mark.parametrize("kind", [Sender, Chat])
@pytest.mark.parametrize("lines", [[b"good", "bad"], [b"good", 5], [None]])
def test_nothing_is_sent_if_one_line_is_wrong(kind: Any, lines: Any) -> None:
    channel = kind(FakeSocket(), {})
    with pytest.raises(TypeError):
        channel.writelines(lines)
    assert channel.socket.sent == [] and channel.write_buffer_size == 0


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_a_full_socket_is_not_tried_again(kind: Any) -> None:
    channel = kind(FakeSocket(takes=[0, 1]), {})
    channel.writelines([b"a", b"b"])
    channel.writelines([b"c", b"d"])
    assert channel.socket.sent == [b""] and channel.write_buffer_size == 4


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_small_lines_are_joined(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each piece of a sendmsg() the kernel takes as long as for copying a kilobyte."""
    monkeypatch.setattr(socket.socket, "sendmsg", None, raising=False)
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    channel = kind(mine, {})
    channel.writelines([b"abc"] * 100)
    assert peer.recv(1_000) == b"abc" * 100
    channel.close()
    peer.close()


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_no_lines_are_nothing(kind: Any) -> None:
    channel = kind(FakeSocket(), {})
    channel.writelines([])
    channel.writelines([b""])
    assert channel.socket.sent == [] and not channel.writable()


def test_a_send_of_the_programs_own_gets_them_joined() -> None:
    class Loud(asynccore.dispatcher_with_send):
        def send(self, data: Any) -> None:
            super().send(data.upper())

    channel = Loud(FakeSocket(), {})
    channel.writelines([b"a", b"b"])
    assert channel.socket.sent == [b"AB"]


def test_an_initiate_send_of_the_programs_own_decides() -> None:
    class Held(asynccore.dispatcher_with_send):
        def initiate_send(self) -> None:
            pass

    channel = Held(FakeSocket(), {})
    channel.writelines([b"a", b"b"])
    assert channel.socket.sent == [] and channel.out_buffer == b"ab"


def test_without_a_map_they_wait() -> None:
    channel = asynccore.dispatcher_with_send()
    channel.set_socket(FakeSocket(takes=[0]), {})
    channel._ac_engine = None
    channel.writelines([b"a", b"b"])
    assert channel.out_buffer == b"ab"
    chat = async_chat()
    chat.writelines([b"a", b"b"])
    assert list(chat.producer_fifo) == [b"a", b"b"]


def test_debug_says_what_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    channel = Sender(FakeSocket(), {})
    channel.debug = True
    channel.writelines([b"a", b"b"])
    assert capsys.readouterr().out == "info: sending b'ab'\n"


def test_a_gathered_send_to_a_peer_that_is_gone() -> None:
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    channel = Sender(mine, {})
    peer.close()
    channel.writelines([b"x" * 5000] * 3)
    assert channel._ac_closed


def test_a_gathered_send_puts_the_timeouts_off() -> None:
    mine, peer = socket.socketpair()
    mine.setblocking(False)
    channel = Sender(mine, {})
    channel.idle_timeout = 1000
    assert channel._ac_times is not None
    channel._ac_times.sent = 0.0
    channel.writelines([b"x" * 5000] * 3)
    assert channel._ac_times.sent > 0.0
    channel.close()
    peer.close()
