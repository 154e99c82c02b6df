"""What the package says: the classic printing, and `logging` beside it when asked for."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import logging

_logger: logging.Logger | None = None

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


def emit(type: str, message: Any) -> None:
    """Pass a message to the logger in use, if any."""
    if _logger is not None:
        _logger.log(_LEVELS.get(type, 20), "%s", message)


def warn(message: str) -> None:
    """Tell whoever runs the program, on the standard error stream and by the logger in use."""
    emit("warning", message)
    if sys.stderr is not None:
        sys.stderr.write(f"warning: {message}\n")


def report_callback(callback: Any) -> None:
    """Report the current exception, which left a timer or a callback, with its traceback."""
    name = getattr(callback, "__qualname__", None) or repr(callback)
    message = f"uncaptured python exception in callback {name}"
    if _logger is not None:
        _logger.error(message, exc_info=True)
    if sys.stderr is not None:
        sys.stderr.write(f"error: {message}\n{traceback.format_exc()}")
