"""The commands of docs/tls.md, typed in a copy of the folder `examples`; and its mail server."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from compat import demo
from tests.tls.pki import issue
from tests.tls.support import authority, server_certificate, write_pem

PAGE = Path(__file__).parents[2] / "docs" / "tls.md"
ROOT = PAGE.parent.parent


def commands() -> Iterator[tuple[str, str]]:
    """Each command of the page, and what it prints."""
    for block in re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            yield command, output.strip()


def can_make_certificates() -> bool:
    if shutil.which("openssl") is None:
        return False
    said = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=False)
    found = re.match(r"OpenSSL (\d+)", said.stdout)
    return found is not None and int(found[1]) >= 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the examples."""
    return Path(shutil.copytree(demo.examples(), tmp_path / "examples"))


@contextmanager
def started(command: list[str], folder: Path) -> Iterator[demo.Program]:
    """Start a server that says where it listens."""
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        program = demo.Program(process)
        try:
            program.listen()
            yield program
        finally:
            program.kill()


def test_the_commands_do_what_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_make_certificates():
        pytest.skip("there is no openssl command with 'req -CA', which came with OpenSSL 3.0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    server: demo.Program | None = None
    compared = 0
    with ExitStack() as servers:
        for command, output in commands():
            words = shlex.split(command)
            if words[0] == "openssl":
                subprocess.run(words, cwd=folder, check=True, capture_output=True, timeout=60)
                continue
            if words[0] == "asynccore":
                words[:1] = [sys.executable, "-u", "-m", "asynccore"]
            else:
                words[:1] = [sys.executable, "-u"]
            at = words.index("7007")
            if not output:  # a server, which replaces the one before
                words[at] = "0"
                servers.close()
                server = servers.enter_context(started(words, folder))
                continue
            assert server is not None
            words[at] = str(server.address[1])
            done = subprocess.run(
                words, cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.stdout.startswith(output), (command, done)
            compared += 1
    assert compared == 6


def test_the_mail_server_of_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    leaf = server_certificate()
    write_pem(folder, "server.pem", *leaf.cert_chain_pems)
    write_pem(folder, "server.key", leaf.private_key_pem)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for block in blocks:
        ast.parse(block)
    (program,) = [block for block in blocks if "Submission((" in block]
    program = program.replace("8587", "0").replace(
        "asynccore.loop()",
        "server, = asynccore.socket_map.values()\n"
        "print('listening on %s:%d' % server.socket.getsockname())\n"
        "asynccore.loop()",
    )
    (folder / "submission.py").write_text(program)
    context = ssl.create_default_context()
    authority().configure_trust(context)
    with started([sys.executable, "-u", "submission.py"], folder) as server:
        host, port = server.address
        with smtplib.SMTP(host, port, local_hostname="c", timeout=demo.PATIENCE) as session:
            session.starttls(context=context)
            session.ehlo()
            with pytest.raises(smtplib.SMTPAuthenticationError):
                session.login("bob", "")
            session.login("ann", "secret")
            session.sendmail("a@b", ["c@d"], "Subject: x\r\n\r\ny")
        assert server.line() == "ann TLSv1.3 ESMTPSA 13"


def test_the_program_of_the_page_that_knows_its_clients(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    ann = issue(names=(), common_name="ann")
    leaf = server_certificate()
    write_pem(folder, "server.pem", leaf.private_key_pem, *leaf.cert_chain_pems)
    write_pem(folder, "ca.pem", authority().cert_pem)
    (folder / "ann.pem").write_bytes(ann.pem)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "class Greeter(asyncore" in block]
    program = program.replace("7007", "0").replace(
        "asyncore.loop()",
        "print('listening on %s:%d' % listener.socket.getsockname())\nasyncore.loop()",
    )
    (folder / "greeter.py").write_text(program)
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    command = [sys.executable, "-u", "-m", "asynccore", "run", "--tls-cert", "server.pem"]
    for options, user in (([], b"stranger"), (["--tls-client-ca", "ca.pem"], b"ann")):
        if options:
            context.load_cert_chain(folder / "ann.pem")
        with started([*command, *options, "greeter.py"], folder) as server:
            with context.wrap_socket(server.connect(), server_hostname=server.address[0]) as sock:
                sock.sendall(b"hello")
                with sock.makefile("rb") as answer:
                    expected = user + b", you said: hello"
                    assert answer.read(len(expected)) == expected
