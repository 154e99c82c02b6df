"""`asynccore top PID` by root, for the program of another user."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from asynccore.monitoring import address
from compat.command_line import top

if sys.platform == "win32":
    pytest.skip("Windows has no sockets that one user alone can open", allow_module_level=True)

PID = 4711


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., str]:
    """Make what proc(5) says of a process; its owner is who runs the tests."""

    def make(**environ: str) -> str:
        folder = tmp_path / "proc" / str(PID)
        folder.mkdir(parents=True)
        words = [f"{name}={value}".encode() for name, value in environ.items()]
        (folder / "environ").write_bytes(b"\0".join([*words, b""]))
        return str(tmp_path / "proc")

    return make


@pytest.fixture
def by_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(address, "user_id", lambda: 0)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "of root"))


def test_the_folder_is_the_one_of_the_process(process: Callable[..., str], by_root: None) -> None:
    processes = process(HOME="/", XDG_RUNTIME_DIR="/run/user/1000")
    wanted = Path("/run/user/1000/asynccore", f"{PID}.sock")
    assert address.socket_of(PID, processes) == wanted


@pytest.mark.parametrize("environ", [{}, {"TMPDIR": "/var/tmp/x"}])
def test_without_a_folder_for_its_session(
    process: Callable[..., str], by_root: None, environ: dict[str, str]
) -> None:
    wanted = Path(environ.get("TMPDIR", tempfile.gettempdir()), f"asynccore-{os.getuid()}")
    assert address.socket_of(PID, process(**environ)) == wanted / f"{PID}.sock"


def test_a_program_of_root_itself_comes_first(
    process: Callable[..., str], by_root: None, tmp_path: Path
) -> None:
    own = tmp_path / "of root" / "asynccore" / f"{PID}.sock"
    own.parent.mkdir(parents=True)
    own.touch()
    assert address.socket_of(PID, process(XDG_RUNTIME_DIR="/run/user/1000")) == own


def test_the_workers_of_a_parent_are_where_its_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "asynccore"
    folder.mkdir()
    workers = {5: (PID, 1), 6: (PID, 2), 7: (1, 1), 8: (PID, None)}
    for pid in workers:
        (folder / f"{pid}.sock").touch()

    def ask(path: Path, request: str) -> dict[str, object]:
        pid = int(path.stem)
        parent, worker = workers[pid]
        return {"pid": pid, "parent": parent, "worker": worker}

    monkeypatch.setattr(address, "socket_of", lambda pid: folder / f"{pid}.sock")
    monkeypatch.setattr(top, "ask", ask)
    assert top.family(PID) == [folder / "5.sock", folder / "6.sock"]
    assert top.family(7) == [folder / "7.sock"]


def test_a_process_that_has_gone(by_root: None, tmp_path: Path) -> None:
    assert address.socket_of(PID, str(tmp_path)) == address.usual_path(PID)


def test_others_look_into_their_own_folder_alone(
    process: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "user_id", lambda: 1000)
    processes = process(XDG_RUNTIME_DIR="/run/user/1001")
    assert address.socket_of(PID, processes) == address.usual_path(PID)


def test_root_may_look_where_nobody_else_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    owner = os.getuid()
    for user, for_root, allowed in (
        (0, True, True),
        (owner + 1, True, False),
        (0 if owner else owner + 1, False, False),
    ):
        monkeypatch.setattr(address, "user_id", lambda user=user: user)
        if allowed:
            address.check_private(folder, for_root=for_root)
        else:
            with pytest.raises(address.NotPrivate, match="belongs to another user"):
                address.check_private(folder, for_root=for_root)
    monkeypatch.setattr(address, "user_id", lambda: 0)
    folder.chmod(0o755)
    with pytest.raises(address.NotPrivate, match="open to others"):
        address.check_private(folder, for_root=True)
