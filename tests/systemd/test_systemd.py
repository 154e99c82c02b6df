"""The units of docs/deploy.md under a real systemd: activation, reload, restart, stop."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import PATIENCE, ROOT, Machine, obstacle

# One machine is enough.
pytestmark = pytest.mark.xdist_group("systemd")

PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")

# The echo server of the examples, at the address of the socket unit.
SERVER = """
import sys
{example}
Listener(("0.0.0.0", int(sys.argv[1])))
asyncore.loop()
"""

# Says on standard output what a server makes of each line that it is given; "cut" in the end.
CLIENT = """
import socket, sys
with socket.create_connection(("127.0.0.1", 8080), 60) as sock, sock.makefile("rb") as replies:
    for line in sys.stdin:
        sock.sendall(line.encode())
        print(replies.readline().decode().strip(), flush=True)
        if line == "wait\\n":
            print("cut" if replies.readline() == b"" else "?", flush=True)
"""


def file_of(path: str) -> str:
    """Return what the page says is in a file."""
    (found,) = re.findall(rf"^```\w+\n# {re.escape(path)}\n(.*?)^```$", PAGE, re.S | re.M)
    return str(found)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    why = obstacle(tmp_path_factory.mktemp("trial"))
    if why is not None:
        pytest.skip(why)
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    paths = [f"/etc/systemd/system/server.{kind}" for kind in ("socket", "service")]
    files = {path: file_of(path) for path in [*paths, "/opt/app/asynccore.toml"]}
    example = (ROOT / "examples" / "echo_server.py").read_text("utf-8").split("if __name__")[0]
    files["/opt/app/server.py"] = SERVER.format(example=example)
    made = Machine(tmp_path_factory.mktemp("machine"), files)
    yield made
    made.close()


class Client:
    """A client in the machine."""

    def __init__(self, machine: Machine) -> None:
        python = f"/opt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
        self._process = subprocess.Popen(
            # Isolated: it is in a folder without a name there, which 3.13.0 would trip over.
            machine.command(python, "-I", "-c", CLIENT),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, text: str) -> str:
        """Send a line, and return the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        return self.heard()

    def heard(self) -> str:
        """Return the next line that it says."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=PATIENCE)


@pytest.fixture
def client(machine: Machine) -> Iterator[Client]:
    """Somebody who has come to the socket, and is served by a service that is up."""
    machine.systemctl("start", "server.socket")
    made = Client(machine)
    try:
        assert made.ask("hello") == "hello"
        # systemd takes no notice of a reload before.
        until(lambda: machine.show("server.service", "ActiveState") == "active")  # READY=1
        yield made
    finally:
        made.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def main_pid(machine: Machine) -> int:
    return int(machine.show("server.service", "MainPID"))


def test_who_connects_starts_the_service(machine: Machine, client: Client) -> None:
    processes = machine.processes("server.service")
    assert len(processes) == 5, "the parent and four workers"
    for pid in processes:
        status = machine.run("cat", f"/proc/{pid}/status").stdout
        (user,) = re.findall(r"^Uid:\s+(\d+)", status, re.M)
        assert int(user) >= 61184, "a dynamic user (systemd.exec(5))"
    top = "/opt/app/.venv/bin/asynccore", "top", str(main_pid(machine)), "--once", "--json"
    assert machine.run(*top).stdout.count('"worker": ') == 4


def test_reload_replaces_the_workers_and_cuts_nobody(machine: Machine, client: Client) -> None:
    parent = main_pid(machine)
    before = machine.processes("server.service") - {parent}
    machine.systemctl("reload", "server.service")
    until(lambda: len(machine.processes("server.service") - before - {parent}) == 4)
    other = Client(machine)
    assert other.ask("new") == "new"
    other.close()
    assert client.ask("old") == "old"
    assert main_pid(machine) == parent
    client.close()
    until(lambda: not machine.processes("server.service") & before)


def test_a_crash_is_followed_by_another_start(machine: Machine, client: Client) -> None:
    parent = main_pid(machine)
    machine.systemctl("kill", "--kill-whom=main", "--signal=SIGKILL", "server.service")
    until(lambda: main_pid(machine) not in (0, parent))
    other = Client(machine)
    assert other.ask("again") == "again"
    other.close()
    assert machine.show("server.service", "NRestarts") != "0"


def test_stop_drains(machine: Machine, client: Client) -> None:
    assert client.ask("wait") == "wait"
    machine.systemctl("stop", "server.service")
    assert client.heard() == "cut"
    assert machine.show("server.service", "Result") == "success"
    assert machine.show("server.service", "ExecMainStatus") == "0"
    other = Client(machine)
    assert other.ask("next") == "next", "the socket is still there"
    other.close()


def test_what_stands_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if obstacle(tmp_path) is not None:
        pytest.skip("something does")
    monkeypatch.setattr("tests.systemd.machine._BEGIN", "echo no mounts >&2; exit 1")
    assert obstacle(tmp_path) == "namespaces can't be had: no mounts"
    monkeypatch.setattr("tests.systemd.machine._control_groups", lambda: None)
    assert obstacle(tmp_path) == "there are no control groups of version 2"
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert obstacle(tmp_path) == "there is no unshare"
    monkeypatch.setattr("tests.systemd.machine.SYSTEMD", tmp_path / "none")
    assert obstacle(tmp_path) == "there is no systemd"
    monkeypatch.setattr("os.geteuid", lambda: signal.SIGHUP)
    assert obstacle(tmp_path) == "only root makes namespaces and mounts"
