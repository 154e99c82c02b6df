"""Output that can't be written: an ASCII terminal, a broken pipe, a full disk, no stream."""

from __future__ import annotations

import errno
import io
import logging
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import ExitNow, smtpd

ROOT = Path(__file__).parents[2]


class Failing:
    """A stream that raises whenever something is written to it."""

    def __init__(self, why: BaseException) -> None:
        self.why = why

    def write(self, text: str) -> int:
        raise self.why


def closed() -> Any:
    stream = io.StringIO()
    stream.close()
    return stream


def ascii_only() -> Any:
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", line_buffering=True)


STREAMS: dict[str, Callable[[], Any]] = {
    "ASCII": ascii_only,
    "EPIPE": lambda: Failing(BrokenPipeError(errno.EPIPE, "Broken pipe")),
    "ENOSPC": lambda: Failing(OSError(errno.ENOSPC, "No space left on device")),
    "EIO": lambda: Failing(OSError(errno.EIO, "the terminal has gone")),
    "closed": closed,
    "None": lambda: None,
    "no stream at all": object,
}


@pytest.fixture(params=STREAMS)
def broken(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    stream = STREAMS[request.param]()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


class Wordy(asynccore.dispatcher):
    """Says what it receives, by the method `how`."""

    how = "log_info"

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        text = self.recv(100).decode()
        if text == "end":
            self.close()
        elif self.how == "handle_error":
            raise ValueError(text)
        else:
            getattr(self, self.how)(text)

    def handle_close(self) -> None:
        self.log_info("it is over \u2026")
        self.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.mark.parametrize("how", ["log_info", "log", "handle_error"])
def test_what_a_client_sends_is_said_as_it_can_be(broken: Any, pair: Any, how: str) -> None:
    map: dict[Any, Any] = {}
    channel = Wordy(pair[0], map)
    channel.how = how
    pair[1].send("naïve \u2028 \U0001f600".encode())
    asynccore.loop(0.1, map=map, count=1)
    if how != "handle_error":
        assert map, "the channel goes on"
        pair[1].send(b"end")
        asynccore.loop(0.1, map=map, count=1)
    assert not map


def test_what_can_not_be_encoded_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ascii_only()
    monkeypatch.setattr(sys, "stdout", stream)
    asynccore.dispatcher().log_info("caf\xe9 \u2028")
    assert stream.buffer.getvalue() == b"info: caf\\xe9 \\u2028\n"


def test_lone_surrogates(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", line_buffering=True)
    monkeypatch.setattr(sys, "stderr", stream)
    asynccore.dispatcher().log(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert stream.buffer.getvalue() == b"log: caf\\udce9\n"


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Nameless(Wordy):
    def __repr__(self) -> str:
        raise RuntimeError("no name")

    def handle_read(self) -> None:
        raise Speechless


def test_an_exception_that_can_not_be_put_in_words(pair: Any, capsys: Any) -> None:
    map: dict[Any, Any] = {}
    Nameless(pair[0], map)
    pair[1].send(b"x")
    asynccore.loop(0.1, map=map, count=1)
    assert not map
    assert "Speechless" in capsys.readouterr().out


def test_what_a_callback_raises_ends_no_loop(broken: Any) -> None:
    map = asynccore.ChannelMap()
    ran: list[int] = []

    def fail(number: int) -> None:
        ran.append(number)
        raise ValueError("caf\xe9")

    asynccore.call_later(0, fail, 1, map=map)
    asynccore.call_soon_threadsafe(fail, 2, map=map)
    asynccore.call_later(0.01, fail, 3, map=map)
    asynccore.loop(map=map, until_idle=True)
    assert sorted(ran) == [1, 2, 3]


def test_a_warning_of_the_package_ends_no_loop(broken: Any) -> None:
    map = asynccore.ChannelMap()
    asynccore.warn_slow_handlers(0.0, map=map)
    asynccore.call_later(0, lambda: None, map=map)
    asynccore.loop(map=map, until_idle=True)
    asynccore.warn_slow_handlers(None, map=map)


def test_a_logger_whose_handler_fails(pair: Any, capsys: Any) -> None:
    class Bad(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise ValueError("I/O operation on closed file")

    logger = logging.Logger("bad")
    logger.addHandler(Bad())
    asynccore.use_logging(logger)
    try:
        map: dict[Any, Any] = {}
        Nameless(pair[0], map)
        pair[1].send(b"x")
        asynccore.call_later(0, Speechless("x").__str__, map=map)
        asynccore.loop(0.1, map=map, until_idle=True)
    finally:
        asynccore.use_logging(None)
    assert not map


@pytest.mark.parametrize("why", [ExitNow(), KeyboardInterrupt(), SystemExit()])
def test_what_leaves_the_loop_leaves_it_from_a_stream_too(
    why: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Failing(why))
    with pytest.raises(type(why)):
        asynccore.dispatcher().log_info("x")


def test_a_debugging_server_takes_what_it_can_not_print(broken: Any) -> None:
    server = smtpd.DebuggingServer(("127.0.0.1", 0), None, map={})
    try:
        server.process_message(("192.0.2.1", 1), "a@b", ["c@d"], "S: \xe9\n\n\u2026\n")
    finally:
        server.close()


@pytest.mark.skipif(sys.platform == "win32", reason="dup2 of a pipe")
@pytest.mark.parametrize("how", ["pipe", "full", "closed", "none"])
def test_the_descriptors_themselves(how: str) -> None:
    if how == "full" and not os.path.exists("/dev/full"):
        pytest.skip("this platform has no /dev/full")
    program = f"""
        import os, socket, sys
        import asynccore
        out = os.dup(1)
        how = {how!r}
        if how == "pipe":
            r, w = os.pipe()
            os.dup2(w, 1), os.dup2(w, 2), os.close(r), os.close(w)
        elif how == "full":
            fd = os.open("/dev/full", os.O_WRONLY)
            os.dup2(fd, 1), os.dup2(fd, 2)
        elif how == "closed":
            sys.stdout.close(), sys.stderr.close()
        else:
            sys.stdout = sys.stderr = None
        a, b = socket.socketpair()
        class C(asynccore.dispatcher):
            def writable(self): return False
            def handle_read(self): self.log_info("x" * 100000); self.log("y"); 1 / 0
            def handle_error(self): super().handle_error(); os.write(out, b"told")
        C(a)
        b.send(b"x")
        asynccore.call_later(0, lambda: 1 / 0)
        asynccore.loop()
        os.write(out, b", over")
        os._exit(0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == b"told, over"
