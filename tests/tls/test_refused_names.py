"""Certificates with more than one name: what else they are for does not matter, and who is refused
learns nothing."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from OpenSSL import SSL, crypto

import ssl_ext
from ssl_ext import CertificateError, peer
from ssl_ext.sockets.translation import RawContext, translated
from tests.tls.pki import Pair, ca_pem
from tests.tls.support import CLIENT, HOST, authority, client_certificate, raw_context
from tests.tls.test_contexts import ADDRESS_MISMATCH, NAME_MISMATCH

D, U = x509.DNSName, x509.UniformResourceIdentifier
DAY = datetime.timedelta(1)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Our CA")])
SRV = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x16\x05_imap")
BAD_SRV = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x02\x01\x07")
ELSE: list[Sequence[x509.GeneralName]] = [
    [],
    [D("127.0.0.1")],
    [D("*.test")],
    [D("*")],
    [D("")],
    [D("*.")],
    [D("a.*.test")],
    [D("x*.host.test")],
    [D("host test")],
    [D(".")],
    [D("a..b")],
    [D("-")],
    [D("h" * 300)],
    [U("urn:device.test:app")],
    [U("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6")],
    [U("https://web.test:8443/")],
    [U("//no.scheme")],
    [U("nothing at all")],
    [U("")],
    [x509.RFC822Name("someone@host.test")],
    [x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))],
    [x509.DirectoryName(NAME)],
    [x509.IPAddress(ipaddress.ip_address("::1"))],
    [SRV],
    [BAD_SRV],
    [x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")],
]


def made(
    names: Sequence[x509.GeneralName], *more: x509.ExtensionType, ca: bool = False, cn: str = ""
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = NAME if ca else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, cn or "x")])
    key = KEY.public_key()
    builder = x509.CertificateBuilder(NAME, subject, key, 7, now - DAY, now + DAY)
    extensions: list[x509.ExtensionType] = [
        x509.SubjectKeyIdentifier.from_public_key(key),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(key),
        *more,
    ]
    if names:
        extensions.append(x509.SubjectAlternativeName(names))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return builder.sign(KEY, hashes.SHA256())


CA = made([], ca=True).public_bytes(Encoding.PEM)


def serving(leaf: x509.Certificate, client_ca: bool = False, **options: Any) -> ssl_ext.Context:
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = leaf.public_bytes(Encoding.PEM) + key
    if client_ca:
        options.update(client_auth="optional", ca=ca_pem(authority()))
    return ssl_ext.server_context(pem, **options)


def response(leaf: x509.Certificate | None = None, *, good: bool = True) -> bytes:
    """An OCSP response about a certificate; they all have the same number."""
    now = datetime.datetime.now(datetime.timezone.utc)
    ca = x509.load_pem_x509_certificate(CA)
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=leaf or made([D(HOST)]),
        issuer=ca,
        algorithm=hashes.SHA256(),
        cert_status=ocsp.OCSPCertStatus.GOOD if good else ocsp.OCSPCertStatus.REVOKED,
        this_update=now - DAY,
        next_update=now + DAY,
        revocation_time=None if good else now - DAY,
        revocation_reason=None,
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, ca)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def verdict(leaf: x509.Certificate, name: str) -> CertificateError | None:
    """What a client says of a server in the handshake; `check_name` must say the same."""
    pair = Pair(ssl_ext.client_context(ca=CA), serving(leaf), name)
    try:
        pair.handshake()
    except CertificateError as found:
        with pytest.raises(CertificateError) as offline:
            peer.check_name(leaf, name)
        assert (offline.value.reason, offline.value.code) == (found.reason, found.code)
        return found
    peer.check_name(leaf, name)
    return None


@pytest.mark.parametrize("other", ELSE, ids=repr)
def test_another_name_does_not_matter(other: Sequence[x509.GeneralName]) -> None:
    assert verdict(made([*other, D("host.test")]), "host.test") is None
    address = x509.IPAddress(ipaddress.ip_address("192.0.2.1"))
    assert verdict(made([*other, address]), "192.0.2.1") is None


@pytest.mark.parametrize("other", ELSE, ids=repr)
def test_another_name_is_no_better_than_none(other: Sequence[x509.GeneralName]) -> None:
    for name, code in (
        ("host.test", NAME_MISMATCH),
        ("127.0.0.1", ADDRESS_MISMATCH),
        ("deep.host.test", NAME_MISMATCH),
    ):
        found = verdict(made(other, cn=name), name)
        assert found is not None and found.code == code


@pytest.mark.parametrize(
    ("names", "name", "good"),
    [
        (["*.host.test"], "bücher.host.test", True),
        (["*.host.test"], "A.HOST.test", True),
        (["*.HOST.test"], "a.host.test", True),
        (["*.host.test"], "host.test", False),
        (["*.host.test"], "a.b.host.test", False),
        (["xn--bcher-kva.host.test"], "bücher.host.test", True),
        (["xn--*.host.test"], "bücher.host.test", False),
        (["host.test."], "host.test", False),
        (["my_host.test"], "my_host.test", True),
    ],
)
def test_what_a_star_stands_for(names: list[str], name: str, good: bool) -> None:
    assert (verdict(made([D(entry) for entry in names]), name) is None) == good


@pytest.mark.parametrize(
    ("names", "name", "text"),
    [
        ([D("a.test"), D("b.test")], "c.test", "but for a.test, b.test"),
        ([D("127.0.0.1")], "127.0.0.1", "but for 127.0.0.1; it has the address as a DNS name"),
        ([D("*.test")], "a.test", "a star above a single label counts for nothing"),
        ([D("*.b.test")], "x.a.b.test", "a star stands for one label"),
        ([], "cn.test", "but for nobody; it has that for a common name"),
    ],
)
def test_the_error_says_why(names: list[x509.GeneralName], name: str, text: str) -> None:
    found = verdict(made(names, cn=name), name)
    assert found is not None and text in found.reason


# Who is refused, and how --------------------------------------------------------------------------


def refused(
    context: ssl_ext.Context, leaf: x509.Certificate, **options: Any
) -> tuple[CertificateError, SSL.Error]:
    """Return our error, and the server's, of a handshake that we refuse."""
    pair = Pair(context, serving(leaf, client_ca=True, **options), HOST)
    with pytest.raises(CertificateError) as ours:
        pair.handshake()
    pair.server.bio_write(pair.client.bio_read(65536))
    with pytest.raises(SSL.Error) as theirs:
        pair.server.do_handshake()
    assert pair.server.get_peer_certificate() is None, "our certificate was shown"
    return ours.value, theirs.value


