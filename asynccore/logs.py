"""What the package says: the classic printing, and `logging` beside it when asked for.

Facts. Somebody closes the terminal, a disk is full, a pipe has no reader any more, a service
has no standard error. What a client has sent can't be written in the encoding of the output.

Consequence. What can't be written is escaped, and else lost: a line less in a log is no reason to
end a loop with all its connections.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

_PACKAGE = __name__.rpartition(".")[0]

_logger: logging.Logger | None = None
_log: logging.Logger | None = None
printing = True  # whether there is no log in the place of it

# What a log in place of the printing is to be: set by `asynccore run --log-level` and so on.
LEVEL_VARIABLE = "ASYNCCORE_LOG_LEVEL"
FILE_VARIABLE = "ASYNCCORE_LOG_FILE"
FORMAT_VARIABLE = "ASYNCCORE_LOG_FORMAT"
VARIABLES = (LEVEL_VARIABLE, FILE_VARIABLE, FORMAT_VARIABLE)
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")

# The types that classic `log_info` knows, as levels of the logging module.
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def use_logging(logger: logging.Logger | str | None = "asyncore") -> None:
    """Send what channels say to a logger too, beside the classic printing.

    `logger` is a logger or its name; `None` turns it off again. The `type` of `log_info` becomes
    the level, and `log` becomes INFO. `ignore_log_types` concerns the printing alone.
    """
    global _logger
    if isinstance(logger, str):
        import logging

        logger = logging.getLogger(logger)
    _logger = logger


def use_log(logger: logging.Logger | None) -> None:
    """Send what is said to a logger in place of the printing; `None` has it printed again."""
    global _log, printing
    _log, printing = logger, logger is None


def _leaving() -> tuple[type[BaseException], ...]:
    # As `errors.reraised`, beside which this stands on the ground floor.
    found: tuple[type[BaseException], ...] = sys.modules[_PACKAGE]._reraised_exceptions
    return found


def put(text: str, stream: Any) -> None:
    """Write a line to a stream such as `sys.stderr`, as far as that is possible."""
    if stream is None:
        return  # pythonw, and daemons
    try:
        try:
            stream.write(f"{text}\n")
        except UnicodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            escaped = text.encode(encoding, "backslashreplace").decode(encoding)
            stream.write(f"{escaped}\n")
    except _leaving():
        raise
    except Exception:
        pass  # OSError of the system, ValueError if it is closed, anything of a program's own


def text_of(message: object) -> str:
    """Return a message as a text, or what stands for one that can't say what it is."""
    try:
        return f"{message}"
    except _leaving():
        raise
    except Exception:
        return f"<{type(message).__name__} that can't be printed>"


def emit(type: str, message: object, exc_info: bool = False, channel: object = None) -> None:
    """Pass a message to the loggers in use, if any; the log is told of the channel, too."""
    # What stands in for a logger knows no more than it is told here.
    more: dict[str, Any] = {"exc_info": True} if exc_info else {}
    for logger in (_logger, _log):
        if logger is not None:
            if logger is _log:
                more["extra"] = {"channel": channel}
            try:
                logger.log(_LEVELS.get(type, 20), "%s", message, **more)
            except _leaving():
                raise
            except Exception:
                pass  # a handler that fails, and fails to say so on the standard error


def warn(message: str) -> None:
    """Tell whoever runs the program, on the standard error stream and by the logger in use."""
    emit("warning", message)
    if printing:
        put(f"warning: {message}", sys.stderr)


def report_callback(callback: object) -> None:
    """Report the current exception, which left a timer or a callback, with its traceback."""
    name = getattr(callback, "__qualname__", None) or text_of(callback)
    message = f"uncaptured python exception in callback {name}"
    emit("error", message, exc_info=True)
    if printing:
        put(f"error: {message}\n{traceback.format_exc().rstrip()}", sys.stderr)
