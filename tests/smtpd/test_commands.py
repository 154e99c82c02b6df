"""The replies to each command, and what a message arrives as: recorded from the classic module."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asynccore.hardened_smtpd import HardenedSMTPChannel
from asynccore.smtp.session import SMTPSession
from tests.smtpd.dialogue import FQDN, PEER, TO_DATA, Mailbox, Talk, bytewise

SYNTAX_ERROR = "501 Syntax: MAIL FROM: <address> [SP <mail-parameters>]"
UNKNOWN = "555 MAIL FROM parameters not recognized or not implemented"
SUPPORTED = "Supported commands: EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY"
GREET_FIRST = "503 Error: send HELO first"


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("", "500 Error: bad syntax"),
        ("  ", '500 Error: command "" not recognized'),
        ("foo bar", '500 Error: command "FOO" not recognized'),
        ("HELO\tx", '500 Error: command "HELO\tX" not recognized'),
        ("NOOP", "250 OK"),
        ("noop ", "250 OK"),
        ("NOOP x", "250 OK"),
        ("RSET", "250 OK"),
        ("RSET x", "501 Syntax: RSET"),
        ("QUIT", "221 Bye"),
        ("QUIT x", "221 Bye"),
        ("EXPN", "502 EXPN not implemented"),
        ("EXPN x", "502 EXPN not implemented"),
        ("VRFY", "501 Syntax: VRFY <address>"),
        ("VRFY a", "252 Cannot VRFY user, but will accept message and attempt delivery"),
        ("VRFY <a@b>", "252 Cannot VRFY user, but will accept message and attempt delivery"),
        ('VRFY ""', '502 Could not VRFY ""'),
        ("HELO", "501 Syntax: HELO hostname"),
        ("HELO ", "501 Syntax: HELO hostname"),
        ("EHLO", "501 Syntax: EHLO hostname"),
        ("HELO c", f"250 {FQDN}"),
        ("MAIL FROM:<a@b>", GREET_FIRST),
        ("MAIL", GREET_FIRST),
        ("RCPT TO:<a@b>", GREET_FIRST),
        ("DATA", GREET_FIRST),
        ("DATA x", GREET_FIRST),
        ("HELP", f"250 {SUPPORTED}"),
        ("HELP x", f"501 {SUPPORTED}"),
        ("HELP HELP", f"501 {SUPPORTED}"),
        ("HELP EXPN", f"501 {SUPPORTED}"),
        ("HELP helo", "250 Syntax: HELO hostname"),
        ("HELP EHLO", "250 Syntax: EHLO hostname"),
        ("HELP MAIL", "250 Syntax: MAIL FROM: <address>"),
        ("HELP RCPT", "250 Syntax: RCPT TO: <address>"),
        ("HELP DATA", "250 Syntax: DATA"),
        ("HELP RSET", "250 Syntax: RSET"),
        ("HELP NOOP", "250 Syntax: NOOP"),
        ("HELP QUIT", "250 Syntax: QUIT"),
        ("HELP VRFY", "250 Syntax: VRFY <address>"),
    ],
)
def test_before_the_greeting(line: str, reply: str) -> None:
    assert Talk().say(line) == [reply]


@pytest.mark.parametrize(
    ("options", "extensions"),
    [
        ({}, ["SIZE 33554432", "8BITMIME"]),
        ({"decode_data": True}, ["SIZE 33554432"]),
        ({"enable_SMTPUTF8": True}, ["SIZE 33554432", "8BITMIME", "SMTPUTF8"]),
        ({"data_size_limit": 20}, ["SIZE 20", "8BITMIME"]),
        ({"data_size_limit": 0}, ["8BITMIME"]),
        ({"data_size_limit": None}, ["8BITMIME"]),
    ],
)
def test_extensions(options: dict[str, Any], extensions: list[str]) -> None:
    (reply,) = Talk(options=options).say("EHLO c")
    lines = [f"250-{FQDN}", *(f"250-{name}" for name in extensions), "250 HELP"]
    assert reply == "\r\n".join(lines)


@pytest.mark.parametrize("first", ["HELO", "EHLO"])
def test_one_greeting_only(first: str) -> None:
    talk = Talk()
    talk.say(f"{first} c")
    assert talk.say("HELO d", "EHLO d", "HELO") == [
        "503 Duplicate HELO/EHLO",
        "503 Duplicate HELO/EHLO",
        "501 Syntax: HELO hostname",
    ]
    assert talk.channel.seen_greeting == "c"
    assert talk.channel.extended_smtp is (first == "EHLO")


@pytest.mark.parametrize("first", ["HELO", "EHLO"])
@pytest.mark.parametrize("second", ["HELO", "EHLO"])
def test_a_later_greeting_acts_as_rset_in_the_hardened_class(first: str, second: str) -> None:
    """RFC 5321 section 4.1.4."""
    talk = Talk(channel_class=HardenedSMTPChannel)
    (reply,) = talk.say("EHLO c")
    talk.say(f"{first} c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")
    limit = talk.channel.max_command_size_limit
    assert talk.say(f"{second} d") == [reply if second == "EHLO" else f"250 {FQDN}"]
    assert talk.say("DATA", "RCPT TO:<c@d>") == [
        "503 Error: need RCPT command",
        "503 Error: need MAIL command",
    ]
    assert talk.channel.seen_greeting == "d"
    assert talk.channel.extended_smtp is (second == "EHLO")
    if first == second:
        assert talk.channel.max_command_size_limit == limit  # it doesn't grow
    assert talk.say(second)[0].startswith("501")
    assert talk.channel.seen_greeting == "d"


def test_help_on_options() -> None:
    talk = Talk()
    talk.say("EHLO c")
    assert talk.say("HELP MAIL", "HELP RCPT", "HELP VRFY") == [
        "250 Syntax: MAIL FROM: <address> [SP <mail-parameters>]",
        "250 Syntax: RCPT TO: <address> [SP <mail-parameters>]",
        "250 Syntax: VRFY <address>",
    ]


@pytest.mark.parametrize(
    ("argument", "reply", "sender"),
    [
        (" FROM:<a@b>", "250 OK", "a@b"),
        (" from: a@b ", "250 OK", "a@b"),
        (" FROM:<>", "250 OK", "<>"),
        (' FROM:<"a b"@c>', "250 OK", '"a b"@c'),
        (" FROM:<@relay:a@b>", "250 OK", "a@b"),
        (" FROM:<a@[127.0.0.1]>", "250 OK", "a@[127.0.0.1]"),
        ("", SYNTAX_ERROR, None),
        (" <a@b>", SYNTAX_ERROR, None),
        (" TO:<a@b>", SYNTAX_ERROR, None),
        (" FROM:", SYNTAX_ERROR, None),
        (" FROM :<a@b>", SYNTAX_ERROR, None),
        (" FROM:<a@b>>", SYNTAX_ERROR, None),
        (" FROM:Name <a@b>", SYNTAX_ERROR, None),
        (" FROM:<a@b> SIZE=20", "250 OK", "a@b"),
        (" FROM:<a@b>SIZE=20", "250 OK", "a@b"),
        (" FROM:<> size=20", "250 OK", "<>"),
        (
            " FROM:<a@b> SIZE=21",
            "552 Error: message size exceeds fixed maximum message size",
            None,
        ),
        (" FROM:<a@b> SIZE=1 SIZE=2", "250 OK", "a@b"),
        (" FROM:<a@b> SIZE=x", SYNTAX_ERROR, None),
        (" FROM:<a@b> SIZE=", SYNTAX_ERROR, None),
        (" FROM:<a@b> SIZE=-1", SYNTAX_ERROR, None),
        (" FROM:<a@b> BODY=7BIT", "250 OK", "a@b"),
        (" FROM:<a@b> body=8bitmime", "250 OK", "a@b"),
        (" FROM:<a@b> BODY=X", "501 Error: BODY can only be one of 7BIT, 8BITMIME", None),
        (" FROM:<a@b> BODY", "501 Error: BODY can only be one of 7BIT, 8BITMIME", None),
        (" FROM:<a@b> SMTPUTF8", "250 OK", "a@b"),
        (" FROM:<a@b> SMTPUTF8=1", "501 Error: SMTPUTF8 takes no arguments", None),
        (" FROM:<a@b> FOO=1", UNKNOWN, None),
        (" FROM:<a@b> FOO", UNKNOWN, None),
        (" FROM:<a@b> A-B=1", SYNTAX_ERROR, None),
        (" FROM:<a@b> =", SYNTAX_ERROR, None),
    ],
)
def test_mail(argument: str, reply: str, sender: str | None) -> None:
    talk = Talk(options={"enable_SMTPUTF8": True, "data_size_limit": 20})
    talk.say("EHLO c")
    assert talk.say(f"MAIL{argument}") == [reply]
    assert talk.channel.mailfrom == sender


@pytest.mark.parametrize("option", ["SIZE=1", "BODY=7BIT", "x"])
def test_options_need_ehlo(option: str) -> None:
    talk = Talk()
    assert talk.say("HELO c", f"MAIL FROM:<a@b> {option}", "MAIL FROM:<a@b>")[1:] == [
        "501 Syntax: MAIL FROM: <address>",
        "250 OK",
    ]
    assert talk.say(f"RCPT TO:<a@b> {option}") == ["501 Syntax: RCPT TO: <address>"]


@pytest.mark.parametrize("option", ["BODY=7BIT", "BODY", "SMTPUTF8", "SMTPUTF8=1"])
def test_options_that_are_not_offered(option: str) -> None:
    talk = Talk(options={"decode_data": True})
    assert talk.say("EHLO c", f"MAIL FROM:<a@b> {option}")[1] == UNKNOWN


def test_nested_mail() -> None:
    talk = Talk()
    talk.say("HELO c", "MAIL FROM:<a@b>")
    assert talk.say("MAIL FROM:<c@d>", "MAIL") == [
        "503 Error: nested MAIL command",
        "501 Syntax: MAIL FROM: <address>",
    ]
    assert talk.channel.mailfrom == "a@b"


def test_rcpt() -> None:
    talk = Talk()
    assert talk.say("EHLO c", "RCPT TO:<a@b>")[1] == "503 Error: need MAIL command"
    talk.say("MAIL FROM:<a@b>")
    syntax = "501 Syntax: RCPT TO: <address> [SP <mail-parameters>]"
    unknown = "555 RCPT TO parameters not recognized or not implemented"
    assert talk.say("RCPT", "RCPT TO:", "RCPT <c@d>", "RCPT TO:<c@d> A-B") == [syntax] * 4
    assert talk.say("RCPT TO:<c@d> NOTIFY=NEVER", "RCPT TO:<c@d> x") == [unknown] * 2
    assert talk.channel.rcpt_options == ["X"]
    assert talk.say("RCPT TO:<c@d>", "rcpt to: e@f", "RCPT TO:<c@d>") == ["250 OK"] * 3
    assert talk.channel.rcpttos == ["c@d", "e@f", "c@d"]
    assert talk.channel.rcpt_options == []


def test_rset_forgets_the_transaction_and_not_the_greeting() -> None:
    talk = Talk()
    talk.say("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<c@d>")
    assert talk.say("RSET", "RCPT TO:<c@d>", "MAIL FROM:<a@b>", "DATA") == [
        "250 OK",
        "503 Error: need MAIL command",
        "250 OK",
        "503 Error: need RCPT command",
    ]


def test_data() -> None:
    talk = Talk()
    talk.say("EHLO c", "MAIL FROM:<a@b> SIZE=9", "RCPT TO:<c@d>", "RCPT TO:<e@f>")
    assert talk.say("DATA x", "DATA") == [
        "501 Syntax: DATA",
        "354 End data with <CR><LF>.<CR><LF>",
    ]
    assert talk.channel.smtp_state == talk.channel.DATA
    assert talk.say("A: \xff\r\n\r\n..\r\n.x\r\n\r\nend\r\n.".encode("latin-1")) == ["250 OK"]
    data = b"A: \xff\n\n.\nx\n\nend"
    assert talk.mailbox.messages == [
        (
            (PEER, "a@b", ["c@d", "e@f"], data),
            {"mail_options": ["SIZE=9"], "rcpt_options": []},
        )
    ]
    assert talk.channel.received_data == data
    assert talk.channel.smtp_state == talk.channel.COMMAND
    assert talk.say("DATA", "MAIL FROM:<g@h>") == ["503 Error: need RCPT command", "250 OK"]


def test_data_as_text() -> None:
    talk = Talk(options={"decode_data": True})
    talk.say(*TO_DATA, "..é\r\nx\r\n.")
    assert talk.mailbox.messages == [((PEER, "a@b", ["c@d"], ".é\nx"), {})]


def test_an_empty_message() -> None:
    talk = Talk()
    assert talk.say(*TO_DATA, "\r\n.")[-1] == "250 OK"
    assert talk.last_message == b""


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (None, "250 OK"),
        ("", "250 OK"),
        ("550 No", "550 No"),
        ("250-a\r\n250 b", "250-a\r\n250 b"),
        ("550 é", "550 \\xe9"),
    ],
)
def test_the_reply_of_process_message(status: str | None, reply: str) -> None:
    assert Talk(status=status).say(*TO_DATA, "x\r\n.")[-1] == reply


def test_replies_in_utf8_from_mail_on() -> None:
    talk = Talk(options={"enable_SMTPUTF8": True})
    assert talk.say("EHLO c", "É", "MAIL FROM:<é@b> SMTPUTF8", "É", "RSET", "É")[1:] == [
        '500 Error: command "\\xc9" not recognized',
        "250 OK",
        '500 Error: command "É" not recognized',
        "250 OK",
        '500 Error: command "\\xc9" not recognized',
    ]


def test_a_refused_mail_does_not_switch_to_utf8() -> None:
    talk = Talk(options={"enable_SMTPUTF8": True})
    talk.say("EHLO c", "MAIL FROM:<a@b> SMTPUTF8 SIZE=x")
    assert talk.channel.require_SMTPUTF8 is False


def test_text_and_smtputf8_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="decode_data and enable_SMTPUTF8"):
        Talk(options={"decode_data": True, "enable_SMTPUTF8": True})


def test_an_unknown_state() -> None:
    talk = Talk()
    talk.channel.smtp_state = 7
    assert talk.say("x") == ["451 Internal confusion"]


def test_channels_called_directly() -> None:
    talk = Talk()
    talk.channel.collect_incoming_data(b"NO")
    talk.channel.collect_incoming_data(b"OP")
    assert talk.channel.received_lines == [b"NO", b"OP"]
    assert talk.channel.num_bytes == 4
    talk.channel.found_terminator()
    assert talk.socket.take() == b"250 OK\r\n"
    assert (talk.channel.received_lines, talk.channel.num_bytes) == ([], 0)


# The same dialogue in other pieces ---------------------------------------------------------------

DIALOGUE = (
    "EHLO c\r\nMAIL FROM:<é@b> SIZE=9\r\nRCPT TO:<c@d>\r\nDATA\r\n"
    "A: é\r\n\r\n..\r\n.a\r\n\n.\r\r\n\r\n.\r\n"
    "\r\nFOO\r\nRSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n\r\n.\r\n"
    "\rNOOP\r\n\nNOOP\r\nQUIT\r\n"
).encode()


class Plain(SMTPSession):
    """The dialogue alone: a loop in place of asynchat, lists in place of sockets."""

    def __init__(self, decode_data: bool) -> None:
        self.said: list[str] = []
        self.mailbox = Mailbox()
        self.buffer = b""
        self._ac_begin_session(
            self.mailbox,
            PEER,
            FQDN,
            data_size_limit=1000,
            enable_SMTPUTF8=False,
            decode_data=decode_data,
        )

    def set_terminator(self, term: Any) -> None:
        self.terminator: bytes = term

    def push(self, msg: str) -> None:
        self.said.append(msg)

    def close_when_done(self) -> None:
        self.said.append("(closed)")

    def feed(self, data: bytes) -> None:
        self.buffer += data
        while self.terminator in self.buffer:
            line, self.buffer = self.buffer.split(self.terminator, 1)
            self.collect_incoming_data(line)
            self.found_terminator()


@pytest.mark.parametrize("decode_data", [False, True])
def test_the_dialogue_without_any_channel(decode_data: bool) -> None:
    plain = Plain(decode_data)
    plain.feed(DIALOGUE)
    plain.feed(b"NOOP\r\n")
    text = "A: é\n\n.\na\n\n.\r\n"
    assert [m[0][3] for m in plain.mailbox.messages] == (
        [text, ""] if decode_data else [text.encode(), b""]
    )
    assert plain.said[-2:] == ["221 Bye", "(closed)"]
    talk = Talk(options={"decode_data": decode_data, "data_size_limit": 1000})
    replies = talk.send(DIALOGUE).decode()
    assert replies == "".join(f"{line}\r\n" for line in plain.said[:-1])
    assert talk.mailbox.messages == plain.mailbox.messages


def outcome(pieces: list[bytes], decode_data: bool) -> tuple[bytes, Any]:
    talk = Talk(options={"decode_data": decode_data, "data_size_limit": 1000})
    return talk.send(*pieces), talk.mailbox.messages


@pytest.mark.parametrize("decode_data", [False, True])
def test_byte_by_byte(decode_data: bool) -> None:
    assert outcome(list(bytewise(DIALOGUE)), decode_data) == outcome([DIALOGUE], decode_data)


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.integers(1, len(DIALOGUE) - 1), max_size=12, unique=True), st.booleans())
def test_any_pieces(cuts: list[int], decode_data: bool) -> None:
    bounds = [0, *sorted(cuts), len(DIALOGUE)]
    pieces = [DIALOGUE[a:b] for a, b in itertools.pairwise(bounds)]
    assert outcome(pieces, decode_data) == outcome([DIALOGUE], decode_data)
