"""SMTP servers for clients that nobody knows: those of `smtpd`, with every limit on.

They have a module of their own because `smtpd` holds what an unchanged program sees, and no more.
"""

from __future__ import annotations

from typing import Any

from . import smtpd
from ._smtp_limits import check_keyword as _check_keyword
from .channels import Map

__all__ = ["HardenedSMTPChannel", "HardenedSMTPServer"]


class HardenedSMTPChannel(smtpd.SMTPChannel):
    """An `SMTPChannel` for clients that nobody knows: every limit is on, CRLF alone ends a line."""

    strict_line_ends = True
    # Each has its reasons where it is defined; the numbers are what they are said to be.
    idle_timeout: float | None = 300  # RFC 5321 section 4.5.3.2.7 asks for 5 minutes at least
    command_timeout: float | None = 300  # the same
    write_timeout: float | None = 300  # Postfix's smtpd_timeout, for reading and writing
    data_timeout: float | None = 3600  # 32 MiB (DATA_SIZE_DEFAULT) at 75 kbit/s
    max_commands: int | None = (
        10_000  # ten for each of 1,000 messages, Exim's smtp_accept_max_per_connection
    )
    max_errors: int | None = 20  # Postfix's smtpd_hard_error_limit
    max_recipients: int | None = 1000  # Postfix's smtpd_recipient_limit


class HardenedSMTPServer(smtpd.SMTPServer):
    """An `SMTPServer` whose channels are `HardenedSMTPChannel`s.

    Each limit can be given as a keyword, for all channels: `max_recipients=100`, `None` for no
    limit; so can `strict_line_ends`. Raises `TypeError` or `ValueError` for what can't be one.
    """

    channel_class: Any = HardenedSMTPChannel

    def __init__(
        self,
        localaddr: Any,
        remoteaddr: Any = None,
        data_size_limit: int | None = smtpd.DATA_SIZE_DEFAULT,
        map: Map | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
        **limits: Any,
    ) -> None:
        for name, value in limits.items():
            _check_keyword(name, value)
        self._limits = limits
        super().__init__(localaddr, remoteaddr, data_size_limit, map, enable_SMTPUTF8, decode_data)

    def handle_accepted(self, conn: Any, addr: Any) -> None:
        """Start a channel on the connection, with the server's limits."""
        channel = self._start_channel(conn, addr)
        for name, value in self._limits.items():
            setattr(channel, name, value)
