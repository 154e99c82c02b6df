"""What is printed, and what goes to a logger beside it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

import pytest

import asynccore
from asynccore import logs


@pytest.fixture(autouse=True)
def no_logger_stays() -> Iterator[None]:
    yield
    asynccore.use_logging(None)


def report(callback: object) -> None:
    try:
        raise ZeroDivisionError("no such number")
    except ZeroDivisionError:
        logs.report_callback(callback)


def test_without_a_logger_messages_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    logs.emit("error", "hello")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("type", "level"),
    [
        ("debug", logging.DEBUG),
        ("info", logging.INFO),
        ("warning", logging.WARNING),
        ("error", logging.ERROR),
        ("my own type", logging.INFO),
    ],
)
def test_types_become_levels(type: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "asyncore")
    asynccore.use_logging()
    logs.emit(type, "50% of %s")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("asyncore", level)
    assert record.getMessage() == "50% of %s"


def test_a_logger_is_given_by_name_or_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    asynccore.use_logging("by.name")
    logs.emit("error", 1)
    asynccore.use_logging(logging.getLogger("as.is"))
    logs.emit("error", 2)
    asynccore.use_logging(None)
    logs.emit("error", 3)
    assert [(r.name, r.getMessage()) for r in caplog.records] == [("by.name", "1"), ("as.is", "2")]


def test_an_exception_of_a_callback_is_written_with_its_traceback(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    report(report)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: uncaptured python exception in callback report\nTraceback")
    assert err.rstrip().endswith("ZeroDivisionError: no such number")
    assert caplog.records == []


def test_an_exception_of_a_callback_goes_to_the_logger_too(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    asynccore.use_logging()
    report(sys)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == f"uncaptured python exception in callback {sys!r}"
    assert record.exc_info is not None and record.exc_info[0] is ZeroDivisionError
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_without_a_standard_error_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    # As under pythonw.exe.
    monkeypatch.setattr(sys, "stderr", None)
    report(report)
