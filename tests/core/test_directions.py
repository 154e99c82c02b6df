"""Pausing, and the end of each direction, on sockets that are told what to answer."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from asynccore import ChannelMap, dispatcher, dispatcher_with_send, loop
from asynccore.asynchat import async_chat, simple_producer
from asynccore.pollers import HANGUP, READ, WRITE
from asynccore.testing import Fakes
from tests.core.fakes import Channel, FakeSocket, owning


class Socket(FakeSocket):
    """Notes how it is shut down."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.shut: list[int] = []
        self.trouble: Exception | None = None

    def shutdown(self, how: int) -> None:
        self.shut.append(how)
        if self.trouble is not None:
            raise self.trouble


class Quiet(dispatcher):
    """Has nothing to write, and notes its events."""

    stays = False  # after the peer's end

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        self.log: list[Any] = []
        super().__init__(sock, map)

    def writable(self) -> bool:
        return False

    def handle_read(self) -> None:
        self.log.append(self.recv(10))

    def handle_eof(self) -> None:
        self.log.append("eof")
        if not self.stays:
            super().handle_eof()

    def handle_close(self) -> None:
        self.log.append("close")
        self.close()

    def handle_error(self) -> None:
        self.log.append("error")
        super().handle_error()


class Stays(Quiet):
    stays = True


def interest(fakes: Fakes, fd: int = 1000) -> int:
    fakes.engine.run_pass(0)
    return fakes.poller.interest.get(fd, 0) & (READ | WRITE)


# Pausing ------------------------------------------------------------------------------------


def test_pausing_and_resuming(any_fakes: Fakes) -> None:
    channel = Quiet(FakeSocket(1000), any_fakes.engine.map)
    channel.pause_reading()
    channel.pause_reading()
    assert interest(any_fakes) == 0
    channel.touch()
    assert interest(any_fakes) == 0
    any_fakes.engine.enter(review=True)
    any_fakes.clock.advance(10)
    assert interest(any_fakes) == 0
    channel.resume_reading()
    channel.resume_reading()
    assert interest(any_fakes) == READ


def test_a_channel_with_a_readable_of_its_own_is_paused_too(any_fakes: Fakes) -> None:
    class Asked(Quiet):
        asked = 0

        def readable(self) -> bool:
            self.asked += 1
            return bool(self.asked)

    channel = Asked(FakeSocket(1000), any_fakes.engine.map)
    assert interest(any_fakes) == READ
    channel.pause_reading()
    assert interest(any_fakes) == 0
    assert interest(any_fakes) == 0
    channel.resume_reading()
    assert interest(any_fakes) == READ


def test_an_event_that_was_taken_before_is_not_delivered(fakes: Fakes) -> None:
    other = Channel()
    fakes.engine.map[999] = other
    channel = Quiet(FakeSocket(1000, [b"x"]), fakes.engine.map)
    other.on_read = channel.pause_reading
    fakes.engine.run_pass(0)
    fakes.poller.report((999, READ), (1000, READ))
    fakes.engine.run_pass(0)
    assert other.log == ["read"] and channel.log == []
    channel.resume_reading()
    fakes.poller.report((1000, READ))
    fakes.engine.run_pass(0)
    fakes.engine.run_pass(0)
    assert channel.log == [b"x"]


def test_leaving_and_entering_a_map_keeps_it_paused(any_fakes: Fakes) -> None:
    channel = Quiet(FakeSocket(1000), any_fakes.engine.map)
    any_fakes.engine.map[999] = Channel(False)
    channel.pause_reading()
    channel.del_channel()
    any_fakes.engine.run_pass(0)
    channel._fileno = 1000
    channel.add_channel()
    assert interest(any_fakes) == 0
    channel.resume_reading()
    assert interest(any_fakes) == READ


@pytest.mark.parametrize("number", [1000, 1001])
def test_a_new_socket_begins_unpaused(any_fakes: Fakes, number: int) -> None:
    any_fakes.engine.map[999] = Channel(False)  # the poller is kept while anything is there
    channel = Quiet(FakeSocket(1000), any_fakes.engine.map)
    channel.pause_reading()
    assert interest(any_fakes) == 0
    channel.set_socket(FakeSocket(number))
    assert interest(any_fakes, number) == READ
    channel.close()
    channel.pause_reading()  # there is none
    channel.set_socket(FakeSocket(number))
    assert interest(any_fakes, number) == READ


def test_resuming_does_not_undo_what_else_forbids_reading(fakes: Fakes) -> None:
    channel = Stays(FakeSocket(1000, [b""]), fakes.engine.map)
    channel.handle_read()
    channel.pause_reading()
    channel.resume_reading()
    assert interest(fakes) == 0


