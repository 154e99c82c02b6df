"""Authorities that are no roots, and names that are acknowledged."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

import ssl_ext
from ssl_ext import CertificateError
from tests.tls.pki import DAY, NOW, Pair
from tests.tls.support import CLIENT, HOST, authority


def pem(leaf: trustme.LeafCert, chain: int) -> bytes:
    """A key, and so many certificates of its chain."""
    return b"".join(b.bytes() for b in (leaf.private_key_pem, *leaf.cert_chain_pems[:chain]))


INTERMEDIATE = authority().create_child_ca()
OTHER = authority().create_child_ca()
SERVER_LEAF = INTERMEDIATE.issue_cert(HOST)
CLIENT_LEAF = INTERMEDIATE.issue_cert(CLIENT)


@pytest.mark.parametrize("shown", [1, 2])
def test_an_intermediate_authority_vouches_for_a_server(shown: int) -> None:
    server = ssl_ext.server_context(pem(SERVER_LEAF, shown))
    Pair(ssl_ext.client_context(ca=INTERMEDIATE.cert_pem.bytes()), server).handshake()


def test_an_intermediate_authority_vouches_for_a_client() -> None:
    server = ssl_ext.server_context(
        pem(SERVER_LEAF, 2), client_auth="required", ca=INTERMEDIATE.cert_pem.bytes()
    )
    client = ssl_ext.client_context(
        ca=INTERMEDIATE.cert_pem.bytes(), certificate=pem(CLIENT_LEAF, 1)
    )
    Pair(client, server).handshake()


def test_it_does_not_vouch_for_what_others_have_issued() -> None:
    for leaf, ca in (
        (OTHER.issue_cert(HOST), INTERMEDIATE),
        (authority().issue_cert(HOST), INTERMEDIATE),
    ):
        client = ssl_ext.client_context(ca=ca.cert_pem.bytes())
        with pytest.raises(CertificateError) as why:
            Pair(client, ssl_ext.server_context(pem(leaf, 2))).handshake()
        assert why.value.code in (20, 2)  # X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT(_LOCALLY)


def test_one_server_is_believed_by_its_certificate() -> None:
    own = SERVER_LEAF.cert_chain_pems[0].bytes()
    Pair(ssl_ext.client_context(ca=own), ssl_ext.server_context(pem(SERVER_LEAF, 1))).handshake()
    another = INTERMEDIATE.issue_cert(HOST)
    with pytest.raises(CertificateError):
        Pair(ssl_ext.client_context(ca=own), ssl_ext.server_context(pem(another, 1))).handshake()


@pytest.mark.parametrize("several", [("system", "own.pem"), ("own.pem", "system")])
def test_the_word_for_public_authorities_among_others(
    several: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers = trustme.CA()
    (tmp_path / "own.pem").write_bytes(authority().cert_pem.bytes())
    (tmp_path / "everybody.pem").write_bytes(strangers.cert_pem.bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "everybody.pem"))
    theirs = ssl_ext.server_context(pem(strangers.issue_cert(HOST), 1))
    ours = ssl_ext.server_context(pem(SERVER_LEAF, 2))
    for server in (ours, theirs):
        Pair(ssl_ext.client_context(ca=several), server).handshake()
    Pair(ssl_ext.client_context(ca="own.pem"), ours).handshake()
    for ca in ("own.pem", ["own.pem", "certifi"]):
        with pytest.raises(CertificateError):
            Pair(ssl_ext.client_context(ca=ca), theirs).handshake()


def test_a_path_is_never_the_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "system").write_bytes(authority().cert_pem.bytes())
    monkeypatch.chdir(tmp_path)
    server = ssl_ext.server_context(pem(SERVER_LEAF, 2))
    for ca in (Path("system"), [Path("system")], "./system"):
        Pair(ssl_ext.client_context(ca=ca), server).handshake()
    (tmp_path / "system").unlink()
    with pytest.raises(FileNotFoundError):
        ssl_ext.client_context(ca=[Path("system")])


def extensions_of_server_hello(server: ssl_ext.Context) -> set[int]:
    """The types of the extensions in a TLS 1.2 ServerHello (RFC 5246 section 7.4.1.3)."""
    client = ssl_ext.client_context(
        ca=authority().cert_pem.bytes(), maximum_version="TLSv1.2"
    )._ac_connection(None, False, HOST)
    there = server._ac_connection()
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    there.bio_write(client.bio_read(65536))
    with pytest.raises(SSL.WantReadError):
        there.do_handshake()
    hello = there.bio_read(65536)
    body = hello[5 + 4 : 5 + int.from_bytes(hello[3:5], "big")]
    place = 2 + 32 + 1 + body[34] + 2 + 1
    end = place + 2 + int.from_bytes(body[place : place + 2], "big")
    place += 2
    found = set()
    while place < end:
        found.add(int.from_bytes(body[place : place + 2], "big"))
        place += 4 + int.from_bytes(body[place + 2 : place + 4], "big")
    return found


def test_a_name_is_acknowledged_where_there_is_a_table() -> None:
    host = ssl_ext.server_context(pem(SERVER_LEAF, 2))
    with_table = ssl_ext.server_context(pem(SERVER_LEAF, 2), sni={HOST: host})
    assert 0 in extensions_of_server_hello(with_table)
    assert 0 not in extensions_of_server_hello(host)


def test_a_name_that_is_not_acknowledged_is_known() -> None:
    server = ssl_ext.server_context(pem(SERVER_LEAF, 2))
    pair = Pair(ssl_ext.client_context(ca=authority().cert_pem.bytes()), server)
    pair.handshake()
    assert ssl_ext.peer.server_name(pair.server) == HOST


# Out of time -------------------------------------------------------------------------------------


def lasting(begin: datetime.datetime, end: datetime.datetime, name: str) -> bytes:
    """An authority that is valid from one moment to another."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), 7, begin, end)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


PAST = lasting(NOW - 9 * DAY, NOW - DAY, "past")
FUTURE = lasting(NOW + DAY, NOW + 9 * DAY, "future")


@pytest.mark.parametrize(("ca", "name"), [(PAST, "CN=past"), ([FUTURE, PAST], "CN=future")])
def test_authorities_that_are_all_out_of_time(ca: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"^ca: no authority there is valid now: {name} \(20"):
        ssl_ext.client_context(ca=ca)
    with pytest.raises(ValueError, match="no authority there is valid now"):
        ssl_ext.server_context(pem(SERVER_LEAF, 2), client_auth="optional", ca=ca)


@pytest.mark.parametrize("other", [authority().cert_pem.bytes(), "certifi"])
def test_one_that_is_out_of_time_among_others(other: Any, caplog: pytest.LogCaptureFixture) -> None:
    ssl_ext.client_context(ca=[other, PAST])
    (line,) = caplog.messages
    assert line.startswith("whom these authorities vouch for is refused, for ")
    assert f"CN=past ({NOW - 9 * DAY:%Y-%m-%d} to {NOW - DAY:%Y-%m-%d})" in line
    caplog.clear()
    ssl_ext.client_context(ca=other)
    assert caplog.messages == []
