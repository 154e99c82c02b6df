"""What a peer, or a handler, can do to a channel, and what the classic channel did not survive."""

from __future__ import annotations

import errno
from collections import defaultdict
from typing import Any

import pytest

import asynccore
from asynccore import smtpd
from asynccore.hardened_smtpd import HardenedSMTPChannel
from tests.smtpd.dialogue import (
    FQDN,
    PEER,
    TO_DATA,
    FakeSocket,
    Mailbox,
    Talk,
    bytewise,
    debug_output,
)

TOO_LONG = "500 Error: line too long"


# Input that raised -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("MAIL FROM:<a@>", "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ('MAIL FROM:"', "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ("MAIL FROM:a@", "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ("MAIL FROM:<a@[>", "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ("MAIL FROM:<" + "(" * 480, "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ("MAIL FROM:<a@b> SIZE", "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ("MAIL FROM:<a@b> SIZE=²", "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"),
        ("VRFY <@>", "502 Could not VRFY <@>"),
        ("VRFY <é@>", "502 Could not VRFY <\\xe9@>"),
        ("é", '500 Error: command "\\xc9" not recognized'),
        (b"\xff", "500 Error: bad syntax"),
        (b"VRFY \xff", "500 Error: bad syntax"),
    ],
)
@pytest.mark.parametrize("decode_data", [False, True])
def test_bad_input_is_answered(line: str | bytes, reply: str, decode_data: bool) -> None:
    talk = Talk(options={"decode_data": decode_data})
    assert talk.say("EHLO c", line, "NOOP")[1:] == [reply, "250 OK"]
    assert talk.map and not talk.socket.closed


def test_characters_in_two_pieces() -> None:
    talk = Talk(options={"decode_data": True})
    talk.say(*TO_DATA)
    talk.send(*bytewise("é€😀\r\n.\r\n".encode()))
    assert talk.last_message == "é€😀"


@pytest.mark.parametrize("body", [b"a\xff", b"a\xc3", b"\xff\xff\xc3"])
def test_a_message_that_is_no_text(body: bytes) -> None:
    talk = Talk(options={"decode_data": True})
    reply = talk.say(*TO_DATA, body + b"\r\n.")[-1]
    assert reply == "554 Error: message is not UTF-8"
    # The next message is not affected.
    assert talk.say(*TO_DATA[1:], "é\r\n.")[-1] == "250 OK"
    assert [m[0][3] for m in talk.mailbox.messages] == ["é"]


# Limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decode_data", [False, True])
def test_command_input_is_bounded(decode_data: bool) -> None:
    talk = Talk(options={"decode_data": decode_data})
    for _ in range(1000):
        talk.send(b"x" * 1000)
    assert sum(map(len, talk.channel.received_lines)) == 1000
    assert len(talk.channel.ac_in_buffer) == 0
    assert talk.say("", "NOOP") == [TOO_LONG, "250 OK"]


@pytest.mark.parametrize("end", [b"\xff", b"\n", b"y"])
def test_a_line_too_long_is_that_and_nothing_else(end: bytes) -> None:
    for pieces in [b"x" * 600 + end + b"\r\n"], [b"x" * 600, end, b"\r\n"]:
        talk = Talk()
        talk.channel.strict_line_ends = True
        assert talk.send(*pieces).decode() == TOO_LONG + "\r\n"


def test_command_size_limits() -> None:
    talk = Talk(options={"enable_SMTPUTF8": True})
    assert talk.say("NOOP " + "x" * 507, "NOOP " + "x" * 508) == ["250 OK", TOO_LONG]
    talk.say("EHLO c")
    assert talk.channel.max_command_size_limit == 512 + 26 + 10
    assert talk.say("NOOP " + "x" * 507, "NOOP " + "x" * 508) == ["250 OK", TOO_LONG]
    assert talk.say("FOO" + "x" * 509)[0].startswith("500 Error: command")
    assert talk.say("FOO" + "x" * 510) == [TOO_LONG]
    address = "MAIL FROM:<" + "a" * 480 + "@b>"
    assert talk.say(address.ljust(549, "c"), address + " " * (548 - len(address))) == [
        TOO_LONG,
        "250 OK",
    ]


