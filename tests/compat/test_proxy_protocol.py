"""`asynccore run --proxy-protocol`: unmodified programs behind proxies, and a real HAProxy."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from compat.command_line import cli, demo, runner
from tests.fuzz.proxy import block, line
from tests.ports import free_port, held_ports
from tests.tls.support import HOST, authority, server_certificate, write_pem

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.9", 443)
LINE = line(CLIENT, SERVER)
PATIENCE = 60.0

# A program of 2005 that says who its clients are.
WHO = """
import asyncore, os, socket, sys

class Answer(asyncore.dispatcher_with_send):
    def handle_read(self):
        data = self.recv(100)
        if data:
            self.send(repr((self.addr[0], self.socket.getpeername()[0], data)).encode() + b"\\n")

    def handle_close(self):
        self.close()

class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(5)
        print("listening on %s:%d" % self.socket.getsockname())

    def handle_accept(self):
        pair = self.accept()
        if pair is not None:
            Answer(pair[0])

Server(int(sys.argv[1]))
asyncore.loop()
"""

MAIL = """
import asyncore, smtpd, sys

class Server(smtpd.SMTPServer):
    def process_message(self, peer, mailfrom, rcpttos, data, **options):
        return "250 of %s" % peer[0]

server = Server(("127.0.0.1", int(sys.argv[1])), None)
print("listening on %s:%d" % server.socket.getsockname())
asyncore.loop()
"""

Start = Callable[..., AbstractContextManager[demo.Program]]


@pytest.fixture
def started(user_environment: dict[str, str], tmp_path: Path) -> Start:
    """Start `asynccore run OPTIONS… PROGRAM`."""

    @contextmanager
    def start(
        code: str = WHO, *options: object, port: object = 0, **env: str
    ) -> Iterator[demo.Program]:
        script = tmp_path / "program.py"
        script.write_text(code)
        command = [sys.executable, "-u", "-m", "asynccore", "run", *map(str, options)]
        with subprocess.Popen(
            [*command, str(script), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**user_environment, **env},
        ) as process:
            program = demo.Program(process)
            try:
                program.listen()
                yield program
            except (*demo.PROBLEMS, AssertionError) as problem:
                raise AssertionError(f"{problem}{program.last_words()}") from problem
            finally:
                program.kill()

    return start


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    leaf = server_certificate()
    folder = tmp_path_factory.mktemp("tls")
    return write_pem(folder, "both.pem", leaf.private_key_pem, *leaf.cert_chain_pems)


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


def answer(client: Any, data: bytes = b"hello") -> Any:
    """Say something, and return what the program says of us."""
    client.settimeout(PATIENCE)
    client.sendall(data)
    with client.makefile("rb") as file:
        return eval(file.readline())


HOSTS = ["asyncio", "uvloop", "twisted"]


@pytest.mark.parametrize("engine", [None, "select", *HOSTS])
def test_an_unmodified_program(started: Start, engine: str | None) -> None:
    if engine in HOSTS[1:] and importlib.util.find_spec(str(engine)) is None:
        pytest.skip(f"{engine} is not installed")
    options = [] if engine is None else ["--engine", engine]
    with started(WHO, "--proxy-protocol", "127.0.0.1", *options) as program:
        with program.connect() as silent, program.connect() as client:
            silent.sendall(LINE[:7])
            client.sendall(LINE + b"he")
            assert answer(client, b"llo")[:2] == (CLIENT[0], CLIENT[0])
            silent.sendall(LINE[7:])
            assert answer(silent) == (CLIENT[0], CLIENT[0], b"hello")
        with program.connect() as stranger:
            stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
            stranger.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        assert program.line() == (
            "error: refused a connection of 127.0.0.1: it sent no header of the PROXY protocol: "
            r"b'GET / HTTP/1.1\r\n'"
        )


def test_who_is_not_trusted(started: Start) -> None:
    with started(WHO, "--proxy-protocol", "10.0.0.1") as program:
        with program.connect() as client:
            assert client.recv(1) == b""
        assert program.line() == "info: refused a connection of 127.0.0.1: it is no trusted proxy"


@pytest.mark.parametrize("engine", [None, *HOSTS])
def test_it_comes_before_tls(started: Start, certificate: Path, engine: str | None) -> None:
    if engine in HOSTS[1:] and importlib.util.find_spec(str(engine)) is None:
        pytest.skip(f"{engine} is not installed")
    options = [] if engine is None else ["--engine", engine]
    options += ["--tls-cert", str(certificate)]
    with started(WHO, "--proxy-protocol", "127.0.0.1", *options) as program:
        with program.connect() as plain, program.connect() as late:
            late.sendall(LINE[:7])
            plain.sendall(block(CLIENT, SERVER))
            with trusting().wrap_socket(plain, server_hostname="127.0.0.1") as client:
                assert answer(client) == (CLIENT[0], CLIENT[0], b"hello")
            late.sendall(LINE[7:])
            with trusting().wrap_socket(late, server_hostname="127.0.0.1") as client:
                assert answer(client) == (CLIENT[0], CLIENT[0], b"hello")
        with program.connect() as plain, pytest.raises(OSError):
            trusting().wrap_socket(plain, server_hostname="127.0.0.1")
        with program.connect() as plain:
            plain.sendall(LINE + b"hello")
            plain.settimeout(PATIENCE)
            with contextlib.suppress(ConnectionResetError):
                assert b"192.0.2.1" not in plain.recv(1000), "plaintext stays out"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no workers")
def test_workers_by_a_variable(started: Start) -> None:
    variables = {"ASYNCCORE_PROXY_PROTOCOL": "10.0.0.1,127.0.0.0/8"}
    with (
        held_ports(1) as (port,),
        started(WHO, "--workers", 2, port=port, **variables) as program,
    ):
        for _ in range(6):
            with program.connect() as client:
                client.sendall(LINE)
                assert answer(client) == (CLIENT[0], CLIENT[0], b"hello")


class ByProxy(smtplib.SMTP):
    def _get_socket(self, host: Any, port: Any, timeout: Any) -> socket.socket:
        sock: socket.socket = super()._get_socket(host, port, timeout)  # type: ignore[misc]
        sock.sendall(LINE)
        return sock


def test_a_mail_server(started: Start, tmp_path: Path) -> None:
    config = tmp_path / "asynccore.toml"
    config.write_text('[tool.asynccore]\nproxy-protocol = "127.0.0.1,unix:"\n')
    if sys.version_info < (3, 11):
        pytest.importorskip("tomli")
    with started(MAIL, "--config", config) as program:
        with ByProxy(*program.address, "localhost", PATIENCE) as client:
            client.ehlo()
            assert client.docmd("MAIL FROM:<a@b.example>")[0] == 250
            assert client.docmd("RCPT TO:<c@d.example>")[0] == 250
            assert client.data("Subject: x\n\nx\n") == (250, b"of 192.0.2.1")


def test_the_module_smtpd_itself(user_environment: dict[str, str]) -> None:
    port = free_port()
    command = [sys.executable, "-u", "-m", "asynccore", "run", "--proxy-protocol", "127.0.0.1"]
    command += ["-m", "smtpd", "-n", "-d", "-c", "DebuggingServer", f"127.0.0.1:{port}"]
    with subprocess.Popen(
        command, env=user_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert "DebuggingServer started" in process.stdout.readline()
            while "Remote addr" not in process.stdout.readline():
                pass
            with ByProxy("127.0.0.1", port, "localhost", PATIENCE) as client:
                client.noop()
            assert f"Incoming connection from {CLIENT!r}" in process.stdout.readline()
            assert f"Peer: {CLIENT!r}" in process.stdout.readline()
        finally:
            process.kill()


def test_what_can_not_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("localhost", "10.0.0.0/33", ""):
        assert cli.main(["run", "--proxy-protocol", text, "x.py"]) == 2
        assert "asynccore run: trusted proxies are addresses" in capsys.readouterr().err
    with pytest.raises(ValueError, match="trusted proxies"):
        runner.run(["x.py"], options=runner.Options(proxy_protocol="?"))


# HAProxy --------------------------------------------------------------------------------------

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m

frontend clients
    bind 127.0.0.1:{front} {bind}
    default_backend instances

backend instances
    server one 127.0.0.1:{port} {server}
"""

