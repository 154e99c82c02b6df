"""`asynccore top`: what it shows, and a real program that it looks at."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asynccore.monitoring import server as watched
from compat.command_line import cli, demo, top

if sys.platform == "win32":
    pytest.skip("Windows has no such sockets", allow_module_level=True)

CHANNEL = {
    "fd": 7, "name": "Echo", "address": "127.0.0.1:80", "state": "connected",
    "bytes_received": 5000, "bytes_sent": 100, "pending": 3,
}  # fmt: skip
MAP = {"poller": "epoll", "passes": 10, "events": 20, "timers": 2, "channels": [CHANNEL]}
LOOK = {"pid": 5, "program": ["python", "x.py"], "maps": [MAP]}


def shown(seen: object, before: object = None, seconds: float = 2.0) -> str:
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=120).print(top.frame(seen, before, seconds))  # type: ignore[arg-type]
    return out.getvalue()


def test_a_frame():
    text = shown(LOOK)
    for part in ("process 5: python x.py", "1 channels", "poller epoll", "timers 2", "Echo", "5k"):
        assert part in text


def test_rates():
    channel = {**CHANNEL, "bytes_received": 9000}
    later = {**LOOK, "maps": [{**MAP, "passes": 30, "channels": [channel]}]}
    text = shown(later, LOOK)
    assert "passes 30 (10/s)" in text
    assert "2k" in text
    other = {**LOOK, "maps": [{**MAP, "channels": [{**channel, "address": "other"}]}]}
    assert "2k" not in shown(other, LOOK)


def test_what_is_wrong_is_shown():
    text = shown({**LOOK, "maps": [{"stuck": ["x.py:3 handle_read"]}, {"error": "boom"}]})
    assert "the loop does not answer" in text
    assert "x.py:3 handle_read" in text
    assert "no statistics: boom" in text
    assert "no channels" in shown({**LOOK, "maps": []})


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, ""), (0, "0"), (999, "999"), (1000, "1k"), (2.5e6, "2.5M"), (1e18, "1e+03P")],
)
def test_amounts(number, text):
    assert top.amount(number) == text


def test_nothing_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert cli.main(["top", "1", "--once"]) == 1
    assert "asynccore run --top" in capsys.readouterr().err
    assert cli.main(["top", "x", "--interval", "0"]) == 2
    tmp_path.chmod(0o755)
    (tmp_path / "s").touch()
    assert cli.main(["top", str(tmp_path / "s")]) == 1
    assert "is open to others" in capsys.readouterr().err


def test_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(ValueError, match=r"pip install 'asynccore\[top\]'"):
        top._need_rich()


def test_until_the_program_ends(tmp_path, capsys):
    server = watched.Server(tmp_path / "s")
    assert top.main(str(tmp_path / "s"), once=True) == 0
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 2:
            server.close()

    assert top.main(str(tmp_path / "s"), 0.5, as_json=True, sleep=sleep) == 0
    assert sleeps == [0.5, 0.5]
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["pid"] for line in lines[-2:]] == [os.getpid()] * 2


def test_live(tmp_path, capsys):
    server = watched.Server(tmp_path / "s")

    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    assert top.main(str(tmp_path / "s"), sleep=sleep) == 0
    server.close()
    assert f"process {os.getpid()}" in capsys.readouterr().out


@contextlib.contextmanager
def echo_server(env: dict[str, str], place: str) -> Iterator[Any]:
    """Run the example with `--top` at a place."""
    script = str(demo.examples() / "echo_server.py")
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "asynccore", "run", place, script, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    ) as process:
        program = demo.Program(process)
        try:
            program.listen()
            with program.connect() as client:
                client.sendall(b"hello")  # what comes back shows that the loop runs
                assert client.recv(5, socket.MSG_WAITALL) == b"hello"
                yield program
        finally:
            program.kill()


def test_a_real_program(user_environment, tmp_path: Path, python):
    user_environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    with echo_server(user_environment, "--top") as program:
        status, out, err = python("-m", "asynccore", "top", program._process.pid, "--once")
        assert (status, err) == (0, "")
        assert "Listener" in out
        assert "Echo" in out


@pytest.mark.skipif(sys.platform != "linux", reason="TIOCOUTQ of Unix sockets is Linux'")
def test_a_program_that_is_interrupted_twice(user_environment, tmp_path: Path):
    """At the second Ctrl-C it waits for the end of somebody's request."""
    import fcntl
    import termios

    tmp_path.chmod(0o700)
    path = tmp_path / "s"
    with echo_server(user_environment, f"--top={path}") as program:
        with socket.socket(socket.AF_UNIX) as slow:
            slow.connect(str(path))
            slow.sendall(b"statis")
            _until(lambda: fcntl.ioctl(slow, termios.TIOCOUTQ, b"1234") == bytes(4))  # it was read
            program._process.send_signal(signal.SIGINT)
            assert program.line() == "stopped"
            _until(lambda: not path.exists())
            program._process.send_signal(signal.SIGINT)
            assert program._process.wait(demo.PATIENCE) == 0
            with pytest.raises(demo.Mismatch, match="the program ended"):
                program.line()


def _until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + demo.PATIENCE
    while not reached():
        assert time.monotonic() < end
