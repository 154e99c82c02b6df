"""Passing a message on to the next server, and what its client is told of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import logs
from ..errors import leaves_loop, reraised
from .text import for_smtplib

REPLY_SIZE = 510  # bytes, less CRLF: RFC 5321 section 4.5.3.1.5

# For what smtplib refuses to send, and would again: an address with a line end, or beyond ASCII.
# RFC 5321 section 4.2.3.
NEVER = "553 Error: this can't be passed on"

# For what went wrong here: the client keeps the message. RFC 5321 section 4.2.3.
LATER = "451 Requested action aborted: local error in processing"

# Recipient -> code and text of the reply that refused it. The code is -1 if there was no reply.
Refused = dict[str, tuple[int, Any]]


def deliver(
    remote_address: Any,
    mailfrom: str,
    rcpttos: list[str],
    data: str | bytes,
    debug: Callable[..., None],
) -> Refused:
    """Send a message to the server at `remote_address`; return the recipients it refused."""
    import smtplib

    try:
        remote = smtplib.SMTP()
        try:
            remote.connect(remote_address[0], remote_address[1])
        except ValueError as why:
            # Not the message's fault: "label empty or too long" of the codec idna.
            raise RuntimeError(f"{remote_address!r} can't be the address of a server") from why
        try:
            return remote.sendmail(mailfrom, rcpttos, for_smtplib(data))
        finally:
            remote.quit()
    except smtplib.SMTPRecipientsRefused as error:
        debug("got SMTPRecipientsRefused")
        return error.recipients
    except (OSError, smtplib.SMTPException) as error:
        debug("got %s", error.__class__)
        # A connection that was lost has no reply to hand on.
        reply = getattr(error, "smtp_code", -1), getattr(error, "smtp_error", "ignore")
        return dict.fromkeys(rcpttos, reply)


def attempt(
    deliver: Callable[[str, list[str], str | bytes], Refused],
    mailfrom: str,
    rcpttos: list[str],
    data: str | bytes,
) -> Refused | str:
    """Return what `deliver` returns; where it raises, the reply that tells the client."""
    try:
        return deliver(mailfrom, rcpttos, data)
    except reraised():
        raise
    except ValueError:
        return NEVER
    except BaseException as why:
        if leaves_loop(why):
            raise
        logs.report_callback(deliver)
        return LATER


def refusal(refused: Refused, rcpttos: list[str]) -> str:
    """Return the reply for a client whose message the next server did not take for `refused`.

    There is one reply for all recipients (RFC 5321 section 4.2). If all are refused it is the
    server's own, and a temporary one if there is any. If some are, it is permanent and says which:
    at a temporary one the client would send the message again, to the others too.
    """
    code, text = min(refused.values(), key=lambda reply: (reply[0] // 100 == 5, reply[0]))
    if not 400 <= code <= 599:  # no reply, or one that is no refusal
        code, text = 451, "the next server can't be reached"
    said = f"{code} {_one_line(text)}"
    if len(refused) < len(rcpttos):
        said = f"554 Error: not delivered to {' '.join(refused)}: {said}"
    return said[:REPLY_SIZE]


def _one_line(text: object) -> str:
    """Return what a server said, as smtplib hands it on, in one line of ASCII."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "backslashreplace")
    return " ".join(str(text).split())
