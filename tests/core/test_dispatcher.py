"""dispatcher: each method by itself, on sockets that are told what to answer."""

from __future__ import annotations

import errno
import socket
import struct
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, dispatcher, loop
from asynccore.listening.acceptor import ACCEPT_BATCH, ACCEPT_PAUSE
from asynccore.pollers import READ, WRITE
from asynccore.testing import Fakes
from tests.core.fakes import Channel, FakeSocket


class Recorder(dispatcher):
    """Writes its events down."""

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        self.log: list[Any] = []
        super().__init__(sock, {} if map is None else map)

    def handle_read(self) -> None:
        self.log.append("read")

    def handle_write(self) -> None:
        self.log.append("write")

    def handle_connect(self) -> None:
        self.log.append("connect")

    def handle_expt(self) -> None:
        self.log.append("expt")

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        self.log.append(("accepted", addr))
        sock.close()

    def handle_error(self) -> None:
        why = sys.exc_info()[1]
        self.log.append(getattr(why, "errno", None) or repr(why))


def with_error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])


# Construction -------------------------------------------------------------------------------


def test_without_a_socket_it_is_in_no_map() -> None:
    map = ChannelMap()
    channel = dispatcher(map=map)
    assert (channel.socket, channel._fileno, channel.addr) == (None, None, None)
    assert not map
    channel.touch()
    channel.del_channel()


def test_with_a_socket_it_is_connected_and_not_blocking() -> None:
    map: dict[int, Any] = {}
    sock = FakeSocket(1000)
    channel = dispatcher(sock, map)
    assert map == {1000: channel}
    assert channel.connected and channel.addr == ("192.0.2.1", 25)
    assert sock.blocking is False


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.EINVAL])
def test_a_socket_that_is_not_connected_is_taken_over_all_the_same(code: int) -> None:
    map: dict[int, Any] = {}
    sock = FakeSocket(1000)
    sock.peer = with_error(code)
    channel = dispatcher(sock, map)
    assert not channel.connected and channel.addr is None
    assert map == {1000: channel}


def test_a_peer_without_a_name_is_no_reason_to_leave_a_half_made_channel() -> None:
    map: dict[int, Any] = {}
    sock = FakeSocket(1000)
    sock.peer = with_error(errno.ENOBUFS)
    channel = dispatcher(sock, map)
    assert map == {1000: channel} and channel.connected and channel.addr is None


def test_the_default_map_is_the_one_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    mine: dict[int, Any] = {}
    monkeypatch.setattr(asynccore, "socket_map", mine)
    channel = dispatcher(FakeSocket(1000))
    assert mine == {1000: channel}


def test_class_attributes() -> None:
    names = "debug connected accepting connecting closing".split()
    assert [getattr(dispatcher, name) for name in names] == [False] * 5
    assert dispatcher.addr is None
    assert dispatcher.ignore_log_types == frozenset({"warning"})


def test_repr_tells_the_state() -> None:
    channel = dispatcher(FakeSocket(1000), {})
    assert repr(channel).startswith("<asyncore.dispatcher connected 192.0.2.1:25 at 0x")
    channel.connected = False
    channel.accepting = True
    channel.addr = "/run/sock"
    assert repr(channel).startswith("<asyncore.dispatcher listening '/run/sock' at 0x")
    channel.accepting = False
    channel.addr = ("::1", 25, 0, 0)
    assert "('::1', 25, 0, 0)" in repr(channel)
    assert repr(dispatcher()).startswith("<asyncore.dispatcher at 0x")
    assert ".Recorder at 0x" in repr(Recorder())


# Maps and sockets ---------------------------------------------------------------------------


def test_maps_are_entered_and_left() -> None:
    mine: dict[int, Any] = {}
    other: dict[int, Any] = {}
    channel = dispatcher(FakeSocket(1000), mine)
    channel.add_channel(other)
    assert other == {1000: channel}
    channel.del_channel()
    assert mine == {} and channel._fileno is None
    channel.del_channel()
    assert other == {1000: channel}


def test_leaving_spares_another_channel_under_the_number() -> None:
    map: dict[int, Any] = {}
    first = dispatcher(FakeSocket(1000), map)
    second = dispatcher(FakeSocket(1000), map)
    first.del_channel()
    assert map == {1000: second}


