"""Events that are out of date when their turn comes: closed, replaced and reused descriptors."""

from __future__ import annotations

import os
import socket
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
    drain,
    drive,
    is_open,
    passes,
)


@pytest.mark.parametrize("kind", READERS)
def test_a_handler_closes_all_others(kind: Any, channels: Any, engine: str, pair: Any) -> None:
    ends = [pair() for _ in range(10)]

    class Closes(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            for other in list(channels.values()):
                if other is not self:
                    other.close()

    made = [Closes(end, channels) for end, _ in ends]
    for _, peer in ends:
        peer.send(b"x")
    drive(lambda: len(channels) == 1, channels, engine)
    passes(channels, engine)
    assert sorted(channel.events for channel in made) == [[]] * 9 + [["read"]]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("new_kind", READERS)
def test_a_descriptor_reused_within_one_pass(
    kind: Any, new_kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    """The old channel's event must reach neither it nor the new channel of the same number."""
    ends = [pair() for _ in range(8)]
    fresh: list[Any] = []
    peers: list[Any] = []

    class Replaces(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            if fresh:
                return
            for other in list(channels.values()):
                if other is self:
                    continue
                old = other.socket.fileno()
                other.close()
                end, peer = socket.socketpair()
                if peer.fileno() == old:
                    end, peer = peer, end
                assert end.fileno() == old
                fresh.append(new_kind(end, channels))
                peers.append(peer)

    made = [Replaces(end, channels) for end, _ in ends]
    for _, peer in ends:
        peer.send(b"x")
    try:
        drive(lambda: fresh, channels, engine)
        passes(channels, engine, 5)
        assert sorted(channel.events for channel in made) == [[]] * 7 + [["read"]]
        assert [channel.events for channel in fresh] == [[]] * 7
        for peer in peers:
            peer.send(b"for the new one")
        drive(lambda: all(it.received == b"for the new one" for it in fresh), channels, engine)
    finally:
        for peer in peers:
            peer.close()


@pytest.mark.parametrize("kind", READERS)
def test_closed_in_its_own_read_nothing_is_written(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    class Closes(kind):  # type: ignore[misc]
        writable = lambda self: True  # noqa: E731

        def handle_read(self) -> None:
            super().handle_read()
            self.close()

        def handle_write(self) -> None:
            if self.events:
                self.events.append("write")

    end, peer = pair()
    channel = Closes(end, channels)
    peer.send(b"x")
    asynccore.loop(timeout=5, map=channels, poller=engine)
    assert channel.events == ["read"]


@pytest.mark.parametrize("kind", READERS)
def test_reused_between_read_and_write_of_one_event(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    class Fresh(Noting, asynccore.dispatcher):
        def writable(self) -> bool:
            return bool(self.events) is None

        def handle_write(self) -> None:
            self.events.append("write")

    class Replaces(kind):  # type: ignore[misc]
        fresh: Any = None

        def writable(self) -> bool:
            return True

        def handle_read(self) -> None:
            super().handle_read()
            fd = self.socket.fileno()
            self.close()
            end, self.peer = socket.socketpair()
            if end.fileno() != fd:
                end, self.peer = self.peer, end
            assert end.fileno() == fd
            self.fresh = Fresh(end, channels)

        def handle_write(self) -> None:
            if self.fresh:
                self.events.append("write")

    end, peer = pair()
    channel = Replaces(end, channels)
    peer.send(b"x")
    drive(lambda: channel.fresh, channels, engine)
    passes(channels, engine)
    channel.peer.close()
    assert channel.events == ["read"] and channel.fresh.events == []


def test_the_same_object_with_a_new_socket_under_the_same_number(
    channels: Any, engine: str, pair: Any
) -> None:
    """close(), create_socket(), connect() in a handler, as reconnecting clients do."""
    listener = Listener(channels)

    class Reconnects(Reader):
        def handle_close(self) -> None:
            super().handle_close()
            if self.events.count("close") == 1:
                self.create_socket()
                self.connect(listener.address)

    end, peer = pair()
    channel = Reconnects(end, channels)
    passes(channels, engine)
    fd = end.fileno()
    peer.close()
    drive(lambda: listener.children, channels, engine)
    assert channel.socket.fileno() == fd
    listener.children[0].send(b"again")
    drive(lambda: channel.received == b"again", channels, engine)
    assert channel.events == ["close", "connect", "read"]


@pytest.mark.parametrize("kind", READERS)
def test_a_raw_close_and_a_new_socket_for_the_same_object(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    """Programs close `self.socket` themselves and take another one, of the same number."""
    end, _peer = pair()
    new_end, new_peer = pair()
    channel = kind(end, channels)
    passes(channels, engine)
    fd = end.fileno()
    end.close()
    os.dup2(new_end.fileno(), fd)
    new = socket.socket(fileno=fd)
    channel.set_socket(new)
    new_peer.send(b"x")
    asynccore.loop(timeout=0, map=channels, count=2, poller=engine)
    assert channel.received == b"x"


@pytest.mark.parametrize("kind", READERS)
def test_a_raw_close_and_a_new_socket_in_a_handler(
    kind: Any, channels: Any, engine: str, pair: Any
) -> None:
    new_end, new_peer = pair()

    class Renews(kind):  # type: ignore[misc]
        def handle_read(self) -> None:
            super().handle_read()
            if len(self.events) == 1:
                fd = self.socket.fileno()
                self.socket.close()
                os.dup2(new_end.fileno(), fd)
                self.set_socket(socket.socket(fileno=fd))
                new_peer.send(b"y")

    end, peer = pair()
    channel = Renews(end, channels)
    peer.send(b"x")
    drive(lambda: len(channel.received) == 2, channels, engine)
    assert channel.received == b"xy"


class TestClosedBehindTheLoopsBack:
    """Each poller says it differently: POLLNVAL, EBADF, or nothing at all (epoll)."""

    @pytest.mark.parametrize("kind", READERS)
    @pytest.mark.parametrize("close", ["os", "socket"])
    def test_before_the_first_pass(
        self, kind: Any, close: str, channels: Any, engine: str, pair: Any
    ) -> None:
        channel = kind(pair()[0], channels)
        other_end, other_peer = pair()
        other = kind(other_end, channels)
        self.close(channel, close)
        other_peer.send(b"x")
        drive(lambda: channel.events and other.received, channels)
        assert channel.events == ["close"] and other.events == ["read"]
        assert list(channels.values()) == [other]

    @pytest.mark.parametrize("close", ["os", "socket"])
    def test_before_the_first_pass_of_a_named_poller(
        self, close: str, channels: Any, engine: str, pair: Any
    ) -> None:
        channel = Reader(pair()[0], channels)
        self.close(channel, close)
        passes(channels, engine)
        assert channel.events == ["close"] and not channels

    @pytest.mark.parametrize("kind", READERS)
    @pytest.mark.parametrize("close", ["os", "socket"])
    def test_between_two_loops(
        self, kind: Any, close: str, channels: Any, engine: str, pair: Any
    ) -> None:
        channel = kind(pair()[0], channels)
        other_end, other_peer = pair()
        other = kind(other_end, channels)
        passes(channels, engine)
        self.close(channel, close)
        drive(lambda: channel.events, channels, engine)
        other_peer.send(b"x")
        drive(lambda: other.received, channels, engine)
        assert channel.events == ["close"] and other.events == ["read"]
        assert list(channels.values()) == [other]

    @pytest.mark.parametrize("kind", READERS)
    def test_in_another_channels_handler(
        self, kind: Any, channels: Any, engine: str, pair: Any
    ) -> None:
        victim = kind(pair()[0], channels)

        class Closes(kind):  # type: ignore[misc]
            def handle_read(self) -> None:
                super().handle_read()
                TestClosedBehindTheLoopsBack.close(victim, "os")

        end, peer = pair()
        channel = Closes(end, channels)
        passes(channels, engine)
        peer.send(b"x")
        drive(lambda: victim.events, channels, engine)
        assert victim.events == ["close"] and list(channels.values()) == [channel]

    def test_a_handle_close_that_does_not_close(
        self, channels: Any, engine: str, pair: Any, waits: list[Any]
    ) -> None:
        class Ignores(Reader):
            def handle_close(self) -> None:
                self.events.append("close")

        channel = Ignores(pair()[0], channels)
        passes(channels, engine)
        self.close(channel, "socket")
        drive(lambda: channel.events, channels, engine)
        asynccore.loop(timeout=0, map=channels, poller=engine, count=3)
        assert channel.events == ["close"] and not channels

    def test_a_foreign_object(self, channels: Any, engine: str, pair: Any) -> None:
        end, _ = pair()
        it = channels[end.fileno()] = Foreign()
        passes(channels, engine)
        end.close()
        passes(channels, engine)
        assert it.events == ["close"] and not channels

    def test_opened_anew_under_the_same_number_for_another_channel(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        end, _ = pair()
        old = Reader(end, channels)
        passes(channels, engine)
        new_end, new_peer = pair()
        fd = end.fileno()
        end.close()
        os.dup2(new_end.fileno(), fd)
        new = QuietReader(socket.socket(fileno=fd), channels)
        new_peer.send(b"x")
        asynccore.loop(timeout=0, map=channels, count=3, poller=engine)
        assert new.received == b"x" and old.events == []
        # And the old one's close() leaves the new one alone.
        old.close()
        assert is_open(fd) and channels == {fd: new}

    @staticmethod
    def close(channel: Any, how: str) -> None:
        if how == "os":
            os.close(channel.socket.detach())
        else:
            channel.socket.close()


class TestClosingTwice:
    def test_the_second_close_leaves_another_channel_alone(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        end, _ = pair()
        old = Reader(end, channels)
        fd = end.fileno()
        old.close()
        new_end, new_peer = socket.socketpair()
        with new_peer:
            if new_end.fileno() != fd:
                new_end, new_peer = new_peer, new_end
            new = Reader(new_end, channels)
            assert new_end.fileno() == fd
            old.close()
            asynccore.dispatcher.close(old)
            assert channels == {fd: new}
            new_peer.send(b"x")
            drive(lambda: new.received, channels, engine)
            new_peer.close()
            new.close()

    def test_a_fake_socket_is_closed_once(self, channels: Any) -> None:
        """One that keeps its number would close somebody else's descriptor the second time."""
        reader, writer = os.pipe()

        class Fake:
            closed = 0

            def fileno(self) -> int:
                return reader

            def close(self) -> None:
                self.closed += 1
                os.close(reader)

            def getsockopt(self, *args: int) -> int:
                return 0

        channel = asynccore.dispatcher(map=channels)
        fake = Fake()
        channel.set_socket(fake)
        channel.close()
        other = os.dup(writer)
        try:
            assert other == reader
            channel.close()
            assert fake.closed == 1 and is_open(other)
        finally:
            os.close(writer)
            if is_open(other):
                os.close(other)

    def test_an_old_channels_close_leaves_a_foreign_object_alone(
        self, channels: Any, pair: Any
    ) -> None:
        """Its socket is closed already; the number in the map is somebody else's by now."""
        end, _ = pair()
        old = Reader(end, channels)
        fd = end.fileno()
        end.close()

        it = channels[fd] = Foreign()
        old.close()
        assert channels == {fd: it}

    @pytest.mark.parametrize("kind", READERS)
    def test_handle_close_runs_once(self, kind: Any, channels: Any, engine: str) -> None:
        """The end, the hang-up and the error of a reset are one end."""
        listener = Listener(channels)
        listener.child_class = kind
        peer = socket.create_connection(listener.address)
        drive(lambda: listener.children, channels, engine)
        (child,) = listener.children
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        drive(lambda: child.events, channels, engine)
        passes(channels, engine)
        assert child.events == ["close"]

    @pytest.mark.parametrize("kind", READERS)
    def test_handle_close_runs_once_even_if_it_does_not_close(
        self, kind: Any, channels: Any, engine: str, pair: Any, waits: list[Any]
    ) -> None:
        class Stays(kind):  # type: ignore[misc]
            def handle_close(self) -> None:
                self.events.append("close")

        end, peer = pair()
        channel = Stays(end, channels)
        peer.send(b"x")
        peer.close()
        drive(lambda: "close" in channel.events, channels, engine)
        del waits[:]
        asynccore.loop(timeout=0.001, map=channels, count=4, poller=engine)
        assert channel.events == ["read", "close"]

    def test_half_closed_by_the_peer_the_answer_still_goes_out(
        self, channels: Any, engine: str, tcp_pair: Any
    ) -> None:
        class Answers(Reader):
            answer = b""

            def writable(self) -> bool:
                return bool(self.answer)

            def handle_close(self) -> None:
                self.events.append("close")
                self.answer = b"late answer"

            def handle_write(self) -> None:
                self.answer = self.answer[self.send(self.answer) :]
                if not self.answer:
                    self.close()

        peer, end = tcp_pair()
        channel = Answers(end, channels)
        peer.send(b"question")
        peer.shutdown(socket.SHUT_WR)
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert channel.events == ["read", "close"]
        assert drain(peer) == b"late answer"


class TestEverythingReadableComesBeforeTheClose:
    SIZE = 233_152

    @pytest.mark.parametrize(
        ("transport", "kind", "use_poll"),
        [
            *(("tcp", kind, True) for kind in READERS),
            ("tcp", Reader, False),
            ("unix", Reader, True),
            ("pipe", None, True),
        ],
    )
    def test_what_the_peer_sent_before_closing_arrives(
        self,
        transport: str,
        kind: Any,
        use_poll: bool,
        channels: Any,
        engine: str,
        pair: Any,
        tcp_pair: Any,
    ) -> None:
        data = os.urandom(1024) * (self.SIZE // 1024) + b"!" * (self.SIZE % 1024)
        if transport == "pipe":
            if not hasattr(asynccore, "file_dispatcher"):
                pytest.skip("no file_dispatcher on Windows")
            self.check_pipe(data[:60_000], use_poll, channels, engine)
            return
        peer, end = tcp_pair() if transport == "tcp" else pair()
        for each in (peer, end):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            each.setblocking(False)
        channel = kind(end, channels)
        sent = 0
        while sent < len(data):
            try:
                sent += peer.send(data[sent:])
            except BlockingIOError:
                asynccore.loop(0.02, use_poll, channels, 1, poller=engine)
        peer.close()
        asynccore.loop(5, use_poll, channels, poller=engine)
        assert len(channel.received) == self.SIZE and channel.received == data
        assert channel.events[-1] == "close" and channel.events.count("close") == 1

    @staticmethod
    def check_pipe(data: bytes, use_poll: bool, channels: Any, engine: str) -> None:
        class PipeReader(Noting, asynccore.file_dispatcher):
            received = b""

            def writable(self) -> bool:
                return False

            def handle_read(self) -> None:
                self.received += self.recv(8192)

        reader, writer = os.pipe()
        channel = PipeReader(reader, channels)
        os.close(reader)
        os.set_blocking(writer, False)
        assert os.write(writer, data) == len(data)
        os.close(writer)
        asynccore.loop(5, use_poll, channels, poller=engine)
        assert channel.received == data and channel.events == ["close"]


def test_a_duplicate_lives_on_and_does_not_spin(
    channels: Any, engine: str, pair: Any, waits: list[Any]
) -> None:
    """epoll keeps reporting a description whose number was closed while a duplicate is open."""
    end, peer = pair()
    other_end, other_peer = pair()
    channel = Reader(end, channels)
    other = Reader(other_end, channels)
    passes(channels, engine)
    duplicate = os.dup(end.fileno())
    try:
        os.close(end.detach())  # behind the back of everybody
        peer.send(b"x")
        drive(lambda: channel.events, channels, engine)
        passes(channels, engine)
        del waits[:]
        asynccore.loop(timeout=0.001, map=channels, count=5, poller=engine)
        assert not any(wait.events for wait in waits)
        other_peer.send(b"y")
        drive(lambda: other.received, channels, engine)
    finally:
        os.close(duplicate)
    assert channel.events[-1] == "close" and b"" == channel.received


def test_more_events_than_one_pass_takes_reach_everybody(
    channels: Any, engine: str, pair: Any
) -> None:
    """Level-triggered readiness of 150 channels that read one byte at a time: none starves."""

    class Slow(QuietReader):
        def handle_read(self) -> None:
            self.received += self.recv(1)

    made = []
    for _ in range(150):
        end, peer = pair()
        made.append(Slow(end, channels))
        peer.send(b"abcdefgh")
    asynccore.loop(timeout=0, map=channels, count=12, poller=engine)
    assert min(len(channel.received) for channel in made) >= 3
