"""SMTP servers: the classic `smtpd` module, from which this is reached under the legacy name.

Here are the names that programs rebind (`DEBUGSTREAM`, `__version__`, `socket`), and all that
does I/O: the channel and the servers. The dialogue itself is in `smtp.session`, the grammar in
`smtp.syntax`, the message text in `smtp.text`, the command line in `smtp.command_line`.

What differs from the classic module, beside what `smtp.session` names:

- a connection that is dead before it is greeted is closed, quietly and once;
- `PureProxy` takes messages as they come by default, as bytes and with options;
- the command line keeps the size limit that its help promises, and gives up the group of root
  along with the user;
- `MailmanProxy` says that there is no Mailman 2 when it is made, and not with the first message.
"""

from __future__ import annotations

# Programs find these as attributes, as in the classic module.
import collections as collections
import errno as errno
import getopt as getopt
import os as os
import socket as socket
import sys as sys
import time as time
import typing as _typing
from types import GetSetDescriptorType as _GetSetDescriptorType
from typing import Any, NoReturn
from warnings import warn as warn

from . import asynchat as asynchat
from . import logs
from .channels import UNREAD as _UNREAD
from .channels import Map
from .classic.namespace import package
from .classic.removal import _DEPRECATION_MSG as _DEPRECATION_MSG
from .classic.removal import _deprecated as _deprecated
from .classic.settings import Setting as _Setting
from .classic.settings import Switch as _Switch
from .dispatchers.dispatcher import dispatcher
from .neighbours import is_ours as _is_ours
from .running import draining as _draining
from .smtp import command_line as command_line
from .smtp.command_line import Options as Options
from .smtp.commands import DATA_BEGINS as _DATA_BEGINS
from .smtp.limits import Patience as _Patience
from .smtp.python2_names import RenamedAttributes as _RenamedAttributes
from .smtp.relay import attempt as _attempt
from .smtp.relay import deliver as _deliver
from .smtp.relay import refusal as _refusal
from .smtp.session import SMTPSession
from .smtp.syntax import get_addr_spec as get_addr_spec
from .smtp.syntax import get_angle_addr as get_angle_addr
from .smtp.text import add_header

if _typing.TYPE_CHECKING:
    from typing import Literal, TextIO

    from .dispatchers.timeouts import TimeoutName
    from .smtp.relay import Refused

asyncore = package()  # the module that classic smtpd has under this name

Options.__module__ = __name__  # as in the classic module

__all__ = ["DebuggingServer", "MailmanProxy", "PureProxy", "SMTPChannel", "SMTPServer"]

program = sys.argv[0]
__version__ = "Python SMTP proxy version 0.3"  # sent in the greeting

NEWLINE = "\n"
COMMASPACE = ", "
DATA_SIZE_DEFAULT = 33554432  # bytes, 32 MiB: classic smtpd since 3.3

_DOT_LINE = b".\r\n"

# Connections that wait for accept(): asyncio's default; the classic 5 drops bursts.
_BACKLOG = 100

# Bytes of replies that may wait before no more commands are read: asyncio's default. Postfix stops
# at 4 KiB. RFC 2920 section 3.1 has clients see to it that they don't wait for the server to read.
_REPLIES_WAITING = 65536


class Devnull:
    """A stream that keeps nothing."""

    def write(self, msg: str) -> None:
        """Forget `msg`."""

    def flush(self) -> None:
        """Do nothing."""


DEBUGSTREAM: Devnull | TextIO = Devnull()


if not _typing.TYPE_CHECKING:  # type checkers would take it for an answer to every name

    def __getattr__(name):
        # Until Python 3.4, and so in programs of that time; the later modules don't list it.
        if name == "EMPTYSTRING":
            return ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _debug(text: str, *values: object) -> None:
    # Formatted only if somebody reads it: a value may be a message of many megabytes.
    if type(DEBUGSTREAM) is not Devnull:
        logs.put(text % values, DEBUGSTREAM)


def _print(line: str) -> None:
    logs.put(line, sys.stdout)


def _check_text(decode_data: bool, enable_SMTPUTF8: bool) -> None:
    if decode_data and enable_SMTPUTF8:
        raise ValueError("decode_data and enable_SMTPUTF8 cannot be set to True at the same time")


