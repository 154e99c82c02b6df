"""Ends and replacements of real programs, under load: nobody is refused or cut."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from compat.command_line import demo
from tests.ports import held_ports

if sys.platform == "win32":
    pytest.skip("Windows has no signals that a program gets", allow_module_level=True)

# A bound for what should take a moment; a test that reaches it fails.
PATIENCE = 60.0

ECHO = str(demo.examples() / "echo_server.py")


class Program:
    """A program under `asynccore run`, and what it printed, to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log

    def said(self, text: str, times: int = 1) -> list[str]:
        """Wait until a pattern was printed so often, and return what was found."""
        end = time.monotonic() + PATIENCE
        while len(found := re.findall(text, self.log.read_text("utf-8", "replace"))) < times:
            assert time.monotonic() < end, f"{text!r} was not said: {self.log.read_text()}"
            assert self.process.poll() is None or time.monotonic() < end - PATIENCE + 5
            time.sleep(0.01)
        return found

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)


@pytest.fixture
def run(tmp_path: Path, user_environment: dict[str, str]) -> Iterator[Callable[..., Program]]:
    """Run the command line; what is left of it is killed afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object) -> Program:
        log = tmp_path / f"log{len(started)}"
        with open(log, "wb") as out:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-u", "-m", "asynccore", "run", *map(str, arguments)],
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    cwd=tmp_path,
                    env=user_environment,
                )
            )
        return Program(started[-1], log)

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def port() -> Iterator[int]:
    """A TCP port that nobody else gets, and that workers may share: bound, and not listening."""
    with held_ports(1) as (held,):
        yield held


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE)


def echoes(client: socket.socket, size: int = 1000) -> bool:
    data = os.urandom(size)
    client.sendall(data)
    received = b""
    while len(received) < size:
        piece = client.recv(size)
        if not piece:
            return False
        received += piece
    return received == data


class Load:
    """Clients that connect, talk for a while and go, one after the other, so many at a time."""

    def __init__(self, port: int, clients: int = 10) -> None:
        self._port = port
        self.done = 0
        self.failed: list[str] = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._talk) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _talk(self) -> None:
        while not self._over.is_set():
            problem = None
            try:
                with connect(self._port) as client:
                    for _ in range(3):
                        if not echoes(client):
                            problem = "cut"
                        time.sleep(0.005)
            except OSError as why:
                problem = repr(why)
            with self._lock:
                self.done += 1
                if problem is not None:
                    self.failed.append(problem)

    def wait(self, count: int) -> None:
        """Wait until so many more have been served."""
        wanted = self.done + count
        end = time.monotonic() + PATIENCE
        while self.done < wanted:
            assert time.monotonic() < end, f"only {self.done} of {wanted} were served"
            time.sleep(0.01)


def test_hangup_cuts_and_refuses_nobody(run, port):
    """1,000 connections and more, while the workers are replaced twice; six that say nothing."""
    program = run("--workers", 2, "--drain", 300, ECHO, port)
    program.said("listening on", 2)
    idle = [connect(port) for _ in range(6)]
    with Load(port) as load:
        for times in (1, 2):
            load.wait(100)
            program.signal(signal.SIGHUP)
            program.said("listening on", 2 + 2 * times)
            load.wait(400)
    assert load.done >= 1000
    assert load.failed == []
    assert all(map(echoes, idle))
    for client in idle:
        client.close()
    program.signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0


def test_workers_that_have_accepted_enough_are_replaced_and_nobody_notices(run, port):
    program = run("--workers", 2, "--drain", 300, "--max-connections-per-worker", 100, ECHO, port)
    program.said("listening on", 2)
    with connect(port) as idle, Load(port) as load:
        program.said("has accepted enough; replacing it", 3)
        program.said("listening on", 5)
        load.wait(100)
        assert echoes(idle)
    assert load.done >= 300
    assert load.failed == []
    program.signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0


CRASHES = """
import asyncore, os, time
exec(open({echo!r}).read().split("if __name__")[0])
Listener(("127.0.0.1", {port}))
print("pid", os.getpid())
while not os.path.exists("go on"): time.sleep(0.01)
asyncore.loop()
"""


def test_who_waits_at_a_worker_that_crashes_is_served_by_the_next(run, port, tmp_path: Path):
    """The listening socket outlives the process, and so does its queue."""
    script = tmp_path / "crashes.py"
    script.write_text(CRASHES.format(echo=ECHO, port=port))
    program = run("--workers", 1, script)
    (pid,) = program.said(r"pid (\d+)")
    with connect(port) as client:
        os.kill(int(pid), signal.SIGKILL)
        program.said("ended by SIGKILL")
        (tmp_path / "go on").touch()
        assert echoes(client)
    program.signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0


def test_the_first_sigterm_lets_go_on_and_the_second_ends(run, tmp_path: Path):
    program = run("--drain", 60, ECHO, 0)
    (port,) = program.said(r"listening on 127.0.0.1:(\d+)")
    with connect(int(port)) as client:
        assert echoes(client)
        program.signal(signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while True:
            assert echoes(client)
            try:
                connect(int(port)).close()
            except ConnectionError:
                break  # refused, or reset by the listener that was just closing
            assert time.monotonic() < end
        assert echoes(client)
        program.signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE) == -signal.SIGTERM


POLLS = """
import asyncore, os
exec(open({echo!r}).read().split("if __name__")[0])
Listener(("127.0.0.1", 0))
{loop}
print("behind the loop")
"""


@pytest.mark.parametrize(
    ("loop", "status"),
    [
        ("while asyncore.socket_map: asyncore.poll(0.1)", 0),
        ("while True: asyncore.poll2(0.1)", -signal.SIGTERM),
    ],
)
def test_a_loop_of_poll_is_drained(loop: str, status: int, run, tmp_path: Path):
    (tmp_path / "polls.py").write_text(POLLS.format(echo=ECHO, loop=loop))
    program = run("--drain", 3000, "polls.py")
    (port,) = program.said(r"listening on 127.0.0.1:(\d+)")
    with connect(int(port)) as client:
        assert echoes(client)
        program.signal(signal.SIGTERM)
        assert echoes(client)
    assert program.process.wait(PATIENCE) == status
    assert ("behind the loop" in program.log.read_text()) is (status == 0)


def test_a_drain_ends_by_itself(run):
    program = run("--drain", 60, ECHO, 0)
    (port,) = program.said(r"listening on 127.0.0.1:(\d+)")
    with connect(int(port)) as client:
        assert echoes(client)
        program.signal(signal.SIGTERM)
        assert program.process.wait(PATIENCE) == 0
        assert client.recv(1) == b""


def test_a_program_that_goes_on_is_ended(run, tmp_path: Path):
    script = tmp_path / "on.py"
    script.write_text(
        "import asyncore, socket, time\n"
        "a, b = socket.socketpair()\n"
        "asyncore.dispatcher(a)\n"
        "print('up')\n"
        "asyncore.loop()\n"
        "print('on')\n"
        "while True: time.sleep(1)\n"
    )
    program = run("--drain", 0, script)
    program.said("up")
    time.sleep(0.2)  # print comes before the loop
    program.signal(signal.SIGTERM)
    program.said("on")
    assert program.process.wait(PATIENCE) == -signal.SIGTERM


def test_smtpd_takes_the_message_at_hand(run):
    program = run("-m", "smtpd", "-n", "-d", "-c", "DebuggingServer", "localhost:0")
    program.said("DebuggingServer started")
    port = listening_port(program.process.pid)
    client, idle = (smtplib.SMTP("localhost", port, timeout=PATIENCE) for _ in range(2))
    client.ehlo("c")
    client.mail("a@b")
    client.rcpt("c@d")
    assert client.docmd("DATA")[0] == 354
    client.send(b"half a ")
    program.signal(signal.SIGTERM)
    assert idle.getreply()[0] == 421
    client.send(b"message\r\n.\r\n")
    assert client.getreply()[0] == 250
    assert client.getreply()[0] == 421
    program.said("half a message")
    assert program.process.wait(PATIENCE) == 0
    client.close()
    idle.close()


def listening_port(pid: int) -> int:
    found = [c for c in psutil.Process(pid).net_connections("tcp") if c.status == "LISTEN"]
    return int(found[0].laddr.port)


HANGS = """
import asyncore, os, time
exec(open({echo!r}).read().split("if __name__")[0])
class Hangs(Echo):
    def handle_read(self):
        if self.recv(100) == b"hang":
            the_place_where_it_hangs()
        self.send(b"fine")
