"""Channels that enter a map: the short way that nearly all take, and what doesn't take it."""

from __future__ import annotations

import errno
import gc
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher, dispatcher_with_send, loop, poll, statistics
from asynccore.pollers import PRIORITY, READ, WRITE
from asynccore.testing import Fakes
from tests.core.fakes import Channel

READS = READ | PRIORITY
WRITES = WRITE | PRIORITY


class Reader(dispatcher_with_send):
    """Reads, and tells what it was called for."""

    def __init__(self, *args: Any) -> None:
        self.log: list[str] = []
        super().__init__(*args)

    def handle_read(self) -> None:
        self.log.append("read")

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log.append(f"error {sys.exc_info()[1]}")


@pytest.fixture
def new(fakes: Fakes) -> Iterator[Callable[..., Any]]:
    """Make a channel of a class on a connected socket; its class is known already."""
    open_: list[Any] = []
    fakes.engine.map[999] = Channel(False, False)  # an empty map gives the fake poller back

    def make(cls: Callable[..., Any] = Reader) -> Any:
        ours, theirs = socket.socketpair()
        open_.extend((ours, theirs))
        return cls(ours, fakes.engine.map)

    make().close()
    first = make()
    fakes.engine.run_pass(0)
    assert first._fileno in fakes.engine.interest.table.read_only
    fakes.poller.sets.clear()
    yield make
    for sock in open_:
        sock.close()


def simply(fakes: Fakes, channel: Any) -> bool:
    """Settle, and tell whether the channel took the short way."""
    asked: list[Any] = []
    interest = fakes.engine.interest
    adopt = interest._adopt

    def note(fd: int, channel: Any) -> None:
        asked.append(channel)
        adopt(fd, channel)

    interest._adopt = note  # type: ignore[method-assign]
    try:
        fakes.engine.run_pass(0)
    finally:
        interest._adopt = adopt  # type: ignore[method-assign]
    return channel not in asked


def interest_of(fakes: Fakes, channel: Any) -> int:
    return fakes.poller.interest.get(channel._fileno, 0)


def test_a_reader_of_a_known_class_is_told_of_once(fakes: Fakes, new: Callable[..., Any]) -> None:
    channel = new()
    assert simply(fakes, channel)
    assert fakes.poller.sets == [(channel._fileno, READS)]
    fakes.poller.report((channel._fileno, READ))
    fakes.engine.run_pass(0)
    assert channel.log == ["read"] and interest_of(fakes, channel) == READS
    channel.close()
    assert channel._fileno is None and fakes.poller.sets[-1][1] == 0


def test_it_is_asked_again_as_all_are(fakes: Fakes, new: Callable[..., Any]) -> None:
    channel = new()
    assert simply(fakes, channel)
    channel.out_buffer = b"x"
    fakes.engine.run_pass(0)
    assert interest_of(fakes, channel) == READS | WRITES
    channel.readable = lambda: False
    poll(0, fakes.engine.map)
    assert interest_of(fakes, channel) == WRITES


class Assigned(Reader):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.readable = lambda: False  # type: ignore[method-assign]


class Borrowed(Reader):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.writable = self.always  # type: ignore[method-assign]

    def always(self) -> bool:
        return True


class Paused(Reader):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.pause_reading()


class Unconnected(Reader):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.connected = False


class Static(Reader):
    @staticmethod
    def readable() -> bool:  # type: ignore[override]
        return False


@pytest.mark.parametrize(
    ("cls", "expected"),
    [(Assigned, 0), (Borrowed, READS | WRITES), (Paused, 0), (Unconnected, READS | WRITES)]
    + [(Static, 0)],
)
def test_what_is_not_so_simple(
    fakes: Fakes, new: Callable[..., Any], cls: Any, expected: int
) -> None:
    new(cls)
    fakes.engine.run_pass(0)  # the class is known from now on
    channel = new(cls)
    assert not simply(fakes, channel)
    assert interest_of(fakes, channel) == expected


