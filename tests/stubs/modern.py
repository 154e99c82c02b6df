"""Names that only asynccore's modules have, under the legacy names: for Python 3.12 and later."""

# pyright: basic

from __future__ import annotations

import asynchat
import asyncore
import smtpd


class Chat(asynchat.async_chat):
    idle_timeout = 30
    max_line_length = 1000

    def found_terminator(self) -> None:
        self.shutdown_write()


class Inbox(smtpd.SMTPServer):
    max_connections = 100


def main() -> None:
    timer = asyncore.call_later(2.5, asyncore.stop)
    timer.cancel()
    asyncore.loop(until_idle=True)
    asyncore.graceful_close(timeout=10)
    asyncore.loop("soon")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
