"""What channels and the package say, as a log: `run --log-level, --log-file, --log-format`.

Facts. Classic programs print "info: ..." without a time, a process or a peer. Who collects logs
wants lines with all of these, or JSON. A log file is moved away by others while it is written
(logrotate).

Consequence. Environment variables have a handler of the module `logging` take what is said, in
place of the printing. Each line names time, level, worker, process, channel and peer. A file is
opened anew if it was moved.

Trade-off. What a program prints by itself stays as it is. Types that `ignore_log_types` would not
have printed are in the log, if its level has them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from logging.handlers import WatchedFileHandler
from typing import Any

from .. import logs, worker
from ..logs import FILE_VARIABLE, FORMAT_VARIABLE, FORMATS, LEVEL_VARIABLE, LEVELS
from .statistics import address_of

# The name that `use_logging` has by default.
_NAME = "asyncore"

# A message with what a client has sent must not look like several lines.
_ESCAPED = {code: repr(chr(code))[1:-1] for code in (*range(9), *range(10, 32), 127)}


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a line says, in its order; what is not there is `None`."""
    channel = getattr(record, "channel", None)
    place = worker.present
    return {
        "time": datetime.fromtimestamp(record.created, timezone.utc)
        .astimezone()
        .isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "worker": None if place is None else place.number,
        "process": record.process,
        "channel": None if channel is None else type(channel).__name__,
        "peer": None if channel is None else address_of(channel),
        "message": record.getMessage(),
    }


class TextFormatter(logging.Formatter):
    """A line of text for each record; "-" for what is not there."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        message = fields.pop("message").translate(_ESCAPED)
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        words = ["-" if value is None else str(value) for value in fields.values()]
        return " ".join([*words, message])


class JSONFormatter(logging.Formatter):
    """A line of JSON for each record, without what is not there."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps({key: value for key, value in fields.items() if value is not None})


def check(environ: Mapping[str, str]) -> None:
    """Raise `ValueError` for a level or a format that there is not, `OSError` for the file."""
    for variable, choices in ((LEVEL_VARIABLE, LEVELS), (FORMAT_VARIABLE, FORMATS)):
        value = environ.get(variable)
        if value and value not in choices:
            what = variable.rpartition("_")[2].lower()
            raise ValueError(f"unknown log {what} {value!r}: choose from {', '.join(choices)}")
    if environ.get(FILE_VARIABLE):
        with open(environ[FILE_VARIABLE], "a", encoding="utf-8"):
            pass  # it can be written


def begin(environ: Mapping[str, str]) -> None:
    """Have a log in place of the printing, as an environment says. Raises as `check`."""
    check(environ)
    file = environ.get(FILE_VARIABLE)
    handler: logging.StreamHandler[Any]
    if file:
        handler = WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    else:
        handler = logging.StreamHandler(_Escaping())
    formatters = {"text": TextFormatter, "json": JSONFormatter}
    handler.setFormatter(formatters[environ.get(FORMAT_VARIABLE) or "text"]())
    logger = logging.Logger(_NAME, (environ.get(LEVEL_VARIABLE) or "info").upper())
    logger.addHandler(handler)
    logs.use_log(logger)


class _Escaping:
    """The standard error of the moment, which takes what it can."""

    def write(self, text: str) -> None:
        logs.put(text.rstrip("\n"), sys.stderr)

    def flush(self) -> None:
        pass  # it is written by lines


def enter(environ: Mapping[str, str]) -> None:
    """Begin, if that can be; what prevents it is told, and the program goes on."""
    try:
        begin(environ)
    except (OSError, ValueError) as why:
        logs.warn(f"no log: {why}")