def test_timeouts_are_noted(fakes: Fakes, new: Callable[..., Any]) -> None:
    class Timed(Reader):
        idle_timeout = 10

    new(Timed)
    fakes.engine.run_pass(0)
    channel = new(Timed)
    assert not simply(fakes, channel)
    assert fakes.engine.interest.table.timed[channel._fileno] is channel._ac_times
    # Another one under the same number, without any.
    fd = channel._fileno
    fakes.engine.map[fd] = other = new()
    fakes.engine.run_pass(0)
    assert fd not in fakes.engine.interest.table.timed
    del fakes.engine.map[fd]
    other.close()
    channel.close()


def test_a_socket_that_stands_in_for_one(fakes: Fakes, new: Callable[..., Any]) -> None:
    class Other(socket.socket):
        pass

    channel = new(lambda sock, map: Reader(Other(fileno=sock.detach()), map))
    assert not simply(fakes, channel)
    assert interest_of(fakes, channel) == READS
    channel.close()


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), ["error [Errno 28] full"]),
        (ValueError("too many"), ["error too many"]),
        (OSError(errno.EBADF, "gone"), ["close"]),
    ],
)
def test_what_the_poller_refuses_is_told_once(
    fakes: Fakes, new: Callable[..., Any], why: Any, expected: list[str]
) -> None:
    channel = new()
    fakes.poller.refuse(channel._fileno, why)
    fakes.engine.run_pass(0)
    fakes.engine.run_pass(0)
    assert channel.log == expected


def test_a_predicate_that_raises_lets_the_others_in(
    fakes: Fakes, new: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raising(Reader):
        pass

    new(Raising)
    fakes.engine.run_pass(0)
    channels = [new(Raising) for _ in range(3)]
    with monkeypatch.context() as patch:
        # Not a predicate of the class's own: the one that it has breaks.
        patch.setattr(Raising, "socket", property(lambda self: 1 / 0), raising=False)
        with pytest.raises(ZeroDivisionError):
            fakes.engine.run_pass(0)
    poll(0, fakes.engine.map)
    assert sum(interest_of(fakes, channel) == READS for channel in channels) >= 2


def test_one_that_enters_once_more_is_asked_again(fakes: Fakes, new: Callable[..., Any]) -> None:
    channel = new()
    fakes.engine.run_pass(0)
    channel.connected = False  # reported by nobody
    fakes.engine.map[channel._fileno] = channel
    fakes.engine.run_pass(0)
    assert interest_of(fakes, channel) == READS | WRITES


@pytest.mark.parametrize("cls", [Reader, Unconnected])
def test_what_comes_in_the_place_of_a_paused_one_is_read(
    fakes: Fakes, new: Callable[..., Any], cls: Any
) -> None:
    new(cls)
    fakes.engine.run_pass(0)
    paused, other = new(), new(cls)
    paused.pause_reading()
    fd = paused._fileno
    fakes.engine.map[fd] = other  # before the paused one was ever looked at
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[fd] & READ
    del fakes.engine.map[fd]


def test_beside_a_socket_with_a_will_of_its_own_all_go_the_long_way(
    fakes: Fakes, new: Callable[..., Any]
) -> None:
    class LayeredSocket(socket.socket):
        _ac_read_ahead = b""

        def _ac_poll_interest(self, wanted: int) -> int:
            return wanted

        def _ac_handle_event(self, mask: int, wanted: int) -> int:
            return mask & wanted

        def _ac_ready_now(self, wanted: int) -> int:
            return 0

    willful = new(lambda sock, map: Reader(LayeredSocket(fileno=sock.detach()), map))
    fakes.engine.run_pass(0)
    channel = new()
    assert not simply(fakes, channel)
    assert interest_of(fakes, channel) == READS
    willful.close()


# What it costs ------------------------------------------------------------------------------


class Echo(dispatcher_with_send):
    def handle_read(self) -> None:
        data = self.recv(100)
        if data:
            self.send(data)


class Listener(dispatcher):
    def __init__(self, map: Any, made: list[Any]) -> None:
        super().__init__(map=map)
        self.made = made
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(100)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.made.append(Echo(sock, self._map))


def in_crowds(map: Any, address: Any, number: int) -> None:
    """Let so many connections come, be echoed to, and go."""
    peers = [socket.create_connection(address, timeout=30) for _ in range(number)]
    try:
        while len(map) <= number:
            loop(30, map=map, count=1)
        for peer in peers:
            peer.sendall(b"x")
        for peer in peers:
            poll(0, map)
            peer.settimeout(0)
            while True:
                try:
                    assert peer.recv(10) == b"x"
                    break
                except BlockingIOError:
                    loop(30, map=map, count=1)
    finally:
        for peer in peers:
            peer.close()
    while len(map) > 1:
        loop(30, map=map, count=1)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="every instance has a dict on Python 3.10")
