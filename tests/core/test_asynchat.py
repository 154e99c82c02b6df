"""asynchat without sockets: what is delivered, in which pieces, and what is sent."""

from __future__ import annotations

import collections
import errno
import threading
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import asynccore
from asynccore import asynchat
from asynccore.asynchat import async_chat, fifo, find_prefix_at_end, simple_producer
from asynccore.dispatchers.vectored import SEND_SHARE
from asynccore.pollers import READ, WRITE
from asynccore.testing import Fakes
from tests.core.fakes import PATIENT, FakeSocket


class Chat(async_chat):
    """Writes down what it is given; `log` joins neighbouring data."""

    def __init__(self, terminator: Any = b"\n", sock: Any = None, map: Any = None) -> None:
        self.pieces: list[Any] = []
        self.log: list[Any] = []
        self.on_data: Callable[[bytes], object] = lambda data: None
        self.on_terminator: Callable[[], object] = lambda: None
        super().__init__(FakeSocket() if sock is None else sock, {} if map is None else map)
        self.set_terminator(terminator)

    def collect_incoming_data(self, data: bytes) -> None:
        assert data
        self.pieces.append(data)
        if self.log and isinstance(self.log[-1], bytes):
            self.log[-1] += data
        else:
            self.log.append(data)
        self.on_data(data)

    def found_terminator(self) -> None:
        self.log.append("end")
        self.on_terminator()

    def feed(self, *data: bytes) -> Chat:
        for piece in data:
            self.socket.receives.append(piece)
            self.handle_read()
        return self

    def handle_error(self) -> None:
        self.log.append("error")
        self.close()


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# Input: terminators -------------------------------------------------------------------------


def split_naively(data: bytes, terminator: bytes) -> list[Any]:
    """What is delivered in the end, however the bytes arrive."""
    log: list[Any] = []
    *lines, rest = data.split(terminator)
    for line in lines:
        log += [line, "end"] if line else ["end"]
    for length in range(min(len(terminator) - 1, len(rest)), 0, -1):
        if terminator.startswith(rest[-length:]):
            rest = rest[:-length]
            break
    return [*log, rest] if rest else log


ALPHABET = st.binary(max_size=30).map(lambda data: bytes(b"ab\r\n"[byte % 4] for byte in data))
TERMINATORS = st.sampled_from([b"\n", b"\r\n", b"\r\n.\r\n", b"aab", b"aba", b"abab", b"aaa"])


@pytest.mark.parametrize("terminator", [b"\n", b"\r\n", b"\r\n.\r\n"])
@pytest.mark.parametrize("whole", [True, False])
def test_input_is_split_at_the_terminator(terminator: bytes, whole: bool) -> None:
    data = terminator.join([b"one", b"", b"two", b"\r", b"tail"])
    chat = Chat(terminator).feed(*([data] if whole else one_by_one(data)))
    assert chat.log == [b"one", "end", "end", b"two", "end", b"\r", "end", b"tail"]
    assert chat.ac_in_buffer == b""


@settings(PATIENT)
@given(ALPHABET, TERMINATORS, st.lists(st.integers(0, 100)))
def test_it_does_not_matter_how_the_bytes_arrive(
    data: bytes, terminator: bytes, places: list[int]
) -> None:
    expected = split_naively(data, terminator)
    assert Chat(terminator).feed(data).log == expected
    assert Chat(terminator).feed(*one_by_one(data)).log == expected
    assert Chat(terminator).feed(*cut(data, places)).log == expected


Step = tuple[Any, int]


def switching(steps: list[Any], data: bytes, pieces: list[bytes]) -> list[Any]:
    """Feed a chat that takes the next terminator at each one it finds."""
    rest = deque(steps)
    chat = Chat(rest.popleft())

    def switch() -> None:
        if rest:
            chat.set_terminator(rest.popleft())
        elif not chat.get_terminator():
            chat.set_terminator(None)

    chat.on_terminator = switch
    chat.feed(*pieces)
    assert b"".join(pieces) == data
    return chat.log


@example([1, b"aba"], b"ab", [])
@settings(PATIENT)
@given(
    st.lists(TERMINATORS | st.integers(1, 5), min_size=1, max_size=6),
    ALPHABET,
    st.lists(st.integers(0, 100)),
)
def test_terminators_may_change_at_each_one(
    steps: list[Any], data: bytes, places: list[int]
) -> None:
    """Whatever was delivered before, no byte is held back that can't begin the terminator."""
    expected = switching(steps, data, [data])
    assert switching(steps, data, one_by_one(data)) == expected
    assert switching(steps, data, cut(data, places)) == expected


