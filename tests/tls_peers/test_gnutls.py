"""`gnutls-cli` and `gnutls-serv` at the other end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from asynccore import ChannelMap
from ssl_ext import CertificateError, PeerRefused
from tests.ports import free_port
from tests.tls.support import CLIENT, HOST, client_certificate
from tests.tls_peers.support import (
    PATIENCE,
    VERSIONS,
    Asking,
    Files,
    Listener,
    Quiet,
    ask,
    client_context,
    program,
    run,
    server_context,
)
from tests.tls_peers.test_programs import Lines

pytestmark = pytest.mark.skipif(
    not (shutil.which("gnutls-cli") and shutil.which("gnutls-serv")),
    reason="there is no gnutls-cli or gnutls-serv (Debian's gnutls-bin)",
)

ONLY = {version: f"NORMAL:-VERS-ALL:+VERS-{version.replace('v', '')}" for version in VERSIONS}


def gnutls_cli(
    channels: ChannelMap, port: int, files: Files, version: str, *more: str, name: str = HOST
) -> Any:
    command = ["gnutls-cli", "--port", str(port), "--x509cafile", files.ca, "--priority"]
    command += [ONLY[version], "--sni-hostname", name, "--verify-hostname", name, *more]
    return program(channels, [*command, "127.0.0.1"], input=b"hello\nbye\n")


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client(channels: ChannelMap, version: str, files: Files, with_certificate: bool) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth), Lines)
    mine = ["--x509certfile", files.client, "--x509keyfile", files.client]
    ended = gnutls_cli(channels, listener.port, files, version, *(mine if with_certificate else []))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert b"The certificate is trusted" in ended.stdout
    (channel,) = listener.handed
    assert channel.log[:2] == ["handshake", "bye"] and channel.version == version
    assert channel.user == (CLIENT if with_certificate else None)


def test_a_client_comes_back(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version), Lines)
    ended = gnutls_cli(channels, listener.port, files, version, "--resume", "--waitresumption")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [channel.reused for channel in listener.handed] == [False, True]


def test_a_client_that_expects_another(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version), Lines)
    ended = gnutls_cli(channels, listener.port, files, version, name="other.example")
    assert ended.returncode != 0
    assert b"does not match the expected" in ended.stdout
    assert "bye" not in listener.handed[0].log


def test_a_client_without_a_certificate(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version, "required"), Lines)
    ended = gnutls_cli(channels, listener.port, files, version)
    assert ended.returncode != 0
    assert type(listener.handed[0].error) is CertificateError


@pytest.fixture
def gnutls_serv(files: Files) -> Iterator[Any]:
    """Begin a server that sends back what it gets."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(version: str, *more: str) -> int:
        # An address that it can't have, it only mentions, and listens on the other one.
        while (port := serve(free_port(), version, *more)) is None:
            pass
        return port

    def serve(port: int, version: str, *more: str) -> int | None:
        command = ["gnutls-serv", "--echo", "--port", str(port), "--priority", ONLY[version]]
        command += ["--x509certfile", files.server, "--x509keyfile", files.server]
        process = subprocess.Popen(
            [*command, "--x509cafile", files.ca, *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        begun.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if b"bind() failed" in line:
                return None
            if b"listening on IPv4" in line and b"done" in line:
                return port
        raise AssertionError("gnutls-serv has ended")

    yield begin
    for process in begun:
        process.kill()
        process.communicate(timeout=PATIENCE)


class OneLine(Asking):
    """Sends a line, and expects it back."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, payload=b"hello, world\n", **options)


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server(
    channels: ChannelMap, version: str, gnutls_serv: Any, with_certificate: bool
) -> None:
    demand = ["--require-client-cert", "--verify-client-cert"] if with_certificate else []
    port = gnutls_serv(version, *demand)
    mine = client_context(version, client_certificate() if with_certificate else None)
    for reused in (False, True):
        client = ask(channels, port, mine, kind=OneLine)
        run(channels, lambda: not channels)
        assert client.log == ["handshake", "all"] and client.version == version
        assert client.reused is reused


def test_a_server_of_another_name(channels: ChannelMap, version: str, gnutls_serv: Any) -> None:
    client = ask(channels, gnutls_serv(version), client_context(version), "other.example")
    run(channels, lambda: client.error)
    assert type(client.error) is CertificateError and client.error.code == 62


def test_a_server_that_refuses_us(channels: ChannelMap, version: str, gnutls_serv: Any) -> None:
    port = gnutls_serv(version, "--require-client-cert", "--verify-client-cert")
    client = ask(channels, port, client_context(version), kind=Quiet)
    run(channels, lambda: client.error)
    assert type(client.error) is PeerRefused