def client(**options: Any) -> ssl_ext.Context:
    return ssl_ext.client_context(
        ca=CA,
        certificate=client_certificate().private_key_and_cert_chain_pem.bytes(),
        **options,
    )


@pytest.mark.parametrize("newest", ["TLSv1.2", "TLSv1.3"])
def test_a_wrong_name_is_told_before_our_certificate(newest: str) -> None:
    found, theirs = refused(client(maximum_version=newest), made([D("other.test")]))
    assert type(found) is CertificateError
    assert found.code == NAME_MISMATCH and "other.test" in found.reason
    assert "alert bad certificate" in str(theirs)


@pytest.mark.parametrize("newest", ["TLSv1.2", "TLSv1.3"])
def test_a_wrong_key_is_told_before_our_certificate(newest: str) -> None:
    pins = "sha256/" + "A" * 43 + "="
    found, theirs = refused(client(maximum_version=newest, pins=pins), made([D(HOST)]))
    assert type(found) is CertificateError
    assert "is pinned; its own is" in found.reason and found.code == 0
    assert "alert bad certificate" in str(theirs)


@pytest.mark.parametrize("newest", ["TLSv1.2", "TLSv1.3"])
def test_a_missing_response_is_told_before_our_certificate(newest: str) -> None:
    context = client(maximum_version=newest, stapling="require")
    found, theirs = refused(context, made([D(HOST)]))
    assert type(found) is CertificateError
    assert found.reason == "the server stapled no OCSP response"
    assert "bad certificate status response" in str(theirs)  # RFC 6066 section 8


