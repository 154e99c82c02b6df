"""TLS in front of the listeners of a program that knows nothing of it (`asynccore run --tls-cert`).

The settings are environment variables, so that child processes have them too; a password is not
among them, but the file that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from asynccore.dispatcher import dispatcher
from asynccore.termination import VARIABLE as CERT_VARIABLE

from .accepting import AcceptingSocket
from .contexts import Context, server_context
from .securing import in_front_of as _in_front_of

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
    """Return what an environment says. Raises `KeyError` if it says nothing."""
    cert, *others = VARIABLES
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


def in_front_of(channel: dispatcher) -> AcceptingSocket:
    """Return what takes the place of a channel's listening socket. Raises as `make_context`."""
    global _context
    if _context is None:  # one for all listeners, whose sessions may be resumed at each
        _context = make_context(settings_of(os.environ))
    return _in_front_of(channel, _context, channel.socket)
