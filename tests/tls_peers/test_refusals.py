"""Whom our sides must refuse, with the standard library at the other end: the exact exceptions."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest

from asynccore import ChannelMap
from ssl_ext import CertificateError, PeerRefused
from tests.tls.pki import DAY, NOW, Leaf, issue, revocation_list
from tests.tls.support import CLIENT
from tests.tls_peers.support import (
    Listener,
    Quiet,
    ask,
    client_context,
    during,
    run,
    server_context,
)
from tests.tls_peers.test_stdlib import Server, client_of, exchange, server_of

# X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED and _REVOKED (x509_vfy.h).
NOT_YET_VALID, EXPIRED, REVOKED = 9, 10, 23


class Shown:
    """A certificate for the standard library, which reads files alone."""

    def __init__(self, leaf: Leaf, folder: Path) -> None:
        self.path = folder / "shown.pem"
        self.path.write_bytes(leaf.pem)

    def configure_cert(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self.path)


def not_yet_valid() -> tuple[Leaf, dict[str, Any]]:
    return issue(email=CLIENT, begin=NOW + DAY, end=NOW + 2 * DAY), {}


def expired() -> tuple[Leaf, dict[str, Any]]:
    return issue(email=CLIENT, begin=NOW - 2 * DAY, end=NOW - DAY), {}


def revoked() -> tuple[Leaf, dict[str, Any]]:
    leaf = issue(email=CLIENT)
    return leaf, {"crl": revocation_list(leaf.certificate)}


REFUSED = pytest.mark.parametrize(
    ("make", "code", "alert"),
    [
        (not_yet_valid, NOT_YET_VALID, "BAD_CERTIFICATE"),
        (expired, EXPIRED, "CERTIFICATE_EXPIRED"),
        (revoked, REVOKED, "CERTIFICATE_REVOKED"),
    ],
)


@REFUSED
@pytest.mark.parametrize("auth", ["optional", "required"])
def test_a_client(
    channels: ChannelMap, version: str, tmp_path: Path, make: Any, code: int, alert: str, auth: str
) -> None:
    """Where a certificate is optional, too: what is shown must be right."""
    leaf, options = make()
    listener = Listener(channels, server_context(version, auth, **options))
    tls = client_of(version, Shown(leaf, tmp_path))
    with pytest.raises(ssl.SSLError, match=f"ALERT_{alert}"):
        during(channels, lambda: exchange(listener.port, tls, payload=b""))
    (channel,) = listener.handed
    run(channels, lambda: channel.error)
    assert type(channel.error) is CertificateError and channel.error.code == code
    assert channel.log == ["CertificateError"]


def test_a_client_that_is_not_in_the_list(
    channels: ChannelMap, version: str, tmp_path: Path
) -> None:
    _, options = revoked()
    listener = Listener(channels, server_context(version, "required", **options))
    tls = client_of(version, Shown(issue(email=CLIENT), tmp_path))
    during(channels, lambda: exchange(listener.port, tls, payload=b"hello"))
    assert listener.handed[0].user == CLIENT


@REFUSED
def test_a_server(
    channels: ChannelMap, version: str, tmp_path: Path, make: Any, code: int, alert: str
) -> None:
    leaf, options = make()
    with Server(server_of(version, certificate=Shown(leaf, tmp_path))) as server:
        client = ask(channels, server.port, client_context(version, **options))
        with pytest.raises(ssl.SSLError, match=f"ALERT_{alert}"):
            during(channels, server.serve)
        run(channels, lambda: client.error)
    assert type(client.error) is CertificateError and client.error.code == code
    assert client.log == ["CertificateError"] and not client.got


def test_a_server_that_is_not_in_the_list(
    channels: ChannelMap, version: str, tmp_path: Path
) -> None:
    _, options = revoked()
    with Server(server_of(version, certificate=Shown(issue(), tmp_path))) as server:
        client = ask(channels, server.port, client_context(version, **options))
        client.payload = b"hello"
        during(channels, server.serve)
    assert client.log == ["handshake", "all"]


# Old servers ----------------------------------------------------------------------------------


def old_server() -> ssl.SSLContext:
    """TLS 1.1 at the most, and all that it takes."""
    context: ssl.SSLContext = server_of("TLSv1.2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("server_version", "ours"),
    [("TLSv1.1", None), ("TLSv1.1", "TLSv1.3"), ("TLSv1.2", "TLSv1.3")],
)
def test_a_server_that_is_too_old(
    channels: ChannelMap, server_version: str, ours: str | None
) -> None:
    """It says so, and we don't come down to it. By default we begin with TLS 1.2."""
    tls = old_server() if server_version == "TLSv1.1" else server_of(server_version)
    with Server(tls) as server:
        client = ask(channels, server.port, client_context(ours), kind=Quiet)
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            during(channels, server.serve)
        run(channels, lambda: client.error)
    assert type(client.error) is PeerRefused
    assert client.error.reason == "the peer refused: tlsv1 alert protocol version"
    assert client.log == ["PeerRefused"]
