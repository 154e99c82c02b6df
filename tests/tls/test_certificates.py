"""Certificates and keys from files: what is wrong is said before any connection is made."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ssl_ext import certificates, load_certificates, load_identity, server_context
from tests.tls.pki import DAY, NOW, Leaf, ca_pem, issue, revocation_list
from tests.tls.support import authority, client_certificate, other_authority


def chain_pem(leaf: Leaf) -> bytes:
    return leaf.certificate.public_bytes(Encoding.PEM) + ca_pem(authority())


@pytest.mark.parametrize("how", ["one file", "two files", "text", "encrypted", "encrypted, bytes"])
def test_a_chain_and_its_key(tmp_path: Path, how: str) -> None:
    leaf = issue()
    password = b"sesame" if how.startswith("encrypted") else None
    key, chain = leaf.key_pem(password), chain_pem(leaf)
    one, two = tmp_path / "one.pem", tmp_path / "two.pem"
    one.write_bytes(chain + key if how == "one file" else chain)
    two.write_bytes(key)
    if how == "one file":
        identity = load_identity(str(one))
    elif how == "text":
        identity = load_identity(chain, key)
    else:
        identity = load_identity(
            one, two, password if "bytes" in how else "sesame" if password else None
        )
    assert [c.subject for c in identity.chain[:1]] == [leaf.certificate.subject]
    assert len(identity.chain) == 2
    assert identity.key.public_key() == leaf.key.public_key()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"can't read the certificate.*none\.pem"):
        server_context(tmp_path / "none.pem")
    with pytest.raises(FileNotFoundError, match=r"can't read the key.*none\.key"):
        server_context(issue().pem, tmp_path / "none.key")
    with pytest.raises(IsADirectoryError, match="can't read the certificate"):
        server_context(tmp_path)
    with pytest.raises(FileNotFoundError, match="can't read the certificates"):
        load_certificates(tmp_path / "none.pem")
    with pytest.raises(FileNotFoundError, match="can't read the revocation list"):
        certificates.load_crls(tmp_path / "none.crl")


def test_a_key_of_another_certificate() -> None:
    with pytest.raises(ValueError, match="does not belong"):
        load_identity(chain_pem(issue()), issue().key_pem())


def test_passwords() -> None:
    leaf = issue()
    for password, text in ((None, "give its password"), ("wrong", "can't be decrypted")):
        with pytest.raises(ValueError, match=text):
            load_identity(leaf.pem, leaf.key_pem(b"sesame"), password)
    with pytest.raises(ValueError, match="not encrypted"):
        load_identity(leaf.pem, leaf.key_pem(), "sesame")


def test_certificates_out_of_time() -> None:
    with pytest.raises(ValueError, match="expired on 20"):
        load_identity(issue(end=NOW - DAY / 2).pem)
    with pytest.raises(ValueError, match="not valid before 20"):
        load_identity(issue(begin=NOW + DAY / 2).pem)


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (b"", "no certificate"),
        (issue().key_pem(), "no certificate"),
        (ca_pem(authority()), "no private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (issue().pem.partition(b"-----BEGIN PRIVATE KEY-----")[0]
         + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "can't be used"),
    ],
)  # fmt: skip
def test_text_that_holds_something_else(pem: bytes, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        load_identity(pem)


def test_a_key_that_is_not_for_signing() -> None:
    key = x25519.X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(ValueError, match="can't be used for TLS"):
        load_identity(chain_pem(issue()), key)


def test_authorities_from_files_folders_and_text(tmp_path: Path) -> None:
    first, second = ca_pem(authority()), ca_pem(other_authority())
    (tmp_path / "a.pem").write_bytes(first)
    (tmp_path / "b.pem").write_bytes(first + second)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "folder").mkdir()
    assert len(load_certificates(tmp_path)) == 2
    assert len(load_certificates(str(tmp_path / "a.pem"))) == 1
    assert len(load_certificates([first, tmp_path / "b.pem"])) == 3
    with pytest.raises(ValueError, match="in the folder"):
        load_certificates(tmp_path / "folder")


def test_revocation_lists_in_both_forms(tmp_path: Path) -> None:
    pem = revocation_list(issue().certificate)
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    (tmp_path / "list.der").write_bytes(der)
    assert len(certificates.load_crls(pem + pem)) == 2
    assert len(certificates.load_crls([tmp_path / "list.der", pem])) == 2
    with pytest.raises(ValueError, match="no revocation list"):
        certificates.load_crls(b"nonsense")


def test_a_weak_key_is_refused_with_openssls_reason() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak")])
    weak = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY).sign(
        key, hashes.SHA256()
    )
    pem = weak.public_bytes(Encoding.PEM) + key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(ValueError, match=r"OpenSSL refuses.*key too small"):
        server_context(pem)


def test_trustmes_own_chain() -> None:
    leaf = client_certificate()
    pem = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    assert load_identity(pem, leaf.private_key_pem.bytes()).chain
