"""The SMTP dialogue: what becomes of the input, and when it ends; without any I/O.

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
from typing import Any

from .commands import DATA_BEGINS, OK, SMTPCommands
from .keywords import adapted
from .limits import TOO_MANY_COMMANDS, TOO_MANY_ERRORS, Limited
from .syntax import split_command
from .text import SMALL_PIECE, SMALL_PIECES, has_only_crlf, unstuff

COMMAND_SIZE = 512  # bytes: RFC 5321 section 4.5.3.1.4, less the CRLF, which is not counted here
BAD_SYNTAX = "500 Error: bad syntax"
LINE_TOO_LONG = "500 Error: line too long"
BARE = "554 Error: bare CR, bare LF or NUL in the message"
# What answers at once, and runs nothing of the program's.
_OWN_COMMANDS = frozenset(
    function for name, function in vars(SMTPCommands).items() if name.startswith("smtp_")
)

CLOSING = "Service closing transmission channel"  # RFC 5321 section 4.2.3


class SMTPSession(Limited, SMTPCommands):
    """The server's side of one SMTP connection (RFC 5321), less the connection."""

    strict_line_ends = False
    """Whether CRLF alone may end a line, and NUL is refused (RFC 2045 section 2.8)."""

    command_size_limit: int = COMMAND_SIZE
    command_size_limits: dict[str, int] = defaultdict(lambda: COMMAND_SIZE)

    smtp_server: Any
    peer: tuple[str, int] | Any
    _ac_busy = False  # a command or a message is being handled
    _ac_shutting_down = False
    _ac_small_pieces = 0  # at the end of `received_lines`

    def _ac_begin_session(
        self,
        server: object,
        peer: object,
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
        self.mail_options = []
        self.rcpt_options = []
        self._ac_over = self._ac_busy = self._ac_shutting_down = False
        self._ac_begin_counting()
        self._ac_choose_text(decode_data)
        self._set_rset_state()

    def _ac_choose_text(self, decode_data: bool) -> None:
        """Have the session's pieces of input be str (`decode_data`) or bytes."""
        self._decode_data = decode_data
        # The classic names; subclasses with a `found_terminator` of their own use them.
        self._emptystring: Any = "" if decode_data else b""
        self._linesep: Any = "\r\n" if decode_data else b"\r\n"
        self._dotsep: Any = "." if decode_data else ord(b".")
        self._newline: Any = "\n" if decode_data else b"\n"
        self._ac_decoder = codecs.getincrementaldecoder("utf-8")()
        self._ac_undecodable = False

    def _ac_is_over(self) -> bool:
        """Whether nothing more may be carried out: after QUIT, 421 or `close()`."""
        return self._ac_over

    # --- the end, if it is ours -----------------------------------------------------------------

    def handle_shutdown(self) -> bool:
        """Say 421 and close, as soon as no message is under way (RFC 5321 section 3.8).

        While a message is received it comes after the reply to that; and after the reply to the
        command from whose handler it is called. Returns whether that is still to come.
        """
        self._ac_shutting_down = True
        return self._ac_may_go_on()

    def _ac_may_go_on(self) -> bool:
        """Whether the session waits for more; if it should not, it is ended."""
        if self._ac_is_over():
            return False
        if self._ac_busy or self.smtp_state == self.DATA:
            return True
        if self._ac_shutting_down:
            self._ac_say_goodbye(CLOSING)
        elif self._ac_errors and self._ac_too_many_errors():
            self._ac_say_goodbye(TOO_MANY_ERRORS)
        return not self._ac_over

    def _ac_say_goodbye(self, why: str) -> None:
        """Send the reply 421, which may come at any time, and close when it is sent."""
        self.push(f"421 {self.fqdn} {why}")
        self.close_when_done()
        self._ac_over = True

    def _ac_waits_for(self) -> tuple[str, float | None]:
        """Return what the peer is to complete, and how many seconds it has for that."""
        if self.smtp_state == self.DATA:
            return "data", self._ac_data_timeout
        return "command", self._ac_command_timeout

    # --- input ----------------------------------------------------------------------------------

    @property
    def max_command_size_limit(self) -> int:
        """The longest command line accepted now, in bytes, of whatever command."""
        return max([self.command_size_limit, *self.command_size_limits.values()])

    def _ac_command_limit(self, size: int) -> int:
        """Return a limit of command lines that tells whether one of `size` bytes is too long."""
        limit = self.command_size_limit
        if size <= limit and type(self).max_command_size_limit is _MAX_COMMAND_SIZE_LIMIT:
            return limit  # the others only raise it
        return self.max_command_size_limit

    def collect_incoming_data(self, data: bytes) -> None:
        """Keep a piece of the current line or message; drop it when it passes the limit."""
        if self._ac_is_over():
            return
        limit = None
        if self.smtp_state == self.COMMAND:
            limit = self._ac_command_limit(self.num_bytes)
        elif self.smtp_state == self.DATA:
            limit = self.data_size_limit
        if limit:
            if self.num_bytes > limit:
                return
            self.num_bytes += len(data)
        piece: Any = self._ac_decoded(data) if self._decode_data else data
        lines = self.received_lines
        lines.append(piece)
        if len(piece) >= SMALL_PIECE:
            self._ac_small_pieces = 0
            return
        self._ac_small_pieces += 1
        if self._ac_small_pieces == SMALL_PIECES:
            # A peer that sends byte by byte would have us keep an object for each of them.
            self._ac_small_pieces = 0
            lines[-SMALL_PIECES:] = [self._emptystring.join(lines[-SMALL_PIECES:])]

    def _ac_decoded(self, data: bytes, final: bool = False) -> str:
        try:
            return self._ac_decoder.decode(data, final)
        except UnicodeDecodeError:
            self._ac_undecodable = True
            self._ac_decoder.reset()
            return ""

    def found_terminator(self) -> None:
        """Carry out the command, or deliver the message, that has arrived whole."""
        if self._ac_is_over():
            return
        undecodable = False
        if self._decode_data:
            self._ac_decoded(b"", final=True)
            undecodable, self._ac_undecodable = self._ac_undecodable, False
        received = self._emptystring.join(self.received_lines)
        self.received_lines = []
        self._ac_special &= ~DATA_BEGINS
        size, self.num_bytes = self.num_bytes, 0
        self._ac_debug("Data: %r", self._ac_to_print(received))
        self._ac_busy = True
        try:
            if self.smtp_state == self.COMMAND:
                self._ac_command_received(received, size, undecodable)
            elif self.smtp_state == self.DATA:
                self._ac_message_received(received, size, undecodable)
            else:
                self.push("451 Internal confusion")
        finally:
            self._ac_busy = False
        self._ac_may_go_on()

    def _ac_to_print(self, received: object) -> Any:
        """Return what debugging output shows of a command or message."""
        return received

    def _ac_command_received(self, line: Any, size: int, undecodable: bool) -> None:
        if self._ac_count_command():
            self._ac_say_goodbye(TOO_MANY_COMMANDS)
            return
        if size > self._ac_command_limit(size):
            # Its end was not kept: what else is wrong with it can't be told.
            self.push(LINE_TOO_LONG)
            return
        if isinstance(line, bytes):
            try:
                line = line.decode("utf-8")
            except UnicodeDecodeError:
                undecodable = True
        # What is printable has no line ends at all.
        bare = self.strict_line_ends and not (
            undecodable or line.isprintable() or has_only_crlf(line)
        )
        if undecodable or bare or not line:
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
            refusal = self._ac_refusal(verb)
            if refusal:
                self.push(refusal)
            else:
                if getattr(command, "__func__", None) not in _OWN_COMMANDS:
                    self._ac_before_program()
                command(argument)
        else:
            self.push(self._ac_unknown(verb))

    def _ac_unknown(self, verb: str) -> str:
        """Return the reply to a command that is none."""
        return f'500 Error: command "{verb}" not recognized'

    def _ac_message_received(self, raw: Any, size: int, undecodable: bool) -> None:
        if self.data_size_limit and size > self.data_size_limit:
            self._set_post_data_state()
            self.push("552 Error: Too much mail data")
            return
        if undecodable:
            self._set_post_data_state()
            self.push("554 Error: message is not UTF-8")
            return
        if self.strict_line_ends and not has_only_crlf(raw):
            self._set_post_data_state()
            self.push(BARE)
            return
        self.received_data = unstuff(raw)
        data: Any = self.received_data
        options: dict[str, Any] = {}
        if not self._decode_data:
            options = {"mail_options": self.mail_options, "rcpt_options": self.rcpt_options}
            data, options = adapted(self.smtp_server.process_message, data, options)
        self._ac_before_program()
        status = self._ac_process_message(self.peer, self.mailfrom, self.rcpttos, data, **options)
        if self._ac_is_over():
            return
        self._set_post_data_state()
        reply = status or OK
        if reply[:1] == "2":
            self._ac_errors = 0
        self.push(reply)

    def _ac_before_program(self) -> None:
        """Do what can't wait until the program returns, which may take its time."""

    def _ac_process_message(self, *args: object, **options: object) -> Any:
        return self.smtp_server.process_message(*args, **options)


_MAX_COMMAND_SIZE_LIMIT = SMTPSession.max_command_size_limit
