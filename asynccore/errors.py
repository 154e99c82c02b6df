"""The exceptions and errnos that mean something to a loop."""

from __future__ import annotations

import os
from errno import (
    EAGAIN,
    EBADF,
    ECONNABORTED,
    ECONNRESET,
    EHOSTUNREACH,
    EMFILE,
    ENETDOWN,
    ENETRESET,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENOTCONN,
    EPIPE,
    ESHUTDOWN,
    ETIMEDOUT,
    EWOULDBLOCK,
    errorcode,
)


class ExitNow(Exception):
    """Raised in a handler to leave `loop()`; the channels stay as they are (classic asyncore)."""


# What passes through the loop instead of being handed to `handle_error`.
RERAISED = (ExitNow, KeyboardInterrupt, SystemExit)

# What recv() and send() take for the end of the connection: the classic six, and what Linux
# reports for a peer or a network that is gone (tcp(7), ip(7)), which classic asyncore let
# through to `handle_error`.
_DISCONNECTED = frozenset(
    {
        ECONNRESET,
        ENOTCONN,
        ESHUTDOWN,
        ECONNABORTED,
        EPIPE,
        EBADF,
        ETIMEDOUT,
        EHOSTUNREACH,
        ENETDOWN,
        ENETUNREACH,
        ENETRESET,
    }
)

# accept(2): the process or the system is out of descriptors or memory.
EXHAUSTED = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})

# accept(2): what a listener must take for "nobody there", for Linux passes on the new
# connection's own network errors.
NOBODY = frozenset({EWOULDBLOCK, EAGAIN, ECONNABORTED, EHOSTUNREACH, ENETDOWN, ENETUNREACH})


def _strerror(err: int) -> str:
    """Return the text for an errno, or "Unknown error N" (classic asyncore)."""
    try:
        return os.strerror(err)
    except (ValueError, OverflowError):
        return errorcode.get(err, f"Unknown error {err}")
