"""Mail servers by options: mails are kept before they are acknowledged, with TLS and passwords."""

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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

import asynccore
from asynccore import smtpd
from asynccore.hardened_smtpd import HardenedSMTPServer
from asynccore.smtp import command_line
from compat.command_line import cli, mail_server, sink
from compat.command_line.mail_server import MailServer, Settings
from tests.ports import free_port
from tests.tls.support import authority, server_certificate, write_pem

PATIENCE = 60.0
MAIL = "Subject: hi\r\n\r\nGrüße\r\nFrom here\r\n.dot\r\n".encode()


@pytest.fixture(autouse=True)
def host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda name="": "here.example")


@contextlib.contextmanager
def serving(settings: Settings = Settings(), base: Any = sink.SinkServer) -> Iterator[int]:  # noqa: B008
    """A server in a thread; its port."""
    map = asynccore.ChannelMap()
    mails = MailServer(base, settings)
    mails.open()
    server = mails.server_class(("127.0.0.1", 0), None, map=map)
    port = server.socket.getsockname()[1]
    thread = threading.Thread(target=asynccore.loop, kwargs={"map": map})
    thread.start()
    try:
        yield port
    finally:
        asynccore.call_soon_threadsafe(asynccore.close_all, map, map=map)
        thread.join()
        mails.close()


def send(client: smtplib.SMTP) -> Any:
    return client.sendmail("a@b", ["c@d", "e@f"], MAIL)


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_mails_are_kept(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "box"
    name = "mailbox" if kind == "maildir" else "mbox"
    opened: Any = mailbox.Maildir if kind == "maildir" else mailbox.mbox
    with serving(Settings(**{name: str(path)})) as port:  # type: ignore[arg-type]
        with smtplib.SMTP("127.0.0.1", port) as client:
            for count in (1, 2):
                assert send(client) == {}
                with contextlib.closing(opened(path, create=False)) as box:
                    assert len(box) == count, "before the client is told"
    again = opened(path, create=False)
    mails = list(again)
    assert len(mails) == 2
    for mail in mails:
        assert mail["Return-Path"] == "<a@b>"
        assert mail.get_all("Delivered-To") == ["c@d", "e@f"]
        assert mail["Received"].startswith("from [127.0.0.1] by asynccore; ")
        assert mail["Subject"] == "hi"
        assert mail.get_payload(decode=True).decode().splitlines()[0] == "Grüße"
        assert b".dot" in mail.get_payload(decode=True)
    again.close()


@pytest.mark.parametrize("way", ["moved", "replaced"])
def test_a_mail_goes_to_the_mbox_that_is_there_now(way: str, tmp_path: Path) -> None:
    path = tmp_path / "here" / "m"
    path.parent.mkdir()
    with serving(Settings(mbox=str(path))) as port, smtplib.SMTP("127.0.0.1", port) as client:
        assert send(client) == {}
        if way == "moved":
            path.parent.rename(tmp_path / "away")
            with pytest.raises(smtplib.SMTPDataError, match="451"):
                send(client)
            path.parent.mkdir()
        else:
            with contextlib.closing(mailbox.mbox(path)) as reader:
                reader.clear()  # which puts another file in its place
        assert send(client) == {}
        assert send(client) == {}
        with contextlib.closing(mailbox.mbox(path)) as box:
            assert len(box) == 2


def test_what_can_not_be_kept_is_not_acknowledged(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*mail: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mail_server.Mailbox, "keep", full)
    with (
        serving(Settings(mbox=str(tmp_path / "m"))) as port,
        smtplib.SMTP("127.0.0.1", port) as client,
    ):
        with pytest.raises(smtplib.SMTPDataError) as raised:
            send(client)
        assert raised.value.smtp_code == 451
        assert client.noop()[0] == 250
    assert "can't be kept: [Errno 28] No space left on device" in capsys.readouterr().err


def test_without_an_output_mails_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # closed by who started it
    with serving() as port, smtplib.SMTP("127.0.0.1", port) as client:
        assert send(client) == {}


def test_mails_are_printed(capsys: Any) -> None:
    with serving() as port, smtplib.SMTP("127.0.0.1", port) as client:
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
    settings = Settings(tls_cert=str(certificate), smtps=smtps, auth_file=str(tmp_path / "users"))
    got: list[Any] = []

    class Inbox(smtpd.SMTPServer):
        def __init__(self, *args: Any, **options: Any) -> None:
            smtpd.SMTPServer.__init__(self, *args, **options)  # as old programs do

        def process_message(self, *mail: Any, **options: Any) -> None:
            got.append(mail)

    with serving(settings, Inbox) as port:
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
            mail_server.passwords(str(file))
    assert not mail_server.knows({}, "ann", "x")
    assert not mail_server.knows({"ann": b"$2b$broken"}, "ann", "x")
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(ValueError, match=r"pip install 'asynccore\[auth\]'"):
        mail_server.passwords(str(file))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere"], "where to listen is HOST:PORT, not 'nowhere'"),
        (["localhost:65536"], "where to listen is HOST:PORT, not 'localhost:65536'"),
        (["--size", "-5", "localhost:0"], "--size is a number of bytes, or 0 for any, not -5"),
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


# asynccore run -m smtpd -----------------------------------------------------------------------


@pytest.fixture
def further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "further", None)
    mail_server.register()


