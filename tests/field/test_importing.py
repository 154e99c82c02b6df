"""How programs come to the three names: by threads at once, by runpy, after changes to `sys`."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compat.command_line import enabling
from compat.command_line.runner import NAMES_FOLDER

ROOT = Path(__file__).parents[2]

WAYS = {
    "run": f"import sys; sys.path.insert(0, {str(NAMES_FOLDER)!r})\n",
    "enable": (
        f"import sys; sys.path.append({str(NAMES_FOLDER)!r})\n"
        "import _asynccore_names; sys.path.pop(); _asynccore_names.enable()\n"
    ),
    "install": "import compat; compat.install()\n",
}


@pytest.fixture(params=WAYS)
def python(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    """Run code in a new interpreter in which the names are ours."""

    def run(code: str, *arguments: str) -> tuple[str, str]:
        head = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + WAYS[request.param]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", head + textwrap.dedent(code), *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.stdout, done.stderr

    return run


def test_twelve_threads_at_once(python: Any) -> None:
    code = """
        import threading
        bad, found = [], {}
        names = ["asyncore", "asynchat", "smtpd"] * 4
        wanted = {"asyncore": "dispatcher", "asynchat": "async_chat", "smtpd": "SMTPServer"}
        together = threading.Barrier(len(names))
        def load(name):
            together.wait()
            try:
                module = __import__(name)
                getattr(module, wanted[name])
                module.marked_by_a_thread = name
            except BaseException as why:
                bad.append(repr(why))
        threads = [threading.Thread(target=load, args=(name,)) for name in names]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        import asyncore, asynchat, smtpd
        assert issubclass(smtpd.SMTPServer, asyncore.dispatcher)
        assert issubclass(asynchat.async_chat, asyncore.dispatcher)
        # What a thread has assigned is seen by all.
        assert smtpd.marked_by_a_thread == "smtpd" and asyncore.__name__ == "asynccore"
        print(bad)
    """
    for _ in range(4):
        assert python(code) == ("[]\n", "")


RUNPY = """
    import runpy
    for imported_before in (False, True):
        found = {name: runpy.run_module(name) for name in ("asyncore", "asynchat", "smtpd")}
        assert issubclass(found["asynchat"]["async_chat"], found["asyncore"]["dispatcher"])
        assert callable(found["asyncore"]["loop"]) and callable(found["smtpd"]["PureProxy"])
        for name in ("asyncore", "asynchat"):
            assert len(runpy.run_module(name, run_name="__main__")) > 10
            assert runpy.run_module(name, run_name="__main__", alter_sys=True)
        import asyncore, asynchat, smtpd
        assert asyncore.__name__ == "asynccore" and smtpd.__name__ == "asynccore.smtpd"
        assert asynchat.async_chat is asyncore.__dict__.get("x", asynchat.async_chat)
    print("ok")