def test_command_size_limits_of_one_connection() -> None:
    for _ in range(3):
        talk = Talk()
        talk.say("EHLO c")
        assert talk.channel.command_size_limits["MAIL"] == 538
    assert dict(smtpd.SMTPChannel.command_size_limits) == {}


def test_command_size_limits_of_a_subclass() -> None:
    class Channel(smtpd.SMTPChannel):
        command_size_limit = 20
        command_size_limits = defaultdict(lambda: 30, {"NOOP": 10})

    class Module:
        SMTPChannel = Channel

    module: Any = Module
    talk = Talk(module)
    assert talk.say("RSET " + "x" * 15, "RSET " + "x" * 16) == ["501 Syntax: RSET", TOO_LONG]
    # In pieces as well: nothing may be cut off that is then carried out.
    talk.send(*bytewise(b"HELO 67890abcdefghij\r\n"))
    assert talk.channel.seen_greeting == "67890abcdefghij"
    talk = Talk(module)
    assert talk.say("EHLO c")
    assert talk.channel.max_command_size_limit == 56
    assert talk.say("NOOP 67890", "NOOP 678901") == ["250 OK", TOO_LONG]
    assert talk.say("RSET " + "x" * 25, "RSET " + "x" * 26) == ["501 Syntax: RSET", TOO_LONG]
    assert talk.say("FOO" + "x" * 28) == [TOO_LONG]


def test_invented_commands_are_not_kept() -> None:
    talk = Talk()
    talk.say("EHLO c")
    before = len(talk.channel.command_size_limits)
    talk.say(*(f"FOO{i}" for i in range(500)))
    assert len(talk.channel.command_size_limits) <= before + 1


@pytest.mark.parametrize("decode_data", [False, True])
def test_too_much_data(decode_data: bool) -> None:
    talk = Talk(options={"decode_data": decode_data, "data_size_limit": 10})
    talk.say(*TO_DATA)
    for _ in range(100):
        talk.send(b"x" * 100)
    assert sum(map(len, talk.channel.received_lines)) == 100
    # The classic channel stayed in the DATA state: a RSET was never answered, and the commands
    # that followed became the text of a message.
    assert talk.say("\r\n.", "RSET", *TO_DATA[1:]) == [
        "552 Error: Too much mail data",
        "250 OK",
        "250 OK",
        "250 OK",
        "354 End data with <CR><LF>.<CR><LF>",
    ]
    assert talk.say("0123456789\r\n.", *TO_DATA[1:], "01234567890\r\n.")[0::4] == [
        "250 OK",
        "552 Error: Too much mail data",
    ]
    assert len(talk.mailbox.messages) == 1


def test_no_limit() -> None:
    talk = Talk(options={"data_size_limit": 0})
    talk.say(*TO_DATA, b"x" * 100_000 + b"\r\n.")
    assert len(talk.last_message) == 100_000
    assert talk.channel.num_bytes == 0


# A quadratic channel would take minutes for these.


def test_a_long_message_in_small_pieces() -> None:
    talk = Talk(options={"data_size_limit": 0})
    talk.say(*TO_DATA)
    for _ in range(100_000):
        talk.send(b"x.\r\n..")
    assert talk.say("\r\n.") == ["250 OK"]
    assert len(talk.last_message) == 400_000


def test_a_message_of_dots() -> None:
    talk = Talk()
    talk.say(*TO_DATA)
    assert talk.send(b"..\r\n" * 500_000, b".\r\n") == b"250 OK\r\n"
    assert talk.last_message == b".\n" * 499_999 + b"."


def test_many_commands_at_once() -> None:
    talk = Talk()
    talk.say("EHLO c")
    replies = talk.send(b"".join(b"FOO%d\r\nNOOP\r\n" % i for i in range(20_000)))
    assert replies.count(b"\r\n") == 40_000


# After the end -----------------------------------------------------------------------------------


