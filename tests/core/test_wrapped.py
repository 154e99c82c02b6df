"""Sockets with a will of their own: what the engine does for what stands in for a socket."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from errno import ECONNRESET
from typing import Any

import pytest
import trustme
from OpenSSL import SSL

import asynccore
from asynccore import ChannelMap, asynchat, dispatcher, dispatcher_with_send, loop, pollers
from asynccore.engine import descriptor_changed, engine_for
from asynccore.pollers import ERROR, EVENTS_PER_PASS, PRIORITY, READ, WRITE
from asynccore.pollers.layered import LayeredPoller, layered_socket, waits_for
from asynccore.testing import Fakes, RecordingPoller
from tests.core.fakes import Channel, FakeSocket, owning


class LayeredSocket(FakeSocket):
    """Wants what the test says, and tells what it was asked."""

    def __init__(self, fd: int = 1000) -> None:
        super().__init__(fd)
        self.wants = READ
        self.now = 0
        self._ac_read_ahead: object = True
        self.gives: Callable[[int, int], int] = lambda mask, wanted: mask & wanted
        self.events: list[tuple[int, int]] = []
        self.report: Callable[[], None] = lambda: None
        self.map: Any = None

    def _ac_entered(self, map: Any, report: Callable[[], None]) -> None:
        self.map, self.report = map, report

    def _ac_poll_interest(self, wanted: int) -> int:
        return self.wants

    def _ac_handle_event(self, mask: int, wanted: int) -> int:
        self.events.append((mask, wanted))
        return self.gives(mask, wanted)

    def _ac_ready_now(self, wanted: int) -> int:
        return self.now & wanted


class Driven(FakeSocket):
    """What a program wraps and drives itself, as it does with `ssl.SSLSocket`."""

    held = 0

    def pending(self) -> int:
        return self.held

    def do_handshake(self) -> None:
        raise NotImplementedError


class Noting(dispatcher):
    """Writes down its events, and does in them what the test says."""

    def __init__(self, sock: Any, map: Any, wants: tuple[bool, bool] = (True, False)) -> None:
        self.log: list[str] = []
        self.wants = wants
        self.on_read: Callable[[], object] = lambda: None
        self.on_write: Callable[[], object] = lambda: None
        super().__init__(sock, map)

    def readable(self) -> bool:
        return self.wants[0]

    def writable(self) -> bool:
        return self.wants[1]

    def handle_read(self) -> None:
        self.log.append("read")
        self.on_read()

    def handle_write(self) -> None:
        self.log.append("write")
        self.on_write()

    def handle_error(self) -> None:
        self.log.append("error")

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()


def turn(fakes: Fakes, *events: tuple[int, int]) -> None:
    """Have one pass, with these events of the kernel."""
    if events:
        fakes.poller.report(*events)
    fakes.engine.run_pass(0)


# What the kernel is told ----------------------------------------------------------------------


def test_the_kernel_is_told_what_the_socket_wants_alone(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    channel = Noting(sock, any_fakes.engine.map, (True, True))
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == READ
    assert sock.map is any_fakes.engine.map
    sock.wants = WRITE
    turn(any_fakes, (1000, READ))
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == WRITE
    assert channel.log == ["read"]
    assert sock.events == [(READ, READ | WRITE)]


def test_an_event_that_is_the_sockets_own_reaches_no_handler(fakes: Fakes) -> None:
    sock = LayeredSocket()
    sock.gives = lambda mask, wanted: 0
    channel = Noting(sock, fakes.engine.map)
    turn(fakes)

    def step(mask: int, wanted: int) -> int:
        sock.wants = WRITE
        return 0

    sock.gives = step
    turn(fakes, (1000, READ))
    # Told at once: the engine waits on without a turn for anybody else.
    assert fakes.poller.interest[1000] == WRITE
    assert channel.log == []


def test_it_is_served_though_its_channel_wants_nothing(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    channel = Noting(sock, any_fakes.engine.map, (False, False))
    turn(any_fakes)
    turn(any_fakes, (1000, READ))
    assert sock.events == [(READ, 0)]
    assert channel.log == []


def test_what_is_held_back_is_delivered_without_an_event(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    channel = Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    sock.now = READ
    turn(any_fakes, (1000, READ))
    any_fakes.engine.run_pass(60.0)
    any_fakes.engine.run_pass(60.0)
    assert channel.log == ["read"] * 3
    assert any_fakes.poller.waits[-2:] == [0, 0]
    sock.now = 0
    any_fakes.engine.run_pass(60.0)
    assert channel.log == ["read"] * 3
    assert sum(any_fakes.poller.waits[-3:]) > 50  # type: ignore[arg-type]


def test_what_is_held_back_waits_for_its_channel_to_want_it(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    sock.now = READ
    channel = Noting(sock, any_fakes.engine.map, (False, False))
    turn(any_fakes)
    turn(any_fakes)
    assert channel.log == []
    channel.wants = (True, False)
    turn(any_fakes)
    assert channel.log == ["read"]


def test_a_report_has_it_looked_at(fakes: Fakes) -> None:
    sock = LayeredSocket()
    channel = Noting(sock, fakes.engine.map)
    turn(fakes)
    turn(fakes)
    sock.now, sock.wants = READ, WRITE
    turn(fakes)
    assert channel.log == []
    sock.report()
    turn(fakes)
    assert channel.log == ["read"]
    assert fakes.poller.interest[1000] == WRITE


def test_a_report_of_a_socket_that_left_is_nobodys(fakes: Fakes) -> None:
    old, new = LayeredSocket(), LayeredSocket()
    channel = Noting(old, fakes.engine.map)
    turn(fakes)
    channel.socket = new
    turn(fakes)
    fakes.engine.enter()
    turn(fakes)
    old.now = READ
    old.report()
    turn(fakes)
    assert channel.log == []
    assert new.map is fakes.engine.map


def test_plain_channels_beside_it_see_no_difference(any_fakes: Fakes) -> None:
    plain = Channel()
    any_fakes.engine.map[7] = plain
    sock = LayeredSocket()
    sock.gives = lambda mask, wanted: 0
    Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    turn(any_fakes, (1000, READ), (7, READ | PRIORITY))
    assert plain.log == ["read", "expt"]
    assert any_fakes.poller.interest[7] == READ | PRIORITY


def test_an_event_and_what_is_held_back_are_one_call(fakes: Fakes) -> None:
    sock = LayeredSocket()
    channel = Noting(sock, fakes.engine.map)
    turn(fakes)
    sock.now = READ
    sock.report()
    turn(fakes, (1000, READ))
    assert channel.log == ["read"]


def test_many_that_hold_something_back_share_the_passes(fakes: Fakes) -> None:
    channels = []
    for fd in range(1000, 1000 + EVENTS_PER_PASS + 10):
        sock = LayeredSocket(fd)
        sock.now = READ
        channels.append(Noting(sock, fakes.engine.map))
    turn(fakes)
    assert sum(len(channel.log) for channel in channels) == EVENTS_PER_PASS
    turn(fakes)
    assert all(channel.log for channel in channels)


def test_a_pass_waits_on_after_events_for_no_handler(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    sock.gives = lambda mask, wanted: 0
    Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    turn(any_fakes)
    before = len(any_fakes.poller.waits)
    any_fakes.poller.report((1000, READ))
    any_fakes.engine.run_pass(60.0)
    assert len(any_fakes.poller.waits) - before >= 2
    assert sock.events == [(READ, READ)]


def test_each_acts_right_before_its_handler(fakes: Fakes) -> None:
    order: list[str] = []

    def add(fd: int) -> None:
        def give(mask: int, wanted: int) -> int:
            order.append(f"{fd} acts")
            return mask & wanted

        sock = LayeredSocket(fd)
        sock.gives = give
        Noting(sock, fakes.engine.map).on_read = lambda: order.append(f"{fd} reads")

    add(1000)
    add(1001)
    turn(fakes)
    turn(fakes, (1000, READ), (1001, READ))
    assert order == ["1000 acts", "1000 reads", "1001 acts", "1001 reads"]


def test_one_that_reports_by_itself_is_not_looked_at_after_reading(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    sock._ac_read_ahead = b""
    channel = Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    turn(any_fakes)
    sock.now = READ
    turn(any_fakes, (1000, READ))
    turn(any_fakes)
    assert channel.log == ["read"]
    sock.report()
    turn(any_fakes)
    assert channel.log == ["read", "read"]


def test_what_a_handler_left_when_it_left_the_loop_is_delivered(any_fakes: Fakes) -> None:
    def leave() -> None:
        raise asynccore.ExitNow

    sock = LayeredSocket()
    sock._ac_read_ahead = b""
    channel = Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    turn(any_fakes)
    channel.on_read = leave
    sock.now = READ
    with pytest.raises(asynccore.ExitNow):
        turn(any_fakes, (1000, READ))
    channel.on_read = lambda: None
    turn(any_fakes)
    assert channel.log == ["read", "read"]


@pytest.mark.parametrize(
    ("why", "told"), [(ConnectionResetError(ECONNRESET, "gone"), "close"), (OSError(71), "error")]
)
def test_a_failure_is_told_to_a_channel_that_wants_nothing(
    any_fakes: Fakes, why: OSError, told: str
) -> None:
    class Failed(LayeredSocket):
        def _ac_ready_now(self, wanted: int) -> int:
            return ERROR | PRIORITY if self.now else 0

        def getsockopt(self, level: int, option: int, buflen: int = 0) -> int:
            self.now = 0
            raise why

    sock = Failed()
    sock.wants = 0
    channel = Noting(sock, any_fakes.engine.map, (False, False))
    turn(any_fakes)
    sock.now = ERROR
    sock.report()
    turn(any_fakes)
    turn(any_fakes)
    assert channel.log == [told]


@pytest.mark.parametrize("kind", [ChannelMap, dict])
def test_who_has_a_descriptor_is_looked_at_again(with_fakes: Any, kind: Any) -> None:
    fakes, other = with_fakes(kind()), with_fakes(ChannelMap())
    channel = Noting(FakeSocket(1000), fakes.engine.map)
    bystander = Noting(FakeSocket(1001), other.engine.map)
    turn(fakes)
    turn(other)
    sock = LayeredSocket()
    descriptor_changed(1000)
    channel.socket = sock
    assert 1000 not in other.engine.interest.table.to_ask
    turn(fakes)
    assert sock.map is fakes.engine.map
    assert channel.log == bystander.log == []


# Coming and going ------------------------------------------------------------------------------


def test_one_that_takes_the_place_of_a_plain_socket(any_fakes: Fakes) -> None:
    channel = Noting(FakeSocket(1000), any_fakes.engine.map)
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == READ | PRIORITY
    sock = LayeredSocket()
    sock.wants = WRITE
    channel.socket = sock
    any_fakes.engine.enter()
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == WRITE


def test_a_plain_socket_that_takes_its_place(any_fakes: Fakes) -> None:
    sock = LayeredSocket()
    sock.wants = WRITE
    channel = Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == WRITE
    channel.set_socket(FakeSocket(1000))
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == READ | PRIORITY
    turn(any_fakes, (1000, READ))
    assert channel.log == ["read"]
    assert sock.events == []


def test_a_closed_one_is_forgotten(any_fakes: Fakes) -> None:
    keeper = Channel(False, False)
    any_fakes.engine.map[999] = keeper
    sock = LayeredSocket()
    channel = Noting(sock, any_fakes.engine.map)
    turn(any_fakes)
    sock.now = READ
    sock.report()
    channel.close()
    turn(any_fakes)
    assert channel.log == []
    assert 1000 not in any_fakes.poller.interest
    sock.report()
    turn(any_fakes)


def test_another_poller_learns_of_it(new_map: dict[int, Any]) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        sock = LayeredSocket(ours.fileno())
        sock.wants = READ
        channel = Noting(sock, new_map)
        engine = engine_for(new_map)
        names = [*pollers.available(), pollers.available()[0]]
        for number, name in enumerate(names, 1):
            theirs.send(b"x")
            loop(timeout=5, map=new_map, count=1, poller=name)
            present = engine.poller
            assert isinstance(present, LayeredPoller)
            assert present.name == name
            assert present.fileno() == present.real.fileno()
            assert channel.log == ["read"] * number
            ours.recv(1)
        channel.close()
        ours.close()


@pytest.mark.parametrize("kind", [OSError(9, "closed"), ValueError("too high")])
def test_a_descriptor_closed_behind_its_back_is_found_by_the_review(
    fakes: Fakes, kind: OSError | ValueError
) -> None:
    fakes.engine.map[999] = Channel(False, False)
    sock = LayeredSocket()
    sock.gives = lambda mask, wanted: 0
    channel = Noting(sock, fakes.engine.map)
    turn(fakes)
    sock.wants = WRITE
    fakes.poller.refuse(1000, kind)
    turn(fakes, (1000, READ))
    assert channel.log == []
    loop(timeout=2, map=fakes.engine.map, count=2)
    assert channel.log == ["close"]


def test_one_that_waits_for_nothing_has_nothing_to_verify(fakes: Fakes) -> None:
    sock = LayeredSocket()
    sock.wants = 0
    channel = Noting(sock, fakes.engine.map)
    turn(fakes)
    fakes.poller.refuse(1000)
    fakes.engine.enter(review=True)
    turn(fakes)
    assert channel.log == []


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="there is no fork()")
def test_a_forked_child_lets_go_of_the_parents_poller(fakes: Fakes) -> None:
    Noting(LayeredSocket(), fakes.engine.map)
    turn(fakes)
    fakes.engine.after_fork()  # what the child runs
    assert fakes.poller.closed


# What a program drives itself --------------------------------------------------------------------


def want(name: str) -> Exception:
    """An exception as a TLS library raises it."""
    kind: type[Exception] = getattr(ssl if name.startswith("SSL") else SSL, name)
    return kind(2, "not yet") if kind.__module__ == "ssl" else kind()


WANTS = [
    ("SSLWantReadError", READ),
    ("SSLWantWriteError", WRITE),
    ("WantReadError", READ),
    ("WantWriteError", WRITE),
]


@pytest.mark.parametrize(("name", "mask"), WANTS)
def test_what_tls_libraries_raise_is_told_from_errors(name: str, mask: int) -> None:
    assert waits_for(want(name)) == mask
    assert waits_for(OSError(11, "EAGAIN")) == 0


def test_which_sockets_have_a_will() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    assert layered_socket(FakeSocket()) is None
    assert layered_socket(None) is None
    willful = LayeredSocket()
    assert layered_socket(willful) is willful
    with socket.socket() as plain:
        assert layered_socket(plain) is None
        assert layered_socket(SSL.Connection(SSL.Context(SSL.TLS_METHOD), plain)) is not None
        with context.wrap_socket(plain, do_handshake_on_connect=False) as sock:
            assert layered_socket(sock) is not None


@pytest.mark.parametrize(("name", "mask"), WANTS)
@pytest.mark.parametrize("hook", ["on_read", "on_write"])
def test_an_uncaught_want_is_no_error_and_is_waited_for(
    any_fakes: Fakes, hook: str, name: str, mask: int
) -> None:
    def attempt() -> None:
        setattr(channel, hook, lambda: None)
        raise want(name)

    channel = Noting(Driven(), any_fakes.engine.map, (True, True))
    setattr(channel, hook, attempt)
    turn(any_fakes)
    event, other = (READ, WRITE) if hook == "on_read" else (WRITE, READ)
    turn(any_fakes, (1000, event))
    turn(any_fakes)
    # The other direction goes on as it was.
    assert any_fakes.poller.interest[1000] == mask | other
    assert "error" not in channel.log
    channel.log.clear()
    turn(any_fakes, (1000, mask))
    turn(any_fakes)
    assert channel.log == [hook[3:]] if mask == event else ["read", "write"]
    assert any_fakes.poller.interest[1000] == READ | WRITE


def test_a_want_in_one_of_two_handlers_is_that_ones(fakes: Fakes) -> None:
    def attempt() -> None:
        raise want("SSLWantReadError")

    channel = Noting(Driven(), fakes.engine.map, (True, True))
    channel.on_write = attempt
    turn(fakes)
    turn(fakes, (1000, READ | WRITE))
    turn(fakes)
    assert channel.log == ["read", "write"]
    assert fakes.poller.interest[1000] == READ


def test_a_want_after_a_loop_of_the_handlers_own_is_that_handlers(fakes: Fakes) -> None:
    """Which direction has to wait does not depend on what that loop did last."""

    def attempt() -> None:
        channel.on_read = lambda: None
        turn(fakes, (1001, WRITE))
        raise want("SSLWantWriteError")

    channel = Noting(Driven(), fakes.engine.map, (True, True))
    other = Noting(FakeSocket(1001), fakes.engine.map, (True, True))
    channel.on_read = attempt
    turn(fakes)
    turn(fakes, (1000, READ | WRITE))
    turn(fakes)
    assert (channel.log, other.log) == (["read"], ["write"])
    assert fakes.poller.interest[1000] == WRITE  # reading waits for that, too


@pytest.mark.parametrize("base", [dispatcher_with_send, asynchat.async_chat])
def test_output_that_waits_for_the_peer_waits_for_reading_alone(fakes: Fakes, base: Any) -> None:
    sock = Driven(1000, takes=[want("SSLWantReadError")])
    channel = base(sock, fakes.engine.map)
    turn(fakes)
    if base is dispatcher_with_send:
        channel.send(b"hello")
    else:
        channel.push(b"hello")
    turn(fakes)
    assert fakes.poller.interest[1000] == READ
    channel.pause_reading()  # it waits all the same
    turn(fakes)
    assert fakes.poller.interest[1000] == READ
    turn(fakes, (1000, READ))
    assert sock.output == b"hello"


def test_asynchat_takes_a_want_from_a_send_of_the_programs_own(fakes: Fakes) -> None:
    class Chat(asynchat.async_chat):
        def send(self, data: Any) -> Any:
            return self.socket.send(data)

        def handle_error(self) -> None:
            raise AssertionError("no error")

    sock = Driven(1000, takes=[want("SSLWantReadError")])
    channel = Chat(sock, fakes.engine.map)
    turn(fakes)
    channel.push(b"hello")
    turn(fakes)
    assert fakes.poller.interest[1000] == READ
    turn(fakes, (1000, READ))
    assert sock.output == b"hello"


def test_a_half_record_that_comes_keeps_no_output_back(fakes: Fakes) -> None:
    sock = Driven(1000, [want("SSLWantReadError")], takes=[want("SSLWantWriteError")])
    channel = asynchat.async_chat(sock, fakes.engine.map)
    turn(fakes)
    channel.push(b"hello")
    turn(fakes, (1000, READ))
    turn(fakes)
    assert fakes.poller.interest[1000] == READ | WRITE
    turn(fakes, (1000, WRITE))
    assert sock.output == b"hello"


def test_a_program_that_sends_in_another_thread_is_told_on_the_loops(fakes: Fakes) -> None:
    sock = Driven(1000, takes=[want("SSLWantReadError")])
    channel = dispatcher(sock, fakes.engine.map)
    turn(fakes)
    with owning(fakes.engine):
        thread = threading.Thread(target=channel.send, args=(b"hello",))
        thread.start()
        thread.join()
        assert fakes.engine.deferred
    turn(fakes)
    assert fakes.poller.interest[1000] == READ


def test_a_want_of_a_socket_that_came_in_the_same_handler(any_fakes: Fakes) -> None:
    def start_tls() -> None:
        channel.on_read = lambda: None
        channel.socket = Driven()
        raise want("SSLWantWriteError")

    channel = Noting(FakeSocket(1000), any_fakes.engine.map)
    channel.on_read = start_tls
    turn(any_fakes)
    turn(any_fakes, (1000, READ))
    turn(any_fakes)
    assert any_fakes.poller.interest[1000] == WRITE
    assert channel.log == ["read"]


def test_a_want_of_a_closed_channel_is_no_error_either(fakes: Fakes) -> None:
    def attempt() -> None:
        channel.close()
        raise want("SSLWantReadError")

    fakes.engine.map[999] = Channel(False, False)
    channel = Noting(Driven(), fakes.engine.map)
    channel.on_read = attempt
    turn(fakes)
    turn(fakes, (1000, READ))
    assert channel.log == ["read"]


def test_recv_lets_a_want_out_and_what_the_socket_holds_is_not_forgotten(fakes: Fakes) -> None:
    class Catches(Noting):
        def handle_read(self) -> None:
            self.log.append("read")
            try:
                self.log.append(self.recv(100).decode())
            except ssl.SSLWantReadError:
                self.log.append("want")

    channel = Catches(FakeSocket(1000), fakes.engine.map)
    turn(fakes)
    sock = Driven(1000, [want("SSLWantReadError"), b"whole", b"rest"])
    channel.socket = sock  # after STARTTLS, say: the engine is not told
    turn(fakes, (1000, READ))
    assert channel.log == ["read", "want"]
    sock.held = 4
    turn(fakes, (1000, READ))
    fakes.engine.run_pass(60.0)
    assert channel.log == ["read", "want", "read", "whole", "read", "rest"]


def test_a_socket_that_cant_tell_holds_nothing(fakes: Fakes) -> None:
    class Odd(Driven):
        def pending(self) -> int:
            raise ValueError("not connected")

    channel = Noting(Odd(), fakes.engine.map)
    turn(fakes)
    turn(fakes)
    assert channel.log == []


@pytest.mark.parametrize(("name", "mask"), WANTS)
def test_send_takes_a_want_for_a_full_socket(fakes: Fakes, name: str, mask: int) -> None:
    sock = Driven(1000, takes=[want(name)])
    sock.takes[0] = ssl.SSLWantWriteError(3, "not yet")
    channel = dispatcher_with_send(sock, fakes.engine.map)
    channel.send(b"hello")
    assert channel.out_buffer == b"hello"
    turn(fakes)
    turn(fakes, (1000, WRITE))
    assert sock.output == b"hello"


def test_asynchat_takes_a_want_for_nothing_there(fakes: Fakes) -> None:
    class Chat(asynchat.async_chat):
        def handle_error(self) -> None:
            raise AssertionError("no error")

    sock = Driven(1000, [want("SSLWantReadError")], takes=[ssl.SSLWantReadError(2, "not yet")])
    chat = Chat(sock, fakes.engine.map)
    turn(fakes)
    turn(fakes, (1000, READ))
    chat.push(b"x")
    assert list(chat.producer_fifo) == [b"x"]


def test_a_program_with_its_own_select_is_spared_too(fakes: Fakes) -> None:
    def attempt() -> None:
        raise want("SSLWantReadError")

    channel = Noting(Driven(), fakes.engine.map)
    channel.on_read = attempt
    asynccore.read(channel)
    asynccore.readwrite(channel, READ)
    assert channel.log == ["read", "read"]


# Real sockets ----------------------------------------------------------------------------------


class Late(Noting):
    """Reads one byte of a record at a time from a stdlib TLS socket, as slowly as can be."""

    got = b""

    def handle_read(self) -> None:
        self.got += self.recv(1)

    def handle_write(self) -> None:
        self.socket.do_handshake()  # what it raises, until it is done, is nobody's concern
        self.wants = (True, False)


def test_a_stdlib_tls_socket_is_read_to_the_last_byte(
    poller_name: str, tmp_path: Any, tcp_pair: Any
) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_context)
    ours, theirs = tcp_pair()
    message = bytes(range(200))

    def serve() -> None:
        with server_context.wrap_socket(theirs, server_side=True) as sock:
            sock.sendall(message)
            sock.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    channels = ChannelMap()
    sock = client_context.wrap_socket(
        ours, server_hostname="localhost", do_handshake_on_connect=False
    )
    channel = Late(sock, channels, (True, True))
    for _ in range(2000):
        loop(timeout=5, map=channels, count=1, poller=poller_name)
        if len(channel.got) == len(message):
            break
    channel.close()
    thread.join(30)
    assert channel.got == message
    assert channel.log == []


def test_the_facade_is_made_once(fakes: Fakes) -> None:
    assert isinstance(fakes.poller, RecordingPoller)
    Noting(LayeredSocket(1000), fakes.engine.map)
    turn(fakes)
    first = fakes.engine.poller
    Noting(LayeredSocket(1001), fakes.engine.map)
    turn(fakes)
    assert fakes.engine.poller is first
