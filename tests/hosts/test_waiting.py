"""Scripts whose own `loop()` waits in a host, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PARTS = """
import asyncore, socket, sys, threading
class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        data = self.recv(100)
        if data: self.send(data)
def pair(map=None):
    peer, own = socket.socketpair()
    peer.settimeout(30)
    return Echo(own, map), peer
"""


def run(engine: str, script: str) -> list[str]:
    if engine == ON_ASYNCIO:
        engine = "twisted"
        script = "from twisted.internet import asyncioreactor\nasyncioreactor.install()\n" + script
    elif engine in ON_LOOPS:
        engine = engine.split()[0]
        script = (
            "import asyncio\nfrom twisted.internet import asyncioreactor\n"
            f"import {engine}; loop = {engine}.new_event_loop(); asyncio.set_event_loop(loop)\n"
            "asyncioreactor.install(loop)\n"
        ) + script
    if getattr(importlib.util.find_spec(engine), "origin", None) is None:
        pytest.skip(f"{engine} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "asynccore", "run", "--engine", engine, "-c", PARTS + script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


# The engine "twisted" where the program has installed the reactor that runs on asyncio's loop.
ON_ASYNCIO = "twisted on asyncio"
ENGINES = ["asyncio", "uvloop", "twisted", ON_ASYNCIO]
LOOPS = ["asyncio", "uvloop"]
# The engines "asyncio" and "uvloop" where the program has installed a reactor on that loop.
ON_LOOPS = ["asyncio with a reactor", "uvloop with a reactor"]
REACTORS = ["twisted", ON_ASYNCIO, *ON_LOOPS]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loop_with_counts_again_and_within_handlers(engine: str) -> None:
    script = """
channel, peer = pair()
for n in range(3):
    peer.send(b"%d" % n)
    asyncore.loop(timeout=30, count=1)
    print(peer.recv(10))
def nested():
    del channel.handle_read
    asyncore.loop(timeout=0, count=2)
channel.handle_read = nested
peer.send(b"nested")
asyncore.loop(timeout=30, count=1, use_poll=True)
print(peer.recv(10))
asyncore.poll(0)
peer.close()
asyncore.loop()
print(asyncore.socket_map)
"""
    assert run(engine, script) == ["b'0'", "b'1'", "b'2'", "b'nested'", "{}"]


@pytest.mark.parametrize("engine", LOOPS)
def test_tasks_of_the_program_go_on(engine: str) -> None:
    script = """
import asyncio
channel, peer = pair()
asyncore.loop(timeout=0, count=1)
loop = asyncio.get_event_loop()
async def main():
    reader, writer = await asyncio.open_connection(sock=peer)
    writer.write(b"from a task")
    print(await reader.read(100))
    writer.close()
task = loop.create_task(main())
asyncore.loop()
print(task.done(), asyncore.socket_map)
"""
    assert run(engine, script) == ["b'from a task'", "True {}"]


@pytest.mark.parametrize("engine", LOOPS)
def test_the_main_code_finds_the_engines_loop(engine: str) -> None:
    """Before any pass, and also where asyncio would make no loop (Python 3.14 and later)."""
    script = """
import asyncio
loop = asyncio.get_event_loop()
done = []
async def main():
    done.append(asyncio.get_running_loop() is loop)
task = loop.create_task(main())
channel, peer = pair()
while not done:
    asyncore.loop(timeout=1, count=1)
print(done, type(loop).__module__.partition(".")[0], asyncio.get_event_loop() is loop)
channel.close(); peer.close()
"""
    assert run(engine, script) == [f"[True] {engine} True"]


@pytest.mark.parametrize("engine", LOOPS)
def test_a_loop_that_the_program_closes_is_replaced(engine: str) -> None:
    script = """
import asyncio
channel, peer = pair()
asyncore.loop(timeout=0, count=1)
asyncio.get_event_loop().close()
peer.send(b"on")
asyncore.loop(timeout=30, count=1)
print(peer.recv(10))
async def nothing(): pass
asyncio.run(nothing())
peer.send(b"and on")
asyncore.loop(timeout=30, count=1)
print(peer.recv(10))
peer.close()
asyncore.loop()
"""
    assert run(engine, script) == ["b'on'", "b'and on'"]


@pytest.mark.parametrize("engine", LOOPS)
def test_a_map_and_a_loop_for_each_thread(engine: str) -> None:
    script = """
import os
count = lambda: len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
def work():
    channels = {}
    channel, peer = pair(channels)
    peer.send(b"x")
    asyncore.loop(timeout=30, map=channels, count=1)
    assert peer.recv(10) == b"x"
    peer.close()
    asyncore.loop(map=channels)
