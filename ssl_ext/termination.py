"""TLS in front of the listeners of a program that knows nothing of it (`asynccore run --tls-cert`).

Facts. The program may start others, and change its folder and its user. SIGHUP ends a program
that has no handler for it; servers use it to be told of new files, and a terminal that is closed
sends it too.

Consequence. The settings are environment variables, which child processes have as well, and the
files absolute paths; a password is not among them, but the file that holds it. With the first
listener, a SIGHUP that nobody handles becomes "the certificates were renewed", unless the terminal
has gone.

Trade-off. A program that asks finds a handler that it has not set.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.listening.interception import PREFIX
from asynccore.listening.interception import VARIABLE as CERT_VARIABLE
from asynccore.running.loop import call_soon_threadsafe

from . import requirements  # noqa: F401 - before the others: it says what is missing
from .contexts.context import Context, server_context
from .contexts.renewal import RenewedContext
from .dispatchers.securing import in_front_of as _in_front_of
from .sockets.accepting import AcceptingSocket

KEY_VARIABLE = "ASYNCCORE_TLS_KEY"
PASSWORD_FILE_VARIABLE = "ASYNCCORE_TLS_PASSWORD_FILE"
CLIENT_CA_VARIABLE = "ASYNCCORE_TLS_CLIENT_CA"

# In the order of `Settings`.
VARIABLES = (CERT_VARIABLE, KEY_VARIABLE, PASSWORD_FILE_VARIABLE, CLIENT_CA_VARIABLE)


class Settings(NamedTuple):
    """Files: the certificate chain, its key, the key's password, and whose clients may come in."""

    cert: str
    key: str | None = None
    password_file: str | None = None
    client_ca: str | None = None

    def variables(self) -> dict[str, str]:
        """Return the environment that says so, in absolute paths: a program may change folders."""
        given = zip(VARIABLES, self, strict=True)
        return {variable: os.path.abspath(path) for variable, path in given if path is not None}


def settings_of(environ: Mapping[str, str]) -> Settings:
    """Return what an environment says.

    Raises `ValueError` if it says nothing, not enough, or something that can't be meant: an empty
    client CA would be the current folder, and a misspelt one nobody's.
    """
    for variable in environ:
        if variable.startswith(PREFIX):
            if variable not in VARIABLES:
                raise ValueError(f"there is no variable {variable}, but {', '.join(VARIABLES)}")
            if not environ[variable]:
                raise ValueError(
                    f"{variable} is empty: give it the path of a file, or take it out of the "
                    "environment"
                )
    cert, *others = VARIABLES
    if cert not in environ:
        raise ValueError(f"TLS needs a certificate: --tls-cert FILE, or {cert}=FILE")
    return Settings(environ[cert], *(environ.get(variable) for variable in others))


def make_context(settings: Settings) -> Context:
    """Return a server's context; with `client_ca`, clients must have a certificate of these.

    Raises `OSError` for a file that can't be read and `ValueError` for what can't be right.
    """
    password = None
    if settings.password_file is not None:
        try:
            password = Path(settings.password_file).read_bytes().rstrip(b"\r\n")
        except OSError as why:
            name = settings.password_file
            raise type(why)(why.errno, f"can't read the password: {why.strerror}", name) from None
    return server_context(
        settings.cert,
        settings.key,
        password,
        client_auth="none" if settings.client_ca is None else "required",
        ca=settings.client_ca,
    )


_context: Any = None
_made: weakref.WeakSet[AcceptingSocket] = weakref.WeakSet()


def in_front_of(channel: dispatcher) -> AcceptingSocket:
    """Return what takes the place of a channel's listening socket.

    Raises `OSError` where there can't be TLS: that is what programs expect of `listen`.
    """
    global _context
    if _context is None:  # one for all listeners, whose sessions may be resumed at each
        try:
            files = settings_of(os.environ).variables()  # absolute, before the folder changes
            settings = settings_of(files)
            _context = RenewedContext(lambda: make_context(settings), list(files.values()))
        except ValueError as why:
            raise OSError(errno.EINVAL, f"no TLS for a listener: {why}") from why
        if sys.platform != "win32":
            _renew_on_hangup()
    made = _in_front_of(channel, _context, channel.socket)
    _made.add(made)
    return made


if sys.platform != "win32":
    from asynccore.engine.signals import has_terminal

    def _renew_on_hangup() -> None:
        """Have SIGHUP renew the context in the loop of a listener, if nobody handles it."""
        if threading.current_thread() is not threading.main_thread():
            return  # no other may set a handler
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL:
            return
        session = os.getsid(0) if has_terminal() else None

        def hung_up(signum: int, frame: object) -> None:
            if session is not None and session == os.getsid(0) and not has_terminal():
                # The terminal was closed, and not left by becoming a daemon.
                signal.signal(signum, signal.SIG_DFL)
                os.kill(os.getpid(), signum)
                return
            listening = [front for front in _made if front.plain.fileno() != -1]
            if listening:
                # Not here: the signal may have come in the middle of anything.
                call_soon_threadsafe(_context.renew, map=listening[0]._ac_map)

        signal.signal(signal.SIGHUP, hung_up)