@pytest.mark.parametrize("newest", ["TLSv1.2", "TLSv1.3"])
def test_a_wrong_response_is_told_before_our_certificate(newest: str) -> None:
    context = client(maximum_version=newest, stapling="request")
    found, theirs = refused(context, made([D(HOST)]), stapled=response(good=False))
    assert type(found) is CertificateError
    assert found.reason == "the OCSP responder says of the certificate: revoked"
    assert "bad certificate status response" in str(theirs)


@pytest.mark.parametrize("newest", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("check", ["name", "pin", "response"])
def test_who_is_the_right_one_is_shown_our_certificate(newest: str, check: str) -> None:
    """So that the tests above can see whether it is."""
    leaf = made([D(HOST)])
    options: dict[str, Any] = {"maximum_version": newest}
    if check == "pin":
        options["pins"] = ["sha256/" + "A" * 43 + "=", ssl_ext.pin(leaf)]
    if check == "response":
        options["stapling"] = "require"
    pair = Pair(client(**options), serving(leaf, True, stapled=response(leaf)), HOST)
    pair.handshake()
    pair.server.do_handshake()
    shown = pair.server.get_peer_certificate(as_cryptography=True)
    assert shown is not None and ssl_ext.peer.names_in(shown) == [CLIENT]


def test_a_plain_context_checks_in_the_handshake_too(version: int) -> None:
    context = raw_context(version=version)
    context.get_cert_store().add_cert(  # type: ignore[union-attr]
        crypto.X509.from_cryptography(made([], ca=True))
    )
    context.set_verify(SSL.VERIFY_PEER)
    raw = RawContext(context)
    for name, good in (("host.test", True), ("other.test", False), ("192.0.2.9", False)):
        connection = raw._ac_connection(None, False, name)
        server = serving(made([D("host.test")]))._ac_connection()
        error = None
        for _ in range(6):
            for one, other in ((connection, server), (server, connection)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                except SSL.Error as why:
                    if error is None:
                        error = translated(why, raw, one, shaking=True)
                try:
                    other.bio_write(one.bio_read(65536))
                except SSL.WantReadError:
                    pass
        if good:
            assert error is None
        else:
            assert type(error) is CertificateError
            assert error.code == (ADDRESS_MISMATCH if name[0] == "1" else NAME_MISMATCH)
            assert "mismatch" in error.reason


# What cryptography can't read --------------------------------------------------------------------


def test_an_unreadable_extension() -> None:
    cut = x509.UnrecognizedExtension(
        x509.oid.ExtensionOID.AUTHORITY_INFORMATION_ACCESS, b"\x30\x5a"
    )
    leaf = made([D("host.test")], cut)
    context = ssl_ext.client_context(ca=CA)
    pair = Pair(context, serving(leaf), "host.test")
    pair.handshake()
    context._ac_verify_peer(pair.client)  # OpenSSL has no use for it
    for ask in (
        lambda: peer.peer_names(pair.client),
        lambda: peer.names_in(leaf),
        lambda: peer.user_name(leaf, "email"),
        lambda: peer.check_name(leaf, "host.test"),
        lambda: context._ac_verify_peer(pair.client, "other.test"),
    ):
        with pytest.raises(CertificateError, match="can't be read"):
            ask()
    assert peer.user_name(leaf, "common_name") == "x"
    pair = Pair(context, serving(leaf), "other.test")
    with pytest.raises(CertificateError) as why:
        pair.handshake()
    found = why.value
    assert type(found) is CertificateError and found.code == NAME_MISMATCH
    assert "can't be read" in found.reason
