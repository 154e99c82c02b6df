"""SMTP over TLS: servers with smtplib, openssl and an attacker as clients."""

from __future__ import annotations

import base64
import shutil
import smtplib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

import asynccore
from asynccore import ChannelMap, smtpd
from asynccore.engine import Engine
from asynccore.testing import FakeClock
from ssl_ext import TLSSMTPChannel, TLSSMTPServer, client_context, secure, server_context
from tests.tls.support import (
    ADDRESS,
    CLIENT,
    HOST,
    authority,
    client_certificate,
    server_certificate,
    strange_certificate,
    write_pem,
)
from tests.tls.talking import PATIENCE, meanwhile, settle


def pem(certificate: Any) -> bytes:
    return b"".join(
        blob.bytes() for blob in (*certificate.cert_chain_pems, certificate.private_key_pem)
    )


def server_side(client_auth: Any = "none", **options: Any) -> Any:
    if client_auth != "none":
        options["ca"] = authority().cert_pem.bytes()
    return server_context(pem(server_certificate()), client_auth=client_auth, **options)


def trusting(certificate: Any = None, version: Any = None) -> ssl.SSLContext:
    """A context of the standard library that trusts our authority, for `ADDRESS`."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    if certificate is not None:
        certificate.configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


class Inbox(TLSSMTPServer):
    """Keeps messages with what is known of their senders."""

    def __init__(self, channels: Any, client_auth: Any = "none", **options: Any) -> None:
        self.messages: list[Any] = []
        options.setdefault("context", server_side(client_auth))
        super().__init__((ADDRESS, 0), map=channels, **options)
        self._ac_fqdn = "mail.example"  # not asked of the system

    @property
    def port(self) -> int:
        port: int = self.socket.getsockname()[1]
        return port

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> str | None:
        assert self.channel is not None
        seen = self.channel
        self.messages.append(
            (mailfrom, seen.user, seen.tls_version, seen.transmission_type, data, kwargs)
        )
        return None


class WithPasswords(Inbox):
    """Knows one password, and who asked."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.asked: list[Any] = []
        super().__init__(*args, **options)

    def authenticate(self, peer: Any, mechanism: str, user: str, password: str) -> bool:
        self.asked.append((peer[0], mechanism, user, password))
        return (user, password) == ("ann", "secret")


@pytest.fixture
def channels() -> Any:
    """A map of the test's own."""
    made = ChannelMap()
    yield made
    asynccore.close_all(made, ignore_all=True)
    made.clear()


def smtp(port: int) -> smtplib.SMTP:
    return smtplib.SMTP(ADDRESS, port, local_hostname="c", timeout=PATIENCE)


def smtps(port: int, context: ssl.SSLContext | None = None) -> smtplib.SMTP_SSL:
    return smtplib.SMTP_SSL(
        ADDRESS, port, local_hostname="c", timeout=PATIENCE, context=context or trusting()
    )


VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


# With smtplib ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_implicit_tls(channels: Any, version: str) -> None:
    inbox = Inbox(channels, tls="implicit")

    def client() -> Any:
        with smtps(inbox.port, trusting(version=VERSIONS[version])) as session:
            session.ehlo()
            offers = dict(session.esmtp_features)
            return offers, session.sendmail("a@b", ["c@d"], b"Subject: x\r\n\r\n" + b"y" * 200_000)

    offers, refused = meanwhile(channels, client)
    assert refused == {}
    assert "starttls" not in offers and "auth" not in offers
    ((mailfrom, user, spoken, kind, data, options),) = inbox.messages
    assert (mailfrom, user, spoken, kind) == ("a@b", None, version, "ESMTPS")
    assert len(data) == 200_012
    assert options["mail_options"]  # SIZE
    assert inbox.channel is None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tls", ["required", "optional"])
def test_starttls(channels: Any, tls: Any, version: str) -> None:
    inbox = Inbox(channels, tls=tls)

    def client() -> Any:
        with smtp(inbox.port) as session:
            session.ehlo()
            before = dict(session.esmtp_features)
            assert session.starttls(context=trusting(version=VERSIONS[version]))[0] == 220
            session.ehlo()
            after = dict(session.esmtp_features)
            again = session.docmd("STARTTLS")
            session.sendmail("a@b", ["c@d"], "Subject: x\r\n\r\ny")
            return before, after, again

    before, after, again = meanwhile(channels, client)
    assert "starttls" in before and "starttls" not in after
    assert again == (503, b"Error: TLS is active already")
    assert inbox.messages[0][:4] == ("a@b", None, version, "ESMTPS")


