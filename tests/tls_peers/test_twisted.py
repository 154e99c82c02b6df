"""Twisted's TLS at the other end, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from asynccore import ChannelMap
from ssl_ext import PeerRefused
from tests.tls.pki import ca_pem
from tests.tls.support import CLIENT, client_certificate, other_authority
from tests.tls_peers.support import (
    PATIENCE,
    Files,
    Listener,
    Quiet,
    ask,
    client_context,
    during,
    program,
    run,
    server_context,
)

pytest.importorskip("twisted.internet", reason="Twisted is not installed")

PEER = str(Path(__file__).with_name("twisted_peer.py"))


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client(channels: ChannelMap, version: str, files: Files, with_certificate: bool) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth))
    certificate = ["client.pem"] if with_certificate else []
    command = [sys.executable, PEER, "client", str(listener.port), files.folder, version]
    ended = program(channels, [*command, *certificate])
    assert ended.stdout.split() == [b"all", b"ConnectionDone"] * 2, ended.stderr
    run(channels, lambda: len(channels) == 1)
    assert [channel.reused for channel in listener.handed] == [False, True]
    for channel in listener.handed:
        assert channel.log == ["handshake", "close"]
        assert channel.version == version
        assert channel.user == (CLIENT if with_certificate else None)


def test_a_client_that_refuses_us(channels: ChannelMap, version: str, files: Files) -> None:
    Path(files.ca).write_bytes(ca_pem(other_authority()))
    listener = Listener(channels, server_context(version))
    command = [sys.executable, PEER, "client", str(listener.port), files.folder, version]
    ended = program(channels, command)
    assert ended.stdout.split() == [b"Error"], ended.stderr
    (channel,) = listener.handed
    run(channels, lambda: channel.error)
    assert channel.log[-1] == "PeerRefused"


def test_a_client_that_we_refuse(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version, "required"))
    command = [sys.executable, PEER, "client", str(listener.port), files.folder, version]
    ended = program(channels, command)
    assert ended.stdout.split() == [b"Error"], ended.stderr  # OpenSSL.SSL.Error: our alert
    (channel,) = listener.handed
    assert channel.log == ["CertificateError"]


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server(channels: ChannelMap, version: str, files: Files, with_certificate: bool) -> None:
    certificate = ["demanded"] if with_certificate else []
    command = [sys.executable, PEER, "server", "0", files.folder, version, *certificate]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            mine = client_context(version, client_certificate() if with_certificate else None)
            for reused in (False, True):
                client = ask(channels, port, mine)
                said = during(channels, server.stdout.readline).split()
                assert said == [b"ConnectionDone", b"somebody" if with_certificate else b"nobody"]
                assert client.log == ["handshake", "all"]
                assert client.version == version and client.reused is reused
            if with_certificate:
                stranger = ask(channels, port, client_context(version), kind=Quiet)
                run(channels, lambda: stranger.error)
                assert type(stranger.error) is PeerRefused
        finally:
            server.kill()
            server.wait(PATIENCE)
