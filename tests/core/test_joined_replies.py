"""`joins_replies`: what leaves together, and that nobody else can tell."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import asynccore
from asynccore.asynchat import async_chat, simple_producer
from asynccore.dispatchers import output_queue
from tests.core.fakes import PATIENT


class Recorded(socket.socket):
    """A socket that notes each system call that sends."""

    _ac_takes_pieces = True
    sent: list[bytes]

    def send(self, data: Any, flags: int = 0) -> int:  # type: ignore[override]
        count = super().send(data, flags)
        self.sent.append(bytes(data[:count]))
        return count

    def sendmsg(self, pieces: Any, *rest: Any) -> int:
        return self.send(b"".join(pieces))


class Chat(async_chat):
    """Says each line again, after what `actions` has for it."""

    joins_replies = True

    def __init__(self, sock: Any, map: Any) -> None:
        self.actions: dict[bytes, Callable[[], object]] = {}
        self.line = b""
        self.log: list[Any] = []
        super().__init__(sock, map)
        self.set_terminator(b"\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self.line += data

    def found_terminator(self) -> None:
        line, self.line = self.line, b""
        self.log.append(line)
        action = self.actions.get(line)
        if action is not None and action():
            return
        self.push(b"<" + line + b">")

    def handle_error(self) -> None:
        self.log.append("error")
        self.close()


class Pair:
    """A channel, and the peer that talks to it."""

    def __init__(self, cls: type[Chat] = Chat) -> None:
        self.map: dict[int, Any] = {}
        self.peer, other = socket.socketpair()
        self.peer.settimeout(5)
        self.sock = Recorded(fileno=other.detach())
        self.sock.sent = []
        self.chat = cls(self.sock, self.map)

    def say(self, data: bytes) -> list[bytes]:
        """Let the channel have `data` as one piece of input; return what each call has sent."""
        self.peer.sendall(data)
        asynccore.loop(timeout=1, count=1, map=self.map)
        found, self.sock.sent = self.sock.sent, []
        return found

    def close(self) -> None:
        self.peer.close()
        asynccore.close_all(self.map)
        self.sock.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that tests run on may be slow."""
    monkeypatch.setattr(output_queue, "HELD_SECONDS", 1000.0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    found = Pair()
    yield found
    found.close()


def test_replies_to_one_piece_of_input_go_out_together(pair: Pair) -> None:
    assert pair.say(b"a\nb\nc\n") == [b"<a><b><c>"]
    assert pair.say(b"d\n") == [b"<d>"]


def test_they_do_not_unless_it_is_asked_for() -> None:
    class Classic(Chat):
        joins_replies = False

    pair = Pair(Classic)
    assert pair.say(b"a\nb\n") == [b"<a>", b"<b>"]
    pair.close()


def test_the_last_line_may_be_unfinished(pair: Pair) -> None:
    assert pair.say(b"a\nb\nc") == [b"<a><b>"]
    assert pair.say(b"\n") == [b"<c>"]


def test_a_last_line_without_a_reply(pair: Pair) -> None:
    pair.chat.actions[b"c"] = lambda: True
    assert pair.say(b"a\nb\nc\n") == [b"<a><b>"]


def test_counted_input(pair: Pair) -> None:
    pair.chat.set_terminator(1)
    found = pair.chat.found_terminator
    pair.chat.found_terminator = lambda: (pair.chat.set_terminator(1), found())  # type: ignore
    assert pair.say(b"abc") == [b"<a><b><c>"]


def test_what_is_sent_past_the_queue_comes_after_what_was_pushed(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: pair.chat.send(b"direct") and None
    assert pair.say(b"a\nb\nc\n") == [b"<a>", b"direct", b"<b><c>"]
    pair.chat.actions[b"b"] = lambda: pair.chat.socket.send(b"past") and None
    assert pair.say(b"a\nb\nc\n") == [b"<a>", b"past", b"<b><c>"]


def test_closing_sends_first(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: (pair.chat.close(), True)
    assert pair.say(b"a\nb\nc\n") == [b"<a>"]
    assert pair.chat.log == [b"a", b"b"]
    assert pair.peer.recv(100) == b"<a>" and pair.peer.recv(100) == b""


def test_closing_when_done(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: pair.chat.close_when_done()
    pair.say(b"a\nb\n")
    asynccore.loop(timeout=1, count=1, map=pair.map)
    assert pair.peer.recv(100) == b"<a>" and pair.peer.recv(100) == b""


def test_the_end_of_the_output_comes_last(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: (pair.chat.shutdown_write(), True)
    assert pair.say(b"a\nb\n") == [b"<a>"]
    assert pair.peer.recv(100) == b"<a>" and pair.peer.recv(100) == b""


def test_a_handler_that_raises(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: 1 // 0
    assert pair.say(b"a\nb\nc\n") == [b"<a>"]
    assert pair.chat.log == [b"a", b"b", "error"]


def test_a_loop_inside_sends(pair: Pair) -> None:
    def nested() -> None:
        asynccore.loop(timeout=0, count=1, map=pair.map)
        assert pair.peer.recv(100) == b"<a>"

    pair.chat.actions[b"b"] = nested
    assert pair.say(b"a\nb\nc\n") == [b"<a>", b"<b><c>"]
    assert pair.chat.log == [b"a", b"b", b"c"]


def test_another_socket_gets_nothing_of_the_old_ones(pair: Pair) -> None:
    other_peer, other = socket.socketpair()

    def swap() -> bool:
        pair.chat.set_socket(other)
        pair.chat.push(b"to the other")
        return True

    pair.chat.actions[b"b"] = swap
    assert pair.say(b"a\nb\nc\n") == [b"<a>"]
    assert other_peer.recv(100) == b"to the other"
    other_peer.close()
    other.close()


def test_a_socket_that_is_assigned_gets_nothing_of_the_old_ones(pair: Pair) -> None:
    other_peer, other = socket.socketpair()
    other_peer.setblocking(False)
    pair.chat.actions[b"b"] = lambda: setattr(pair.chat, "socket", other) or True
    pair.say(b"a\nb\n")
    assert pair.peer.recv(100) == b"<a>"
    with pytest.raises(BlockingIOError):
        other_peer.recv(100)
    assert pair.chat.socket is other
    other_peer.close()
    other.close()


def test_the_queue_in_the_hands_of_a_program_is_empty(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: pair.chat.log.append(list(pair.chat.producer_fifo))
    pair.chat.actions[b"d"] = lambda: pair.chat.log.append(pair.chat.write_buffer_size)
    assert pair.say(b"a\nb\nc\nd\n") == [b"<a>", b"<b><c>", b"<d>"]
    assert pair.chat.log == [b"a", b"b", [], b"c", b"d", 0]


def test_discarding_discards_nothing_that_would_have_been_sent(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: (pair.chat.discard_buffers(), True)
    assert pair.say(b"a\nb\nc\n") == [b"<a>"]


def test_producers_keep_their_place(pair: Pair) -> None:
    pair.chat.actions[b"b"] = lambda: pair.chat.push_with_producer(simple_producer(b"made"))
    assert b"".join(pair.say(b"a\nb\nc\n")) == b"<a>made<b><c>"


def test_a_time_that_is_up_ends_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(output_queue, "monotonic", lambda: now[0])
    monkeypatch.setattr(output_queue, "HELD_SECONDS", 0.001)
    pair.chat.actions[b"c"] = lambda: now.__setitem__(0, now[0] + 0.002)
    assert pair.say(b"a\nb\nc\nd\ne\n") == [b"<a><b><c>", b"<d><e>"]


def test_so_many_bytes_end_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_queue, "HELD_BYTES", 6)
    assert pair.say(b"a\nb\nc\n") == [b"<a><b>", b"<c>"]


@pytest.mark.parametrize("name", ["send", "initiate_send"])
def test_a_way_of_sending_of_the_programs_own_is_called_each_time(name: str) -> None:
    calls: list[str] = []

    def own(self: Any, *args: Any) -> Any:
        calls.append(name)
        return getattr(async_chat, name)(self, *args)

    pair = Pair(type("Own", (Chat,), {name: own}))
    assert pair.say(b"a\nb\n") == [b"<a>", b"<b>"]
    assert len(calls) == 2
    pair.close()


def test_a_peer_that_is_gone(pair: Pair) -> None:
    pair.peer.sendall(b"a\nb\n")
    pair.peer.close()
    asynccore.loop(timeout=1, count=1, map=pair.map)
    assert pair.chat.log[:1] == [b"a"]
    assert not pair.map


PIECES = st.lists(st.sampled_from([b"a\n", b"b\n", b"s\n", b"q\n", b"x\n", b"n\n", b"c\n", b"p"]),
                  min_size=1, max_size=12)  # fmt: skip


def _conversation(joins: bool, pieces: list[list[bytes]]) -> tuple[bytes, list[Any]]:
    pair = Pair(type("Either", (Chat,), {"joins_replies": joins}))
    chat = pair.chat
    chat.actions = {
        b"s": lambda: chat.send(b"(s)") and None,
        b"q": lambda: chat.log.append(len(chat.producer_fifo)),
        b"x": lambda: (chat.close(), True),
        b"n": lambda: asynccore.loop(timeout=0, count=1, map=pair.map),
        b"c": lambda: chat.close_when_done(),
        b"r": lambda: 1 // 0,
    }
    for piece in pieces:
        if pair.map:
            pair.say(b"".join(piece))
    for _ in range(3):
        asynccore.loop(timeout=0, count=1, map=pair.map)
    if pair.map:
        chat.shutdown_write()
    received = b""
    while data := pair.peer.recv(65536):
        received += data
    log = chat.log
    pair.close()
    return received, log


@PATIENT
@given(st.lists(PIECES, min_size=1, max_size=3))
def test_content_order_and_calls_are_the_same(pieces: list[list[bytes]]) -> None:
    output_queue.HELD_SECONDS, before = 1000.0, output_queue.HELD_SECONDS
    try:
        assert _conversation(True, pieces) == _conversation(False, pieces)
    finally:
        output_queue.HELD_SECONDS = before


def test_a_handler_that_takes_its_time_between_two_pushes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was pushed before is with the peer when the next push returns."""
    monkeypatch.setattr(output_queue, "HELD_SECONDS", 0.001)

    def slow() -> None:
        time.sleep(0.002)
        pair.chat.push(b"first")
        assert pair.peer.recv(100) == b"<a>first"

    pair.chat.actions[b"b"] = slow
    pair.say(b"a\nb\nc\n")
    assert pair.peer.recv(100) == b"<b><c>"
