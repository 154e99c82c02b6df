"""SMTP over TLS: servers with smtplib, openssl and an attacker as clients."""

from __future__ import annotations

import base64
import io
import shutil
import smtplib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

import asynccore
from asynccore import smtpd
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


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("AUTH=<>", 250),
        ("AUTH=ann+40example.org", 250),
        ("AUTH=" + "a" * 400, 250),
        ("auth=a+2B SIZE=10", 250),
        ("AUTH", 501),
        ("AUTH=", 501),
        ("AUTH=+zz", 501),
        ("AUTH=a+4", 501),
        ("AUTH=a=b", 501),
        ("AUTH=\xe4", 501),
        ("AUTH=<> HOLDFOR=1", 555),
    ],
)
def test_the_option_auth_of_mail(channels: Any, option: str, code: int) -> None:
    """RFC 4954 section 5: a value in xtext (RFC 3461 section 4)."""
    inbox = WithPasswords(channels, tls="implicit")

    def client() -> int:
        with smtps(inbox.port) as session:
            session.ehlo()
            session.send(f"MAIL FROM:<a@b> {option}\r\n".encode())
            return session.getreply()[0]

    assert meanwhile(channels, client) == code


def test_greeting_again_changes_nothing_but_the_message(channels: Any) -> None:
    """RFC 5321 section 4.1.4; who is logged in stays so."""
    inbox = WithPasswords(channels, tls="implicit", auth_required=True)

    def client() -> None:
        with smtps(inbox.port) as session:
            session.login("ann", "secret")
            session.docmd("MAIL", "FROM:<other@b>")
            assert session.ehlo()[0] == 250
            assert session.docmd("RCPT", "TO:<c@d>")[0] == 503
            session.sendmail("a@b", ["c@d"], "x")

    meanwhile(channels, client)
    assert inbox.messages[0][:2] == ("a@b", "ann")


def test_help_names_what_is_offered(channels: Any) -> None:
    inbox = WithPasswords(channels, tls="optional")
    auth = (250, b"Syntax: AUTH mechanism [SP initial-response]")

    def client() -> None:
        with smtp(inbox.port) as session:
            session.ehlo()
            assert session.docmd("HELP")[1].split()[-2:] == [b"VRFY", b"STARTTLS"]
            assert session.docmd("HELP", "starttls") == (250, b"Syntax: STARTTLS")
            assert session.docmd("HELP", "AUTH")[0] == 501
            session.starttls(context=trusting())
            session.ehlo()
            assert session.docmd("HELP")[1].split()[-2:] == [b"VRFY", b"AUTH"]
            assert session.docmd("HELP", "AUTH") == auth
            assert session.docmd("HELP", "STARTTLS")[0] == 501

    meanwhile(channels, client)


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


class Failing(Inbox):
    """Has an `authenticate` that calls a function of the test."""

    def __init__(self, channels: Any, answer: Any, **options: Any) -> None:
        self.answer = answer
        super().__init__(channels, **options)

    def authenticate(self, *args: Any) -> Any:
        return self.answer()

    def authenticate_certificate(self, *args: Any) -> Any:
        return self.answer()


def out_of_order() -> Any:
    raise RuntimeError("the database is down")


async def asynchronous() -> bool:
    return True


FAILURES = [
    (out_of_order, "RuntimeError: the database is down"),
    (lambda: None, "() must return True or False, not NoneType"),
    (lambda: 1, "() must return True or False, not int"),
    (lambda: "secret", "() must return True or False, not str"),
    (asynchronous, "() must return True or False, not coroutine: it can't be async"),
]
LATER = (454, b"4.7.0 Temporary authentication failure")


