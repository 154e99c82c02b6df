"""fork() after channels were created: parent and child both go on, neither disturbs the other."""

from __future__ import annotations

import os

import pytest

from tests.corners.support import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() on this platform")

# In an interpreter of its own, for forking a process with threads is deprecated since Python 3.12.
COMMON = """
    import os, socket, sys, time
    import asynccore

    channels = eval(sys.argv[1])

    class Reader(asynccore.dispatcher):
        received = b""
        def writable(self):
            return False
        def handle_read(self):
            self.received += self.recv(100)
        def handle_close(self):
            self.close()

    class Buffered(asynccore.dispatcher_with_send):
        received = b""
        def handle_read(self):
            self.received += self.recv(100)
        def handle_close(self):
            self.close()

    def until(condition, map=None):
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "never got there"
            assert channels if map is None else map, "the map is empty"
            asynccore.loop(timeout=0.05, count=1, map=channels if map is None else map)

    def child(function):
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0, "the child failed"
        else:
            status = 1
            try:
                function()
                status = 0
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                os._exit(status)

    pairs = [socket.socketpair() for _ in range(4)]
    made = [
        kind(end, channels)
        for kind, (end, peer) in zip((Reader, Buffered, Reader, Buffered), pairs)
    ]
    peers = [peer for end, peer in pairs]
    asynccore.loop(timeout=0, count=2, map=channels)
"""

FINISH = """
    asynccore.close_all(channels)
    for peer in peers:
        peer.close()
    print("well")
"""

CHILD_CLOSES = """
    def in_child():
        asynccore.close_all(channels)
        asynccore.loop(map=channels)

    child(in_child)
    for channel, peer in zip(made, peers):
        peer.send(b"still there")
        until(lambda: channel.received)
        assert channel.received == b"still there"
"""

CHILD_LOOPS_ON_ITS_OWN_MAP = """
    def in_child():
        own = {}
        end, peer = socket.socketpair()
        channel = Buffered(end, own)
        peer.send(b"hello")
        until(lambda: channel.received, own)
        channel.close()
        peer.close()
        asynccore.loop(map=own)

    child(in_child)
    for channel, peer in zip(made, peers):
        peer.send(b"still there")
        until(lambda: channel.received)
"""

CHILD_GOES_ON_WITH_THE_CHANNELS = """
    def in_child():
        for channel in made[:2]:
            channel.close()
        peers[2].send(b"to the child")
        until(lambda: made[2].received)
        assert made[2].received == b"to the child"
        made[3].send(b"from the child")
        assert peers[3].recv(100) == b"from the child"

    child(in_child)
    for channel, peer in zip(made, peers):
        peer.send(b"to the parent")
        until(lambda: channel.received)
        assert channel.received == b"to the parent", channel.received
"""

FORK_IN_A_HANDLER = """
    class Forks(Reader):
        forked = False
        def handle_read(self):
            super().handle_read()
            if not self.forked:
                self.forked = True
                self.pid = os.fork()

    end, peer = socket.socketpair()
    peers.append(peer)
    forking = Forks(end, channels)
    for each in peers:
        each.send(b"x")
    until(lambda: forking.forked)
    # Both go on here, each with its own half of the channels.
    mine = made[:2] if forking.pid else made[2:]
    if forking.pid:
        assert os.waitpid(forking.pid, 0)[1] == 0, "the child failed"
        others = made[2:]
    else:
        others = made[:2]
    for channel in others + [forking]:
        channel.close()
    until(lambda: all(channel.received == b"x" for channel in mine))
    if not forking.pid:
        os._exit(0)
    peers[0].send(b"y")
    until(lambda: made[0].received == b"xy")
"""

FORK_IN_A_PREDICATE = """
    class Forks(Reader):
        pid = None
        def readable(self):
            if self.pid is None:
                self.pid = os.fork()
                if self.pid:
                    # They share the sockets: one after the other.
                    assert os.waitpid(self.pid, 0)[1] == 0, "the child failed"
            return True

    end, peer = socket.socketpair()
    peers.append(peer)
    forking = Forks(end, channels)
    asynccore.loop(timeout=0, count=1, map=channels)
    assert len(channels) == 5, channels
    peers[0].send(b"x")
    until(lambda: made[0].received == b"x")
    peer.send(b"y")
    until(lambda: forking.received == b"y")
    if not forking.pid:
        os._exit(0)
"""

FORKING_SERVER = """
    class Server(asynccore.dispatcher):
        pids = []
        def handle_accepted(self, sock, addr):
            pid = os.fork()
            if pid:
                self.pids.append(pid)
                sock.close()
                return
            status = 1
            try:
                self.close()
                asynccore.close_all(channels)
                own = {}
                channel = Buffered(sock, own)
                channel.send(b"hello from the child")
                until(lambda: channel.received, own)
                channel.send(channel.received.upper())
                channel.close()
                asynccore.loop(map=own)
                status = 0
            finally:
                os._exit(status)

    server = Server(map=channels)
    server.create_socket()
    server.bind(("127.0.0.1", 0))
    server.listen(5)
    for number in range(3):
        with socket.create_connection(server.socket.getsockname(), 10) as client:
            until(lambda: len(server.pids) == number + 1)
            assert client.recv(100) == b"hello from the child"
            client.send(b"bye")
            assert client.recv(100) == b"BYE"
            assert client.recv(100) == b""
        assert os.waitpid(server.pids[-1], 0)[1] == 0
    for channel, peer in zip(made, peers):
        peer.send(b"still there")
        until(lambda: channel.received)
"""


@pytest.mark.parametrize(
    "story",
    [
        CHILD_CLOSES,
        CHILD_LOOPS_ON_ITS_OWN_MAP,
        CHILD_GOES_ON_WITH_THE_CHANNELS,
        FORK_IN_A_HANDLER,
        FORK_IN_A_PREDICATE,
        FORKING_SERVER,
    ],
    ids=[
        "child closes all",
        "child loops on its own map",
        "child goes on with the channels",
        "fork in a handler",
        "fork in a predicate",
        "forking server",
    ],
)
def test_fork(story: str, poller_name: str) -> None:
    kind = "{}" if poller_name == "poll" else "asynccore.socket_map"
    assert run_script(COMMON + story + FINISH, poller_name, kind) == "well\n"