def test_a_listener_that_rests_and_is_paused(fakes: Fakes) -> None:
    channel = Quiet(map=fakes.engine.map)
    channel.set_socket(FakeSocket(1000))
    channel.listen(5)
    channel.socket.accepts.append(OSError(errno.EMFILE, "full"))
    channel.accept()
    channel.pause_reading()
    fakes.clock.advance(2)
    fakes.engine.run_pass(0)
    assert interest(fakes) == 0
    channel.resume_reading()
    assert interest(fakes) == READ


def test_from_another_thread_it_waits_for_the_loops(fakes: Fakes) -> None:
    channel = Quiet(FakeSocket(1000), fakes.engine.map)
    other = Channel()
    fakes.engine.map[999] = other

    def pause() -> None:
        thread = threading.Thread(target=channel.pause_reading)
        thread.start()
        thread.join()
        assert not channel._ac_pause_reasons

    other.on_read = pause
    fakes.engine.run_pass(0)
    fakes.poller.report((999, READ))
    fakes.engine.run_pass(0)
    assert channel._ac_pause_reasons
    assert interest(fakes) == 0


# The end of the input -----------------------------------------------------------------------


def test_by_default_the_end_of_the_input_is_the_end() -> None:
    channel = Quiet(FakeSocket(1000, [b""]), {})
    assert channel.recv(10) == b""
    assert channel.log == ["eof", "close"] and channel._ac_closed


def test_the_end_of_the_input_comes_once_and_the_channel_may_stay(fakes: Fakes) -> None:
    channel = Stays(Socket(1000, [b"", b""]), fakes.engine.map)
    channel.handle_read_event()
    channel.recv(10)
    assert channel.log == ["eof", b""]
    assert interest(fakes) == 0
    assert channel.send(b"still here") == 10
    channel.shutdown_write()
    assert channel.socket.shut == [socket.SHUT_WR]
    assert channel.log == ["eof", b"", "close"] and channel._ac_closed


def test_writing_goes_on_after_the_end_of_the_input_without_spinning(fakes: Fakes) -> None:
    class Writes(Stays):
        left = True

        def writable(self) -> bool:
            return self.left

        def handle_write(self) -> None:
            self.log.append("write")
            self.left = False

    channel = Writes(FakeSocket(1000, [b""]), fakes.engine.map)
    fakes.engine.run_pass(0)
    channel.handle_read()
    fakes.poller.report((1000, READ | WRITE | HANGUP))
    fakes.engine.run_pass(0)
    assert channel.log == ["eof", b"", "write"]
    assert interest(fakes) == 0


def test_what_breaks_afterwards_goes_to_handle_close(fakes: Fakes) -> None:
    gone = ConnectionResetError(errno.ECONNRESET, "reset")
    channel = Stays(FakeSocket(1000, [b""], [gone]), fakes.engine.map)
    channel.handle_read()
    assert channel.send(b"x") == 0
    assert channel.log == ["eof", b"", "close"]


@pytest.mark.parametrize("code", [errno.ECONNRESET, errno.ETIMEDOUT])
def test_a_broken_connection_has_no_end_of_the_input(code: int) -> None:
    channel = Stays(FakeSocket(1000, [OSError(code, "gone")]), {})
    assert channel.recv(10) == b""
    assert channel.log == ["close"]


def test_an_end_that_handle_eof_did_not_take_is_told_again() -> None:
    channel = Quiet(FakeSocket(1000, [b"", b""]), {})
    fails = [True]
    default = channel.handle_eof

    def handle_eof() -> None:
        if fails.pop() if fails else False:
            raise ZeroDivisionError
        default()

    channel.handle_eof = handle_eof  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        channel.recv(10)
    assert channel.log == []
    channel.recv(10)
    assert channel.log == ["eof", "close"]


def test_handle_eof_may_take_another_socket(fakes: Fakes) -> None:
    class Again(Quiet):
        def handle_eof(self) -> None:
            self.log.append("eof")
            self.set_socket(FakeSocket(1001, [b""]))

    channel = Again(FakeSocket(1000, [b""]), fakes.engine.map)
    channel.recv(10)
    assert interest(fakes, 1001) == READ
    channel.recv(10)
    assert channel.log == ["eof", "eof"]


def test_a_stream_whose_input_ended_is_not_taken_for_dead() -> None:
    channel = Stays(map={})
    channel.set_socket(FakeSocket(1000, [b""]))
    channel.socket.peer = OSError(errno.ENOTCONN, "not connected")
    channel.handle_read_event()
    channel.handle_write_event()
    assert channel.log == ["eof", b""]


# The end of the output ----------------------------------------------------------------------