def test_leaving_takes_out_an_object_without_a_socket() -> None:
    map: dict[int, Any] = {}
    first = dispatcher(FakeSocket(1000), map)
    map[1000] = Channel()
    first.del_channel()
    assert map == {}


def test_a_closed_socket_is_refused() -> None:
    sock = FakeSocket(1000)
    sock.close()
    map: dict[int, Any] = {}
    with pytest.raises(ValueError, match=r"can't take over .*: it is closed"):
        dispatcher(map=map).set_socket(sock)
    assert map == {}


def test_another_socket_takes_the_place_of_the_first() -> None:
    map: dict[int, Any] = {}
    channel = dispatcher(FakeSocket(1000), map)
    channel.set_socket(FakeSocket(1001))
    assert map == {1001: channel}


def test_a_wrapped_socket_of_the_same_number_keeps_its_place() -> None:
    map: dict[int, Any] = {}
    channel = dispatcher(FakeSocket(1000), map)
    wrapped = channel.socket = FakeSocket(1000)
    channel.set_socket(wrapped)
    assert map == {1000: channel} and channel._fileno == 1000


def test_a_socket_that_was_replaced_elsewhere_keeps_the_others_entry() -> None:
    map: dict[int, Any] = {}
    channel = dispatcher(FakeSocket(1000), map)
    other = map[1000] = Channel()
    channel.set_socket(FakeSocket(1001))
    assert map == {1000: other, 1001: channel}


