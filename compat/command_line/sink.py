"""`asynccore sink`: a mail server that keeps what it gets, or prints it.

It is `mail_server` with every limit on, and nothing is passed on.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import asynccore
from asynccore import logs
from asynccore.hardened_smtpd import HardenedSMTPServer
from asynccore.running import draining

from .mail_server import MailServer, Settings

# The greatest mail in bytes, unless it is said: that of `smtpd`.
SIZE = 33554432


class SinkServer(HardenedSMTPServer):
    """Prints mails; what the output has no characters for is escaped."""

    def process_message(
        self, peer: object, mailfrom: str, rcpttos: Sequence[str], data: bytes, **options: object
    ) -> None:
        """Print a mail."""
        logs.put(f"--- from {mailfrom or '<>'} to {', '.join(rcpttos)}, by {peer}", sys.stdout)
        logs.put(data.decode("utf-8", "backslashreplace").rstrip("\n"), sys.stdout)
        logs.put("---", sys.stdout)
        print(end="", flush=True)  # where there is no output, this does nothing


def main(
    address: tuple[str, int], settings: Settings, *, size: int = SIZE, smtputf8: bool = False
) -> int:
    """Serve until SIGINT, or SIGTERM and the end of the last mail.

    Raises `ValueError` for settings that contradict each other, and `OSError`.
    """
    mails = MailServer(SinkServer, settings)
    draining.enter()
    with ExitStack() as stack:
        stack.callback(mails.close)
        mails.open()
        server = mails.server_class(address, None, size, enable_SMTPUTF8=smtputf8)
        stack.callback(server.close)
        where = server.socket.getsockname()
        print(f"listening on {where[0]}:{where[1]}", flush=True)
        with suppress(KeyboardInterrupt):
            asynccore.loop()
    return 0
