"""`asynccore sink`: mails are kept before they are acknowledged, with TLS and passwords."""

from __future__ import annotations

import contextlib
import mailbox
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

import asynccore
import ssl_ext
from compat.command_line import cli, sink
from tests.tls.support import authority, server_certificate, write_pem

PATIENCE = 60.0
MAIL = "Subject: hi\r\n\r\nGrüße\r\nFrom here\r\n.dot\r\n".encode()


@pytest.fixture(autouse=True)
def host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda name="": "here.example")


@contextlib.contextmanager
def serving(keep: Any, **options: Any) -> Iterator[int]:
    """A sink in a thread; its port."""
    map = asynccore.ChannelMap()
    server = sink.server_of(("127.0.0.1", 0), keep, map=map, **options)
    port = server.socket.getsockname()[1]
    thread = threading.Thread(target=asynccore.loop, kwargs={"map": map})
    thread.start()
    try:
        yield port
    finally:
        asynccore.call_soon_threadsafe(asynccore.close_all, map, map=map)
        thread.join()


def send(client: smtplib.SMTP) -> Any:
    return client.sendmail("a@b", ["c@d", "e@f"], MAIL)


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_mails_are_kept(kind: str, tmp_path: Path) -> None:
    box: mailbox.Mailbox[Any]
    box = mailbox.Maildir(tmp_path / "box") if kind == "maildir" else mailbox.mbox(tmp_path / "box")
    with serving(sink.Mailbox(box)) as port, smtplib.SMTP("127.0.0.1", port) as client:
        for _ in range(2):
            assert send(client) == {}
            assert len(box) >= 1, "before the client is told"
    again = type(box)(tmp_path / "box", create=False)  # type: ignore[call-arg]
    mails = list(again)
    assert len(mails) == 2
    for mail in mails:
        assert mail["Return-Path"] == "<a@b>"
        assert mail.get_all("Delivered-To") == ["c@d", "e@f"]
        assert mail["Received"].startswith("from [127.0.0.1] by asynccore sink; ")
        assert mail["Subject"] == "hi"
        assert mail.get_payload(decode=True).decode().splitlines()[0] == "Grüße"
        assert b".dot" in mail.get_payload(decode=True)
    again.close()
    box.close()


def test_what_can_not_be_kept_is_not_acknowledged(capsys: Any) -> None:
    def full(*mail: Any) -> None:
        raise OSError(28, "No space left on device")

    with serving(full) as port, smtplib.SMTP("127.0.0.1", port) as client:
        with pytest.raises(smtplib.SMTPDataError) as raised:
            send(client)
        assert raised.value.smtp_code == 451
        assert client.noop()[0] == 250
    assert "can't be kept: [Errno 28] No space left on device" in capsys.readouterr().err


def test_mails_are_printed(capsys: Any) -> None:
    with serving(sink.show) as port, smtplib.SMTP("127.0.0.1", port) as client:
        send(client)
    out = capsys.readouterr().out
    assert out.startswith("--- from a@b to c@d, e@f, by ('127.0.0.1', ")
    assert "\nGrüße\n" in out and out.endswith("\n---\n")


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    leaf = server_certificate()
    return write_pem(tmp_path, "server.pem", leaf.private_key_pem, *leaf.cert_chain_pems)


@pytest.mark.parametrize("smtps", [False, True])
def test_tls_and_passwords(smtps: bool, certificate: Path, tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode().replace("$2b$", "$2y$")
    (tmp_path / "users").write_text(f"# somebody\n\nann:{hashed}\n")
    got: list[Any] = []
    options = {
        "tls": {
            "context": ssl_ext.server_context(certificate),
            "tls": "implicit" if smtps else "required",
        },
        "users": sink.passwords(str(tmp_path / "users")),
    }
    with serving(lambda *mail: got.append(mail), **options) as port:
        context = client_context()
        client: smtplib.SMTP
        if smtps:
            client = smtplib.SMTP_SSL("127.0.0.1", port, context=context)
        else:
            client = smtplib.SMTP("127.0.0.1", port)
            with pytest.raises(smtplib.SMTPException):
                send(client)  # in clear
            client.starttls(context=context)
        with client:
            with pytest.raises(smtplib.SMTPSenderRefused):
                send(client)  # nobody has logged in
            for user, password in (("ann", "wrong"), ("bob", "secret")):
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    client.login(user, password)
            client.login("ann", "secret")
            assert send(client) == {}
    assert len(got) == 1


def test_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users"
    for line in ("ann:$apr1$abc$def", "ann"):
        file.write_text(line)
        with pytest.raises(ValueError, match=r"line 1: no bcrypt hash \(htpasswd -B\) of 'ann'"):
            sink.passwords(str(file))
    assert not sink.knows({}, "ann", "x")
    assert not sink.knows({"ann": b"$2b$broken"}, "ann", "x")
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(ValueError, match=r"pip install 'asynccore\[auth\]'"):
        sink.passwords(str(file))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "where to listen is HOST:PORT, not 'nowhere'"),
        (["--smtps", "localhost:0"], "--tls-key, --smtps and --auth-file need --tls-cert"),
        (["--auth-file", "x", "localhost:0"], "--tls-key, --smtps and --auth-file need --tls-cert"),
    ],
)
def test_what_can_not_be(arguments: list[str], error: str, capsys: Any) -> None:
    assert cli.main(["sink", *arguments]) == 2
    assert error in capsys.readouterr().err


def test_main(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(sink.draining, "enter", lambda: None)

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asynccore, "loop", interrupted)
    (tmp_path / "users").write_text("ann:$2y$x\n")
    tls = ["--tls-cert", str(certificate), "--auth-file", str(tmp_path / "users")]
    for more in (["--mailbox", str(tmp_path / "box")], ["--mbox", str(tmp_path / "m"), *tls], tls):
        assert cli.main(["sink", *more, "127.0.0.1:0"]) == 0
        assert capsys.readouterr().out.startswith("listening on 127.0.0.1:")
    assert (tmp_path / "box" / "new").is_dir()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program gets")
def test_a_real_one(user_environment: dict[str, str], tmp_path: Path) -> None:
    command = ["-m", "asynccore", "sink", "--mailbox", "box", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=user_environment, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(b":")[2])
            with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
                client.ehlo()
                client.mail("a@b")
                client.rcpt("c@d")
                client.docmd("DATA")
                os.kill(process.pid, signal.SIGTERM)
                client.send(b"x\r\n.\r\n")
                assert client.getreply()[0] == 250
                assert client.getreply()[0] == 421
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert len(mailbox.Maildir(tmp_path / "box")) == 1