def test_shutting_the_output_down() -> None:
    channel = Quiet(Socket(1000, [b"x"]), {})
    channel.shutdown_write()
    channel.shutdown_write()
    assert channel.socket.shut == [socket.SHUT_WR]
    assert channel.recv(10) == b"x" and channel.log == []


def test_sending_afterwards_is_an_error() -> None:
    pipe = BrokenPipeError(errno.EPIPE, "broken pipe")
    channel = Quiet(Socket(1000, [], [pipe]), {})
    channel.shutdown_write()
    with pytest.raises(BrokenPipeError, match="shutdown_write") as caught:
        channel.send(b"x")
    assert caught.value.errno == errno.EPIPE
    assert channel.log == [] and not channel._ac_closed


def test_while_connecting_it_waits_for_the_connection() -> None:
    channel = Quiet(map={})
    channel.set_socket(Socket(1000))
    channel.socket.connect_result = errno.EINPROGRESS
    channel.connect(("192.0.2.1", 25))
    channel.shutdown_write()
    assert channel.socket.shut == []
    channel.handle_connect_event()
    assert channel.socket.shut == [socket.SHUT_WR]


def test_the_next_connection_begins_anew() -> None:
    channel = Quiet(Socket(1000), {})
    channel.shutdown_write()
    channel.connect(("192.0.2.1", 25))
    assert channel.send(b"x") == 1
    channel.shutdown_write()
    assert channel.socket.shut == [socket.SHUT_WR] * 2
    channel.close()
    channel.shutdown_write()
    channel.set_socket(Socket(1001))
    channel.shutdown_write()
    assert channel.socket.shut == [socket.SHUT_WR]


@pytest.mark.parametrize("code", [errno.ENOTCONN, errno.EPERM])
def test_errors_of_shutdown(code: int) -> None:
    channel = Quiet(Socket(1000), {})
    channel.socket.trouble = OSError(code, "no")
    if code == errno.ENOTCONN:
        channel.shutdown_write()  # reading will tell
    else:
        with pytest.raises(PermissionError):
            channel.shutdown_write()


def test_shutting_down_without_a_socket() -> None:
    with pytest.raises(RuntimeError, match="no socket"):
        dispatcher().shutdown_write()


def test_a_channel_with_output_ends_it_when_that_is_sent() -> None:
    class Buffers(Quiet):
        left = True

        def _ac_has_output(self) -> bool:
            return self.left

    channel = Buffers(Socket(1000), {})
    channel.shutdown_write()
    assert channel.socket.shut == []
    channel.left = False
    channel._ac_output_drained()
    assert channel.socket.shut == [socket.SHUT_WR]


# On real sockets ----------------------------------------------------------------------------


def test_a_half_closed_conversation(poller_name: str, tcp_pair: Callable[[], Any]) -> None:
    """The peer ends its request; the answer follows later, and then the end of everything."""
    mine, peer = tcp_pair()
    map = ChannelMap()
    channel = Stays(mine, map)
    peer.sendall(b"request")
    peer.shutdown(socket.SHUT_WR)
    loop(30, map=map, poller=poller_name, count=2)
    assert channel.log == [b"request", "eof", b""]
    loop(0, map=map, poller=poller_name, count=3)
    assert channel.send(b"answer") == 6
    channel.shutdown_write()
    assert channel.log[3:] == ["close"] and not map
    assert peer.recv(100) == b"answer" and peer.recv(100) == b""


def test_a_paused_channel_is_left_alone(poller_name: str, tcp_pair: Callable[[], Any]) -> None:
    mine, peer = tcp_pair()
    map = ChannelMap()
    channel = Quiet(mine, map)
    channel.pause_reading()
    peer.sendall(b"x")
    loop(0, map=map, poller=poller_name, count=3)
    assert channel.log == []
    channel.resume_reading()
    loop(30, map=map, poller=poller_name, count=1)
    assert channel.log == [b"x"]
    channel.close()


# With buffered output -----------------------------------------------------------------------


def full() -> BlockingIOError:
    return BlockingIOError(errno.EAGAIN, "full")


class Sender(dispatcher_with_send):
    def put(self, data: bytes) -> None:
        self.send(data)


class Chat(async_chat):
    def put(self, data: bytes) -> None:
        self.push(data)