# Somebody else on the loopback than the proxy.
ELSEWHERE = "127.0.0.9"


@contextmanager
def haproxy(tmp_path: Path, front: int, port: int, server: str, bind: str = "") -> Iterator[None]:
    """Run HAProxy between two ports, and wait until it listens."""
    config = tmp_path / "haproxy.cfg"
    config.write_text(HAPROXY.format(front=front, bind=bind, port=port, server=server))
    with subprocess.Popen(
        ["haproxy", "-db", "-f", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            end = time.monotonic() + PATIENCE
            while True:
                with contextlib.suppress(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", front), PATIENCE).close()
                    break
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
            yield
        finally:
            process.send_signal(signal.SIGTERM)


def from_elsewhere(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE, (ELSEWHERE, 0))


needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="this system has no haproxy"
)
needs_loopback = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 on the loopback"
)


@needs_haproxy
@needs_loopback
@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2"])
def test_haproxy_in_front(started: Start, tmp_path: Path, server: str) -> None:
    with (
        held_ports(1) as (front,),
        started(WHO, "--proxy-protocol", "127.0.0.1") as program,
        haproxy(tmp_path, front, program.address[1], server),
    ):
        for _ in range(3):
            with from_elsewhere(front) as client:
                assert answer(client) == (ELSEWHERE, ELSEWHERE, b"hello")


@needs_haproxy
@needs_loopback
@pytest.mark.parametrize("server", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_tls_through(
    started: Start, tmp_path: Path, certificate: Path, server: str
) -> None:
    with (
        held_ports(1) as (front,),
        started(WHO, "--proxy-protocol", "127.0.0.1", "--tls-cert", certificate) as program,
        haproxy(tmp_path, front, program.address[1], server),
        from_elsewhere(front) as plain,
        trusting().wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        assert answer(client) == (ELSEWHERE, ELSEWHERE, b"hello")


# What HAProxy ends the TLS of, it tells of.
TOLD = WHO.replace(
    "repr((self.addr[0], self.socket.getpeername()[0], data))",
    "repr((self.addr[0], self.proxy_header.tls, self.proxy_header.authority,"
    " self.proxy_header.proxy[0]))",
)


@needs_haproxy
@needs_loopback
def test_haproxy_tells_of_tls_that_ends_there(
    started: Start, tmp_path: Path, certificate: Path
) -> None:
    with (
        held_ports(1) as (front,),
        started(
            "from asynccore.listening.proxy_header import ProxiedTLS\n" + TOLD,
            *("--proxy-protocol", "127.0.0.1"),
        ) as program,
        haproxy(
            *(tmp_path, front, program.address[1]),
            server="send-proxy-v2-ssl proxy-v2-options authority,ssl,cert-cn",
            bind=f"ssl crt {certificate}",
        ),
        from_elsewhere(front) as plain,
        trusting().wrap_socket(plain, server_hostname=HOST) as client,
    ):
        client.settimeout(PATIENCE)
        client.sendall(b"hello")
        with client.makefile("rb") as file:
            said = file.readline().decode()
        assert said.startswith(f"('{ELSEWHERE}', ProxiedTLS(version='TLSv1.")
        assert said.endswith(
            f"has_certificate=False, is_verified=False, common_name=None), '{HOST}', '127.0.0.1')\n"
        )
