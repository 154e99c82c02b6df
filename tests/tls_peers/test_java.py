"""Java's `SSLSocket` at the other end, whose end is user_canceled and close_notify in TLS 1.3."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from asynccore import ChannelMap
from ssl_ext import CertificateError, PeerRefused
from tests.tls.support import CLIENT, HOST, client_certificate, server_certificate
from tests.tls_peers.support import (
    PATIENCE,
    PAYLOAD,
    Files,
    Listener,
    Quiet,
    ask,
    client_context,
    pem,
    program,
    run,
    server_context,
    servers,
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("java") and shutil.which("javac")),
    reason="there is no java or javac (Debian's default-jdk-headless)",
)

SOURCE = """
import java.io.*;
import java.net.*;
import java.security.*;
import java.security.cert.*;
import javax.net.ssl.*;

public class Peer {
    public static void main(String[] told) throws Exception {
        String role = told[0], ca = told[1], own = told[2], version = told[3];
        char[] password = "secret".toCharArray();
        KeyStore trusted = KeyStore.getInstance("PKCS12"), keys = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        try (InputStream file = new FileInputStream(ca)) {
            trusted.setCertificateEntry(
                "ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        keys.load(null, null);
        if (!own.isEmpty()) {
            try (InputStream file = new FileInputStream(own)) { keys.load(file, password); }
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        KeyManagerFactory mine = KeyManagerFactory.getInstance("PKIX");
        mine.init(keys, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(mine.getKeyManagers(), trust.getTrustManagers(), null);
        String[] versions = {version};
        if (role.equals("client")) {
            Socket plain = new Socket("127.0.0.1", Integer.parseInt(told[4]));
            SSLSocket sock =
                (SSLSocket) context.getSocketFactory().createSocket(plain, told[5], 0, true);
            sock.setEnabledProtocols(versions);
            SSLParameters parameters = sock.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            sock.setSSLParameters(parameters);
            byte[] data = System.in.readAllBytes();
            try {
                sock.startHandshake();
                Thread sender = new Thread(() -> {
                    try { sock.getOutputStream().write(data); } catch (IOException e) { }
                });
                sender.start();
                byte[] got = sock.getInputStream().readNBytes(data.length);
                sender.join();
                sock.close();
                System.out.println(java.util.Arrays.equals(got, data) ? "same" : "other");
            } catch (SSLException e) {
                System.out.println("error " + e.getMessage());
            }
        } else {
            InetAddress here = InetAddress.getByName("127.0.0.1");
            SSLServerSocket listener = (SSLServerSocket)
                context.getServerSocketFactory().createServerSocket(0, 5, here);
            listener.setEnabledProtocols(versions);
            listener.setNeedClientAuth(told[4].equals("demands"));
            System.out.println(listener.getLocalPort());
            while (true) {
                try (SSLSocket sock = (SSLSocket) listener.accept()) {
                    sock.getInputStream().transferTo(sock.getOutputStream());
                } catch (IOException e) { }
            }
        }
    }
}
"""


class Java:
    """The program, compiled, and its certificates."""

    def __init__(self, folder: Path) -> None:
        (folder / "Peer.java").write_text(SOURCE)
        subprocess.run(["javac", "-d", folder, folder / "Peer.java"], check=True, timeout=PATIENCE)
        # The small compiler and collector start sooner.
        self.command = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", str(folder)]
        self.client = self.write(folder / "client.p12", pem(client_certificate()))
        self.server = self.write(folder / "server.p12", pem(server_certificate()))

    def write(self, path: Path, content: bytes) -> str:
        key: Any = load_pem_private_key(content, None)
        own, *others = x509.load_pem_x509_certificates(content)
        lock = BestAvailableEncryption(b"secret")
        path.write_bytes(pkcs12.serialize_key_and_certificates(b"own", key, own, others, lock))
        return str(path)


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Java:
    return Java(tmp_path_factory.mktemp("java"))


def connect(
    channels: ChannelMap, java: Java, port: int, files: Files, version: str, *, own: str = "",
    name: str = HOST,
) -> str:  # fmt: skip
    told = ["client", files.ca, own, version, str(port), name]
    ended = program(channels, [*java.command, "Peer", *told], input=PAYLOAD)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode().strip()  # type: ignore[no-any-return]


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_client(
    channels: ChannelMap, java: Java, version: str, files: Files, with_certificate: bool
) -> None:
    auth = "required" if with_certificate else "none"
    listener = Listener(channels, server_context(version, auth))
    own = java.client if with_certificate else ""
    assert connect(channels, java, listener.port, files, version, own=own) == "same"
    (channel,) = listener.handed
    assert channel.log == ["handshake", "close"] and channel.version == version
    assert channel.user == (CLIENT if with_certificate else None)


def test_a_client_that_expects_another(channels: ChannelMap, java: Java, files: Files) -> None:
    listener = Listener(channels, server_context())
    told = connect(channels, java, listener.port, files, "TLSv1.3", name="other.example")
    assert "No subject alternative DNS name matching other.example found" in told
    run(channels, lambda: listener.handed[0].error)
    assert type(listener.handed[0].error) is PeerRefused


def test_a_client_without_a_certificate(
    channels: ChannelMap, java: Java, version: str, files: Files
) -> None:
    listener = Listener(channels, server_context(version, "required"))
    assert connect(channels, java, listener.port, files, version).startswith("error ")
    assert type(listener.handed[0].error) is CertificateError


@pytest.fixture
def java_server(java: Java, files: Files) -> Iterator[Any]:
    """Begin a server that sends back what it gets."""
    with servers() as begin:

        def server(version: str, demands: bool) -> int:
            told = ["server", files.ca, java.server, version, "demands" if demands else ""]
            return begin([*java.command, "Peer", *told])

        yield server


@pytest.mark.parametrize("with_certificate", [False, True])
def test_a_server(
    channels: ChannelMap, version: str, java_server: Any, with_certificate: bool
) -> None:
    port = java_server(version, with_certificate)
    mine = client_context(version, client_certificate() if with_certificate else None)
    for reused in (False, True):
        client = ask(channels, port, mine)
        run(channels, lambda: not channels)
        assert client.log == ["handshake", "all"] and client.version == version
        assert client.reused is reused


def test_a_server_that_refuses_us(channels: ChannelMap, version: str, java_server: Any) -> None:
    client = ask(channels, java_server(version, True), client_context(version), kind=Quiet)
    run(channels, lambda: client.error)
    assert type(client.error) is PeerRefused
