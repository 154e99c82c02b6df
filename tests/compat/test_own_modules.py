"""Programs that have a `compat` or an `ssl_ext` of their own, whose names are common ones."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from asynccore import pollers
from compat import engines
from tests.compat.conftest import Environment, Python

# What a program has beside its script. The last one it never imports, and nobody else may.
OWN = {
    "module": ("compat.py", "WHO = 'mine'\n"),
    "package": ("compat/__init__.py", "WHO = 'mine'\n"),
    "broken": ("compat.py", "raise SystemExit('imported, and nobody asked for it')\n"),
}

# Two ends of a connection, and one turn of it.
TALK = """
class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        self.send(self.recv(100))

class Client(asyncore.dispatcher):
    def handle_connect(self): pass
    def writable(self): return False
    def handle_read(self):
        print(self.recv(100).decode())
        asyncore.close_all()

def talk():
    ours, theirs = socket.socketpair()
    Echo(ours), Client(theirs)
    theirs.send(b"hello")
    asyncore.loop(timeout=1, count=50)
"""

ENGINES = [
    None,
    *pollers.available(),
    *(
        pytest.param(
            host,
            marks=pytest.mark.skipif(
                importlib.util.find_spec(host) is None, reason=f"{host} is not installed here"
            ),
        )
        for host in engines.HOSTS
    ),
]


def write(folder: Path, kind: str, more: str = "") -> str:
    """Write a program with its own `compat` into a folder; return what it prints."""
    name, text = OWN[kind]
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    imports = "" if kind == "broken" else "import compat\nprint(compat.WHO)\n"
    (folder / "app.py").write_text(f"import asyncore, socket\n{imports}{TALK}\n{more or 'talk()'}")
    return "hello\n" if kind == "broken" else "mine\nhello\n"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", OWN)
def test_run(kind: str, engine: str | None, python: Python, tmp_path: Path) -> None:
    """In the program's folder, which comes first for `python -m asynccore`, too."""
    said = write(tmp_path, kind)
    choice = [] if engine is None else ["--engine", engine]
    assert python("-m", "asynccore", "run", *choice, "app.py") == (0, said, "")


@pytest.mark.parametrize("kind", OWN)
def test_the_command_with_that_folder_in_the_path(
    kind: str, python: Python, tmp_path: Path, asynccore_root: Path
) -> None:
    said = write(tmp_path, kind)
    command = "import sys; from asynccore.__main__ import command_line; sys.exit(command_line())"
    env = {"PYTHONPATH": f"{tmp_path}:{asynccore_root}"}
    run = ("-c", command, "run", "--engine", "asyncio", "app.py")
    assert python(*run, env=env) == (0, said, "")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", OWN)
def test_enable(kind: str, engine: str | None, installed: Environment, tmp_path: Path) -> None:
    # Other event loops are not in that environment.
    found = importlib.util.find_spec(engine) if engine in engines.HOSTS else None
    if found is not None and found.origin is not None:
        others = Path(found.origin).parent.parent
        (installed.site_packages / "others.pth").write_text(f"{others}\n")
    assert installed("-m", "asynccore", "enable")[0] == 0
    said = write(tmp_path, kind)
    env = {} if engine is None else {"ASYNCCORE_ENGINE": engine}
    assert installed("app.py", env=env) == (0, said, "")


@pytest.mark.skipif(sys.platform == "win32", reason="workers are forked")
def test_workers(python: Python, tmp_path: Path) -> None:
    said = write(tmp_path, "module")
    run = ("-m", "asynccore", "run", "--workers", "2", "--engine", "asyncio", "app.py")
    status, out, err = python(*run)
    assert (status, sorted(out.split()), err) == (0, sorted(2 * said.split()), "")


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no forkserver")
def test_children_of_multiprocessing(way: str, python: Python, tmp_path: Path) -> None:
    said = write(
        tmp_path,
        "module",
        f"""
import multiprocessing
if __name__ == "__main__":
    child = multiprocessing.get_context({way!r}).Process(target=talk)
    child.start()
    child.join()
    talk()
""",
    )
    status, out, err = python("-m", "asynccore", "run", "--engine", "asyncio", "app.py")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines.count("hello") == 2 and set(lines) == set(said.split())


