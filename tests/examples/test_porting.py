"""The two programs that are ported step by step: every step does the same, for real clients.

And the page that tells the story says what the steps say.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pages.page import PART
from tests.project.checkout import ROOT

EXAMPLES = ROOT / "examples"
PAGE = ROOT / "docs" / "porting.md"

# A bound for what hangs, in seconds; all of it takes a fraction of one.
PATIENCE = 60.0

# The classic steps say on 3.10 and 3.11 that their modules will go.
QUIET: tuple[str, ...] = ("-W", "ignore::DeprecationWarning")
if sys.version_info < (3, 11):
    # Up to 3.10, Ctrl-C interrupts asyncio anywhere, also while it closes a connection.
    QUIET += ("-W", "ignore::ResourceWarning")

RUN = ("-m", "asynccore", "run")
STEPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "porting_asyncio": (
        ("step0_classic.py",),
        (*RUN, "step0_classic.py"),
        (*RUN, "--engine", "asyncio", "step0_classic.py"),
        ("step2_attached.py",),
        ("step3_status_ported.py",),
        ("step4_ported.py",),
    ),
    "porting_twisted": (
        ("step0_classic.py",),
        (*RUN, "step0_classic.py"),
        (*RUN, "--engine", "twisted", "step0_classic.py"),
        ("step2_attached.py",),
        ("step3_feed_ported.py",),
        ("step4_ported.py",),
    ),
}


def every_step(folder: str) -> Any:
    return pytest.mark.parametrize(
        "command", STEPS[folder], ids=lambda command: " ".join(command[-3:])
    )


Running = Callable[..., Any]


@pytest.fixture
def running() -> Running:
    """Return what runs a step: folder, command and more arguments than the two ports."""
    ours = ("PYTHON", "ASYNCCORE")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    env["PYTHONPATH"] = str(ROOT)
    return functools.partial(started, env)


@contextmanager
def started(
    env: dict[str, str], folder: str, command: tuple[str, ...], *arguments: str
) -> Iterator[list[int]]:
    """Start a step on free ports, which are returned in the order of its arguments."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-u", *QUIET, *command, "0", "0", *arguments],
        cwd=EXAMPLES / folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        told = dict(process.stdout.readline().strip().split(" on port ") for _ in range(2))
        first = "Client" if "Client" in told else "Subscriber"
        yield [int(told.pop(first)), *map(int, told.values())]
        if sys.platform != "win32":  # where a child can't be interrupted alone
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            assert (process.returncode, out, err) == (0, "stopped\n", "")
    finally:
        process.kill()
        process.communicate()
        watchdog.cancel()
        watchdog.join()