def test_no_instance_gets_a_dict_of_its_own() -> None:
    map, made = ChannelMap(), list[Any]()
    listener = Listener(map, made)
    for _ in range(3):
        in_crowds(map, listener.socket.getsockname(), 40)
    assert len(made) == 120
    found = [thing for one in made for thing in gc.get_referents(one) if type(thing) is dict]
    assert not [thing for thing in found if "_fileno" in thing]
    listener.close()


OURS = ("asynccore", "asynccore.pollers")

# Functions of the package that run for a connection that is accepted, read from and closed: 40, and
# 59 before there was a short way in.
MOST_CALLS = 43


def test_a_connection_takes_few_calls() -> None:
    map, made = ChannelMap(), list[Any]()
    listener = Listener(map, made)
    in_crowds(map, listener.socket.getsockname(), 2)
    calls = 0

    def count(frame: Any, event: str, _: Any) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_globals.get("__package__") in OURS

    peers = []
    for _ in range(50):
        peers.append(socket.create_connection(listener.socket.getsockname(), timeout=30))
        peers[-1].shutdown(socket.SHUT_WR)
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        while len(made) < 52 or len(map) > 1:
            loop(30, map=map, count=1)
    finally:
        sys.setprofile(before)
    for peer in peers:
        peer.close()
    listener.close()
    assert calls <= MOST_CALLS * len(peers)


def test_a_listener_is_not_asked_again_for_what_it_accepted(fakes: Fakes) -> None:
    map = fakes.engine.map
    listener = Listener(map, [])
    fd = listener._fileno
    fakes.engine.run_pass(0)
    fakes.poller.report((fd, READ))
    fakes.engine.run_pass(0)
    assert fakes.engine.interest.table.read_only.get(fd) is listener  # type: ignore[arg-type]
    assert not fakes.engine.interest.table.to_ask
    # As ever, if its own handler changed what it wants.
    listener.handle_accept = lambda: setattr(  # type: ignore[method-assign]
        listener, "readable", lambda: False
    )
    fakes.poller.report((fd, READ))
    fakes.engine.run_pass(0)
    fakes.engine.run_pass(0)
    assert fakes.poller.interest.get(fd, 0) == 0  # type: ignore[arg-type]
    listener.close()


# Counting -----------------------------------------------------------------------------------


def test_what_is_received_is_counted_only_if_somebody_wants_to_know(
    fakes: Fakes, new: Callable[..., Any]
) -> None:
    from asynccore.monitoring.statistics import collect_statistics

    class Timed(Reader):
        idle_timeout = 10

    channel = new(Timed)
    fakes.engine.run_pass(0)
    assert channel._ac_times is not None and channel._ac_counts is None
    collect_statistics(True, map=fakes.engine.map)
    assert channel._ac_counts is not None
    later = new(Timed)
    assert later._ac_counts is not None
    assert statistics(map=fakes.engine.map).bytes_received == 0
    collect_statistics(False, map=fakes.engine.map)
    assert channel._ac_times is not None and channel._ac_counts is later._ac_counts is None
    channel.close()
    later.close()
