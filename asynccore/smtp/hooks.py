"""What a hook of the program answers to an SMTP session, if it does.

Facts. A database is down, a disk is full, a hook is a coroutine by mistake, or returns nothing.
A client whose connection is dropped for that can't tell it from a network that failed, and a
message may be lost or sent twice.

Consequence. `ask` returns what is an answer. Anything else is reported with its traceback, as
from any callback, and the session says that it is a matter of time.
"""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType, NoneType
from typing import Any, NamedTuple

from .. import logs
from ..errors import leaves_loop, reraised


class Answer(NamedTuple):
    """What the hook of this name returns: the types, and the words for them."""

    hook: str
    kinds: tuple[type, ...]
    words: str


class NoAnswer(Exception):
    """A hook raised, or returned what can be no answer; it is reported already."""


REPLY = Answer("process_message", (str, NoneType), "a reply (str) or None")
YES_OR_NO = Answer("authenticate", (bool,), "True or False")
ABOUT_CERTIFICATE = YES_OR_NO._replace(hook="authenticate_certificate")
USER = Answer("certificate_user", (str, NoneType), "a name (str) or None")


def ask(wanted: Answer, hook: Callable[..., Any], *args: object, **options: object) -> Any:
    """Return what `hook(*args, **options)` returns. Raises `NoAnswer` if it is not as `wanted`."""
    try:
        found = hook(*args, **options)
        if isinstance(found, wanted.kinds):
            return found
        if not found and NoneType in wanted.kinds:
            return None  # as classic smtpd takes it: a hook of some years may return False, or 0
        hint = ""
        if isinstance(found, CoroutineType):
            found.close()  # else there is a warning that nobody has awaited it
            hint = ": it can't be async"
        # Not what it is, which may be a secret.
        kind = type(found).__name__
        raise TypeError(f"{wanted.hook}() must return {wanted.words}, not {kind}{hint}")
    except reraised():
        raise
    except BaseException as why:
        if leaves_loop(why):
            raise
        logs.report_callback(hook)
        raise NoAnswer from None
