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
from compat.command_line import cli, demo, top, top_rows

if sys.platform == "win32":
    pytest.skip("Windows has no such sockets", allow_module_level=True)

CHANNEL = {
    "fd": 7, "name": "Echo", "address": "127.0.0.1:80", "state": "connected",
    "bytes_received": 5000, "bytes_sent": 100, "pending": 3,
}  # fmt: skip
LISTENER = {
    "fd": 5, "name": "Listener", "address": "0.0.0.0:80", "state": "listening", "accepted": 7,
    "bytes_received": 0, "bytes_sent": 0, "pending": None, "paused": ["resting"],
}  # fmt: skip
MAP = {"poller": "epoll", "passes": 10, "events": 20, "timers": 2, "channels": [CHANNEL, LISTENER]}
LOOK = {"pid": 5, "program": ["python", "x.py"], "maps": [MAP]}


def shown(seen: Any, before: Any = None, seconds: float = 2.0, width: int = 120) -> str:
    from rich.console import Console

    out = io.StringIO()
    looks = [seen], [before] if before else []
    Console(file=out, width=width).print(top.frame(*looks, seconds, width))
    return out.getvalue()


def test_a_frame():
    text = shown(LOOK)
    for part in ("process 5: python x.py", "2 channels", "epoll, 2 timers", "Echo", "5k"):
        assert part in text
    assert text.index("Listener") < text.index("Echo"), "listeners on top"
    assert "0.0.0.0:80 resting" in text


def test_what_fits():
    text = shown(LOOK, width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "127.0.0.1:80" in text and "pending" in text and "5k" not in text


def test_rates():
    channel = {**CHANNEL, "bytes_received": 9000}
    listener = {**LISTENER, "accepted": 107}
    later = {**LOOK, "maps": [{**MAP, "events": 40, "channels": [channel, listener]}]}
    text = shown(later, LOOK)
    assert "events 10/s" in text
    assert " 2k " in text and " 50 " in text
    other = {**LOOK, "maps": [{**MAP, "channels": [{**channel, "address": "other"}]}]}
    assert " 2k " not in shown(other, LOOK)


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
    assert top_rows.amount(number) == text


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
    for package, need in (("rich", top._printer), ("textual", lambda: top._live("1", 1.0))):
        monkeypatch.setattr(top, "find_spec", {"rich": 1, "textual": 1, package: None}.get)
        with pytest.raises(ValueError, match=rf"{package}: pip install 'asynccore\[top\]'"):
            need()


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


def test_without_a_terminal_it_prints(tmp_path, capsys):
    server = watched.Server(tmp_path / "s")

    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    assert top.main(str(tmp_path / "s"), sleep=sleep) == 0
    server.close()
    assert f"process {os.getpid()}" in capsys.readouterr().out


# The screen ------------------------------------------------------------------------------------


def many(count: int, **more: Any) -> dict[str, Any]:
    """A look at a program with so many connections."""
    channels = [
        {**CHANNEL, "fd": 10 + n, "address": f"10.0.0.{n}:5000", "pending": n} for n in range(count)
    ]
    found = {**MAP, "channels": [*channels, LISTENER], "bytes_received": 5000 * count}
    found["classes"] = {"__main__.Echo": [10, 0.5, 0.25], "x.Fast": [3, 0.0003, 0.0001]}
    return {**LOOK, "lag": 0.0021, "maps": [found], **more}


class Looks:
    """What a program answers, one look after the other, the last again and again."""

    def __init__(self, *looks: list[dict[str, Any]]) -> None:
        self._looks = list(looks)

    def __call__(self) -> list[dict[str, Any]]:
        return self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]


