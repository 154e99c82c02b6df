"""`async_chat`: what handlers do in the middle of a delivery, text, producers, the queue."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

import asynccore
from asynccore import asynchat
from tests.corners.support import Noting, drain, drive, passes


class Lines(Noting, asynchat.async_chat):
    """Notes each line; `command` may do something about it."""

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        super().__init__(sock, map)
        self.lines: list[bytes] = []
        self.set_terminator(b"\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data()
        self.lines.append(line)
        self.command(line)

    def command(self, line: bytes) -> None:
        pass


class TestDeliveryStops:
    """A request that follows the one for which the connection was closed is not for us."""

    @pytest.mark.parametrize("how", ["close", "handle_close", "close_all", "base"])
    def test_after_close_in_found_terminator(
        self, how: str, channels: Any, engine: str, pair: Any
    ) -> None:
        class Quits(Lines):
            def command(self, line: bytes) -> None:
                if how == "close_all":
                    asynccore.close_all(channels)
                elif how == "base":
                    asynccore.dispatcher.close(self)
                else:
                    getattr(self, how)()

        end, peer = pair()
        channel = Quits(end, channels)
        peer.send(b"QUIT\r\nDELETE everything\r\nand more")
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert channel.lines == [b"QUIT"] and channel.incoming == []

    def test_after_close_in_collect_incoming_data(self, channels: Any, pair: Any) -> None:
        class Refuses(Lines):
            def collect_incoming_data(self, data: bytes) -> None:
                super().collect_incoming_data(data)
                self.close()

        end, peer = pair()
        channel = Refuses(end, channels)
        peer.send(b"first\r\nsecond\r\n")
        asynccore.loop(timeout=5, map=channels)
        assert channel.lines == [] and channel.incoming == [b"first"]

    def test_with_a_counted_terminator(self, channels: Any, pair: Any) -> None:
        class Counted(Lines):
            def command(self, line: bytes) -> None:
                self.close()

        end, peer = pair()
        channel = Counted(end, channels)
        channel.set_terminator(3)
        peer.send(b"abcdef")
        asynccore.loop(timeout=5, map=channels)
        assert channel.lines == [b"abc"]

    def test_buffers_that_a_handler_discards(self, channels: Any, pair: Any) -> None:
        class Discards(Lines):
            def command(self, line: bytes) -> None:
                self.discard_buffers()

        end, peer = pair()
        channel = Discards(end, channels)
        peer.send(b"one\r\ntwo\r\n")
        drive(lambda: channel.lines, channels)
        peer.send(b"three\r\n")
        drive(lambda: len(channel.lines) == 2, channels)
        assert channel.lines == [b"one", b"three"]


def test_the_terminator_changes_within_one_delivery(channels: Any, engine: str, pair: Any) -> None:
    """A length on a line, then so many bytes, then lines again; whole and byte by byte."""

    class Framed(Lines):
        def command(self, line: bytes) -> None:
            self.set_terminator(int(line) if line.isdigit() else b"\r\n")

    data = b"5\r\nhello" + b"bye\r\n"
    for pieces in ([data], [bytes([byte]) for byte in data]):
        end, peer = pair()
        channel = Framed(end, channels)
        for piece in pieces:
            peer.send(piece)
            passes(channels, engine, 1)
        assert channel.lines == [b"5", b"hello", b"bye"]
        channel.close()


def test_input_buffers_are_read_and_assigned(channels: Any, pair: Any) -> None:
    seen: list[bytes] = []

    class Looks(Lines):
        def command(self, line: bytes) -> None:
            seen.append(self.ac_in_buffer)
            if line == b"skip":
                self.ac_in_buffer = b"instead\r\n"

    end, peer = pair()
    channel = Looks(end, channels)
    peer.send(b"one\r\nskip\r\nnever\r\n")
    drive(lambda: len(channel.lines) >= 3, channels)
    assert channel.lines == [b"one", b"skip", b"instead"]
    assert seen == [b"skip\r\nnever\r\n", b"never\r\n", b""]


@pytest.mark.parametrize("where", ["class", "instance"])
def test_buffer_sizes_are_obeyed(where: str, channels: Any, pair: Any) -> None:
    sizes: list[int] = []

    class Small(Lines):
        def recv(self, buffer_size: int) -> bytes:
            sizes.append(buffer_size)
            return super().recv(buffer_size)

        def send(self, data: Any) -> Any:
            sizes.append(len(data))
            return super().send(data)

    if where == "class":
        Small.ac_in_buffer_size, Small.ac_out_buffer_size = 7, 5
    end, peer = pair()
    channel = Small(end, channels)
    if where == "instance":
        channel.ac_in_buffer_size, channel.ac_out_buffer_size = 7, 5
    peer.send(b"0123456789\r\n")
    drive(lambda: channel.lines, channels)
    assert sizes == [7, 7] and channel.lines == [b"0123456789"]
    del sizes[:]
    channel.push(b"x" * 12)
    passes(channels, None)
    assert max(sizes) == 5 and drain(peer) == b"x" * 12


class TestText:
    def test_push_of_a_string(self, channels: Any, pair: Any) -> None:
        class Text(Lines):
            use_encoding = 1
            encoding = "utf-8"

        end, peer = pair()
        channel = Text(end, channels)
        channel.push("gr\u00fc\u00dfe")
        channel.push(b" and bytes")
        passes(channels, None)
        assert drain(peer) == "gr\u00fc\u00dfe and bytes".encode()

    def test_the_default_encoding_is_latin_1(self, channels: Any, pair: Any) -> None:
        end, peer = pair()
        channel = Lines(end, channels)
        channel.use_encoding = True
        channel.push("\xe9")
        passes(channels, None)
        assert drain(peer) == b"\xe9"

    def test_a_terminator_and_a_producer_of_strings(self, channels: Any, pair: Any) -> None:
        end, peer = pair()
        channel = Lines(end, channels)
        channel.use_encoding = 1
        channel.set_terminator("\n")
        peer.send(b"line\n")
        drive(lambda: channel.lines, channels)
        assert channel.lines == [b"line"] and channel.get_terminator() == b"\n"
        channel.push_with_producer(asynchat.simple_producer("text", 3))
        passes(channels, None)
        assert drain(peer) == b"text"

    def test_without_use_encoding_a_string_is_refused(self, channels: Any, pair: Any) -> None:
        channel = Lines(pair()[0], channels)
        with pytest.raises(TypeError, match="bytes"):
            channel.push("text")
        assert not channel.producer_fifo


class TestProducers:
    class Countdown:
        """All that a producer needs."""

        def __init__(self, count: int) -> None:
            self.count = count

        def more(self) -> bytes:
            self.count -= 1
            return b"%d " % self.count if self.count >= 0 else b""

    def test_anything_with_more_in_order(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = Lines(end, channels)
        channel.push(b"begin ")
        channel.push_with_producer(self.Countdown(3))
        channel.push(b"end")
        channel.close_when_done()
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert drain(peer) == b"begin 2 1 0 end"
        assert channel.events == ["close"]

    def test_one_that_raises(self, channels: Any, engine: str, pair: Any) -> None:
        class Broken:
            def more(self) -> bytes:
                raise ZeroDivisionError

        end, _ = pair()
        channel = Lines(end, channels)
        channel.producer_fifo.append(Broken())
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert [type(event) for event in channel.events] == [ZeroDivisionError]

    def test_one_that_closes_its_channel(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = Lines(end, channels)

        class Closes:
            def more(self) -> bytes:
                channel.close()
                return b"too late"

        channel.push_with_producer(Closes())
        passes(channels, engine)
        assert not channels and drain(peer) == b"" and channel.events == []

    def test_none_ends_what_was_queued(self, channels: Any, engine: str, pair: Any) -> None:
        end, peer = pair()
        channel = Lines(end, channels)
        channel.producer_fifo.append(b"last words")
        channel.producer_fifo.append(None)
        asynccore.loop(timeout=5, map=channels, poller=engine)
        assert drain(peer) == b"last words" and channel.events == ["close"]

    def test_the_queue_is_a_deque_that_may_be_assigned(
        self, channels: Any, engine: str, pair: Any
    ) -> None:
        end, peer = pair()
        channel = Lines(end, channels)
        passes(channels, engine)
        assert type(channel.producer_fifo) is deque

        def assign() -> None:
            channel.producer_fifo = deque([b"a", b"b"])

        def append() -> None:
            channel.producer_fifo.appendleft(b"c")
            channel.producer_fifo.extend([b"d"])

        # In the middle of a loop: when one begins, everybody is asked anyway.
        for change, expected in ((assign, b"ab"), (append, b"cd")):
            asynccore.call_later(0, change, map=channels)
            passes(channels, engine, 4)
            assert drain(peer) == expected


def test_what_handlers_must_define_is_said(channels: Any, pair: Any) -> None:
    channel = asynchat.async_chat(pair()[0], channels)
    with pytest.raises(NotImplementedError):
        channel.collect_incoming_data(b"")
    with pytest.raises(NotImplementedError):
        channel.found_terminator()
    with pytest.raises(ValueError, match="-1"):
        channel.set_terminator(-1)


def test_a_class_that_calls_the_constructor_of_dispatcher_alone(
    channels: Any, engine: str, pair: Any
) -> None:
    class Bare(Lines):
        def __init__(self, sock: Any, map: Any) -> None:
            asynccore.dispatcher.__init__(self, sock, map)
            self.ac_in_buffer = b""
            self.incoming = []
            self.producer_fifo = deque()
            self.lines = []
            self.set_terminator(b"\r\n")

        def command(self, line: bytes) -> None:
            self.push(line.upper())
            self.close_when_done()

    end, peer = pair()
    chat = Bare(end, channels)
    peer.send(b"one\r")
    passes(channels, engine)
    peer.send(b"\n")
    drive(lambda: not channels, channels, engine)
    assert chat.lines == [b"one"]
    assert drain(peer) == b"ONE"
