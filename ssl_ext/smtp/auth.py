"""SMTP AUTH (RFC 4954): who the client says it is, and how it proves that; without any I/O.

Facts. A mechanism is a conversation of challenges and responses, in base64, which the client may
break off with "*". PLAIN (RFC 4616) and LOGIN (which has no RFC, only draft-murchison-sasl-login,
and many clients) tell the password itself. EXTERNAL (RFC 4422 appendix A) says nothing: the proof
is the certificate that the client showed in its handshake.

Consequence. Each mechanism is a generator that yields challenges, is sent responses, and returns
what the client claims. An `Exchange` carries base64 and the SMTP replies around it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Generator
from typing import NamedTuple

CANCEL = "*"  # RFC 4954 section 4
EMPTY = "="  # an initial response of no bytes: RFC 4954 section 4

# Bytes of a line of the exchange: RFC 4954 section 4, where it is the limit for all mechanisms.
LINE_SIZE = 12288

NOT_BASE64 = "501 Error: cannot decode the response, it is not base64"
CANCELLED = "501 Authentication cancelled"
UNKNOWN_MECHANISM = "504 Error: unrecognized authentication mechanism"
MALFORMED = "501 Error: malformed response"

# RFC 3461 section 4; options are in upper case here.
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})+")


def is_mail_option(value: str | bool) -> bool:
    """Whether a value of the option AUTH of MAIL is one: xtext, or "<>" (RFC 4954 section 5)."""
    return isinstance(value, str) and _XTEXT.fullmatch(value) is not None


class Claim(NamedTuple):
    """What a client claims: to be `user`, for `password` (`None`: by its certificate).

    `acts_for` is on whose behalf it wants to act; "" for its own.
    """

    mechanism: str
    user: str
    password: str | None
    acts_for: str = ""


class Refused(Exception):
    """The conversation is over; the text is the reply."""


Mechanism = Generator[bytes, bytes, Claim]


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(MALFORMED) from None


def _name(data: bytes) -> str:
    name = _text(data)
    if not is_name(name):
        raise Refused(MALFORMED)
    return name


def is_name(text: str) -> bool:
    """Whether a text can name somebody: NUL and line ends would make two of it in some file."""
    return not set(text) & set("\0\r\n")


def _plain() -> Mechanism:
    parts = (yield b"").split(b"\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:  # RFC 4616 section 2
        raise Refused(MALFORMED)
    acts_for, user, password = _name(parts[0]), _name(parts[1]), _text(parts[2])
    return Claim("PLAIN", user, password, acts_for)


def _login() -> Mechanism:
    user = _name((yield b"Username:"))
    password = _text((yield b"Password:"))
    if not user or not password:
        raise Refused(MALFORMED)
    return Claim("LOGIN", user, password)


def _external() -> Mechanism:
    return Claim("EXTERNAL", "", None, _name((yield b"")))


MECHANISMS: dict[str, Callable[[], Mechanism]] = {
    "EXTERNAL": _external,
    "PLAIN": _plain,
    "LOGIN": _login,
}


class Exchange:
    """One authentication under way: `claim` is what came of it, once `answer` returns "".

    Raises `Refused` where the reply ends it.
    """

    claim: Claim | None = None

    def __init__(self, mechanism: str) -> None:
        self._steps = MECHANISMS[mechanism]()
        self._challenge = next(self._steps)

    def begin(self, initial: str | None) -> str:
        """Return the first challenge as a reply, or "" if the initial response says it all.

        LOGIN asks for the name first. Some clients send it at once nevertheless, which is taken
        for the answer here.
        """
        if initial is None:
            return self._reply()
        return self.answer("" if initial == EMPTY else initial)

    def answer(self, response: str) -> str:
        """Take the client's response; return the next challenge as a reply, or "" at the end."""
        if response == CANCEL:
            raise Refused(CANCELLED)
        try:
            data = base64.b64decode(response, validate=True)
        except (binascii.Error, ValueError):
            raise Refused(NOT_BASE64) from None
        try:
            self._challenge = self._steps.send(data)
        except StopIteration as end:
            self.claim = end.value
            return ""
        return self._reply()

    def _reply(self) -> str:
        return f"334 {base64.b64encode(self._challenge).decode()}"