class Line:
    """A client that talks in lines."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.file.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self) -> bytes:
        return self.file.readline().rstrip(b"\r\n")

    def ask(self, line: bytes) -> bytes:
        self.send(line + b"\r\n")
        return self.hear()


# -- the notes ----------------------------------------------------------------------------------


@every_step("porting_asyncio")
def test_notes(running: Running, command: tuple[str, ...]) -> None:
    with running("porting_asyncio", command) as (port, status_port):
        with Line(port) as ann, Line(port) as bob:
            assert ann.ask(b"watch") == b"ok"
            assert bob.ask(b"put milk two litres") == b"ok"
            assert ann.hear() == b"* milk two litres"
            assert ann.ask(b"get milk") == b"two litres"
            assert ann.ask(b"get bread") == b"?"
            assert ann.ask(b"sing") == b"what?"
            # In pieces, and several in one.
            bob.send(b"ge")
            bob.send(b"t milk\r")
            bob.send(b"\nget bread\r\nget milk\r\n")
            assert [bob.hear() for _ in range(3)] == [b"two litres", b"?", b"two litres"]
            with Line(status_port) as status:
                assert status.file.read() == b"1 notes, 1 watchers\r\n"
            # A long one arrives whole, at the watcher's too.
            text = b"x" * 3000
            assert bob.ask(b"put long " + text) == b"ok"
            assert ann.hear() == b"* long " + text
            ann.send(b"quit\r\nget milk\r\n")
            assert ann.file.read() == b""
            bob.send(b"quit\r\n")
            assert bob.file.read() == b""
        assert until(b"2 notes, 0 watchers\r\n", lambda: look(status_port))


@every_step("porting_asyncio")
def test_old_notes_are_forgotten(running: Running, command: tuple[str, ...]) -> None:
    with running("porting_asyncio", command, "0") as (port, _):
        with Line(port) as ann:
            assert ann.ask(b"put milk two litres") == b"ok"
            assert until(b"?", lambda: ann.ask(b"get milk"))
            ann.send(b"quit\r\n")
            assert ann.file.read() == b""


def look(port: int) -> bytes:
    with Line(port) as client:
        return client.file.read()


def until(wanted: bytes, ask: Callable[[], bytes]) -> bool:
    """Ask until the answer is the wanted one; the watchdog ends a program that never says it."""
    while ask() != wanted:
        pass
    return True


# -- the ticker ---------------------------------------------------------------------------------

needs_twisted = pytest.mark.skipif(
    importlib.util.find_spec("twisted") is None,
    reason="Twisted is not installed",
)


@needs_twisted
@every_step("porting_twisted")
def test_ticker(running: Running, command: tuple[str, ...]) -> None:
    with running("porting_twisted", command) as (port, udp_port):
        with Line(port) as ann, Line(port) as bob, socket.socket(type=socket.SOCK_DGRAM) as probe:
            probe.connect(("127.0.0.1", udp_port))
            assert ann.ask(b"follow wind") == b"ok"
            assert bob.ask(b"follow rain") == b"ok"
            probe.send(b"wind=7\n")
            assert ann.hear() == b"wind=7"
            probe.send(b"rain=0.2")
            assert bob.hear() == b"rain=0.2"
            assert bob.ask(b"last wind") == b"7"
            assert bob.ask(b"last sun") == b"?"
            assert bob.ask(b"sing") == b"what?"
            ann.send(b"la")
            ann.send(b"st rain\r\nlast wind\r\n")
            assert [ann.hear(), ann.hear()] == [b"0.2", b"7"]
            ann.send(b"quit\r\n")
            assert ann.file.read() == b""
            probe.send(b"wind=8")
            probe.send(b"rain=0.3")
            assert bob.hear() == b"rain=0.3"
            bob.send(b"quit\r\n")
            assert bob.file.read() == b""


# -- the page -----------------------------------------------------------------------------------


def excerpts() -> list[tuple[str, str]]:
    """Return the pieces of programs that the page shows, each with the file that it says before."""
    return PART.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("file", "text"), excerpts())
def test_the_page_shows_what_the_steps_say(file: str, text: str) -> None:
    assert unindented(text) in unindented((ROOT / file).read_text())


def unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"


@pytest.mark.parametrize("folder", STEPS)
def test_the_page_names_every_step_and_how_it_is_run(folder: str) -> None:
    page = PAGE.read_text()
    steps = {path.name for path in (EXAMPLES / folder).glob("*.py")}
    assert steps == {command[-1] for command in STEPS[folder]}
    for command in STEPS[folder]:
        words = [f"examples/{folder}/{word}" if word in steps else word for word in command]
        shown = " ".join(words).replace("-m asynccore run", "asynccore run")
        if words[0] != "-m":
            shown = f"python {shown}"
        assert re.search(rf"^\$ {re.escape(shown)}$", page, re.M), shown


@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("porting_*/step4*.py")), ids=lambda path: path.parent.name
)
def test_the_last_step_is_without_us(path: Path) -> None:
    source = path.read_text()
    for name in ("asyncore", "asynchat", "asynccore", "compat"):
        assert name not in source
