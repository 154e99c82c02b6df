"""Two threads that use one map: who waits keeps nobody, and what was sent keeps its order."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from asynccore.engine import Engine, engine_for
from tests.corners.support import PATIENCE, QuietReader, Reader, background, wait_for
from tests.field.looping import let_pass, looping

FUNCTIONS = {
    "poll(0)": lambda map: asynccore.poll(0, map),
    "poll2(0)": lambda map: asynccore.poll2(0, map),
    "poll(0.01)": lambda map: asynccore.poll(0.01, map),
    "loop(0, count=1)": lambda map: asynccore.loop(timeout=0, map=map, count=1),
    "loop(0.01, count=1)": lambda map: asynccore.loop(timeout=0.01, map=map, count=1),
    "loop(0, use_poll, count=3)": lambda map: asynccore.loop(0, True, map, 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_look_returns_while_another_thread_waits(
    name: str, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    channel = Reader(end, channels)
    with looping(channels, engine) as thread:
        done = threading.Event()

        def look() -> None:
            FUNCTIONS[name](channels)
            done.set()

        with background(look):
            assert done.wait(PATIENCE)
        assert thread.is_alive()
        peer.send(b"x")
        wait_for(lambda: channel.received)


def test_a_look_returns_while_another_thread_is_in_a_handler(
    channels: Any, engine: str, pair: Any
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    class Held(Reader):
        def handle_read(self) -> None:
            super().handle_read()
            inside.set()
            assert go_on.wait(PATIENCE)

    end, peer = pair()
    Held(end, channels)
    with looping(channels, engine):
        peer.send(b"x")
        assert inside.wait(PATIENCE)
        done = threading.Event()
        with background(lambda: (asynccore.poll(0, channels), done.set())):
            assert done.wait(PATIENCE)
        go_on.set()


def test_who_may_wait_gets_the_turn_when_the_other_thread_ends(
    channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    channel = Reader(end, channels)
    with looping(channels, engine) as first:
        with background(lambda: asynccore.loop(timeout=600, map=channels, count=1)) as second:
            asynccore.stop(map=channels)
            first.join(PATIENCE)
            made = engine_for(channels)
            wait_for(lambda: made.owner == second.ident)
            peer.send(b"x")
        assert channel.received == b"x"


def test_data_of_one_thread_is_not_overtaken(
    channels: Any, engine: str, pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop's thread has given its turn back and not looked yet at what others left."""
    holds, left, free, done = (threading.Event() for _ in range(4))

    class Held(QuietReader):
        def handle_read(self) -> None:
            super().handle_read()
            if not holds.is_set():
                holds.set()
                assert left.wait(PATIENCE)

    end, peer = pair()
    channel = Held(end, channels)
    run_deferred = Engine.run_deferred

    def late(self: Engine) -> None:
        # Of the loop's thread, while it has the turn: what was left stays for once.
        if threading.current_thread() is threading.main_thread() and not done.is_set():
            return
        run_deferred(self)

    def look_late(self: Engine) -> None:
        if threading.current_thread() is threading.main_thread():
            free.set()
            assert done.wait(PATIENCE)
        while self.deferred and self._lock.acquire(blocking=False):
            try:
                run_deferred(self)
            finally:
                self._lock.release()

    monkeypatch.setattr(Engine, "run_deferred", late)
    monkeypatch.setattr(Engine, "_run_deferred_here", look_late)

    def send() -> None:
        assert holds.wait(PATIENCE)
        channel.send(b"1 ")
        left.set()
        assert free.wait(PATIENCE)
        channel.send(b"2 ")
        done.set()

    with background(send):
        peer.send(b"x")
        asynccore.loop(timeout=PATIENCE, map=channels, count=1, poller=engine)
    monkeypatch.undo()
    peer.settimeout(PATIENCE)
    got = b""
    while len(got) < 4:
        got += peer.recv(100)
    assert got == b"1 2 "
    channel.close()