def test_what_was_delivered_does_not_make_later_bytes_wait() -> None:
    """The `a` was counted; the `b` after it can't begin b"aba"."""
    chat = Chat(1)
    chat.on_terminator = lambda: chat.set_terminator(b"aba")
    assert chat.feed(b"ab").log == [b"a", "end", b"b"]


@pytest.mark.parametrize("whole", [True, False])
def test_bytes_are_counted(whole: bool) -> None:
    chat = Chat(3)
    chat.on_terminator = lambda: chat.set_terminator(3)
    data = b"abcdefgh"
    chat.feed(*([data] if whole else one_by_one(data)))
    assert chat.log == [b"abc", "end", b"def", "end", b"gh"]
    assert chat.get_terminator() == 1


def test_a_count_is_spent_when_it_is_reached() -> None:
    chat = Chat(2)
    seen: list[Any] = []
    chat.on_terminator = lambda: seen.append(chat.get_terminator())
    chat.feed(b"abcd")
    assert seen == [0]
    assert chat.log == [b"ab", "end", b"cd"]


@pytest.mark.parametrize("terminator", [None, 0, b"", ""])
def test_without_a_terminator_everything_is_data(terminator: Any) -> None:
    chat = Chat(terminator).feed(b"a\r\nb", b"c")
    assert chat.pieces == [b"a\r\nb", b"c"]


def test_a_terminator_may_be_a_bytearray() -> None:
    assert Chat(bytearray(b"\r\n")).feed(b"a\r", b"\nb").log == [b"a", "end", b"b"]


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="a terminator can't be -1 bytes"):
        Chat().set_terminator(-1)
    assert Chat(b"x").get_terminator() == b"x"


def test_strings_need_an_encoding() -> None:
    class Text(Chat):
        use_encoding = True
        encoding = "utf-8"

    chat = Text("é")
    assert chat.get_terminator() == "é".encode()
    assert chat.feed(*one_by_one("aéb".encode())).log == [b"a", "end", b"b"]
    # Assigned past set_terminator, and received as a string by an overridden recv().
    chat.terminator = "ü"
    chat.recv = lambda size: "xüy"  # type: ignore[method-assign,assignment,return-value]
    chat.handle_read()
    assert chat.log[-2:] == ["end", b"y"]


# Input: handlers ----------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("how", ["close", "handle_close", "handle_error"])
@pytest.mark.parametrize("terminator", [b"\n", 2])
def test_nothing_is_delivered_after_close_in_found_terminator(
    terminator: Any, how: str, whole: bool
) -> None:
    chat = Chat(terminator)
    chat.on_terminator = getattr(chat, how)
    data = b"a\nb\nc\n"
    if whole:
        chat.feed(data)
    else:
        for piece in one_by_one(data):
            if not chat._ac_closed:
                chat.feed(piece)
    assert [item for item in chat.log if item != "error"] in ([b"a", "end"], [b"a\n", "end"])


@pytest.mark.parametrize("terminator", [b"\n", 2, None])
def test_nothing_is_delivered_after_close_in_collect(terminator: Any) -> None:
    chat = Chat(terminator)
    chat.on_data = lambda data: chat.close()
    chat.feed(b"a\nb\nc")
    assert "end" not in chat.log and len(chat.pieces) == 1


@pytest.mark.parametrize("where", ["on_data", "on_terminator"])
def test_discard_buffers_in_a_handler_ends_the_input_at_hand(where: str) -> None:
    chat = Chat(b"\n")
    setattr(chat, where, lambda *args: chat.discard_buffers())
    chat.feed(b"a\nb\nc\n")
    assert chat.log == [b"a", "end"]
    setattr(chat, where, lambda *args: None)
    chat.feed(b"d\n")
    assert chat.log == [b"a", "end", b"d", "end"]


def test_input_of_the_old_connection_is_not_for_the_new_one() -> None:
    chat = Chat()
    old = chat.socket
    chat.on_terminator = lambda: chat.set_socket(FakeSocket(1001))
    chat.feed(b"one\ntwo\nthr")
    assert chat.log == [b"one", "end"]
    assert chat.ac_in_buffer == b"" and chat.socket is not old
    chat.on_terminator = lambda: None
    chat.feed(b"new\n")
    assert chat.log == [b"one", "end", b"new", "end"]


