"""`max_line_length`: what is delivered of a line that is too long, and what its hook may do."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asynccore
from tests.core.fakes import PATIENT
from tests.core.test_asynchat import Chat, cut, one_by_one


class Bounded(Chat):
    max_line_length = 5

    def __init__(self, *args: Any, **options: Any) -> None:
        self.on_long: Callable[[], object] = lambda: None
        super().__init__(*args, **options)

    def handle_line_too_long(self) -> None:
        self.log.append("long")
        self.on_long()


def naively(data: bytes, terminator: bytes, limit: int) -> list[Any]:
    """What is delivered in the end, if the hook does nothing."""
    log: list[Any] = []
    *lines, rest = data.split(terminator)
    for line in lines:
        if line[:limit]:
            log.append(line[:limit])
        log.append("long" if len(line) > limit else "end")
    for length in range(min(len(terminator) - 1, len(rest)), 0, -1):
        if terminator.startswith(rest[-length:]):
            rest = rest[:-length]
            break
    if rest[:limit]:
        log.append(rest[:limit])
    return [*log, "long"] if len(rest) > limit else log


DATA = st.binary(max_size=60).map(lambda data: bytes(b"aaab\r\n"[byte % 6] for byte in data))


@settings(PATIENT, max_examples=300)
@given(DATA, st.sampled_from([b"\n", b"\r\n", b"ab", b"aab"]), st.integers(0, 8), st.data())
def test_it_does_not_matter_how_the_bytes_arrive(
    data: bytes, terminator: bytes, limit: int, draw: st.DataObject
) -> None:
    expected = naively(data, terminator, limit)
    places = draw.draw(st.lists(st.integers(0, 100)))
    for pieces in ([data], one_by_one(data), cut(data, places)):
        chat = Bounded(terminator)
        chat.max_line_length = limit
        assert chat.feed(*pieces).log == expected


whole = pytest.mark.parametrize("split", [lambda data: [data], one_by_one], ids=["whole", "bytes"])


@whole
def test_a_line_of_just_that_length_is_fine(split: Any) -> None:
    assert Bounded(b"\r\n").feed(*split(b"12345\r\n\r\n12345\r\n")).log == [
        *(b"12345", "end", "end", b"12345", "end")
    ]


@whole
def test_by_default_it_is_logged_and_the_channel_closed(
    split: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    class Default(Chat):
        max_line_length = 5

    chat = Default(b"\n")
    for piece in split(b"ok\n123456\nmore\n"):
        if not chat._ac_closed:
            chat.feed(piece)
    assert chat.log == [b"ok", "end", b"12345"]
    assert chat.socket.closed == 1
    out = capsys.readouterr().out
    assert out.startswith("error: over 5 bytes without a terminator, closing channel <")
    assert out.count("\n") == 1


@whole
def test_without_a_limit_everything_is_delivered(split: Any) -> None:
    chat = Chat(b"\n")
    assert chat.max_line_length is None
    assert chat.feed(*split(b"x" * 1000 + b"\n")).log == [b"x" * 1000, "end"]


@whole
@pytest.mark.parametrize("terminator", [8, None])
def test_it_is_for_terminators_of_bytes_alone(split: Any, terminator: Any) -> None:
    assert Bounded(terminator).feed(*split(b"12345678")).log[0] == b"12345678"


@whole
def test_what_came_by_count_is_no_part_of_the_line_that_follows(split: Any) -> None:
    chat = Bounded(8)
    chat.on_terminator = lambda: chat.set_terminator(b"\n")
    assert chat.feed(*split(b"1234567812345\n")).log == [b"12345678", "end", b"12345", "end"]


@whole
def test_the_hook_may_answer(split: Any) -> None:
    chat = Bounded(b"\r\n")
    chat.on_long = lambda: chat.push(b"too long")
    chat.feed(*split(b"1234567890\r\r\nok\r\n"))
    assert chat.log == [b"12345", "long", b"ok", "end"]
    assert chat.socket.output == b"too long"


def test_the_hook_may_discard_everything() -> None:
    chat = Bounded(b"\n")
    chat.on_long = chat.discard_buffers
    chat.feed(b"1234567\nlost\n", b"ok\n")
    assert chat.log == [b"12345", "long", b"ok", "end"]
    chat.log.clear()
    chat.feed(b"123456", b"78", b"abc\n")
    assert chat.log == [b"12345", "long", b"78abc", "end"]


@whole
@pytest.mark.parametrize("limit", [7, None])
def test_the_hook_may_raise_the_limit(split: Any, limit: int | None) -> None:
    chat = Bounded(b"\n")

    def more() -> None:
        chat.max_line_length = limit

    chat.on_long = more
    chat.feed(*split(b"1234567\n"))
    assert chat.log == [b"12345", "long", b"67", "end"]


@whole
def test_the_hook_may_change_the_terminator(split: Any) -> None:
    chat = Bounded(b"\n")
    chat.on_long = lambda: chat.set_terminator(b";")
    chat.feed(*split(b"1234567\n89;ok;"))
    assert chat.log == [b"12345", "long", b"ok", "end"]


@whole
def test_a_collector_that_takes_the_rest_by_count(split: Any) -> None:
    """The terminator changes between what fits and what does not."""
    chat = Bounded(b"\n")
    chat.on_data = lambda data: chat.set_terminator(3) if chat.terminator == b"\n" else None
    chat.on_terminator = lambda: chat.set_terminator(b"\n")
    chat.max_line_length = 1
    assert chat.feed(*split(b"1234\n")).log == [b"1234", "end", "end"]


@pytest.mark.parametrize("where", ["on_data", "on_long"])
def test_nothing_comes_after_a_close(where: str) -> None:
    chat = Bounded(b"\n")
    setattr(chat, where, lambda *args: chat.close())
    chat.feed(b"1234567\nok\n")
    assert chat.log == [b"12345"] + ["long"] * (where == "on_long")


def test_a_hook_that_raises_is_not_called_again_for_that_line() -> None:
    chat = Bounded(b"\n")

    def fail() -> None:
        raise ZeroDivisionError

    chat.on_long = fail
    with pytest.raises(ZeroDivisionError):
        chat.feed(b"1234567")
    chat.feed(b"890\nok\n")
    assert chat.log == [b"12345", "long", b"ok", "end"]


def test_a_peer_that_never_ends_its_line_fills_no_memory() -> None:
    """A megabyte at a time, for as long as a test may take."""
    chat = Bounded(b"\r\n")
    piece = b"x" * 65536
    for _ in range(2_000):
        chat.feed(piece)
        assert len(chat.ac_in_buffer) <= 1
    assert chat.log == [b"xxxxx", "long"]
    chat.feed(b"\r", b"\nok\r\n")
    assert chat.log == [b"xxxxx", "long", b"ok", "end"]


def test_over_a_real_socket(capsys: pytest.CaptureFixture[str]) -> None:
    class Real(asynccore.asynchat.async_chat):
        max_line_length = 100_000

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.collected = 0
            self.set_terminator(b"\n")

        def collect_incoming_data(self, data: bytes) -> None:
            self.collected += len(data)

    mine, peer = socket.socketpair()
    channels: dict[int, Any] = {}
    mine.setblocking(False)
    peer.setblocking(False)
    chat = Real(mine, channels)
    sent = 0
    while channels:
        try:
            sent += peer.send(b"x" * 65536)
        except BlockingIOError:
            pass
        except OSError:
            break
        asynccore.loop(timeout=0, map=channels, count=1)
    peer.close()
    asynccore.loop(timeout=0, map=channels, count=1)
    assert chat.collected == 100_000 < sent
    assert "over 100000 bytes" in capsys.readouterr().out