@pytest.mark.parametrize("kind", ["push", "send", "writelines", "push_with_producer"])
def test_numbers_of_several_threads_stay_in_order(
    kind: str, channels: Any, engine: str, pair: Any
) -> None:
    class Chat(asynchat.async_chat):
        def handle_close(self) -> None:
            self.close()

    end, peer = pair()
    channel: Any = QuietReader(end, channels) if kind == "send" else Chat(end, channels)
    count = 300

    def produce(name: int) -> None:
        for number in range(count):
            line = b"%d %d\n" % (name, number)
            if kind == "writelines":
                channel.writelines([line[:2], line[2:]])
            elif kind == "push_with_producer":
                channel.push_with_producer(asynchat.simple_producer(line))
            else:
                getattr(channel, kind)(line)

    lines: list[bytes] = []

    def consume() -> None:
        peer.settimeout(PATIENCE)
        with peer.makefile("rb") as file:
            lines.extend(file.readline() for _ in range(2 * count))

    with looping(channels, engine), background(consume):
        with background(lambda: produce(0)), background(lambda: produce(1)):
            pass
    for name in (0, 1):
        mine = [int(line.split()[1]) for line in lines if line.startswith(b"%d " % name)]
        assert mine == list(range(count))


@pytest.mark.parametrize("kind", ["reporting", "plain"])
def test_threads_that_use_a_map_first_at_the_same_time_make_one_engine(kind: str) -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(100):
            channels: Any = asynccore.ChannelMap() if kind == "reporting" else {}
            got: list[int] = []
            together = threading.Barrier(3)

            def use(number: int, channels: Any = channels, got: Any = got) -> None:
                together.wait()  # noqa: B023 - joined below
                asynccore.call_soon_threadsafe(got.append, number, map=channels)

            threads = [threading.Thread(target=use, args=(number,)) for number in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            asynccore.loop(timeout=0, map=channels, until_idle=True, count=3)
            assert sorted(got) == [0, 1, 2]
    finally:
        sys.setswitchinterval(before)


class TestDiscardingFromAThread:
    def test_while_the_loop_waits(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        chat = asynchat.async_chat(end, channels)
        with looping(channels, engine):
            chat.push(b"x" * 5_000_000)
            let_pass(channels)
            chat.discard_buffers()
            assert not chat.producer_fifo and chat.write_buffer_size == 0
            peer.setblocking(False)
            rest = 0
            while True:
                try:
                    rest += len(peer.recv(1 << 20))
                except BlockingIOError:
                    break
            assert rest < 5_000_000
            chat.push(b"after")
            peer.settimeout(PATIENCE)
            assert peer.recv(100) == b"after"

    def test_in_the_middle_of_a_send(
        self, channels: Any, engine: str, pair: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The loop's thread is in `send`, and comes back to a queue that must be what it was."""
        sending, discarded = threading.Event(), threading.Event()
        errors: list[Any] = []

        class Chat(asynchat.async_chat):
            def send(self, data: Any) -> Any:
                if threading.current_thread() is not threading.main_thread():
                    sending.set()
                    discarded.wait(PATIENCE)
                return super().send(data)

            def handle_error(self) -> None:
                errors.append(sys.exc_info()[1])
                self.close()

        end, peer = pair()
        chat = Chat(end, channels)
        with looping(channels, engine):
            asynccore.call_soon_threadsafe(chat.push, b"x" * 100, map=channels)
            assert sending.wait(PATIENCE)
            chat.discard_buffers()
            chat.push(b"after")
            discarded.set()
            peer.settimeout(PATIENCE)
            got = b""
            while not got.endswith(b"after"):
                got += peer.recv(1000)
            wait_for(lambda: not chat.producer_fifo)
            assert errors == []


def test_two_threads_make_and_use_channels_of_one_map_without_a_loop(channels: Any) -> None:
    """Each sends on its own channels; nobody loops, so all of it happens at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def work(number: int) -> None:
            for _ in range(20):
                client = QuietReader(map=channels)
                client.create_socket()
                client.socket.setblocking(True)
                client.connect(server.getsockname())
                client.send(b"%d" % number)
                client.close()

        with background(lambda: work(1)), background(lambda: work(2)):
            got = []
            for _ in range(40):
                sock, _ = server.accept()
                sock.settimeout(PATIENCE)
                got.append(sock.recv(10))
                sock.close()
    assert sorted(got) == [b"1"] * 20 + [b"2"] * 20
    assert not channels