def test_handlers_may_look_at_the_rest_and_replace_it() -> None:
    chat = Chat(b"\n")
    seen: list[bytes] = []

    def replace() -> None:
        seen.append(chat.ac_in_buffer)
        chat.ac_in_buffer = b"x\n" if len(seen) == 1 else b""

    chat.on_terminator = replace
    chat.feed(b"a\nb\nc")
    assert seen == [b"b\nc", b""]
    assert chat.log == [b"a", "end", b"x", "end"]


def test_an_exception_of_a_handler_leaves_the_rest_for_later() -> None:
    chat = Chat(b"\n")

    def fail() -> None:
        chat.on_terminator = lambda: None
        raise ZeroDivisionError

    chat.on_terminator = fail
    with pytest.raises(ZeroDivisionError):
        chat.feed(b"a\nb\nc")
    assert chat.ac_in_buffer == b"b\nc"
    chat.feed(b"\n")
    assert chat.log == [b"a", "end", b"b", "end", b"c", "end"]


def test_a_handler_may_read_on_itself() -> None:
    chat = Chat(b"\n")

    def nested() -> None:
        chat.on_terminator = lambda: None
        chat.feed(b"c\n")

    chat.on_terminator = nested
    chat.feed(b"a\nb\n")
    assert chat.log == [b"a", "end", b"b", "end", b"c", "end"]


def test_reading_survives_nothing_and_reports_errors() -> None:
    chat = Chat()
    chat.handle_read()
    assert chat.log == []
    chat.socket.receives.append(OSError(errno.EIO, "broken"))
    chat.handle_read()
    assert chat.log == ["error"]


def test_the_end_closes_the_channel() -> None:
    chat = Chat().feed(b"unfinished", b"")
    assert chat.log == [b"unfinished"]
    assert chat.socket.closed == 1
    assert not chat.connected


def test_reads_are_of_the_size_that_is_asked_for() -> None:
    class Small(Chat):
        ac_in_buffer_size = 4

    chat = Small(None).feed(b"0123456789")
    assert chat.pieces == [b"0123"]