class SMTPChannel(_RenamedAttributes, SMTPSession, asynchat.async_chat):
    """The connection with one SMTP client.

    `server` is an `SMTPServer`, or anything with its `process_message`; `conn` the connected
    socket and `addr` the client's address, as accept() gave them; `data_size_limit` the longest
    message in bytes, 0 or `None` for any length. With `decode_data`, messages are given to
    `process_message` as str, and without its options. Raises `ValueError` for `decode_data` with
    `enable_SMTPUTF8`.

    The limits (`command_timeout`, `data_timeout`, `max_commands`, `max_errors`, `max_recipients`;
    those of a dispatcher, `idle_timeout` and `write_timeout`) are off, and lone CR and LF are
    taken in messages, as by the classic channel; `hardened_smtpd` has them on.
    """

    # The commands answer at once; before anything of the program's runs, the replies are sent. A
    # class of the program's may have methods that take their time, and says so itself if not;
    # one that only sets attributes has none.
    joins_replies = _Switch(True)

    high_watermark: int | None = _REPLIES_WAITING
    _ac_patience: _Patience | None = None

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        if _has_code_of_a_program(cls) and _inherits_joining(cls):
            _Switch.put(cls, "joins_replies", False)

    def __init__(
        self,
        server: SMTPServer,
        conn: socket.socket | Any,
        addr: tuple[str, int] | Any,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: Map | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
    ) -> None:
        _check_text(decode_data, enable_SMTPUTF8)
        try:
            peer, dead = conn.getpeername(), None
        except OSError as why:  # reset before it was accepted: ENOTCONN, on macOS EINVAL
            peer, dead = addr, why
        # What follows must not fail between entering the map and being complete.
        fqdn = "" if dead else _host_name(server)
        asynchat.async_chat.__init__(self, conn, map=map)
        self.conn = conn
        self.addr = addr
        self._ac_begin_session(
            server,
            peer,
            fqdn,
            data_size_limit=data_size_limit,
            enable_SMTPUTF8=enable_SMTPUTF8,
            decode_data=decode_data,
        )
        if dead:
            self.close()
            self._ac_debug("Peer %r is gone: %s", addr, dead)
            return
        self._ac_debug("Peer: %r", peer)
        self.push(f"220 {self.fqdn} {__version__}")
        self._ac_begin_waiting()

    def push(self, msg: str) -> None:
        """Send `msg` and a line end; what the client's encoding has not got is escaped."""
        encoding = "utf-8" if self.require_SMTPUTF8 else "ascii"
        line = msg + "\r\n"
        if msg[:1] == "5":
            self._ac_errors += 1
        asynchat.async_chat.push(self, line.encode(encoding, "backslashreplace"))

    # The base class says what these two do.

    def found_terminator(self) -> None:
        """Carry out the command, or deliver the message, that has arrived whole."""
        SMTPSession.found_terminator(self)
        # Most channels have no timeouts of these kinds.
        if self._ac_patience is not None:
            self._ac_patience.begin()
        elif self._ac_command_timeout is not None or self._ac_data_timeout is not None:
            self._ac_begin_waiting()

    def _ac_deliver_delimited(self, terminator: bytes | bytearray | str) -> bool:
        # RFC 5321 section 4.1.1.4: the CRLF of DATA begins the end of an empty message.
        if self._ac_special & _DATA_BEGINS:
            head = self.ac_in_buffer[: len(_DOT_LINE)]
            if head == _DOT_LINE:
                self.ac_in_buffer = self.ac_in_buffer[len(_DOT_LINE) :]
                self.found_terminator()
                return True
            if _DOT_LINE.startswith(head):
                return False
            self._ac_special &= ~_DATA_BEGINS
        return asynchat.async_chat._ac_deliver_delimited(self, terminator)

    # --- output ---------------------------------------------------------------------------------

    def handle_pause(self) -> None:
        """Read nothing more of a client that sends commands and doesn't read the replies."""
        self._ac_mute(_UNREAD)

    def handle_resume(self) -> None:
        """Read again: most of the replies are sent."""
        self._ac_unmute(_UNREAD)

    # --- time -----------------------------------------------------------------------------------

    def handle_timeout(self, which: TimeoutName | Literal["command", "data"]) -> None:
        """Say 421, if the client still takes it, and close.

        `which` is "command" or "data", or one of those of a dispatcher: "idle", "write",
        "deadline".
        """
        self.log_info(f"{which} timeout, closing channel {self!r}", "warning")
        if not self._ac_is_over():
            self.push(f"421 {self.fqdn} Error: timeout exceeded")
        self.handle_close()

    def _ac_begin_waiting(self) -> None:
        """The client's time for its next line, for its message, or for leaving, begins now."""
        if self._ac_patience is None and self._ac_waits_for()[1] is None:
            return
        if self._ac_engine is None or self._ac_closed:
            return
        if self._ac_patience is None:
            self._ac_patience = _Patience(self, self._ac_engine.timers)
        self._ac_patience.begin()

    def _ac_times_changed(self) -> None:
        if self._ac_engine is not None:
            self._ac_engine.run_on_loop(self._ac_look_at_times)

    def _ac_look_at_times(self) -> None:
        if self._ac_patience is None:
            self._ac_begin_waiting()
        else:
            self._ac_patience.rearm()

    def _ac_close(self) -> None:
        if self._ac_patience is not None:
            self._ac_patience.stop()
            self._ac_patience = None
        asynchat.async_chat._ac_close(self)

    def _ac_is_over(self) -> bool:
        return self._ac_over or self._ac_closed

    def _ac_before_program(self) -> None:
        if self._ac_hold is not None:
            self._ac_hold.more = False
            self._ac_send_held()

    _ac_debug = staticmethod(_debug)


