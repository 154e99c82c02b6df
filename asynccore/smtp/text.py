"""The text of a mail message on its way through the server: pure functions, linear in its length.

Everything here works on bytes and on str alike, as the servers do (`decode_data`), by built-in
searches rather than a loop over lines.
"""

from __future__ import annotations

import re
from typing import AnyStr

# So many pieces in a row, each of fewer characters than that, are kept as one: an object of its
# own costs 33 bytes and more (CPython on 64 bits), so they cost about a tenth of what they hold.
SMALL_PIECE = 512
SMALL_PIECES = 512

ANY_LINE_END = re.compile(rb"\r\n|\r|\n")


def has_only_crlf(raw: str | bytes) -> bool:
    """Whether CR and LF occur in `raw` only as CRLF, and NUL not at all.

    RFC 5321 section 2.3.8 and, as for NUL, RFC 2045 section 2.8.
    """
    if isinstance(raw, bytes):
        return b"\0" not in raw and _joined_by_lf(raw, b"\r", b"\n") is not None
    return "\0" not in raw and _joined_by_lf(raw, "\r", "\n") is not None


def _joined_by_lf(raw: AnyStr, cr: AnyStr, newline: AnyStr) -> AnyStr | None:
    """Return lines joined by LF in place of CRLF; `None` if CR or LF occurs otherwise."""
    # What deals with single characters runs at the speed of memchr(3): to look for pairs takes
    # twice as long, and a regular expression takes seconds for 32 MiB.
    lines = raw.replace(cr, cr[:0])
    return lines if lines.replace(newline, cr + newline) == raw else None


def unstuff(raw: AnyStr) -> AnyStr:
    """Return the message that DATA transferred as `raw`: lines joined by LF, added dots removed.

    `raw` is what came before the final CRLF "." CRLF. RFC 5321 section 4.5.2.
    """
    if isinstance(raw, bytes):
        return _unstuff(raw, b"\r", b"\n", b".")
    return _unstuff(raw, "\r", "\n", ".")


def _unstuff(raw: AnyStr, cr: AnyStr, newline: AnyStr, dot: AnyStr) -> AnyStr:
    if raw.startswith(dot):
        raw = raw[1:]
    raw = raw.replace(cr + newline + dot, cr + newline)
    lines = _joined_by_lf(raw, cr, newline)
    return raw.replace(cr + newline, newline) if lines is None else lines


def add_header(message: AnyStr, header: AnyStr) -> AnyStr:
    """Return `message` with the line `header` added before its first empty line.

    A message without an empty line gets it as its last line, unended, as in the classic proxies.
    """
    if isinstance(message, bytes):
        return _add_header(message, header, b"\n")
    return _add_header(message, header, "\n")


def _add_header(message: AnyStr, header: AnyStr, newline: AnyStr) -> AnyStr:
    if not message or message.startswith(newline):
        return header + newline + message
    end = message.find(newline + newline)
    if end < 0 and message.endswith(newline):
        end = len(message) - len(newline)
    if end < 0:
        return message + newline + header
    start = end + len(newline)
    return message[:start] + header + newline + message[start:]


def for_smtplib(message: str | bytes) -> str | bytes:
    """Return `message` as `smtplib.SMTP.sendmail` can send it without changing its meaning.

    `sendmail` refuses str beyond ASCII, and sends bytes with the line ends that they have: lone
    CR and LF become CRLF before the dots are doubled, so that none ends the message early.
    """
    if isinstance(message, str):
        if message.isascii():
            return message
        message = message.encode("utf-8", "surrogateescape")
    return ANY_LINE_END.sub(b"\r\n", message)