def test_input_is_copied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A buffer that is sliced at every line costs by the square of its lines."""
    chat = Chat(b"\n")
    chat.feed(b"x\n" * 30_000)
    assert chat.log.count("end") == 30_000
    buffers: set[int] = set()
    chat.on_terminator = lambda: buffers.add(id(chat._ac_input))
    chat.feed(b"x\n" * 1_000)
    assert len(buffers) == 1


@pytest.mark.parametrize("data", [b"one\n", b"one\ntwo\n"])
def test_input_that_was_delivered_is_not_kept(data: bytes) -> None:
    chat = Chat(b"\n").feed(data)
    assert chat.pieces == data.split()
    assert chat._ac_input == b"" and chat.ac_in_buffer == b""


@pytest.mark.parametrize("data", [b"one\n", b"one\ntwo\n", b"\x02one"])
def test_a_terminator_is_asked_for_once(data: bytes) -> None:
    """Programs answer by what they know of their input, and count on being asked."""

    class Asked(Chat):
        asked = 0

        def get_terminator(self) -> Any:
            self.asked += 1
            return super().get_terminator()

    chat = Asked(b"\n" if data[0] > 2 else 4).feed(data)
    assert (chat.log.count("end"), chat.asked) == (chat.asked, len(data.split()))


def test_the_hooks_of_subclasses_are_required() -> None:
    chat = async_chat(FakeSocket(), {})
    with pytest.raises(NotImplementedError, match="subclass"):
        chat.collect_incoming_data(b"x")
    with pytest.raises(NotImplementedError, match="subclass"):
        chat.found_terminator()


def test_the_classic_collector() -> None:
    chat = async_chat(FakeSocket(), {})
    chat._collect_incoming_data(b"a")
    chat._collect_incoming_data(b"b")
    assert chat.incoming == [b"a", b"b"]
    assert chat._get_data() == b"ab"
    assert chat.incoming == [] and chat._get_data() == b""


# Output -------------------------------------------------------------------------------------


def sender(*takes: int | Exception, map: Any = None, **attributes: Any) -> Chat:
    cls = type("Sender", (Chat,), attributes)
    chat: Chat = cls(sock=FakeSocket(1000, takes=takes), map=map)
    return chat


def drain(chat: Chat, limit: int = 1000) -> bytes:
    for _ in range(limit):
        if not chat.writable():
            break
        chat.handle_write()
    else:
        pytest.fail("still not sent")
    found: bytes = chat.socket.output
    return found


class Producer:
    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)
        self.asked = 0

    def more(self) -> Any:
        self.asked += 1
        return self.pieces.pop(0) if self.pieces else b""


def test_push_sends_at_once() -> None:
    chat = sender()
    chat.push(b"hello")
    assert chat.socket.sent == [b"hello"]
    assert not chat.writable()


@pytest.mark.parametrize("data", [b"data", bytearray(b"data"), memoryview(b"data")])
def test_push_takes_a_copy_of_anything_like_bytes(data: Any) -> None:
    chat = sender(0)
    chat.push(data)
    if isinstance(data, bytearray):
        data[:] = b"DATA"
    assert list(chat.producer_fifo) == [b"data"]
    assert drain(chat) == b"data"


@pytest.mark.parametrize("data", ["text", 5, None, [b"x"]])
def test_push_refuses_the_rest(data: Any) -> None:
    chat = sender()
    with pytest.raises(TypeError, match=r"push\(\) takes bytes"):
        chat.push(data)
    assert chat.socket.sent == [] and not chat.writable()


def test_strings_are_encoded_if_asked_for() -> None:
    chat = sender(use_encoding=1, encoding="utf-8")
    chat.push("é")
    chat.push_with_producer(Producer("ü"))
    chat.producer_fifo.append("ö")
    assert drain(chat) == "éüö".encode()


def test_an_empty_push_sends_nothing() -> None:
    chat = sender()
    chat.push(b"")
    assert chat.socket.sent == [] and not chat.writable()


def test_what_does_not_fit_waits() -> None:
    chat = sender(3, 0, 1)
    chat.push(b"hello")
    assert chat.writable()
    chat.handle_write()
    chat.push(b" world")
    assert drain(chat) == b"hello world"


def test_nothing_is_sent_before_the_connection_is_there() -> None:
    chat = sender()
    chat.connected = False
    chat.push(b"x")
    assert chat.socket.sent == [] and chat.writable()
    chat.connected = True
    assert drain(chat) == b"x"


def test_before_it_has_a_socket_it_queues() -> None:
    chat = async_chat()
    chat.push(b"early")
    chat.push_with_producer(simple_producer(b" bird"))
    assert next(iter(chat.producer_fifo)) == b"early"
    sock = FakeSocket()
    chat.set_socket(sock, {})
    chat.connected = True
    chat.handle_write()
    chat.handle_write()
    assert sock.output == b"early bird"


def test_pieces_are_of_the_size_that_is_asked_for() -> None:
    chat = sender(0, ac_out_buffer_size=4)
    chat.push(b"0123456789")
    assert list(chat.producer_fifo) == [b"0123", b"4567", b"89"]
    chat.producer_fifo.append(bytearray(b"abcdefg"))
    chat.push_with_producer(Producer(b"ABCDEFGHIJ", b"K"))
    assert drain(chat) == b"0123456789abcdefgABCDEFGHIJK"
    assert max(map(len, chat.socket.sent)) == 4


def test_small_pieces_are_joined() -> None:
    chat = sender(0)
    chat._ac_full = True
    for _ in range(100):
        chat.push(b"x" * 10)
    chat.handle_write()
    assert sum(map(len, chat.socket.sent)) == 1000 or chat.writable()
    assert drain(chat) == b"x" * 1000
    assert len(chat.socket.sent) <= 3


def test_one_turn_sends_its_share() -> None:
    chat = sender(0)
    size = SEND_SHARE
    chat.push(b"x" * (2 * size + 5))
    chat.handle_write()
    assert size <= len(chat.socket.output) <= size + chat.ac_out_buffer_size
    assert chat.writable()
    assert drain(chat) == b"x" * (2 * size + 5)


class Sliceable:
    """Neither bytes nor a producer, as the classic one allowed."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, place: slice) -> Any:
        return self.data[place]


def test_what_can_be_sliced_can_be_sent() -> None:
    chat = sender(ac_out_buffer_size=3)
    chat.producer_fifo.append(Sliceable(b"abcdefgh"))
    assert drain(chat) == b"abcdefgh"


PIECES = st.lists(
    st.tuples(
        st.sampled_from(["push", "producer", "append", "array", "write"]), st.binary(max_size=12)
    ),
    max_size=15,
)


