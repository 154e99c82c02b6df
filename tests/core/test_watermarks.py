"""High and low watermarks: when the hooks are called, and what they may do."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from asynccore import dispatcher, dispatcher_with_send
from asynccore.asynchat import async_chat, simple_producer
from asynccore.dispatchers.output_queue import OutputQueue
from asynccore.dispatchers.watermarks import Watermarked
from asynccore.pollers import READ
from asynccore.testing import Fakes
from tests.core.fakes import FakeSocket


class Noting(Watermarked):
    def __init__(self, *takes: int, map: Any = None) -> None:
        self.log: list[Any] = []
        self.on_pause: Callable[[], object] = lambda: None
        self.on_resume: Callable[[], object] = lambda: None
        super().__init__(FakeSocket(1000, takes=takes), {} if map is None else map)  # type: ignore[call-arg]

    def handle_pause(self) -> None:
        self.log.append(("pause", self.write_buffer_size))
        self.on_pause()

    def handle_resume(self) -> None:
        self.log.append(("resume", self.write_buffer_size))
        self.on_resume()

    def put(self, data: bytes) -> None:
        raise NotImplementedError

    def forget(self) -> None:
        raise NotImplementedError


class Sender(Noting, dispatcher_with_send):
    put = dispatcher_with_send.send

    def forget(self) -> None:
        self.out_buffer = b""


class Chat(Noting, async_chat):
    put = async_chat.push

    def forget(self) -> None:
        self.discard_buffers()


def take(channel: Any, count: int) -> None:
    """Let the socket take so many bytes."""
    channel.socket.takes.clear()
    channel.socket.takes.extend([count, 0])
    channel.handle_write()
    channel.socket.takes.clear()


both = pytest.mark.parametrize("kind", [Sender, Chat])


def marked(kind: Any, *takes: int, high: int | None = 10, **options: Any) -> Any:
    channel = kind(*takes, **options)
    channel.high_watermark = high
    return channel


@both
def test_each_crossing_is_told_once(kind: Any) -> None:
    channel = marked(kind, 0)
    channel.put(b"x" * 10)
    assert channel.log == []
    channel.put(b"x")
    channel.put(b"x" * 9)
    assert channel.log == [("pause", 11)]
    take(channel, 17)
    assert channel.log == [("pause", 11)] and channel.write_buffer_size == 3
    take(channel, 1)
    assert channel.log == [("pause", 11), ("resume", 2)]
    channel.handle_write()
    channel.put(b"x" * 10)
    assert channel.write_buffer_size == 0 and len(channel.log) == 2


@both
def test_without_a_watermark_nothing_is_told(kind: Any) -> None:
    channel = marked(kind, 0, high=None)
    channel.low_watermark = 5
    channel.put(b"x" * 1_000_000)
    assert channel.write_buffer_size == 1_000_000
    channel.handle_write()
    assert channel.log == []


@both
def test_what_the_socket_takes_at_once_was_never_buffered(kind: Any) -> None:
    channel = marked(kind)
    channel.put(b"x" * 100)
    assert channel.log == [] and channel.write_buffer_size == 0


@both
def test_a_low_watermark_of_its_own(kind: Any) -> None:
    channel = marked(kind, 0)
    channel.low_watermark = 9
    assert (channel.high_watermark, channel.low_watermark) == (10, 9)
    channel.put(b"x" * 11)
    take(channel, 2)
    assert channel.log == [("pause", 11), ("resume", 9)]


@both
def test_they_may_be_zero(kind: Any) -> None:
    channel = marked(kind, 0, 1, 0, high=0)
    channel.put(b"xy")
    channel.handle_write()
    assert channel.log == [("pause", 2)]
    channel.handle_write()
    channel.handle_write()
    assert channel.log == [("pause", 2), ("resume", 0)]


@both
def test_changing_them_counts_at_once(kind: Any) -> None:
    channel = marked(kind, 0, high=100)
    channel.put(b"x" * 50)
    channel.high_watermark = 40
    assert channel.log == [("pause", 50)]
    channel.high_watermark = None
    assert channel.log == [("pause", 50), ("resume", 50)]


@both
def test_nonsense_is_refused_where_it_is_said(kind: Any) -> None:
    channel = kind()
    for name in ("high_watermark", "low_watermark"):
        with pytest.warns(RuntimeWarning, match=f"{name} is None or at least 0 bytes, not -1"):
            setattr(channel, name, -1)
        for wrong in (1.5, "64K", True):
            with pytest.warns(RuntimeWarning, match=f"{name} is None or a number of bytes"):
                setattr(channel, name, wrong)
            assert getattr(channel, name) is wrong
            with pytest.warns(RuntimeWarning) as caught:
                setattr(channel, name, wrong)
            assert caught[0].filename == __file__
    assert channel._ac_marks is None
    channel.high_watermark = 10
    with pytest.warns(RuntimeWarning, match=r"low_watermark \(11 bytes\) can't be over high"):
        channel.low_watermark = 11
    assert channel._ac_marks == (10, 2)
    with pytest.warns(RuntimeWarning, match="can't be over"):
        wrong = type("Wrong", (kind,), {"high_watermark": 1, "low_watermark": 2})
    assert wrong._ac_marks is None
    with pytest.warns(RuntimeWarning, match="high_watermark is None or a number of bytes"):
        wrong = type("Wrong", (kind,), {"high_watermark": "1M"})
    assert wrong._ac_marks is None


@both
def test_in_a_class_body(kind: Any) -> None:
    class Marked(kind):  # type: ignore[misc]
        high_watermark = 10

    class Inherits(Marked):
        low_watermark = 0

    class Off(Inherits):
        high_watermark = None

    assert Marked.high_watermark == 10 and Inherits.low_watermark == 0
    for cls, expected in ((Marked, 2), (Inherits, 0)):
        channel = cls(0)
        channel.put(b"x" * 11)
        for _ in range(11):
            take(channel, 1)
            if len(channel.log) == 2:
                break
        assert channel.log == [("pause", 11), ("resume", expected)]
    off = Off(0)
    off.put(b"x" * 11)
    assert off.log == [] and off.high_watermark is None


@both
def test_a_hook_that_sends(kind: Any) -> None:
    """What is sent in a hook is behind what was there, and hooks don't nest."""
    channel = marked(kind, 0, 9, 0)
    depth: list[int] = [0]

    def send() -> None:
        depth[0] += 1
        assert depth[0] == 1
        channel.put(b"more of it: 12345")
        depth[0] -= 1

    channel.on_pause = lambda: channel.put(b"!")
    channel.on_resume = send
    channel.put(b"0123456789a")
    assert channel.log == [("pause", 11)]
    channel.handle_write()
    channel.on_resume = lambda: None
    channel.socket.takes.extend([1, 1, 0])
    for _ in range(10):
        channel.handle_write()
    assert channel.log[-1] == ("resume", 2) and channel.write_buffer_size == 0
    assert channel.socket.output.startswith(b"0123456789a!")
    assert channel.log.count(("pause", 11)) == 1


