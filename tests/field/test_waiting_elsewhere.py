"""Waiting by somebody else's select: gevent's, eventlet's, a test's, the program's own."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import asynccore
from asynccore import pollers
from asynccore.engine import Engine, engine_for
from asynccore.engine.by_names import EngineByNames

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["default map", "plain dict"])
def map(request: pytest.FixtureRequest) -> Iterator[Any]:
    made: Any = asynccore.ChannelMap() if request.param == "default map" else {}
    yield made
    asynccore.close_all(made)


@pytest.fixture(params=["default", *pollers.available()])
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The engine that the environment names, which a replaced select goes before."""
    if request.param != "default":
        monkeypatch.setenv("ASYNCCORE_ENGINE", request.param)
    return str(request.param)


class Reader(asynccore.dispatcher):
    def __init__(self, sock: socket.socket, map: Any) -> None:
        super().__init__(sock, map)
        self.received = b""

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.received += self.recv(100)


@pytest.fixture
def reader(map: Any) -> Iterator[tuple[Reader, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield Reader(ours, map), theirs
    theirs.close()


class Selecting:
    """A module with a `select` that counts, and whatever else the real one has."""

    def __init__(self) -> None:
        self.timeouts: list[Any] = []
        self.seen: list[tuple[list[int], list[int], list[int]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(select, name)

    def select(self, r: Any, w: Any, x: Any, timeout: Any = None) -> Any:
        self.timeouts.append(timeout)
        self.seen.append((list(r), list(w), list(x)))
        return select.select(r, w, x, timeout)


def test_the_module_s_select_is_used_as_long_as_it_is_there(
    reader: Any, map: Any, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, peer = reader
    asynccore.loop(timeout=0, map=map, count=1)
    before = engine_for(map).poller_name()
    fake = Selecting()
    with monkeypatch.context() as patch:
        patch.setattr(asynccore, "select", fake)
        peer.send(b"one")
        asynccore.loop(timeout=5, map=map, count=1)
        assert channel.received == b"one"
        # The very timeout, and one call for one pass.
        assert fake.timeouts == [5]
        assert channel._fileno in fake.seen[0][0]
        peer.send(b"two")
        asynccore.poll(5, map)
        assert channel.received == b"onetwo"
        asynccore.loop(timeout=0, map=map, count=3)
        assert fake.timeouts == [5, 5, 0, 0, 0]
    peer.send(b"three")
    asynccore.loop(timeout=5, map=map, count=1)
    assert channel.received == b"onetwothree"
    assert len(fake.timeouts) == 5
    assert engine_for(map).poller_name() == before
    assert type(engine_for(map)) is Engine


def test_a_patched_function_of_the_real_module(reader: Any, map: Any, chosen: str) -> None:
    channel, peer = reader
    asynccore.loop(timeout=0, map=map, count=1)
    with mock.patch("select.select", return_value=([channel._fileno], [], [])) as patched:
        peer.send(b"x")
        asynccore.loop(timeout=30, map=map, count=1)
        assert channel.received == b"x"
        assert patched.call_count == 1
    with mock.patch("select.select", return_value=([], [], [])) as patched:
        # Nothing is found: as ever, that is the end of the pass, however early it comes.
        asynccore.loop(timeout=30, map=map, count=2)
        assert patched.call_count == 2
    with mock.patch("select.select", side_effect=KeyError("from select")):
        with pytest.raises(KeyError, match="from select"):
            asynccore.loop(timeout=30, map=map, count=1)
    asynccore.loop(timeout=0, map=map, count=1)
    assert type(engine_for(map)) is Engine


def test_one_that_is_patched_before_there_is_an_engine() -> None:
    with mock.patch("select.select", return_value=([], [], [])) as patched:
        map: dict[Any, Any] = {}
        ours, theirs = socket.socketpair()
        Reader(ours, map)
        asynccore.loop(timeout=30, map=map, count=1)
        assert patched.call_count == 1
        asynccore.close_all(map)
        theirs.close()


def test_what_is_replaced_by_a_handler_counts_from_the_next_pass(
    reader: Any, map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, peer = reader
    fake = Selecting()
    channel.handle_read = lambda: monkeypatch.setattr(asynccore, "select", fake)
    peer.send(b"x")
    asynccore.loop(timeout=0.01, map=map, count=1)
    assert fake.timeouts == []
    channel.handle_read = lambda: channel.recv(10)
    asynccore.loop(timeout=5, map=map, count=1)
    assert fake.timeouts == [5]


def test_what_is_patched_in_the_middle_of_a_loop_is_seen_within_a_second(
    map: Any, reader: Any
) -> None:
    engine = engine_for(map)
    seen: list[int] = []

    def patched(*args: Any) -> Any:
        seen.append(1)
        asynccore.stop(map=map)
        return real(*args)

    real = select.select
    with mock.patch.object(select, "select", real):
        asynccore.call_later(0, setattr, select, "select", patched, map=map)
        asynccore.loop(timeout=5, map=map, count=5)
        assert seen and type(engine) is EngineByNames
    asynccore.loop(timeout=0, map=map, count=1)
    assert type(engine) is Engine


@pytest.mark.skipif(not hasattr(select, "poll"), reason="no poll() on this platform")
def test_poll_of_the_module_is_what_poll2_waits_by(
    reader: Any, map: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, peer = reader
    made: list[int] = []

    class Counting:
        def __init__(self) -> None:
            made.append(1)
            self.real = select.poll()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    fake = types.SimpleNamespace(**{k: getattr(select, k) for k in dir(select) if k[0] != "_"})
    fake.poll = Counting
    monkeypatch.setattr(asynccore, "select", fake)
    peer.send(b"one")
    asynccore.poll2(5, map)
    assert (channel.received, made) == (b"one", [1])
    peer.send(b"two")
    asynccore.loop(timeout=5, use_poll=True, map=map, count=1)
    assert channel.received == b"onetwo"
    # `poll` of the module goes by its `select`, which is the real one.
    made.clear()
    peer.send(b"x")
    asynccore.loop(timeout=5, map=map, count=1)
    assert (channel.received, made) == (b"onetwox", [])


def test_timers_and_calls_from_threads_end_the_program_s_wait(
    map: Any, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynccore, "select", Selecting())
    ran: list[str] = []
    asynccore.call_later(0.01, ran.append, "timer", map=map)
    asynccore.loop(timeout=60, map=map, count=1)
    assert ran == ["timer"]
    asynccore.call_soon_threadsafe(ran.append, "call", map=map)
    asynccore.loop(timeout=60, map=map, count=1)
    assert ran == ["timer", "call"]


def test_a_descriptor_that_select_itself_could_not_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    poller = pollers.PROGRAMS[0]()
    with monkeypatch.context() as patch:
        patch.setattr("os.fstat", lambda fd: None)
        poller.set(5000, pollers.READ)
    assert poller.interest == {5000: pollers.READ}


def test_it_costs_nothing_where_nothing_is_replaced(map: Any, reader: Any) -> None:
    asynccore.loop(timeout=0, map=map, count=2)
    engine = engine_for(map)
    assert type(engine) is Engine
    assert not {"make_pass", "_dispatch", "pump", "enter"} & set(vars(engine))


# Green threads ---------------------------------------------------------------------------------

HEAD = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {root!r})
from compat import install
"""

ECHO = """
import socket, time
class Echo(asyncore.dispatcher_with_send):
    def handle_read(self): self.send(self.recv(100))
class Server(asyncore.dispatcher):
    def __init__(self):
        super().__init__(); self.create_socket(); self.bind(("127.0.0.1", 0)); self.listen(5)
    def handle_accepted(self, sock, addr): Echo(sock)
server = Server()
ticks = []
def tick():
    while len(ticks) < 1000: ticks.append(1); sleep(0.001)
def client():
    with socket.create_connection(server.socket.getsockname()) as c:
        for word in (b"hello", b"green", b"world"):
            c.sendall(word)
            print(c.recv(100).decode(), len(ticks) > 0, flush=True)
            sleep(0.02)
    asyncore.stop()
spawn(tick); spawn(client)
asyncore.loop(timeout=5)
print("ticked", len(ticks) >= 5)
asyncore.close_all()
"""

EXPECTED = "hello True\ngreen True\nworld True\nticked True\n"

WAYS = {
    "gevent, patched first": """
from gevent import monkey; monkey.patch_all()
install(); import asyncore
from gevent import spawn, sleep
""",
    "gevent, patched last": """
install(); import asyncore
from gevent import monkey; monkey.patch_all()
from gevent import spawn, sleep
""",
    "gevent, by assignment": """
install(); import asyncore
import gevent.select, gevent.socket, sys
asyncore.select = gevent.select
asyncore.socket = sys.modules["socket"] = gevent.socket
from gevent import spawn, sleep
""",
    "eventlet, patched first": """
import eventlet; eventlet.monkey_patch()
install(); import asyncore
from eventlet import spawn, sleep
""",
    "eventlet, patched last": """
install(); import asyncore
import eventlet; eventlet.monkey_patch()
from eventlet import spawn, sleep
""",
}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HEAD.format(root=str(ROOT)) + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("way", WAYS)
def test_green_threads_go_on_while_a_loop_waits(way: str) -> None:
    done = run(WAYS[way] + ECHO)
    assert (done.stdout, done.returncode) == (EXPECTED, 0), done.stderr


@pytest.mark.parametrize("mode", ["", "use_poll=True, "])
@pytest.mark.parametrize("way", [way for way in WAYS if "patched" in way])
def test_what_one_green_thread_does_ends_the_wait_of_another(way: str, mode: str) -> None:
    program = f"""
import socket
a, b = socket.socketpair()
class Waiting(asyncore.dispatcher_with_send):
    def handle_read(self): print(self.recv(10).decode())
channel = Waiting(a)
def other():
    sleep(0.01); channel.send(b"out")
    print(b.recv(10).decode()); b.send(b"in"); sleep(0.01); channel.close()
spawn(other)
asyncore.loop({mode}timeout=60)
print("over")
"""
    done = run(WAYS[way] + textwrap.dedent(program))
    assert (done.stdout, done.returncode) == ("out\nin\nover\n", 0), done.stderr


@pytest.mark.parametrize("before", ["", "import asyncore"])
def test_eventlet_s_import_patched(before: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            """
            import asyncore, socket
            def run():
                a, b = socket.socketpair()
                class Waiting(asyncore.dispatcher): pass
                Waiting(a).writable = lambda: False
                asyncore.loop(timeout=0.2, count=1)
                asyncore.close_all(); b.close()
            """
        )
    )
    program = f"""
from compat.command_line.runner import NAMES_FOLDER
sys.path[:0] = [str(NAMES_FOLDER), {str(tmp_path)!r}]
{before}
import eventlet
# What a program imported before stays what it is, as ever: so that name is imported anew.
sys.modules.pop("asyncore", None)
program = eventlet.import_patched("program")
ticks = []
def tick():
    while len(ticks) < 1000: ticks.append(1); eventlet.sleep(0.01)
eventlet.spawn(tick)
program.run()
print(len(ticks) > 5)
"""
    done = run(program)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr


def test_the_program_of_the_page() -> None:
    page = (ROOT / "docs" / "green-threads.md").read_text(encoding="utf-8")
    (program,) = [part.partition("```")[0] for part in page.split("```python\n")[1:]]
    done = run("install()\n" + program)
    assert (done.stdout, done.returncode) == ("b'hello'\n", 0), done.stderr
