"""SMTP servers that speak TLS: from the first byte, or after STARTTLS; and AUTH under it.

Facts. What a client sent in clear before the handshake may be an attacker's: commands sent right
behind STARTTLS would be carried out as if they had come encrypted (CVE-2011-0411), and so would the
sender given before it. A server may not know who talks to it until AUTH, or the client's
certificate, says so. Passwords must not be asked for in clear. One that was sent ahead, behind an
AUTH that is refused, comes in a line like any other.

Consequence. STARTTLS throws away what has arrived and all that the session knows (RFC 3207 section
4.2). With `tls="required"` nothing but EHLO, NOOP, QUIT and STARTTLS is carried out before (RFC
3207 section 4). AUTH is neither offered nor taken in clear, unless somebody says `auth_in_clear`.
A line that is no known command is neither shown nor repeated. What the program can't tell now, the
client may ask later: 454, or 421. All limits of `asynccore.hardened_smtpd` are on; an unfinished
handshake counts for `max_handshakes`, has a deadline of its own, and is not waited for at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

from cryptography import x509

from asynccore.channels import Map
from asynccore.classic.own_names import takes
from asynccore.hardened_smtpd import HardenedSMTPChannel, HardenedSMTPServer
from asynccore.listening.connection_limits import check as _check_limit
from asynccore.smtp.hooks import ABOUT_CERTIFICATE, USER, YES_OR_NO, NoAnswer, ask
from asynccore.smtp.syntax import split_command
from asynccore.smtpd import DATA_SIZE_DEFAULT

from ..contexts.context import Context
from ..contexts.sni import server_settings
from ..dispatchers.listener import HandshakeListener
from ..dispatchers.mixin import tls_async_chat
from ..errors import TLSError
from ..peer import UserMapping
from ..peer import user_name as _user_of
from ..sockets.translation import AnyContext, adapted
from ..states import OPEN
from .auth import LINE_SIZE, MECHANISMS, Claim, Exchange, Refused, is_mail_option, is_name

if TYPE_CHECKING:
    import socket

    from asynccore.dispatchers.timeouts import TimeoutName

__all__ = ["TLSSMTPChannel", "TLSSMTPServer"]

Mode = Literal["implicit", "required", "optional"]
MODES = ("implicit", "required", "optional")

# What is carried out before TLS where that is required: RFC 3207 section 4.
_BEFORE_TLS = frozenset({"EHLO", "NOOP", "QUIT", "STARTTLS"})

# What is carried out before AUTH where that is required: RFC 4954 section 6, HELP and STARTTLS.
_BEFORE_AUTH = frozenset({"AUTH", "EHLO", "HELO", "HELP", "NOOP", "QUIT", "RSET", "STARTTLS"})

AUTH_OPTION = 500  # bytes that the AUTH option adds to the longest MAIL: RFC 4954 section 3

EHLO_FIRST = "503 Error: send EHLO first"
TLS_FIRST = "530 Must issue a STARTTLS command first"  # RFC 3207 section 4
TLS_ALREADY = "503 Error: TLS is active already"
NO_TLS_NOW = "454 TLS not available due to temporary reason"  # RFC 3207 section 4
READY = "220 Ready to start TLS"  # RFC 3207 section 4
AUTH_FIRST = "530 Authentication required"  # RFC 4954 section 6
AUTH_ALREADY = "503 Error: already authenticated"
AUTH_TOO_LATE = "503 Error: AUTH is not possible during a mail transaction"  # RFC 4954 section 4
AUTH_SYNTAX = "AUTH mechanism [SP initial-response]"
AUTH_NEEDS_TLS = "538 Encryption required for requested authentication mechanism"  # RFC 4954
ACCEPTED = "235 Authentication successful"  # RFC 4954 section 6
NOT_ACCEPTED = "535 Authentication credentials invalid"  # RFC 4954 section 6
LATER = "4.7.0 Temporary authentication failure"  # RFC 4954 section 6
NOT_SHOWN = "(not shown)"


class TLSSMTPChannel(tls_async_chat, HardenedSMTPChannel):
    """The connection of a `TLSSMTPServer` with one client; its arguments are `SMTPChannel`'s.

    Beside what `SMTPChannel` and `TLSMixin` have: `user`, who is logged in, or `None`.
    """

    # A message has no terminator but its end; the session bounds its lines by itself.
    max_line_length: int | None = None

    user: str | None = None
    _ac_exchange: Exchange | None = None

    def __init__(
        self,
        server: TLSSMTPServer,
        conn: socket.socket | Any,
        addr: tuple[str, int] | Any,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: Map | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
    ) -> None:
        if server.tls == "implicit":
            self.tls_context = server.context
        self.server_side = True
        HardenedSMTPChannel.__init__(
            self, server, conn, addr, data_size_limit, map, enable_SMTPUTF8, decode_data
        )
        if self.tls is not None and not self._ac_closed:
            server.handshake_begun(self)

    # -- TLS ------------------------------------------------------------------------------------

    def smtp_STARTTLS(self, arg: str | None) -> None:
        """RFC 3207 section 4: the handshake follows the reply, and nothing of before counts."""
        if arg:
            self.push("501 Syntax: STARTTLS")
        elif self.tls is not None:
            self.push(TLS_ALREADY)
        elif not self.extended_smtp:
            self.push(EHLO_FIRST)
        elif self.smtp_server._ac_has_too_many_handshakes():
            self.push(NO_TLS_NOW)
        else:
            self.push(READY)
            self.start_tls(self.smtp_server.context, server_side=True)
            # RFC 3207 section 4.2: what the client has told is forgotten.
            self._ac_forget_greeting()
            self._set_rset_state()
            self.user = None
            self.smtp_server.handshake_begun(self)

    def handle_handshake(self) -> None:
        """TLS is established: who may log in by a certificate alone is logged in.

        If that can't be told now, the client is told 421 (RFC 5321 section 3.8).
        """
        self.smtp_server.handshake_ended(self)
        if not self.smtp_server.login_by_certificate:
            return
        try:
            user = self._ac_ask_user()
            if user is not None and self._ac_may_log_in(Claim("EXTERNAL", user, None)):
                self.user = user
        except NoAnswer:
            if not self._ac_is_over():
                self._ac_say_goodbye(LATER)

    def handle_shutdown(self) -> bool:
        """Say 421 and close (`SMTPChannel.handle_shutdown`); in a handshake, close."""
        if self.tls is not None and self.tls.state is not OPEN:
            self.handle_close()
            return False
        return super().handle_shutdown()

    def handle_tls_error(self, exc: TLSError) -> None:
        """TLS has failed: log a line, as a warning, for strangers can cause any number, and close.

        Warnings are not printed unless `ignore_log_types` says so.
        """
        self.log_info(f"{type(exc).__name__}: {exc.reason}, closing channel {self!r}", "warning")
        self.handle_close()

    def handle_timeout(self, which: TimeoutName | Literal["command", "data"]) -> None:
        """Say 421 and close (`SMTPChannel.handle_timeout`); in a handshake, close."""
        if which == "handshake":
            self.log_info(f"handshake timeout, closing channel {self!r}", "warning")
            self.handle_close()
        else:
            HardenedSMTPChannel.handle_timeout(self, which)

    @property
    def certificate_user(self) -> str | None:
        """The user that the client's certificate stands for, by the server's `certificate_user`.

        Raises what a function there raises.
        """
        mapping = self.smtp_server._ac_user_mapping()
        return None if mapping is None else _user_of(self.peer_certificate, mapping)

    def _ac_ask_user(self) -> str | None:
        """Return `certificate_user`. Raises `NoAnswer` where a function of the program does."""
        mapping = self.smtp_server._ac_user_mapping()
        found: str | None
        if not callable(mapping):
            found = self.certificate_user
        else:
            found = ask(USER, _user_of, self.peer_certificate, mapping)
        return found if found is None or is_name(found) else None

    @property
    def transmission_type(self) -> str:
        """How the message comes, as a Received header says it: "ESMTPSA" and the like (RFC 3848).

        With SMTPUTF8 it is "UTF8SMTPSA" and the like (RFC 6531 section 4.3).
        """
        if not self.extended_smtp:
            return "SMTP"
        name = "UTF8SMTP" if self.require_SMTPUTF8 else "ESMTP"
        return name + "S" * (self.tls is not None) + "A" * (self.user is not None)

    # -- the dialogue ---------------------------------------------------------------------------

    def _ac_extensions(self) -> Iterable[str]:
        found = list(super()._ac_extensions())
        if self.tls is None:
            found.append("STARTTLS")
        mechanisms = self._ac_mechanisms()
        if mechanisms and not self._ac_needs_tls_first("AUTH"):
            found.append(f"AUTH {' '.join(mechanisms)}")
            self.command_size_limits["AUTH"] = LINE_SIZE
            self.command_size_limits["MAIL"] += AUTH_OPTION
        return found

    def _ac_supported(self) -> dict[str, str]:
        names = super()._ac_supported()
        if self.tls is None:
            names = {**names, "STARTTLS": "STARTTLS"}
        if self._ac_mechanisms() and not self._ac_needs_tls_first("AUTH"):
            names = {**names, "AUTH": AUTH_SYNTAX}
        return names

    def _ac_refusal(self, verb: str) -> str:
        if self._ac_needs_tls_first(verb):
            return TLS_FIRST
        if self.smtp_server.auth_required and self.user is None and verb not in _BEFORE_AUTH:
            return AUTH_FIRST
        return super()._ac_refusal(verb)

    def _ac_needs_tls_first(self, verb: str) -> bool:
        return self.tls is None and self.smtp_server.tls == "required" and verb not in _BEFORE_TLS

    def _getparams(self, params: list[str]) -> Any:
        options = super()._getparams(params)
        if options and params is self.mail_options and self._ac_mechanisms():
            # RFC 4954 section 5: who offers AUTH takes this, and need not believe it.
            if not is_mail_option(options.pop("AUTH", "<>")):
                return None
        return options

    def _ac_command_received(self, line: Any, size: int, undecodable: bool) -> None:
        if self._ac_exchange is None:
            super()._ac_command_received(line, size, undecodable)
        elif size > LINE_SIZE:
            self._ac_exchange = None
            self.push("500 Error: line too long")  # RFC 4954 section 4
        else:
            response = line.decode("latin-1") if isinstance(line, bytes) else line
            if undecodable:
                response = "\x00"  # in any case no base64
            self._ac_go_on(self._ac_exchange, self._ac_exchange.answer, response)

    def _ac_message_received(self, raw: object, size: int, undecodable: bool) -> None:
        server = self.smtp_server
        before, server.channel = server.channel, self
        try:
            super()._ac_message_received(raw, size, undecodable)
        finally:
            server.channel = before

    # What is no known command may be a name or password, sent behind an AUTH that was refused.

    def _ac_to_print(self, received: Any) -> Any:
        if self.smtp_state != self.COMMAND:
            return received
        line = received if isinstance(received, str) else received.decode("latin-1")
        verb = split_command(line)[0]
        known = verb != "AUTH" and callable(getattr(self, "smtp_" + verb, None))
        return received if known and self._ac_exchange is None else NOT_SHOWN

    def _ac_unknown(self, verb: str) -> str:
        return "500 Error: command not recognized"

    # -- AUTH -----------------------------------------------------------------------------------

    def _ac_mechanisms(self) -> list[str]:
        """Return what can be used now, the best first."""
        server = self.smtp_server
        if self.tls is None and not server.auth_in_clear:
            return []
        found = list(MECHANISMS) if server._ac_has_passwords() else ["EXTERNAL"]
        try:
            if self._ac_ask_user() is None:
                found.remove("EXTERNAL")
        except NoAnswer:
            pass  # perhaps there is one when the client tries
        return found

    def smtp_AUTH(self, arg: str | None) -> None:
        """RFC 4954 section 4."""
        words = (arg or "").split()
        name = words[0].upper() if words else ""
        if not self.extended_smtp:
            self.push(EHLO_FIRST)
        elif self.user is not None:
            self.push(AUTH_ALREADY)
        elif self.mailfrom:
            self.push(AUTH_TOO_LATE)
        elif not 1 <= len(words) <= 2:
            self.push(f"501 Syntax: {AUTH_SYNTAX}")
        elif name in self._ac_mechanisms():
            exchange = Exchange(name)
            self._ac_go_on(exchange, exchange.begin, words[1] if len(words) == 2 else None)
        elif name in MECHANISMS and self.tls is None and not self.smtp_server.auth_in_clear:
            self.push(AUTH_NEEDS_TLS)
        else:
            self.push("504 Error: unrecognized authentication mechanism")  # RFC 4954 section 4

    def _ac_go_on(self, exchange: Exchange, step: Callable[[Any], str], said: str | None) -> None:
        self._ac_exchange = None
        try:
            reply = step(said)
        except Refused as why:
            self.push(str(why))
            return
        if reply:
            self._ac_exchange = exchange
            self.push(reply)
            return
        claim = exchange.claim
        assert claim is not None
        try:
            if claim.mechanism == "EXTERNAL":
                claim = claim._replace(user=self._ac_ask_user() or "")
            accepted = claim.user and claim.acts_for in ("", claim.user)
            accepted = accepted and self._ac_may_log_in(claim)
        except NoAnswer:
            reply = f"454 {LATER}"
        else:
            reply = ACCEPTED if accepted else NOT_ACCEPTED
        if self._ac_is_over():
            return  # the program has closed it
        if reply is ACCEPTED:
            self.user = claim.user
        self.push(reply)

    def _ac_may_log_in(self, claim: Claim) -> bool:
        """Ask the program. Raises `NoAnswer`."""
        server = self.smtp_server
        found: bool
        if claim.password is None:
            hook = server.authenticate_certificate
            found = ask(ABOUT_CERTIFICATE, hook, self.peer, claim.user, self.peer_certificate)
        else:
            hook = server.authenticate
            found = ask(YES_OR_NO, hook, self.peer, claim.mechanism, claim.user, claim.password)
        return found


class TLSSMTPServer(HandshakeListener, HardenedSMTPServer):
    """A `HardenedSMTPServer` that speaks TLS. Override `process_message`, and `authenticate`.

    `context` is a server's (`ssl_ext.server_context`). The other keywords are attributes, too,
    which a class may have instead; `limits` are those of `HardenedSMTPServer`.

    `channel` is the `TLSSMTPChannel` whose message is being processed: its `user`, `tls_version`,
    `cipher`, `peer_certificate`, `transmission_type` and so on.

    Raises as `HardenedSMTPServer` does, `TypeError` for what is no context, and `ValueError` for
    what can't be right.
    """

    channel_class: type[TLSSMTPChannel] = TLSSMTPChannel

    tls: Mode = "required"
    """"implicit": TLS from the first byte (port 465: RFC 8314 section 3). "required": nothing
    before STARTTLS. "optional": with STARTTLS, or in clear."""

    auth_required = False
    """Whether who is not logged in can send nothing (RFC 6409 section 4.3)."""

    auth_in_clear = False
    """Whether passwords may be sent without TLS (RFC 4954 section 4 forbids it)."""

    certificate_user: UserMapping | None = None
    """Whom a client certificate stands for (`ssl_ext.user_name`): enables AUTH EXTERNAL.

    "common_name", "email", "dns", or a function of the certificate that returns a name or `None`;
    in a class body, too, it takes nothing but the certificate, or else `self` before it."""

    login_by_certificate = False
    """Whether such a client is logged in by its handshake, without AUTH."""

    max_handshakes: int | None = 50
    """As for `tls_listener`: half of `max_connections`, of which a handshake is one."""

    channel: TLSSMTPChannel | None = None

    def __init__(
        self,
        localaddr: tuple[str, int],
        remoteaddr: tuple[str, int] | None = None,
        data_size_limit: int | None = DATA_SIZE_DEFAULT,
        map: Map | None = None,
        enable_SMTPUTF8: bool = False,
        decode_data: bool = False,
        *,
        context: AnyContext,
        tls: Mode | None = None,
        auth_required: bool | None = None,
        auth_in_clear: bool | None = None,
        certificate_user: UserMapping | None = None,
        login_by_certificate: bool | None = None,
        max_handshakes: int | None = None,
        **limits: object,
    ) -> None:
        self.context = context
        for name, value in (
            ("tls", tls),
            ("auth_required", auth_required),
            ("auth_in_clear", auth_in_clear),
            ("certificate_user", certificate_user),
            ("login_by_certificate", login_by_certificate),
        ):
            if value is not None:
                setattr(self, name, value)
        _check_limit("max_handshakes", max_handshakes)
        self._ac_check()
        super().__init__(
            localaddr, remoteaddr, data_size_limit, map, enable_SMTPUTF8, decode_data, **limits
        )
        if max_handshakes is not None:
            self.max_handshakes = max_handshakes

    def _ac_check(self) -> None:
        """Raise `TypeError` or `ValueError` for what can't be right."""
        adapted(self.context)
        asks = True  # for all that can be told
        if isinstance(self.context, Context):
            if not self.context.server_side:
                raise ValueError(f"an SMTP server needs a server's context, not {self.context!r}")
            own = server_settings(self.context)
            hosts = map(server_settings, own.sni.values())
            asks = any(settings.client_auth != "none" for settings in (own, *hosts))
        if self.tls not in MODES:
            raise ValueError(f"tls is one of {', '.join(map(repr, MODES))}, not {self.tls!r}")
        mapping = self._ac_user_mapping()
        if mapping is not None:
            _user_of(None, mapping)
            if callable(mapping) and not takes(mapping, 1):
                raise TypeError(
                    f"certificate_user={mapping!r} must take one argument, the certificate"
                )
            if not asks:
                raise ValueError(
                    "certificate_user needs a context that asks for client certificates: "
                    "server_context(..., client_auth='optional' or 'required', ca=...)"
                )
        elif self.login_by_certificate:
            raise ValueError(
                "login_by_certificate needs to know who a certificate is: certificate_user='email'"
            )
        elif self.auth_required and not self._ac_has_passwords():
            raise ValueError(
                "auth_required needs a way to log in: override authenticate(), "
                "or give certificate_user=..."
            )

    def _ac_user_mapping(self) -> UserMapping | None:
        mapping = self.certificate_user
        if getattr(mapping, "__self__", None) is self:
            # A function in a class body has become a method.
            function: UserMapping = mapping.__func__  # type: ignore[union-attr]
            if takes(function, 1):
                return function
        return mapping

    def handle_refused(
        self, sock: socket.socket | Any, addr: tuple[str, int] | Any, reason: str
    ) -> None:
        """Say 421 to a connection that is one too many, and close it; with implicit TLS, close it.

        A client that expects TLS takes text in clear for damage.
        """
        if self.tls == "implicit":
            super(HardenedSMTPServer, self).handle_refused(sock, addr, reason)
        else:
            super().handle_refused(sock, addr, reason)

    def _ac_has_passwords(self) -> bool:
        """Return whether there is an `authenticate` that knows passwords: one of a subclass."""
        return type(self).authenticate is not TLSSMTPServer.authenticate or (
            getattr(self.authenticate, "__func__", None) is not TLSSMTPServer.authenticate
        )

    def _ac_has_too_many_handshakes(self) -> bool:
        """Return whether `max_handshakes` is reached: then STARTTLS is refused for a while."""
        most = self._ac_max_handshakes
        if most is None or self._ac_as_listener().ledger.handshakes < most:
            return False
        return not self._ac_makes_room_for_handshakes()

    def authenticate(
        self, peer: tuple[str, int] | Any, mechanism: str, user: str, password: str
    ) -> bool:
        """Return whether a client may log in as `user`; AUTH is offered if this is overridden.

        `peer` is its address, and `mechanism` "PLAIN" or "LOGIN". Compare secrets with
        `hmac.compare_digest`. All other connections wait in the meantime.
        """
        return False

    def authenticate_certificate(
        self, peer: tuple[str, int] | Any, user: str, certificate: x509.Certificate
    ) -> bool:
        """Return whether a client with a certificate may log in as `user`. By default, it may.

        `user` is who it stands for by `certificate_user`, and `certificate` it itself
        (`cryptography.x509.Certificate`), which an authority of the context vouches for.
        """
        return True