@settings(PATIENT)
@given(PIECES, st.lists(st.integers(0, 6), max_size=40), st.integers(1, 8))
def test_everything_is_sent_once_and_in_order(
    pieces: list[tuple[str, bytes]], takes: list[int], size: int
) -> None:
    chat = sender(*takes, ac_out_buffer_size=size)
    expected = b""
    for how, data in pieces:
        if how == "push":
            chat.push(data)
        elif how == "producer":
            chat.push_with_producer(simple_producer(data, 5))
        elif how == "append":
            chat.producer_fifo.append(data)
        elif how == "array":
            chat.producer_fifo.append(bytearray(data))
        else:
            chat.handle_write()
            data = b""
        expected += data
    chat.close_when_done()
    for _ in range(200):
        if chat._ac_closed:
            break
        chat.handle_write()
    assert chat.socket.output == expected
    assert chat.socket.closed == 1


def test_a_producer_is_asked_until_it_has_no_more() -> None:
    chat = sender()
    producer = Producer(b"a", b"b", b"")
    chat.push_with_producer(producer)
    assert drain(chat) == b"ab"
    assert producer.asked == 3


def test_a_producer_may_be_false() -> None:
    """It is what `len` says: nothing."""
    chat = sender()

    class Empty(Producer):
        def __len__(self) -> int:
            return 0

    chat.push_with_producer(Empty(b"never"))
    assert drain(chat) == b""


def test_a_producer_that_discards_the_queue() -> None:
    chat = sender()

    class Discards:
        def more(self) -> bytes:
            chat.producer_fifo.clear()
            return b""

    chat.push_with_producer(Discards())
    assert drain(chat) == b""


def test_a_producer_that_closes_sends_no_more() -> None:
    chat = sender()
    closes: list[int] = []
    chat.handle_close = lambda: closes.append(1)  # type: ignore[method-assign]

    class Closes:
        def more(self) -> bytes:
            chat.close()
            return b"too late"

    chat.push_with_producer(Closes())
    assert chat.socket.sent == []
    assert closes == []


def test_close_when_done_sends_the_rest_first() -> None:
    chat = sender(2)
    chat.push(b"hello")
    chat.close_when_done()
    assert not chat._ac_closed
    chat.handle_write()
    assert chat.socket.output == b"hello"
    assert chat.socket.closed == 1


def test_close_when_done_with_nothing_to_send_is_done_by_the_loop(fakes: Fakes) -> None:
    chat = sender(map=fakes.engine.map)
    fakes.engine.run_pass(0)
    chat.close_when_done()
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & WRITE
    fakes.poller.report((1000, WRITE))
    fakes.engine.run_pass(0)
    assert chat.socket.closed == 1
    assert not fakes.engine.map


@pytest.mark.parametrize("error", [errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT])
def test_a_connection_that_is_gone_closes_the_channel_once(error: int) -> None:
    chat = sender(OSError(error, "gone"))
    chat.push(b"x" * 10)
    assert chat.socket.closed == 1
    chat.push(b"more")
    assert chat.log == []


def test_other_errors_of_a_send_go_to_handle_error() -> None:
    chat = sender(OSError(errno.EMSGSIZE, "too long"))
    chat.push(b"x")
    assert chat.log == ["error"]


@pytest.mark.parametrize("how", ["discard_buffers", "clear", "assign"])
def test_after_the_queue_was_emptied_a_push_goes_out(fakes: Fakes, how: str) -> None:
    """The socket was full; what was to go is thrown away, and then there is more."""
    chat = sender(0, 0, map=fakes.engine.map)
    fakes.engine.run_pass(0)
    chat.push(b"old")
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & WRITE
    if how == "discard_buffers":
        chat.discard_buffers()
    elif how == "clear":
        chat.producer_fifo.clear()
    else:
        chat.producer_fifo = deque()
    chat.touch()
    fakes.engine.run_pass(0)
    chat.push(b"new")
    for _ in range(3):
        fakes.engine.run_pass(0)
        if fakes.poller.interest.get(1000, 0) & WRITE:
            fakes.poller.report((1000, WRITE))
    assert chat.socket.output == b"new"


def test_discard_buffers_throws_everything_away() -> None:
    chat = sender(0)
    chat.ac_in_buffer = b"in"
    chat.incoming.append(b"collected")
    chat.push(b"out")
    chat.discard_buffers()
    assert (chat.ac_in_buffer, chat.incoming, list(chat.producer_fifo)) == (b"", [], [])
    chat.push(b"new")
    assert drain(chat) == b"new"


