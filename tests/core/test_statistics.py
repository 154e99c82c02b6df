"""Statistics: snapshots, counted bytes, and handlers that hold the loop up."""

from __future__ import annotations

import errno
import gc
import json
import logging
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import (
    ChannelMap,
    ChannelStatistics,
    Statistics,
    collect_statistics,
    dispatcher,
    dispatcher_with_send,
    loop,
    statistics,
    warn_slow_handlers,
)
from asynccore.asynchat import async_chat, simple_producer
from asynccore.engine import engine_for
from asynccore.engine.meter import Meter, name_of
from asynccore.pollers import READ, WRITE
from asynccore.testing import FakeClock, Fakes, engine_with_fakes
from tests.core.fakes import Channel, FakeSocket, Quiet


class Echo(dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(8192))

    def handle_close(self) -> None:
        self.close()


def one(map: Any, fd: int = 1000) -> ChannelStatistics:
    (found,) = [it for it in statistics(map=map).channels if it.fd == fd]
    return found


def slow(clock: FakeClock, seconds: float) -> Callable[[], None]:
    def handler() -> None:
        clock.advance(seconds)

    return handler


# Snapshots ----------------------------------------------------------------------------------


def test_what_a_fresh_map_has() -> None:
    map = ChannelMap()
    found = statistics(map=map)
    assert isinstance(found, Statistics)
    assert (found.poller, found.channels, found.timers, found.passes) == (None, (), 0, 0)
    assert found.bytes_received is found.bytes_sent is found.longest_handler is None
    with pytest.raises(AttributeError):
        found.passes = 1  # type: ignore[misc]


def test_the_default_map() -> None:
    assert statistics().channels == ()


def test_channels_by_state(any_fakes: Fakes) -> None:
    map = any_fakes.engine.map
    for fd, state in enumerate(("accepting", "connecting", "connected", "closing"), 1000):
        setattr(dispatcher(FakeSocket(fd), map), "connected", False)  # noqa: B010
        setattr(map[fd], state, True)
    map[1004] = Channel()
    found = statistics(map=map)
    assert (found.listening, found.connecting, found.connected, found.other) == (1, 1, 1, 2)
    states = [it.state for it in found.channels]
    assert states == ["listening", "connecting", "connected", "other", "other"]
    assert [it.name for it in found.channels] == ["dispatcher"] * 4 + ["Channel"]