def test_create_socket_uses_the_packages_socket_module(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Module:
        def socket(self, family: int, type: int) -> FakeSocket:
            made.append((family, type))
            return FakeSocket(1000)

    monkeypatch.setattr(asynccore, "socket", Module())
    map: dict[int, Any] = {}
    channel = dispatcher(map=map)
    channel.create_socket(socket.AF_INET6, socket.SOCK_DGRAM)
    assert made == [(socket.AF_INET6, socket.SOCK_DGRAM)] == [channel.family_and_type]
    assert map == {1000: channel} and channel.socket.blocking is False
    channel = dispatcher(map={})
    channel.create_socket()
    assert made[-1] == (socket.AF_INET, socket.SOCK_STREAM)


def test_reuse_addr_is_set_and_errors_are_no_matter() -> None:
    channel = dispatcher(FakeSocket(1000), {})
    channel.set_reuse_addr()
    assert channel.socket.option == (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def fail(*args: object) -> None:
        raise with_error(errno.ENOPROTOOPT)

    channel.socket.setsockopt = fail
    channel.set_reuse_addr()


def test_a_listener() -> None:
    channel = dispatcher(FakeSocket(1000), {})
    channel.bind(("127.0.0.1", 25))
    channel.listen(5)
    assert channel.addr == channel.socket.bound == ("127.0.0.1", 25)
    assert channel.accepting and channel.socket.backlog == 5


def test_it_always_wants_everything() -> None:
    assert dispatcher().readable() is True and dispatcher().writable() is True


# Connecting ---------------------------------------------------------------------------------


def connecting(result: int) -> Recorder:
    sock = FakeSocket(1000)
    sock.connect_result = result
    channel = Recorder(map={})
    channel.set_socket(sock)
    channel.connect(("192.0.2.1", 80))
    assert sock.address == ("192.0.2.1", 80)
    return channel


@pytest.mark.parametrize("code", [errno.EINPROGRESS, errno.EALREADY, errno.EWOULDBLOCK])
def test_a_connect_that_takes_its_time(code: int) -> None:
    channel = connecting(code)
    assert channel.connecting and not channel.connected
    assert channel.addr == ("192.0.2.1", 80)
    channel.handle_write_event()
    assert channel.connected and not channel.connecting
    assert channel.log == ["connect", "write"]


@pytest.mark.parametrize("code", [0, errno.EISCONN])
def test_a_connect_that_is_done_at_once(code: int) -> None:
    channel = connecting(code)
    assert channel.connected and not channel.connecting
    assert channel.log == ["connect"]


def test_windows_says_that_it_is_in_progress_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(OSError) as caught:
        connecting(errno.EINVAL)
    assert caught.value.errno == errno.EINVAL
    monkeypatch.setattr(sys, "platform", "win32")
    assert connecting(errno.EINVAL).connecting


def test_a_connect_that_fails_at_once_raises() -> None:
    with pytest.raises(OSError) as caught:
        connecting(errno.ENETUNREACH)
    assert caught.value.args == (errno.ENETUNREACH, "ENETUNREACH")
    with pytest.raises(OSError, match="Unknown error 9999"):
        connecting(9999)


@pytest.mark.parametrize("event", ["read", "write"])
def test_a_refused_connect_is_raised_in_the_event(event: str) -> None:
    channel = connecting(errno.EINPROGRESS)
    channel.socket.error = errno.ECONNREFUSED
    with pytest.raises(OSError) as caught:
        getattr(channel, f"handle_{event}_event")()
    assert caught.value.errno == errno.ECONNREFUSED
    assert channel.log == []


@pytest.mark.parametrize("event", ["read", "write"])
def test_handle_connect_may_close(event: str) -> None:
    channel = connecting(errno.EINPROGRESS)

    def give_up() -> None:
        channel.log.append("connect")
        channel.close()

    channel.handle_connect = give_up  # type: ignore[method-assign]
    getattr(channel, f"handle_{event}_event")()
    assert channel.log == ["connect"]
    assert not channel.connected


@pytest.mark.parametrize("event", ["read", "write"])
def test_handle_connect_may_replace_the_socket(event: str) -> None:
    channel = connecting(errno.EINPROGRESS)

    def replace() -> None:
        channel.log.append("connect")
        channel.set_socket(FakeSocket(1001))

    channel.handle_connect = replace  # type: ignore[method-assign]
    getattr(channel, f"handle_{event}_event")()
    assert channel.log == ["connect", event]
    assert channel.connected and not channel.connecting


def test_a_read_event_ends_a_connect_too() -> None:
    channel = connecting(errno.EINPROGRESS)
    channel.handle_read_event()
    assert channel.log == ["connect", "read"]


# Accepting ----------------------------------------------------------------------------------


def listener(*accepts: Any, map: Any = None) -> Recorder:
    sock = FakeSocket(1000)
    sock.accepts.extend(accepts)
    channel = Recorder(map={} if map is None else map)
    channel.set_socket(sock)
    channel.listen(5)
    return channel


def test_accept_returns_the_pair() -> None:
    conn = FakeSocket(1001)
    assert listener((conn, "peer")).accept() == (conn, "peer")


@pytest.mark.parametrize(
    "why",
    [
        TypeError(),
        with_error(errno.EAGAIN),
        with_error(errno.ECONNABORTED),
        with_error(errno.EHOSTUNREACH),
    ],
)
def test_nobody_is_there(why: Exception) -> None:
    assert listener(why).accept() is None


def test_other_errors_of_accept_are_raised() -> None:
    with pytest.raises(OSError) as caught:
        listener(with_error(errno.EOPNOTSUPP)).accept()
    assert caught.value.errno == errno.EOPNOTSUPP


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_out_of_descriptors_the_listener_rests(
    fakes: Fakes, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, clock, poller = fakes
    channel = listener(with_error(code), map=engine.map)
    engine.run_pass(0)
    assert channel.accept() is None
    assert "can't accept for 1 s" in capsys.readouterr().out
    engine.run_pass(0)
    assert 1000 not in poller.interest
    assert engine.map == {1000: channel}
    clock.advance(ACCEPT_PAUSE)
    engine.run_pass(0)
    engine.run_pass(0)
    assert poller.interest[1000] & READ


def test_a_rest_without_a_map_is_none() -> None:
    channel = dispatcher()
    channel.socket = FakeSocket()
    channel.socket.accepts.append(with_error(errno.EMFILE))
    assert channel.accept() is None


def test_connections_are_accepted_in_batches(fakes: Fakes) -> None:
    pairs = [(FakeSocket(2000 + n), n) for n in range(ACCEPT_BATCH + 10)]
    channel = listener(*pairs, with_error(errno.EAGAIN), map=fakes.engine.map)
    fakes.engine.run_pass(0)
    for expected in (ACCEPT_BATCH, ACCEPT_BATCH + 10):
        fakes.poller.report((1000, READ))
        fakes.engine.run_pass(0)
        assert channel.log == [("accepted", n) for n in range(expected)]


def test_a_listener_that_wants_to_be_asked_accepts_one(fakes: Fakes) -> None:
    class Limited(Recorder):
        def readable(self) -> bool:
            return len(self.log) < 1

    channel = Limited(map=fakes.engine.map)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.extend((FakeSocket(2000 + n), n) for n in range(3))
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    assert channel.log == [("accepted", 0)]


def test_a_listener_that_got_a_readable_of_its_own_is_asked(fakes: Fakes) -> None:
    """Assigned to the instance, for example to pause."""

    class Pausing(Recorder):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            self.readable = lambda: False  # type: ignore[method-assign]

    channel = Pausing(map=fakes.engine.map)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.extend((FakeSocket(2000 + n), n) for n in range(3))
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    assert channel.log == [("accepted", 0)]
    fakes.engine.run_pass(0)
    assert 1000 not in fakes.poller.interest


@pytest.mark.parametrize("own", ["class", "instance"])
def test_a_listener_with_a_writable_of_its_own_accepts_a_batch(fakes: Fakes, own: str) -> None:
    cls = type("Odd", (Recorder,), {"writable": lambda self: bool(self.log)})
    channel = (cls if own == "class" else Recorder)(map=fakes.engine.map)
    if own == "instance":
        channel.writable = lambda: bool(channel.log)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.extend((FakeSocket(2000 + n), n) for n in range(3))
    channel.socket.accepts.append(with_error(errno.EAGAIN))
    fakes.engine.run_pass(0)
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    assert channel.log == [("accepted", n) for n in range(3)]


@pytest.mark.parametrize("how", ["accepting", "del_channel"])
def test_a_listener_that_stops_listening_accepts_no_more(fakes: Fakes, how: str) -> None:
    class Once(Recorder):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            if how == "accepting":
                self.accepting = False
            else:
                self.del_channel()

    channel = Once(map=fakes.engine.map)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.extend((FakeSocket(2000 + n), n) for n in range(3))
    fakes.engine.run_pass(0)
    channel.handle_accept()
    assert channel.log == [("accepted", 0)]
    channel.close()


def test_a_listener_that_closes_accepts_no_more(fakes: Fakes) -> None:
    class Once(Recorder):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            super().handle_accepted(sock, addr)
            self.close()

    channel = Once(map=fakes.engine.map)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.extend((FakeSocket(2000 + n), n) for n in range(3))
    channel.handle_accept()
    assert channel.log == [("accepted", 0)]


@pytest.mark.parametrize("kind", ["socket", "channel", "without fileno"])
def test_a_connection_whose_handler_failed_is_closed(fakes: Fakes, kind: str) -> None:
    map = fakes.engine.map
    conn: Any = FakeSocket(2000)
    if kind == "without fileno":

        class Bare:
            closed = 0

            def close(self) -> None:
                self.closed += 1

        conn = Bare()
    channel = listener((conn, "peer"), map=map)

    def fail(sock: Any, addr: Any) -> None:
        if kind == "channel":
            dispatcher(sock, map)
        raise ZeroDivisionError

    channel.handle_accepted = fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        channel.handle_accept()
    assert conn.closed == 1
    assert map == {1000: channel}


def test_a_listener_survives_what_its_handler_raises(
    fakes: Fakes, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, _, poller = fakes

    class Failing(dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            raise ZeroDivisionError

    channel = Failing(map=engine.map)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.append((FakeSocket(2000), "peer"))
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert "keeping channel" in capsys.readouterr().out
    assert engine.map == {1000: channel} and channel.accepting
    engine.run_pass(0)
    assert poller.interest[1000] & READ  # it does not rest for the fault of one
    assert channel.accept_counts.pauses == 0


def test_a_listener_ignores_write_events() -> None:
    channel = listener()
    channel.handle_write_event()
    assert channel.log == []


# Sending and receiving ----------------------------------------------------------------------


def connected(*receives: Any, takes: Any = (), map: Any = None) -> Recorder:
    return Recorder(FakeSocket(1000, receives, takes), map)


def test_send_returns_what_went() -> None:
    channel = connected(takes=[3])
    assert channel.send(b"hello") == 3
    assert channel.send(b"lo") == 2
    assert channel.socket.output == b"hello"


def test_send_to_a_full_socket_is_zero() -> None:
    assert connected(takes=[BlockingIOError(errno.EWOULDBLOCK, "")]).send(b"x") == 0


@pytest.mark.parametrize("code", sorted(asynccore._DISCONNECTED))
def test_a_connection_that_is_gone_closes_the_channel(code: int) -> None:
    channel = connected(takes=[with_error(code)])
    assert channel.send(b"x") == 0
    assert channel.log == ["close"]
    channel = connected(with_error(code))
    assert channel.recv(10) == b""
    assert channel.log == ["close"]


def test_other_errors_are_raised() -> None:
    channel = connected(with_error(errno.EIO), BlockingIOError(), takes=[with_error(errno.EIO)])
    with pytest.raises(OSError):
        channel.send(b"x")
    with pytest.raises(OSError):
        channel.recv(1)
    with pytest.raises(BlockingIOError):
        channel.recv(1)
    assert channel.log == []


def test_recv_returns_data_then_the_end() -> None:
    channel = connected(b"hello", b"")
    assert channel.recv(3) == b"hel"
    assert channel.recv(3) == b"lo"
    assert channel.log == []
    assert channel.recv(3) == b""
    assert channel.log == ["close"]


def test_reading_no_bytes_is_not_the_end() -> None:
    channel = connected(b"")
    assert channel.recv(0) == b""
    assert channel.log == []


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_an_empty_datagram_is_not_the_end(kind: int) -> None:
    mine, other = socket.socketpair(socket.AF_UNIX, kind)
    channel = Recorder(mine, {})
    if kind == socket.SOCK_DGRAM:
        other.send(b"")
    else:
        other.shutdown(socket.SHUT_WR)
    assert channel.recv(10) == b""
    assert channel.log == ([] if kind == socket.SOCK_DGRAM else ["close"])
    channel.close()
    other.close()


def test_the_end_comes_once_and_is_not_read_again(fakes: Fakes) -> None:
    """On a channel that stays open, for it has output left."""
    channel = connected(b"", b"", with_error(errno.ECONNRESET), map=fakes.engine.map)
    channel.handle_close = lambda: channel.log.append("close")  # type: ignore[method-assign]
    fakes.engine.run_pass(0)
    for _ in range(3):
        channel.recv(10)
    assert channel.log == ["close"]
    fakes.engine.run_pass(0)
    assert fakes.poller.interest[1000] & (READ | WRITE) == WRITE


@pytest.mark.parametrize("how", ["recv", "send"])
def test_an_end_that_handle_close_did_not_take_is_told_again(how: str) -> None:
    class Fails(Recorder):
        def handle_close(self) -> None:
            self.log.append("close")
            if len(self.log) < 3:
                raise ZeroDivisionError

    gone = with_error(errno.EPIPE)
    channel = Fails(FakeSocket(1000, [b""] * 4, [gone] * 4))
    for attempt in range(4):
        if attempt < 2:
            with pytest.raises(ZeroDivisionError):
                channel.recv(10) if how == "recv" else channel.send(b"x")
        else:
            channel.recv(10) if how == "recv" else channel.send(b"x")
    assert channel.log == ["close"] * 3


def test_an_end_that_was_not_taken_is_still_read_for(fakes: Fakes) -> None:
    class Fails(Recorder):
        def handle_read(self) -> None:
            self.recv(10)

        def handle_close(self) -> None:
            self.log.append("close")
            if len(self.log) < 3:  # twice, with what handle_error notes
                raise ZeroDivisionError("oops")
            self.close()

    channel = Fails(FakeSocket(1000, [b"", b""]), fakes.engine.map)
    fakes.engine.map[999] = Channel(False, False)
    for _ in range(2):
        fakes.engine.run_pass(0)
        assert fakes.poller.interest[1000] & READ
        fakes.poller.report((1000, READ))
        fakes.engine.run_pass(0)
    assert channel.log == ["close", "ZeroDivisionError('oops')", "close"]
    assert list(fakes.engine.map) == [999]


# Sockets that were over before we had them ---------------------------------------------------

NOT_CONNECTED = with_error(errno.ENOTCONN)


@pytest.mark.parametrize("event", ["read", "write"])
@pytest.mark.parametrize(
    ("peer", "receives", "ends"),
    [
        (NOT_CONNECTED, [b""], True),
        (NOT_CONNECTED, [with_error(errno.ENOTCONN)], True),
        (with_error(errno.EINVAL), [with_error(errno.ECONNRESET)], True),
        (NOT_CONNECTED, [b"left to read"], False),
        (NOT_CONNECTED, [], False),  # would block
        (with_error(errno.ENOBUFS), [b""], False),
        (AttributeError("no such method"), [b""], False),
        ("peer", [b""], False),
    ],
)
def test_a_dead_socket_ends_its_channel(
    event: str, peer: Any, receives: list[Any], ends: bool
) -> None:
    sock = FakeSocket(1000, receives)
    channel = Recorder(map={})
    channel.set_socket(sock)
    sock.peer = peer
    getattr(channel, f"handle_{event}_event")()
    assert channel.log == [event] + ["close"] * ends
    assert list(sock.receives) == receives  # it only looked


@pytest.mark.parametrize("state", ["connected", "connecting", "accepting", "closed", "ended"])
def test_the_handler_may_have_changed_what_it_is(state: str) -> None:
    sock = FakeSocket(1000, [b""])
    sock.peer = NOT_CONNECTED
    channel = Recorder(map={})
    channel.set_socket(sock)

    def handle_read() -> None:
        if state == "closed":
            channel.close()
        elif state == "ended":
            channel.recv(10)
        else:
            setattr(channel, state, True)

    channel.handle_read = handle_read  # type: ignore[method-assign]
    channel.handle_read_event()
    assert channel.log == ["close"] * (state == "ended")


def test_a_datagram_socket_needs_no_peer() -> None:
    sock = FakeSocket(1000, [b""])
    sock.peer, sock.kind = NOT_CONNECTED, int(socket.SOCK_DGRAM)
    channel = Recorder(map={})
    channel.set_socket(sock)
    channel.handle_read_event()
    assert channel.log == ["read"]


@pytest.mark.parametrize("reads", [False, True])
def test_a_connection_that_was_reset_before_it_was_taken_over_ends(
    poller_name: str, reads: bool, tcp_pair: Any
) -> None:
    mine, other = tcp_pair()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    other.close()  # RST
    with pytest.raises(ConnectionResetError):
        mine.recv(1)
    map: dict[int, Any] = {}

    class Taken(Recorder):
        def readable(self) -> bool:
            return reads

    channel = Taken(mine, map)
    assert not channel.connected
    loop(30, map=map, poller=poller_name, count=10)
    assert channel.log[-1] == "close" and channel.log.count("close") == 1
    assert map == {}


# Closing ------------------------------------------------------------------------------------


def test_close_leaves_the_map_and_closes_once() -> None:
    map: dict[int, Any] = {}
    channel = connected(map=map)
    channel.accepting = channel.connecting = True
    channel.close()
    assert map == {} and channel.socket.closed == 1
    assert not (channel.connected or channel.accepting or channel.connecting)
    channel.close()
    assert channel._fileno is None


def test_a_second_close_spares_the_next_owner_of_the_number() -> None:
    map: dict[int, Any] = {}
    first = connected(map=map)
    first.close()
    second = connected(map=map)
    first.close()
    assert map == {1000: second} and second.socket.closed == 0


def test_close_without_a_socket() -> None:
    dispatcher().close()


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.EBADF, errno.EIO])
def test_errors_of_close(code: int) -> None:
    channel = connected()

    def fail() -> None:
        raise with_error(code)

    channel.socket.close = fail
    if code == errno.EIO:
        with pytest.raises(OSError):
            channel.close()
    else:
        channel.close()
    assert channel._map == {}


def test_it_may_begin_anew() -> None:
    map: dict[int, Any] = {}
    channel = connected(b"", map=map)
    channel.recv(10)
    channel.set_socket(FakeSocket(1001, [b""]))
    channel.connected = True
    assert map == {1001: channel}
    channel.recv(10)
    assert channel.log == ["close", "close"]
    assert channel.socket.closed == 1


def test_close_from_another_thread_is_done_by_the_loop(fakes: Fakes) -> None:
    engine, _, poller = fakes
    channel = connected(map=engine.map)
    seen: list[int] = []

    def read() -> None:
        thread = threading.Thread(target=channel.close)
        thread.start()
        thread.join()
        seen.append(channel.socket.closed)

    channel.handle_read = read  # type: ignore[method-assign]
    engine.run_pass(0)
    poller.report((1000, READ))
    engine.run_pass(0)
    assert seen == [0] and channel.socket.closed == 1
    assert not engine.map


# Log and errors -----------------------------------------------------------------------------


def test_log_and_log_info(capsys: pytest.CaptureFixture[str]) -> None:
    channel = dispatcher()
    channel.log("hello")
    channel.log_info("one")
    channel.log_info("two", "error")
    channel.log_info("three", "warning")
    channel.ignore_log_types = frozenset({"info"})
    channel.log_info("four")
    channel.log_info("five", "warning")
    out, err = capsys.readouterr()
    assert err == "log: hello\n"
    assert out == "info: one\nerror: two\nwarning: five\n"


@pytest.mark.parametrize("hook", ["expt", "read", "write", "connect", "close", "accepted"])
def test_unhandled_events_are_logged(hook: str, capsys: pytest.CaptureFixture[str]) -> None:
    channel = dispatcher(FakeSocket(1000), {})
    channel.ignore_log_types = frozenset()
    sock = FakeSocket(1001)
    getattr(channel, f"handle_{hook}")(*((sock, "peer") if hook == "accepted" else ()))
    name = {"expt": "incoming priority"}.get(hook, hook)
    assert capsys.readouterr().out == f"warning: unhandled {name} event\n"
    assert channel.socket.closed == (hook == "close")
    assert sock.closed == (hook == "accepted")


def test_handle_error_reports_in_one_line_and_closes(capsys: pytest.CaptureFixture[str]) -> None:
    channel = dispatcher(FakeSocket(1000), {})
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError:
        channel.handle_error()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("error: uncaptured python exception, closing channel <asyncore.dispat")
    assert "(<class 'ZeroDivisionError'>:oops [" in line and "|test_handle_error" in line
    assert channel.socket.closed == 1


def test_handle_error_survives_a_broken_repr(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(dispatcher):
        def __repr__(self) -> str:
            raise ValueError

    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        Broken().handle_error()
    assert "channel <__repr__(self) failed for object at" in capsys.readouterr().out


def test_an_exceptional_condition_is_urgent_data_or_an_error() -> None:
    channel = connected()
    channel.handle_expt_event()
    assert channel.log == ["expt"]
    channel.socket.error = errno.ECONNRESET
    channel.handle_expt_event()
    assert channel.log == ["expt", "close"]
    channel = connecting(errno.EINPROGRESS)
    channel.socket.error = errno.ECONNREFUSED
    with pytest.raises(OSError) as caught:
        channel.handle_expt_event()
    assert caught.value.errno == errno.ECONNREFUSED


def test_events_of_a_connected_channel() -> None:
    channel = connected()
    channel.handle_read_event()
    channel.handle_write_event()
    assert channel.log == ["read", "write"]
    channel.connected = False
    channel.handle_read_event()
    channel.handle_write_event()
    assert channel.log == ["read", "write"] * 2


# Real sockets -------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def test_an_echo_over_the_loopback(poller_name: str, family: int) -> None:
    map: dict[int, Any] = {}
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    received: list[bytes] = []

    class Echo(asynccore.dispatcher_with_send):
        def handle_read(self) -> None:
            self.send(self.recv(100))

        def handle_close(self) -> None:
            self.close()
            server.close()

    class Server(dispatcher):
        def handle_accepted(self, sock: Any, addr: Any) -> None:
            Echo(sock, map)

    class Client(asynccore.dispatcher_with_send):
        def handle_connect(self) -> None:
            self.send(b"hello")

        def handle_read(self) -> None:
            received.append(self.recv(100))
            self.close()

    server = Server(map=map)
    server.create_socket(family)
    server.set_reuse_addr()
    server.bind((host, 0))
    server.listen(5)
    client = Client(map=map)
    client.create_socket(family)
    client.connect(server.socket.getsockname()[:2])
    loop(30, map=map, poller=poller_name)
    assert received == [b"hello"]


def test_a_refused_connect_reaches_handle_error(poller_name: str) -> None:
    map: dict[int, Any] = {}
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
    channel = Recorder(map=map)
    channel.create_socket()
    handle_error: Callable[[], None] = channel.handle_error

    def error_and_close() -> None:
        handle_error()
        channel.close()

    channel.handle_error = error_and_close  # type: ignore[method-assign]
    try:
        channel.connect(address)
    except OSError:
        channel.handle_error()
    loop(30, map=map, poller=poller_name)
    assert channel.log == [errno.ECONNREFUSED]
