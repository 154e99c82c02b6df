"""A child that another thread forked does not carry out what is the parent's to do."""

from __future__ import annotations

import sys

import pytest

from tests.corners.support import run_script
from tests.field.looping import everywhere

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork() there")

PROGRAM = """
    import os, socket, sys, threading, warnings
    warnings.simplefilter("ignore")  # fork() with threads (3.12), and what is left to the end
    import asynccore
    from asynccore import asynchat

    what, then, kind = sys.argv[1:]
    channels = {} if kind == "plain" else asynccore.socket_map

    def work(channel):
        if what == "push":
            channel.push(b"message ")
        elif what == "writelines":
            channel.writelines([b"mess", b"age "])
        elif what == "producer":
            channel.push_with_producer(asynchat.simple_producer(b"message "))
        elif what == "call":
            asynccore.call_soon_threadsafe(os.write, b.fileno(), b"message ", map=channels)
        elif what == "call_later":
            asynccore.call_later(0, channel.push, b"message ", map=channels)
        elif what == "close_when_done":
            channel.push(b"message ")
            channel.close_when_done()
        if os.fork() == 0:
            if then == "close":
                channel.close()
            elif then == "close_all":
                asynccore.close_all(channels)
            elif then == "other":
                asynccore.dispatcher(socket.socketpair()[0]).close()
            elif then == "push":
                channel.push(b"child ")
            elif then == "loop":
                asynccore.call_later(0.05, lambda: asynccore.stop(channels), map=channels)
                asynccore.loop(timeout=0.1, map=channels)
            elif then == "own map":
                own = {}
                x, y = socket.socketpair()
                asynccore.dispatcher(x, own)
                asynccore.loop(timeout=0.01, map=own, count=3)
            os._exit(0)
        os.wait()

    class Chat(asynchat.async_chat):
        def __init__(self, sock):
            super().__init__(sock, channels)
            self.set_terminator(b"\\n")
        def collect_incoming_data(self, data): pass
        def found_terminator(self):
            thread = threading.Thread(target=work, args=(self,))
            thread.start()
            thread.join()

    if what == "call":
        b, a_ = socket.socketpair()   # b's other end is what is read below
    a, peer = socket.socketpair()
    a.setblocking(False)
    Chat(a)
    peer.send(b"go\\n")
    asynccore.loop(timeout=0.2, map=channels, count=3)
    reader = a_ if what == "call" else peer
    reader.settimeout(0.2)
    got = b""
    try:
        while piece := reader.recv(100):
            got += piece
    except TimeoutError:
        pass
    print(got)
"""


THEN = ("close", "close_all", "other", "push", "own map", "loop")
WHAT = ("push", "writelines", "producer", "close_when_done", "call")


@pytest.mark.parametrize(
    ("what", "then", "kind"),
    [
        *((what, "other", kind) for what in WHAT for kind in ("reporting", "plain")),
        *(("push", then, kind) for then in THEN for kind in ("reporting", "plain")),
    ],
)
def test_the_peer_gets_it_once(what: str, then: str, kind: str) -> None:
    got = run_script(PROGRAM, None, what, then, kind)
    assert got.count("message ") == 1, got
    if then == "push" and what != "call":  # else it goes to another peer
        assert got.count("child ") == 1


@everywhere
def test_over_every_engine(name: str) -> None:
    assert run_script(PROGRAM, name, "push", "other", "plain") == "b'message '\n"


KEPT = """
    import os, socket, sys, warnings
    warnings.simplefilter("ignore")
    import asynccore

    ran = []
    a, b = socket.socketpair()
    asynccore.dispatcher_with_send(a)
    asynccore.call_soon_threadsafe(ran.append, 1)
    asynccore.call_later(0, ran.append, 2)
    if os.fork() == 0:
        asynccore.loop(timeout=0.01, count=3)
        os._exit(len(ran))
    print(os.waitstatus_to_exitcode(os.wait()[1]))
    asynccore.loop(timeout=0.01, count=3)
    print(len(ran))
"""


def test_what_waits_for_a_loop_that_has_not_begun_is_the_childs_too() -> None:
    """A server that forks its workers, each of which begins a loop: as ever."""
    assert run_script(KEPT) == "2\n2\n"
