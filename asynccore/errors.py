"""The exceptions and errnos that mean something to a loop."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Container
from errno import (
    EAGAIN,
    EBADF,
    ECONNABORTED,
    ECONNRESET,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMFILE,
    ENETDOWN,
    ENETRESET,
    ENETUNREACH,
    ENFILE,
    ENOBUFS,
    ENOMEM,
    ENOPROTOOPT,
    ENOTCONN,
    EPIPE,
    EPROTO,
    ESHUTDOWN,
    ETIMEDOUT,
    EWOULDBLOCK,
    errorcode,
)
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])


class ExitNow(Exception):
    """Raised in a handler to leave `loop()`; the channels stay as they are (classic asyncore)."""


# What passes through the loop instead of being handed to `handle_error`.
RERAISED = (ExitNow, KeyboardInterrupt, SystemExit)


def leaves_loop(why: BaseException) -> bool:
    """Whether an exception is the `ExitNow` of another copy of asyncore.

    That is a class of this name beside the `loop` and the `dispatcher` of one and the same module.
    Any other class `ExitNow` is an error like others, as it was to classic asyncore; ours is what
    the program says in `_reraised_exceptions`.
    """
    for cls in type(why).__mro__:
        if cls.__name__ == "ExitNow" and cls is not ExitNow:
            module = sys.modules.get(cls.__module__)
            dispatcher = getattr(module, "dispatcher", None)
            if (
                getattr(module, "ExitNow", None) is cls
                and getattr(dispatcher, "__module__", None) == cls.__module__
                and hasattr(module, "loop")
            ):
                return True
    return False


def reports_to_channel(callback: _Function) -> _Function:
    """Mark a callback that hands what goes wrong to its channel's `handle_error`.

    Whatever it raises all the same is what that raised, and leaves the loop, as from any event.
    """
    callback._reports_to_channel = True  # type: ignore[attr-defined]
    return callback


def judges_peer(callback: _Function) -> _Function:
    """Mark a timer's callback that judges whether a peer was too slow.

    It runs once everything that had come by its time was looked at: a handler, or a process that
    was stopped, may have kept the loop from that.
    """
    callback._judges_peer = True  # type: ignore[attr-defined]
    return callback


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
NOBODY = frozenset(
    {
        EWOULDBLOCK,
        EAGAIN,
        ECONNABORTED,
        ECONNRESET,
        EHOSTDOWN,
        EHOSTUNREACH,
        ENETDOWN,
        ENETUNREACH,
        ENOPROTOOPT,
        EPROTO,
        ETIMEDOUT,
        getattr(errno, "ENONET", EAGAIN),  # Linux alone has it
    }
)


def _strerror(err: int) -> str:
    """Return the text for an errno, or "Unknown error N" (classic asyncore)."""
    try:
        return os.strerror(err)
    except (ValueError, OverflowError):
        return errorcode.get(err, f"Unknown error {err}")


# What programs may rebind is looked up in the package, as `classic.namespace` does for others.
_PACKAGE = __name__.rpartition(".")[0]


def reraised() -> tuple[type[BaseException], ...]:
    """Return what passes through a loop instead of going to `handle_error`.

    For use after `except`, which calls this only when something was raised.
    """
    found: tuple[type[BaseException], ...] = sys.modules[_PACKAGE]._reraised_exceptions
    return found


def disconnected() -> Container[int | None]:
    """Return the numbers of errors that mean the end of a connection."""
    found: Container[int | None] = sys.modules[_PACKAGE]._DISCONNECTED
    return found
