"""The commands of docs/tls.md, typed in a copy of the folder `examples`; and its programs."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding

from compat.command_line import demo
from ssl_ext import CertificateError, client_context, peer, server_context
from tests.ports import free_port
from tests.tls.pki import Pair, ca_pem, issue, ocsp_response, revocation_list
from tests.tls.support import ADDRESS, authority, other_authority, write_pem

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
    shown: list[str] = []
    with ExitStack() as servers:
        for command, output in commands():
            words = shlex.split(command)
            if "7007" not in words:  # it makes something, or shows it
                said = shown_by(command, folder)
                assert re.fullmatch(re.escape(output).replace("…", ".+"), said) or not output
                shown += [said] if output else []
                continue
            if words[0] == "asynccore":
                words[:1] = [sys.executable, "-u", "-m", "asynccore"]
            else:
                words[:1] = [sys.executable, "-u"]
            at = words.index("7007")
            if output.startswith("listening on"):  # it replaces the server before
                assert output == "listening on 127.0.0.1:7007"
                words[at] = "0"
                servers.close()
                server = servers.enter_context(started(words, folder))
                assert server.address[0] == "127.0.0.1"
                continue
            assert server is not None
            words[at] = str(server.address[1])
            done = subprocess.run(
                words, cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
            said = (done.stdout + done.stderr).splitlines()
            assert said == output.splitlines(), (command, done)
            compared += 1
    assert compared == 6
    by_us, by_openssl = shown  # the pin of the server's key
    assert by_us == f"sha256/{by_openssl}"


def shown_by(command: str, folder: Path) -> str:
    """Run a command, perhaps one with pipes, and return what it writes."""
    if command.startswith("python "):
        command = command.replace("python", shlex.quote(sys.executable), 1)
    done = subprocess.run(
        command, cwd=folder, shell=True, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


HEADING = "## "


def programs(section: str) -> list[str]:
    """The programs of one section of the page."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n{HEADING}{section}\n")
    assert rest, section
    text = rest.partition(f"\n{HEADING}")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_all_of_the_page_is_python() -> None:
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        ast.parse(block)


@pytest.fixture
def server_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page's servers and clients read."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    leaf = authority().issue_cert("localhost", ADDRESS, key_type=trustme.KeyType.ECDSA)
    write_pem(folder, "server.pem", *leaf.cert_chain_pems)
    write_pem(folder, "server.key", leaf.private_key_pem)
    write_pem(folder, "ca.pem", authority().cert_pem)
    return folder


def on_any_port(program: str, port: str) -> str:
    """A server of the page, on a free port, which it tells."""
    assert f'(("127.0.0.1", {port})' in program
    return program.replace(port, "0").replace(
        "asynccore.loop()",
        "server, = asynccore.socket_map.values()\n"
        "print('listening on %s:%d' % server.socket.getsockname())\n"
        "asynccore.loop()",
    )


def write_files_of_the_page(folder: Path) -> None:
    """Write what the page's programs read."""
    server, ca = issue(names=("localhost",)), ca_pem(authority())
    ann = issue(names=(), common_name="ann")
    files = {
        "ca.pem": ca,
        "authorities/ca.pem": ca,
        "ca.crl": revocation_list(),
        "server.pem": server.certificate.public_bytes(Encoding.PEM),
        "server.key": server.key_pem(),
        "locked.key": server.key_pem(b"secret"),
        "shop.pem": issue(names=("shop.example",)).pem,
        "staff.pem": issue(names=("x.staff.example",)).pem,
        "spare.pem": issue().pem,
        "response.der": ocsp_response(server.certificate),
        "ann.pem": ann.certificate.public_bytes(Encoding.PEM),
        "ann.key": ann.key_pem(),
    }
    (folder / "authorities").mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)


