"""Contexts: who is believed, who is not, and with exactly which error.

Every check has its negative control. The two sides talk over memory buffers.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from OpenSSL import SSL

import ssl_ext
from ssl_ext import CertificateError, client_context, insecure_context, peer, server_context
from ssl_ext.certificates import loading as certificates
from ssl_ext.certificates import ocsp as our_ocsp
from tests.tls.pki import (
    CLIENT_USE,
    DAY,
    NOW,
    SERVER,
    Leaf,
    Pair,
    ca_certificate,
    ca_pem,
    issue,
    ocsp_response,
    revocation_list,
    with_serial_zero,
)
from tests.tls.support import (
    ADDRESS,
    CLIENT,
    HOST,
    authority,
    client_certificate,
    other_authority,
    server_certificate,
)

VERSIONS = ["TLSv1.2", "TLSv1.3"]

# X509_V_ERR numbers, x509_vfy.h.
EXPIRED, NOT_YET, SELF_SIGNED, NO_ISSUER, REVOKED, PURPOSE, NO_CRL = 10, 9, 18, 20, 23, 26, 3
NAME_MISMATCH, ADDRESS_MISMATCH = 62, 64


def pem(leaf: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in leaf.cert_chain_pems) + leaf.private_key_pem.bytes()


def trusting(**options: Any) -> ssl_ext.Context:
    return client_context(ca=ca_pem(authority()), **options)


def serving(certificate: bytes | None = None, **options: Any) -> ssl_ext.Context:
    return server_context(certificate or pem(server_certificate()), **options)


def unchecked(leaf: Leaf) -> ssl_ext.Context:
    """A server with a certificate that `server_context` would not take: past OpenSSL alone."""
    from ssl_ext.contexts import sni

    context = serving()
    own = SSL.Context(SSL.TLS_SERVER_METHOD)
    own.use_certificate(leaf.certificate)
    own.use_privatekey(leaf.key)
    own.set_tlsext_servername_callback(sni.chooser(context.settings))  # type: ignore[arg-type]
    context._openssl = own
    return context


def failure(pair: Pair) -> CertificateError:
    with pytest.raises(CertificateError) as caught:
        pair.handshake()
    return caught.value


# Whom a client believes ----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [HOST, HOST + ".", HOST.upper(), ADDRESS])
def test_the_right_server_is_believed(version: str, name: str) -> None:
    pair = Pair(trusting(maximum_version=version), serving(), name)
    pair.handshake()
    assert pair.say(pair.client, pair.server, b"hello") == b"hello"
    assert peer.tls_version(pair.client) == version
    assert peer.server_name(pair.server) == (None if name == ADDRESS else name.rstrip("."))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["other.example", "127.0.0.2", "x." + HOST, "example"])
def test_a_server_of_another_name_or_address(version: str, name: str) -> None:
    why = failure(Pair(trusting(maximum_version=version), serving(), name))
    assert why.code == (ADDRESS_MISMATCH if name == "127.0.0.2" else NAME_MISMATCH)
    assert name in why.reason and HOST in why.reason


def test_a_certificate_without_names_is_for_nobody() -> None:
    leaf = issue(names=(), common_name=HOST)
    why = failure(Pair(trusting(), serving(leaf.pem)))
    assert why.code == NAME_MISMATCH
    assert "nobody" in why.reason


def test_an_unchecked_name() -> None:
    Pair(trusting(check_hostname=False), serving(), "other.example").handshake()
    Pair(trusting(check_hostname=False), serving(), None).handshake()


def test_a_name_outside_of_ascii() -> None:
    leaf = issue(names=("xn--bcher-kva.example",))
    pair = Pair(trusting(), serving(leaf.pem), "bücher.example")
    pair.handshake()
    assert peer.server_name(pair.server) == "xn--bcher-kva.example"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (issue(end=NOW - DAY / 2), EXPIRED),
        (issue(begin=NOW + DAY / 2), NOT_YET),
        (issue(self_signed=True), SELF_SIGNED),
        (issue(ca=other_authority()), NO_ISSUER),
        (issue(usages=[CLIENT_USE]), PURPOSE),
    ],
    ids=["expired", "not yet valid", "self-signed", "wrong CA", "wrong purpose"],
)
def test_a_server_that_is_not_believed(version: str, leaf: Leaf, code: int) -> None:
    why = failure(Pair(trusting(maximum_version=version), unchecked(leaf)))
    assert (why.code, why.depth) == (code, 0)
    assert "certificate verify failed" in why.reason
    assert why.queue


def test_public_authorities_are_believed_by_default_and_ours_is_none() -> None:
    assert failure(Pair(client_context(), serving())).code == NO_ISSUER
    assert failure(Pair(client_context(ca="system"), serving())).code == NO_ISSUER


def test_nobody_is_doubted_by_the_context_that_says_so() -> None:
    pair = Pair(insecure_context(), unchecked(issue(self_signed=True)), "other.example")
    pair.handshake()
    assert pair.say(pair.server, pair.client, b"hello") == b"hello"


def test_no_warning_comes_out_of_what_a_peer_shows() -> None:
    pair = Pair(insecure_context(), unchecked(with_serial_zero()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pair.handshake()
        assert peer.peer_chain(pair.client) == [peer.peer_certificate(pair.client)]


# Versions ------------------------------------------------------------------------------------


def test_a_downgrade_is_refused() -> None:
    old = SSL.Context(SSL.TLS_CLIENT_METHOD)
    old.set_cipher_list(b"ALL:@SECLEVEL=0")
    old.set_min_proto_version(SSL.TLS1_VERSION)
    old.set_max_proto_version(SSL.TLS1_1_VERSION)
    pair = Pair(trusting(), serving())
    pair.client = SSL.Connection(old, None)
    pair.client.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        pair.client.do_handshake()
    assert pair.pump()
    with pytest.raises(SSL.Error) as caught:
        pair.server.do_handshake()
    assert caught.value.args[0][-1][-1] == "unsupported protocol"


def test_two_sides_without_a_common_version() -> None:
    pair = Pair(trusting(maximum_version="TLSv1.2"), serving(minimum_version="TLSv1.3"))
    with pytest.raises(SSL.Error) as caught:
        pair.handshake()
    assert caught.value.args[0][-1][-1] == "unsupported protocol"


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1.1", "SSLv3", "1.2"])
def test_older_versions_can_not_be_asked_for(version: str) -> None:
    with pytest.raises(ValueError, match=r"TLSv1\.2, TLSv1\.3"):
        trusting(minimum_version=version)


def test_a_lowest_version_above_the_highest() -> None:
    for make in (trusting, serving):
        with pytest.raises(ValueError, match=r"='TLSv1\.3' is above maximum_version="):
            make(minimum_version="TLSv1.3", maximum_version="TLSv1.2")
    for wrong in (None, 3, ["TLSv1.2"]):
        with pytest.raises(ValueError, match=r"^minimum_version"):
            trusting(minimum_version=wrong)


# Client certificates -------------------------------------------------------------------------


def asking(auth: str = "required", **options: Any) -> ssl_ext.Context:
    return serving(client_auth=auth, ca=ca_pem(authority()), **options)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("auth", ["optional", "required"])
def test_a_client_shows_who_it_is(version: str, auth: str) -> None:
    client = trusting(certificate=pem(client_certificate()), maximum_version=version)
    pair = Pair(client, asking(auth))
    pair.handshake()
    assert pair.say(pair.client, pair.server, b"hello") == b"hello"
    assert peer.peer_names(pair.server) == [CLIENT]
    chain = peer.peer_chain(pair.server)
    assert len(chain) == 2
    assert chain[0] == peer.peer_certificate(pair.server)
    offered = [name.CN or name.O for name in pair.client.get_client_ca_list()]
    assert len(offered) == 1  # what the client may choose a certificate by


@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_without_a_certificate(version: str) -> None:
    client = trusting(maximum_version=version)
    Pair(client, asking("optional")).handshake()
    assert "no certificate" in failure(Pair(client, asking())).reason


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("auth", ["optional", "required"])
@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (issue(ca=other_authority()), NO_ISSUER),
        (issue(end=NOW - DAY / 2), EXPIRED),
        (issue(usages=[SERVER]), PURPOSE),
        (issue(self_signed=True), SELF_SIGNED),
    ],
    ids=["another CA", "expired", "wrong purpose", "self-signed"],
)
def test_a_client_that_is_not_believed(version: str, auth: str, leaf: Leaf, code: int) -> None:
    pair = Pair(trusting(maximum_version=version), asking(auth))
    pair.client.use_certificate(leaf.certificate)
    pair.client.use_privatekey(leaf.key)
    why = failure(pair)
    assert (why.code, why.depth) == (code, 0)


def test_whose_clients_are_believed_must_be_said() -> None:
    with pytest.raises(ValueError, match="needs ca="):
        serving(client_auth="required")
    with pytest.raises(ValueError, match="client_auth"):
        serving(ca=ca_pem(authority()))
    with pytest.raises(ValueError, match="'none', 'optional', 'required'"):
        serving(client_auth="yes")


# Revocation ----------------------------------------------------------------------------------


def test_a_revoked_server_and_one_that_is_not() -> None:
    good, bad = issue(), issue()
    crl = revocation_list(bad.certificate)
    Pair(trusting(crl=crl), serving(good.pem)).handshake()
    assert failure(Pair(trusting(crl=crl), serving(bad.pem))).code == REVOKED


def test_a_revoked_client_and_one_that_is_not(tmp_path: Path) -> None:
    good, bad = issue(), issue()
    path = tmp_path / "revoked.crl"
    path.write_bytes(revocation_list(bad.certificate))
    server = asking(crl=path)
    Pair(trusting(certificate=good.pem), server).handshake()
    assert failure(Pair(trusting(certificate=bad.pem), server)).code == REVOKED


def test_a_missing_or_old_revocation_list_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    old = revocation_list(end=NOW - DAY / 2)
    with pytest.raises(ValueError, match="the revocation list in the bytes given as crl expired"):
        trusting(crl=old)
    monkeypatch.setattr(certificates, "_now", lambda: NOW - DAY)  # it has become old since
    assert failure(Pair(trusting(crl=old), serving())).code == 12  # CRL_HAS_EXPIRED
    other = issue(ca=other_authority())
    client = client_context(
        ca=[ca_pem(authority()), ca_pem(other_authority())], crl=revocation_list()
    )
    assert failure(Pair(client, serving(other.pem))).code == NO_CRL


@pytest.fixture(scope="module")
def between() -> trustme.CA:
    """An authority between `authority()` and those whom it has issued certificates."""
    return authority().create_child_ca(key_type=trustme.KeyType.ECDSA)


def below(between: trustme.CA) -> bytes:
    """What a server shows whose certificate is from there."""
    return issue(ca=between).pem + ca_pem(between)


@pytest.mark.parametrize("side", ["client", "server"])
def test_an_authority_between_is_looked_up_where_there_is_a_list(
    between: trustme.CA, side: str
) -> None:
    def pair(*lists: bytes) -> Pair:
        if side == "client":
            return Pair(trusting(crl=lists), serving(below(between)))
        return Pair(trusting(certificate=below(between)), asking(crl=lists))

    leaves = revocation_list(ca=between)
    pair(leaves).handshake()  # there is none of the root's
    pair(leaves, revocation_list()).handshake()
    revoked = failure(pair(leaves, revocation_list(ca_certificate(between))))
    assert (revoked.code, revoked.depth) == (REVOKED, 1)
    # A list of the root's is none of the authority between.
    alone = failure(pair(revocation_list()))
    assert (alone.code, alone.depth) == (NO_CRL, 0)


def test_an_old_list_about_an_authority_between(
    between: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "_now", lambda: NOW - DAY)  # it has become old since
    old = revocation_list(end=NOW - DAY / 2)
    client = trusting(crl=[revocation_list(ca=between), old])
    why = failure(Pair(client, serving(below(between))))
    assert (why.code, why.depth) == (12, 1)  # CRL_HAS_EXPIRED


# What RFC 5280 says --------------------------------------------------------------------------


def test_an_authority_that_does_not_say_what_its_key_is_for() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    common = x509.NameOID.COMMON_NAME
    home, name = (x509.Name([x509.NameAttribute(common, n)]) for n in ("made at home", HOST))

    def made(ca: bool) -> x509.Certificate:
        public, subject = key.public_key(), home if ca else name
        builder = x509.CertificateBuilder(home, subject, public, 7, NOW - DAY, NOW + DAY)
        for extension, critical in (
            (x509.BasicConstraints(ca, None), True),
            (x509.SubjectAlternativeName([x509.DNSName(HOST)]), False),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False),
        ):
            builder = builder.add_extension(extension, critical)  # type: ignore[arg-type]
        return builder.sign(key, hashes.SHA256())

    ca, leaf = made(True).public_bytes(Encoding.PEM), Leaf(made(False), key)
    why = failure(Pair(client_context(ca=ca), serving(leaf.pem)))
    assert why.code == 92  # X509_V_ERR_CA_CERT_MISSING_KEY_USAGE
    assert why.reason == (
        "certificate verify failed: CA cert does not include key usage extension (which "
        "strict=False accepts)"
    )
    Pair(client_context(ca=ca, strict=False), serving(leaf.pem)).handshake()
    # A server leaves that to the authority that it was given.
    Pair(
        trusting(certificate=leaf.pem),
        server_context(pem(server_certificate()), client_auth="required", ca=ca),
    ).handshake()


# Pins ----------------------------------------------------------------------------------------


def test_pins(tmp_path: Path) -> None:
    leaf, stranger = issue(), issue()
    own, ca, wrong = (
        ssl_ext.pin(leaf.certificate),
        ssl_ext.pin(ca_pem(authority())),
        ssl_ext.pin(stranger.pem),
    )
    Pair(trusting(pins=own), serving(leaf.pem)).handshake()
    Pair(trusting(pins=[wrong, ca]), serving(leaf.pem)).handshake()
    Pair(trusting(pins=own.replace("sha256/", "sha256//")), serving(leaf.pem)).handshake()
    assert own in failure(Pair(trusting(pins=wrong), serving(leaf.pem))).reason


@pytest.mark.parametrize("first", ["/", "A"])
def test_pins_of_either_form(first: str) -> None:
    digest = first + "A" * 42 + "="
    for form in ("sha256/", "sha256//"):
        settings = trusting(pins=form + digest).settings
        assert settings.pins == {"sha256/" + digest}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "text", ["", "sha256/", "sha1/AAAA", "sha256/AAAA", "sha256/!", "sha256/é"]
)
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="is no pin"):
        trusting(pins=text)
    with pytest.raises(ValueError, match=r"^pins: PEM text is no pin"):
        trusting(pins=issue().pem.decode())


@pytest.mark.parametrize("pins", [b"sha256/AAAA", [None], 5, [b"sha256/AAAA"], Path("x")])
def test_pins_of_a_wrong_type(pins: Any) -> None:
    with pytest.raises(TypeError, match=r"^pins"):
        trusting(pins=pins)


def test_a_pin_is_what_it_means_and_not_how_it_is_written() -> None:
    leaf = issue()
    own = ssl_ext.pin(leaf.certificate)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    # Of the last letter two bits mean nothing (RFC 4648 section 3.5).
    other = own[:-2] + letters[letters.index(own[-2]) | 1] + "="
    assert other != own
    Pair(trusting(pins=other), serving(leaf.pem)).handshake()


def test_no_pins_at_all_accept_nobody() -> None:
    with pytest.raises(ValueError, match="empty"):
        trusting(pins=[])


# Stapled OCSP responses ----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_good_stapled_response(version: str, tmp_path: Path) -> None:
    leaf = issue()
    response = ocsp_response(leaf.certificate)
    path = tmp_path / "response.der"
    path.write_bytes(response)
    client = trusting(stapling="require", maximum_version=version)
    for stapled in (response, path, lambda: response):
        Pair(client, serving(leaf.pem, stapled=stapled)).handshake()


def test_no_stapled_response(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> bytes:
        raise RuntimeError("the responder is away")

    Pair(trusting(stapling="request"), serving()).handshake()
    for server in (serving(), serving(stapled=lambda: b""), serving(stapled=fails)):
        assert "no OCSP response" in failure(Pair(trusting(stapling="require"), server)).reason
    assert "the responder is away" in caplog.text


@pytest.mark.parametrize("made", [None, b"", "text", 5])
def test_a_function_that_has_no_response(made: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = serving(stapled=lambda: made)
    Pair(trusting(stapling="request"), server).handshake()
    assert "stapled no OCSP" in failure(Pair(trusting(stapling="require"), server)).reason
    assert ("not bytes" in caplog.text) is bool(made)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "no OCSP response, but nothing"),
        (b"nonsense", "no OCSP response in DER form"),
        (
            ocsp.OCSPResponseBuilder.build_unsuccessful(
                ocsp.OCSPResponseStatus.TRY_LATER
            ).public_bytes(Encoding.DER),
            "TRY_LATER",
        ),
    ],
    ids=["empty", "nonsense", "failed responder"],
)
def test_what_can_not_be_stapled(content: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "response.der"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{text}.* in the bytes|in the bytes.*{text}"):
        serving(stapled=content)
    with pytest.raises(ValueError, match=r"response\.der"):
        serving(stapled=path)
    with pytest.raises(FileNotFoundError, match="can't read the OCSP response"):
        serving(stapled=tmp_path / "none")


@pytest.mark.parametrize("stapling", ["request", "require"])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"good": False}, "revoked"),
        ({"begin": NOW - 9 * DAY, "end": NOW - DAY}, "out of date"),
        ({"begin": NOW - 20 * DAY, "end": None}, "out of date"),
        ({"begin": NOW + DAY, "end": NOW + 2 * DAY}, "out of date"),
    ],
)
def test_a_bad_stapled_response(stapling: str, options: dict[str, Any], text: str) -> None:
    leaf = issue()
    server = serving(leaf.pem, stapled=ocsp_response(leaf.certificate, **options))
    assert text in failure(Pair(trusting(stapling=stapling), server)).reason


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (ocsp_response(issue().certificate), "another certificate"),
        (b"nonsense", "can't be read"),
        (
            ocsp.OCSPResponseBuilder.build_unsuccessful(
                ocsp.OCSPResponseStatus.TRY_LATER
            ).public_bytes(Encoding.DER),
            "TRY_LATER",
        ),
    ],
    ids=["another certificate", "nonsense", "failed responder"],
)
def test_a_response_that_says_nothing_about_the_certificate(response: bytes, text: str) -> None:
    # By itself: servers with OpenSSL 4 keep such responses back.
    with pytest.raises(CertificateError, match=text):
        our_ocsp.check(response, issue().certificate, ca_certificate(authority()))
    client = trusting(stapling="require")
    failure(Pair(client, serving(issue().pem, stapled=lambda: response)))


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA", "Ed25519", "P-384"],
)
def test_responses_of_authorities_with_other_keys(key: Any) -> None:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority")])
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    issuer, leaf = (
        x509.CertificateBuilder(name, name, key.public_key(), serial, NOW - DAY, NOW + DAY).sign(
            key, digest
        )
        for serial in (1, 2)
    )
    response = ocsp.OCSPResponseBuilder().add_response(
        leaf, issuer, hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, NOW - DAY, NOW + DAY, None, None
    ).responder_id(ocsp.OCSPResponderEncoding.NAME, issuer)  # fmt: skip
    signed = response.sign(key, digest).public_bytes(Encoding.DER)
    our_ocsp.check(signed, leaf, issuer)
    forged = signed[:-1] + bytes([signed[-1] ^ 1])
    with pytest.raises(CertificateError, match="not signed"):
        our_ocsp.check(forged, leaf, issuer)


def test_who_may_sign_a_stapled_response() -> None:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    leaf = issue()
    appointed = issue(usages=[ExtendedKeyUsageOID.OCSP_SIGNING])
    late = issue(usages=[ExtendedKeyUsageOID.OCSP_SIGNING], end=NOW - DAY / 2)
    foreign = issue(usages=[ExtendedKeyUsageOID.OCSP_SIGNING], ca=other_authority())
    for signer, accepted in ((appointed, True), (issue(), False), (late, False), (foreign, False)):
        stapled = ocsp_response(leaf.certificate, signer=signer, shown=[signer.certificate])
        pair = Pair(trusting(stapling="require"), serving(leaf.pem, stapled=stapled))
        if accepted:
            pair.handshake()
        else:
            assert "not signed" in failure(pair).reason


# Application protocols -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "server", "chosen"),
    [
        (["h2", "http/1.1"], ["http/1.1", "h2"], "http/1.1"),
        (["h2"], [b"h2"], "h2"),
        (["smtp"], ["h2"], None),
        ([], ["h2"], None),
        (["h2"], [], None),
    ],
)
def test_the_application_protocol(client: Any, server: Any, chosen: str | None) -> None:
    pair = Pair(trusting(alpn=client), serving(alpn=server))
    pair.handshake()
    assert peer.alpn_protocol(pair.client) == peer.alpn_protocol(pair.server) == chosen


def test_what_is_no_list_of_protocols() -> None:
    with pytest.raises(TypeError, match="list"):
        trusting(alpn="h2")
    with pytest.raises(ValueError, match="1 to 255 bytes"):
        serving(alpn=[""])
    for wrong in (None, 5, [1], [None]):
        with pytest.raises(TypeError, match=r"^alpn"):
            trusting(alpn=wrong)


def test_the_longest_list_of_protocols_that_a_client_can_send() -> None:
    longest = ["x" * 255] * 239
    pair = Pair(trusting(alpn=longest), serving(alpn=longest[:1]))
    pair.handshake()
    assert peer.alpn_protocol(pair.server) == longest[0]
    with pytest.raises(ValueError, match="alpn: 240 protocols are too many"):
        trusting(alpn=[*longest, longest[0]])


# Sessions ------------------------------------------------------------------------------------


def resume(pair: Pair) -> None:
    pair.handshake()
    assert pair.say(pair.server, pair.client, b"hello") == b"hello"
    pair.contexts[0]._ac_remember(pair.client)
    pair.client.shutdown()
    pair.server.shutdown()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("auth", [False, True])
def test_a_session_is_resumed(version: str, auth: bool) -> None:
    client = trusting(certificate=pem(client_certificate()), maximum_version=version)
    server = asking() if auth else serving()
    first = Pair(client, server)
    resume(first)
    assert peer.session_reused(first.client) is False
    second = Pair(client, server)
    second.handshake()
    assert peer.session_reused(second.client) is True
    assert peer.session_reused(second.server) is True
    if auth:
        assert peer.peer_names(second.server) == [CLIENT]
        assert peer.peer_chain(second.server)
    other = Pair(client, server, ADDRESS)
    other.handshake()
    assert peer.session_reused(other.client) is False


@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_are_not_resumed_where_that_is_not_wished(version: str) -> None:
    for client, server in (
        (trusting(maximum_version=version, resume=False), serving()),
        (trusting(maximum_version=version), serving(resume=False)),
    ):
        resume(Pair(client, server))
        second = Pair(client, server)
        second.handshake()
        assert peer.session_reused(second.client) is False


def test_unverified_sessions_are_not_kept() -> None:
    client = trusting()
    pair = Pair(client, serving(), "other.example")
    failure(pair)
    client._ac_remember(pair.client)
    assert not client._sessions


def test_sessions_are_kept_for_so_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssl_ext.contexts import context as contexts

    monkeypatch.setattr(contexts, "_SESSIONS", 1)
    client, server = trusting(), serving()
    resume(Pair(client, server, HOST))
    resume(Pair(client, server, ADDRESS))
    assert list(client._sessions) == [ADDRESS]


# Reloading -----------------------------------------------------------------------------------


def test_a_reload_counts_for_new_connections(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(issue(names=("old.example",)).pem)
    server = server_context(path)
    client = trusting()
    before = Pair(client, server, "old.example")
    path.write_bytes(issue(names=("new.example",)).pem)
    server.reload()
    before.handshake()
    Pair(client, server, "new.example").handshake()
    assert failure(Pair(client, server, "old.example")).code == NAME_MISMATCH


def test_a_failed_reload_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(pem(server_certificate()))
    server = server_context(path)
    path.write_bytes(b"half-written")
    with pytest.raises(ValueError, match=r"server\.pem"):
        server.reload()
    Pair(trusting(), server).handshake()


def test_what_can_be_iterated_once_is_there_for_a_reload_too() -> None:
    leaf = issue()
    authorities, lists, names = [ca_pem(authority())], [revocation_list()], ["h2"]
    client = client_context(
        ca=(part for part in authorities),
        crl=(part for part in lists),
        alpn=(name for name in names),
        pins=(text for text in [ssl_ext.pin(leaf.certificate)]),
    )
    client.reload()
    pair = Pair(client, serving(leaf.pem, alpn=["h2"]))
    pair.handshake()
    assert peer.alpn_protocol(pair.client) == "h2"


# Logging of keys -----------------------------------------------------------------------------


def test_keys_are_logged_on_wish_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    Pair(trusting(keylog=path), serving()).handshake()
    assert b"CLIENT_HANDSHAKE_TRAFFIC_SECRET" in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


# Construction --------------------------------------------------------------------------------


def test_roles_are_not_mixed_up() -> None:
    with pytest.raises(ValueError, match="other side"):
        serving()._ac_connection(None, False)
    with pytest.raises(ValueError, match="other side"):
        trusting()._ac_connection(None, True)
    with pytest.raises(ValueError, match="server_hostname"):
        trusting()._ac_connection(None, False)
    with pytest.raises(TypeError, match="not made by a Context"):
        trusting()._ac_verify_peer(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None))


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "server.pem"
    path.write_bytes(pem(server_certificate()))
    assert repr(server_context(path)) == f"<server context {path}>"
    assert repr(trusting()) == "<client context>"


def test_passwords_and_keys_are_not_shown() -> None:
    leaf = issue()
    ca = ca_pem(authority())
    shown = repr(server_context(leaf.pem, leaf.key_pem(b"sesame"), "sesame").settings)
    shown += repr(serving(bytearray(leaf.pem), client_auth="required", ca=[ca]).settings)
    assert "sesame" not in shown and "BEGIN" not in shown
    assert f"<{len(leaf.pem):,} bytes>" in shown


@pytest.mark.parametrize("ciphers", ["NONSENSE", "", "é", "TLS_AES_128_GCM_SHA256"])
def test_unknown_ciphers(ciphers: str) -> None:
    with pytest.raises(ValueError, match=f"ciphers: OpenSSL knows no cipher in '{ciphers}'"):
        trusting(ciphers=ciphers)


@pytest.mark.parametrize("ciphers", [None, b"ALL", ["ALL"]])
def test_ciphers_of_a_wrong_type(ciphers: Any) -> None:
    with pytest.raises(TypeError, match=r"^ciphers"):
        trusting(ciphers=ciphers)


def test_the_cipher_in_use() -> None:
    pair = Pair(trusting(maximum_version="TLSv1.2"), serving())
    assert peer.cipher(pair.client) is None
    assert peer.tls_version(pair.client) is None
    assert peer.peer_certificate(pair.client) is None
    assert peer.peer_chain(pair.client) == peer.peer_names(pair.client) == []
    pair.handshake()
    cipher = peer.cipher(pair.client)
    assert cipher is not None
    assert cipher.name.startswith("ECDHE-ECDSA-")
    assert (cipher.protocol, cipher.bits >= 128) == ("TLSv1.2", True)


def test_no_compression_and_no_renegotiation() -> None:
    pair = Pair(trusting(maximum_version="TLSv1.2"), serving())
    pair.handshake()
    with pytest.raises(SSL.Error):
        pair.client.renegotiate()
        pair.client.do_handshake()


# Who a user is -------------------------------------------------------------------------------


def test_the_user_of_a_client_certificate() -> None:
    leaf = issue(names=("host.example",), email="ann@example.org", common_name="ann")
    certificate = leaf.certificate
    assert ssl_ext.user_name(certificate, "common_name") == "ann"
    assert ssl_ext.user_name(certificate, "email") == "ann@example.org"
    assert ssl_ext.user_name(certificate, "dns") == "host.example"
    assert ssl_ext.user_name(certificate, lambda c: str(c.serial_number)).isdigit()  # type: ignore[union-attr]
    bare = issue(names=()).certificate
    assert ssl_ext.user_name(bare, "email") is ssl_ext.user_name(bare, "dns") is None
    assert ssl_ext.user_name(None, "email") is None
    assert ssl_ext.user_name(issue().certificate, "email") is None
    with pytest.raises(ValueError, match="'common_name'"):
        ssl_ext.user_name(certificate, "CN")


# Without pyOpenSSL's private names -----------------------------------------------------------


def test_a_pyopenssl_that_hides_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssl_ext import _openssl

    monkeypatch.setattr(_openssl, "_lib", None)
    pair = Pair(trusting(pins=ssl_ext.pin(pem(server_certificate()))), serving())
    pair.handshake()
    assert peer.session_reused(pair.client) is None
    assert (
        "verification error 10" in failure(Pair(trusting(), unchecked(issue(end=NOW - DAY)))).reason
    )


def test_a_server_that_shows_nothing() -> None:
    # Not possible with the suites that are allowed; the check stands all the same.
    pair = Pair(trusting(), serving())
    with pytest.raises(CertificateError, match="showed no certificate"):
        pair.contexts[0]._ac_verify_peer(pair.client)


def test_a_name_must_be_there_to_be_checked() -> None:
    client = trusting()
    pair = Pair(client, serving())
    pair.handshake()
    pair.client.get_app_data().server_hostname = None
    with pytest.raises(CertificateError, match="no name"):
        client._ac_verify_peer(pair.client)


def test_a_required_certificate_is_asked_for_again_after_the_handshake() -> None:
    server = asking()
    pair = Pair(trusting(), asking("optional"))
    pair.handshake()
    pair.server.get_app_data().context = server
    with pytest.raises(CertificateError, match="showed no certificate"):
        server._ac_verify_peer(pair.server)


def test_a_key_log_that_can_not_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys"
    client = trusting(keylog=path)
    path.unlink()
    path.mkdir()
    Pair(client, serving()).handshake()
    assert "a key could not be logged" in caplog.text
    with pytest.raises(IsADirectoryError, match="can't write the key log"):
        trusting(keylog=path)
    with pytest.raises(FileNotFoundError, match="can't write the key log"):
        trusting(keylog=path / "none" / "keys")