@pytest.mark.parametrize(("answer", "said"), FAILURES)
def test_who_can_not_be_told_now_is_told_later(
    channels: Any, capsys: Any, answer: Any, said: str
) -> None:
    """RFC 4954 section 6; the connection stays, and the next try may succeed."""
    inbox = Failing(channels, answer, tls="implicit", auth_required=True)

    def client() -> Any:
        with smtps(inbox.port) as session:
            session.ehlo()
            first = session.docmd("AUTH", "PLAIN AGFubgBzZWNyZXQ=")
            inbox.answer = lambda: True
            return first, session.docmd("MAIL", "FROM:<a@b>")[0], session.login("ann", "secret")[0]

    assert meanwhile(channels, client) == (LATER, 530, 235)
    err = capsys.readouterr().err
    assert "uncaptured python exception in callback Failing.authenticate\nTraceback" in err
    assert said in err and "secret" not in err


def test_an_authenticate_that_closes_the_connection(channels: Any, capsys: Any) -> None:
    def close() -> bool:
        next(one for one in channels.values() if one is not inbox).close()
        return True

    inbox = Failing(channels, close, tls="implicit")

    def client() -> None:
        with smtps(inbox.port) as session:
            with pytest.raises(smtplib.SMTPServerDisconnected):
                session.login("ann", "secret")

    meanwhile(channels, client)
    assert capsys.readouterr() == ("", "")


def test_exit_now_leaves_the_loop(channels: Any) -> None:
    def leave() -> Any:
        raise asynccore.ExitNow("enough")

    inbox = Failing(channels, leave, tls="implicit")

    def client() -> None:
        with smtps(inbox.port) as session:
            session.login("ann", "secret")

    with pytest.raises(asynccore.ExitNow, match="enough"):
        meanwhile(channels, client)


def debug_stream(monkeypatch: Any) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr(smtpd, "DEBUGSTREAM", stream)
    return stream


def test_passwords_are_in_no_debugging_output(channels: Any, monkeypatch: Any) -> None:
    stream = debug_stream(monkeypatch)
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


SECRETS = [base64.b64encode(part).decode() for part in (b"ann", b"secret", b"\0ann\0secret")]


@pytest.mark.parametrize("options", [{}, {"decode_data": True}])
@pytest.mark.parametrize(
    "lines",
    [
        ["AUTH LOGIN", SECRETS[0], SECRETS[1]],  # sent ahead, and AUTH is refused
        ["\tAUTH PLAIN " + SECRETS[2]],
        [" AUTH PLAIN " + SECRETS[2]],
        ["AUTH\tPLAIN " + SECRETS[2]],
        ["AUTH CRAM-MD5", SECRETS[1]],
    ],
)
def test_a_password_in_the_wrong_place_is_neither_shown_nor_repeated(
    channels: Any, monkeypatch: Any, lines: list[str], options: Any
) -> None:
    stream = debug_stream(monkeypatch)
    inbox = WithPasswords(channels, tls="optional", **options)

    def client() -> Any:
        with smtp(inbox.port) as session:
            session.ehlo()
            session.send("".join(line + "\r\n" for line in lines).encode())
            said = [session.getreply() for _ in lines]
            session.sendmail("a@b", ["c@d"], "AUTH is mentioned")
            return said

    said = meanwhile(channels, client)
    assert {reply for _, reply in said[1:]} <= {b"Error: command not recognized"}
    text = stream.getvalue() + repr(said)
    assert not any(secret.upper() in text.upper() for secret in SECRETS)
    assert "AUTH is mentioned" in text and "sender: a@b" in text
    assert inbox.asked == []


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


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (None, {"TLSv1.2": "HANDSHAKE_FAILURE", "TLSv1.3": "CERTIFICATE_REQUIRED"}),
        (strange_certificate, dict.fromkeys(VERSIONS, "UNKNOWN_CA")),
    ],
)
def test_no_certificate_or_one_of_strangers(
    channels: Any, certificate: Any, why: dict[str, str], version: str
) -> None:
    """In TLS 1.3 the client's own handshake has ended before: it learns when it reads."""
    inbox = ByCertificate(channels, "required", tls="implicit", login_by_certificate=True)
    context = trusting(None if certificate is None else certificate(), VERSIONS[version])

    def client() -> None:
        with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
            with pytest.raises(ssl.SSLError, match=f"ALERT_{why[version]}"):
                with context.wrap_socket(plain, server_hostname=ADDRESS) as secure:
                    secure.recv(1)

    meanwhile(channels, client)
    assert inbox.messages == []