def _has_code_of_a_program(cls: type) -> bool:
    """Whether any class that `cls` is made of has methods, and is none of ours."""
    return any(
        hasattr(value, "__get__") and not isinstance(value, (_GetSetDescriptorType, _Setting))
        for base in cls.__mro__
        if base is not object and not _is_ours(base.__module__)
        for value in vars(base).values()
    )


def _inherits_joining(cls: type) -> bool:
    """Whether a class has `joins_replies` from `SMTPChannel` itself."""
    return next(base for base in cls.__mro__ if "_ac_joins_replies" in base.__dict__) is SMTPChannel


class SMTPServer(dispatcher):
    """A listener that makes an `SMTPChannel` of each connection. Override `process_message`.

    `localaddr` is the (host, port) to listen on. `remoteaddr` is that of the server to which a
    proxy passes mails on. The channels get the other arguments. Raises `OSError` if it cannot
    listen, and `ValueError` for `decode_data` with `enable_SMTPUTF8`.
    """

    channel_class: type[SMTPChannel] = SMTPChannel

    _ac_fqdn: str | None = None

    def __init__(
        self,
        localaddr: tuple[str, int],
        remoteaddr: tuple[str, int] | None,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: Map | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
    ) -> None:
        self._localaddr = localaddr
        self._remoteaddr = remoteaddr
        self.data_size_limit = data_size_limit
        self.enable_SMTPUTF8 = enable_SMTPUTF8
        self._decode_data = decode_data
        _check_text(decode_data, enable_SMTPUTF8)
        dispatcher.__init__(self, map=map)
        try:
            family, kind, *_ = socket.getaddrinfo(
                localaddr[0], localaddr[1], type=socket.SOCK_STREAM
            )[0]
            self.create_socket(family, kind)
            self.set_reuse_addr()
            self.bind(localaddr)
            self.listen(_BACKLOG)
        except BaseException:
            self.close()
            raise
        _debug(
            "%s started at %s\n\tLocal addr: %s\n\tRemote addr:%s",
            type(self).__name__,
            time.ctime(time.time()),
            localaddr,
            remoteaddr,
        )

    def handle_accepted(self, conn: socket.socket | Any, addr: tuple[str, int] | Any) -> None:
        """Start a channel on the connection."""
        self._ac_start_channel(conn, addr)

    def _ac_start_channel(
        self, conn: socket.socket | Any, addr: tuple[str, int] | Any
    ) -> SMTPChannel:
        _debug("Incoming connection from %r", addr)
        return self.channel_class(
            self,
            conn,
            addr,
            self.data_size_limit,
            self._map,
            self.enable_SMTPUTF8,
            self._decode_data,
        )

    def process_message(
        self,
        peer: tuple[str, int] | Any,
        mailfrom: str,
        rcpttos: list[str],
        data: bytes | Any,
        **kwargs: Any,
    ) -> str | None:
        """Take a message; return the reply to the client, or None for "250 OK".

        `peer` is the client's address; `data` the message as bytes (with `decode_data`, str),
        its lines ended by LF. Without `decode_data` there are the keywords `mail_options` and
        `rcpt_options`, lists of the options as the client wrote them, in upper case.
        """
        raise NotImplementedError


class DebuggingServer(SMTPServer):
    """Prints the messages it receives."""

    def _print_message_content(self, peer: object, data: str | bytes) -> None:
        peer_line = f"X-Peer: {_host(peer)}"
        lines: list[str | bytes] = list(data.splitlines())
        end_of_headers = next((i for i, line in enumerate(lines) if not line), None)
        if end_of_headers is not None:
            added = peer_line.encode() if isinstance(data, bytes) else peer_line
            lines.insert(end_of_headers, added)
        for line in lines:
            _print(repr(line) if isinstance(line, bytes) else line)

    def process_message(
        self,
        peer: tuple[str, int] | Any,
        mailfrom: str,
        rcpttos: list[str],
        data: str | bytes,
        **kwargs: Any,
    ) -> None:
        """Print the message, with the address of the client in a header X-Peer."""
        _print("---------- MESSAGE FOLLOWS ----------")
        if kwargs.get("mail_options"):
            _print(f"mail options: {kwargs['mail_options']}")
        if kwargs.get("rcpt_options"):
            _print(f"rcpt options: {kwargs['rcpt_options']}\n")
        self._print_message_content(peer, data)
        _print("------------ END MESSAGE ------------")