@both
def test_a_hook_that_fills_it_again(kind: Any) -> None:
    channel = marked(kind, 0)
    channel.put(b"x" * 11)
    channel.on_resume = lambda: channel.put(b"y" * 20)
    channel.socket.takes.extend([9, 0, 0])
    channel.handle_write()
    assert channel.log == [("pause", 11), ("resume", 2), ("pause", 22)]


@both
def test_hooks_do_not_nest(kind: Any) -> None:
    channel = marked(kind, 0)
    channel.put(b"x" * 11)

    def fill() -> None:
        channel.put(b"y" * 20)
        channel.log.append("end of the hook")

    channel.on_resume = fill
    take(channel, 9)
    assert channel.log == [("pause", 11), ("resume", 2), "end of the hook", ("pause", 22)]


@both
def test_a_hook_that_throws_the_output_away(kind: Any) -> None:
    channel = marked(kind, 0)
    channel.on_pause = channel.forget
    channel.put(b"x" * 11)
    assert channel.log == [("pause", 11), ("resume", 0)]
    assert channel.write_buffer_size == 0
    channel.put(b"new")
    assert channel.socket.output == b"new"


@both
@pytest.mark.parametrize("hook", ["on_pause", "on_resume"])
def test_a_hook_that_closes(kind: Any, hook: str) -> None:
    channel = marked(kind, 0)
    setattr(channel, hook, channel.close)
    channel.put(b"x" * 11)
    channel.handle_write()
    channel.put(b"y" * 11)
    assert channel.socket.closed == 1
    assert len(channel.log) == (1 if hook == "on_pause" else 2)


@both
def test_a_hook_that_raises_is_called_no_more_than_once(kind: Any) -> None:
    channel = marked(kind, 0)

    def fail() -> None:
        raise ZeroDivisionError

    channel.on_pause = fail
    with pytest.raises(ZeroDivisionError):
        channel.put(b"x" * 11)
    channel.put(b"x")
    channel.handle_write()
    assert [name for name, _ in channel.log] == ["pause", "resume"]
    assert channel.socket.output == b"x" * 12


@both
def test_after_a_close_nothing_is_told_and_it_begins_anew(kind: Any) -> None:
    channel = marked(kind, 0)
    channel.put(b"x" * 11)
    channel.close()
    channel.forget()
    assert channel.log == [("pause", 11)]
    channel.set_socket(FakeSocket(1001, takes=[0]))
    channel.connected = True
    channel.put(b"y" * 12)
    assert channel.log == [("pause", 11), ("pause", 12)]


