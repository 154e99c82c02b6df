"""The socket that `asynccore top` asks: who may open it, what it answers, when a loop is stuck."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import asynccore
from asynccore.monitoring import address
from asynccore.monitoring import server as watched

if sys.platform == "win32":
    pytest.skip("Windows has no such sockets", allow_module_level=True)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    private = tmp_path / "asynccore"
    private.mkdir(mode=0o700)
    return private


@pytest.fixture
def server(folder: Path) -> Iterator[watched.Server]:
    made = watched.Server(folder / "s", patience=30)
    yield made
    made.close()


def ask(path: Path, request: bytes = b"statistics\n") -> bytes:
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(30)
        conn.connect(str(path))
        conn.sendall(request)
        with conn.makefile("rb") as lines:
            return lines.readline()


def test_it_answers(server, folder):
    channel = asynccore.dispatcher()
    channel.create_socket()
    seen = json.loads(ask(folder / "s"))
    assert seen["pid"] == os.getpid()
    assert seen["program"] == sys.orig_argv
    assert [it["fd"] for it in seen["maps"][0]["channels"]] == [channel.socket.fileno()]
    assert len(asynccore.socket_map) == 1  # it is not in there itself
    channel.close()
    assert "error" in json.loads(ask(folder / "s", b"dance\n"))
    assert json.loads(ask(folder / "s"))["pid"] == os.getpid()


def test_it_pauses_when_descriptors_run_out(monkeypatch):
    class Listener:
        errnos = [errno.EMFILE, errno.ENFILE, errno.EBADF]

        def accept(self) -> None:
            raise OSError(self.errnos.pop(0), "no")

    served = watched.Server.__new__(watched.Server)
    served._listener = Listener()
    pauses: list[float] = []
    with monkeypatch.context() as patched:
        patched.setattr(watched.time, "sleep", pauses.append)
        thread = threading.Thread(target=served._serve)
        thread.start()
        thread.join()
    assert pauses == [watched._REST] * 2


def test_only_the_owner_can_open_it(server, folder, monkeypatch):
    assert (folder / "s").stat().st_mode & 0o777 == 0o600
    if sys.platform == "linux":
        owner = os.geteuid()
        monkeypatch.setattr(address, "user_id", lambda: owner + 1)
        if owner != 0:  # root may look at everybody's
            assert ask(folder / "s") == b""


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o777])
def test_a_folder_that_others_can_enter_is_refused(mode, folder):
    folder.chmod(mode)
    with pytest.raises(address.NotPrivate, match="is open to others: chmod 700"):
        watched.Server(folder / "s")


def test_other_folders_are_refused(folder, monkeypatch):
    (folder / "file").touch()
    (folder / "link").symlink_to(folder)
    for name in ("file", "link"):
        with pytest.raises(address.NotPrivate, match="is no folder"):
            address.check_private(folder / name)
    owner = os.geteuid()
    monkeypatch.setattr(address, "user_id", lambda: owner + 1)
    with pytest.raises(address.NotPrivate, match="belongs to another user"):
        address.check_private(folder)


def test_what_is_in_the_way(server, folder):
    with pytest.raises(OSError, match="another process serves") as raised:
        watched.Server(folder / "s")
    assert raised.value.errno == errno.EADDRINUSE
    (folder / "file").touch()
    with pytest.raises(FileExistsError, match="is no socket, and stays"):
        watched.Server(folder / "file")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "dead"))
    watched.Server(folder / "dead").close()
    assert not (folder / "dead").exists()


def test_a_stuck_loop_tells_where_it_is():
    entered, leave = threading.Event(), threading.Event()

    def stuck_handler():
        entered.set()
        leave.wait(30)

    channels = asynccore.ChannelMap()
    channel = asynccore.dispatcher(map=channels)
    channel.create_socket()
    asynccore.call_soon_threadsafe(stuck_handler, map=channels)
    thread = threading.Thread(
        target=asynccore.loop, kwargs={"map": channels, "count": 1, "timeout": 0}
    )
    thread.start()
    entered.wait(30)
    seen = watched.look(patience=0.01)
    leave.set()
    thread.join()
    channel.close()
    (stuck,) = [map["stuck"] for map in seen["maps"] if "stuck" in map]
    assert any(where.endswith(" stuck_handler") for where in stuck)


def test_the_usual_place(folder, monkeypatch, capsys):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    (folder / f"{gone.pid}.sock").touch()
    (folder / f"{os.getpid()}.sock").touch()
    (folder / "other.sock").touch()
    watched._sweep(folder)
    assert sorted(path.name for path in folder.iterdir()) == [f"{os.getpid()}.sock", "other.sock"]
    (folder / f"{os.getpid()}.sock").unlink()
    server = watched.begin(address.USUAL)
    assert server is not None
    assert server.path == address.usual_path(os.getpid())
    assert json.loads(ask(server.path))["pid"] == os.getpid()
    server.close()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert address.usual_folder().name == f"asynccore-{os.geteuid()}"
    assert capsys.readouterr() == ("", "")


def test_the_program_goes_on_without(folder, capsys):
    assert watched.begin(str(folder / "none" / "s")) is None
    assert capsys.readouterr().err.startswith("asynccore top: not available: ")


def test_the_loop_begins_it_once(monkeypatch):
    begun: list[str] = []
    monkeypatch.setattr(watched, "wanted", "path")
    monkeypatch.setattr(watched, "_begun_by", 0)
    monkeypatch.setattr("asynccore.running.loop.starting", [watched.begin_once])
    monkeypatch.setattr(watched, "begin", begun.append)
    asynccore.loop(map={})
    asynccore.loop(map={})
    assert begun == ["path"]
