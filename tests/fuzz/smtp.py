"""Invariants of an SMTP channel, whatever a client sends, in whatever pieces:

1. Nothing is raised; every line gets one reply, made of lines "code text" CRLF.
2. Replies, messages and state don't depend on how the input was cut.
3. A message ends at the first CRLF "." CRLF, the CRLF of DATA counted in, and nowhere else; what is
   delivered is what came before that, less one dot at the beginning of each line.
4. A strict channel delivers nothing that holds a lone CR or LF, or a NUL.
5. What is kept of the input stays below the limits plus the longest piece.
6. After 221 and 421 nothing is carried out, and nothing is said.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from hypothesis import strategies as st

from asynccore import smtpd
from asynccore.hardened_smtpd import HardenedSMTPChannel
from tests.smtpd.dialogue import Talk, bytewise

DATA_LIMIT = 60
END = b"\r\n.\r\n"

fragments = st.one_of(
    st.sampled_from(
        b"""EHLO c|HELO c|MAIL FROM:<a@b>|RCPT TO:<c@d>|DATA|RSET|NOOP|QUIT|HELP|VRFY a@b|EXPN x|
        MAIL FROM:<a@b> SIZE=9|MAIL FROM:<a@b> BODY=8BITMIME SMTPUTF8|MAIL FROM:<>|Subject: x|
        """.split(b"|")
    ).map(lambda line: line.strip() + b"\r\n"),
    st.sampled_from(
        [b"\r\n.\r\n", b".\r\n", b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"..", b"."]
    ),
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"\xc3\xa9", b" ", b"<", b"@", b'"']),
    st.binary(max_size=8),
    st.integers(1, 700).map(b"x".__mul__),
)


bodies = st.lists(
    st.sampled_from(
        [
            b"a",
            b"a",
            b"\r\n",
            b"\r\n",
            b".",
            b"..",
            b".\r\n",
            b"\n",
            b"\r",
            b"\0",
            b"\xc3\xa9",
            b"\xff",
        ]
        + [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r\n.\r\r\n", b"x" * DATA_LIMIT]
    ),
    max_size=8,
).map(b"".join)
to_data = st.sampled_from(
    [
        b"RSET\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\n",
    ]
)
mails = st.tuples(to_data, bodies, st.sampled_from([END, END, b""])).map(b"".join)
conversations = st.builds(
    lambda greeting, parts: b"".join([greeting, *parts]),
    st.sampled_from([b"EHLO c\r\n", b"EHLO c\r\n", b"HELO c\r\n", b""]),
    st.lists(st.one_of(mails, fragments, fragments), max_size=8),
)


class Case(NamedTuple):
    """One client, and the channel it talks to."""

    data: bytes
    cuts: list[int]
    channel_class: Any
    options: dict[str, Any]
    limits: dict[str, int]


cases = st.builds(
    Case,
    conversations,
    st.lists(st.integers(0, 2000), max_size=12),
    st.sampled_from([smtpd.SMTPChannel, HardenedSMTPChannel]),
    st.sampled_from(
        [
            {"data_size_limit": limit, **text}
            for limit in (DATA_LIMIT, 0)
            for text in ({}, {"decode_data": True}, {"enable_SMTPUTF8": True})
        ]
    ),
    st.sampled_from(
        [{}, {}, {"max_commands": 4}, {"max_commands": 11}, {"max_errors": 3}]
        + [{"max_recipients": 1}, {"max_recipients": 2, "max_errors": 2}]
    ),
)


def start(case: Case) -> Talk:
    talk = Talk(channel_class=case.channel_class, options=case.options)
    for name, limit in case.limits.items():
        setattr(talk.channel, name, limit)
    return talk


def outcome(talk: Talk, replies: bytes) -> tuple[Any, ...]:
    channel = talk.channel
    return (
        replies,
        list(talk.mailbox.messages),
        channel.smtp_state,
        channel.mailfrom,
        list(channel.rcpttos),
        channel.seen_greeting,
        channel._ac_over,
    )


def check(case: Case) -> None:
    """Raise `AssertionError` if an invariant does not hold for the case."""
    talk = start(case)
    expected = outcome(talk, by_units(talk, case))
    for pieces in [case.data], cut(case.data, case.cuts), list(bytewise(case.data)):
        talk = start(case)
        replies = b""
        for piece in pieces:
            replies += talk.send(piece)
            held = sum(map(len, talk.channel.received_lines))
            limit = case.options["data_size_limit"] or len(case.data)
            assert held <= max(limit, 600) + max(map(len, pieces))
        assert outcome(talk, replies) == expected


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Return `data` in pieces that end where `cuts` says."""
    ends = sorted({*(at for at in cuts if 0 < at < len(data)), len(data)})
    return [data[a:b] for a, b in zip([0, *ends], ends, strict=False) if a < b]


def by_units(talk: Talk, case: Case) -> bytes:
    """Send one line, or one message, at a time; check each reply, and what is delivered."""
    rest, replies = case.data, b""
    strict = talk.channel.strict_line_ends
    while rest:
        over = talk.channel._ac_over
        delivered = len(talk.mailbox.messages)
        in_data = talk.channel.smtp_state == talk.channel.DATA
        if in_data:
            end = (b"\r\n" + rest).find(END)
            size = end + 3 if end >= 0 else len(rest)
            complete = end >= 0
        else:
            end = rest.find(b"\r\n")
            size = end + 2 if end >= 0 else len(rest)
            complete = end >= 0
        unit, rest = rest[:size], rest[size:]
        before = outcome(talk, b"")
        said = talk.send(unit)
        replies += said
        if over:
            assert outcome(talk, b"") == before
        if over or not complete:
            assert said == b""
        else:
            check_reply(said, strict)
        if len(talk.mailbox.messages) > delivered:
            assert in_data and complete and not over
            assert len(talk.mailbox.messages) == delivered + 1
            raw = unit[: max(end - 2, 0)]
            assert talk.last_message == expected_message(raw, case.options)
            assert not (strict and re.search(rb"\r(?!\n)|(?<!\r)\n|\0", raw))
    return replies


def check_reply(said: bytes, strict: bool) -> None:
    assert said.endswith(b"\r\n")
    if strict:  # a lenient channel quotes what is no line end to it
        lines = said[:-2].split(b"\r\n")
        assert all(re.fullmatch(rb"[245]\d\d[ -][^\r\n]*|354 .*", line) for line in lines), lines
        final = [line[:3] for line in lines if line[3:4] == b" "]
        assert len(final) == 1 or (len(final) == 2 and final[1] == b"421"), lines


def expected_message(raw: bytes, options: dict[str, Any]) -> bytes | str:
    lines = raw.split(b"\r\n")
    text = b"\n".join(line[1:] if line[:1] == b"." else line for line in lines)
    return text.decode() if options.get("decode_data") else text
