"""The grammar and the message text: functions of their input alone."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asynccore.smtp.syntax import (
    declared_size,
    parse_address,
    parse_options,
    split_command,
    strip_keyword,
)
from asynccore.smtp.text import add_header, for_smtplib, unstuff

quick = settings(max_examples=150, deadline=None, database=None)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("noop", ("NOOP", None)),
        ("noop ", ("NOOP", "")),
        ("Mail  FROM:<a> b ", ("MAIL", "FROM:<a> b")),
        (" noop", ("", "noop")),
        ("a\tb", ("A\tB", None)),
    ],
)
def test_split_command(line: str, parts: tuple[str, str | None]) -> None:
    assert split_command(line) == parts


@pytest.mark.parametrize(
    ("keyword", "argument", "rest"),
    [
        ("FROM:", "FROM:x", "x"),
        ("FROM:", "from:  x ", "x"),
        ("FROM:", "FRO", ""),
        ("FROM:", "", ""),
        ("TO:", " to:x", ""),
        ("TO:", "TO :x", ""),
        ("from:", "FROM:x", ""),
    ],
)
def test_strip_keyword(keyword: str, argument: str, rest: str) -> None:
    assert strip_keyword(keyword, argument) == rest


@pytest.mark.parametrize(
    ("argument", "result"),
    [
        ("<a@b>", ("a@b", "")),
        ("a@b", ("a@b", "")),
        (" <a@b> SIZE=3", ("a@b", "SIZE=3")),
        ("<> SIZE=3", ("<>", " SIZE=3")),
        ("<a b@c>", ('"a b"@c', "")),
        ("<@x,@y:a@b>", ("a@b", "")),
        ("(comment)a@b", ("a@b", "")),
        ("", ("", "")),
        (None, ("", "")),
        ('""', ("", "")),
    ],
)
def test_addresses(argument: str | None, result: tuple[str, str]) -> None:
    assert parse_address(argument) == result


@pytest.mark.parametrize(
    "argument", ["<a@>", "< >", '"', "a@", "<a@[>", "@", "(" * 5000, "<" + "(a" * 5000, "\t"]
)
def test_what_is_no_address_does_not_raise(argument: str) -> None:
    assert parse_address(argument) == ("", "")


@quick
@given(st.text(alphabet='<>@"\\.,:;()[]= aé\t\r\n\0', max_size=60))
def test_addresses_never_raise(argument: str) -> None:
    address, rest = parse_address(argument)
    assert isinstance(address, str) and isinstance(rest, str)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ([], {}),
        (["A"], {"A": True}),
        (["A=1", "B=x=y"], {"A": "1", "B": "x=y"}),
        (["A", "A=2"], {"A": "2"}),
        (["A="], None),
        (["=A"], None),
        (["A-1"], None),
        ([""], None),
        (["OK=1", "A_B"], None),
    ],
)
def test_options(words: list[str], options: dict[str, str | bool] | None) -> None:
    assert parse_options(words) == options


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("0", 0),
        ("0020", 20),
        ("x", None),
        ("-1", None),
        ("1_0", None),
        ("²", None),
        (True, None),
        ("9" * 5000, None),
    ],
)
def test_declared_size(value: str | bool, size: int | None) -> None:
    assert declared_size(value) == size


# Message text ------------------------------------------------------------------------------------

texts = st.text(alphabet="\r\n.a", max_size=30)


def lines_without_stuffing(raw: str) -> str:
    lines = raw.split("\r\n")
    return "\n".join(line[1:] if line.startswith(".") else line for line in lines)


@quick
@given(texts)
@example(".\r\n..\r\n.")
@example("\r\n.\n.\r\n")
def test_unstuff(raw: str) -> None:
    expected = lines_without_stuffing(raw)
    assert unstuff(raw) == expected
    assert unstuff(raw.encode()) == expected.encode()


def lines_with_header(message: str, header: str) -> str:
    lines = message.split("\n")
    place = lines.index("") if "" in lines else len(lines)
    return "\n".join([*lines[:place], header, *lines[place:]])


@quick
@given(st.text(alphabet="\nab", max_size=12))
@example("")
@example("A: b")
@example("A: b\n")
@example("\n\n")
def test_add_header(message: str) -> None:
    expected = lines_with_header(message, "X: y")
    assert add_header(message, "X: y") == expected
    assert add_header(message.encode(), b"X: y") == expected.encode()


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("a\nb\n", "a\nb\n"),
        ("é\n", b"\xc3\xa9\r\n"),
        ("\udcff\n", b"\xff\r\n"),
        (b"a\nb\rc\r\nd\r\r\ne\n\rf", b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf"),
    ],
)
def test_for_smtplib(message: str | bytes, sent: str | bytes) -> None:
    assert for_smtplib(message) == sent
