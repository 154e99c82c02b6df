"""The fuzz targets, for a short time. `python -m tests.fuzz` runs them for a long one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asynccore import asynchat
from asynccore.listening import proxy_header
from asynccore.smtpd import SMTPChannel
from tests.fuzz import __main__ as command
from tests.fuzz import chat, proxy, smtp
from tests.smtpd.conftest import host_name

__all__ = ["host_name"]

short = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@short
@given(smtp.cases)
def test_smtp_commands(case: smtp.Case) -> None:
    smtp.check(case)


@short
@given(chat.cases)
def test_chat_terminators(case: chat.Case) -> None:
    chat.check(case)


@given(st.binary(max_size=20), st.lists(st.integers(-5, 30)))
def test_cutting_loses_nothing(data: bytes, cuts: list[int]) -> None:
    pieces = smtp.cut(data, cuts)
    assert b"".join(pieces) == data and b"" not in pieces


# That the targets find what they are for ---------------------------------------------------------


def no_unstuffing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("asynccore.smtp.session.unstuff", lambda raw: raw.replace(b"\r\n", b"\n"))


def anything_goes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("asynccore.smtp.session.has_only_crlf", lambda raw: True)


def no_dot_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SMTPChannel, "_ac_deliver_delimited", asynchat.async_chat._ac_deliver_delimited)


def a_lone_lf_ends_a_message(patch: pytest.MonkeyPatch) -> None:
    inherited = SMTPChannel.smtp_DATA

    def smtp_DATA(self: SMTPChannel, arg: str | None) -> None:
        inherited(self, arg)
        if self.smtp_state == self.DATA:
            self.set_terminator(b"\n.\r\n")

    patch.setattr(SMTPChannel, "smtp_DATA", smtp_DATA)


def no_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SMTPChannel, "_ac_is_over", lambda self: False)


def everything_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SMTPChannel, "max_command_size_limit", 10**6)


def a_command_that_raises(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        "asynccore.smtp.commands.parse_usual_address", lambda argument: argument.index("@")
    )


def nothing_is_held_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asynchat, "find_prefix_at_end", lambda haystack, needle: 0)


def too_much_is_held_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(asynchat, "find_prefix_at_end", lambda haystack, needle: len(haystack[-1:]))


def counting_from_the_start(patch: pytest.MonkeyPatch) -> None:
    inherited = asynchat.async_chat._ac_take
    patch.setattr(asynchat.async_chat, "_ac_take", lambda self, end: inherited(self, end)[:9])


def all_is_taken(patch: pytest.MonkeyPatch) -> None:
    inherited = proxy_header.HeaderParser.feed
    patch.setattr(
        proxy_header.HeaderParser,
        "feed",
        lambda self, data: inherited(self, data) and len(data),
    )


def a_line_ends_anywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proxy_header, "_end_of_line", lambda whole: len(whole))


def local_has_addresses(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proxy_header, "_LOCAL", 7)


def any_length(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(proxy_header, "_SIZES", {1: 4, 2: 4, 3: 4})


@pytest.mark.parametrize(
    ("target", "defect"),
    [
        (smtp, no_unstuffing),
        (smtp, anything_goes),
        (smtp, no_dot_at_once),
        (smtp, a_lone_lf_ends_a_message),
        (smtp, no_end),
        (smtp, everything_is_kept),
        (smtp, a_command_that_raises),
        (chat, nothing_is_held_back),
        (chat, too_much_is_held_back),
        (chat, counting_from_the_start),
        (proxy, all_is_taken),
        (proxy, a_line_ends_anywhere),
        (proxy, local_has_addresses),
        (proxy, any_length),
    ],
)
def test_defects_are_found(
    target: ModuleType,
    defect: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    defect(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017 - an AssertionError, or what the defect raises
        # One round finds it three times in four: what Hypothesis tries depends on the modules that
        # are loaded, too.
        for seed in range(10):
            command.run_round(target, seed, shrink=False)


# The command -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["smtp", "chat", "proxy"])
def test_the_command(name: str) -> None:
    line = [sys.executable, "-m", "tests.fuzz", "--minutes", "0", "--seed", "7", name]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{name}: {command.ROUND} cases from seed 7, all invariants held\n"


def test_the_command_tells_how_to_repeat_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chat.Chat, "found_terminator", lambda self: self.set_terminator(b"no"))
    assert command.main(["--minutes", "0", "--seed", "7", "chat"]) == 1
    said = capsys.readouterr().out
    assert "chat: failed with --seed 7" in said and "case=Case(" in said


def test_an_unknown_target(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["talk"])
    assert "no such target: talk" in capsys.readouterr().err
