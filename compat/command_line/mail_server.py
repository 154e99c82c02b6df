"""Mail servers by options: what `asynccore sink` is, and `asynccore run -m smtpd` can be.

Facts. `python -m smtpd` prints mails or passes them on, in clear, to anybody. A disk that is full
or slow is no reason to lose a mail that was accepted. Passwords in a file are hashes, which take
long to check on purpose. Keys and passwords may be for root alone to read, and the server becomes
somebody else once it listens.

Consequence. Each option adds to a server class: the limits of `asynccore.hardened_smtpd`, or its
twin with TLS, as another base, so that TLS stands in front of `PureProxy` and of programs' own
classes as well. A mail is in the mailbox before the client is told 250, and 451 is what it is told
if that fails. It is kept with Return-Path, Delivered-To and Received in front. Passwords are bcrypt
hashes, as `htpasswd -B` writes them. Keys and passwords are read before the server listens, and the
mailbox is opened by who will write to it.

Trade-off. A mail is written, and a password checked, while others wait: this is for tests and small
machines. Whoever may connect may send to any recipient.
"""

from __future__ import annotations

import errno
import mailbox
import os
import time
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any, NamedTuple

from asynccore import logs
from asynccore.neighbours import resolve
from asynccore.smtp import command_line

# Of a hash by bcrypt: its versions differ in bugs of old programs alone.
_BCRYPT = ("$2a$", "$2b$", "$2y$")


class Settings(NamedTuple):
    """What the options say, under their names."""

    mailbox: str | None = None  # a Maildir
    mbox: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    smtps: bool = False  # TLS from the first byte, not by STARTTLS
    auth_file: str | None = None
    hardened: bool = False


class Mailbox:
    """Keeps mails in a Maildir, or an mbox file; nothing is there before `open`."""

    def __init__(self, maildir: str | None = None, mbox: str | None = None) -> None:
        self._path = os.path.abspath(maildir or mbox or "")
        self._is_mbox = maildir is None
        self._box: mailbox.Mailbox[Any] | None = None
        self._file: tuple[int, int] | None = None  # which one the library has open

    def open(self) -> None:
        """Open or make it. Raises `OSError`, also if it can't be written to."""
        self._box = (mailbox.mbox if self._is_mbox else mailbox.Maildir)(self._path)
        place = self._path if self._is_mbox else os.path.join(self._path, "tmp")
        # The library opens what can't be written to for reading alone, and says so with each mail.
        if not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), place)
        self._file = self._present()

    def _present(self) -> tuple[int, int] | None:
        """Return which file is under the path now; `None` for a Maildir, which is a folder."""
        if not self._is_mbox:
            return None
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _lock(self) -> Any:
        """Return the open mailbox, locked.

        Who reads mails may put another file in the place of this one, as the module mailbox does:
        what is written to the old one then is lost.
        """
        while True:
            if self._box is None:
                self.open()
            box: Any = self._box
            box.lock()
            if self._present() == self._file:
                return box
            self._box = None  # it is opened anew, also if that can't be done just now
            box.close()

    def close(self) -> None:
        """Close it, if it is open."""
        if self._box is not None:
            self._box.close()

    def keep(self, peer: object, sender: str, recipients: Sequence[str], data: bytes) -> None:
        """Keep a mail. Raises `OSError`, and `mailbox.Error`."""
        host = peer[0] if isinstance(peer, tuple) and peer else peer
        head = [f"Return-Path: <{sender}>", *(f"Delivered-To: {it}" for it in recipients)]
        head.append(f"Received: from [{host}] by asynccore; {formatdate(localtime=True)}")
        text = "".join(f"{line}\n" for line in head).encode("utf-8", "backslashreplace")
        mail: mailbox.Message
        if self._is_mbox:
            made = mailbox.mboxMessage(text + data)
            made.set_from(sender or "MAILER-DAEMON", time.gmtime())
            mail = made
        else:
            mail = mailbox.MaildirMessage(text + data)
        box = self._lock()
        try:
            box.add(mail)
            box.flush()
        finally:
            box.unlock()


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


