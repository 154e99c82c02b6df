"""A log in place of the classic printing: what a line says, and what it survives."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import logs, worker
from asynccore.monitoring import log_output

VARIABLES = {
    "level": logs.LEVEL_VARIABLE,
    "file": logs.FILE_VARIABLE,
    "format": logs.FORMAT_VARIABLE,
}


@pytest.fixture(autouse=True)
def printed_again() -> Iterator[None]:
    yield
    if logs._log is not None:
        for handler in logs._log.handlers:
            handler.close()
    logs.use_log(None)


def begin(**options: Any) -> None:
    log_output.begin({VARIABLES[name]: str(value) for name, value in options.items()})


@pytest.fixture
def channel(new_map: Any, tcp_pair: Any) -> Any:
    class Echo(asynccore.dispatcher):
        pass

    ours, theirs = tcp_pair()
    found = Echo(ours, new_map)
    host, port = theirs.getsockname()
    found.peer = f"{host}:{port}"  # type: ignore[attr-defined]
    return found


def test_without_it_all_is_as_ever(channel: Any, capsys: Any) -> None:
    channel.log_info("one")
    channel.log_info("two", "warning")
    channel.log("three")
    logs.warn("four")
    assert capsys.readouterr() == ("info: one\n", "log: three\nwarning: four\n")


def test_lines_of_text(channel: Any, capsys: Any, monkeypatch: Any) -> None:
    begin(level="info")
    channel.log_info("one")
    channel.log_info("two", "warning")
    channel.log_info("not this", "debug")
    channel.log("three")
    monkeypatch.setattr(worker, "present", worker.Place(7, socket.socket(), []))
    logs.warn("four")
    worker.present._parent.close()  # type: ignore[union-attr]
    out, err = capsys.readouterr()
    assert out == ""
    lines = [line.split(" ", 1) for line in err.splitlines()]
    assert all(time[10] == "T" and time[-6] in "+-" for time, _ in lines)
    pid = os.getpid()
    assert [rest for _, rest in lines] == [
        f"info - {pid} Echo {channel.peer} one",
        f"warning - {pid} Echo {channel.peer} two",
        f"info - {pid} Echo {channel.peer} three",
        f"warning 7 {pid} - - four",
    ]


def test_lines_of_json_in_a_file_that_moves(channel: Any, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "log"
    begin(format="json", file=file, level="debug")
    channel.log_info("one\x1b[2J\n{", "debug")
    if sys.platform != "win32":
        file.rename(tmp_path / "log.1")
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError:
        logs.report_callback("callback")
    written = "".join(found.read_text() for found in (tmp_path / "log.1", file) if found.exists())
    one, two = map(json.loads, written.splitlines())
    assert one.pop("time")
    assert one == {
        "level": "debug",
        "process": os.getpid(),
        "channel": "Echo",
        "peer": channel.peer,
        "message": "one\x1b[2J\n{",
    }
    assert two["level"] == "error"
    assert two["exception"].endswith("ZeroDivisionError: division by zero")
    assert capsys.readouterr() == ("", "")


def test_one_message_is_one_line_of_text(capsys: Any) -> None:
    begin(format="text")
    logs.warn("a\r\n2026-01-01 error\x1b[2J\x7f\tb")
    assert capsys.readouterr().err.endswith(
        f"warning - {os.getpid()} - - a\\r\\n2026-01-01 error\\x1b[2J\\x7f\tb\n"
    )
    try:
        raise ZeroDivisionError("division by zero")
    except ZeroDivisionError:
        logs.report_callback("callback")
    assert "\nTraceback (most recent call last):\n" in capsys.readouterr().err


class Ascii:
    encoding = "ascii"
    written = ""

    def write(self, text: str) -> None:
        text.encode("ascii")
        self.written += text

    def flush(self) -> None:
        pass


class Closed(Ascii):
    def write(self, text: str) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("logged", [False, True])
def test_a_stream_that_can_t_take_it_ends_nothing(
    logged: bool, channel: Any, monkeypatch: Any
) -> None:
    if logged:
        begin()
    taking = Ascii()
    for stream in (taking, Closed(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        channel.log_info("grüße \udcff")
        channel.log("grüße")
        logs.warn("grüße")
    assert taking.written.count("gr\\xfc\\xdfe") == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"level": "loud"}, "unknown log level 'loud': choose from debug, info, warning, error"),
        ({"format": "xml"}, "unknown log format 'xml': choose from text, json"),
        ({"file": "/no/such/folder/log"}, "No such file or directory"),
    ],
)
def test_what_can_t_be(options: Any, error: str, capsys: Any) -> None:
    with pytest.raises((ValueError, OSError), match=error):
        begin(**options)
    log_output.enter({VARIABLES[name]: value for name, value in options.items()})
    assert logs.printing
    assert capsys.readouterr().err.startswith("warning: no log: ")


def test_use_logging_stays_beside_it(channel: Any, capsys: Any) -> None:
    heard: list[Any] = []

    class Logger:
        def log(self, *args: Any) -> None:
            heard.append(args)

    begin()
    asynccore.use_logging(Logger())  # type: ignore[arg-type]
    try:
        channel.log_info("one")
    finally:
        asynccore.use_logging(None)
    assert heard == [(20, "%s", "one")]
    assert "one" in capsys.readouterr().err
