"""`readable` and `writable` of the program's own: asked before every wait, and believed."""

from __future__ import annotations

from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from asynccore.engine import engine_for
from tests.corners.support import READERS, Noting, QuietReader, Reader, drive, passes


class Chat(Noting, asynchat.async_chat):
    def collect_incoming_data(self, data: bytes) -> None:
        self.events.append(data)

    def found_terminator(self) -> None:
        self.events.append("terminator")


BASES = [asynccore.dispatcher, asynccore.dispatcher_with_send, asynchat.async_chat]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("overridden", [("readable",), ("writable",), ("readable", "writable")])
def test_asked_exactly_once_before_every_wait(
    base: Any, overridden: tuple[str, ...], channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    asked: dict[str, int] = {"readable": 0, "writable": 0}

    def predicate(name: str) -> Any:
        def ask(self: Any) -> bool:
            asked[name] += 1
            return name == "readable"

        return ask

    kind = type("Own", (base,), {name: predicate(name) for name in overridden})
    for number in (1, 3):
        while len(channels) < number:
            channel = kind(pair()[0], channels)
            if "writable" not in overridden:
                channel.writable = lambda: False
        for name in asked:
            asked[name] = 0
        del waits[:]
        asynccore.loop(timeout=0, map=channels, count=4, poller=engine)
        assert len(waits) == 4
        assert {name: asked[name] for name in overridden} == dict.fromkeys(overridden, 4 * number)


@pytest.mark.parametrize("base", BASES)
def test_asked_before_every_wait_when_assigned_on_the_instance(
    base: Any, channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    asked: list[str] = []
    channel = base(pair()[0], channels)
    channel.readable = lambda: asked.append("readable")
    channel.writable = lambda: asked.append("writable")
    asynccore.loop(timeout=0, map=channels, count=4, poller=engine)
    assert len(waits) == 4
    assert sorted(asked) == ["readable"] * 4 + ["writable"] * 4


@pytest.mark.parametrize("kind", READERS)
def test_assigned_on_the_instance_between_loops(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    channel = kind(end, channels)
    passes(channels, engine)
    asked: list[int] = []
    channel.readable = lambda: asked.append(1)
    peer.send(b"x")
    asynccore.loop(timeout=0, map=channels, count=4, poller=engine)
    assert len(asked) >= 4 and channel.events == []
    del channel.readable
    drive(lambda: channel.received, channels, engine)


def test_the_same_answer_assigned_between_loops_is_asked_for_all_the_same(
    channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    """Maintenance in a predicate: its answer is the default one, its side effect is the point."""
    channel = QuietReader(pair()[0], channels)
    passes(channels, engine)
    asked: list[int] = []

    def readable() -> bool:
        asked.append(1)
        return True

    channel.readable = readable  # type: ignore[method-assign]
    del waits[:]
    asynccore.loop(timeout=0, map=channels, count=5, poller=engine)
    assert len(asked) >= len(waits) == 5


@pytest.mark.parametrize("kind", READERS)
def test_assigned_by_its_own_handler(kind: Any, channels: Any, engine: str, pair: Any) -> None:
    class Stops(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            self.received += self.recv(1)
            self.readable = lambda: False

    end, peer = pair()
    channel = Stops(end, channels)
    peer.send(b"12345")
    drive(lambda: channel.received, channels, engine)
    passes(channels, engine)
    assert channel.received == b"1"


def test_the_same_answer_assigned_by_its_own_handler_is_asked_for_from_the_next_review(
    channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    """At once it counts only if it answers otherwise; for its side effects, within a second."""
    asked: list[int] = []

    class Begins(QuietReader):
        def handle_read(self) -> None:
            super().handle_read()
            self.readable = lambda: bool(asked.append(1)) or True  # type: ignore[method-assign]
            engine_for(channels).interest.review_at = engine_for(channels).clock()

    end, peer = pair()
    channel = Begins(end, channels)
    passes(channels, engine)
    peer.send(b"x")
    del waits[:]
    asynccore.loop(timeout=0, map=channels, count=5, poller=engine)
    assert channel.received and len(asked) >= 4 and len(waits) == 5


@pytest.mark.parametrize("kind", READERS)
def test_assigned_by_another_channels_handler(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    """Noticed by the next review, which comes within a second."""
    end, peer = pair()
    other_end, other_peer = pair()
    other = kind(other_end, channels)

    class StopsTheOther(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            other.readable = lambda: False
            interest = engine_for(channels).interest
            interest.review_at = engine_for(channels).clock()
            other_peer.send(b"y")

    channel = StopsTheOther(end, channels)
    passes(channels, engine)
    peer.send(b"x")
    asynccore.loop(timeout=0, map=channels, count=4, poller=engine)
    assert channel.received == b"x"
    assert other.received == b""


def test_patched_on_the_class_between_loops(
    channels: Any, engine: str, pair: Any, monkeypatch: pytest.MonkeyPatch, waits: list[Any]
) -> None:
    class Patched(QuietReader):
        pass

    Patched(pair()[0], channels)
    passes(channels, engine)
    asked: list[int] = []

    def readable(self: Any) -> bool:
        asked.append(1)
        return True

    monkeypatch.setattr(Patched, "readable", readable)
    del waits[:]
    asynccore.loop(timeout=0, map=channels, count=5, poller=engine)
    assert len(asked) >= len(waits) == 5


@pytest.mark.parametrize(
    ("truthy", "falsy"), [(1, 0), ("yes", ""), ([0], []), (object(), None), (0.5, 0.0)]
)
def test_any_truthy_value(truthy: Any, falsy: Any, pair: Any) -> None:
    class Odd(Reader):
        def readable(self) -> Any:
            return truthy

        def writable(self) -> Any:
            return falsy

    channels: dict[int, Any] = {}
    end, peer = pair()
    channel = Odd(end, channels)
    peer.send(b"x")
    drive(lambda: channel.received, channels)
    assert channel.events == ["read"]
    channel.close()


def test_nothing_as_an_answer_means_no(channels: Any, engine: str, pair: Any) -> None:
    class Silent(Reader):
        def readable(self) -> Any:
            pass

        writable = readable

    end, peer = pair()
    channel = Silent(end, channels)
    peer.send(b"x")
    peer.close()
    passes(channels, engine)
    assert channel.events == []


def test_neither_reading_nor_writing_a_hang_up_does_not_spin(
    channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    class Idle(Reader):
        def readable(self) -> bool:
            return False

    end, peer = pair()
    channel = Idle(end, channels)
    peer.close()
    asynccore.loop(timeout=0.01, map=channels, count=3, poller=engine)
    assert not any(wait.events for wait in waits) and channel.events == []


def test_answers_that_alternate(channels: Any, engine: str, pair: Any) -> None:
    class Alternates(Reader):
        turn = 0

        def readable(self) -> bool:
            self.turn += 1
            return self.turn % 2 == 0

        def handle_read(self) -> None:
            self.received += self.recv(1)
            self.events.append(self.turn)

    end, peer = pair()
    channel = Alternates(end, channels)
    peer.send(b"abc")
    asynccore.loop(timeout=0, map=channels, count=6, poller=engine)
    assert channel.events == [2, 4, 6]


def test_a_predicate_that_closes_its_channel(channels: Any, engine: str, pair: Any) -> None:
    """Expiring connections in readable() is usual."""

    class Expires(Reader):
        def readable(self) -> bool:
            self.close()
            return True

    ends = [pair() for _ in range(3)]
    for end, peer in ends:
        peer.send(b"x")
        Expires(end, channels)
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert not channels and all(end.fileno() == -1 for end, _ in ends)


def test_a_predicate_that_closes_others_and_opens_more(
    channels: Any, engine: str, pair: Any
) -> None:
    made: list[Any] = []

    class Churns(Reader):
        done = False

        def readable(self) -> bool:
            if not self.done:
                self.done = True
                for other in made:
                    if other is not self:
                        other.close()
                end, peer = pair()
                peer.send(b"to the new one")
                self.new = QuietReader(end, channels)
            return True

    for _ in range(4):
        end, peer = pair()
        peer.send(b"to an old one")
        made.append(Churns(end, channels))
    drive(
        lambda: any(getattr(it, "new", None) and it.new.received for it in made), channels, engine
    )
    for it in made:
        if it.socket.fileno() == -1:
            assert it.received == b""
        if hasattr(it, "new"):
            assert it.new.received in (b"", b"to the new one")


def test_counting_connections_in_a_predicate(channels: Any, engine: str, pair: Any) -> None:
    seen: list[int] = []

    class Counts(Reader):
        def readable(self) -> bool:
            seen.append(len(channels))
            return True

    for _ in range(3):
        Counts(pair()[0], channels)
    passes(channels, engine, 1)
    assert seen == [3, 3, 3]


def test_what_a_predicate_raises_comes_out_of_the_loop(
    channels: Any, engine: str, pair: Any
) -> None:
    class Raises(Reader):
        trouble = True

        def readable(self) -> bool:
            if self.trouble:
                raise ZeroDivisionError
            return True

    end, peer = pair()
    channel = Raises(end, channels)
    peer.send(b"x")
    with pytest.raises(ZeroDivisionError):
        passes(channels, engine)
    with pytest.raises(ZeroDivisionError):
        passes(channels, engine)
    channel.trouble = False
    drive(lambda: channel.received, channels, engine)


def test_a_predicate_by_getattr(channels: Any, engine: str, pair: Any) -> None:
    class Reads(Reader):
        wanted = False

        def __getattribute__(self, name: str) -> Any:
            if name == "readable":
                return lambda: object.__getattribute__(self, "wanted")
            return super().__getattribute__(name)

    end, peer = pair()
    channel = Reads(end, channels)
    peer.send(b"x")
    passes(channels, engine)
    assert channel.received == b""
    channel.wanted = True
    drive(lambda: channel.received, channels, engine)


def test_state_assigned_in_another_channels_handler_to_an_overridden_predicate(
    channels: Any, engine: str, pair: Any
) -> None:
    """The classic proxy: one side is writable while the other has given it something."""

    class Relay(Noting, asynccore.dispatcher):
        buffer = b""
        other: Any = None

        def writable(self) -> int:
            return len(self.buffer)

        def handle_read(self) -> None:
            self.other.buffer += self.recv(4096)

        def handle_write(self) -> None:
            self.buffer = self.buffer[self.send(self.buffer) :]

    (left_end, left_peer), (right_end, right_peer) = pair(), pair()
    left, right = Relay(left_end, channels), Relay(right_end, channels)
    left.other, right.other = right, left
    left_peer.send(b"to the right")
    asynccore.loop(timeout=5, map=channels, count=2, poller=engine)
    right_peer.setblocking(False)
    assert right_peer.recv(100) == b"to the right"


class TestBuffersOfThePackage:
    def test_out_buffer_assigned_elsewhere(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        trigger_end, trigger_peer = pair()
        writer = QuietReader(end, channels)

        class Assigns(QuietReader):
            def handle_read(self) -> None:
                super().handle_read()
                writer.out_buffer = b"hello"
                writer.out_buffer += b" there"

        Assigns(trigger_end, channels)
        passes(channels, engine)
        trigger_peer.send(b"x")
        asynccore.loop(timeout=5, map=channels, count=2, poller=engine)
        peer.setblocking(False)
        assert peer.recv(100) == b"hello there"
        assert writer.out_buffer == b""

    def test_producer_fifo_appended_to_elsewhere(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        end, peer = pair()
        trigger_end, trigger_peer = pair()
        chat = Chat(end, channels)
        chat.set_terminator(None)

        class Appends(QuietReader):
            def handle_read(self) -> None:
                super().handle_read()
                chat.producer_fifo.append(b"hello")
                chat.producer_fifo.append(asynchat.simple_producer(b" there"))

        Appends(trigger_end, channels)
        passes(channels, engine)
        trigger_peer.send(b"x")
        asynccore.loop(timeout=5, map=channels, count=2, poller=engine)
        peer.setblocking(False)
        assert peer.recv(100) == b"hello there"

    def test_a_kept_producer_fifo(self, channels: Any, engine: str, pair: Any) -> None:
        """The deque was taken once, in the constructor for example, and is appended to later.

        Nothing tells of it: the next review finds it, within a second.
        """
        end, peer = pair()

        class Keeps(Chat):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                self.queue = self.producer_fifo

        chat = Keeps(end, channels)
        chat.set_terminator(None)
        trigger_end, trigger_peer = pair()

        class Appends(QuietReader):
            def handle_read(self) -> None:
                super().handle_read()
                chat.queue.append(b"kept")
                engine_for(channels).interest.review_at = engine_for(channels).clock()

        Appends(trigger_end, channels)
        passes(channels, engine)
        trigger_peer.send(b"x")
        asynccore.loop(timeout=5, map=channels, count=2, poller=engine)
        peer.setblocking(False)
        assert peer.recv(100) == b"kept"

    def test_connected_assigned(self, channels: Any, engine: str, pair: Any) -> None:
        """Not connected means writable, for the classes that buffer: so a connect ends."""
        end, _ = pair()
        writes: list[int] = []

        class Writes(QuietReader):
            def handle_write(self) -> None:
                writes.append(1)
                self.connected = True

        channel = Writes(end, channels)
        passes(channels, engine)
        assert writes == []
        channel.connected = False
        passes(channels, engine)
        assert writes == [1]