def ways_to_put(channel: Any) -> list[Callable[[], object]]:
    ways: list[Callable[[], object]] = [
        lambda: channel.put(b"more"),
        lambda: channel.writelines([b"more"]),
    ]
    if isinstance(channel, async_chat):
        ways.append(lambda: channel.push_with_producer(simple_producer(b"more")))
    return ways


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_what_is_buffered_goes_before_the_end(kind: Any, fakes: Fakes) -> None:
    sock = Socket(1000, [], [2, full(), 3])
    channel = kind(sock, fakes.engine.map)
    channel.put(b"hello")
    channel.shutdown_write()
    assert sock.output == b"he" and sock.shut == []
    for way in ways_to_put(channel):
        with pytest.raises(BrokenPipeError, match="shutdown_write"):
            way()
    channel.handle_write_event()
    channel.handle_write_event()
    assert sock.output == b"hello" and sock.shut == [socket.SHUT_WR]
    assert interest(fakes) == READ
    sock.takes.extend([BrokenPipeError(errno.EPIPE, "broken pipe")] * 2)
    for way in ways_to_put(channel):
        with pytest.raises(BrokenPipeError, match="shutdown_write"):
            way()
    assert not channel._ac_closed


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_sending_within_the_loop_after_the_end(kind: Any, fakes: Fakes) -> None:
    channel = kind(Socket(1000), fakes.engine.map)
    channel.shutdown_write()
    channel.socket.takes.append(BrokenPipeError(errno.EPIPE, "broken pipe"))
    with owning(fakes.engine), pytest.raises(BrokenPipeError, match="shutdown_write"):
        channel.put(b"x")


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_a_connection_that_breaks_while_output_is_left(kind: Any, fakes: Fakes) -> None:
    reset = ConnectionResetError(errno.ECONNRESET, "reset")
    channel = kind(Socket(1000, [], [full(), reset]), fakes.engine.map)
    channel.put(b"hello")
    channel.shutdown_write()
    channel.handle_write_event()
    assert channel._ac_closed


def test_output_that_is_thrown_away_ends_too(fakes: Fakes) -> None:
    sender = Sender(Socket(1000, [], [full()]), fakes.engine.map)
    sender.send(b"x")
    sender.shutdown_write()
    sender.out_buffer = b""
    assert sender.socket.shut == [socket.SHUT_WR]
    chat = Chat(Socket(1001, [], [full()]), fakes.engine.map)
    chat.push(b"x")
    chat.shutdown_write()
    chat.discard_buffers()
    assert chat.socket.shut == [socket.SHUT_WR]


def test_closing_when_done_after_the_output_ended(fakes: Fakes) -> None:
    chat = Chat(Socket(1000, [], [full()]), fakes.engine.map)
    chat.push(b"x")
    chat.shutdown_write()
    chat.close_when_done()
    chat.handle_write_event()
    assert chat.socket.output == b"x" and chat._ac_closed


def test_what_is_sent_while_connecting_and_then_the_end(fakes: Fakes) -> None:
    channel = Sender(map=fakes.engine.map)
    channel.set_socket(Socket(1000, [], [full()]))
    channel.socket.connect_result = errno.EINPROGRESS
    channel.connect(("192.0.2.1", 25))
    channel.send(b"hello")
    channel.shutdown_write()
    channel.handle_write_event()
    assert channel.socket.output == b"hello" and channel.socket.shut == [socket.SHUT_WR]


@pytest.mark.parametrize("kind", [Sender, Chat])
def test_a_large_answer_and_its_end_over_a_real_socket(
    kind: Any, poller_name: str, tcp_pair: Callable[[], Any]
) -> None:
    mine, peer = tcp_pair()
    map = ChannelMap()
    channel = kind(mine, map)
    answer = bytes(4_000_000)
    channel.put(answer)
    channel.shutdown_write()
    received = 0
    peer.settimeout(10)
    while received < len(answer):
        loop(0, map=map, poller=poller_name, count=1)
        received += len(peer.recv(1_000_000))
    loop(0, map=map, poller=poller_name, count=2)
    assert peer.recv(10) == b"" and received == len(answer)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_output_that_fails_after_the_end_closes_who_stayed_for_it(kind: int) -> None:
    """Else its socket would be ready to fail for ever. A datagram socket is not over."""

    class Staying(dispatcher):
        ends = 0

        def handle_close(self) -> None:
            self.ends += 1
            assert self.send(b"bye") == 0 and not self._ac_closed  # not while it is being told

    sock = FakeSocket(takes=[BrokenPipeError(errno.EPIPE, "gone")] * 3)
    sock.kind = int(kind)
    channel = Staying(sock, ChannelMap())
    assert channel.send(b"x") == 0 and (channel.ends, sock.closed) == (1, 0)
    assert channel.send(b"x") == 0
    assert (channel.ends, sock.closed) == (1, 1 if kind == socket.SOCK_STREAM else 0)
    channel.close()


def test_when_both_directions_have_ended_so_has_the_connection() -> None:
    channel = Stays(Socket(1000, [b""]), {})
    channel.shutdown_write()
    assert channel.log == []
    channel.recv(10)
    assert channel.log == ["eof", "close"] and channel._ac_closed
