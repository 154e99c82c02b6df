"""A program with a loop in each of several threads, each with its own map, over every engine."""

from __future__ import annotations

import pytest

from tests.corners.support import run_script
from tests.field.looping import everywhere

PROGRAM = """
    import socket, sys, threading, warnings
    warnings.simplefilter("ignore")  # what is left open to the end
    import asynccore

    class Echo(asynccore.dispatcher_with_send):
        def handle_read(self):
            self.send(self.recv(100))
        def handle_close(self):
            self.close()

    raised = []

    def serve(channels):
        try:
            asynccore.loop(timeout=10, map=channels)
        except BaseException as why:
            raised.append(why)

    def talk(peers):
        for number in range(50):
            for peer in peers:
                peer.send(b"%d" % number)
                assert peer.recv(100) == b"%d" % number

    maps = [asynccore.ChannelMap() if n % 2 else {} for n in range(4)]
    peers = []
    for channels in maps:
        end, peer = socket.socketpair()
        peer.settimeout(10)
        Echo(end, channels)
        peers.append(peer)
    threads = [threading.Thread(target=serve, args=(channels,)) for channels in maps[1:]]
    if sys.argv[1] == "threads first":
        for thread in threads:
            thread.start()
    client = threading.Thread(target=lambda: (talk(peers), [peer.close() for peer in peers]))
    client.start()
    if sys.argv[1] == "main first":
        asynccore.call_later(0.05, lambda: [thread.start() for thread in threads], map=maps[0])
    serve(maps[0])
    client.join()
    for thread in threads:
        thread.join()
    assert raised == [], raised
    assert not any(maps)
    # And once more, by one thread alone.
    end, peer = socket.socketpair()
    Echo(end, maps[0])
    peer.send(b"x")
    asynccore.loop(timeout=1, map=maps[0], count=1)
    assert peer.recv(9) == b"x"
    asynccore.close_all(maps[0])
    print("served")
"""


@pytest.mark.parametrize("order", ["threads first", "main first"])
@everywhere
def test_each_serves_its_own(name: str, order: str) -> None:
    assert run_script(PROGRAM, name, order) == "served\n"
