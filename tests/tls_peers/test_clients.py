"""The standard library's smtplib, imaplib and ftplib, with small servers on our classes."""

from __future__ import annotations

import ftplib
import imaplib
import io
import smtplib
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from asynccore import ChannelMap
from ssl_ext import TruncationError, tls_async_chat
from tests.tls.support import CLIENT, HOST, client_certificate
from tests.tls_peers.support import (
    PATIENCE,
    PAYLOAD,
    Listener,
    during,
    run,
    server_context,
)
from tests.tls_peers.test_stdlib import client_of


class Lines(tls_async_chat):
    """A server's side of a protocol of lines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.lines: list[str] = []
        self.error: BaseException | None = None
        self.set_terminator(b"\r\n")
        if self.tls is None:
            self.greet()

    def handle_handshake(self) -> None:
        self.lines.append(f"({self.tls_version} {self.user_name('email')})")
        if self.upgraded is None:
            self.greet()

    upgraded: Any = None  # the context of STARTTLS, once there was one

    def upgrade(self, answer: str) -> None:
        self.say(answer)
        self.upgraded = self.listener_context
        self.start_tls(self.upgraded, server_side=True)

    listener_context: Any = None

    def greet(self) -> None: ...

    def say(self, line: str) -> None:
        self.push(line.encode() + b"\r\n")

    def collect_incoming_data(self, data: bytes) -> None:
        self._collect_incoming_data(data)

    def found_terminator(self) -> None:
        line = self._get_data().decode()
        self.lines.append(line)
        self.handle_line(line)

    def handle_line(self, line: str) -> None:
        raise NotImplementedError

    def handle_tls_error(self, exc: Any) -> None:
        self.error = exc
        self.close()

    def handle_close(self) -> None:
        self.close()


def ended_well(channel: Lines, goodbye: str) -> bool:
    """Whether nothing went wrong until the client had said goodbye.

    smtplib and imaplib close their sockets without close_notify. Where that is seen before our own
    end, it is the truncation that it is.
    """
    error, last = channel.error, channel.lines[-1].upper()
    return last.endswith(goodbye) and (error is None or isinstance(error, TruncationError))


class ClearListener(Listener):
    """Hands out channels that begin in clear, and know the context for later."""

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        channel = self.channel_class(sock, self._map)
        channel.listener_context = self.context  # type: ignore[attr-defined]
        self.handle_channel(channel, addr)


KINDS = {"implicit": Listener, "STARTTLS": ClearListener}


@pytest.fixture(params=KINDS)
def how(request: pytest.FixtureRequest) -> str:
    """TLS from the beginning, and later on."""
    kind: str = request.param
    return kind


class Mail(Lines):
    """SMTP (RFC 5321, RFC 3207)."""

    in_data = False

    def greet(self) -> None:
        self.say(f"220 {HOST} ready")

    def handle_line(self, line: str) -> None:
        if self.in_data:
            if line == ".":
                self.in_data = False
                self.say("250 kept")
            return
        verb = line[:4].upper()
        if verb == "STAR":
            self.upgrade("220 go ahead")
        elif verb == "DATA":
            self.in_data = True
            self.say("354 go on")
        elif verb == "QUIT":
            self.say("221 bye")
            self.close_when_done()
        else:
            self.say("250-hello\r\n250 STARTTLS" if verb == "EHLO" else "250 fine")


def checked(version: str) -> ssl.SSLContext:
    """A client that checks names; it reaches the server by its address."""
    made: ssl.SSLContext = client_of(version, client_certificate())
    return made


@pytest.mark.parametrize("auth", ["none", "required"])
def test_smtplib(channels: ChannelMap, version: str, how: str, auth: str) -> None:
    listener = KINDS[how](channels, server_context(version, auth), Mail)
    tls = checked(version)

    def send() -> None:
        if how == "implicit":
            mail: Any = smtplib.SMTP_SSL("127.0.0.1", listener.port, context=tls, timeout=PATIENCE)
        else:
            mail = smtplib.SMTP("127.0.0.1", listener.port, timeout=PATIENCE)
            mail.starttls(context=tls)
        with mail:
            mail.sendmail("a@b.example", ["c@d.example"], "Subject: hi\r\n\r\n" + "x\r\n" * 50_000)

    during(channels, send)
    (channel,) = listener.handed
    user = CLIENT if auth == "required" else None
    assert f"({version} {user})" in channel.lines
    assert channel.lines.count("x") == 50_000
    assert ended_well(channel, "QUIT")


class Imap(Lines):
    """IMAP (RFC 3501): enough to log in and to fetch one message."""

    def greet(self) -> None:
        self.say("* OK ready")

    def handle_line(self, line: str) -> None:
        tag, verb = line.split()[:2]
        verb = verb.upper()
        if verb == "STARTTLS":
            self.upgrade(f"{tag} OK begin")
            return
        if verb == "CAPABILITY":
            self.say("* CAPABILITY IMAP4rev1 STARTTLS")
        elif verb == "SELECT":
            self.say("* 1 EXISTS")
        elif verb == "FETCH":
            self.push(b"* 1 FETCH (RFC822 {%d}\r\n" % len(PAYLOAD) + PAYLOAD + b")\r\n")
        elif verb == "LOGOUT":
            self.say("* BYE")
        self.say(f"{tag} OK {verb} done")
        if verb == "LOGOUT":
            self.close_when_done()


@pytest.mark.parametrize("auth", ["none", "required"])
def test_imaplib(channels: ChannelMap, version: str, how: str, auth: str) -> None:
    listener = KINDS[how](channels, server_context(version, auth), Imap)
    tls = checked(version)

    def fetch() -> None:
        if how == "implicit":
            mail: Any = imaplib.IMAP4_SSL(
                "127.0.0.1", listener.port, ssl_context=tls, timeout=PATIENCE
            )
        else:
            mail = imaplib.IMAP4("127.0.0.1", listener.port, timeout=PATIENCE)
            mail.starttls(tls)
        mail.login("user", "secret")
        mail.select()
        assert mail.fetch("1", "(RFC822)")[1][0][1] == PAYLOAD
        mail.logout()

    during(channels, fetch)
    (channel,) = listener.handed
    assert f"({version} {CLIENT if auth == 'required' else None})" in channel.lines
    assert ended_well(channel, "LOGOUT")


class Data(tls_async_chat):
    """An FTP data connection: sends what it is given, or keeps what comes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.set_terminator(None)
        self.kept: list[bytes] = []
        self.ended: Callable[[bytes], object] = lambda data: None

    def collect_incoming_data(self, data: bytes) -> None:
        self.kept.append(data)

    def found_terminator(self) -> None: ...

    def handle_tls_error(self, exc: Any) -> None:
        self.kept.append(repr(exc).encode())
        self.handle_close()

    def handle_close(self) -> None:
        self.close()
        self.ended(b"".join(self.kept))