def test_without_tls_where_it_is_optional(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional", enable_SMTPUTF8=True)

    def client() -> None:
        with smtp(inbox.port) as session:
            session.sendmail("a@b", ["c@d"], "Subject: x\r\n\r\ny")
            session.sendmail("é@b", ["c@d"], "Subject: x\r\n\r\ny", ["SMTPUTF8"])
        with smtp(inbox.port) as session:
            session.helo()
            session.sendmail("a@b", ["c@d"], "Subject: x\r\n\r\ny")

    meanwhile(channels, client)
    assert [message[2:4] for message in inbox.messages] == [
        (None, "ESMTP"),
        (None, "UTF8SMTP"),
        (None, "SMTP"),
    ]


def test_nothing_goes_before_tls_where_it_is_required(channels: Any) -> None:
    inbox = WithPasswords(channels)

    def client() -> Any:
        with smtp(inbox.port) as session:
            said = [session.docmd("STARTTLS"), session.docmd("HELO", "c")]
            session.ehlo()
            offered = session.has_extn("auth")
            said += [
                session.docmd(line)
                for line in (
                    "MAIL FROM:<a@b>",
                    "RCPT TO:<a@b>",
                    "DATA",
                    "RSET",
                    "VRFY a@b",
                    "EXPN a",
                    "HELP",
                    "AUTH PLAIN AGFubgBzZWNyZXQ=",
                    "NOOP",
                    "STARTTLS now",
                )
            ]
            with pytest.raises(smtplib.SMTPSenderRefused, match="Must issue a STARTTLS"):
                session.sendmail("a@b", ["c@d"], "x")
            return offered, said

    offered, said = meanwhile(channels, client)
    assert not offered
    first = (530, b"Must issue a STARTTLS command first")
    assert said == [
        (503, b"Error: send EHLO first"),
        *[first] * 9,
        (250, b"OK"),
        (501, b"Syntax: STARTTLS"),
    ]
    assert inbox.messages == inbox.asked == []


# AUTH -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("tls", ["implicit", "required"])
def test_login(channels: Any, tls: Any, mechanism: str) -> None:
    inbox = WithPasswords(channels, tls=tls, auth_required=True)

    def client() -> Any:
        session = smtps(inbox.port) if tls == "implicit" else smtp(inbox.port)
        with session:
            if tls != "implicit":
                session.ehlo()
                assert not session.has_extn("auth")
                session.starttls(context=trusting())
            session.ehlo()
            offered = session.esmtp_features["auth"]
            first = session.docmd("MAIL", "FROM:<a@b>")
            session.user, session.password = "ann", "wrong"
            method = getattr(session, f"auth_{mechanism.lower()}")
            with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
                session.auth(mechanism, method)
            session.user, session.password = "ann", "secret"
            session.auth(mechanism, method)
            again = session.docmd("AUTH", "PLAIN AGFubgBzZWNyZXQ=")
            session.sendmail("a@b", ["c@d"], "x", ["AUTH=<>"])
            return offered, first, wrong.value.smtp_code, again

    offered, first, wrong, again = meanwhile(channels, client)
    assert offered.split() == ["PLAIN", "LOGIN"]
    assert first == (530, b"Authentication required")
    assert wrong == 535
    assert again == (503, b"Error: already authenticated")
    assert inbox.asked == [
        (ADDRESS, mechanism, "ann", "wrong"),
        (ADDRESS, mechanism, "ann", "secret"),
    ]
    assert inbox.messages[0][1] == "ann"
    assert inbox.messages[0][3] == "ESMTPSA"


def test_what_is_wrong_with_auth(channels: Any) -> None:
    inbox = WithPasswords(channels, tls="implicit")

    def client() -> Any:
        with smtps(inbox.port) as session:
            said = [session.docmd("AUTH PLAIN")]
            session.ehlo()
            for line in (
                "AUTH",
                "AUTH PLAIN a b",
                "AUTH CRAM-MD5",
                "AUTH EXTERNAL =",
                "AUTH PLAIN !",
                "AUTH PLAIN " + base64.b64encode(b"bob\0ann\0secret").decode(),
                "AUTH LOGIN",
                "*",
                "AUTH PLAIN",
                "x" * 13000,
                "NOOP",
                "AUTH PLAIN",
                b"\xff\xfe",
                "RCPT TO:<c@d> AUTH=<>",
                "MAIL FROM:<a@b> AUTH=<> SIZE=1",
                "RCPT TO:<c@d> AUTH=<>",
                "AUTH PLAIN AGFubgBzZWNyZXQ=",
            ):
                session.send(line.encode() + b"\r\n" if isinstance(line, str) else line + b"\r\n")
                said.append(session.getreply())
            return said

    said = meanwhile(channels, client)
    assert [code for code, _ in said] == [
        *(503, 501, 501, 504, 504, 501, 535, 334, 501, 334, 500, 250, 334, 501),
        *(503, 250, 555, 503),
    ]
    assert said[-1][1] == b"Error: AUTH is not possible during a mail transaction"
    assert inbox.asked == []


def test_passwords_in_clear_only_if_somebody_says_so(channels: Any) -> None:
    careful = WithPasswords(channels, tls="optional")
    careless = WithPasswords(channels, tls="optional", auth_in_clear=True, decode_data=True)

    def client() -> Any:
        with smtp(careful.port) as session:
            session.ehlo()
            assert not session.has_extn("auth")
            refused = session.docmd("AUTH", "PLAIN AGFubgBzZWNyZXQ=")
            unknown = session.docmd("AUTH", "CRAM-MD5")
            # Nobody offered it.
            option = session.docmd("MAIL", "FROM:<a@b> AUTH=<>")
        with smtp(careless.port) as session:
            session.ehlo()
            session.docmd("AUTH", "PLAIN")
            session.send(b"\xff=\r\n")
            assert session.getreply()[0] == 501
            session.login("ann", "secret")
            session.starttls(context=trusting())
            session.ehlo()  # and is nobody any more
            session.sendmail("a@b", ["c@d"], "x")
        return refused, unknown, option

    refused, unknown, option = meanwhile(channels, client)
    assert refused == (538, b"Encryption required for requested authentication mechanism")
    assert unknown[0] == 504
    assert option[0] == 555
    assert careful.asked == []
    assert careless.asked == [(ADDRESS, "PLAIN", "ann", "secret")]
    assert careless.messages[0][1] is None


def test_an_authenticate_that_does_not_say_true_or_false_logs_nobody_in(
    channels: Any, capsys: Any
) -> None:
    class Asynchronous(Inbox):
        def authenticate(self, *args: Any) -> Any:
            return object()

    inbox = Asynchronous(channels, tls="implicit")

    def client() -> None:
        with smtps(inbox.port) as session:
            with pytest.raises(smtplib.SMTPServerDisconnected):
                session.login("ann", "secret")

    meanwhile(channels, client)
    assert "authenticate() returns True or False" in capsys.readouterr().out


def test_passwords_are_in_no_debugging_output(channels: Any, monkeypatch: Any) -> None:
    import io

    stream = io.StringIO()
    monkeypatch.setattr(smtpd, "DEBUGSTREAM", stream)
    inbox = WithPasswords(channels, tls="implicit")

    def client() -> None:
        with smtps(inbox.port) as session:
            session.login("ann", "secret")
        with smtps(inbox.port) as session:
            session.ehlo()
            session.user, session.password = "ann", "secret"
            session.auth("LOGIN", session.auth_login, initial_response_ok=False)
            session.noop()

    meanwhile(channels, client)
    text = stream.getvalue()
    assert "(not shown)" in text and "noop" in text.lower()
    for secret in (b"secret", b"\0ann\0secret"):
        assert base64.b64encode(secret).decode() not in text


# Certificates ---------------------------------------------------------------------------------


class ByCertificate(Inbox):
    """Knows its clients by their certificates, all but one of them."""

    certificate_user = "email"
    refused: str | None = None

    def authenticate_certificate(self, peer: Any, user: str, certificate: Any) -> bool:
        assert certificate.serial_number
        return super().authenticate_certificate(peer, user, certificate) and user != self.refused


def external(session: smtplib.SMTP, said: str = "=") -> tuple[int, bytes]:
    session.ehlo()
    return session.docmd("AUTH", f"EXTERNAL {said}")


@pytest.mark.parametrize("version", VERSIONS)
def test_auth_external(channels: Any, version: str) -> None:
    inbox = ByCertificate(channels, "optional", tls="required", auth_required=True)
    context = trusting(client_certificate(), VERSIONS[version])

    def client() -> Any:
        with smtp(inbox.port) as session:
            session.ehlo()
            session.starttls(context=context)
            session.ehlo()
            offered = session.esmtp_features["auth"]
            other = external(session, base64.b64encode(b"bob@example.org").decode())
            same = external(session, base64.b64encode(CLIENT.encode()).decode())
            session.sendmail("a@b", ["c@d"], "x")
        with smtp(inbox.port) as session:
            session.ehlo()
            session.starttls(context=trusting())
            session.ehlo()
            nobody = session.has_extn("auth"), session.docmd("AUTH", "EXTERNAL =")
        return offered, other, same, nobody

    offered, other, same, nobody = meanwhile(channels, client)
    assert offered.strip() == "EXTERNAL"
    assert other == (535, b"Authentication credentials invalid")
    assert same == (235, b"Authentication successful")
    assert nobody[0] is False and nobody[1][0] == 504
    assert inbox.messages[0][1] == CLIENT


def test_a_certificate_that_the_server_does_not_want(channels: Any) -> None:
    inbox = ByCertificate(channels, "required", tls="implicit", login_by_certificate=True)
    inbox.refused = CLIENT

    def client() -> Any:
        with smtps(inbox.port, trusting(client_certificate())) as session:
            return external(session)

    assert meanwhile(channels, client)[0] == 535


def test_login_by_the_handshake_alone(channels: Any) -> None:
    inbox = ByCertificate(channels, "required", tls="implicit", login_by_certificate=True)

    def client() -> None:
        with smtps(inbox.port, trusting(client_certificate())) as session:
            session.sendmail("a@b", ["c@d"], "x")

    meanwhile(channels, client)
    assert inbox.messages[0][1] == CLIENT
    assert inbox.messages[0][3] == "ESMTPSA"


@pytest.mark.parametrize("certificate", [None, strange_certificate])
def test_no_certificate_or_one_of_strangers(channels: Any, certificate: Any) -> None:
    inbox = ByCertificate(channels, "required", tls="implicit", login_by_certificate=True)
    context = trusting(None if certificate is None else certificate())

    def client() -> None:
        with pytest.raises((ssl.SSLError, ConnectionError, smtplib.SMTPServerDisconnected)):
            with smtps(inbox.port, context) as session:
                session.ehlo()

    meanwhile(channels, client)
    assert inbox.messages == []


# An attacker ----------------------------------------------------------------------------------


def reply(file: Any) -> bytes:
    """Read a reply; return its last line."""
    line = b"250-"
    while line[3:4] == b"-":
        line = file.readline()
    return bytes(line.strip())


def test_commands_sent_behind_starttls_are_never_carried_out(channels: Any) -> None:
    """CVE-2011-0411: in one segment with STARTTLS, and a sender from before it."""
    inbox = Inbox(channels, tls="optional")

    def client() -> Any:
        with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
            file = plain.makefile("rb")
            plain.sendall(b"EHLO evil\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<c@d>\r\n")
            assert [reply(file)[:3] for _ in range(4)] == [b"220", b"250", b"250", b"250"]
            plain.sendall(
                b"STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
            )
            assert reply(file) == b"220 Ready to start TLS"
            file.close()
            with trusting().wrap_socket(plain, server_hostname=ADDRESS) as secure:
                with secure.makefile("rb") as file:
                    said = []
                    for line in (b"DATA", b"MAIL FROM:<a@b>", b"EHLO c", b"RCPT TO:<c@d>", b"QUIT"):
                        secure.sendall(line + b"\r\n")
                        said.append(reply(file))
                    return said

    said = meanwhile(channels, client)
    assert said == [
        b"503 Error: send HELO first",
        b"503 Error: send HELO first",
        b"250 HELP",
        b"503 Error: need MAIL command",
        b"221 Bye",
    ]
    assert inbox.messages == []


def test_commands_in_the_place_of_a_handshake(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional")

    def client() -> Any:
        with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
            with plain.makefile("rb") as file:
                plain.sendall(b"EHLO evil\r\nSTARTTLS\r\n")
                assert [reply(file)[:3] for _ in range(3)] == [b"220", b"250", b"220"]
                plain.sendall(b"EHLO evil\r\nMAIL FROM:<evil@x>\r\n")
                return file.read()

    assert b"250" not in meanwhile(channels, client)


def test_a_line_that_was_begun_in_clear_is_forgotten(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional", decode_data=True)

    def client() -> Any:
        with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
            with plain.makefile("rb") as file:
                plain.sendall(b"EHLO evil\r\nSTARTTLS\r\nRSET \xc3")
                assert [reply(file)[:3] for _ in range(3)] == [b"220", b"250", b"220"]
            with trusting().wrap_socket(plain, server_hostname=ADDRESS) as secure:
                with secure.makefile("rb") as file:
                    secure.sendall(b"EHLO c\r\n")
                    return reply(file)

    assert meanwhile(channels, client) == b"250 HELP"


def test_a_client_that_never_begins_its_handshake(channels: Any) -> None:
    """It has handshake_timeout, whatever else it has; and counts as unfinished."""
    clock = FakeClock()
    channels.engine = Engine(channels, clock)
    inbox = Inbox(channels, tls="implicit", max_handshakes=1)
    with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
        settle(channels, lambda: len(channels) == 2)
        channel = next(one for one in channels.values() if one is not inbox)
        assert isinstance(channel, TLSSMTPChannel)
        assert channel.handshake_timeout == 60.0
        assert inbox.has_too_many_handshakes()
        asynccore.loop(timeout=0, map=channels, count=1)  # its time begins
        clock.advance(59.9)
        asynccore.loop(timeout=0, map=channels, count=3)
        assert len(channels) == 2
        clock.advance(0.2)
        asynccore.loop(timeout=0, map=channels, count=3)
        assert list(channels.values()) == [inbox]
        assert not inbox.has_too_many_handshakes()
        assert plain.recv(100) == b""


def test_starttls_is_refused_while_too_many_handshakes_are_unfinished(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional", max_handshakes=1)

    def client() -> Any:
        with smtp(inbox.port) as one, smtp(inbox.port) as two:
            one.ehlo()
            two.ehlo()
            assert one.docmd("STARTTLS")[0] == 220
            refused = two.docmd("STARTTLS")
            one.close()
            # As soon as the server has seen that, there is room again.
            while (later := two.docmd("STARTTLS"))[0] == 454:
                two.noop()
            two.close()
            return refused, later

    refused, later = meanwhile(channels, client)
    assert refused == (454, b"TLS not available due to temporary reason")
    assert later == (220, b"Ready to start TLS")


def test_noise_instead_of_a_handshake(channels: Any, capsys: Any) -> None:
    inbox = Inbox(channels, tls="implicit")
    with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")  # it is there when the server accepts
        with plain.makefile("rb") as file:
            # An end, and not RST, which would throw away an alert before it.
            assert meanwhile(channels, file.read) == b""
    settle(channels, lambda: len(channels) == 1)
    assert capsys.readouterr().out == ""


def test_a_handshake_that_is_over_is_unfinished_no_more(channels: Any) -> None:
    inbox = Inbox(channels, tls="implicit", max_handshakes=1)

    def client() -> Any:
        with smtps(inbox.port) as one, smtps(inbox.port) as two:
            return one.noop()[0], two.noop()[0]

    assert meanwhile(channels, client) == (250, 250)


def test_the_limits_of_time_are_on_in_clear_too(channels: Any) -> None:
    clock = FakeClock()
    channels.engine = Engine(channels, clock)
    inbox = Inbox(channels, tls="optional")
    with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
        settle(channels, lambda: len(channels) == 2)
        clock.advance(300.5)
        asynccore.loop(timeout=0, map=channels, count=3)
        with plain.makefile("rb") as file:
            assert [line[:4] for line in file] == [b"220 ", b"421 "]


# What can't be right --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"context": None}, TypeError, "no TLS context"),
        ({"context": client_context(check_hostname=False)}, ValueError, "needs a server's context"),
        ({"tls": "maybe"}, ValueError, "tls is one of 'implicit', 'required', 'optional'"),
        ({"certificate_user": "name", "client_auth": "optional"}, ValueError, "'common_name'"),
        ({"certificate_user": "email"}, ValueError, "asks for client certificates"),
        ({"login_by_certificate": True}, ValueError, "certificate_user='email'"),
        ({"auth_required": True}, ValueError, "override authenticate"),
        ({"max_handshakes": 0}, ValueError, "max_handshakes is None or at least 1"),
        ({"max_wishes": 3}, TypeError, "there is no limit 'max_wishes'"),
    ],
)
def test_errors_come_before_it_listens(
    channels: Any, options: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Inbox(channels, **options)
    assert not channels


def test_who_knows_passwords(channels: Any) -> None:
    inbox = Inbox(channels)
    assert not inbox.has_passwords()
    assert inbox.authenticate(None, "PLAIN", "ann", "secret") is False
    assert WithPasswords(channels).has_passwords()
    inbox.authenticate = lambda *args: True  # type: ignore[method-assign]
    assert inbox.has_passwords()


def test_limits_are_on_and_can_be_given(channels: Any) -> None:
    inbox = Inbox(channels, max_recipients=1, tls="implicit")

    def client() -> Any:
        with smtps(inbox.port) as session:
            return session.sendmail("a@b", ["c@d", "e@f"], "x")

    assert meanwhile(channels, client) == {"e@f": (452, b"Error: too many recipients")}
    assert inbox.max_connections == 100


def test_another_base_class(channels: Any, capsys: Any) -> None:
    class Debugging(TLSSMTPServer, smtpd.DebuggingServer):
        tls = "implicit"

    server = Debugging((ADDRESS, 0), context=server_side(), map=channels)
    server._ac_fqdn = "mail.example"

    def client() -> None:
        with smtps(server.socket.getsockname()[1]) as session:
            session.sendmail("a@b", ["c@d"], "Subject: hello\r\n\r\nx")

    meanwhile(channels, client)
    assert "Subject: hello" in capsys.readouterr().out


def test_any_server_made_secure(channels: Any, capsys: Any) -> None:
    server = secure(smtpd.DebuggingServer, server_side())((ADDRESS, 0), None, map=channels)
    server._ac_fqdn = "mail.example"

    def client() -> None:
        with smtps(server.socket.getsockname()[1]) as session:
            session.sendmail("a@b", ["c@d"], "Subject: hello\r\n\r\nx")

    meanwhile(channels, client)
    assert "Subject: hello" in capsys.readouterr().out


# The openssl program --------------------------------------------------------------------------

OPENSSL = shutil.which("openssl")


@pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command")
@pytest.mark.parametrize("flag", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("tls", ["implicit", "required"])
def test_openssl_s_client(channels: Any, tmp_path: Path, tls: Any, flag: str) -> None:
    inbox = ByCertificate(channels, "required", tls=tls, login_by_certificate=True)
    ca = write_pem(tmp_path, "ca.pem", authority().cert_pem)
    leaf = client_certificate()
    own = write_pem(tmp_path, "client.pem", leaf.private_key_pem, *leaf.cert_chain_pems)
    command = [
        *(OPENSSL or "", "s_client", flag, "-quiet", "-crlf", "-verify_return_error"),
        *("-CAfile", str(ca), "-verify_hostname", HOST, "-cert", str(own)),
        *("-connect", f"{ADDRESS}:{inbox.port}"),
        *(("-starttls", "smtp") if tls == "required" else ()),
    ]
    # Without "R" and "Q" at the beginning of a line, which s_client takes for itself.
    mail = b"EHLO c\nMAIL FROM:<a@b>\nrcpt TO:<c@d>\nDATA\nhello\n.\nquit\n"

    def client() -> Any:
        done = subprocess.run(
            command, input=mail, capture_output=True, timeout=PATIENCE, check=False
        )
        return done.stdout

    assert b"221 Bye" in meanwhile(channels, client)
    assert inbox.messages[0][1] == CLIENT
    assert inbox.messages[0][4] == b"hello"
