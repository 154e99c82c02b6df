"""`asynccore sink`: a mail server that keeps what it gets, or prints it.

Facts. `python -m smtpd` prints mails or passes them on, in clear, to anybody. A disk that is full
or slow is no reason to lose a mail that was accepted. Passwords in a file are hashes, which take
long to check on purpose.

Consequence. The server is the one with every limit on (`asynccore.hardened_smtpd`), or its twin
with TLS. A mail is in the mailbox before the client is told 250, and 451 is what it is told if that
fails. It is kept with Return-Path, Delivered-To and Received in front. Passwords are bcrypt
hashes, as `htpasswd -B` writes them.

Trade-off. A mail is written, and a password checked, while others wait: this is for tests and small
machines. Nothing is passed on, and whoever may connect may send to any recipient.
"""

from __future__ import annotations

import mailbox
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from email.utils import formatdate
from typing import Any

import asynccore
from asynccore import logs
from asynccore.hardened_smtpd import HardenedSMTPServer
from asynccore.neighbours import resolve
from asynccore.running import draining

# The greatest mail in bytes, unless it is said: that of `smtpd`.
SIZE = 33554432

# Of a hash by bcrypt: its versions differ in bugs of old programs alone.
_BCRYPT = ("$2a$", "$2b$", "$2y$")

Keep = Callable[[Any, str, Sequence[str], bytes], None]


class Mailbox:
    """Keeps mails in a Maildir, or an mbox file."""

    def __init__(self, box: mailbox.Mailbox[Any]) -> None:
        self._box = box

    def __call__(self, peer: object, sender: str, recipients: Sequence[str], data: bytes) -> None:
        """Keep a mail. Raises `OSError`, and `mailbox.Error`."""
        host = peer[0] if isinstance(peer, tuple) and peer else peer
        head = [f"Return-Path: <{sender}>", *(f"Delivered-To: {it}" for it in recipients)]
        head.append(f"Received: from [{host}] by asynccore sink; {formatdate(localtime=True)}")
        text = "".join(f"{line}\n" for line in head).encode("utf-8", "backslashreplace")
        mail: mailbox.Message
        if isinstance(self._box, mailbox.mbox):
            made = mailbox.mboxMessage(text + data)
            made.set_from(sender or "MAILER-DAEMON", time.gmtime())
            mail = made
        else:
            mail = mailbox.MaildirMessage(text + data)
        self._box.lock()
        try:
            self._box.add(mail)
            self._box.flush()
        finally:
            self._box.unlock()


def show(peer: object, sender: str, recipients: Sequence[str], data: bytes) -> None:
    """Print a mail; what the output has no characters for is escaped."""
    logs.put(f"--- from {sender or '<>'} to {', '.join(recipients)}, by {peer}", sys.stdout)
    logs.put(data.decode("utf-8", "backslashreplace").rstrip("\n"), sys.stdout)
    logs.put("---", sys.stdout)
    sys.stdout.flush()


def passwords(path: str) -> dict[str, bytes]:
    """Return the users of a file as `htpasswd -B` writes it, with the hashes of their passwords.

    Raises `ValueError` for other hashes, and without the package bcrypt; `OSError`.
    """
    try:
        import bcrypt  # noqa: F401
    except ImportError:
        raise ValueError(
            "--auth-file needs the package bcrypt: pip install 'asynccore[auth]'"
        ) from None
    found = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            user, colon, hashed = line.strip().partition(":")
            if not user or user.startswith("#"):
                continue
            if not colon or not hashed.startswith(_BCRYPT):
                raise ValueError(f"{path}, line {number}: no bcrypt hash (htpasswd -B) of {user!r}")
            found[user] = hashed.encode()
    return found


def knows(users: Mapping[str, bytes], user: str, password: str) -> bool:
    """Whether a password is that of a user. It takes as long for one that there is not."""
    import bcrypt

    hashed = users.get(user) or next(iter(users.values()), None)
    if hashed is None:
        return False
    try:
        # bcrypt takes no more, and its newer releases refuse it.
        matches = bcrypt.checkpw(password.encode()[:72], hashed)
    except ValueError:
        return False  # not a hash, but for its beginning; or NUL in the password
    return matches and user in users


def server_of(
    address: tuple[str, int],
    keep: Keep,
    *,
    size: int = SIZE,
    smtputf8: bool = False,
    tls: Mapping[str, Any] | None = None,
    users: Mapping[str, bytes] | None = None,
    map: object = None,
) -> Any:
    """Return a server that keeps its mails by `keep`; `tls` are keywords of `TLSSMTPServer`."""

    def process_message(
        self: object,
        peer: object,
        mailfrom: str,
        rcpttos: list[str],
        data: bytes,
        **options: object,
    ) -> str | None:
        try:
            keep(peer, mailfrom, rcpttos, data)
        except (OSError, mailbox.Error) as why:
            logs.warn(f"a mail of {mailfrom} can't be kept: {why}")
            return "451 Requested action aborted: local error in processing"
        return None

    body: dict[str, Any] = {"process_message": process_message}
    base: Any = HardenedSMTPServer
    more: dict[str, Any] = {}
    if tls is not None:
        base = resolve("ssl_ext:TLSSMTPServer")
        more.update(tls)
        if users is not None:
            more["auth_required"] = True

            def authenticate(
                self: object, peer: object, mechanism: str, user: str, password: str
            ) -> bool:
                return knows(users, user, password)

            body["authenticate"] = authenticate
    made = type("SinkServer", (base,), body)
    return made(address, None, size, map=map, enable_SMTPUTF8=smtputf8, **more)


def main(
    address: tuple[str, int],
    *,
    maildir: str | None = None,
    mbox: str | None = None,
    size: int = SIZE,
    smtputf8: bool = False,
    cert: str | None = None,
    key: str | None = None,
    smtps: bool = False,
    auth_file: str | None = None,
) -> int:
    """Serve until SIGINT, or SIGTERM and the end of the last mail.

    Raises `ValueError` for options that contradict each other, and `OSError`.
    """
    tls: dict[str, Any] | None = None
    if cert is not None:
        context = resolve("ssl_ext:server_context")(cert, key)
        tls = {"context": context, "tls": "implicit" if smtps else "required"}
    elif key is not None or smtps or auth_file is not None:
        raise ValueError("--tls-key, --smtps and --auth-file need --tls-cert")
    users = None if auth_file is None else passwords(auth_file)
    draining.enter()
    with ExitStack() as stack:
        keep: Keep = show
        if maildir is not None:
            keep = Mailbox(stack.enter_context(closing(mailbox.Maildir(maildir))))
        elif mbox is not None:
            keep = Mailbox(stack.enter_context(closing(mailbox.mbox(mbox))))
        server = server_of(address, keep, size=size, smtputf8=smtputf8, tls=tls, users=users)
        stack.callback(server.close)
        where = server.socket.getsockname()
        print(f"listening on {where[0]}:{where[1]}", flush=True)
        with suppress(KeyboardInterrupt):
            asynccore.loop()
    return 0
