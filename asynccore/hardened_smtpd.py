"""SMTP servers for clients that nobody knows: those of `smtpd`, with every limit on.

They have a module of their own because `smtpd` holds what an unchanged program sees, and no more.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from . import smtpd
from .channels import Map
from .classic.settings import Switch as _Switch
from .smtp.hooks import REPLY as _REPLY
from .smtp.hooks import NoAnswer as _NoAnswer
from .smtp.hooks import ask as _ask
from .smtp.limits import OF_LISTENERS as _OF_LISTENERS
from .smtp.limits import check_keyword as _check_keyword
from .smtpd import _host_name

if TYPE_CHECKING:
    import socket

__all__ = ["HardenedSMTPChannel", "HardenedSMTPServer"]

_LOCAL_ERROR = "451 Requested action aborted: local error in processing"  # RFC 5321 section 4.2.3


class HardenedSMTPChannel(smtpd.SMTPChannel):
    """An `SMTPChannel` for clients that nobody knows: every limit is on, CRLF alone ends a line.

    The client gets 451 if `process_message` raises, which is logged; and may send HELO or EHLO
    again, which acts as RSET (RFC 5321 section 4.1.4).
    """

    joins_replies = _Switch(True)
    _ac_greets_again = True
    strict_line_ends = True
    # Each has its reasons where it is defined; the numbers are what they are said to be.
    idle_timeout: float | None = 300  # RFC 5321 section 4.5.3.2.7 asks for 5 minutes at least
    command_timeout: float | None = 300  # the same
    write_timeout: float | None = 300  # Postfix's smtpd_timeout, for reading and writing
    data_timeout: float | None = 3600  # 32 MiB (DATA_SIZE_DEFAULT) at 75 kbit/s
    # Ten for each of 1,000 messages, Exim's smtp_accept_max_per_connection.
    max_commands: int | None = 10_000
    max_errors: int | None = 20  # Postfix's smtpd_hard_error_limit
    max_recipients: int | None = 1000  # Postfix's smtpd_recipient_limit

    def _ac_process_message(self, *args: object, **options: object) -> Any:
        try:
            return _ask(_REPLY, self.smtp_server.process_message, *args, **options)
        except _NoAnswer:
            return _LOCAL_ERROR


class HardenedSMTPServer(smtpd.SMTPServer):
    """An `SMTPServer` whose channels are `HardenedSMTPChannel`s.

    Each limit can be given as a keyword: those of the channels, with `strict_line_ends`, for all
    of them (`max_recipients=100`), and those of the listener (`max_connections=10`); `None` for
    no limit. Raises `TypeError` or `ValueError` for what can't be one.
    """

    channel_class: type[HardenedSMTPChannel] = HardenedSMTPChannel
    max_connections: int | None = 100  # Postfix's default_process_limit
    max_connections_per_peer: int | None = 50  # Postfix's smtpd_client_connection_count_limit

    # A class that is derived from another one, too, may call the `__init__` of `SMTPServer` alone.
    _ac_limits: dict[str, Any] = {}

    def __init__(
        self,
        localaddr: tuple[str, int],
        remoteaddr: tuple[str, int] | None = None,
        data_size_limit: int | None = smtpd.DATA_SIZE_DEFAULT,
        map: Map | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
        **limits: object,
    ) -> None:
        for name, value in limits.items():
            _check_keyword(name, value)
        own = {name: value for name, value in limits.items() if name in _OF_LISTENERS}
        self._ac_limits = {name: limits[name] for name in limits if name not in own}
        super().__init__(localaddr, remoteaddr, data_size_limit, map, enable_SMTPUTF8, decode_data)
        for name, value in own.items():
            setattr(self, name, value)

    def handle_accepted(self, conn: socket.socket | Any, addr: tuple[str, int] | Any) -> None:
        """Start a channel on the connection, with the server's limits."""
        channel = self._ac_start_channel(conn, addr)
        for name, value in self._ac_limits.items():
            setattr(channel, name, value)

    def handle_refused(
        self, sock: socket.socket | Any, addr: tuple[str, int] | Any, reason: str
    ) -> None:
        """Say 421 to a connection that is one too many, and close it."""
        with contextlib.suppress(OSError):  # it has gone already
            # As much as fits: a connection that is new has room for a line.
            sock.setblocking(False)
            sock.send(f"421 {_host_name(self)} Error: too many connections\r\n".encode())
        super().handle_refused(sock, addr, reason)