def test_passes_events_callbacks_and_timers_are_always_counted(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    Quiet(1000, engine.map)
    engine.timers.call_later(1.0, lambda: None)
    engine.timers.call_later(50.0, lambda: None)
    engine.call_soon_threadsafe(lambda: None)
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(5.0)
    engine.run_pass(5.0)
    found = statistics(map=engine.map)
    assert (found.passes, found.events, found.callbacks, found.timers) == (3, 1, 2, 1)
    assert found.poller == "recording"
    assert found.time == clock()
    assert found.longest_seconds is None


@pytest.mark.parametrize(
    ("addr", "shown"),
    [
        (None, None),
        (("192.0.2.1", 25), "192.0.2.1:25"),
        (("::1", 25, 0, 0), "[::1]:25"),
        ("/run/x.sock", "/run/x.sock"),
        ("", None),
        (b"\0abstract", "b'\\x00abstract'"),
        (("odd",), "('odd',)"),
    ],
)
def test_addresses_are_text(addr: Any, shown: str | None, fakes: Fakes) -> None:
    Quiet(1000, fakes.engine.map).addr = addr
    assert one(fakes.engine.map).address == shown


def test_as_dict_is_json(fakes: Fakes) -> None:
    map = fakes.engine.map
    collect_statistics(True, map=map)
    Quiet(1000, map)
    found = statistics(map=map).as_dict()
    assert json.loads(json.dumps(found)) == found
    assert found["channels"][0]["name"] == "Quiet"
    assert found["listening"] == 1


def test_pending_output(fakes: Fakes) -> None:
    map = fakes.engine.map
    Echo(FakeSocket(1000, takes=[2]), map).send(b"hello")
    assert one(map).pending == 3
    chat = async_chat(FakeSocket(1001, takes=[0]), map)
    chat.push(b"hello")
    chat.push(b" there")
    chat.push_with_producer(simple_producer(b"unknown"))
    assert one(map, 1001).pending == 11
    Quiet(1002, map)
    assert one(map, 1002).pending is None
    channel: Any = Channel()
    map[1003] = channel
    channel.write_buffer_size = "of its own"
    assert one(map, 1003).pending is None


def test_accept_pauses(fakes: Fakes, capsys: pytest.CaptureFixture[str]) -> None:
    sock = FakeSocket(1000)
    sock.accepts.extend([OSError(errno.EMFILE, "no more"), BlockingIOError(errno.EAGAIN, "")])
    listener = dispatcher(sock, fakes.engine.map)
    listener.listen(5)
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    assert statistics(map=fakes.engine.map).accept_pauses == 1
    assert "can't accept" in capsys.readouterr().out


def test_a_listener_at_its_limit_pauses(fakes: Fakes) -> None:
    ends = socket.socketpair()
    sock = FakeSocket(1000)
    sock.accepts.extend([(ends[0], ("192.0.2.1", 1)), BlockingIOError(errno.EAGAIN, "")])

    class Listener(dispatcher):
        max_connections = 1

        def handle_accepted(self, sock: Any, addr: Any) -> None:
            Quiet(sock.fileno(), fakes.engine.map)

    with ends[0], ends[1]:
        listener = Listener(sock, fakes.engine.map)
        listener.listen(5)
        fakes.engine.run_pass(0)
        fakes.poller.report((1000, READ))
        fakes.engine.run_pass(0)
        assert statistics(map=fakes.engine.map).accept_pauses == listener.accept_counts.pauses
        fakes.engine.map.clear()


# Bytes --------------------------------------------------------------------------------------


def test_bytes_are_counted_from_then_on(any_fakes: Fakes) -> None:
    engine, _, poller = any_fakes
    map = engine.map
    channel = Echo(FakeSocket(1000, receives=[b"before", b"hello"], takes=[6, 2, 0]), map)
    channel.recv(100)
    channel.send(b"before")
    assert one(map).bytes_received is None and one(map).bytes_sent is None
    collect_statistics(map=map)
    assert (one(map).bytes_received, one(map).bytes_sent) == (0, 0)
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert (one(map).bytes_received, one(map).bytes_sent) == (5, 2)
    poller.report((1000, WRITE))
    engine.run_pass(0)
    assert (one(map).bytes_received, one(map).bytes_sent) == (5, 5)
    found = statistics(map=map)
    assert (found.bytes_received, found.bytes_sent) == (5, 5)


def test_channels_that_come_later_and_go_are_in_the_totals(any_fakes: Fakes) -> None:
    map = any_fakes.engine.map
    map[999] = Channel(False, False)
    collect_statistics(map=map)
    first = Echo(FakeSocket(1000, receives=[b"12345"]), map)
    second = Echo(FakeSocket(1001, receives=[b"123"]), map)
    for channel in (first, second):
        channel.handle_read()
    first.close()
    found = statistics(map=map)
    assert (found.bytes_received, found.bytes_sent) == (8, 8)
    # The same object with another socket begins anew, but the total goes on.
    second.set_socket(FakeSocket(1002, receives=[b"1"]))
    second.handle_read()
    assert one(map, 1002).bytes_received == 1
    assert statistics(map=map).bytes_received == 9


def test_turned_off_nothing_is_left(any_fakes: Fakes) -> None:
    engine = any_fakes.engine
    channel = Echo(FakeSocket(1000, receives=[b"x"]), engine.map)
    timed = Echo(FakeSocket(1001), engine.map)
    timed.idle_timeout = 60
    later = Echo(FakeSocket(1002), engine.map)
    collect_statistics(True, map=engine.map)
    later.set_deadline(100)
    engine.run_pass(0)
    assert channel._ac_counts is not None and channel._ac_times is None
    channel.handle_read()
    collect_statistics(False, map=engine.map)
    assert channel._ac_counts is None
    assert timed._ac_times is not None and later._ac_times is not None
    assert set(engine.interest.table.timed) == {1001, 1002}
    assert engine.meter is None
    assert statistics(map=engine.map).bytes_received is None
    collect_statistics(True, map=engine.map)
    assert statistics(map=engine.map).bytes_received == 0


def test_a_gathered_send_is_counted() -> None:
    map = ChannelMap()
    mine, other = socket.socketpair()
    with mine, other:
        collect_statistics(map=map)
        chat = async_chat(mine, map)
        chat.producer_fifo.extend([b"x" * 5000, b"y" * 5000])
        chat.push_with_producer(simple_producer(b"z" * 100))
        loop(0, map=map, count=1)
        assert other.recv(20000, socket.MSG_WAITALL | socket.MSG_DONTWAIT) in (
            b"x" * 5000 + b"y" * 5000 + b"z" * 100,
        )
        assert statistics(map=map).bytes_sent == 10100
        chat.close()


def test_a_watch_that_was_there_before_begins_anew(fakes: Fakes) -> None:
    map = fakes.engine.map
    channel = Echo(FakeSocket(1000, receives=[b"12345", b"1"]), map)
    channel.idle_timeout = 60
    channel.handle_read()
    collect_statistics(map=map)
    channel.handle_read()
    assert (one(map).bytes_received, one(map).bytes_sent) == (1, 1)


def test_an_empty_read_and_a_full_socket_count_nothing(fakes: Fakes) -> None:
    map = fakes.engine.map
    collect_statistics(map=map)
    channel = Echo(FakeSocket(1000, receives=[b""], takes=[BlockingIOError(11, "")]), map)
    channel.send(b"hello")
    channel.recv(10)
    found = statistics(map=map)
    assert (found.bytes_received, found.bytes_sent) == (0, 0)


def test_what_stands_in_for_a_socket_is_counted_as_it_speaks(poller_name: str) -> None:
    """With TLS, that is the plaintext."""

    class Doubling:
        """Needs two bytes on the wire for one."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock

        def send(self, data: bytes) -> int:
            return self._sock.send(bytes(data) * 2) // 2

        def recv(self, size: int) -> bytes:
            return self._sock.recv(size)[::2]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

    map = ChannelMap()
    mine, other = socket.socketpair()
    with mine, other:
        collect_statistics(map=map)
        channel = Echo(Doubling(mine), map)
        other.send(b"aabbcc")
        loop(5, map=map, count=1, poller=poller_name)
        assert other.recv(100) == b"abc" * 2
        found = one(map, mine.fileno())
        assert (found.bytes_received, found.bytes_sent) == (3, 3)
        channel.close()


def test_an_echo_server_as_it_is(poller_name: str) -> None:
    map = ChannelMap()

    class Listener(dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            Echo(sock, map)

    listener = Listener(map=map)
    listener.create_socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    collect_statistics(True, map=map)
    port = listener.socket.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"x" * 1000)
        received = b""
        for _ in range(1000):
            loop(5, map=map, count=1, poller=poller_name)
            if statistics(map=map).bytes_sent == 1000:
                break
        received = client.recv(1000, socket.MSG_WAITALL)
        assert len(received) == 1000
        found = statistics(map=map)
        assert found.poller == poller_name
        assert (found.listening, found.connected) == (1, 1)
        assert found.bytes_received == found.bytes_sent == 1000
        shown = {it.address for it in found.channels}
        assert shown == {f"127.0.0.1:{port}", f"127.0.0.1:{client.getsockname()[1]}"}
        assert found.longest_handler in {"Listener.handle_read_event", "Echo.handle_read_event"}
    asynccore.close_all(map)
    # A listener whose socket is closed has its address no more.
    listener.accepting = True
    map[listener.socket.fileno() + 1000] = listener
    assert statistics(map=map).channels[0].address is not None
    map.clear()


# Handlers that hold the loop ----------------------------------------------------------------


def test_the_longest_handler_is_named(any_fakes: Fakes) -> None:
    engine, clock, poller = any_fakes
    collect_statistics(True, map=engine.map)
    first, second = Quiet(1000, engine.map), Quiet(1001, engine.map)
    first.on_read, second.on_read = slow(clock, 0.5), slow(clock, 2.0)
    engine.run_pass(0)
    poller.report((1000, READ), (1001, READ))
    engine.run_pass(0)
    found = statistics(map=engine.map)
    assert (found.longest_seconds, found.longest_handler) == (2.0, "Quiet.handle_read_event")
    assert (first.log, second.log) == (["read"], ["read"])
    collect_statistics(True, map=engine.map)
    assert statistics(map=engine.map).longest_seconds is None


EVENTS = [
    (READ, "handle_read_event"),
    (WRITE, "handle_write_event"),
    (2, "handle_expt_event"),
]


@pytest.mark.parametrize(("mask", "name"), EVENTS)
def test_a_slow_handler_is_told_of_once_an_occurrence(
    any_fakes: Fakes, mask: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, clock, poller = any_fakes

    took = [0.25, 0.5, 0.125]

    def handler(self: Any) -> None:
        clock.advance(took.pop())

    handler.__name__ = name
    engine.map[1000] = type("Slow", (Channel,), {name: handler})(True, True)
    warn_slow_handlers(0.25, map=engine.map)
    engine.run_pass(0)
    for _ in range(3):
        poller.report((1000, mask))
        engine.run_pass(0)
    err = capsys.readouterr().err
    assert err == f"warning: Slow.{name} of descriptor 1000 held the loop for 0.500 s\n"
    warn_slow_handlers(None, map=engine.map)
    assert engine.meter is None
    took.append(50.0)
    poller.report((1000, mask))
    engine.run_pass(0)
    assert capsys.readouterr().err == ""


def slow_function(clock: FakeClock) -> None:
    clock.advance(3.0)


@pytest.mark.parametrize("how", ["call_later", "call_soon_threadsafe"])
def test_a_slow_timer_or_callback_is_told_of(
    any_fakes: Fakes,
    how: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine, clock, _ = any_fakes
    engine.map[1000] = Channel(False, False)
    warn_slow_handlers(2.0, map=engine.map)
    asynccore.use_logging("asyncore")
    try:
        if how == "call_later":
            asynccore.call_later(1.0, slow_function, clock, map=engine.map)
        else:
            asynccore.call_soon_threadsafe(slow_function, clock, map=engine.map)
        with caplog.at_level(logging.WARNING, "asyncore"):
            engine.run_pass(5.0)
    finally:
        asynccore.use_logging(None)
    message = "slow_function held the loop for 3.000 s"
    assert capsys.readouterr().err == f"warning: {message}\n"
    assert [(it.levelname, it.getMessage()) for it in caplog.records] == [("WARNING", message)]
    assert engine.callbacks == 1


@pytest.mark.parametrize("kind", [Quiet, Channel])
def test_a_measured_handler_that_raises_is_told_and_measured(
    any_fakes: Fakes, kind: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, clock, poller = any_fakes
    channel = Quiet(1000, engine.map) if kind is Quiet else Channel()
    engine.map[1000] = channel

    def fail() -> None:
        clock.advance(1.0)
        raise ZeroDivisionError("oops")

    channel.on_read = fail
    warn_slow_handlers(0.5, map=engine.map)
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert channel.log == ["read", "error ZeroDivisionError('oops')"]
    err = capsys.readouterr().err
    assert "handle_read_event of descriptor 1000 held the loop for 1.000 s" in err


def test_measured_events_keep_to_the_rules(any_fakes: Fakes) -> None:
    """A stale event reaches nobody, and the rest of an event ends with its channel."""
    engine, _, poller = any_fakes
    map = engine.map
    collect_statistics(True, map=map)
    first, second = Quiet(1000, map), Quiet(1001, map)
    third = map[1002] = Channel(True, True)
    map[1003] = Channel(True, True)
    first.on_read = second.close
    third.on_read = lambda: map.pop(1002)
    map[1003].on_write = lambda: map.pop(1003)
    engine.run_pass(0)
    before = poller
    poller.report((1000, READ), (1001, READ), (1002, READ | WRITE), (1003, WRITE | 2))
    engine.run_pass(0)
    assert (first.log, second.log, third.log) == (["read"], [], ["read"])
    assert engine.poller is before


@pytest.mark.parametrize(
    ("limit", "error"), [(-1, ValueError), ("soon", TypeError), (True, TypeError)]
)
def test_what_is_no_limit(limit: Any, error: Any) -> None:
    with pytest.raises(error, match="the limit of slow handlers"):
        warn_slow_handlers(limit, map=ChannelMap())


def test_both_wishes_are_kept_apart(fakes: Fakes) -> None:
    engine = fakes.engine
    collect_statistics(True, map=engine.map)
    warn_slow_handlers(1.0, map=engine.map)
    collect_statistics(False, map=engine.map)
    assert engine.meter is not None and engine.meter.limit == 1.0
    collect_statistics(True, map=engine.map)
    warn_slow_handlers(None, map=engine.map)
    assert engine.meter is not None and engine.meter.limit is None
    collect_statistics(False, map=engine.map)
    assert engine.meter is None


def test_a_wish_about_a_plain_dict_is_kept_until_it_is_taken_back() -> None:
    map: dict[int, Any] = {}
    warn_slow_handlers(1.0, map=map)
    ref = weakref.ref(engine_for(map))
    gc.collect()
    engine = ref()
    assert engine is not None and engine is engine_for(map)
    map[1000] = Channel(False, False)
    asynccore.poll(0, map)
    del map[1000]
    engine.run_pass(0)
    del engine
    gc.collect()
    assert ref() is not None
    warn_slow_handlers(None, map=map)
    gc.collect()
    assert ref() is None


def test_the_fast_way_is_left_alone_while_nobody_looks(fakes: Fakes) -> None:
    """No reading of the clock more for an event than without this feature."""
    engine, clock, poller = fakes
    Quiet(1000, engine.map)
    engine.run_pass(0)
    readings = [0]

    def counting() -> float:
        readings[0] += 1
        return clock()

    engine.clock = counting
    counts = []
    for events in (1, 50):
        for fd in range(1000, 1000 + events):
            if fd not in engine.map:
                Quiet(fd, engine.map)
        engine.run_pass(0)
        poller.report(*((fd, READ) for fd in range(1000, 1000 + events)))
        readings[0] = 0
        engine.run_pass(0)
        counts.append(readings[0])
    assert counts[0] == counts[1]


class Callable_:
    def __call__(self) -> None: ...

    def __repr__(self) -> str:
        return "<it>"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (slow_function, "slow_function"),
        (Channel().handle_read_event, "Channel.handle_read_event"),
        ([].append, "list.append"),
        (print, "print"),
        (Callable_(), "<it>"),
    ],
)
def test_names(function: Any, name: str) -> None:
    assert name_of(function) == name


def test_a_meter_names_even_what_took_no_time() -> None:
    meter = Meter(FakeClock())
    meter.call(len, b"")
    assert (meter.longest, meter.longest_name) == (0.0, "len")


def test_a_map_of_fakes_is_seen_as_any_other() -> None:
    fakes = engine_with_fakes(ChannelMap())
    assert statistics(map=fakes.engine.map).poller == "recording"
    fakes.engine.release()
