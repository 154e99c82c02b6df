"""`graceful_close`: nobody new, what is buffered goes out, and an end in any case."""

from __future__ import annotations

import signal
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, asynchat, graceful_close, smtpd, use_logging
from asynccore.pollers import WRITE
from asynccore.running import graceful
from asynccore.testing import Fakes
from tests.core.fakes import Channel, FakeSocket, Quiet

# More passes than any loop here needs.
MOST = 200

# How long one with real sockets may take, in seconds, before it counts as one that never ends.
PATIENCE = 5.0


def loop(timeout: float | None = 30.0, *, map: Any, **options: Any) -> None:
    """Run a loop on a map with fakes, which must end by itself."""
    if "count" in options:
        asynccore.loop(timeout, map=map, **options)
    else:
        asynccore.loop(timeout, map=map, count=MOST, **options)
        assert not map, "the loop does not end"


def real_loop(map: Any, poller: str) -> None:
    """Run a loop with real sockets, which must end by itself."""
    never = asynccore.call_later(PATIENCE, asynccore.close_all, map, map=map)
    asynccore.loop(None, map=map, poller=poller)
    assert never.active, "the loop did not end by itself"
    never.cancel()


class Sender(asynccore.dispatcher_with_send):
    """Connected, over a scripted socket."""

    def __init__(self, fd: int, map: Any, takes: Any = (0,)) -> None:
        super().__init__(None, map)
        self.connected = True
        self.shutdowns = 0
        self.scripted = FakeSocket(fd, takes=takes)
        self.set_socket(self.scripted)

    def handle_shutdown(self) -> None:
        self.shutdowns += 1

    def handle_close(self) -> None:
        self.close()


class Chat(asynchat.async_chat):
    def __init__(self, fd: int, map: Any, takes: Any = (0,)) -> None:
        super().__init__(None, map)
        self.connected = True
        self.scripted = FakeSocket(fd, takes=takes)
        self.set_socket(self.scripted)