def test_smtplib_without_a_certificate(channels: Any) -> None:
    inbox = ByCertificate(channels, "required", tls="implicit", login_by_certificate=True)

    def client(version: str) -> None:
        smtps(inbox.port, trusting(version=VERSIONS[version])).close()

    with pytest.raises(ssl.SSLError):
        meanwhile(channels, lambda: client("TLSv1.2"))
    # smtplib says no more than that where a read fails.
    with pytest.raises(smtplib.SMTPServerDisconnected):
        meanwhile(channels, lambda: client("TLSv1.3"))


def nobody_knows(certificate: Any) -> Any:
    raise RuntimeError("the directory is down")


@pytest.mark.parametrize("tls", ["implicit", "required"])
@pytest.mark.parametrize(("answer", "said"), FAILURES)
def test_a_login_by_the_handshake_that_can_not_be_told_now(
    channels: Any, capsys: Any, answer: Any, said: str, tls: Any
) -> None:
    """421 in place of the next reply (RFC 5321 section 3.8), and the end."""
    inbox = Failing(
        channels,
        answer,
        client_auth="required",
        tls=tls,
        certificate_user="email",
        login_by_certificate=True,
    )
    context = trusting(client_certificate())

    def client() -> Any:
        with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as sock:
            if tls == "required":
                with sock.makefile("rb") as file:
                    sock.sendall(b"EHLO c\r\nSTARTTLS\r\n")
                    assert [reply(file)[:3] for _ in range(3)] == [b"220", b"250", b"220"]
            with context.wrap_socket(sock, server_hostname=ADDRESS) as secure:
                secure.suppress_ragged_eofs = False
                with secure.makefile("rb") as file:
                    return file.read().splitlines()

    assert meanwhile(channels, client)[-1] == b"421 mail.example " + LATER[1]
    err = capsys.readouterr().err
    assert "callback Failing.authenticate_certificate\nTraceback" in err and said in err


def test_auth_external_where_the_user_can_not_be_told_now(channels: Any, capsys: Any) -> None:
    """EHLO lists its extensions all the same."""
    inbox = ByCertificate(channels, "required", tls="implicit", certificate_user=nobody_knows)

    def client() -> Any:
        with smtps(inbox.port, trusting(client_certificate())) as session:
            said = external(session)
            return session.esmtp_features["auth"].strip(), said, session.noop()[0]

    assert meanwhile(channels, client) == ("EXTERNAL", LATER, 250)
    assert "RuntimeError: the directory is down" in capsys.readouterr().err


async def whoever(certificate: Any) -> str:
    return "ann"


def test_a_login_by_the_handshake_where_the_user_can_not_be_told(
    channels: Any, capsys: Any
) -> None:
    inbox = ByCertificate(
        channels, "required", tls="implicit", certificate_user=whoever, login_by_certificate=True
    )

    def client() -> Any:
        with smtps(inbox.port, trusting(client_certificate())) as session:
            return session.ehlo()

    assert meanwhile(channels, client) == (421, b"mail.example " + LATER[1])
    wrong = "certificate_user() must return a name (str) or None, not coroutine: it can't be async"
    assert wrong in capsys.readouterr().err


def serial(certificate: Any) -> str:
    return f"user {certificate.serial_number}"


class ByFunction(ByCertificate):
    certificate_user = serial  # type: ignore[assignment]


class ByLambda(ByCertificate):
    certificate_user = lambda certificate: serial(certificate)  # type: ignore[assignment] # noqa: E731


class ByMethod(ByCertificate):
    def certificate_user(self, certificate: Any) -> str:  # type: ignore[override]
        assert isinstance(self, ByMethod)
        return serial(certificate)


class ByStaticMethod(ByCertificate):
    certificate_user = staticmethod(serial)  # type: ignore[assignment]