ATTACH = """
import asyncio
from asynccore.compat import attach

async def main():
    ours, theirs = socket.socketpair()
    Echo(ours), Client(theirs)
    theirs.send(b"hello")
    await attach()

asyncio.run(main())
print(attach.__module__)
"""


def test_attaching(python: Python, tmp_path: Path) -> None:
    said = write(tmp_path, "module", ATTACH)
    assert python("-m", "asynccore", "run", "app.py") == (0, f"{said}asynccore.compat\n", "")


def test_tls_by_the_longer_name(python: Python, tmp_path: Path) -> None:
    """asyncio's transports need `ssl_ext`, too."""
    (tmp_path / "ssl_ext.py").write_text("WHO = 'mine'\n")
    (tmp_path / "compat.py").write_text("WHO = 'mine'\n")
    code = """
import compat, pickle, ssl_ext
import asynccore
from asynccore.compat.transports.tls_streams import TLSStreamChannel
from asynccore.ssl_ext import TLSError, tls_dispatcher_with_send
assert issubclass(TLSStreamChannel, tls_dispatcher_with_send)
assert pickle.loads(pickle.dumps(TLSError)) is TLSError is asynccore.ssl_ext.TLSError
assert asynccore.ssl_ext.errors.TLSError is TLSError
print(compat.WHO, ssl_ext.WHO, asynccore.compat.__name__, asynccore.ssl_ext.__name__)
"""
    said = "mine mine asynccore.compat asynccore.ssl_ext\n"
    assert python("-c", code) == (0, said, "")


def test_a_mixin_of_a_module_called_so_is_the_program_s(python: Python, tmp_path: Path) -> None:
    (tmp_path / "compat.py").write_text("class Mixin:\n    def touch(self): return 'mine'\n")
    code = """
import asyncore, compat
class Channel(asyncore.dispatcher, compat.Mixin): pass
print(Channel().touch())
"""
    assert python("-m", "asynccore", "run", "-c", code) == (0, "mine\n", "")


# Where the plain names are ours, both lead to the same. --------------------------------------

ORDERS = {
    "plain first": "import compat, ssl_ext, asynccore.compat, asynccore.ssl_ext",
    "longer first": "import asynccore.compat, asynccore.ssl_ext, compat, ssl_ext",
    "submodules first": "import asynccore.compat.twisted_transports.thread_pool as pool\n"
    "import asynccore.ssl_ext.peer, compat, ssl_ext",
    "as attributes": "import asynccore as a; a.compat, a.ssl_ext; import compat, ssl_ext",
}

SAME = """
import importlib, pkgutil, sys
import asynccore
for package in (compat, ssl_ext):
    alias = f"asynccore.{package.__name__}"
    assert sys.modules[alias] is package is getattr(asynccore, package.__name__)
    assert package.__spec__.name == package.__name__
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if "__main__" in found.name or "legacy_names." in found.name or "examples" in found.name:
            continue
        plain = importlib.import_module(found.name)
        assert importlib.import_module(f"asynccore.{found.name}") is plain, found.name
        assert plain.__spec__.name == plain.__name__ == found.name
from asynccore.compat import attach, create_server
assert attach is compat.attach and create_server is compat.create_server
try:
    import asynccore.compat.nothing
except ModuleNotFoundError as why:
    print(why.name)
"""


@pytest.mark.skipif(importlib.util.find_spec("twisted") is None, reason="Twisted is not installed")
@pytest.mark.parametrize("order", ORDERS)
def test_both_names_are_the_same(order: str, python: Python) -> None:
    said = "asynccore.compat.nothing\n"
    assert python("-c", ORDERS[order] + SAME) == (0, said, "")


def test_there_are_no_other_attributes() -> None:
    import asynccore

    with pytest.raises(AttributeError, match="module 'asynccore' has no attribute 'nothing'"):
        asynccore.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_nobody_pays_for_it_who_does_not_use_it(python: Python) -> None:
    code = """
import sys
before = list(sys.meta_path)
import asynccore
asynccore.dispatcher
print(sys.meta_path == before, {"compat", "ssl_ext"} & {name.split(".")[0] for name in sys.modules})
"""
    assert python("-c", code) == (0, "True set()\n", "")