def test_the_contexts_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files_of_the_page(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY_PASSWORD", "secret")
    monkeypatch.setenv("SSLKEYLOGFILE", "keys")
    names: dict[str, Any] = {}
    served, clients = [], []
    for program in programs("Contexts"):
        exec(program, names)
        made = names.pop("context", None)
        if made is not None:
            (served if made.server_side else clients).append(made)
    Pair(names["client"], names["server"], "localhost").handshake()
    auth, hosts, web, _ = served
    pinned, listed, logged = clients
    for client in clients:
        for context in served:
            Pair(client, context, "localhost").handshake()
    assert Path("keys").stat().st_size
    with pytest.raises(CertificateError, match="no key in the server's chain is pinned"):
        Pair(pinned, hosts, "shop.example").handshake()
    Pair(listed, hosts, "shop.example").handshake()
    with pytest.raises(CertificateError, match="showed no certificate"):
        Pair(logged, hosts, "x.staff.example").handshake()
    pair = Pair(client_context(ca="ca.pem", alpn=["http/1.1"]), web, "localhost")
    pair.handshake()
    assert peer.alpn_protocol(pair.client) == "http/1.1"
    stranger = client_context(ca="ca.pem", certificate=issue(ca=other_authority()).pem)
    with pytest.raises(CertificateError, match="certificate verify failed"):
        Pair(stranger, auth, "localhost").handshake()


def test_every_option_of_a_context_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for make in (client_context, server_context):
        _, _, rest = text.partition(f"\n| `{make.__name__}(...)` |")
        table, _, _ = rest.partition("\n\n")
        named = {word for row in table.splitlines() for word in re.findall(r"`(\w+)`", row[:90])}
        assert set(inspect.signature(make).parameters) <= named


def test_the_mail_server_of_the_page(server_files: Path) -> None:
    server_program, client_program = programs("Mail")
    (server_files / "submission.py").write_text(on_any_port(server_program, "8587"))
    context = ssl.create_default_context()
    authority().configure_trust(context)
    with started([sys.executable, "-u", "submission.py"], server_files) as server:
        host, port = server.address
        with smtplib.SMTP(host, port, local_hostname="c", timeout=demo.PATIENCE) as session:
            session.starttls(context=context)
            session.ehlo()
            with pytest.raises(smtplib.SMTPAuthenticationError):
                session.login("bob", "")
        (server_files / "client.py").write_text(client_program.replace("8587", str(port)))
        subprocess.run([sys.executable, "client.py"], cwd=server_files, check=True, timeout=60)
        said = server.line()
    assert f"`{said}`" in PAGE.read_text(encoding="utf-8")
    assert said.startswith("ann TLSv1.3 ESMTPSA ")


def test_the_channel_of_the_page(server_files: Path) -> None:
    program = next(block for block in programs("Channels") if "asynccore.loop()" in block)
    (server_files / "channel.py").write_text(on_any_port(program, "4433"))
    context = ssl.create_default_context(cafile=str(server_files / "ca.pem"))
    with started([sys.executable, "-u", "channel.py"], server_files) as server:
        with socket.create_connection(server.address, demo.PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                secure.sendall(b"hello")
                assert secure.recv(100) == b"hello"


def test_the_datagrams_of_the_page(server_files: Path) -> None:
    (program,) = [block for block in programs("Channels") if "SOCK_DGRAM" in block]
    port = free_port(socket.SOCK_DGRAM)
    for said, meant in (("4433", str(port)), ('"localhost"', '"127.0.0.1"')):
        assert said in program
        program = program.replace(said, meant)
    (server_files / "datagrams.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "datagrams.py"],
        cwd=server_files,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("b'hello'\n", "")


EXAMPLES = ("tls_hello.py", "tls_echo_server.py", "tls_greeter.py")


@pytest.mark.parametrize("arguments", [[], ["7007"], ["7007", "server.pem", "server.key"]])
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_says_how_it_is_used(
    name: str, arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = subprocess.run(
        [sys.executable, name, *arguments], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"usage: {name} port ")


def test_the_client_says_that_nobody_answers(server_files: Path) -> None:
    port = free_port()
    done = subprocess.run(
        [sys.executable, "tls_hello.py", str(port), "ca.pem"],
        cwd=server_files,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("nobody answers: ") and str(port) in line


def test_the_program_of_the_page_that_knows_its_clients(server_files: Path) -> None:
    (server_files / "ann.pem").write_bytes(issue(names=(), common_name="ann").pem)
    section = programs("`asynccore run --tls-cert`")
    (program,) = [block for block in section if "class Greeter(asyncore" in block]
    program = program.replace("7007", "0").replace(
        "asyncore.loop()",
        "print('listening on %s:%d' % listener.socket.getsockname())\nasyncore.loop()",
    )
    (server_files / "greeter.py").write_text(program)
    context = ssl.create_default_context(cafile=str(server_files / "ca.pem"))
    command = [sys.executable, "-u", "-m", "asynccore", "run", "--tls-cert", "server.pem"]
    command += ["--tls-key", "server.key"]
    for options, user in (([], b"stranger"), (["--tls-client-ca", "ca.pem"], b"ann")):
        if options:
            context.load_cert_chain(server_files / "ann.pem")
        with started([*command, *options, "greeter.py"], server_files) as server:
            with context.wrap_socket(server.connect(), server_hostname=server.address[0]) as sock:
                sock.sendall(b"hello")
                with sock.makefile("rb") as answer:
                    expected = user + b", you said: hello"
                    assert answer.read(len(expected)) == expected