class Foreign(Channel):
    """No dispatcher, and no `close` that leaves the map."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_idle_channels_and_listeners_are_closed_and_the_loop_ends(any_fakes: Fakes) -> None:
    engine, clock, _ = any_fakes
    listener = Quiet(1000, engine.map)
    idle = Sender(1001, engine.map)
    foreign = engine.map[1002] = Foreign()
    trigger = asynccore.Trigger(map=engine.map)
    bare = engine.map[1003] = Channel(False)
    graceful_close(map=engine.map)
    assert len(engine.map) == 5, "done in the loop, not here"
    loop(None, map=engine.map)
    assert clock() == 1000.0 and not engine.map
    assert listener.socket.closed == idle.scripted.closed == foreign.closed == 1
    assert idle.shutdowns == 1 and bare.log == []
    with pytest.raises(RuntimeError):
        trigger.pull()
    assert engine not in graceful._closings and len(engine.timers) == 0


def test_listeners_are_closed_before_anything_else(fakes: Fakes) -> None:
    engine = fakes.engine
    seen: list[bool] = []

    class Last(Sender):
        def handle_shutdown(self) -> None:
            seen.append(listener.socket.closed == 1)

    Last(1000, engine.map)
    listener = Quiet(1001, engine.map)
    graceful_close(map=engine.map)
    loop(None, map=engine.map)
    assert seen == [True]


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_output_is_sent_first(any_fakes: Fakes, kind: Any) -> None:
    engine, clock, poller = any_fakes
    channel = kind(1000, engine.map)
    if kind is Chat:
        channel.push(b"hello")
        channel.push_with_producer(asynchat.simple_producer(b" world"))
    else:
        channel.send(b"hello world")
    graceful_close(20, map=engine.map)
    loop(0, map=engine.map, count=3)
    assert not channel.scripted.closed
    poller.report((1000, WRITE), after=3.0)
    poller.report((1000, WRITE), after=4.0)
    loop(map=engine.map)
    assert channel.scripted.output == b"hello world" and channel.scripted.closed == 1
    assert clock() <= 1004.0
    assert "writable" not in vars(channel)
    assert len(engine.timers) == 0


def test_the_hook_may_have_a_last_word(fakes: Fakes) -> None:
    engine, _, poller = fakes

    class Polite(Chat):
        def handle_shutdown(self) -> None:
            self.push(b"421 shutting down\r\n")

    channel = Polite(1000, engine.map)
    graceful_close(map=engine.map)
    poller.report((1000, WRITE), after=1.0)
    loop(map=engine.map)
    assert channel.scripted.output == b"421 shutting down\r\n"


class Finishing(Sender):
    """Has something to finish that is in no buffer."""

    def handle_shutdown(self) -> bool:
        return True


def test_a_channel_that_has_something_to_finish_closes_itself(any_fakes: Fakes) -> None:
    engine, clock, _ = any_fakes
    channel = Finishing(1000, engine.map)
    graceful_close(20, map=engine.map)
    asynccore.call_later(7.0, channel.close, map=engine.map)
    loop(map=engine.map)
    assert clock() == 1007.0 and len(engine.timers) == 0


@pytest.mark.parametrize("in_a_loop", [True, False])
def test_one_that_never_finishes_is_closed_at_the_timeout(
    any_fakes: Fakes, capsys: pytest.CaptureFixture[str], in_a_loop: bool
) -> None:
    engine, clock, _ = any_fakes
    channel = Finishing(1000, engine.map)
    graceful_close(20, map=engine.map)
    if in_a_loop:
        loop(map=engine.map)
    for _ in range(MOST):
        if engine.map:
            engine.run_pass(5.0)
    assert clock() == 1020.0 and channel.scripted.closed == 1
    assert "(1)" in capsys.readouterr().err


def test_a_mail_that_is_under_way_is_taken_before_the_server_ends(poller_name: str) -> None:
    map = ChannelMap()
    mails: list[bytes] = []

    class Server(smtpd.SMTPServer):
        def process_message(self, *args: Any, **options: Any) -> None:
            mails.append(args[3])

    server = Server(("127.0.0.1", 0), None, map=map)
    address = server.socket.getsockname()
    replies: list[bytes] = []

    def client() -> None:
        with socket.create_connection(address, timeout=30) as sock, sock.makefile("rwb") as talk:
            talk.readline()
            for line in (b"HELO a", b"MAIL FROM:<a@example.com>", b"RCPT TO:<b@example.com>"):
                talk.write(line + b"\r\n")
                talk.flush()
                talk.readline()
            talk.write(b"DATA\r\n")
            talk.flush()
            talk.readline()
            graceful_close(map=map)
            asynccore.call_soon_threadsafe(closing.set, map=map)
            assert closing.wait(30)
            talk.write(b"hello\r\n.\r\n")
            talk.flush()
            replies.extend(talk.readlines())

    closing = threading.Event()
    thread = threading.Thread(target=client)
    thread.start()
    real_loop(map, poller_name)
    thread.join()
    assert mails == [b"hello"]
    assert [reply[:3] for reply in replies] == [b"250", b"421"]


def test_at_the_timeout_the_rest_is_closed_and_one_line_says_so(
    any_fakes: Fakes, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    engine, clock, _ = any_fakes
    senders = [Sender(fd, engine.map) for fd in (1000, 1001)]
    for sender in senders:
        sender.send(b"hello")
    graceful_close(10, map=engine.map)
    use_logging("test")
    try:
        loop(map=engine.map)
    finally:
        use_logging(None)
    assert clock() == 1010.0 and not engine.map
    assert [sender.scripted.closed for sender in senders] == [1, 1]
    line = "graceful_close: the time is up, closing the last channels (2)"
    assert capsys.readouterr().err == f"warning: {line}\n"
    assert caplog.messages == [line]


@pytest.mark.parametrize(("second", "end"), [(5, 1006.0), (50, 1030.0)])
def test_the_earlier_end_counts(
    fakes: Fakes, capsys: pytest.CaptureFixture[str], second: float, end: float
) -> None:
    engine, clock, _ = fakes
    sender = Sender(1000, engine.map)
    sender.send(b"hello")
    graceful_close(map=engine.map)
    asynccore.call_later(1.0, graceful_close, second, map=engine.map)
    loop(map=engine.map)
    assert clock() == end and sender.shutdowns == 1
    assert capsys.readouterr().err


def test_a_second_call_includes_who_came_since(fakes: Fakes) -> None:
    engine, _, poller = fakes
    first = Sender(1000, engine.map)
    first.send(b"hello")
    graceful_close(map=engine.map)
    loop(0, map=engine.map, count=1)
    late = Sender(1001, engine.map)
    graceful_close(map=engine.map)
    loop(0, map=engine.map, count=1)
    assert (late.shutdowns, first.shutdowns, late.scripted.closed) == (1, 1, 1)
    poller.report((1000, WRITE))
    loop(map=engine.map)


def test_no_time_at_all_closes_everything(fakes: Fakes, capsys: Any) -> None:
    engine, clock, _ = fakes
    Sender(1000, engine.map).send(b"hello")
    graceful_close(0, map=engine.map)
    loop(map=engine.map)
    assert clock() == 1000.0 and "(1)" in capsys.readouterr().err


def test_who_comes_after_the_end_is_left_alone(any_fakes: Fakes) -> None:
    """The last channel went by itself; then the program begins anew."""
    engine, clock, poller = any_fakes
    sender = Sender(1000, engine.map)
    sender.send(b"hello")
    graceful_close(map=engine.map)
    sender.scripted.takes.append(BrokenPipeError(32, "gone"))
    poller.report((1000, WRITE), after=1.0)
    loop(map=engine.map)
    assert not engine.map and len(engine.timers) == 0
    engine.map[1001] = Foreign()
    poller = type(poller)(clock)
    engine.attach(poller)
    loop(20.0, map=engine.map, count=3)
    assert 1001 in engine.map and clock() >= 1050.0


def test_until_idle_does_not_wait_for_the_timeout_of_an_empty_map(fakes: Fakes) -> None:
    engine, clock, poller = fakes
    sender = Sender(1000, engine.map)
    sender.send(b"hello")
    graceful_close(map=engine.map)
    sender.scripted.takes.append(BrokenPipeError(32, "gone"))
    poller.report((1000, WRITE), after=1.0)
    loop(map=engine.map, until_idle=True)
    assert clock() == 1001.0


def test_without_a_loop_newcomers_are_not_closed_for_the_old_ones(fakes: Fakes) -> None:
    """A host runs the passes, so nobody says when the map was empty."""
    engine, clock, _ = fakes
    sender = Sender(1000, engine.map)
    sender.send(b"hello")
    graceful_close(5, map=engine.map)
    engine.run_pass(0)
    late = Sender(1001, engine.map)
    sender.close()
    for _ in range(3):
        engine.run_pass(5.0)
    assert clock() > 1005.0 and not late.scripted.closed
    assert engine not in graceful._closings


def test_exceptions_concern_their_channel_alone(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = fakes.engine

    class Failing(Foreign):
        def handle_shutdown(self) -> None:
            raise ZeroDivisionError("shutdown")

        def close(self) -> None:
            raise ZeroDivisionError("close")

    class Mute:
        """Not even handle_error."""

        accepting = False
        readable = writable = handle_read_event = handle_write_event = int

        def handle_shutdown(self) -> None:
            raise ZeroDivisionError("mute")

    failing = engine.map[1000] = Failing()
    engine.map[1001] = Mute()
    idle = Sender(1002, engine.map)
    graceful_close(map=engine.map)
    loop(map=engine.map)
    assert [line.split("'")[1] for line in failing.log] == ["shutdown", "close"]
    assert "ZeroDivisionError: mute" in capsys.readouterr().err
    assert idle.scripted.closed == 1 and not engine.map


def test_exit_now_comes_out_and_a_second_call_goes_on(fakes: Fakes) -> None:
    engine = fakes.engine

    class Leaving(Sender):
        def handle_shutdown(self) -> None:
            raise asynccore.ExitNow

    leaving = Leaving(1000, engine.map)
    graceful_close(5, map=engine.map)
    with pytest.raises(asynccore.ExitNow):
        loop(map=engine.map)
    loop(map=engine.map)
    assert leaving.scripted.closed == 1


def test_a_hook_that_closes_others(fakes: Fakes) -> None:
    engine = fakes.engine

    class First(Sender):
        def handle_shutdown(self) -> None:
            super().handle_shutdown()
            asynccore.close_all(engine.map)

    channels = [First(1000, engine.map), First(1001, engine.map)]
    graceful_close(map=engine.map)
    loop(map=engine.map)
    assert [channel.shutdowns for channel in channels] == [1, 0]


def test_a_predicate_of_the_channels_own_is_asked_and_put_back(fakes: Fakes) -> None:
    engine, _, poller = fakes
    asked: list[int] = []
    sender = Sender(1000, engine.map)

    def mine() -> bool:
        asked.append(1)
        return bool(sender.out_buffer)

    sender.writable = mine  # type: ignore[method-assign]
    sender.send(b"hello")
    graceful_close(map=engine.map)
    loop(0, map=engine.map, count=2)
    assert asked and sender.writable is not mine
    poller.report((1000, WRITE))
    loop(map=engine.map)
    assert sender.writable is mine and sender.scripted.output == b"hello"


def test_a_channel_that_takes_no_predicate_is_closed(fakes: Fakes) -> None:
    engine = fakes.engine

    class Slotted:
        __slots__ = ()
        accepting = False
        out_buffer = b"hello"

        def readable(self) -> bool:
            return False

        writable = readable

        def handle_read_event(self) -> None: ...

        handle_write_event = handle_read_event

    engine.map[1000] = Slotted()
    graceful_close(map=engine.map)
    loop(map=engine.map)
    assert fakes.clock() == 1000.0


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_negative_timeout_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="a timeout is at least 0 seconds, not"):
        graceful_close(timeout, map=ChannelMap())


@pytest.mark.parametrize(
    ("attributes", "pending"),
    [
        ({}, False),
        ({"out_buffer": b""}, False),
        ({"out_buffer": "text"}, True),
        ({"producer_fifo": deque()}, False),
        ({"producer_fifo": [None]}, True),
        ({"producer_fifo": asynchat.fifo()}, False),
        ({"producer_fifo": asynchat.fifo([b"x"])}, True),
        ({"write_buffer_size": 0}, False),
        ({"write_buffer_size": 7, "out_buffer": b""}, True),
    ],
)
def test_what_counts_as_output(attributes: dict[str, Any], pending: bool) -> None:
    channel = Channel()
    vars(channel).update(attributes)
    assert graceful.has_output(channel) is pending


# With real sockets --------------------------------------------------------------------------


class Server(asynccore.dispatcher):
    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)
        self.address = self.socket.getsockname()

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        conversation = asynccore.dispatcher_with_send(sock, self._map)
        conversation.send(b"x" * 300_000)
        graceful_close(map=self._map)


@pytest.mark.parametrize("kind", [ChannelMap, dict])
def test_everything_buffered_arrives(poller_name: str, kind: Callable[[], Any]) -> None:
    map = kind()
    server = Server(map)
    received: list[int] = []

    def client() -> None:
        with socket.create_connection(server.address, timeout=30) as sock:
            while data := sock.recv(65536):
                received.append(len(data))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.address, timeout=30)

    thread = threading.Thread(target=client)
    thread.start()
    real_loop(map, poller_name)
    thread.join()
    assert sum(received) == 300_000 and not map


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")
def test_a_signal_handler_ends_a_server(poller_name: str) -> None:
    map = ChannelMap()
    Server(map)
    before = signal.signal(signal.SIGUSR1, lambda *args: graceful_close(10, map=map))
    try:
        asynccore.call_soon_threadsafe(signal.raise_signal, signal.SIGUSR1, map=map)
        real_loop(map, poller_name)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not map


def test_another_thread_ends_a_server(poller_name: str) -> None:
    map = ChannelMap()
    Server(map)
    thread = threading.Thread(target=graceful_close, kwargs={"map": map})
    asynccore.call_soon_threadsafe(thread.start, map=map)
    real_loop(map, poller_name)
    thread.join()
