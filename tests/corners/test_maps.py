"""Maps: plain dicts above all, changed in any way, at any time."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

import asynccore
from tests.corners.support import (
    READERS,
    Foreign,
    Listener,
    Noting,
    QuietReader,
    Reader,
    background,
    drive,
    passes,
)


def test_loop_with_an_empty_map_returns_at_once(engine: str, waits: list[Any]) -> None:
    asynccore.loop(map={}, poller=engine)
    asynccore.loop(timeout=None, map={}, poller=engine)
    asynccore.loop(use_poll=True, map={}, count=5)
    asynccore.poll(30.0, {})
    assert waits == []


def test_loop_with_an_empty_default_map_returns_at_once(default_map: Any) -> None:
    asynccore.loop()
    asynccore.poll(30.0)


@pytest.mark.parametrize("kind", READERS)
def test_an_entry_deleted_between_loops(kind: Any, channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    kept_end, _ = pair()
    channel = kind(end, channels)
    kind(kept_end, channels)
    passes(channels, engine)
    del channels[end.fileno()]
    peer.send(b"x")
    passes(channels, engine)
    assert channel.events == []


@pytest.mark.parametrize("kind", READERS)
def test_an_entry_deleted_in_a_handler_is_seen_before_the_next_wait(
    kind: Any, channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    end, peer = pair()
    victim_end, victim_peer = pair()
    victim = kind(victim_end, channels)

    class Deletes(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            del channels[victim_end.fileno()]
            victim_peer.send(b"too late")

    channel = Deletes(end, channels)
    passes(channels, engine)
    peer.send(b"x")
    drive(lambda: channel.received, channels, engine)
    passes(channels, engine)
    assert victim.events == []
    assert list(channels.values()) == [channel]


@pytest.mark.parametrize("kind", READERS)
def test_an_entry_deleted_in_a_handler_before_its_event_of_the_same_pass(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    ends = [pair() for _ in range(5)]

    class Deletes(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            for fd, channel in list(channels.items()):
                if channel is not self:
                    del channels[fd]

    made = [Deletes(end, channels) for end, _ in ends]
    for _, peer in ends:
        peer.send(b"x")
    passes(channels, engine)
    assert [len(channel.events) for channel in made].count(1) == 1
    assert len(channels) == 1


@pytest.mark.parametrize("kind", READERS)
def test_an_object_stored_directly(kind: Any, channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    channel = kind(end, {})
    channels[end.fileno()] = channel
    peer.send(b"x")
    drive(lambda: channel.received, channels, engine)


@pytest.mark.parametrize("kind", READERS)
def test_an_object_stored_in_a_handler_is_asked_before_the_next_wait(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    late_end, late_peer = pair()
    late = kind(late_end, {})
    late_peer.send(b"waiting")

    class Stores(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            channels[late_end.fileno()] = late

    Stores(end, channels)
    peer.send(b"x")
    asynccore.loop(timeout=5, map=channels, count=1, poller=engine)
    assert late.events == []
    asynccore.loop(timeout=5, map=channels, count=1, poller=engine)
    assert late.received == b"waiting"


@pytest.mark.parametrize("kind", READERS)
def test_an_object_replaced_under_its_descriptor(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    old = kind(end, channels)
    passes(channels, engine)
    new = kind(end, {})
    channels[end.fileno()] = new
    peer.send(b"x")
    drive(lambda: new.received, channels, engine)
    assert old.events == []


@pytest.mark.parametrize("kind", READERS)
def test_an_object_replaced_in_a_handler(kind: Any, channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    new = kind(end, {})

    class Replaces(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            data = self.recv(1)
            self.received += data
            channels[self._fileno] = new

    old = Replaces(end, channels)
    peer.send(b"12")
    drive(lambda: new.received, channels, engine)
    assert (old.received, new.received) == (b"1", b"2")


@pytest.mark.parametrize("kind", READERS)
def test_an_equal_object_is_not_the_same(kind: Any, channels: Any, engine: str, pair: Any) -> None:
    class Equal(kind):  # type: ignore[misc]
        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

    end, peer = pair()
    old = Equal(end, channels)
    passes(channels, engine)
    new = Equal(end, {})
    channels[end.fileno()] = new
    peer.send(b"x")
    drive(lambda: new.received or old.received, channels, engine)
    assert (old.received, new.received) == (b"", b"x")


def test_cleared_then_close_all(channels: Any, engine: str, pair: Any) -> None:
    (first, _), (second, _) = pair(), pair()
    Reader(first, channels)
    QuietReader(second, channels)
    passes(channels, engine)
    channels.clear()
    asynccore.close_all(channels)
    asynccore.loop(map=channels, poller=engine)
    # What was cleared away is not closed: nobody knows it any more.
    assert first.fileno() != -1


@pytest.mark.parametrize("kind", READERS)
def test_cleared_in_a_handler_ends_the_loop(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    ends = [pair() for _ in range(3)]

    class Clears(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            channels.clear()

    made = [Clears(end, channels) for end, _ in ends]
    for _, peer in ends:
        peer.send(b"x")
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert sum(len(channel.events) for channel in made) == 1


def test_close_all_in_a_handler_ends_the_loop(channels: Any, engine: str, pair: Any) -> None:
    class Closes(Reader):
        def handle_read(self) -> None:
            super().handle_read()
            asynccore.close_all(channels)

    end, peer = pair()
    Closes(end, channels)
    QuietReader(pair()[0], channels)
    Listener(channels)
    peer.send(b"x")
    asynccore.loop(map=channels, poller=engine)
    assert not channels and end.fileno() == -1


@pytest.mark.parametrize(
    "empty",
    [
        lambda channels: [channels.pop(fd) for fd in list(channels)],
        lambda channels: [channels.popitem() for _ in list(channels)],
        lambda channels: [channels.__delitem__(fd) for fd in list(channels)],
        lambda channels: channels.clear(),
    ],
    ids=["pop", "popitem", "del", "clear"],
)
def test_every_way_of_removing(empty: Any, channels: Any, engine: str, pair: Any) -> None:
    ends = [pair() for _ in range(3)]
    made = [QuietReader(end, channels) for end, _ in ends]
    passes(channels, engine)
    empty(channels)
    for _, peer in ends:
        peer.send(b"x")
    asynccore.loop(map=channels, poller=engine)
    # Back again, by every way of storing.
    first, second, third = made
    channels.update({first.socket.fileno(): first})
    channels.setdefault(second.socket.fileno(), second)
    channels |= {third.socket.fileno(): third}
    drive(lambda: all(channel.received for channel in made), channels, engine)


def test_the_length_as_a_connection_limit(channels: Any, engine: str) -> None:
    import socket

    class Limited(Listener):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            if len(channels) > 2:
                sock.close()
                self.events.append("full")
            else:
                super().handle_accepted(sock, addr)

    listener = Limited(channels)
    peers = [socket.create_connection(listener.address) for _ in range(4)]
    try:
        drive(lambda: len(listener.events) == 4, channels, engine)
        assert listener.events == ["accepted", "accepted", "full", "full"]
        assert len(channels) == 3
    finally:
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("kind", READERS)
def test_add_channel_and_del_channel_apart_from_sockets(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    end, peer = pair()
    channel = kind(end, channels)
    fd = end.fileno()
    passes(channels, engine)
    channel.del_channel()
    assert fd not in channels
    peer.send(b"x")
    asynccore.loop(timeout=0, map=channels, count=2, poller=engine)
    assert channel.events == []
    channel._fileno = fd
    channel.add_channel()
    assert channels == {fd: channel}
    drive(lambda: channel.received == b"x", channels, engine)
    # To another map and back.
    other: dict[int, Any] = {}
    channel.del_channel(channels)
    channel._fileno = fd
    channel.add_channel(other)
    peer.send(b"y")
    drive(lambda: channel.received == b"xy", other, engine)
    assert not channels
    channel.del_channel(other)
    assert not other
    channel.del_channel(other)  # not in there: nothing happens


@pytest.mark.parametrize("kind", READERS)
def test_a_channel_in_two_maps(kind: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    one: dict[int, Any] = {}
    two: dict[int, Any] = {}
    channel = kind(end, one)
    channel.add_channel(two)
    peer.send(b"1")
    drive(lambda: channel.received == b"1", one, engine)
    peer.send(b"2")
    drive(lambda: channel.received == b"12", two, engine)
    peer.send(b"3")
    drive(lambda: channel.received == b"123", one, engine)
    two.clear()
    channel.close()
    assert not one


def test_one_dict_for_each_thread(engine: str, pair: Any) -> None:
    results: dict[str, bytes] = {}
    started = threading.Barrier(2)

    def serve(name: str, end: Any, peer: Any) -> None:
        own: dict[int, Any] = {}
        channel = Reader(end, own)
        started.wait(20)
        peer.send(name.encode())
        peer.close()
        asynccore.loop(timeout=5, map=own, poller=engine)
        results[name] = channel.received

    (end, peer), (other_end, other_peer) = pair(), pair()
    with (
        background(lambda: serve("one", end, peer)),
        background(lambda: serve("two", other_end, other_peer)),
    ):
        pass
    assert results == {"one": b"one", "two": b"two"}


def test_loop_again_after_it_returned(channels: Any, engine: str, pair: Any) -> None:
    for text in (b"first", b"second"):
        end, peer = pair()
        channel = Reader(end, channels)
        peer.send(text)
        peer.close()
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert channel.received == text and not channels
    asynccore.loop(map=channels, poller=engine)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (2.5, 3), (1.0, 1), (0, 0)])
def test_count_of_passes(
    count: float, expected: int, channels: Any, engine: str, pair: Any
) -> None:
    asked: list[int] = []

    class Counts(Reader):
        def readable(self) -> bool:
            asked.append(1)
            return True

    Counts(pair()[0], channels)
    asynccore.loop(timeout=0, map=channels, count=count, poller=engine)
    assert len(asked) == expected


def test_poll_per_frame_of_a_game_loop(channels: Any, engine: str, pair: Any) -> None:
    end, peer = pair()
    channel = QuietReader(end, channels)
    for frame in range(100):
        peer.send(b"%d," % frame)
        asynccore.poll(0, channels)
    assert channel.received == b"".join(b"%d," % frame for frame in range(100))


class TestNestedLoops:
    @pytest.mark.parametrize("kind", READERS)
    def test_a_nested_loop_handles_the_others(
        self, kind: Any, channels: Any, engine: str, pair: Any
    ) -> None:
        end, peer = pair()
        other_end, other_peer = pair()
        other = kind(other_end, channels)

        class Nests(kind):  # type: ignore[misc]
            def handle_read(self) -> None:
                super().handle_read()
                other_peer.send(b"answer")
                drive(lambda: other.received, channels, engine)
                self.events.append("back")

        channel = Nests(end, channels)
        peer.send(b"x")
        drive(lambda: channel.events, channels, engine)
        assert channel.events == ["read", "back"] and other.received == b"answer"
        peer.send(b"y")
        drive(lambda: channel.received == b"xy", channels, engine)

    @pytest.mark.parametrize("kind", READERS)
    def test_the_stale_rest_of_a_batch_is_dropped(
        self, kind: Any, channels: Any, engine: str, pair: Any
    ) -> None:
        """What the nested loop has read must not be delivered a second time: recv would block."""
        ends = [pair() for _ in range(6)]

        class Nests(kind):  # type: ignore[misc]
            def handle_read(self) -> None:
                self.received += self.recv(1)
                self.events.append("read")
                asynccore.loop(timeout=0, map=channels, count=1, poller=engine)

        made = [Nests(end, channels) for end, _ in ends]
        for _, peer in ends:
            peer.send(b"x")
        drive(lambda: all(channel.received for channel in made), channels, engine)
        passes(channels, engine)
        # A second delivery would have raised BlockingIOError, which `events` keeps.
        assert [channel.events for channel in made] == [["read"]] * len(made)

    def test_a_nested_loop_that_empties_the_map(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        class Nests(Reader):
            def handle_read(self) -> None:
                super().handle_read()
                peer.close()
                asynccore.loop(timeout=5, map=channels, poller=engine)
                self.events.append("back")

        end, peer = pair()
        channel = Nests(end, channels)
        peer.send(b"x")
        asynccore.loop(timeout=5, map=channels, poller=engine)
        # The nested loop delivers the end, whose handler finds nothing more to loop over.
        assert channel.events == ["read", "close", "back", "back"]

    def test_a_nested_loop_on_another_map(self, channels: Any, engine: str, pair: Any) -> None:
        inner: dict[int, Any] = {}

        class Nests(Reader):
            def handle_read(self) -> None:
                super().handle_read()
                inner_end, inner_peer = pair()
                self.inner = Reader(inner_end, inner)
                inner_peer.send(b"inner")
                inner_peer.close()
                asynccore.loop(timeout=5, map=inner, poller=engine)

        end, peer = pair()
        channel = Nests(end, channels)
        peer.send(b"x")
        drive(lambda: channel.events, channels, engine)
        assert channel.inner.received == b"inner"

    def test_a_nested_loop_in_a_predicate(self, channels: Any, engine: str, pair: Any) -> None:
        class Nests(Reader):
            inside = False

            def readable(self) -> bool:
                if not self.inside:
                    self.inside = True
                    asynccore.loop(timeout=0, map=channels, count=1, poller=engine)
                    self.inside = False
                return True

        end, peer = pair()
        channel = Nests(end, channels)
        peer.send(b"x")
        drive(lambda: channel.received, channels, engine)
        assert channel.received == b"x"

    def test_a_nested_loop_with_another_poller(self, channels: Any, engine: str, pair: Any) -> None:
        from asynccore import pollers

        for other in pollers.available():

            class Nests(Reader):
                inner = other

                def handle_read(self) -> None:
                    super().handle_read()
                    asynccore.loop(timeout=0, map=channels, count=1, poller=self.inner)

            end, peer = pair()
            channel = Nests(end, channels)
            peer.send(b"x")
            drive(lambda channel=channel: channel.received, channels, engine)
            peer.send(b"y")
            drive(lambda channel=channel: channel.received == b"xy", channels, engine)
            channel.close()


class TestObjectsThatAreNoDispatchers:
    def test_without_a_fileno(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        it = channels[end.fileno()] = Foreign(end)
        peer.send(b"x")
        drive(lambda: it.received, channels, engine)
        assert it.events == ["read"]

    def test_with_fileno_as_a_property(self, channels: Any, engine: str, pair: Any) -> None:
        class WithProperty(Foreign):
            @property
            def fileno(self) -> int:
                raise AssertionError("nobody needs to ask")

        end, peer = pair()
        it = channels[end.fileno()] = WithProperty(end)
        peer.send(b"x")
        drive(lambda: it.received, channels, engine)

    def test_with_a_fileno_that_lies(self, channels: Any, engine: str, pair: Any) -> None:
        class Lies(Foreign):
            def fileno(self) -> int:
                return 0

        end, peer = pair()
        it = channels[end.fileno()] = Lies(end)
        peer.send(b"x")
        drive(lambda: it.received, channels, engine)

    def test_with_slots(self, channels: Any, engine: str, pair: Any) -> None:
        class Slotted:
            __slots__ = ("events", "received", "sock")
            accepting = False
            readable = Foreign.readable
            writable = Foreign.writable
            handle_read_event = Foreign.handle_read_event

            def handle_write_event(self) -> None:
                raise AssertionError

            def close(self) -> None:
                pass

        end, peer = pair()
        it = channels[end.fileno()] = Slotted()
        it.sock, it.received, it.events = end, b"", []
        peer.send(b"x")
        drive(lambda: it.received, channels, engine)

    def test_with_the_predicates_of_the_package(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        class Borrows(Foreign):
            __slots__ = ()
            readable = asynccore.dispatcher.readable

        end, peer = pair()
        it = channels[end.fileno()] = Borrows(end)
        peer.send(b"x")
        drive(lambda: it.received, channels, engine)

    def test_methods_by_getattr_alone(self, channels: Any, engine: str, pair: Any) -> None:
        class Proxy:
            def __init__(self, target: Any) -> None:
                self.target = target

            def __getattr__(self, name: str) -> Any:
                return getattr(self.target, name)

        end, peer = pair()
        target = Foreign(end)
        channels[end.fileno()] = Proxy(target)
        peer.send(b"x")
        drive(lambda: target.received, channels, engine)

    def test_exceptions_reach_its_handle_error(self, channels: Any, engine: str, pair: Any) -> None:
        class Fails(Foreign):
            def handle_read_event(self) -> None:
                self.sock.recv(100)
                raise ValueError

        end, peer = pair()
        it = channels[end.fileno()] = Fails(end)
        peer.send(b"x")
        drive(lambda: it.events, channels, engine)
        assert it.events == ["error"]

    def test_a_foreign_listener_is_not_asked_to_write(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        class Accepting(Foreign):
            accepting = True

            def writable(self) -> bool:
                return True

        end, peer = pair()
        it = channels[end.fileno()] = Accepting(end)
        peer.send(b"x")
        drive(lambda: it.received, channels, engine)
        assert "write" not in it.events


class Keyed(asynccore.dispatcher_with_send):
    """A channel that a map holds under its socket."""

    asked = 0

    def __init__(self, sock: Any) -> None:
        super().__init__(sock, {})
        self.got = b""
        self.ends = 0

    def handle_read(self) -> None:
        self.got += self.recv(100)

    def handle_close(self) -> None:
        self.ends += 1


class KeyedAndAsked(Keyed):
    def readable(self) -> bool:
        self.asked += 1
        return True


@pytest.mark.parametrize("kind", [Keyed, KeyedAndAsked])
class TestKeysThatAreSockets:
    """select() takes whatever has a descriptor, and so did maps of the classic default."""

    def test_poll_with_a_map_for_one_pass(self, kind: type[Keyed], engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = kind(end)
        for number in range(3):
            peer.send(b"x%d" % number)
            asynccore.loop(timeout=5, map={end: channel}, count=1, poller=engine)
        assert channel.got == b"x0x1x2"
        assert channel.asked in (0, 3)

    def test_a_map_that_lives_on(self, kind: type[Keyed], engine: str, pair: Any) -> None:
        self.live_on(kind, {}, engine, pair)

    def test_the_default_map(
        self, kind: type[Keyed], engine: str, pair: Any, default_map: Any
    ) -> None:
        self.live_on(kind, default_map, engine, pair)

    def live_on(self, kind: type[Keyed], map: Any, engine: str, pair: Any) -> None:
        pairs = [pair() for _ in range(3)]
        channels = [kind(end) for end, _ in pairs]
        map.update({end: channel for (end, _), channel in zip(pairs, channels, strict=True)})
        plain = Keyed(pair()[0])
        plain.add_channel(map)  # beside others, under a number
        for channel, (_, peer) in zip(channels, pairs, strict=True):
            peer.send(b"in")
            channel.send(b"out")
        drive(lambda: all(channel.got == b"in" for channel in channels), map, engine)
        assert [peer.recv(9) for _, peer in pairs] == [b"out"] * 3
        del map[pairs[0][0]]
        pairs[0][1].send(b"more")
        pairs[1][1].close()
        drive(lambda: channels[1].ends, map, engine)
        passes(map, engine)
        assert channels[0].got == b"in" and channels[1].ends == 1
        map[pairs[0][0]] = channels[0]
        drive(lambda: channels[0].got == b"inmore", map, engine)
        for channel in (*channels, plain):
            channel.close()
        map.clear()

    def test_output_that_waits(self, kind: type[Keyed], engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = kind(end)
        map = {end: channel}
        channel.send(b"x" * 2_000_000)
        got = 0
        peer.setblocking(False)

        def all_of_it() -> bool:
            nonlocal got
            try:
                while piece := peer.recv(65536):
                    got += len(piece)
            except BlockingIOError:
                pass
            return got == 2_000_000

        drive(all_of_it, map, engine)

    def test_with_a_socket_of_its_own_will(self, kind: type[Keyed], engine: str, pair: Any) -> None:
        """As with TLS of the standard library: one poller more in between."""

        class Driven(socket.socket):
            def pending(self) -> int:
                return 0

            def do_handshake(self) -> None: ...

        end, peer = pair()
        plain, its_peer = pair()
        driven = Driven(fileno=end.detach())
        channel, other = kind(driven), kind(plain)
        map: dict[Any, Any] = {driven: channel, other.socket.fileno(): other}
        for letter in (b"1", b"2"):
            peer.send(letter)
            its_peer.send(letter)
            drive(lambda: channel.got[-1:] == other.got[-1:] == letter, map, engine)  # noqa: B023
        map[plain] = map.pop(plain.fileno())
        its_peer.send(b"three")
        drive(lambda: other.got == b"12three", map, engine)
        channel.close()

    def test_one_that_is_closed(self, kind: type[Keyed], engine: str, pair: Any) -> None:
        end, _ = pair()
        map = {end: kind(end)}
        end.close()
        with pytest.raises(ValueError, match="no descriptor"):  # as from select()
            asynccore.loop(timeout=0, map=map, count=1, poller=engine)


class TestChannelsWithoutASocket:
    class KeepsAlive(Noting, asynccore.dispatcher):
        def readable(self) -> bool:
            return False

        writable = readable

    @pytest.mark.parametrize("key", [None, "keep", 10**9])
    def test_it_keeps_the_loop_alive(
        self, key: Any, channels: Any, engine: str, waits: list[Any]
    ) -> None:
        keeper = self.KeepsAlive(map=channels)
        channels[key] = keeper
        asynccore.loop(timeout=0.001, map=channels, count=3, poller=engine)
        assert len(waits) >= 3 and channels == {key: keeper}
        del channels[key]
        asynccore.loop(map=channels, poller=engine)

    def test_add_channel_without_a_socket(self, channels: Any, engine: str, pair: Any) -> None:
        keeper = self.KeepsAlive(map=channels)
        keeper.add_channel()
        end, peer = pair()
        channel = Reader(end, channels)
        peer.send(b"x")
        drive(lambda: channel.received, channels, engine)
        assert len(channels) == 2
        keeper.close()
        assert len(channels) == 1

    def test_predicates_that_do_maintenance(self, channels: Any, engine: str) -> None:
        class Maintains(self.KeepsAlive):  # type: ignore[name-defined,misc]
            rounds = 0

            def readable(self) -> bool:
                self.rounds += 1
                if self.rounds == 5:
                    self.del_channel()
                return False

        it = Maintains(map=channels)
        it.add_channel()
        asynccore.loop(timeout=0, map=channels, poller=engine)
        assert it.rounds == 5