class Closing(Mailbox):
    """Closes the channel, in one way or another, while it handles a message."""

    def __init__(self, close: Any) -> None:
        super().__init__()
        self.close = close
        self.channel: Any = None

    def process_message(self, *args: Any, **kwargs: Any) -> Any:
        super().process_message(*args, **kwargs)
        self.close(self.channel)
        return "250 too late"


@pytest.mark.parametrize(
    "close",
    [
        lambda channel: channel.close(),
        lambda channel: channel.handle_close(),
        lambda channel: asynccore.dispatcher.close(channel),
    ],
)
def test_close_in_process_message(close: Any) -> None:
    class Channel(smtpd.SMTPChannel):
        def push(self, msg: str) -> None:
            assert not sock.closed, msg
            super().push(msg)

    mailbox, sock = Closing(close), FakeSocket()
    channels: dict[int, Any] = {}
    mailbox.channel = Channel(mailbox, sock, ("addr", 1), map=channels)
    message = "\r\n".join(TO_DATA[1:]) + "\r\nx\r\n.\r\n"
    sock.take()
    sock.incoming = [("HELO c\r\n" + message + message + "NOOP\r\n").encode()]
    mailbox.channel.handle_read()
    assert len(mailbox.messages) == 1
    assert sock.take().endswith(b"354 End data with <CR><LF>.<CR><LF>\r\n")
    assert sock.closed == 1
    assert channels == {}


def test_close_in_a_command() -> None:
    class Channel(smtpd.SMTPChannel):
        def smtp_NOOP(self, arg: str | None) -> None:
            self.close()

    sock = FakeSocket()
    channel = Channel(Mailbox(), sock, ("addr", 1), map={})
    sock.take()
    sock.incoming = [b"NOOP\r\nHELO c\r\n"]
    channel.handle_read()
    channel.found_terminator()
    channel.collect_incoming_data(b"NOOP")
    assert (sock.take(), sock.closed) == (b"", 1)
    assert channel.received_lines == []


def test_nothing_is_carried_out_after_quit() -> None:
    talk = Talk()
    talk.say("EHLO c")
    message = "\r\n".join(TO_DATA[1:]) + "\r\nx\r\n.\r\n"
    assert talk.send(b"QUIT\r\n" + message.encode(), b"NOOP\r\n") == b"221 Bye\r\n"
    assert talk.mailbox.messages == []
    talk.channel.handle_write()
    assert talk.socket.closed == 1


