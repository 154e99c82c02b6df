"""`file_dispatcher`: pipes, event counters, what stands for the standard input, regular files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from tests.corners.support import Noting, drive, is_open, passes, run_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file_dispatcher on Windows")

if sys.platform != "win32":

    class Input(Noting, asynccore.file_dispatcher):
        received = b""

        def writable(self) -> bool:
            return False

        def handle_read(self) -> None:
            data = self.recv(4096)
            self.received += data

        def handle_connect(self) -> None:
            raise AssertionError("a file is connected from the beginning")

    class Output(Noting, asynccore.file_dispatcher):
        rest = b""

        def readable(self) -> bool:
            return False

        def writable(self) -> bool:
            return bool(self.rest)

        def handle_write(self) -> None:
            self.rest = self.rest[self.send(self.rest) :]


@pytest.fixture
def pipe() -> Iterator[Callable[[], tuple[int, int]]]:
    made: list[int] = []

    def make() -> tuple[int, int]:
        ends = os.pipe()
        made.extend(ends)
        return ends

    yield make
    for fd in made:
        if is_open(fd):
            os.close(fd)


def test_both_ends_of_a_pipe(channels: Any, engine: str, pipe: Any) -> None:
    reader, writer = pipe()
    source, sink = Input(reader, channels), Output(writer, channels)
    assert source.connected
    os.close(reader)
    os.close(writer)
    data = sink.rest = os.urandom(1 << 18)
    drive(lambda: len(source.received) == len(data), channels, engine)
    assert source.received == data
    sink.close()
    drive(lambda: source.events, channels, engine)
    assert source.events == ["close"] and not channels


def test_the_reader_of_a_pipe_goes(channels: Any, engine: str, pipe: Any) -> None:
    reader, writer = pipe()
    sink = Output(writer, channels)
    os.close(reader)
    sink.rest = b"to nobody"
    drive(lambda: sink.events, channels, engine)
    assert sink.events == ["close"] and not channels


def test_the_original_descriptor_stays_open(channels: Any, pipe: Any) -> None:
    reader, _ = pipe()
    channel = Input(reader, channels)
    assert list(channels) != [reader] and not os.get_blocking(reader)
    channel.close()
    channel.close()
    assert is_open(reader) and not channels


def test_an_object_with_a_fileno(channels: Any, engine: str, pipe: Any) -> None:
    reader, writer = pipe()
    with os.fdopen(os.dup(reader), "rb") as file:
        channel = Input(file, channels)
    os.write(writer, b"x")
    drive(lambda: channel.received, channels, engine)


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="eventfd is Linux's")
def test_an_eventfd(channels: Any, engine: str) -> None:
    counter = os.eventfd(0)
    try:
        channel = Input(counter, channels)
        passes(channels, engine)
        assert channel.received == b""
        os.eventfd_write(counter, 3)
        drive(lambda: channel.received, channels, engine)
        assert int.from_bytes(channel.received, sys.byteorder) == 3
    finally:
        os.close(counter)


def test_a_regular_file_is_always_ready(channels: Any, engine: str, tmp_path: Path) -> None:
    """epoll refuses such files; select() says they are ready, and at the end read nothing."""
    path = tmp_path / "data"
    path.write_bytes(b"line\n" * 2000)
    with path.open("rb") as file:
        channel = Input(file, channels)
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert channel.received == b"line\n" * 2000 and channel.events == ["close"]


def test_writing_a_regular_file(channels: Any, engine: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        sink = Output(file, channels)
    sink.rest = b"entry\n"
    drive(lambda: not sink.rest, channels, engine)
    assert path.read_bytes() == b"entry\n"


def test_the_standard_input(poller_name: str) -> None:
    script = """
        import os, sys, asynccore
        reader, writer = os.pipe()
        os.dup2(reader, 0)
        os.write(writer, b"typed")
        os.close(writer)
        class Keyboard(asynccore.file_dispatcher):
            def writable(self):
                return False
            def handle_read(self):
                sys.stdout.write(self.recv(100).decode())
            def handle_close(self):
                self.close()
        Keyboard(sys.stdin)
        asynccore.loop(timeout=5)
    """
    assert run_script(script, poller_name) == "typed"


def test_a_closed_descriptor_is_refused(channels: Any, pipe: Any) -> None:
    reader, _ = pipe()
    os.close(reader)
    with pytest.raises(OSError):
        Input(reader, channels)
    assert not channels
