"""The errnos that mean something to a loop, and their texts."""

from __future__ import annotations

import errno
import os

import pytest

import asynccore
from asynccore import errors


def test_exit_now_is_an_exception_that_passes() -> None:
    assert issubclass(asynccore.ExitNow, Exception)
    assert asynccore._reraised_exceptions == (asynccore.ExitNow, KeyboardInterrupt, SystemExit)


CLASSIC = {"ECONNRESET", "ENOTCONN", "ESHUTDOWN", "ECONNABORTED", "EPIPE", "EBADF"}
NETWORK = {"ETIMEDOUT", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET"}


def test_disconnections_are_the_classic_ones_and_the_networks() -> None:
    assert {errno.errorcode[code] for code in asynccore._DISCONNECTED} == CLASSIC | NETWORK


def test_running_out_is_told_from_nobody_there() -> None:
    assert errno.EMFILE in errors.EXHAUSTED and errno.ENFILE in errors.EXHAUSTED
    assert {errno.EAGAIN, errno.ECONNABORTED} <= errors.NOBODY
    assert not errors.EXHAUSTED & errors.NOBODY


def test_strerror_of_a_known_errno() -> None:
    assert asynccore._strerror(errno.EPIPE) == os.strerror(errno.EPIPE)


def test_strerror_of_what_no_errno_is() -> None:
    # More than a C int holds.
    assert asynccore._strerror(2**80) == f"Unknown error {2**80}"


@pytest.mark.parametrize("why", [ValueError, OverflowError])
def test_strerror_falls_back_to_the_name(
    why: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def strerror(err: int) -> str:
        raise why

    monkeypatch.setattr(os, "strerror", strerror)
    assert asynccore._strerror(errno.EPIPE) == "EPIPE"
    assert asynccore._strerror(-77) == "Unknown error -77"
