"""Programs that become daemons: fork twice, close every descriptor, and serve."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from asynccore.pollers import default_name
from tests.corners.support import PATIENCE, ROOT
from tests.field.looping import everywhere

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork() there")

PROGRAM = """
    import gc, os, signal, socket, sys
    import asynccore

    style, ready = sys.argv[1:]

    class Echo(asynccore.dispatcher_with_send):
        def handle_read(self):
            data = self.recv(100)
            gc.collect()  # what the parents had is not closed now
            self.send(data)
            if data == b"end":
                asynccore.close_all()
        def handle_close(self):
            self.close()

    class Server(asynccore.dispatcher):
        def __init__(self):
            super().__init__()
            self.create_socket()
            self.bind(("127.0.0.1", 0))
            self.listen(5)
        def handle_accepted(self, sock, addr):
            Echo(sock)

    def a_pass():
        asynccore.loop(timeout=0.01, count=2)

    server = Server() if "socket-first" in style else None
    if "pass-first" in style:
        if server is None:
            keep = Echo(socket.socketpair()[0])
        a_pass()
    if os.fork():
        os._exit(0)
    os.setsid()
    if "pass-between" in style:
        a_pass()
    if os.fork():
        os._exit(0)
    signal.alarm(20)
    if "pass-last" in style:
        a_pass()
    kept = -1 if server is None else server.socket.fileno()
    for fd in range(256):
        if fd != kept:
            try:
                os.close(fd)
            except OSError:
                pass
    if server is None:
        asynccore.socket_map.clear()
    files = [os.open(os.devnull, os.O_RDWR) for _ in range(3 if "few" in style else 12)]
    if server is None:
        server = Server()
    with open(ready + ".new", "w") as file:
        print(server.socket.getsockname()[1], file=file)
    os.rename(ready + ".new", ready)
    said = "whole"
    try:
        asynccore.loop()
        for fd in files:
            assert os.fstat(fd).st_rdev == os.stat(os.devnull).st_rdev, fd
    except BaseException as why:
        import traceback
        said = traceback.format_exc()
    with open(ready + ".end.new", "w") as file:
        file.write(said)
    os.rename(ready + ".end.new", ready + ".end")
    os._exit(0)
"""

DEFAULT = default_name()

STYLES = (
    "plain",
    "plain-few",
    "pass-first",
    "pass-first-few",
    "socket-first",
    "socket-first-pass-first",
    "socket-first-pass-between",
    "socket-first-pass-last",
    "socket-first-pass-first-pass-between-pass-last-few",
)


def wait_for_file(path: Path) -> str:
    end = time.monotonic() + 4 * PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name}"
        time.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize("style", STYLES)
def test_it_becomes_ready_and_serves(style: str, tmp_path: Path) -> None:
    daemonize(DEFAULT, style, tmp_path)


@pytest.mark.parametrize("style", [STYLES[0], STYLES[-1]])
@everywhere
def test_over_every_engine(name: str, style: str, tmp_path: Path) -> None:
    daemonize(name, style, tmp_path)


def daemonize(name: str, style: str, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ASYNCCORE_ENGINE": name}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), style, str(ready)],
        env=environment,
        check=True,
        timeout=60,
    )
    port = int(wait_for_file(ready))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.settimeout(PATIENCE)
        for text in (b"hello", b"again", b"end"):
            client.send(text)
            assert client.recv(100) == text
    assert wait_for_file(tmp_path / "ready.end") == "whole"
