"""Programs that close every descriptor but their own, as daemons do (`os.closerange`).

Ours are among them, and their numbers are the program's afterwards: its files, its sockets. The
loop goes on with new ones, and nothing of the program's is read, written or closed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any

import pytest

from tests.conftest import available_pollers
from tests.corners.support import run_script
from tests.field.looping import everywhere

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are no descriptors there")

# How the program goes on with the numbers: files, pipes that have something to read, sockets, or
# the very kinds of descriptor that ours were.
TAKEN = ("nothing", "files", "pipes", "sockets", "pollers")

PROGRAM = """
    import os, select, socket, sys, tempfile, warnings
    warnings.simplefilter("ignore")  # what is left open to the end
    import asynccore

    taken, kind, when = sys.argv[1:]
    channels = {} if kind == "plain" else asynccore.socket_map
    got = []

    class Echo(asynccore.dispatcher_with_send):
        def handle_read(self):
            data = self.recv(100)
            if data == b"close":
                close_others()
            self.send(data)
        def handle_close(self):
            self.close()

    class Server(asynccore.dispatcher):
        def __init__(self):
            super().__init__(map=channels)
            self.create_socket()
            self.bind(("127.0.0.1", 0))
            self.listen(5)
        def handle_accepted(self, sock, addr):
            Echo(sock, channels)

    server = Server()
    client = socket.create_connection(server.socket.getsockname())
    client.settimeout(10)
    mine, ends = [], []

    def loop():
        for _ in range(6):
            asynccore.loop(timeout=0.02, map=channels, count=1)

    def close_others():
        keep = {client.fileno(), *channels}
        for fd in range(3, 64):
            if fd not in keep:
                try:
                    os.close(fd)
                except OSError:
                    pass
        if taken == "files":
            for _ in range(8):
                fd = os.open(tempfile.mkstemp()[1], os.O_RDWR)
                os.write(fd, b"text")
                os.lseek(fd, 0, os.SEEK_SET)
                mine.append(fd)
        elif taken == "pipes":
            for _ in range(5):
                mine.extend(os.pipe())
                os.write(mine[-1], b"text")
        elif taken == "sockets":
            for _ in range(5):
                pair = socket.socketpair()
                pair[1].send(b"text")
                ends.append(pair)
                mine.extend(end.fileno() for end in pair)
        elif taken == "pollers" and hasattr(select, "epoll"):
            for _ in range(3):
                a, b = socket.socketpair()
                e = select.epoll()
                e.register(a, select.EPOLLIN)
                ends.append((a, b, e))
                mine.extend((a.fileno(), b.fileno(), e.fileno()))
        elif taken == "pollers":
            mine.extend(os.pipe())
        names.extend(os.fstat(fd) for fd in mine)

    names = []

    def talk(text):
        client.send(text)
        loop()
        answer = client.recv(100)
        assert answer == text, answer

    loop()
    talk(b"before")
    if when == "in a handler":
        talk(b"close")
    else:
        close_others()
    asynccore.call_soon_threadsafe(got.append, "called", map=channels)
    talk(b"after")
    talk(b"again")
    assert got == ["called"]
    second = socket.create_connection(server.socket.getsockname())
    loop()
    assert len(channels) == 3, channels
    asynccore.close_all(channels)
    asynccore.loop(timeout=0, map=channels, count=1)
    client.close(); second.close()

    # What is the program's is as it left it.
    for fd, name in zip(mine, names):
        found = os.fstat(fd)
        assert (found.st_ino, found.st_dev, found.st_mode) == (
            name.st_ino, name.st_dev, name.st_mode), fd
    if taken == "files":
        for fd in mine:
            assert os.read(fd, 9) == b"text" and os.fstat(fd).st_size == 4
    elif taken == "pipes":
        for fd in mine[::2]:
            assert os.read(fd, 9) == b"text"
    elif taken == "sockets":
        for left, right in ends:
            assert left.recv(9) == b"text"
            left.setblocking(False); right.setblocking(False)
            for end in left, right:
                try:
                    raise AssertionError(end.recv(9))
                except BlockingIOError:
                    pass
            left.close(); right.close()
    elif taken == "pollers":
        for a, b, e in ends:
            assert e.poll(0) == []
            b.send(b"x")
            assert e.poll(0) == [(a.fileno(), select.EPOLLIN)]
            a.close(); b.close(); e.close()
    print("served")
"""


@pytest.mark.parametrize("when", ["between", "in a handler"])
@pytest.mark.parametrize("kind", ["reporting", "plain"])
@pytest.mark.parametrize("taken", TAKEN)
def test_the_loop_serves_on_and_touches_nothing(taken: str, kind: str, when: str) -> None:
    assert run_script(PROGRAM, None, taken, kind, when) == "served\n"


@pytest.mark.parametrize(("taken", "when"), [("pollers", "between"), ("pipes", "in a handler")])
@everywhere
def test_over_every_engine(name: str, taken: str, when: str) -> None:
    assert run_script(PROGRAM, name, taken, "reporting", when) == "served\n"


SIGNALLED = """
    import os, signal, socket, sys, tempfile, warnings
    warnings.simplefilter("ignore")  # what is left open to the end
    import asynccore

    class Quiet(asynccore.dispatcher_with_send):
        pass

    a, b = socket.socketpair()
    Quiet(a)

    def close_others():
        for fd in range(3, 64):
            if fd not in (a.fileno(), b.fileno()):
                try:
                    os.close(fd)
                except OSError:
                    pass
        for _ in range(6):
            files.append(os.open(tempfile.mkstemp()[1], os.O_RDWR))

    files = []
    asynccore.call_later(0, close_others)
    signal.signal(signal.SIGALRM, lambda *args: asynccore.stop())
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    asynccore.loop(timeout=600)
    asynccore.close_all()
    assert [os.fstat(fd).st_size for fd in files] == [0] * 6
    print("ended")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer()")
@pytest.mark.parametrize("name", available_pollers())
def test_a_signal_is_written_to_no_file_of_the_program(name: str) -> None:
    assert run_script(SIGNALLED, name) == "ended\n"


DROPPED = """
    import gc, os, socket, tempfile, warnings
    warnings.simplefilter("ignore")  # what is left open to the end
    import asynccore

    channels = asynccore.ChannelMap()
    a, b = socket.socketpair()
    asynccore.dispatcher(a, channels).writable = lambda: False
    asynccore.loop(timeout=0, map=channels, count=1)
    os.closerange(3, 64)
    files = [os.open(tempfile.mkstemp()[1], os.O_RDWR) for _ in range(20)]
    a.detach(); b.detach()
    channels.clear()
    asynccore.loop(timeout=0, map=channels, count=1)
    del channels
    gc.collect()
    for fd in files:
        os.fstat(fd)
    print("whole")
"""


@pytest.mark.parametrize("name", available_pollers())
def test_a_map_that_is_dropped_closes_nothing_of_the_program(name: str) -> None:
    assert run_script(DROPPED, name) == "whole\n"


def test_a_descriptor_that_is_still_ours_is_closed(pair: Any) -> None:
    """The other side: nothing leaks where nobody interfered (the leak check counts them)."""
    import asynccore

    for _ in range(3):
        channels: dict[int, Any] = {}
        end, _ = pair()
        asynccore.dispatcher(end, channels)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        asynccore.loop(timeout=0, map=channels, count=1)
        asynccore.close_all(channels)
        after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        assert after <= before
        assert isinstance(end, socket.socket)