@pytest.mark.parametrize("inbox_class", [ByFunction, ByLambda, ByMethod, ByStaticMethod])
def test_a_function_in_a_class_body(channels: Any, inbox_class: Any) -> None:
    inbox = inbox_class(channels, "required", tls="implicit", auth_required=True)

    def client() -> Any:
        with smtps(inbox.port, trusting(client_certificate())) as session:
            code = external(session)[0]
            session.sendmail("a@b", ["c@d"], "x")
            return code

    assert meanwhile(channels, client) == 235
    known = x509.load_pem_x509_certificate(client_certificate().cert_chain_pems[0].bytes())
    assert inbox.messages[0][1] == serial(known)


@pytest.mark.parametrize("login", [False, True])
def test_a_session_that_is_resumed_keeps_the_user(channels: Any, login: bool) -> None:
    """With smtplib: the certificate is not shown again, and the server knows it all the same."""
    inbox = ByCertificate(
        channels, "required", tls="required", auth_required=True, login_by_certificate=login
    )
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    client_certificate().configure_cert(context)

    def client() -> list[bool]:
        reused = []
        for _ in range(2):
            with smtp(inbox.port) as session:
                session.ehlo()
                session.starttls(context=context)
                session.ehlo()
                if not login:
                    assert session.docmd("AUTH", "EXTERNAL =")[0] == 235
                session.sendmail("a@b", ["c@d"], "x")
                secure: Any = session.sock
                context.last = secure.session  # tickets have come with the replies
                reused.append(secure.session_reused)
        return reused

    assert meanwhile(channels, client) == [False, True]
    assert [message[1] for message in inbox.messages] == [CLIENT, CLIENT]


class Resuming(ssl.SSLContext):
    """A context that begins with the last session, which smtplib has no argument for."""

    last: ssl.SSLSession | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        return super().wrap_socket(*args, **options, session=self.last)


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_certificates_of_a_virtual_host_alone(channels: Any, wanted: Any) -> None:
    context = server_side(sni={HOST: server_side(wanted)})
    inbox = ByCertificate(channels, tls="implicit", context=context)

    def client() -> Any:
        with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
            own = trusting(client_certificate())
            with own.wrap_socket(plain, server_hostname=HOST) as secure:
                secure.sendall(b"EHLO c\r\nAUTH EXTERNAL =\r\n")
                with secure.makefile("rb") as file:
                    return [reply(file)[:3] for _ in range(3)]

    assert meanwhile(channels, client) == [b"220", b"250", b"235"]


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
        assert not inbox._ac_has_too_many_handshakes(), "it makes room for another"
        plain.send(b"\x16")
        assert inbox._ac_has_too_many_handshakes()
        asynccore.loop(timeout=0, map=channels, count=1)  # its time begins
        clock.advance(59.9)
        asynccore.loop(timeout=0, map=channels, count=3)
        assert len(channels) == 2
        clock.advance(0.2)
        asynccore.loop(timeout=0, map=channels, count=3)
        assert list(channels.values()) == [inbox]
        assert not inbox._ac_has_too_many_handshakes()
        assert plain.recv(100) == b""