class Ftp(Lines):
    """FTP (RFC 959, RFC 2428, RFC 4217)."""

    passive: Any = None
    stored = b""

    def greet(self) -> None:
        self.say("220 ready")

    def handle_line(self, line: str) -> None:
        verb = line.split()[0].upper()
        if verb == "AUTH":
            self.upgrade("234 go ahead")
        elif verb == "CCC":
            self.say("200 in clear")
            self.unwrap()
        elif verb in ("EPSV", "PASV"):
            self.passive = Listener(self._map, self.listener_context, Data)  # type: ignore[arg-type]
            high, low = divmod(self.passive.port, 256)
            self.say(f"227 here (127,0,0,1,{high},{low})")
        elif verb in ("RETR", "STOR"):
            self.say("150 opening")
            if self.passive.handed:
                self.transfer(verb, self.passive.handed[0])
            else:
                self.passive.handle_channel = lambda channel, addr: self.transfer(verb, channel)
        elif verb == "QUIT":
            self.say("221 bye")
            self.close_when_done()
        else:
            self.say({"USER": "331 and", "PASS": "230 in"}.get(verb, "200 fine"))

    def transfer(self, verb: str, channel: Data) -> None:
        self.passive.close()
        channel.ended = self.transferred
        if verb == "RETR":
            channel.push(PAYLOAD)
            channel.close_when_done()

    def transferred(self, data: bytes) -> None:
        self.stored = data
        self.say("226 done")

    def handle_unwrapped(self) -> None:
        self.lines.append("(clear)")


@pytest.mark.parametrize("auth", ["none", "required"])
def test_ftplib(channels: ChannelMap, version: str, auth: str) -> None:
    """AUTH TLS, both directions on protected data connections, and back to clear (CCC)."""
    listener = ClearListener(channels, server_context(version, auth), Ftp)
    tls = checked(version)
    got: list[bytes] = []

    def transfer() -> None:
        with ftplib.FTP_TLS(context=tls, timeout=PATIENCE) as ftp:
            ftp.connect("127.0.0.1", listener.port)
            ftp.login("user", "secret")  # begins TLS first
            ftp.prot_p()
            ftp.retrbinary("RETR it", got.append)
            ftp.storbinary("STOR it", io.BytesIO(PAYLOAD))
            ftp.ccc()
            ftp.voidcmd("NOOP")

    during(channels, transfer)
    run(channels, lambda: listener.handed[0]._ac_closed)
    (channel,) = listener.handed
    assert b"".join(got) == PAYLOAD
    assert channel.stored == PAYLOAD
    user = CLIENT if auth == "required" else None
    assert channel.lines[:2] == ["AUTH TLS", f"({version} {user})"]
    assert channel.lines[-3:] == ["(clear)", "NOOP", "QUIT"]
    assert channel.error is None
