"""The leak check of tests/conftest.py finds each kind of leak, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# One run of the sample is enough.
pytestmark = pytest.mark.xdist_group("leak check")

# Every `test_leak_*` must be failed by the check, for the reason written in its docstring;
# every `test_clean_*` must pass.
SAMPLE = """
import os
import socket
import subprocess
import sys
import threading

import asynccore

kept = []


class Channel:
    def close(self):
        pass


def test_leak_descriptor():
    "left open: descriptor"
    kept.append(socket.socket())


def test_leak_descriptor_number_reused():
    "left open: descriptor"
    here, there = os.pipe()
    kept.append((here, there))


def test_leak_channel():
    "left open: asynccore.socket_map"
    asynccore.socket_map[1 << 20] = Channel()


def test_leak_child():
    "left open: a child process"
    kept.append(subprocess.Popen([sys.executable, "-c", ""]))


def test_leak_unraisable():
    "unraisable: ValueError"
    class Bad:
        def __del__(self):
            raise ValueError("from a destructor")
    Bad()


def test_leak_forgotten_socket():
    "unraisable: ResourceWarning"
    socket.socket()


def test_leak_thread():
    "left open: thread forgotten"
    sys.modules["conftest"]._THREAD_GRACE_SECONDS = 0
    kept.append(threading.Event())
    threading.Thread(target=kept[-1].wait, name="forgotten", daemon=True).start()


def test_clean_cycle():
    class Channel:
        def __init__(self, fd):
            self.itself = self
            self.fd = fd

        def __del__(self):
            os.close(self.fd)

    for end in os.pipe():
        Channel(end)


def test_clean_parts(new_map, tcp_pair, poller_name):
    client, server = tcp_pair()
    client.sendall(b"x")
    assert server.recv(1) == b"x"
    assert poller_name in ("epoll", "kqueue", "poll", "select")


def test_clean_thread_and_child():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    subprocess.run([sys.executable, "-c", ""], check=True)
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("leaks")
    shutil.copy(ROOT / "tests" / "conftest.py", folder)
    (folder / "test_sample.py").write_text(SAMPLE)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "COV"))}
    environment["PYTHONPATH"] = str(ROOT)
    environment["COLUMNS"] = "500"  # pytest cuts the reasons at the width of the terminal
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-rA", "-p", "no:cacheprovider", "test_sample.py"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    return done.stdout


SAMPLES = re.findall(r'^def (test_\w+)\([^)]*\):\n(?:    "(.*)"\n)?', SAMPLE, re.MULTILINE)


@pytest.mark.parametrize(("name", "reason"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_each_kind(report: str, name: str, reason: str) -> None:
    if not reason:
        assert re.search(rf"^PASSED \S+::{name}\b", report, re.MULTILINE), report
        assert not re.search(rf"^(FAILED|ERROR) \S+::{name}\b", report, re.MULTILINE), report
        return
    # The check speaks at teardown, which pytest reports as an error of the test.
    assert re.search(rf"^ERROR \S+::{name}\b.*{re.escape(reason)}", report, re.MULTILINE), report
