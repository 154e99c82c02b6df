"""The SMTP dialogue: commands, state and replies, without any I/O.

Facts. Programs subclass `SMTPChannel`, override single commands and read or assign its state, so
the state lives in attributes of one object, under the classic names. The classic dialogue has
these defects; the peer chooses when to trigger each of them:

- an argument that is no address, a SIZE without a number, a command that is not UTF-8 or an
  unknown one beyond ASCII raised, and the exception closed the connection without a reply;
- after "552 Error: Too much mail data" it stayed in the DATA state: the RSET that `smtplib`
  sends next was swallowed, and further commands became the text of a message;
- with `decode_data`, a character that arrived in two pieces raised;
- the command size limits were one dictionary for all connections, larger after every EHLO;
- commands that followed QUIT, or the handler's `close()`, were still carried out.

Consequence. Each of these is answered with an SMTP reply, after which the dialogue goes on; the
limits belong to the connection; nothing is carried out once the dialogue is over.

Trade-off. The attributes can be assigned at any time, so nothing derived from them is kept.

The transport supplies `push`, `set_terminator` and `close_when_done`, and calls
`collect_incoming_data` and `found_terminator` as `asynchat` does.
"""

from __future__ import annotations

import codecs
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from ._smtp_syntax import (
    UNKNOWN_RCPT_OPTION,
    EsmtpOptions,
    parse_address,
    parse_options,
    refuse_mail_options,
    split_command,
    strip_keyword,
)
from ._smtp_text import unstuff

COMMAND_SIZE = 512  # bytes: RFC 5321 section 4.5.3.1.4, less the CRLF, which is not counted here
SIZE_OPTION = 26  # bytes that the SIZE option adds to the longest MAIL: RFC 1870 section 3
SMTPUTF8_OPTION = 10  # bytes that the SMTPUTF8 option adds to it: RFC 6531 section 3.1

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
SUPPORTED = "Supported commands: " + " ".join(SYNTAX)

BAD_SYNTAX = "500 Error: bad syntax"
GREET_FIRST = "503 Error: send HELO first"
LINE_TOO_LONG = "500 Error: line too long"
OK = "250 OK"


