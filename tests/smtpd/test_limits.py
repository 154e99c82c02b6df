"""Limits of a connection: commands, errors, recipients, memory and time."""

from __future__ import annotations

import contextlib
import smtplib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import asynccore
from asynccore import smtpd, testing
from asynccore.hardened_smtpd import HardenedSMTPChannel, HardenedSMTPServer
from asynccore.smtp.limits import NAMES
from tests.smtpd.dialogue import FQDN, PEER, TO_DATA, FakeSocket, Mailbox, Talk, bytewise

GONE = f"421 {FQDN} Error: "


def ended(talk: Talk) -> bool:
    """Whether the channel closes once its last reply is sent."""
    if talk.map:
        talk.channel.handle_write()
    return talk.map == {} and talk.socket.closed == 1


# Counts ------------------------------------------------------------------------------------------


def test_nothing_is_limited_by_default() -> None:
    assert [getattr(smtpd.SMTPChannel, name) for name in NAMES] == [None] * 5
    assert smtpd.SMTPChannel.idle_timeout is None
    talk = Talk()
    talk.say("EHLO c", "MAIL FROM:<a@b>")
    assert set(talk.say(*["RCPT TO:<c@d>"] * 2000)) == {"250 OK"}
    assert {reply[:3] for reply in talk.say(*["FOO"] * 2000)} == {"500"}
    assert not talk.channel._ac_patience


def test_everything_is_limited_in_the_hardened_class() -> None:
    channel = HardenedSMTPChannel
    assert all(getattr(channel, name) for name in (*NAMES, "idle_timeout", "write_timeout"))
    assert (channel.command_timeout or 0) >= 300  # RFC 5321 section 4.5.3.2.7
    assert (channel.max_recipients or 0) >= 100  # RFC 5321 section 4.5.3.1.8


def test_commands() -> None:
    class Channel(smtpd.SMTPChannel):
        max_commands = 3

    talk = Talk(channel_class=Channel)
    assert talk.say("EHLO c", "NOOP", "NOOP")[1:] == ["250 OK", "250 OK"]
    assert talk.say("QUIT", "NOOP") == [GONE + "too many commands", ""]
    assert ended(talk)


def test_errors_since_the_last_message() -> None:
    class Channel(smtpd.SMTPChannel):
        max_errors = 2

    talk = Talk(channel_class=Channel)
    assert talk.say("FOO", *TO_DATA, "x\r\n.")[-1] == "250 OK"
    unknown = '500 Error: command "FOO" not recognized'
    talk.mailbox.status = "550 not you"
    assert talk.say("FOO", "NOOP", *TO_DATA[1:])[0] == unknown
    # The message itself is the second error.
    assert talk.say("x\r\n.", "NOOP") == ["550 not you\r\n" + GONE + "too many errors", ""]
    assert ended(talk)


def test_nothing_is_carried_out_afterwards() -> None:
    talk = Talk()
    talk.channel.max_errors = 1
    mail = "\r\n".join(["FOO", *TO_DATA, "x", ".", ""]).encode()
    assert talk.send(mail).splitlines()[-1].startswith(b"421")
    assert talk.mailbox.messages == [] and not talk.channel.seen_greeting


def test_errors_of_the_programs_own_commands() -> None:
    class Channel(smtpd.SMTPChannel):
        max_errors = 1

        def smtp_RCPT(self, arg: str | None) -> None:
            self.push("550 unknown")

    talk = Talk(channel_class=Channel)
    assert talk.say("RCPT TO:<c@d>") == ["550 unknown\r\n" + GONE + "too many errors"]