def test_assigned_output_counts() -> None:
    channel = marked(Sender)
    channel.out_buffer = b"x" * 11
    channel.out_buffer = b"x"
    assert channel.log == [("pause", 11), ("resume", 1)]
    chat = marked(Chat)
    chat.producer_fifo = deque([b"x" * 6, bytearray(5), memoryview(b"12"), "text", None])
    assert chat.log == [("pause", 17)]
    chat.producer_fifo = deque()
    assert chat.log == [("pause", 17), ("resume", 0)]


def test_output_that_is_changed_in_the_queue_counts() -> None:
    chat = marked(Chat, 0, 0)
    chat.push(b"x")
    chat.producer_fifo.append(b"x" * 9)
    chat.push(b"x")
    assert chat.log == [("pause", 11)]
    chat.handle_write()
    chat.handle_write()
    assert chat.log == [("pause", 11), ("resume", 0)]


def test_output_that_is_added_to_a_queue_that_was_kept_counts() -> None:
    chat = marked(Chat, 0, 0, 0)
    queue = chat.producer_fifo
    chat.push(b"x")
    queue.append(b"x" * 9)
    chat.push(b"x")
    assert chat.log == [("pause", 11)]


@pytest.mark.parametrize("how", ["writelines", "push_with_producer"])
def test_output_counts_however_it_comes(how: str) -> None:
    chat = marked(Chat, 0)
    chat.push(b"x")
    data = b"x" * 10
    getattr(chat, how)([data] if how == "writelines" else data)
    assert chat.log == [("pause", 11)]


def test_producers_count_what_they_handed_out() -> None:
    chat = marked(Chat, 0)
    chat.push_with_producer(simple_producer(b"x" * 100, 30))
    assert chat.log == [("pause", 30)] and chat.write_buffer_size == 30
    for _ in range(20):
        chat.handle_write()
    assert chat.socket.output == b"x" * 100
    assert chat.log == [("pause", 30), ("resume", 0)]


def test_what_an_initiate_send_of_the_programs_own_leaves_counts() -> None:
    class Slow(Sender):
        def initiate_send(self) -> None:
            self.out_buffer = self.out_buffer[1:]

    channel = marked(Slow)
    channel.send(b"x" * 12)
    assert channel.log == [("pause", 11)]
    for _ in range(9):
        channel.handle_write()
    assert channel.log == [("pause", 11), ("resume", 2)]


@both
def test_hooks_run_on_the_loops_thread(kind: Any, fakes: Fakes) -> None:
    channel = marked(kind, 0, 0, map=fakes.engine.map)
    idents: list[int] = []
    channel.on_pause = lambda: idents.append(threading.get_ident())

    def read() -> None:
        thread = threading.Thread(target=channel.put, args=(b"x" * 11,))
        thread.start()
        thread.join()
        assert channel.log == []

    channel.handle_read = read
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    fakes.engine.run_pass(0)
    assert channel.log[0] == ("pause", 11)
    assert idents == [threading.get_ident()]


@both
def test_a_watermark_set_by_another_thread_counts_on_the_loops(kind: Any, fakes: Fakes) -> None:
    channel = kind(0, 0, 0, map=fakes.engine.map)
    channel.put(b"x" * 11)
    idents: list[int] = []
    channel.on_pause = lambda: idents.append(threading.get_ident())

    def read() -> None:
        thread = threading.Thread(target=setattr, args=(channel, "high_watermark", 10))
        thread.start()
        thread.join()
        assert channel.log == []

    channel.handle_read = read
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    fakes.engine.run_pass(0)
    assert idents == [threading.get_ident()]


def test_the_queue_is_not_counted_at_each_push() -> None:
    """Counting a long queue again at each push costs by its square."""

    class Items(deque[Any]):
        visits = 0

        def __iter__(self) -> Any:
            for item in super().__iter__():
                Items.visits += 1
                yield item

    chat = marked(Chat, 0, high=1_000_000)
    chat._ac_fifo = Items()
    for _ in range(1_000):
        chat.push(b"x")
    assert Items.visits <= 10


def test_both_halves_of_a_chat_are_dispatchers() -> None:
    assert issubclass(async_chat, OutputQueue) and issubclass(OutputQueue, dispatcher)


def test_the_hooks_do_nothing_by_themselves() -> None:
    channel = dispatcher_with_send(FakeSocket(takes=[0]), {})
    channel.high_watermark = 1
    channel.send(b"xyz")
    channel.handle_write()
    assert channel.socket.output == b"xyz"
    with pytest.raises(NotImplementedError):
        _ = Watermarked().write_buffer_size
