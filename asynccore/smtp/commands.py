"""The SMTP commands, and the state of the dialogue that they change (RFC 5321 section 4.1).

Facts. Programs override and call single commands, and read and assign the state between them.

Consequence. Each command is a method `smtp_VERB(argument)`, found by its name, and the state is
attributes under the classic names.

Trade-off. The attributes can be assigned at any time, so nothing derived from them is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .syntax import (
    UNKNOWN_RCPT_OPTION,
    EsmtpOptions,
    parse_address,
    parse_options,
    parse_usual_address,
    refuse_mail_options,
    strip_keyword,
)

SIZE_OPTION = 26  # bytes that the SIZE option adds to the longest MAIL: RFC 1870 section 3
SMTPUTF8_OPTION = 10  # bytes that the SMTPUTF8 option adds to it: RFC 6531 section 3.1

# Of what comes next (`async_chat`): DATA was answered, and nothing of the message has come yet.
DATA_BEGINS = 2

SYNTAX = {
    "EHLO": "EHLO hostname",
    "HELO": "HELO hostname",
    "MAIL": "MAIL FROM: <address>",
    "RCPT": "RCPT TO: <address>",
    "DATA": "DATA",
    "RSET": "RSET",
    "NOOP": "NOOP",
    "QUIT": "QUIT",
    "VRFY": "VRFY <address>",
}
TAKES_OPTIONS = ("MAIL", "RCPT")

# Bytes of all addresses of a connection that only the parser of header fields can read (`syntax`).
# More than any client has, which has none; the dearest, four of 512 bytes, take it 8 ms together.
UNUSUAL_BYTES = 2048

GREET_FIRST = "503 Error: send HELO first"
OK = "250 OK"
TOO_MANY_RECIPIENTS = "452 Error: too many recipients"


class SMTPCommands:
    """The commands, and the state of one dialogue."""

    COMMAND = 0
    DATA = 1

    fqdn: str
    data_size_limit: int | None
    enable_SMTPUTF8: bool
    command_size_limits: dict[str, int]
    extended_smtp: bool
    seen_greeting: str
    mail_options: list[str]
    rcpt_options: list[str]
    _decode_data: bool
    _ac_greets_again = False  # HELO and EHLO may come again
    _ac_over = False  # QUIT was answered, or 421 said
    _ac_special = 0
    _ac_unusual_bytes = 0  # of addresses of this connection, which take long to parse

    if TYPE_CHECKING:
        _ac_max_recipients: int | None

        def push(self, msg: str) -> None: ...
        def set_terminator(self, term: Any) -> None: ...
        def close_when_done(self) -> None: ...

    def _set_post_data_state(self) -> None:
        """Forget the mail transaction: the session expects a command."""
        self.smtp_state = self.COMMAND
        self.mailfrom: str | None = None
        self.rcpttos: list[str] = []
        self.require_SMTPUTF8 = False
        self.num_bytes = 0
        self._ac_special &= ~DATA_BEGINS
        self.set_terminator(b"\r\n")

    def _set_rset_state(self) -> None:
        """Forget the mail transaction and what was received of it."""
        self._set_post_data_state()
        self.received_data: Any = ""
        self.received_lines: list[Any] = []

    def _ac_debug(self, text: str, *values: object) -> None:
        """Tell the programmer what happens (`text % values`); the session itself is silent."""

    # --- the grammar, where subclasses look for it ----------------------------------------------

    def _strip_command_keyword(self, keyword: str, arg: str) -> str:
        return strip_keyword(keyword, arg)

    def _getaddr(self, arg: str | None) -> tuple[str, str]:
        found = parse_usual_address(arg)
        if found is None:
            self._ac_unusual_bytes += len(arg or "")
            if self._ac_unusual_bytes > UNUSUAL_BYTES:
                return "", ""
            found = parse_address(arg)
        return found

    def _getparams(self, params: list[str]) -> EsmtpOptions | None:
        return parse_options(params)

    def _ac_syntax(self, verb: str) -> str:
        options = " [SP <mail-parameters>]" if self._ac_has_options(verb) else ""
        return f"Syntax: {self._ac_supported()[verb]}{options}"

    def _ac_supported(self) -> dict[str, str]:
        """Return the syntax of each command that HELP names."""
        return SYNTAX

    def _ac_has_options(self, verb: str) -> bool:
        return self.extended_smtp and verb in TAKES_OPTIONS

    def _ac_mailbox(self, verb: str, keyword: str, arg: str | None) -> tuple[str, str]:
        """Return the address and the options in `arg`; ("", "") if they are not well formed."""
        address, options = self._getaddr(self._strip_command_keyword(keyword, arg or ""))
        return ("", "") if options and not self._ac_has_options(verb) else (address, options)

    # --- commands: `arg` is what followed the verb, None if nothing did -------------------------

    def smtp_HELO(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.1."""
        if self._ac_greet("HELO", arg):
            self.push(f"250 {self.fqdn}")

    def smtp_EHLO(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.1: the answer lists the extensions."""
        if not self._ac_greet("EHLO", arg):
            return
        self.extended_smtp = True
        self.push(f"250-{self.fqdn}")
        if self.data_size_limit:
            self.push(f"250-SIZE {self.data_size_limit}")
            self.command_size_limits["MAIL"] += SIZE_OPTION
        if not self._decode_data:
            self.push("250-8BITMIME")
        if self.enable_SMTPUTF8:
            self.push("250-SMTPUTF8")
            self.command_size_limits["MAIL"] += SMTPUTF8_OPTION
        for line in self._ac_extensions():
            self.push(f"250-{line}")
        self.push("250 HELP")

    def _ac_extensions(self) -> Iterable[str]:
        """Return what else EHLO is to offer (RFC 5321 section 4.1.1.1: the ehlo-lines)."""
        return ()

    def _ac_refusal(self, verb: str) -> str:
        """Return the reply that refuses a known command now; "" if it may be carried out."""
        return ""

    def _ac_greet(self, verb: str, arg: str | None) -> bool:
        if not arg:
            self.push(f"501 {self._ac_syntax(verb)}")
            return False
        if self.seen_greeting:
            if not self._ac_greets_again:
                self.push("503 Duplicate HELO/EHLO")
                return False
            self._ac_forget_greeting()  # RFC 5321 section 4.1.4
        self._set_rset_state()
        self.seen_greeting = arg
        return True

    def _ac_forget_greeting(self) -> None:
        """Be as before HELO and EHLO, without the limits that extensions have raised."""
        self.seen_greeting = ""
        self.extended_smtp = False
        self.command_size_limits = type(self).command_size_limits.copy()
        self.mail_options = []
        self.rcpt_options = []

    def smtp_NOOP(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.9: an argument is ignored."""
        self.push(OK)

    def smtp_QUIT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.10. What the peer has sent after it is ignored."""
        self.push("221 Bye")
        self.close_when_done()
        self._ac_over = True

    def smtp_HELP(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.8."""
        names = self._ac_supported()
        if arg and arg.upper() in names:
            self.push(f"250 {self._ac_syntax(arg.upper())}")
        else:
            self.push(f"{'501' if arg else '250'} Supported commands: {' '.join(names)}")

    def smtp_VRFY(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.6: tells nobody whether a mailbox exists (section 7.3)."""
        if not arg:
            self.push(f"501 {self._ac_syntax('VRFY')}")
        elif self._getaddr(arg)[0]:
            self.push("252 Cannot VRFY user, but will accept message and attempt delivery")
        else:
            self.push(f"502 Could not VRFY {arg}")

    def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.2."""
        if not self.seen_greeting:
            self.push(GREET_FIRST)
            return
        self._ac_debug("===> MAIL %s", arg)
        address, words = self._ac_mailbox("MAIL", "FROM:", arg)
        if not address:
            self.push(f"501 {self._ac_syntax('MAIL')}")
            return
        if self.mailfrom:
            self.push("503 Error: nested MAIL command")
            return
        self.mail_options = words.upper().split()
        refusal = refuse_mail_options(
            self._getparams(self.mail_options),
            f"501 {self._ac_syntax('MAIL')}",
            eight_bit=not self._decode_data,
            utf8=self.enable_SMTPUTF8,
            size_limit=self.data_size_limit,
        )
        if refusal:
            self.push(refusal)
            return
        self.require_SMTPUTF8 = "SMTPUTF8" in self.mail_options
        self.mailfrom = address
        self._ac_debug("sender: %s", address)
        self.push(OK)

    def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.3. No option is known."""
        if not self.seen_greeting:
            self.push(GREET_FIRST)
            return
        self._ac_debug("===> RCPT %s", arg)
        if not self.mailfrom:
            self.push("503 Error: need MAIL command")
            return
        address, words = self._ac_mailbox("RCPT", "TO:", arg)
        if not address:
            self.push(f"501 {self._ac_syntax('RCPT')}")
            return
        self.rcpt_options = words.upper().split()
        options = self._getparams(self.rcpt_options)
        if options is None:
            self.push(f"501 {self._ac_syntax('RCPT')}")
        elif options:
            self.push(UNKNOWN_RCPT_OPTION)
        elif self._ac_max_recipients is not None and len(self.rcpttos) >= self._ac_max_recipients:
            self.push(TOO_MANY_RECIPIENTS)
        else:
            self.rcpttos.append(address)
            self._ac_debug("recips: %s", self.rcpttos)
            self.push(OK)

    def smtp_RSET(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.5."""
        if arg:
            self.push(f"501 {self._ac_syntax('RSET')}")
        else:
            self._set_rset_state()
            self.push(OK)

    def smtp_DATA(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.4."""
        if not self.seen_greeting:
            self.push(GREET_FIRST)
        elif not self.rcpttos:
            self.push("503 Error: need RCPT command")
        elif arg:
            self.push(f"501 {self._ac_syntax('DATA')}")
        else:
            self.smtp_state = self.DATA
            self._ac_special = DATA_BEGINS
            self.set_terminator(b"\r\n.\r\n")
            self.push("354 End data with <CR><LF>.<CR><LF>")

    def smtp_EXPN(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.7."""
        self.push("502 EXPN not implemented")