"""


def test_runpy(python: Any) -> None:
    assert python(RUNPY) == ("ok\n", "")


@pytest.mark.parametrize("before", ["", "import asyncore, asynchat, smtpd"])
def test_the_command_line_of_smtpd(python: Any, before: str) -> None:
    code = f"""
        {before}
        import runpy
        sys.argv = ["smtpd", "--version"]
        runpy.run_module("smtpd", run_name="__main__", alter_sys=True)
    """
    assert python(code) == ("Python SMTP proxy version 0.3\n", "")


@pytest.mark.parametrize("name", ["asyncore", "asynchat"])
def test_the_others_do_nothing_as_scripts(python: Any, name: str) -> None:
    code = f"""
        import {name}
        import runpy
        runpy.run_module("{name}", run_name="__main__", alter_sys=True)
        print("done")
    """
    assert python(code) == ("done\n", "")


def test_an_installation_in_sitecustomize(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import compat; compat.install()\n")
    for arguments, said in (
        (["-m", "smtpd", "--version"], "Python SMTP proxy version 0.3\n"),
        (["-m", "asyncore"], ""),
        (["-m", "asynchat"], ""),
    ):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            cwd=tmp_path,
            env={"PYTHONPATH": f"{tmp_path}:{ROOT}", "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stdout, done.returncode) == (said, 0), done.stderr


def test_another_path_after_the_first_import(python: Any) -> None:
    code = """
        import sysconfig
        import asyncore
        sys.path[:] = [sysconfig.get_path("stdlib"), sysconfig.get_config_var("DESTSHARED") or ""]
        import asynchat, smtpd
        print(asyncore.__name__, asynchat.__name__, smtpd.__name__)
    """
    assert python(code) == ("asynccore asynccore.asynchat asynccore.smtpd\n", "")


def test_names_that_were_dropped_and_imported_again(python: Any) -> None:
    code = """
        import asyncore as a, asynchat as c, smtpd as s
        for name in ("asyncore", "asynchat", "smtpd"): del sys.modules[name]
        import smtpd, asynchat, asyncore
        print(asyncore is a, asynchat is c, smtpd is s)
    """
    assert python(code) == ("True True True\n", "")


def test_reloading(python: Any) -> None:
    code = """
        import importlib, socket
        import asyncore, asynchat, smtpd
        one, two = socket.socketpair()
        channel = asyncore.dispatcher(one)
        for module in (asyncore, asynchat, smtpd):
            assert importlib.reload(module) is module
        assert asyncore.socket_map == {channel._fileno: channel}
        assert isinstance(channel, asyncore.dispatcher)
        assert issubclass(smtpd.SMTPChannel, asynchat.async_chat)
        seen = []
        asyncore.read = seen.append
        two.send(b"x")
        asyncore.loop(timeout=1, count=1)
        print(seen == [channel])
    """
    assert python(code) == ("True\n", "")


def test_a_module_of_the_program_s_own(python: Any) -> None:
    code = """
        import types
        import asyncore
        mine = types.ModuleType("asyncore")
        vars(mine).update({k: v for k, v in vars(asyncore).items() if k[:2] != "__"})
        class dispatcher(asyncore.dispatcher): marked = True
        mine.dispatcher = dispatcher
        sys.modules["asyncore"] = mine
        for name in ("asynchat", "smtpd"): sys.modules.pop(name, None)
        import smtpd, asynchat
        assert smtpd.asynchat is asynchat and asynchat.asyncore is mine
        print(asynchat.async_chat.marked, smtpd.SMTPChannel.marked, smtpd.DebuggingServer.marked)
        print(issubclass(smtpd.SMTPChannel, asynchat.async_chat))
        import asynccore.asynchat
        print(hasattr(asynccore.asynchat.async_chat, "marked"))
    """
    assert python(code) == ("True True True\nTrue\nFalse\n", "")


def test_another_copy_of_asyncore_goes_with_its_own_asynchat(python: Any) -> None:
    code = """
        import types
        import asyncore
        other = types.ModuleType("asyncore")
        class dispatcher: pass
        other.dispatcher = dispatcher
        sys.modules["asyncore"] = other
        sys.modules.pop("asynchat", None)
        import asynchat
        print(issubclass(asynchat.async_chat, dispatcher))
    """
    assert python(code) == ("True\n", "")


def test_a_clock_that_stands_still_at_the_first_import(python: Any) -> None:
    code = """
        import socket
        from freezegun import freeze_time
        with freeze_time("2020-01-01"):
            import asyncore
            one, two = socket.socketpair()
            class Channel(asyncore.dispatcher):
                def writable(self): return False
            channel = Channel(one)
            asyncore.loop(timeout=0.01, count=3)
            asyncore.call_later(0.01, print, "in time", map=asyncore.socket_map)
            asyncore.loop(timeout=5, count=1)
        with freeze_time("2021-01-01"):
            asyncore.loop(timeout=0.01, count=3)
        print("over")
    """
    assert python(code) == ("in time\nover\n", "")


def test_names_taken_in_the_middle_of_their_import() -> None:
    """A thread may have the module object of the file in its hands before that has handed over."""
    code = f"""
        import sys
        sys.path[:0] = [{str(NAMES_FOLDER)!r}, {str(ROOT)!r}]
        import _asynccore_names as names
        early = []
        real = names.hand_over
        def hand_over(legacy, running_as, file):
            early.append(sys.modules[running_as])
            # As `real` does, for the frame that called this.
            vars(early[0])["hand"] = real
            exec("hand(*args)", vars(early[0]), {{"args": (legacy, running_as, file)}})
        names.hand_over = hand_over
        import asyncore
        stub, = early
        assert stub is not asyncore and stub.dispatcher is asyncore.dispatcher
        stub.socket_map = mine = {{}}
        assert asyncore.socket_map is mine and "loop" in dir(stub)
        del stub.socket_map
        assert not hasattr(asyncore, "socket_map")
        print("ok")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("ok\n", 0), done.stderr


def test_conda_is_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    assert not enabling.in_virtual_environment()
    (tmp_path / "conda-meta").mkdir()
    assert enabling.in_virtual_environment()
    assert enabling.site_packages().is_absolute()
