"""Descriptors that are no sockets, as channels."""

from __future__ import annotations

import errno
import gc
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

import asynccore
from asynccore import loop

if sys.platform == "win32":
    pytest.skip("files can't be polled on Windows", allow_module_level=True)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_a_wrapper_works_on_a_duplicate(pipe: tuple[int, int]) -> None:
    reader, writer = (asynccore.file_wrapper(end) for end in pipe)
    assert reader.fileno() not in pipe and reader.fileno() == reader.fd
    assert writer.send(b"hello") == 5
    assert writer.write(b" world") == 6
    assert reader.recv(5) == b"hello"
    assert reader.read(100) == b" world"
    fd = reader.fileno()
    reader.close()
    writer.close()
    with pytest.raises(OSError):
        os.fstat(fd)
    os.fstat(pipe[0])


def test_closing_twice_closes_nobody_elses_number(pipe: tuple[int, int]) -> None:
    wrapper = asynccore.file_wrapper(pipe[0])
    fd = wrapper.fileno()
    wrapper.close()
    assert wrapper.fileno() == -1
    reused = os.dup(pipe[1])
    assert reused == fd
    wrapper.close()
    os.fstat(reused)
    os.close(reused)


def test_a_closed_descriptor_is_refused(pipe: tuple[int, int]) -> None:
    fd = os.dup(pipe[0])
    os.close(fd)
    with pytest.raises(OSError) as caught:
        asynccore.file_wrapper(fd)
    assert caught.value.errno == errno.EBADF
    gc.collect()


def test_a_forgotten_wrapper_warns_and_closes(pipe: tuple[int, int]) -> None:
    wrapper = asynccore.file_wrapper(pipe[0])
    fd = wrapper.fileno()
    with pytest.warns(ResourceWarning, match="unclosed file .*file_wrapper"):
        del wrapper
        gc.collect()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_the_one_option_of_a_file(pipe: tuple[int, int]) -> None:
    wrapper = asynccore.file_wrapper(pipe[0])
    assert wrapper.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    for arguments in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.IPPROTO_TCP, socket.SO_ERROR),
        (socket.SOL_SOCKET, socket.SO_ERROR, 4),
    ):
        with pytest.raises(NotImplementedError, match="a file has no socket option"):
            wrapper.getsockopt(*arguments)
    wrapper.close()


class Reader(asynccore.file_dispatcher):
    def __init__(self, fd: Any, map: Any) -> None:
        self.got: list[bytes] = []
        super().__init__(fd, map)

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        if data := self.recv(100):
            self.got.append(data)

    def handle_close(self) -> None:
        self.got.append(b"end")
        self.close()


@pytest.mark.parametrize("as_object", [False, True])
def test_a_pipe_is_read_to_its_end(poller_name: str, as_object: bool) -> None:
    reader, writer = os.pipe()
    map: dict[int, Any] = {}
    file = open(reader, "rb", buffering=0)
    channel = Reader(file if as_object else reader, map)
    assert channel.connected and not os.get_blocking(reader)
    assert map == {channel._fileno: channel} and channel._fileno != reader
    os.write(writer, b"hello")
    loop(30, map=map, count=1, poller=poller_name)
    os.write(writer, b"bye")
    os.close(writer)
    loop(30, map=map)
    assert channel.got == [b"hello", b"bye", b"end"]
    os.fstat(reader)
    file.close()


def test_a_regular_file_is_always_ready(poller_name: str) -> None:
    map: dict[int, Any] = {}
    with tempfile.TemporaryFile() as file:
        file.write(b"x" * 250)
        file.flush()
        file.seek(0)
        channel = Reader(file, map)
        loop(30, map=map, poller=poller_name)
    assert list(map_lengths(channel.got)) == [100, 100, 50, 3]


def map_lengths(pieces: list[bytes]) -> Iterator[int]:
    return (len(piece) for piece in pieces)


def test_a_pipe_is_written(pipe: tuple[int, int]) -> None:
    map: dict[int, Any] = {}

    class Writer(asynccore.file_dispatcher):
        def readable(self) -> bool:
            return False

        def handle_write(self) -> None:
            assert self.send(b"hello") == 5
            self.close()

    Writer(pipe[1], map)
    loop(30, map=map)
    assert os.read(pipe[0], 100) == b"hello"


def test_a_pipe_without_readers_ends_its_channel(poller_name: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    map: dict[int, Any] = {}
    log: list[Any] = []

    class Writer(asynccore.file_dispatcher):
        def readable(self) -> bool:
            return False

        def handle_write(self) -> None:
            log.append(self.send(b"hello"))

        def handle_close(self) -> None:
            log.append("close")
            self.close()

    Writer(writer, map)
    os.close(writer)
    loop(30, map=map, poller=poller_name)
    assert log == ["close", 0]


def test_nothing_to_read_is_not_the_end(pipe: tuple[int, int]) -> None:
    map: dict[int, Any] = {}
    channel = Reader(pipe[0], map)
    with pytest.raises(BlockingIOError):
        channel.recv(10)
    assert channel.got == []
    channel.close()