def test_the_queue_may_be_assigned(fakes: Fakes) -> None:
    chat = sender(map=fakes.engine.map)
    fakes.engine.run_pass(0)
    chat.producer_fifo = deque([b"assigned"])
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & WRITE
    chat.handle_write()
    fakes.engine.run_pass(0)
    chat.touch()
    fakes.engine.run_pass(0)
    assert not fakes.poller.interest[1000] & WRITE
    chat.producer_fifo.append(b" and changed")
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & WRITE
    assert drain(chat) == b"assigned and changed"


def test_a_new_connection_begins_with_an_empty_socket() -> None:
    chat = sender(0)
    chat.push(b"old")
    chat.close()
    chat.discard_buffers()
    sock = FakeSocket(1001)
    chat.set_socket(sock)
    chat.connected = True
    chat.push(b"new")
    chat.handle_write()
    assert sock.output == b"new"


# Other threads ------------------------------------------------------------------------------


def elsewhere(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize("what", ["push", "push_with_producer"])
def test_what_another_thread_sends_before_closing_is_sent(fakes: Fakes, what: str) -> None:
    """The loop's thread holds the turn when both calls are made."""
    chat = sender(map=fakes.engine.map)
    fakes.engine.run_pass(0)

    def farewell() -> None:
        if what == "push":
            chat.push(b"farewell")
        else:
            chat.push_with_producer(simple_producer(b"farewell"))
        chat.close_when_done()

    def handler(data: bytes) -> None:
        elsewhere(farewell)

    chat.on_data = handler
    chat.socket.receives.append(b"x")
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    for _ in range(4):
        if fakes.poller.interest.get(1000, 0) & WRITE:
            fakes.poller.report((1000, WRITE))
        fakes.engine.run_pass(0)
    assert chat.socket.output == b"farewell"
    assert chat.socket.closed == 1


def test_many_threads_push_whole_messages(fakes: Fakes) -> None:
    chat = sender(map=fakes.engine.map)
    messages = [bytes([65 + number]) * 20 for number in range(8)]
    threads = [
        threading.Thread(target=lambda m=m: [chat.push(m) for _ in range(20)]) for m in messages
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    output = drain(chat)
    assert sorted(output[at : at + 20] for at in range(0, len(output), 20)) == sorted(messages * 20)


# The other classic names --------------------------------------------------------------------


@given(st.binary(max_size=20), st.integers(1, 8))
def test_simple_producer(data: bytes, size: int) -> None:
    producer = simple_producer(data, size)
    pieces = []
    while piece := producer.more():
        pieces.append(piece)
    assert b"".join(pieces) == data
    assert all(len(piece) == size for piece in pieces[:-1])
    assert producer.more() == b""


def test_simple_producer_has_512_bytes_at_a_time() -> None:
    assert len(simple_producer(b"x" * 1000).more()) == 512
    assert simple_producer("text", 2).more() == "te"


SMALL = st.binary(max_size=8).map(lambda data: bytes(b"ab"[byte % 2] for byte in data))


@given(SMALL, SMALL.filter(bool))
def test_find_prefix_at_end(haystack: bytes, needle: bytes) -> None:
    naive = max(n for n in range(len(needle)) if haystack.endswith(needle[:n]) or n == 0)
    assert find_prefix_at_end(haystack, needle) == naive
    text = find_prefix_at_end(haystack.decode(), needle.decode())
    assert text == naive


def test_find_prefix_at_end_of_nothing() -> None:
    assert find_prefix_at_end(b"abc", b"") == 0
    assert find_prefix_at_end(b"", b"\r\n") == 0


def test_fifo() -> None:
    queue = fifo()
    assert queue.is_empty() and len(queue) == 0
    assert queue.pop() == (0, None)
    with pytest.raises(IndexError):
        queue.first()
    queue.push(1)
    queue.push(None)
    assert (queue.first(), len(queue), queue.is_empty()) == (1, 2, False)
    assert [queue.pop(), queue.pop(), queue.pop()] == [(1, 1), (1, None), (0, None)]
    assert fifo([1, 2]).pop() == (1, 1)


def test_the_modules_names() -> None:
    own = {"async_chat", "fifo", "find_prefix_at_end", "simple_producer"}
    assert set(asynchat.__all__) == own | {"asyncore", "deque"}  # imports included, as ever
    assert asynchat.deque is collections.deque
    assert asynchat.asyncore is asynccore