before = None
for _ in range(3):
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    before = before or count()
print(count() - before)
"""
    assert run(engine, script) == ["0"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_forked_child_leaves_the_parents_host_alone(engine: str) -> None:
    script = """
import os
channel, peer = pair()
asyncore.loop(timeout=0, count=1)
child = os.fork()
if child == 0:
    peer.send(b"child")
    asyncore.loop(timeout=1000, count=1)
    assert peer.recv(10) == b"child"
    channel.close()
    asyncore.loop()
    os._exit(0)
print(os.waitpid(child, 0)[1])
peer.send(b"parent")
asyncore.loop(timeout=1000, count=1)
print(peer.recv(10))
channel.close(); peer.close()
"""
    assert run(engine, script) == ["0", "b'parent'"]


@pytest.mark.skipif(sys.platform == "win32", reason="no setrlimit() on Windows")
@pytest.mark.parametrize("spare", ["kept", "taken"])
def test_uvloop_is_run_when_no_descriptor_is_left(spare: str) -> None:
    """It opens two for each run, and if there are none it could never be run again."""
    script = f"""
import asyncio, os, resource
from asynccore.engine import engine_for
channel, peer = pair()
asyncore.loop(timeout=0, count=1)
asyncore.loop(timeout=0, count=1)
loop = asyncio.get_event_loop()
if {spare!r} == "taken":
    engine_for(asyncore.socket_map).poller._reserved.close()
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (100, most))
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
ran = []
loop.call_soon(ran.append, "now")
peer.send(b"without")
asyncore.loop(timeout=30, count=1)
asyncore.loop(timeout=0.01, count=1)  # nothing is ready: the host's own work has its turn
print(peer.recv(10), ran)
for fd in taken:
    os.close(fd)
loop.call_soon(ran.append, "later")
peer.send(b"with")
asyncore.loop(timeout=30, count=1)
asyncore.loop(timeout=0.01, count=1)
print(peer.recv(10), ran)
peer.close()
asyncore.loop()
"""
    # The channels go on in any case, and what waits in uvloop as soon as there are descriptors.
    meanwhile = ["now"] if spare == "kept" else []
    assert run("uvloop", script) == [f"b'without' {meanwhile}", "b'with' ['now', 'later']"]


@pytest.mark.parametrize("engine", REACTORS)
def test_a_deferred_to_a_thread_ends_with_the_script(engine: str) -> None:
    script = """
from twisted.internet import reactor, threads
channel, peer = pair()
threads.deferToThread(lambda: 7).addCallback(lambda n: (print(n), channel.close()))
asyncore.loop()
print("over")
peer.close()
"""
    assert run(engine, script) == ["7", "over"]


@pytest.mark.parametrize("engine", ON_LOOPS)
def test_a_reactor_on_a_closed_loop_lets_the_program_end(engine: str) -> None:
    script = """
from twisted.internet import reactor, threads
channel, peer = pair()
threads.deferToThread(lambda: 7).addCallback(lambda n: (print(n), channel.close()))
asyncore.loop()
loop.close()
peer.close()
print("over")
"""
    assert run(engine, script) == ["7", "over"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX processes")
@pytest.mark.parametrize("way", ["pidfd", "timer"])
@pytest.mark.parametrize("engine", REACTORS)
def test_the_end_of_a_child_that_has_closed_its_pipes(engine: str, way: str) -> None:
    script = """
import os, signal
from twisted.internet import protocol, reactor
channel, peer = pair()

class Watch(protocol.ProcessProtocol):
    def __init__(self, number):
        self.number = number
    def processEnded(self, reason):
        print(self.number, reason.value.exitCode)
        if self.number == 2:
            channel.close()
        else:
            start(2)

def start(number):
    command = "exec <&- >&- 2>&-; sleep 0.1; exit 3"
    reactor.spawnProcess(Watch(number), "/bin/sh", ["sh", "-c", command])

start(1)
asyncore.loop()
peer.close()
print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL)
"""
    if way == "timer":
        script = "import os; vars(os).pop('pidfd_open', None)" + script
    assert run(engine, script) == ["1 3", "2 3", "True"]


@pytest.mark.parametrize("engine", REACTORS)
def test_a_reactor_does_not_hold_up_what_is_ready(engine: str) -> None:
    """The one on asyncio's loop has an `iterate` that would."""
    script = """
from twisted.internet import reactor
channel, peer = pair()
peer.send(b"x")
asyncore.loop(timeout=1000, count=1)
print(peer.recv(10))
reactor.callLater(0.01, peer.send, b"y")
asyncore.loop(timeout=1000, count=1)
print(peer.recv(10))
reactor.callLater(0, print, "called")
asyncore.loop(timeout=0.01, count=1)
peer.close()
asyncore.loop()
"""
    assert run(engine, script) == ["b'x'", "b'y'", "called"]