def the_place_where_it_hangs():
    while True: time.sleep(0.01)
Echo = Hangs
Listener(("127.0.0.1", {port}))
asyncore.loop()
"""


def test_a_worker_that_hangs_is_shown_and_replaced(run, port, tmp_path: Path):
    script = tmp_path / "hangs.py"
    script.write_text(HANGS.format(echo=ECHO, port=port))
    program = run("--workers", 1, "--watchdog", 1, script)
    program.said("listening")
    with connect(port) as client:
        client.sendall(b"hang")
        program.said(r"process \d+ has not answered for 1 s; replacing it")
        program.said("in the_place_where_it_hangs")
        program.said("ended by SIGABRT; starting it again")
        with connect(port) as other:
            other.sendall(b"x")
            assert other.recv(4) == b"fine"
    program.signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0


def test_more_and_fewer_workers(run, port):
    program = run("--workers", 1, ECHO, port)
    program.said("listening", 1)
    program.signal(signal.SIGTTIN)
    program.said("listening", 2)
    pids = children(program.process.pid)
    assert len(pids) == 2
    program.signal(signal.SIGTTOU)
    end = time.monotonic() + PATIENCE
    while len(children(program.process.pid)) != 1:
        assert time.monotonic() < end
        time.sleep(0.01)
    for _ in range(10):
        with connect(port) as client:
            assert echoes(client)
    program.signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children()]