class PureProxy(SMTPServer):
    """Passes on the messages it receives to the server at `remoteaddr`, while its client waits.

    The client is told "250 OK" whatever the server says, as by the classic class, unless
    `report_refusals` is true. What can't be passed on at all is answered with 553, and what fails
    here with 451, where the classic class closed the connection. Raises `ValueError` for
    `enable_SMTPUTF8`.
    """

    report_refusals = False
    """Whether a client is told that the server has refused a recipient, or the message."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("enable_SMTPUTF8"):
            raise ValueError("PureProxy does not support SMTPUTF8.")
        # Now, for it may not be readable any more when the command line has become nobody.
        import smtplib  # noqa: F401

        super().__init__(*args, **kwargs)

    def process_message(
        self,
        peer: tuple[str, int] | Any,
        mailfrom: str,
        rcpttos: list[str],
        data: bytes | str | Any,
        **kwargs: Any,
    ) -> str | None:
        """Pass on the message, with the address of the client in a header X-Peer."""
        header = f"X-Peer: {_host(peer)}"
        data = add_header(data, header.encode() if isinstance(data, bytes) else header)  # type: ignore[type-var]
        refused = _attempt(self._deliver, mailfrom, rcpttos, data)
        if isinstance(refused, str):
            return refused
        _debug("we got some refusals: %s", refused)
        return _refusal(refused, rcpttos) if self.report_refusals and refused else None

    def _deliver(self, mailfrom: str, rcpttos: list[str], data: str | bytes) -> Refused:
        """Send a message to `remoteaddr`; return the recipients it refused, with its replies."""
        return _deliver(self._remoteaddr, mailfrom, rcpttos, data, _debug)


class MailmanProxy(PureProxy):
    """Handed messages to the lists of GNU Mailman 2 (classic 3.10): it can't be made any more.

    Mailman 2 ended with Python 2; no Python that has this module can import it.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Raise `ImportError`."""
        raise _no_mailman()

    def process_message(
        self,
        peer: tuple[str, int] | Any,
        mailfrom: str,
        rcpttos: list[str],
        data: bytes | Any,
        **kwargs: Any,
    ) -> NoReturn:
        """Raise `ImportError`, also in a class with an `__init__` of its own."""
        raise _no_mailman()


def _no_mailman() -> ImportError:
    return ImportError(
        "MailmanProxy hands messages to Mailman 2, which ended with Python 2: there is no package"
        " 'Mailman' for this Python. Use PureProxy in front of Mailman 3's LMTP server or of a mail"
        " server.",
        name="Mailman",
    )


def _host_name(server: object) -> str:
    """Return the name of this host; a server looks it up once, for that may ask the DNS."""
    if not isinstance(server, SMTPServer):
        return socket.getfqdn()
    if server._ac_fqdn is None:
        server._ac_fqdn = socket.getfqdn()
    return server._ac_fqdn


def _host(peer: object) -> str:
    """Return the host of a peer's address; a Unix socket's has none."""
    return str(peer[0]) if isinstance(peer, tuple) and peer else str(peer)


def usage(code: int, msg: object = "") -> NoReturn:
    """Print the help, and `msg`, to the standard error; exit with the status `code`."""
    print(command_line.usage() % globals(), file=sys.stderr)
    if msg:
        print(msg, file=sys.stderr)
    sys.exit(code)


def parseargs() -> Options:
    """Return what `sys.argv` says; print and exit where it says so, or says nonsense."""
    global DEBUGSTREAM
    options = command_line.parse(sys.argv[1:], usage)
    if options.version:
        print(__version__)
        sys.exit(0)
    if options.debug:
        DEBUGSTREAM = sys.stderr
    return options


def _main() -> None:
    """Run the command line: serve until SIGINT, or until SIGTERM and the last message's end."""
    options = parseargs()
    _draining.enter()
    limit = DATA_SIZE_DEFAULT if options.size_limit is None else options.size_limit
    mails = command_line.further_server(options, __name__) if options.further else None
    if mails is None:
        server_class = command_line.server_class(options.classname, __name__)
    else:
        server_class = mails.server_class
    server = server_class(
        (options.localhost, options.localport),
        (options.remotehost, options.remoteport),
        limit,
        enable_SMTPUTF8=options.enable_SMTPUTF8,
    )
    try:
        if options.setuid:
            command_line.become_nobody()
        if mails is not None:
            command_line.open_mailbox(mails)
        asyncore.loop()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()
        if mails is not None:
            mails.close()


if __name__ == "__main__":
    # This module under its own name, which is the one that server classes elsewhere import.
    from . import smtpd

    smtpd._main()