class MailServer:
    """A server class with what `settings` add to it, and the mailbox that it keeps mails in.

    Without a mailbox, `base` says what becomes of mails. Raises `ValueError` for settings that
    contradict each other or can't be had here, and `OSError` for files that can't be read.
    """

    def __init__(self, base: Any, settings: Settings) -> None:
        if settings.mailbox is not None and settings.mbox is not None:
            raise ValueError("--mailbox and --mbox: a mail is kept in one place")
        self._box: Mailbox | None = None
        if settings.mailbox is not None or settings.mbox is not None:
            self._box = Mailbox(settings.mailbox, settings.mbox)
        body: dict[str, Any] = {}
        if settings.tls_cert is not None:
            base = _derived(base, _with_tls(settings))
        elif settings.tls_key is not None or settings.smtps or settings.auth_file is not None:
            raise ValueError("--tls-key, --smtps and --auth-file need --tls-cert")
        elif settings.hardened:
            from asynccore.hardened_smtpd import HardenedSMTPServer

            base = _derived(base, HardenedSMTPServer)
        if self._box is not None:
            body["process_message"] = _keeping(self._box)
        self.server_class = type(base.__name__, (base,), body)

    def open(self) -> None:
        """Open the mailbox, if there is one. Raises `OSError`."""
        if self._box is not None:
            self._box.open()

    def close(self) -> None:
        """Close the mailbox."""
        if self._box is not None:
            self._box.close()


def _keeping(box: Mailbox) -> Any:
    def process_message(
        self: object,
        peer: object,
        mailfrom: str,
        rcpttos: list[str],
        data: bytes,
        **options: object,
    ) -> str | None:
        try:
            box.keep(peer, mailfrom, rcpttos, data)
        except (OSError, mailbox.Error) as why:
            logs.warn(f"a mail of {mailfrom} can't be kept: {why}")
            return "451 Requested action aborted: local error in processing"
        return None

    return process_message


def _with_tls(settings: Settings) -> Any:
    """Return a server class that speaks TLS as settings say."""
    try:
        base: Any = resolve("ssl_ext:TLSSMTPServer")
    except ImportError as why:
        raise ValueError(f"there is no TLS: {why}") from why
    context = resolve("ssl_ext:server_context")(settings.tls_cert, settings.tls_key)
    # As attributes, for a class of old programs calls no `__init__` but that of `SMTPServer`.
    body: dict[str, Any] = {"context": context, "tls": "implicit" if settings.smtps else "required"}
    if settings.auth_file is not None:
        users = passwords(settings.auth_file)
        body["auth_required"] = True

        def authenticate(
            self: object, peer: object, mechanism: str, user: str, password: str
        ) -> bool:
            return knows(users, user, password)

        body["authenticate"] = authenticate

    def __init__(self: Any, *args: Any, **options: object) -> None:
        super(made, self).__init__(*args, context=context, **options)

    body["__init__"] = __init__
    made: Any = type(base.__name__, (base,), body)
    return made


def _derived(base: Any, more: Any) -> Any:
    """Return a class that is both, and does with mails what `base` does."""
    if issubclass(more, base):
        return more
    made: Any = base if issubclass(base, more) else type(base.__name__, (base, more), {})
    if not issubclass(made.channel_class, more.channel_class):
        raise ValueError(
            f"{base.__name__} has a channel_class of its own, which is no "
            f"{more.channel_class.__name__}"
        )
    return made


class Options:
    """The options of `asynccore run -m smtpd` beside the classic ones: `command_line.Further`."""

    names: Sequence[str] = "mailbox= mbox= tls-cert= tls-key= smtps auth-file= hardened".split()

    usage: str = """\
Options of asynccore, which are to be written out:

    --mailbox directory, --mbox file
        Keep the messages in this Maildir or mbox file, in place of what a class does. It is opened
        by the user that the server becomes.

    --tls-cert file, --tls-key file
        A certificate chain in PEM form, and its private key if that is in a file of its own.
        Nothing is taken before STARTTLS. All limits of asynccore.hardened_smtpd are on.

    --smtps
        TLS from the first byte instead.

    --auth-file file
        Users and passwords, as "htpasswd -B" writes them: nothing is taken before AUTH.

    --hardened
        All limits of asynccore.hardened_smtpd, without TLS.

"""

    def server(self, base: Any | None, said: Mapping[str, str]) -> MailServer:
        """Return a server of `base`, which is `None` if no class was asked for."""
        # runpy runs the module under another name, and warns if it has its own by then.
        from asynccore import smtpd

        given: Any = {name.replace("-", "_"): value or True for name, value in said.items()}
        settings = Settings(**given)
        if settings.mailbox is None and settings.mbox is None:
            return MailServer(smtpd.PureProxy if base is None else base, settings)
        if base is not None:
            raise ValueError("--mailbox and --mbox go without --class: they say what is done")
        return MailServer(smtpd.SMTPServer, settings)


def register() -> None:
    """Have `python -m smtpd` know these options; called by the legacy names."""
    command_line.further = Options()
