"""async_chat, fed whole, byte by byte and in pieces: both deliver the same, however it is cut.

What is delivered is compared with the data joined between two terminators, for where the input
was cut decides how it comes in pieces.
"""

from __future__ import annotations

import socket
from itertools import cycle, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.reference import CLASSIC, Side, ours
from tests.differential.scripts import budget

Delivered = list[bytes]


def make(side: Side, sock: Any, changes: list[Any], buffer_size: int) -> Any:
    class Chat(side.asynchat.async_chat):  # type: ignore[misc,name-defined]
        ac_in_buffer_size = buffer_size
        use_encoding = 1

        def collect_incoming_data(self, data: bytes) -> None:
            assert data, "an empty piece"
            self.collected.append(bytes(data))

        def found_terminator(self) -> None:
            self.found.append(b"".join(self.collected))
            self.collected.clear()
            self.set_terminator(next(self.changes))

        def handle_error(self) -> None:
            raise

    chat = Chat(sock, map={})
    chat.found, chat.collected, chat.changes = [], [], cycle(changes)
    chat.set_terminator(next(chat.changes))
    return chat


def deliver(side: Side, changes: list[Any], pieces: list[bytes], buffer_size: int) -> Any:
    near, far = socket.socketpair()
    with near, far:
        chat = make(side, near, changes, buffer_size)
        for piece in pieces:
            far.sendall(piece)
            left = len(piece)
            while left > 0:
                chat.handle_read()
                left -= buffer_size
        rest = b"".join(chat.collected)
        held, terminator = chat.ac_in_buffer, chat.get_terminator()
        chat.close()
    return chat.found, rest, held, terminator


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    return [piece for piece in pieces if piece]


def same_however_cut(changes: list[Any], data: bytes, cuts: list[list[bytes]], size: int) -> None:
    whole = None
    for pieces in cuts:
        original = deliver(CLASSIC, changes, pieces, size)
        replacement = deliver(ours("select"), changes, pieces, size)
        assert replacement == original
        if all(isinstance(change, (bytes, str)) and change for change in changes):
            # Without a terminator, what is collected with what depends on the pieces.
            whole = whole or replacement
            assert replacement == whole


TERMINATORS = [b"\n", b"\r\n", b"\r\n.\r\n", b"aa", b"abab", b"abaab", "\r\n", "é", 1, 3, 10]
ENDLESS = [0, None, b"", ""]
SAMPLE = b"ab\r\n\r\n.\r\naababab\r\r\n.\raab\n.\r\n\xe9abaababaab"


@pytest.mark.parametrize("terminator", TERMINATORS + ENDLESS, ids=repr)
def test_every_boundary(terminator: Any) -> None:
    bytewise = [SAMPLE[at : at + 1] for at in range(len(SAMPLE))]
    cuts = [[SAMPLE], bytewise] + [cut(SAMPLE, [at]) for at in range(1, len(SAMPLE))]
    same_however_cut([terminator], SAMPLE, cuts, 65536)


@budget(300)
@given(
    st.lists(st.sampled_from(TERMINATORS), min_size=1, max_size=4),
    st.sampled_from([None, *ENDLESS]),
    st.lists(st.sampled_from([b"a", b"b", b"\r", b"\n", b".", b"\xe9", b"\r\n"]), max_size=40),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from([1, 2, 7, 65536]),
)
def test_terminators_that_change(
    changes: list[Any], last: Any, words: list[bytes], places: list[int], size: int
) -> None:
    data = b"".join(words)
    if not data:
        return
    bytewise = [data[at : at + 1] for at in range(len(data))]
    same_however_cut(changes, data, [[data], bytewise, cut(data, places)], size)
    same_however_cut([*changes, last], data, [[data], bytewise, cut(data, places)], size)


@budget(300)
@given(
    st.binary(max_size=12).map(lambda data: bytes(byte % 3 for byte in data)),
    st.binary(min_size=1, max_size=6).map(lambda data: bytes(byte % 3 for byte in data)),
)
def test_find_prefix_at_end(haystack: bytes, needle: bytes) -> None:
    assert ours("select").asynchat.find_prefix_at_end(
        haystack, needle
    ) == CLASSIC.asynchat.find_prefix_at_end(haystack, needle)


@budget(100)
@given(st.binary(max_size=40), st.integers(1, 16))
def test_simple_producer(data: bytes, size: int) -> None:
    producers = [side.asynchat.simple_producer(data, size) for side in (CLASSIC, ours("select"))]
    while True:
        pieces = [producer.more() for producer in producers]
        assert pieces[0] == pieces[1]
        assert producers[0].data == producers[1].data
        if not pieces[0]:
            break