@pytest.mark.parametrize("limit", [1, 100])
def test_recipients(limit: int) -> None:
    talk = Talk()
    talk.channel.max_recipients = limit
    talk.channel.max_errors = 1  # these are none
    talk.say("EHLO c", "MAIL FROM:<a@b>")
    replies = talk.say(*(f"RCPT TO:<r{i}@d>" for i in range(limit + 2)))
    assert replies == ["250 OK"] * limit + ["452 Error: too many recipients"] * 2
    # Those before are served, and the next message has room anew.
    assert talk.say("DATA", "x\r\n.", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")[1:] == ["250 OK"] * 3
    assert len(talk.mailbox.messages[0][0][2]) == limit


def test_a_connection_begins_anew() -> None:
    talk = Talk()
    talk.channel.max_commands = 2
    talk.say("EHLO c", "NOOP", "NOOP")
    talk.channel.handle_write()
    again = FakeSocket()
    smtpd.SMTPChannel.__init__(talk.channel, talk.mailbox, again, PEER, map=talk.map)
    talk.socket = again
    assert talk.say("NOOP", "NOOP", "NOOP")[-2:] == [
        "250 OK",
        GONE + "too many commands",
    ]


# Assigning them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_values_are_checked_everywhere(name: str, new_map: dict[int, Any]) -> None:
    talk = Talk()
    for wrong, error in [("5", TypeError), (True, TypeError), (-1, ValueError)]:
        with pytest.warns(RuntimeWarning, match=f"{name} is None or .*: it has no effect"):
            setattr(talk.channel, name, wrong)
        with pytest.warns(RuntimeWarning, match=f"{name} is None or .*: it has no effect"):
            channel = type("Channel", (smtpd.SMTPChannel,), {name: wrong})
        assert getattr(channel, f"_ac_{name}") is getattr(talk.channel, f"_ac_{name}") is None
        with pytest.raises(error, match=name):
            HardenedSMTPServer(("127.0.0.1", 0), map=new_map, **{name: wrong})
    for right in (5, None):
        setattr(talk.channel, name, right)
        assert getattr(talk.channel, name) == right
    assert getattr(type("Channel", (smtpd.SMTPChannel,), {name: 5}), name) == 5
    assert new_map == {}


def test_a_limit_assigned_to_the_class_afterwards() -> None:
    class Channel(smtpd.SMTPChannel):
        pass

    Channel.max_recipients = 1
    talk = Talk(channel_class=Channel)
    assert talk.say("EHLO c", "MAIL FROM:<a@b>", *["RCPT TO:<c@d>"] * 2)[-1][:3] == "452"


def test_assigned_before_there_is_a_channel() -> None:
    class Channel(smtpd.SMTPChannel):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.command_timeout = 10
            super().__init__(*args, **kwargs)

    clocked = Clocked(Channel)
    assert clocked.wait(9) == b""
    assert clocked.wait(1) == TIMEOUT


def test_a_server_for_all_its_channels(new_map: dict[int, Any]) -> None:
    server = HardenedSMTPServer(
        ("127.0.0.1", 0), map=new_map, max_recipients=2, strict_line_ends=False, idle_timeout=None
    )
    server.handle_accepted(FakeSocket(), PEER)
    channel = new_map.pop(10_000)
    assert isinstance(channel, HardenedSMTPChannel)
    assert (channel.max_recipients, channel.max_errors) == (2, 20)
    assert (channel.strict_line_ends, channel.idle_timeout) == (False, None)
    assert HardenedSMTPChannel.max_recipients == 1000
    with pytest.raises(TypeError, match="no limit 'max_recipient': the limits are command_timeout"):
        HardenedSMTPServer(("127.0.0.1", 0), map=new_map, max_recipient=2)
    with pytest.raises(ValueError, match="max_connections"):
        HardenedSMTPServer(("127.0.0.1", 0), map=new_map, max_connections=0)
    with pytest.raises(ValueError, match="idle_timeout"):
        HardenedSMTPServer(("127.0.0.1", 0), map=new_map, idle_timeout=-1)


# Memory ------------------------------------------------------------------------------------------


def held(channel: smtpd.SMTPChannel) -> tuple[int, int]:
    """How many characters and how many objects the channel keeps of its input."""
    lines = channel.received_lines
    return sum(map(len, lines)) + len(channel.ac_in_buffer), len(lines)


@pytest.mark.parametrize("channel_class", [smtpd.SMTPChannel, HardenedSMTPChannel])
@pytest.mark.parametrize("decode_data", [False, True])
@pytest.mark.parametrize("in_data", [False, True])
def test_ten_gigabytes_without_a_line_end(
    channel_class: Any, decode_data: bool, in_data: bool
) -> None:
    limit, piece = 200_000, b"x" * 65_536
    options = {"decode_data": decode_data, "data_size_limit": limit}
    talk = Talk(channel_class=channel_class, options=options)
    if in_data:
        talk.say(*TO_DATA)
    kept = set()
    for _ in range(10 * 2**30 // len(piece) // 100):
        # What the channel is handed; not a hundred times the same, for the time it would take.
        talk.channel.collect_incoming_data(piece)
        kept.add(held(talk.channel))
    assert max(kept)[0] <= (limit if in_data else 512) + len(piece)
    assert talk.send(b"\r\n.\r\n" if in_data else b"\r\n")[:3] in (b"552", b"500")
    assert held(talk.channel) == (0, 0)


@pytest.mark.parametrize("decode_data", [False, True])
def test_a_message_byte_by_byte_costs_few_objects(decode_data: bool) -> None:
    talk = Talk(options={"decode_data": decode_data})
    talk.say(*TO_DATA)
    body = bytes(range(32, 127)) * 500
    talk.send(*bytewise(body))
    size, objects = held(talk.channel)
    assert size == len(body) and objects <= 512 + len(body) // 512
    assert talk.say("\r\n.") == ["250 OK"]
    assert talk.last_message in (body, body.decode())


def test_large_pieces_stay_as_they_are() -> None:
    talk = Talk()
    talk.say(*TO_DATA)
    pieces = [bytes([48 + i % 10]) * (600 if i % 300 == 0 else 2) for i in range(2000)]
    talk.send(*pieces)
    assert len(talk.channel.received_lines) == len(pieces)
    talk.send(b"\r\n.\r\n")
    assert talk.last_message == b"".join(pieces)


def test_long_lines_of_text_are_taken() -> None:
    talk = Talk(channel_class=HardenedSMTPChannel)
    assert talk.say(*TO_DATA, "x" * 5000 + "\r\n.")[-1] == "250 OK"


# Time, by a clock of our own ---------------------------------------------------------------------


class Timed(smtpd.SMTPChannel):
    command_timeout = 300
    data_timeout = 1000


class Clocked:
    """A talk whose time passes when it is told to."""

    def __init__(self, channel_class: Any = Timed) -> None:
        self.map: dict[int, Any] = {}
        self.fakes = testing.engine_with_fakes(self.map)
        self.talk = Talk(channel_class=channel_class, map=self.map)
        self.channel = self.talk.channel

    def wait(self, seconds: float) -> bytes:
        """Let time pass with a loop running; return what is sent."""
        end = self.fakes.clock() + seconds
        while self.map and self.fakes.clock() < end:
            asynccore.loop(end - self.fakes.clock(), map=self.map, count=1)
        self.fakes.clock.advance(max(0.0, end - self.fakes.clock()))
        return self.talk.socket.take()


TIMEOUT = f"{GONE}timeout exceeded\r\n".encode()


def test_a_silent_client() -> None:
    clocked = Clocked()
    assert clocked.wait(299) == b""
    assert clocked.wait(1) == TIMEOUT
    assert (clocked.map, clocked.talk.socket.closed) == ({}, 1)
    assert len(clocked.fakes.engine.timers) == 0


def test_each_command_has_its_time() -> None:
    clocked = Clocked()
    for _ in range(5):
        assert clocked.wait(299) == b""
        clocked.talk.say("NOOP")
    assert clocked.wait(299.5) == b""
    assert clocked.wait(0.5) == TIMEOUT


def test_a_client_that_trickles_a_command() -> None:
    clocked = Clocked()
    sent = b"".join(clocked.wait(50) or clocked.talk.send(b"x") for _ in range(7))
    assert sent == TIMEOUT


def test_a_client_that_trickles_a_message() -> None:
    clocked = Clocked()
    clocked.talk.say(*TO_DATA)
    for _ in range(9):
        assert clocked.wait(100) == b""
        clocked.talk.send(b"line\r\n")
    assert clocked.wait(100) == TIMEOUT
    assert clocked.talk.mailbox.messages == []


def test_after_a_message_a_command_has_its_time() -> None:
    clocked = Clocked()
    clocked.talk.say(*TO_DATA)
    assert clocked.wait(999) == b""
    clocked.talk.say("x\r\n.")
    assert clocked.wait(299) == b""
    assert clocked.wait(1) == TIMEOUT


def test_a_slow_handler_is_not_the_clients_fault() -> None:
    clocked = Clocked()
    clocked.talk.say(*TO_DATA)
    clocked.talk.mailbox.process_message = (  # type: ignore[method-assign]
        lambda *args, **kwargs: clocked.fakes.clock.advance(5000)
    )
    assert clocked.talk.say("x\r\n.") == ["250 OK"]
    assert clocked.wait(299) == b""
    assert clocked.wait(1) == TIMEOUT


@pytest.mark.parametrize("shorter_first", [False, True])
def test_data_and_command_timeouts_of_any_order(shorter_first: bool) -> None:
    class Channel(smtpd.SMTPChannel):
        command_timeout = 10 if shorter_first else 100
        data_timeout = 100 if shorter_first else 10

    clocked = Clocked(Channel)
    clocked.talk.say(*TO_DATA)
    assert clocked.wait(99 if shorter_first else 9) == b""
    assert clocked.wait(1) == TIMEOUT


def test_one_of_them_alone() -> None:
    class Channel(smtpd.SMTPChannel):
        data_timeout = 10

    clocked = Clocked(Channel)
    clocked.wait(1000)
    clocked.talk.say(*TO_DATA)
    clocked.wait(5)
    clocked.talk.say("x\r\n.")
    assert clocked.wait(1000) == b""
    assert clocked.map


def test_assigned_at_run_time() -> None:
    clocked = Clocked(smtpd.SMTPChannel)
    assert clocked.wait(1000) == b""
    clocked.channel.command_timeout = 20  # from now on: nothing was counted before
    assert clocked.wait(19) == b""
    clocked.channel.command_timeout = None
    assert clocked.wait(1000) == b""
    clocked.talk.say("NOOP")
    clocked.channel.command_timeout = 50
    clocked.wait(10)
    clocked.channel.command_timeout = 30
    assert clocked.wait(19) == b""
    assert clocked.wait(1) == TIMEOUT


def test_a_handler_that_stays() -> None:
    seen: list[str] = []

    class Channel(Timed):
        def handle_timeout(self, which: str) -> None:
            seen.append(which)

    clocked = Clocked(Channel)
    clocked.wait(900)
    clocked.talk.say(*TO_DATA)
    clocked.wait(1000)
    assert seen == ["command", "command", "command", "data"]
    clocked.channel.close()
    assert len(clocked.fakes.engine.timers) == 0


@pytest.mark.parametrize("error", [RuntimeError, asynccore.ExitNow])
def test_a_handler_that_raises(error: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    class Channel(Timed):
        def handle_timeout(self, which: str) -> None:
            raise error(which)

    clocked = Clocked(Channel)
    if error is RuntimeError:
        clocked.wait(300)
        assert "RuntimeError'>:command" in capsys.readouterr().out
        assert clocked.map == {}
    else:
        with pytest.raises(asynccore.ExitNow):
            clocked.wait(300)
        clocked.channel.close()


def test_a_channel_taken_out_of_the_map_is_left_alone() -> None:
    clocked = Clocked()
    clocked.channel.del_channel()
    clocked.map[1] = asynccore.dispatcher(map={})  # something to keep the loop alive
    assert clocked.wait(1000) == b""
    assert not clocked.talk.socket.closed
    clocked.channel.close()


def test_an_idle_timeout_says_421(capsys: pytest.CaptureFixture[str]) -> None:
    class Channel(smtpd.SMTPChannel):
        idle_timeout = 60

    clocked = Clocked(Channel)
    clocked.talk.say(*TO_DATA)
    assert clocked.wait(59) == b""
    assert clocked.wait(1) == TIMEOUT
    assert (clocked.map, capsys.readouterr().out) == ({}, "")


@pytest.mark.parametrize("name", ["idle_timeout", "command_timeout"])
def test_a_client_that_takes_no_reply_to_quit(name: str) -> None:
    said: list[str] = []

    class Channel(smtpd.SMTPChannel):
        def push(self, msg: str) -> None:
            said.append(msg)

    clocked = Clocked(Channel)
    setattr(clocked.channel, name, 60)
    clocked.wait(10)
    clocked.talk.say("QUIT")
    clocked.wait(59 if name == "command_timeout" else 49)
    assert clocked.map
    clocked.wait(1)
    assert (clocked.map, clocked.talk.socket.closed) == ({}, 1)
    assert said[1:] == ["221 Bye"]


def test_no_timer_is_left_by_a_command_that_closes() -> None:
    class Channel(Timed):
        def smtp_NOOP(self, arg: str | None) -> None:
            self.close()

    clocked = Clocked(Channel)
    clocked.talk.say("NOOP")
    assert len(clocked.fakes.engine.timers) == 0


def test_the_hardened_channel_has_time() -> None:
    clocked = Clocked(HardenedSMTPChannel)
    assert clocked.wait(299) == b""
    assert clocked.wait(1) == TIMEOUT


# With sockets ------------------------------------------------------------------------------------


class Sink(HardenedSMTPServer):
    def process_message(self, *args: Any, **kwargs: Any) -> None:
        pass


def run(server: Any) -> Iterator[tuple[str, int]]:
    thread = threading.Thread(target=asynccore.loop, kwargs={"map": server._map})
    thread.start()
    yield server.socket.getsockname()[:2]
    asynccore.call_soon_threadsafe(asynccore.close_all, server._map, map=server._map)
    thread.join(30)


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    yield from run(Sink(("127.0.0.1", 0), map={}, max_recipients=1, max_errors=2))


@pytest.fixture
def lonely() -> Iterator[tuple[str, int]]:
    yield from run(Sink(("127.0.0.1", 0), map={}, max_connections_per_peer=1))


@pytest.fixture
def impatient() -> Iterator[tuple[str, int]]:
    yield from run(Sink(("127.0.0.1", 0), map={}, command_timeout=0.01))


def test_counts_with_a_client_of_the_library(address: tuple[str, int]) -> None:
    with smtplib.SMTP(*address, timeout=30) as client:
        assert client.sendmail("a@b", ["c@d", "e@f"], "x") == {
            "e@f": (452, b"Error: too many recipients")
        }
    with socket.create_connection(address, 30) as raw:
        raw.sendall(b"FOO\r\n" * 100)
        replies = b"".join(iter(lambda: raw.recv(65536), b"")).split(b"\r\n")
    assert [reply[:3] for reply in replies] == [b"220", b"500", b"500", b"421", b""]


def test_too_many_connections(lonely: tuple[str, int]) -> None:
    with (
        socket.create_connection(lonely, 30) as first,
        socket.create_connection(lonely, 30) as second,
    ):
        assert first.recv(3) == b"220"
        received = b"".join(iter(lambda: second.recv(65536), b""))
        first.sendall(b"QUIT\r\n")
        assert b"221 Bye" in b"".join(iter(lambda: first.recv(65536), b""))
    assert received == f"421 {FQDN} Error: too many connections\r\n".encode()


def test_a_connection_too_many_that_has_gone(new_map: dict[int, Any]) -> None:
    server = HardenedSMTPServer(("127.0.0.1", 0), map=new_map, max_connections=7)
    assert (server.max_connections, server.max_connections_per_peer) == (7, 50)
    one, other = socket.socketpair()
    other.close()
    server.handle_refused(one, PEER, "max_connections_per_peer")
    assert one.fileno() == -1


def test_a_timeout_with_sockets(impatient: tuple[str, int]) -> None:
    with socket.create_connection(impatient, 30) as raw:
        received = b"".join(iter(lambda: raw.recv(65536), b""))
    assert [line[:3] for line in received.splitlines()] == [b"220", b"421"]


def test_a_mailbox_is_enough_of_a_server_for_a_hardened_channel() -> None:
    channels: dict[int, Any] = {}
    HardenedSMTPChannel(Mailbox(), FakeSocket(), PEER, map=channels).close()
    assert channels == {}


# Replies that nobody reads -----------------------------------------------------------------------


class Flood:
    """A peer that sends commands in one go and reads nothing until it is told to."""

    def __init__(self, commands: bytes, channel_class: Any) -> None:
        ours, self.peer = socket.socketpair()
        for sock in (ours, self.peer):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.peer.setblocking(False)
        self.map: dict[int, Any] = {}
        self.channel = channel_class(Mailbox(), ours, PEER, map=self.map)
        self.unsent = memoryview(commands)
        self.received = bytearray()
        self.most = 0

    def send(self) -> bool:
        """Send what fits, and let the channel handle it; return whether anything fitted."""
        before = len(self.unsent)
        with contextlib.suppress(BlockingIOError):
            self.unsent = self.unsent[self.peer.send(self.unsent[:65536]) :]
        asynccore.poll(0, self.map)
        self.most = max(self.most, self.channel.write_buffer_size)
        return len(self.unsent) < before

    def read(self) -> bool:
        """Read what there is; return whether there was anything."""
        try:
            data = self.peer.recv(65536)
        except BlockingIOError:
            return False
        self.received += data
        return True

    def goes_on(self, step: Callable[[], bool]) -> None:
        """Take a step until nothing comes of it any more."""
        in_vain = 0
        while in_vain < 3:
            in_vain = 0 if step() else in_vain + 1

    def send_and_read(self) -> bool:
        sent, read = self.send(), self.read()
        return sent or read

    def close(self) -> None:
        self.channel.close()
        self.peer.close()


@pytest.fixture
def flood() -> Iterator[Callable[..., Flood]]:
    made: list[Flood] = []

    def make(commands: bytes, channel_class: Any = smtpd.SMTPChannel) -> Flood:
        made.append(Flood(commands, channel_class))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("command", [b"NOOP", b"HELP", b"VRFY <a@b>", b"\xff"])
def test_replies_that_nobody_reads_are_bounded(flood: Any, command: bytes) -> None:
    count = 100_000 if command == b"NOOP" else 20_000
    peer = flood((command + b"\r\n") * count)
    peer.goes_on(peer.send)
    mark = peer.channel.high_watermark
    # The commands of one reading, each with its reply, may come on top.
    assert mark < peer.channel.write_buffer_size <= peer.most < 20 * mark
    assert len(peer.unsent) > 0
    peer.goes_on(peer.send_and_read)
    assert len(peer.unsent) == 0
    replies = peer.received.split(b"\r\n")
    assert replies[0].startswith(b"220 ") and replies.pop() == b""
    assert len(replies) == 1 + count and len({*map(bytes, replies[1:])}) == 1


def test_a_channel_of_the_programs_own_may_keep_them_all(flood: Any) -> None:
    class Channel(smtpd.SMTPChannel):
        high_watermark = None

    peer = flood(b"NOOP\r\n" * 100_000, Channel)
    peer.goes_on(peer.send)
    assert len(peer.unsent) == 0
    assert peer.most > 700_000


def test_who_pauses_by_itself_is_not_resumed_by_the_replies(flood: Any) -> None:
    peer = flood(b"NOOP\r\n" * 40_000)
    peer.goes_on(peer.send)
    peer.channel.pause_reading()
    peer.goes_on(peer.send_and_read)
    assert peer.channel.write_buffer_size == 0 and len(peer.unsent) > 0
    peer.channel.resume_reading()
    peer.goes_on(peer.send_and_read)
    assert len(peer.unsent) == 0 and peer.received.count(b"250 OK") == 40_000