def screen_of(app: Any) -> str:
    """The text of the screen, as a terminal would show it."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(part.text for part in line) for line in lines)


def played(looks: Any, size: tuple[int, int], script: Callable[[Any, Any], Any]) -> None:
    import asyncio

    from compat.command_line.top_screen import Screen

    async def play() -> None:
        app = Screen(looks, 1000.0)
        async with app.run_test(size=size) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            await pilot.pause()
            await script(app, pilot)

    asyncio.run(play())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_screen(size):
    async def look(app: Any, pilot: Any) -> None:
        text = screen_of(app)
        lines = text.splitlines()
        assert len(lines) == size[1] and max(map(len, lines)) <= size[0]
        assert "61 channels" in text and "lag 2.1 ms" in text
        assert "Echo: 10 calls, 50 ms each, longest 250 ms" in text
        assert text.index("0.0.0.0:80 resting") < text.index("10.0.0.0:5000")
        assert ("tls" in text) == (size[0] >= 110)
        shown = sum("10.0.0." in line for line in lines)
        assert f"{60 - shown} more · sorted by in/s" in text

    played(Looks([many(60)]), size, look)


def test_the_keys():
    async def press(app: Any, pilot: Any) -> None:
        await pilot.press("s", "s")  # pending comes behind out/s
        assert "sorted by pending" in screen_of(app)
        assert screen_of(app).index("10.0.0.59") < screen_of(app).index("10.0.0.58")
        await pilot.press("slash", *"0.7:")
        text = screen_of(app)
        assert "10.0.0.7:5000" in text and "10.0.0.59" not in text and "with '0.7:'" in text
        await pilot.press("enter", "enter")
        text = screen_of(app)
        assert "descriptor     17 of process 5" in text and "buffered       7" in text
        await pilot.press("escape")
        assert "buffered" not in screen_of(app)
        await pilot.press("p")
        assert app.paused and "paused" in screen_of(app)
        app.refresh_look()  # nothing is asked
        await pilot.press("p")
        app.refresh_look()
        await app.workers.wait_for_complete()
        await pilot.resize_terminal(120, 24)
        await pilot.pause()
        assert "tls" in screen_of(app)
        await pilot.press("q")

    played(Looks([many(60)]), (80, 24), press)


def test_workers_and_the_end():
    from textual.worker import WorkerCancelled

    two = [many(3, pid=5, worker=1), many(2, pid=6, worker=2)]
    bad = {**LOOK, "maps": [{"stuck": ["x.py:3 handle_read"]}, {"error": "boom"}]}

    async def look(app: Any, pilot: Any) -> None:
        text = screen_of(app)
        assert "worker 1, process 5" in text and "worker 2, process 6" in text
        assert text.splitlines()[4].split()[:2] == ["w", "fd"] or " w " in text
        app.refresh_look()
        await app.workers.wait_for_complete()
        await pilot.pause()
        text = screen_of(app)
        assert "the loop does not answer; it is at" in text and "x.py:3 handle_read" in text
        assert "no statistics: boom" in text
        app.refresh_look()
        with contextlib.suppress(WorkerCancelled):  # as all of it is
            await app.workers.wait_for_complete()
        await pilot.pause()
        assert app._exit

    played(Looks(two, [bad], []), (80, 24), look)


def test_details_of_a_channel():
    channel = {
        **CHANNEL, "class": "prog.Echo", "sock": "127.0.0.1:80", "peer": "127.0.0.1:9",
        "tls": "TLSv1.3", "quiet": 2.5, "timeouts": {"idle_timeout": 30.0}, "paused": ["paused"],
    }  # fmt: skip
    found = dict(top_rows.details(top_rows.Row(5, None, channel, {})))
    assert found == {
        "class": "prog.Echo", "descriptor": "7 of process 5", "state": "connected, paused",
        "here": "127.0.0.1:80", "there": "127.0.0.1:9", "TLS": "TLSv1.3", "bytes in": "5,000",
        "bytes out": "100", "buffered": "3", "quiet for": "2.5 s", "idle timeout": "30 s",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (2.5, "2.5 s"), (0.0025, "2.5 ms"), (0.0000026, "3 µs")]
)
def test_durations(seconds, text):
    assert top_rows.duration(seconds) == text


def test_in_a_terminal(user_environment, tmp_path: Path):
    """A pseudo-terminal of 80 times 24: it fills the screen, and q ends it."""
    import fcntl
    import pty
    import struct
    import termios

    user_environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    user_environment["TERM"] = "xterm-256color"
    with echo_server(user_environment, "--top") as program:
        pid = str(program._process.pid)
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        command = [sys.executable, "-m", "asynccore", "top", pid]
        with subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=user_environment
        ) as process:
            os.close(theirs)
            seen = b""
            end = time.monotonic() + demo.PATIENCE
            while b"Listener" not in seen or b"sorted" not in seen:
                assert time.monotonic() < end
                seen += os.read(ours, 65536)
            os.write(ours, b"q")
            with contextlib.suppress(OSError):  # EIO: the other end is closed
                while os.read(ours, 65536):
                    pass
            assert process.wait(demo.PATIENCE) == 0
        os.close(ours)
        assert b"\x1b[24;" in seen or b"Quit" in seen


def test_without_an_argument_it_lists(
    user_environment, tmp_path: Path, python, capsys, monkeypatch
):
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    user_environment.update(env)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "asynccore").mkdir(mode=0o700)
    assert cli.main(["top"]) == 0
    assert "no program can be looked at" in capsys.readouterr().out
    with echo_server(user_environment, "--top") as program:
        assert cli.main(["top"]) == 0
        out = capsys.readouterr().out
        assert f"{program._process.pid:>8}" in out and "echo_server.py 0" in out
        assert cli.main(["top", "--json"]) == 0
        (who,) = json.loads(capsys.readouterr().out)
        assert who["pid"] == program._process.pid and who["worker"] is None


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
        # A dot in the middle of the line stands between the numbers.
        ascii_only = {"PYTHONIOENCODING": "ascii"}
        status, out, err = python(
            *("-m", "asynccore", "top", program._process.pid, "--once"), env=ascii_only
        )
        assert (status, err) == (0, "")
        assert "Listener" in out and "\\xb7" in out


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