def parsed(*argv: str) -> smtpd.Options:
    def usage(code: int, msg: object = "") -> Any:
        raise ValueError(msg)

    return command_line.parse(list(argv), usage)


def test_options_are_written_out_and_leave_the_classic_ones_alone(further: None) -> None:
    found = parsed("--mailbox", "m", "--smtp", "--hardened", "--si", "7", "h:1")
    assert found.further == {"mailbox": "m", "hardened": ""}
    assert (found.enable_SMTPUTF8, found.size_limit, found.localhost) == (True, 7, "h")
    for abbreviated in ("--mail=m", "--hard", "--tls-c=x"):
        with pytest.raises(ValueError, match="not recognized"):
            parsed(abbreviated)


def test_without_them_nothing_is_known_of_them(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_line, "further", None)
    with pytest.raises(ValueError, match="option --mailbox not recognized"):
        parsed("--mailbox", "m")
    for known in (False, True):
        if known:
            mail_server.register()
        with pytest.raises(SystemExit):
            smtpd.usage(0)
        text = capsys.readouterr().err
        assert ("--auth-file" in text) is known
        assert text.endswith(f"\nVersion: {smtpd.__version__}\n\n")


@pytest.mark.parametrize(
    ("said", "bases"),
    [
        ("--hardened", [smtpd.PureProxy, HardenedSMTPServer]),
        ("--hardened -c DebuggingServer", [smtpd.DebuggingServer, HardenedSMTPServer]),
        ("--mailbox {0}/box", [smtpd.SMTPServer]),
        ("--mailbox {0}/box --hardened", [HardenedSMTPServer]),
        ("--tls-cert {0}/server.pem", [smtpd.PureProxy, HardenedSMTPServer]),
    ],
)
def test_servers(
    said: str, bases: list[Any], further: None, certificate: Path, tmp_path: Path
) -> None:
    options = parsed(*said.format(tmp_path).split())
    made = command_line.further_server(options, "asynccore.smtpd").server_class
    assert all(issubclass(made, base) for base in bases)
    assert issubclass(made, smtpd.PureProxy) is (smtpd.PureProxy in bases)
    assert issubclass(made, HardenedSMTPServer) is (HardenedSMTPServer in bases)
    hooks = {cls.process_message for cls in bases[:1] if "process_message" in vars(cls)}
    assert made.process_message not in hooks if "mailbox" in said else made.process_message in hooks


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("--mailbox a --mbox b", "--mailbox and --mbox: a mail is kept in one place"),
        ("--mailbox a -c PureProxy", "--mailbox and --mbox go without --class"),
        ("--smtps", "--tls-key, --smtps and --auth-file need --tls-cert"),
        ("--tls-cert nowhere.pem", "nowhere.pem"),
        ("--hardened -c tests.compat.test_sink.Odd", "no HardenedSMTPChannel"),
        ("--tls-cert server.pem", "there is no TLS: x"),
    ],
)
def test_what_servers_can_not_be(
    said: str,
    error: str,
    further: None,
    certificate: Path,
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_tls(target: str) -> Any:
        raise ImportError("x")

    if "server.pem" in said:
        monkeypatch.setattr(mail_server, "resolve", no_tls)
    monkeypatch.setitem(sys.modules, "tests.compat.test_sink", sys.modules[__name__])
    with pytest.raises(SystemExit) as ended:
        command_line.further_server(parsed(*said.split()), "asynccore.smtpd")
    assert ended.value.code == 1
    assert error in capsys.readouterr().err


class Odd(smtpd.SMTPServer):
    class channel_class(smtpd.SMTPChannel):
        pass


def test_a_mailbox_that_can_not_be_written_to(
    further: None, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    for option in ("--mailbox", "--mbox"):
        options = parsed(option, str(tmp_path / f"box{option}"))
        mails = command_line.further_server(options, "asynccore.smtpd")
        with pytest.raises(SystemExit):
            command_line.open_mailbox(mails)
        mails.close()
        assert "Cannot open the mailbox: [Errno 13] Permission denied" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program gets")
@pytest.mark.parametrize("kept", [True, False])
def test_run_smtpd(
    kept: bool, certificate: Path, user_environment: dict[str, str], tmp_path: Path
) -> None:
    said = ["--mailbox", "box"] if kept else ["-c", "DebuggingServer"]
    port = free_port()
    command = ["-u", "-m", "asynccore", "run", "-m", "smtpd", "-n", *said]
    command += ["--tls-cert", str(certificate), f"127.0.0.1:{port}"]
    with subprocess.Popen(
        [sys.executable, *command], cwd=tmp_path, env=user_environment, stdout=subprocess.PIPE
    ) as process:
        try:
            with until_it_listens(port) as client:
                client.starttls(context=client_context())
                assert send(client) == {}
            process.terminate()
            out = process.communicate(timeout=PATIENCE)[0]
            assert process.returncode == 0
        finally:
            process.kill()
    assert len(mailbox.Maildir(tmp_path / "box", create=False)) == 1 if kept else b"MESSAGE" in out


def until_it_listens(port: int) -> smtplib.SMTP:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE)
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)
