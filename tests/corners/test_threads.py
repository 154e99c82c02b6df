"""A loop in one thread, and the rest of the program in others."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from tests.corners.support import (
    PATIENCE,
    Chat,
    Occupied,
    QuietReader,
    Reader,
    background,
    drain,
    drive,
    fill,
    run_script,
    wait_for,
)


def serve(channels: Any, engine: str) -> None:
    # Longer than any test may take: what other threads do must end the wait.
    asynccore.loop(timeout=600, map=channels, poller=engine)


def waiting(channels: Any) -> Any:
    """Return a condition: the loop of the map has got to its wait, or is just before it."""
    engine = asynccore.loop.__globals__["engine_for"](channels)
    return lambda: engine.owner is not None and engine.wakeup is not None


def receive(sock: socket.socket, size: int) -> bytes:
    sock.settimeout(PATIENCE)
    data = b""
    while len(data) < size and (piece := sock.recv(65536)):
        data += piece
    return data


def test_push_takes_effect_while_the_loop_waits(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    chat = Chat(end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        chat.push(b"hello")
        assert receive(peer, 5) == b"hello"
        chat.push_with_producer(asynchat.simple_producer(b"producer"))
        assert receive(peer, 8) == b"producer"
        big = b"b" * 1_000_000
        chat.push(big)
        assert receive(peer, len(big)) == big
        chat.close_when_done()
        assert receive(peer, 1) == b""


def test_send_takes_effect_while_the_loop_waits(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    channel = QuietReader(end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        channel.send(b"hello")
        assert receive(peer, 5) == b"hello"
        big = b"b" * 1_000_000
        channel.send(big)
        assert receive(peer, len(big)) == big
        channel.out_buffer = b"assigned"
        assert receive(peer, 8) == b"assigned"
        peer.close()


@pytest.mark.parametrize("kind", [Reader, QuietReader, Chat])
def test_close_takes_effect_while_the_loop_waits(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    channel = kind(end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        channel.close()
        assert receive(peer, 1) == b""
    assert not channels and end.fileno() == -1


def test_close_all_takes_effect_while_the_loop_waits(channels: Any, engine: str, pair: Any) -> None:
    ends = [pair() for _ in range(20)]
    for end, _ in ends:
        Chat(end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        asynccore.close_all(channels)
        for _, peer in ends:
            assert receive(peer, 1) == b""
    assert not channels and all(end.fileno() == -1 for end, _ in ends)


def test_close_of_one_leaves_the_others(channels: Any, engine: str, pair: Any) -> None:
    (end, peer), (other_end, other_peer) = pair(), pair()
    channel, other = Chat(end, channels), Chat(other_end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        channel.close()
        assert receive(peer, 1) == b""
        other_peer.send(b"x\n")
        wait_for(lambda: "terminator" in other.events)
        other.close()
        wait_for(lambda: not channels)


def test_a_channel_made_while_the_loop_waits(channels: Any, engine: str, pair: Any) -> None:
    end, _ = pair()
    Chat(end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        new_end, new_peer = pair()
        new = Chat(new_end, channels)
        new_peer.send(b"x\n")
        wait_for(lambda: "terminator" in new.events)
        asynccore.close_all(channels)


def test_a_raw_close_of_a_waited_for_socket_is_harmless(
    channels: Any, engine: str, pair: Any
) -> None:
    (end, _), (other_end, other_peer) = pair(), pair()
    channel, other = Chat(end, channels), Chat(other_end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        end.close()
        deadline = time.monotonic() + PATIENCE
        # Anything that makes the loop look again.
        while "terminator" not in other.events or channel.socket is None:
            assert time.monotonic() < deadline
            other_peer.send(b"x\n")
            threading.Event().wait(0.001)
        wait_for(lambda: other.socket.fileno() != -1)
        asynccore.close_all(channels)


def test_pushes_of_many_threads_arrive_whole(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    chat = Chat(end, channels)
    threads, count = 4, 100
    received: list[bytes] = []

    def produce(name: int) -> None:
        for number in range(count):
            chat.push(b"%d-%d-%s\n" % (name, number, b"z" * 500))

    def consume() -> None:
        size = sum(
            len(b"%d-%d-%s\n" % (name, number, b"z" * 500))
            for name in range(threads)
            for number in range(count)
        )
        received.append(receive(peer, size))
        chat.close()

    with background(lambda: serve(channels, engine)), background(consume):
        workers = [threading.Thread(target=produce, args=(name,)) for name in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(PATIENCE)
    lines = received[0].splitlines()
    assert len(lines) == threads * count
    for name in range(threads):
        mine = [line for line in lines if line.startswith(b"%d-" % name)]
        assert mine == [b"%d-%d-%s" % (name, number, b"z" * 500) for number in range(count)]


class TestWhatAThreadAskedForKeepsItsOrder:
    """All of it comes while a handler holds the loop's thread, so it has to wait."""

    def run(self, channels: Any, engine: str, pair: Any, action: Any) -> None:
        end, peer = pair()
        occupied = Occupied(end, channels)
        with background(lambda: serve(channels, engine)):
            peer.send(b"x")
            assert occupied.busy.wait(PATIENCE)
            try:
                action()
            finally:
                occupied.go_on.set()
                occupied.close()

    def test_push_then_close_when_done(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        chat = Chat(end, channels)

        def action() -> None:
            chat.push(b"all of this, ")
            chat.push_with_producer(asynchat.simple_producer(b"and that"))
            chat.close_when_done()

        self.run(channels, engine, pair, action)
        assert receive(peer, 1000) == b"all of this, and that"

    def test_push_then_close(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        chat = Chat(end, channels)

        def action() -> None:
            chat.push(b"bye")
            chat.close()

        self.run(channels, engine, pair, action)
        assert receive(peer, 1000) == b"bye"

    def test_send_then_close(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = QuietReader(end, channels)

        def action() -> None:
            channel.send(b"one ")
            channel.send(b"two")
            channel.close()

        self.run(channels, engine, pair, action)
        assert receive(peer, 1000) == b"one two"

    def test_send_then_close_all(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = QuietReader(end, channels)

        def action() -> None:
            channel.send(b"last words")
            asynccore.close_all(channels)

        self.run(channels, engine, pair, action)
        assert receive(peer, 1000) == b"last words"


class TestErrorsOfWhatAThreadAskedFor:
    """They belong to the channel, and must not end the loop of all others."""

    def check(
        self, channels: Any, engine: str, pair: Any, make: Any, act: Any
    ) -> tuple[Any, list[BaseException]]:
        end, _peer = pair()
        other_end, other_peer = pair()
        other = Reader(other_end, channels)
        failing = make(end, channels)
        came_out: list[BaseException] = []

        def run() -> None:
            try:
                serve(channels, engine)
            except OSError as why:
                came_out.append(why)

        with background(run):
            wait_for(waiting(channels))
            act(failing)
            wait_for(lambda: failing.events or came_out)
            if not came_out:
                other_peer.send(b"x")
                wait_for(lambda: other.received)
            asynccore.close_all(channels)
        return failing, came_out

    def test_of_send(self, channels: Any, engine: str, pair: Any) -> None:
        class Failing(QuietReader):
            broken = False

            def _fail(self, *args: Any) -> int:
                raise OSError(5, "the line is broken")

        class FailingSocket:
            def __init__(self, sock: socket.socket) -> None:
                self.sock = sock

            def __getattr__(self, name: str) -> Any:
                return getattr(self.sock, name)

            def send(self, data: bytes) -> int:
                raise OSError(5, "the line is broken")

        def make(end: Any, map: Any) -> Any:
            channel = Failing(end, map)
            channel.socket = FailingSocket(end)
            return channel

        failing, came_out = self.check(channels, engine, pair, make, lambda it: it.send(b"x"))
        assert came_out == []
        assert [getattr(why, "errno", why) for why in failing.events] == [5]

    def test_of_a_producer(self, channels: Any, engine: str, pair: Any) -> None:
        class Broken:
            def more(self) -> bytes:
                raise OSError(5, "nothing more")

        failing, came_out = self.check(
            channels, engine, pair, Chat, lambda it: it.push_with_producer(Broken())
        )
        assert came_out == []
        assert [getattr(why, "errno", why) for why in failing.events] == [5]


def test_two_threads_run_one_map(channels: Any, engine: str, pair: Any) -> None:
    made = []
    for _ in range(10):
        end, peer = pair()
        made.append((Reader(end, channels), peer))
    with (
        background(lambda: asynccore.loop(timeout=0.01, map=channels, poller=engine)),
        background(lambda: asynccore.loop(timeout=0.01, map=channels, poller=engine)),
    ):
        for number, (_, peer) in enumerate(made):
            peer.send(b"%d" % number)
        wait_for(lambda: all(channel.received for channel, _ in made))
        for _, peer in made:
            peer.close()
    assert not channels
    assert [channel.events for channel, _ in made] == [["read", "close"]] * len(made)
    assert [channel.received for channel, _ in made] == [b"%d" % n for n in range(len(made))]


def test_two_maps_in_two_threads_that_send_to_each_other(engine: str, pair: Any) -> None:
    """Each handler calls the other thread's channel: no lock may be held meanwhile."""
    one: dict[int, Any] = {}
    two: dict[int, Any] = {}
    (end, peer), (other_end, other_peer) = pair(), pair()

    class Crosses(Chat):
        other: Any = None
        rounds = 0

        def found_terminator(self) -> None:
            self.rounds += 1
            self.other.push(b"x\n" if self.rounds < 50 else b"end\n")

    left, right = Crosses(end, one), Crosses(other_end, two)
    left.other, right.other = right, left
    pending = [peer, other_peer]

    def echo(sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        while data := sock.recv(100):
            sock.send(data)
            if b"end" in data:
                return

    with (
        background(lambda: serve(one, engine)),
        background(lambda: serve(two, engine)),
        background(lambda: echo(other_peer)),
    ):
        peer.send(b"x\n")
        peer.settimeout(PATIENCE)
        while data := peer.recv(100):
            if b"end" in data:
                break
            peer.send(data)
        other_peer.shutdown(socket.SHUT_RDWR)
        peer.shutdown(socket.SHUT_RDWR)
    assert not one and not two and pending
    assert left.rounds > 10


def test_without_a_loop_push_works_at_once(channels: Any, pair: Any) -> None:
    end, peer = pair()
    chat = Chat(end, channels)
    with background(lambda: chat.push(b"hello")):
        assert receive(peer, 5) == b"hello"
    chat.close()


def test_a_full_socket_is_emptied_by_the_loop_after_a_send_from_a_thread(
    channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    size = fill(end)
    channel = QuietReader(end, channels)
    with background(lambda: serve(channels, engine)):
        wait_for(waiting(channels))
        channel.send(b"the rest")
        data = receive(peer, size + 8)
        channel.close()
    assert data[size:] == b"the rest"


class TestStopping:
    def test_stop_from_a_thread(self, channels: Any, engine: str, pair: Any) -> None:
        Chat(pair()[0], channels)
        with background(lambda: serve(channels, engine)):
            wait_for(waiting(channels))
            asynccore.stop(map=channels)
        assert len(channels) == 1

    def test_a_callback_of_another_thread(self, channels: Any, engine: str, pair: Any) -> None:
        Chat(pair()[0], channels)
        ran: list[int] = []
        with background(lambda: serve(channels, engine)) as thread:
            wait_for(waiting(channels))
            asynccore.call_soon_threadsafe(lambda: ran.append(threading.get_ident()), map=channels)
            wait_for(lambda: ran)
            assert ran == [thread.ident]
            asynccore.close_all(channels)

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer() on Windows")
    @pytest.mark.parametrize("action", ["stop", "close_all", "close", "call_soon", "call_later"])
    @pytest.mark.parametrize("kind", ["{}", "asynccore.socket_map"])
    def test_from_a_signal_handler(self, action: str, kind: str, engine: str) -> None:
        """In a program without threads, which has nothing to be woken by from elsewhere."""
        assert run_script(SIGNAL_SCRIPT, engine, action, kind) == "ended\n"


SIGNAL_SCRIPT = """
    import signal, socket, sys, threading
    import asynccore

    channels = eval(sys.argv[2])
    end, peer = socket.socketpair()

    class Reader(asynccore.dispatcher):
        def writable(self):
            return False

    channel = Reader(end, channels)
    assert threading.active_count() == 1
    actions = {
        "stop": lambda: asynccore.stop(map=channels),
        "close_all": lambda: asynccore.close_all(channels),
        "close": channel.close,
        "call_soon": lambda: asynccore.call_soon_threadsafe(channel.close, map=channels),
        "call_later": lambda: asynccore.call_later(0, channel.close, map=channels),
    }

    def on_alarm(*args):
        actions[sys.argv[1]]()
        signal.signal(signal.SIGALRM, too_late)
        signal.setitimer(signal.ITIMER_REAL, 2)

    def too_late(*args):
        sys.exit("the loop went on waiting after the signal")

    signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    asynccore.loop(timeout=600, map=channels)
    signal.setitimer(signal.ITIMER_REAL, 0)
    channel.close()
    peer.close()
    print("ended")
"""


def test_drain_helper_and_drive_agree(channels: Any, engine: str, pair: Any) -> None:
    """What a thread queued before the loop began is sent by it."""
    end, peer = pair()
    size = fill(end)
    chat = Chat(end, channels)
    with background(lambda: chat.push(b"queued")):
        pass
    got = bytearray()

    def arrived() -> bool:
        got.extend(drain(peer))
        return len(got) == size + 6

    drive(arrived, channels, engine)
    assert got.endswith(b"queued")


def test_the_wakeup_of_a_map_that_is_given_up_is_closed(engine: str, pair: Any) -> None:
    """The leak check around each test counts the descriptors."""
    stay = threading.Event()
    with background(lambda: stay.wait(PATIENCE)):
        for _ in range(3):
            own: dict[int, Any] = {}
            Reader(pair()[0], own)
            asynccore.loop(timeout=0, map=own, count=1, poller=engine)
            asynccore.close_all(own)
        stay.set()
