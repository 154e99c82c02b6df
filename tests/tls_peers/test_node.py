"""Node's `tls` at the other end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from asynccore import ChannelMap
from ssl_ext import CertificateError, PeerRefused
from tests.tls.support import CLIENT, HOST, client_certificate
from tests.tls_peers.support import (
    PAYLOAD,
    Files,
    Listener,
    Quiet,
    ask,
    client_context,
    program,
    run,
    server_context,
    servers,
)

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="there is no node")

BEGINNING = """
const fs = require("fs"), tls = require("tls");
const o = JSON.parse(process.argv[1]);
const own = o.own ? fs.readFileSync(o.own) : undefined;
const options = {
  cert: own, key: own, ca: fs.readFileSync(o.ca), minVersion: o.version, maxVersion: o.version,
};
"""

# Sends what stands in its input, tells how much of it came back, and ends.
CLIENT_PROGRAM = (
    BEGINNING
    + """
const sent = fs.readFileSync(0);
const sock = tls.connect({...options, host: "127.0.0.1", port: o.port, servername: o.name}, () => {
  sock.write(sent);
});
let got = Buffer.alloc(0);
sock.on("data", (data) => {
  got = Buffer.concat([got, data]);
  if (got.length >= sent.length) { sock.end(); }
});
sock.on("error", (e) => { console.log(JSON.stringify({error: e.code})); process.exit(1); });
sock.on("close", () => console.log(JSON.stringify({same: got.equals(sent)})));
"""
)

# Sends back what it gets.
SERVER_PROGRAM = (
    BEGINNING
    + """
const server = tls.createServer(
  {...options, requestCert: o.demands, rejectUnauthorized: o.demands},
  (sock) => { sock.on("error", () => {}); sock.pipe(sock); },
);
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
"""
)


def connect(
    channels: ChannelMap, port: int, files: Files, version: str, own: str = "", name: str = HOST
) -> Any:
    told = {"ca": files.ca, "own": own, "version": version, "port": port, "name": name}
    command = ["node", "-e", CLIENT_PROGRAM, json.dumps(told)]
    ended = program(channels, command, input=PAYLOAD)
    return json.loads(ended.stdout or b"{}")


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client(channels: ChannelMap, version: str, files: Files, with_certificate: bool) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth))
    own = files.client if with_certificate else ""
    assert connect(channels, listener.port, files, version, own) == {"same": True}
    (channel,) = listener.handed
    assert channel.log == ["handshake", "close"] and channel.version == version
    assert channel.user == (CLIENT if with_certificate else None)


def test_a_client_that_expects_another(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version))
    told = connect(channels, listener.port, files, version, name="other.example")
    assert told == {"error": "ERR_TLS_CERT_ALTNAME_INVALID"}


def test_a_client_without_a_certificate(channels: ChannelMap, version: str, files: Files) -> None:
    listener = Listener(channels, server_context(version, "required"))
    assert "error" in connect(channels, listener.port, files, version)
    assert type(listener.handed[0].error) is CertificateError


@pytest.fixture
def node_server(files: Files) -> Iterator[Any]:
    """Begin a server that sends back what it gets."""
    with servers() as begin:

        def server(version: str, demands: bool) -> int:
            told = {"ca": files.ca, "own": files.server, "version": version, "demands": demands}
            return begin(["node", "-e", SERVER_PROGRAM, json.dumps(told)])

        yield server


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server(
    channels: ChannelMap, version: str, node_server: Any, with_certificate: bool
) -> None:
    port = node_server(version, with_certificate)
    mine = client_context(version, client_certificate() if with_certificate else None)
    for reused in (False, True):
        client = ask(channels, port, mine)
        run(channels, lambda: not channels)
        assert client.log == ["handshake", "all"] and client.version == version
        assert client.reused is reused


def test_a_server_of_another_name(channels: ChannelMap, version: str, node_server: Any) -> None:
    client = ask(channels, node_server(version, False), client_context(version), "other.example")
    run(channels, lambda: client.error)
    assert type(client.error) is CertificateError and client.error.code == 62


def test_a_server_that_refuses_us(channels: ChannelMap, version: str, node_server: Any) -> None:
    client = ask(channels, node_server(version, True), client_context(version), kind=Quiet)
    run(channels, lambda: client.error)
    assert type(client.error) is PeerRefused
