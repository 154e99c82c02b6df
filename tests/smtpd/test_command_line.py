"""`python -m smtpd`: options, messages, exit status, and that it serves."""

from __future__ import annotations

import os
import signal
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from asynccore import smtpd
from asynccore.smtp import command_line as command_line

ROOT = Path(smtpd.__file__).parent.parent
TIMEOUT = 60  # seconds; nothing waits for it unless it is broken

needs_users = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no user ids")


@pytest.fixture
def argv(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.setattr(smtpd, "DEBUGSTREAM", smtpd.DEBUGSTREAM)
    return lambda *args: monkeypatch.setattr(sys, "argv", ["smtpd.py", *args])


def settings_of(options: smtpd.Options) -> dict[str, Any]:
    return {name: getattr(options, name) for name in dir(options) if not name.startswith("_")}


DEFAULTS = {
    "setuid": True,
    "classname": "PureProxy",
    "size_limit": None,
    "enable_SMTPUTF8": False,
    "localhost": "localhost",
    "localport": 8025,
    "remotehost": "localhost",
    "remoteport": 25,
    "debug": False,
    "version": False,
    "further": {},
}


@pytest.mark.parametrize(
    ("args", "changes"),
    [
        ([], {}),
        (["-n"], {"setuid": False}),
        (["--nosetuid"], {"setuid": False}),
        (["-c", "a.B"], {"classname": "a.B"}),
        (["--class=a.B"], {"classname": "a.B"}),
        (["-s", "7"], {"size_limit": 7}),
        (["--size", "0"], {"size_limit": 0}),
        (["-u"], {"enable_SMTPUTF8": True}),
        (["--smtputf8"], {"enable_SMTPUTF8": True}),
        (["h:1"], {"localhost": "h", "localport": 1}),
        (
            ["-n", "[::1]:1", "::2:2"],
            {
                "setuid": False,
                "localhost": "::1",
                "localport": 1,
                "remotehost": "::2",
                "remoteport": 2,
            },
        ),
    ],
)
def test_options(argv: Callable[..., None], args: list[str], changes: dict[str, Any]) -> None:
    argv(*args)
    assert settings_of(smtpd.parseargs()) == DEFAULTS | changes


@pytest.mark.parametrize("option", ["-d", "--debug"])
def test_debug(argv: Callable[..., None], option: str) -> None:
    argv(option)
    smtpd.parseargs()
    assert smtpd.DEBUGSTREAM is sys.stderr


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(
    argv: Callable[..., None], option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv(option, "-s", "x")
    with pytest.raises(SystemExit) as ended:
        smtpd.parseargs()
    assert ended.value.code == 0
    assert capsys.readouterr() == ("Python SMTP proxy version 0.3\n", "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(
    argv: Callable[..., None],
    option: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtpd, "program", "a-program")
    monkeypatch.setattr(smtpd, "__version__", "version 9")
    argv(option)
    with pytest.raises(SystemExit) as ended:
        smtpd.parseargs()
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "\nUsage: a-program [options] [localhost:localport [remotehost:remoteport]]\n" in err
    assert err.endswith("\nVersion: version 9\n\n")
    for name in "-n --nosetuid -c --class -s --size -u --smtputf8 -d --debug -V -h".split():
        assert name in err
    for default in str(smtpd.DATA_SIZE_DEFAULT), "localhost:8025", "localhost:25", "PureProxy":
        assert default in err


@pytest.mark.parametrize(
    ("args", "message", "with_help"),
    [
        (["-x"], "option -x not recognized", True),
        (["--nonsense"], "option --nonsense not recognized", True),
        (["-c"], "option -c requires argument", True),
        (["a:1", "b:2", "c"], "Invalid arguments: a:1, b:2, c", True),
        (["host"], "Bad local spec: host", True),
        (["host:x"], "Bad local port: host:x", True),
        (["h:1", "host"], "Bad remote spec: host", True),
        (["h:1", "host:"], "Bad remote port: host:", True),
        (["-s", "x"], "Invalid size: x", False),
    ],
)
def test_nonsense(
    argv: Callable[..., None],
    args: list[str],
    message: str,
    with_help: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv(*args)
    with pytest.raises(SystemExit) as ended:
        smtpd.parseargs()
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith(f"\n{message}\n" if with_help else f"{message}\n")
    assert ("Usage:" in err) is with_help


def test_server_class() -> None:
    assert command_line.server_class("DebuggingServer", "asynccore.smtpd") is smtpd.DebuggingServer
    assert command_line.server_class("pathlib.Path", "asynccore.smtpd") is Path


@pytest.mark.parametrize("name", ["Nonsense", "no_such_module.Class", "pathlib.Nonsense"])
def test_no_such_class(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.server_class(name, "asynccore.smtpd")
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith(f"Cannot find the class {name}: ")


# The user nobody ---------------------------------------------------------------------------------


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A system whose user nobody has the id 65534 and the group 65533; notes what is asked."""
    asked: list[Any] = []
    nobody = SimpleNamespace(pw_uid=65534, pw_gid=65533)
    pwd = SimpleNamespace(getpwnam={"nobody": nobody}.__getitem__)
    monkeypatch.setitem(sys.modules, "pwd", pwd)
    for name in "setgroups", "setgid", "setuid":
        monkeypatch.setattr(os, name, lambda value, name=name: asked.append((name, value)))
    return asked


@needs_users
def test_root_becomes_nobody(system: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    command_line.become_nobody()
    # The user comes last: without it the groups could not be given up.
    assert system == [("setgroups", []), ("setgid", 65533), ("setuid", 65534)]


@needs_users
def test_others_can_only_be_nobody(system: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    command_line.become_nobody()
    assert system == [("setuid", 65534)]


@needs_users
@pytest.mark.parametrize("error", [PermissionError(1, "no"), KeyError("nobody")])
def test_not_becoming_nobody(
    error: Exception,
    system: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def getpwnam(name: str) -> Any:
        raise error

    monkeypatch.setattr(sys.modules["pwd"], "getpwnam", getpwnam)
    with pytest.raises(SystemExit) as ended:
        command_line.become_nobody()
    assert ended.value.code == 1
    assert capsys.readouterr().err == 'Cannot setuid "nobody"; try running with -n option.\n'
    assert system == []


# The program -------------------------------------------------------------------------------------


def test_main(
    argv: Callable[..., None], monkeypatch: pytest.MonkeyPatch, new_map: dict[int, Any]
) -> None:
    """Everything but the loop, which SIGINT ends."""
    seen: list[Any] = []

    def loop() -> None:
        seen.append("loop")
        raise KeyboardInterrupt

    class Server:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            seen.append((args, kwargs))

        def close(self) -> None:
            seen.append("close")

    monkeypatch.setattr(smtpd.asyncore, "loop", loop)
    monkeypatch.setattr(smtpd, "Server", Server, raising=False)
    monkeypatch.setattr(command_line, "become_nobody", lambda: seen.append("nobody"))
    argv("-c", "Server", "h:1", "r:2")
    smtpd._main()
    size = smtpd.DATA_SIZE_DEFAULT
    served = ((("h", 1), ("r", 2), size), {"enable_SMTPUTF8": False})
    assert seen == [served, "nobody", "loop", "close"]
    seen.clear()
    argv("-n", "-u", "-s", "0", "-c", "Server")
    smtpd._main()
    served = ((("localhost", 8025), ("localhost", 25), 0), {"enable_SMTPUTF8": True})
    assert seen == [served, "loop", "close"]


SERVER = """
import asynccore.smtpd as smtpd

class Server(smtpd.DebuggingServer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        print(self.socket.getsockname()[1], flush=True)
"""


def _listen_to_sigint() -> None:
    # A test run in the background of a shell ignores SIGINT, and would hand that down.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `python -m asynccore.smtpd`; what still runs after the test is ended."""
    (tmp_path / "a_server.py").write_text(SERVER)
    path = [str(ROOT), str(tmp_path), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    children: list[subprocess.Popen[str]] = []

    def start(*args: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "asynccore.smtpd", *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            preexec_fn=None if sys.platform == "win32" else _listen_to_sigint,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        if child.poll() is None:
            child.kill()
        child.communicate(timeout=TIMEOUT)


def test_the_version_of_the_program(program: Callable[..., subprocess.Popen[str]]) -> None:
    child = program("--version")
    assert child.communicate(timeout=TIMEOUT) == ("Python SMTP proxy version 0.3\n", "")
    assert child.returncode == 0


def test_an_unknown_option(program: Callable[..., subprocess.Popen[str]]) -> None:
    child = program("-x")
    out, err = child.communicate(timeout=TIMEOUT)
    assert (child.returncode, out) == (1, "")
    assert err.endswith("\noption -x not recognized\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to one process")
def test_serving(program: Callable[..., subprocess.Popen[str]]) -> None:
    child = program("-n", "-d", "-s", "1000", "-c", "a_server.Server", "127.0.0.1:0")
    assert child.stdout is not None
    port = int(child.stdout.readline())
    with smtplib.SMTP("127.0.0.1", port, timeout=TIMEOUT) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "1000"
        assert client.sendmail("a@b", "c@d", "A: b\n\nbody\n") == {}
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=TIMEOUT)
    assert child.returncode == 0
    assert out.splitlines() == [
        "---------- MESSAGE FOLLOWS ----------",
        "mail options: ['SIZE=14']",
        "b'A: b'",
        "b'X-Peer: 127.0.0.1'",
        "b''",
        "b'body'",
        "------------ END MESSAGE ------------",
    ]
    assert err.startswith("Server started at ")
    assert "\nsender: a@b\nData: b'" in err