def test_process_message_that_raises() -> None:
    class Broken:
        def process_message(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("broken handler")

    sock = FakeSocket()
    channels: dict[int, Any] = {}
    channel = smtpd.SMTPChannel(Broken(), sock, ("addr", 1), map=channels)
    sock.incoming = [("\r\n".join(TO_DATA) + "\r\nx\r\n.\r\n").encode()]
    with pytest.raises(RuntimeError, match="broken handler"):
        channel.handle_read()  # the loop hands this to handle_error, which closes
    channel.close()
    assert channels == {}


async def asynchronous(*args: Any, **kwargs: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("deliver", "said"),
    [
        (lambda *args, **kwargs: 1 // 0, "ZeroDivisionError: "),
        (lambda *args, **kwargs: True, "a reply (str) or None, not bool"),
        (asynchronous, "process_message() must return a reply (str) or None, not coroutine"),
    ],
)
def test_a_message_that_can_not_be_taken_now(
    deliver: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hardened class: 451 (RFC 5321 section 4.2.3), and the dialogue goes on."""
    talk = Talk(channel_class=HardenedSMTPChannel)
    talk.mailbox.process_message = deliver  # type: ignore[method-assign]
    refused = "451 Requested action aborted: local error in processing"
    assert talk.say(*TO_DATA, "x\r\n.", "RCPT TO:<c@d>")[-2:] == [
        refused,
        "503 Error: need MAIL command",
    ]
    err = capsys.readouterr().err
    assert err.startswith("error: uncaptured python exception in callback ") and said in err
    del talk.mailbox.process_message
    assert talk.say(*TO_DATA[1:], "x\r\n.")[-1] == "250 OK"


def test_a_message_that_can_not_be_taken_by_who_closes_the_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    talk = Talk(channel_class=HardenedSMTPChannel)

    def deliver(*args: Any, **kwargs: Any) -> None:
        talk.channel.close()
        raise RuntimeError("broken handler")

    talk.mailbox.process_message = deliver  # type: ignore[method-assign]
    assert talk.say(*TO_DATA, "x\r\n.")[-1] == ""
    assert "RuntimeError: broken handler" in capsys.readouterr().err


# A connection that is dead already ---------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOTCONN, errno.EINVAL, errno.ECONNRESET, errno.EBADF])
def test_no_peer_name(number: int) -> None:
    sock = FakeSocket(OSError(number, "gone"))
    channels: dict[int, Any] = {}
    with debug_output(smtpd) as (said,):
        channel = smtpd.SMTPChannel(Mailbox(), sock, ("addr", 1), map=channels)
    assert channels == {}
    assert (sock.closed, sock.take()) == (1, b"")
    assert said.getvalue() == f"Peer ('addr', 1) is gone: [Errno {number}] gone\n"
    # It is complete all the same, and quiet.
    assert (channel.peer, channel.addr, channel.conn) == (("addr", 1), ("addr", 1), sock)
    assert channel.seen_greeting == "" and channel.rcpttos == []
    channel.collect_incoming_data(b"NOOP")
    channel.found_terminator()
    assert (sock.closed, sock.take()) == (1, b"")


def test_bad_options_leave_the_socket_alone() -> None:
    sock = FakeSocket()
    channels: dict[int, Any] = {}
    with pytest.raises(ValueError, match="at the same time"):
        smtpd.SMTPChannel(Mailbox(), sock, PEER, 10, channels, True, True)
    assert (channels, sock.closed) == ({}, 0)


def test_a_name_look_up_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def getfqdn() -> str:
        raise UnicodeError("a host name of no encoding")

    monkeypatch.setattr(smtpd.socket, "getfqdn", getfqdn)
    channels: dict[int, Any] = {}
    with pytest.raises(UnicodeError):
        smtpd.SMTPChannel(Mailbox(), FakeSocket(), PEER, map=channels)
    assert channels == {}


def test_the_same_object_again() -> None:
    talk = Talk()
    talk.say("EHLO c", "QUIT")
    talk.channel.close()
    again = FakeSocket()
    smtpd.SMTPChannel.__init__(talk.channel, talk.mailbox, again, ("addr", 2), map=talk.map)
    assert again.take() == f"220 {FQDN} {smtpd.__version__}\r\n".encode()
    again.incoming = [b"HELO c\r\n"]
    talk.channel.handle_read()
    assert again.take() == f"250 {FQDN}\r\n".encode()


# Debug output ------------------------------------------------------------------------------------


def test_debug_output() -> None:
    with debug_output(smtpd) as (said,):
        Talk().say("HELO c", "MAIL", "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "DATA", "100 %s\r\n.")
    assert said.getvalue().splitlines() == [
        f"Peer: {PEER!r}",
        "Data: b'HELO c'",
        "Data: b'MAIL'",
        "===> MAIL None",
        "Data: b'MAIL FROM:<a@b>'",
        "===> MAIL FROM:<a@b>",
        "sender: a@b",
        "Data: b'RCPT TO:<c@d>'",
        "===> RCPT TO:<c@d>",
        "recips: ['c@d']",
        "Data: b'DATA'",
        "Data: b'100 %s'",
    ]


def test_nothing_is_formatted_for_nobody() -> None:
    class Unreadable:
        def __repr__(self) -> str:
            raise AssertionError("formatted")

    class Socket(FakeSocket):
        def getpeername(self) -> Any:
            return Unreadable()

    smtpd.SMTPChannel(Mailbox(), Socket(), ("addr", 1), map={})
    with debug_output(smtpd), pytest.raises(AssertionError, match="formatted"):
        smtpd.SMTPChannel(Mailbox(), Socket(), ("addr", 1), map={})