def test_starttls_is_refused_while_too_many_handshakes_are_unfinished(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional", max_handshakes=1)

    def client() -> Any:
        with smtp(inbox.port) as one, smtp(inbox.port) as two:
            one.ehlo()
            two.ehlo()
            assert one.docmd("STARTTLS")[0] == 220
            one.send(b"\x16")  # it has begun, so that it makes no room for another
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


def test_who_says_nothing_after_starttls_makes_room(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional", max_handshakes=1)

    def client() -> Any:
        with smtp(inbox.port) as one, smtp(inbox.port) as two:
            one.ehlo()
            two.ehlo()
            assert one.docmd("STARTTLS")[0] == 220
            answer = two.docmd("STARTTLS")[0]
            assert one.sock is not None
            return answer, one.sock.recv(100)

    assert meanwhile(channels, client) == (220, b"")


def test_noise_instead_of_a_handshake(channels: Any, capsys: Any) -> None:
    inbox = Inbox(channels, tls="implicit")
    with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")  # it is there when the server accepts
        with plain.makefile("rb") as file:
            # An end, and not RST, which would throw away an alert before it.
            assert meanwhile(channels, file.read) == b""
    settle(channels, lambda: len(channels) == 1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tls", ["implicit", "required", "optional"])
def test_a_connection_too_many_gets_no_text_where_tls_comes_first(channels: Any, tls: Any) -> None:
    inbox = Inbox(channels, tls=tls, max_connections_per_peer=1)

    def client() -> bytes:
        with (
            socket.create_connection((ADDRESS, inbox.port), PATIENCE),
            socket.create_connection((ADDRESS, inbox.port), PATIENCE) as surplus,
            surplus.makefile("rb") as file,
        ):
            return file.read()

    text = b"421 mail.example Error: too many connections\r\n"
    assert meanwhile(channels, client) == (b"" if tls == "implicit" else text)


@pytest.mark.parametrize("tls", ["implicit", "required"])
def test_shutting_down_waits_for_no_handshake(channels: Any, capsys: Any, tls: Any) -> None:
    """No message is under way, whatever became of the handshake; and time stands still here."""
    channels.engine = Engine(channels, FakeClock())
    inbox = Inbox(channels, tls=tls)
    with socket.create_connection((ADDRESS, inbox.port), PATIENCE) as plain:
        with plain.makefile("rb") as file:
            settle(channels, lambda: len(channels) == 2)
            if tls == "required":
                plain.sendall(b"EHLO c\r\nSTARTTLS\r\n")
                meanwhile(channels, lambda: [reply(file) for _ in range(3)])
            asynccore.graceful_close(map=channels)
            asynccore.loop(timeout=0, map=channels, count=5)
            assert not [one for one in channels.values() if isinstance(one, TLSSMTPChannel)]
            assert file.read() == b""
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("during_auth", [False, True])
@pytest.mark.parametrize("tls", ["implicit", "optional"])
def test_shutting_down_says_421_to_who_is_idle(channels: Any, tls: Any, during_auth: bool) -> None:
    channels.engine = Engine(channels, FakeClock())
    inbox = WithPasswords(channels, tls=tls, auth_in_clear=True)

    def client() -> Any:
        with (smtps if tls == "implicit" else smtp)(inbox.port) as session:
            session.ehlo()
            if during_auth:
                assert session.docmd("AUTH PLAIN")[0] == 334
            asynccore.graceful_close(map=channels)
            return session.getreply()

    assert meanwhile(channels, client) == (
        421,
        b"mail.example Service closing transmission channel",
    )


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


def test_what_a_paused_channel_knew_when_it_was_closed(channels: Any) -> None:
    inbox = Inbox(channels, tls="optional")
    with socket.create_connection((ADDRESS, inbox.port), PATIENCE):
        settle(channels, lambda: len(channels) == 2)
        channel = next(one for one in channels.values() if one is not inbox)
        channel.handle_pause()
        channel.user, channel.seen_greeting = "ann", "c"
        channel.close()
        assert (channel.user, channel.seen_greeting) == ("ann", "c")
        assert not channel._ac_pause_reasons


# What can't be right --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"context": None}, TypeError, "no TLS context"),
        ({"context": client_context(check_hostname=False)}, ValueError, "needs a server's context"),
        ({"tls": "maybe"}, ValueError, "tls is one of 'implicit', 'required', 'optional'"),
        ({"certificate_user": "name", "client_auth": "optional"}, ValueError, "'common_name'"),
        ({"certificate_user": "email"}, ValueError, "asks for client certificates"),
        (
            {"certificate_user": "email", "context": server_side(sni={HOST: server_side()})},
            ValueError,
            "asks for client certificates",
        ),
        (
            {"certificate_user": lambda: "", "client_auth": "optional"},
            TypeError,
            "must take one argument, the certificate",
        ),
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
    assert not inbox._ac_has_passwords()
    assert inbox.authenticate(None, "PLAIN", "ann", "secret") is False
    assert WithPasswords(channels)._ac_has_passwords()
    inbox.authenticate = lambda *args: True  # type: ignore[method-assign]
    assert inbox._ac_has_passwords()


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