class SMTPSession:
    """The server's side of one SMTP connection (RFC 5321), less the connection."""

    COMMAND = 0
    DATA = 1

    command_size_limit: int = COMMAND_SIZE
    command_size_limits: dict[str, int] = defaultdict(lambda: COMMAND_SIZE)

    smtp_server: Any
    peer: Any
    fqdn: str
    data_size_limit: int | None
    _over = False  # QUIT was answered

    if TYPE_CHECKING:

        def push(self, msg: str) -> None: ...
        def set_terminator(self, term: Any) -> None: ...
        def close_when_done(self) -> None: ...

    def _begin_session(
        self,
        server: Any,
        peer: Any,
        fqdn: str,
        *,
        data_size_limit: int | None,
        enable_SMTPUTF8: bool,
        decode_data: bool,
    ) -> None:
        self.smtp_server = server
        self.peer = peer
        self.fqdn = fqdn
        self.data_size_limit = data_size_limit
        self.enable_SMTPUTF8 = enable_SMTPUTF8
        self.command_size_limits = type(self).command_size_limits.copy()
        self.extended_smtp = False
        self.seen_greeting = ""
        self.mail_options: list[str] = []
        self.rcpt_options: list[str] = []
        self._over = False
        self._choose_text(decode_data)
        self._set_rset_state()

    def _choose_text(self, decode_data: bool) -> None:
        """Have the session's pieces of input be str (`decode_data`) or bytes."""
        self._decode_data = decode_data
        # The classic names; subclasses with a `found_terminator` of their own use them.
        self._emptystring: Any = "" if decode_data else b""
        self._linesep: Any = "\r\n" if decode_data else b"\r\n"
        self._dotsep: Any = "." if decode_data else ord(b".")
        self._newline: Any = "\n" if decode_data else b"\n"
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._undecodable = False

    def _set_post_data_state(self) -> None:
        """Forget the mail transaction: the session expects a command."""
        self.smtp_state = self.COMMAND
        self.mailfrom: str | None = None
        self.rcpttos: list[str] = []
        self.require_SMTPUTF8 = False
        self.num_bytes = 0
        self.set_terminator(b"\r\n")

    def _set_rset_state(self) -> None:
        """Forget the mail transaction and what was received of it."""
        self._set_post_data_state()
        self.received_data: Any = ""
        self.received_lines: list[Any] = []

    def _debug(self, text: str, *values: Any) -> None:
        """Tell the programmer what happens (`text % values`); the session itself is silent."""

    def _is_over(self) -> bool:
        """Whether nothing more may be carried out: after QUIT or `close()`."""
        return self._over

    # --- input ----------------------------------------------------------------------------------

    @property
    def max_command_size_limit(self) -> int:
        """The longest command line accepted now, in bytes, of whatever command."""
        return max([self.command_size_limit, *self.command_size_limits.values()])

    def collect_incoming_data(self, data: bytes) -> None:
        """Keep a piece of the current line or message; drop it when it passes the limit."""
        if self._is_over():
            return
        limit = None
        if self.smtp_state == self.COMMAND:
            limit = self.max_command_size_limit
        elif self.smtp_state == self.DATA:
            limit = self.data_size_limit
        if limit:
            if self.num_bytes > limit:
                return
            self.num_bytes += len(data)
        self.received_lines.append(self._decoded(data) if self._decode_data else data)

    def _decoded(self, data: bytes, final: bool = False) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError:
            self._undecodable = True
            self._decoder.reset()
            return ""

    def found_terminator(self) -> None:
        """Carry out the command, or deliver the message, that has arrived whole."""
        if self._is_over():
            return
        undecodable = False
        if self._decode_data:
            self._decoded(b"", final=True)
            undecodable, self._undecodable = self._undecodable, False
        received = self._emptystring.join(self.received_lines)
        self.received_lines = []
        size, self.num_bytes = self.num_bytes, 0
        self._debug("Data: %r", received)
        if self.smtp_state == self.COMMAND:
            self._command_received(received, size, undecodable)
        elif self.smtp_state == self.DATA:
            self._message_received(received, size, undecodable)
        else:
            self.push("451 Internal confusion")

    def _command_received(self, line: Any, size: int, undecodable: bool) -> None:
        if isinstance(line, bytes):
            try:
                line = line.decode("utf-8")
            except UnicodeDecodeError:
                undecodable = True
        if undecodable or not line:
            self.push(BAD_SYNTAX)
            return
        verb, argument = split_command(line)
        command: Any = getattr(self, "smtp_" + verb, None)
        known = callable(command)
        limit = self.command_size_limit
        if self.extended_smtp:
            # One entry stands for all that the peer may invent: the dictionary keeps it.
            limit = self.command_size_limits[verb if known else ""]
        if size > limit:
            self.push(LINE_TOO_LONG)
        elif known:
            command(argument)
        else:
            self.push(f'500 Error: command "{verb}" not recognized')

    def _message_received(self, raw: Any, size: int, undecodable: bool) -> None:
        if self.data_size_limit and size > self.data_size_limit:
            self._set_post_data_state()
            self.push("552 Error: Too much mail data")
            return
        if undecodable:
            self._set_post_data_state()
            self.push("554 Error: message is not UTF-8")
            return
        self.received_data = unstuff(raw)
        options: dict[str, Any] = {}
        if not self._decode_data:
            options = {"mail_options": self.mail_options, "rcpt_options": self.rcpt_options}
        status = self.smtp_server.process_message(
            self.peer, self.mailfrom, self.rcpttos, self.received_data, **options
        )
        if self._is_over():
            return
        self._set_post_data_state()
        self.push(status or OK)

    # --- the grammar, where subclasses look for it ----------------------------------------------

    def _strip_command_keyword(self, keyword: str, arg: str) -> str:
        return strip_keyword(keyword, arg)

    def _getaddr(self, arg: str | None) -> tuple[str, str]:
        return parse_address(arg)

    def _getparams(self, params: list[str]) -> EsmtpOptions | None:
        return parse_options(params)

    def _syntax(self, verb: str) -> str:
        options = " [SP <mail-parameters>]" if self._has_options(verb) else ""
        return f"Syntax: {SYNTAX[verb]}{options}"

    def _has_options(self, verb: str) -> bool:
        return self.extended_smtp and verb in TAKES_OPTIONS

    def _mailbox(self, verb: str, keyword: str, arg: str | None) -> tuple[str, str]:
        """Return the address and the options in `arg`; ("", "") if they are not well formed."""
        address, options = self._getaddr(self._strip_command_keyword(keyword, arg or ""))
        return ("", "") if options and not self._has_options(verb) else (address, options)

    # --- commands: `arg` is what followed the verb, None if nothing did -------------------------

    def smtp_HELO(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.1."""
        if self._greet("HELO", arg):
            self.push(f"250 {self.fqdn}")

    def smtp_EHLO(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.1: the answer lists the extensions."""
        if not self._greet("EHLO", arg):
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
        self.push("250 HELP")

    def _greet(self, verb: str, arg: str | None) -> bool:
        if not arg:
            self.push(f"501 {self._syntax(verb)}")
            return False
        if self.seen_greeting:
            self.push("503 Duplicate HELO/EHLO")
            return False
        self._set_rset_state()
        self.seen_greeting = arg
        return True

    def smtp_NOOP(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.9."""
        self.push(f"501 {self._syntax('NOOP')}" if arg else OK)

    def smtp_QUIT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.10. What the peer has sent after it is ignored."""
        self.push("221 Bye")
        self.close_when_done()
        self._over = True

    def smtp_HELP(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.8."""
        if not arg:
            self.push(f"250 {SUPPORTED}")
        elif arg.upper() in SYNTAX:
            self.push(f"250 {self._syntax(arg.upper())}")
        else:
            self.push(f"501 {SUPPORTED}")

    def smtp_VRFY(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.6: tells nobody whether a mailbox exists (section 7.3)."""
        if not arg:
            self.push(f"501 {self._syntax('VRFY')}")
        elif self._getaddr(arg)[0]:
            self.push("252 Cannot VRFY user, but will accept message and attempt delivery")
        else:
            self.push(f"502 Could not VRFY {arg}")

    def smtp_MAIL(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.2."""
        if not self.seen_greeting:
            self.push(GREET_FIRST)
            return
        self._debug("===> MAIL %s", arg)
        syntax = f"501 {self._syntax('MAIL')}"
        address, words = self._mailbox("MAIL", "FROM:", arg)
        if not address:
            self.push(syntax)
            return
        if self.mailfrom:
            self.push("503 Error: nested MAIL command")
            return
        self.mail_options = words.upper().split()
        refusal = refuse_mail_options(
            self._getparams(self.mail_options),
            syntax,
            eight_bit=not self._decode_data,
            utf8=self.enable_SMTPUTF8,
            size_limit=self.data_size_limit,
        )
        if refusal:
            self.push(refusal)
            return
        self.require_SMTPUTF8 = "SMTPUTF8" in self.mail_options
        self.mailfrom = address
        self._debug("sender: %s", address)
        self.push(OK)

    def smtp_RCPT(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.3. No option is known."""
        if not self.seen_greeting:
            self.push(GREET_FIRST)
            return
        self._debug("===> RCPT %s", arg)
        if not self.mailfrom:
            self.push("503 Error: need MAIL command")
            return
        syntax = f"501 {self._syntax('RCPT')}"
        address, words = self._mailbox("RCPT", "TO:", arg)
        if not address:
            self.push(syntax)
            return
        self.rcpt_options = words.upper().split()
        options = self._getparams(self.rcpt_options)
        if options is None:
            self.push(syntax)
        elif options:
            self.push(UNKNOWN_RCPT_OPTION)
        else:
            self.rcpttos.append(address)
            self._debug("recips: %s", self.rcpttos)
            self.push(OK)

    def smtp_RSET(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.5."""
        if arg:
            self.push(f"501 {self._syntax('RSET')}")
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
            self.push(f"501 {self._syntax('DATA')}")
        else:
            self.smtp_state = self.DATA
            self.set_terminator(b"\r\n.\r\n")
            self.push("354 End data with <CR><LF>.<CR><LF>")

    def smtp_EXPN(self, arg: str | None) -> None:
        """RFC 5321 section 4.1.1.7."""
        self.push("502 EXPN not implemented")