HERE = "signal.raise_signal(signal.SIGINT)"
IN_THE_REACTOR = {
    "delayed call": f"reactor.callLater(0, lambda: {HERE})",
    "call of a thread": (
        f"threading.Thread(target=reactor.callFromThread, args=[lambda: {HERE}]).start()"
    ),
    "protocol": """
class Interrupted(protocol.Protocol):
    def connectionMade(self):
        reactor.callLater(0, peer2.send, b"x")
    def dataReceived(self, data):
        signal.raise_signal(signal.SIGINT)
peer2, own = socket.socketpair()
own.setblocking(False)
reactor.callWhenRunning(
    lambda: reactor.adoptStreamConnection(own.fileno(), socket.AF_UNIX, factory))
factory = protocol.Factory.forProtocol(Interrupted)
""",
    "sys.exit()": "reactor.callLater(0, lambda: sys.exit(7))",
    "ExitNow": "reactor.callLater(0, lambda: exec('raise asyncore.ExitNow'))",
}


@pytest.mark.parametrize(
    ("engine", "where"),
    [
        *(("twisted", where) for where in IN_THE_REACTOR),
        *(
            (engine, where)
            for engine in (ON_ASYNCIO, *ON_LOOPS)
            for where in ("delayed call", "sys.exit()")
        ),
    ],
)
def test_what_leaves_a_loop_leaves_it_out_of_the_reactors_callbacks_too(
    engine: str, where: str
) -> None:
    """Twisted takes it for a mistake of the program's, writes it to its log, and goes on."""
    script = f"""
import signal
from twisted.internet import protocol, reactor
channel, peer = pair()
{IN_THE_REACTOR[where]}
try:
    asyncore.loop(timeout=1000)
except (KeyboardInterrupt, SystemExit, asyncore.ExitNow) as why:
    print(type(why).__name__)
reactor.callLater(0, print, "goes on")
asyncore.loop(timeout=0.01, count=1)
peer.close()
asyncore.loop()
"""
    left = {"sys.exit()": "SystemExit", "ExitNow": "ExitNow"}.get(where, "KeyboardInterrupt")
    assert run(engine, script)[-2:] == [left, "goes on"]


@pytest.mark.parametrize("engine", REACTORS)
def test_stopping_the_reactor_ends_the_loop(engine: str) -> None:
    script = """
from twisted.internet import reactor
channel, peer = pair()
reactor.callLater(0, reactor.stop)
asyncore.loop()
print(len(asyncore.socket_map))
peer.send(b"natively")
asyncore.loop(timeout=30, count=1)
print(peer.recv(10))
channel.close(); peer.close()
"""
    assert run(engine, script) == ["1", "b'natively'"]


def test_a_second_thread_waits_beside_the_reactor() -> None:
    script = """
channel, peer = pair()
said = []
def other():
    channels = {}
    channel, peer = pair(channels)
    peer.send(b"x")
    asyncore.loop(timeout=30, map=channels, count=1)
    said.append(peer.recv(10))
    channel.close(); peer.close()
thread = threading.Thread(target=other)
def handle_read():
    channel.recv(10)
    thread.start()
    thread.join()
    channel.close()
channel.handle_read = handle_read
peer.send(b"x")
asyncore.loop()
peer.close()
print(said)
"""
    assert run("twisted", script) == ["[b'x']"]


@pytest.mark.parametrize("engine", LOOPS)
def test_attach_beside_an_engine_that_is_a_host(engine: str) -> None:
    script = """
import asyncio, compat
channel, peer = pair()
asyncore.loop(timeout=0, count=1)
async def main():
    peer.setblocking(False)
    async with compat.attach():
        for _ in range(2):
            peer.send(b"x")
            print(await asyncio.get_running_loop().sock_recv(peer, 10))
asyncio.run(main())
peer.settimeout(30)
peer.send(b"loop")
asyncore.loop(timeout=30, count=1)
print(peer.recv(10))
channel.close(); peer.close()
"""
    assert run(engine, script) == ["b'x'", "b'x'", "b'loop'"]


def test_loop_in_a_coroutine_says_what_to_do() -> None:
    script = """
import asyncio
channel, peer = pair()
async def main():
    try:
        asyncore.loop()
    except RuntimeError as why:
        print(why)
asyncio.run(main())
channel.close(); peer.close()
"""
    (said,) = run("asyncio", script)
    assert "compat.attach()" in said
