"""Certificates and keys from files: what is wrong is said before any connection is made."""

from __future__ import annotations

import base64
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)
from cryptography.utils import CryptographyDeprecationWarning

from ssl_ext import (
    client_context,
    insecure_context,
    load_certificates,
    load_identity,
    pin,
    server_context,
)
from ssl_ext.certificates import loading as certificates
from tests.tls.pki import DAY, NOW, Leaf, ca_pem, issue, revocation_list, with_serial_zero
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


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_password(empty: str | bytes) -> None:
    leaf = issue()
    with pytest.raises(ValueError, match="is encrypted, and the password is empty"):
        load_identity(leaf.pem, leaf.key_pem(b"sesame"), empty)
    with pytest.raises(ValueError, match="not encrypted: give no password"):
        load_identity(leaf.pem, leaf.key_pem(), empty)


def test_a_function_that_knows_the_password() -> None:
    leaf = issue()
    for password in ("sesame", b"sesame", bytearray(b"sesame")):
        load_identity(leaf.pem, leaf.key_pem(b"sesame"), lambda p=password: p)
    asked = []
    load_identity(leaf.pem, leaf.key_pem(), lambda: asked.append(1) or "")
    assert not asked  # a question that need not be asked
    with pytest.raises(ValueError, match="is encrypted, and the password is empty"):
        load_identity(leaf.pem, leaf.key_pem(b"sesame"), lambda: "")
    with pytest.raises(ValueError, match="can't be decrypted"):
        load_identity(leaf.pem, leaf.key_pem(b"sesame"), lambda: "wrong")
    with pytest.raises(TypeError, match=r"^password .*NoneType"):
        load_identity(leaf.pem, leaf.key_pem(b"sesame"), lambda: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("password", [Path("sesame"), 5, ["sesame"]])
def test_a_password_of_a_wrong_type(password: Any) -> None:
    leaf = issue()
    for key in (leaf.key_pem(), leaf.key_pem(b"sesame")):
        with pytest.raises(TypeError, match=r"^password") as why:
            server_context(leaf.pem, key, password)
        assert "sesame" not in str(why.value)


def test_a_key_without_its_certificate(tmp_path: Path) -> None:
    for make in (client_context, insecure_context):
        for options in ({"key": tmp_path / "none.key"}, {"password": "sesame"}):
            with pytest.raises(ValueError, match="give certificate="):
                make(**options)  # type: ignore[operator]
    with pytest.raises(TypeError, match="a server needs a certificate"):
        server_context(None)  # type: ignore[arg-type]


# Text, paths, and what is neither ------------------------------------------------------------


@pytest.mark.parametrize("argument", ["certificate", "key", "ca", "crl", "stapled", "keylog"])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (issue().pem.decode(), r"PEM text in a str.*text\.encode\(\)"),
        ("Bag Attributes\n" + issue().pem.decode(), "PEM text in a str"),
        ("", "empty path"),
        (Path(), "empty path"),
        ("a\0b", "zero byte"),
    ],
)
def test_text_that_is_no_path(argument: str, given: Any, text: str) -> None:
    options: dict[str, Any] = {"certificate": issue().pem, argument: given}
    if argument in ("ca", "crl"):
        options = {"ca": ca_pem(authority()), "client_auth": "required", **options}
    with pytest.raises(ValueError, match=f"^{argument}.*{text}") as why:
        server_context(**options)
    assert "-----" not in str(why.value)
    if argument in ("ca", "crl"):
        with pytest.raises(ValueError, match=f"^{argument}.*{text}"):
            server_context(**{**options, argument: [ca_pem(authority()), given]})


@pytest.mark.parametrize("argument", ["certificate", "key", "ca", "crl", "stapled", "keylog"])
@pytest.mark.parametrize("given", [5, [None], issue().certificate])
def test_what_is_neither_path_nor_text(argument: str, given: Any) -> None:
    options: dict[str, Any] = {"certificate": issue().pem, argument: given}
    if argument in ("ca", "crl"):
        options = {"ca": ca_pem(authority()), "client_auth": "required", **options}
    with pytest.raises(TypeError, match=f"^{argument} is the path of a file"):
        server_context(**options)


def test_text_in_functions_of_their_own() -> None:
    text = issue().pem.decode()
    for load in (load_certificates, certificates.load_crls, pin, load_identity):
        with pytest.raises(ValueError, match="PEM text in a str"):
            load(text)
        with pytest.raises(ValueError, match="empty path"):
            load("")


def test_the_current_folder_is_not_believed_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").write_bytes(ca_pem(authority()))
    monkeypatch.chdir(tmp_path)
    for nothing in ("", Path(), Path("")):
        with pytest.raises(ValueError, match="empty path"):
            client_context(ca=nothing)
    client_context(ca=".")


@pytest.mark.parametrize("nothing", [[], (), iter([])])
def test_no_authorities_and_no_lists_at_all(nothing: Any) -> None:
    with pytest.raises(ValueError, match=r"^ca is empty"):
        client_context(ca=nothing)
    with pytest.raises(ValueError, match=r"^crl is empty"):
        client_context(ca=ca_pem(authority()), crl=[])


# Files in other forms ------------------------------------------------------------------------


def _forms() -> dict[str, tuple[bytes, str]]:
    leaf = issue()
    pem, _, _ = leaf.pem.partition(b"-----BEGIN PRIVATE")
    der, nothing = leaf.certificate.public_bytes(Encoding.DER), NoEncryption()
    lock = BestAvailableEncryption(b"sesame")
    name = leaf.certificate.subject
    request = x509.CertificateSigningRequestBuilder(name).sign(leaf.key, hashes.SHA256())
    archive = pkcs12.serialize_key_and_certificates(b"x", leaf.key, leaf.certificate, None, lock)
    return {
        "DER": (der, "a certificate in DER form; convert it: openssl x509 -inform der -in"),
        "DER key": (
            leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, nothing),
            "a private key in DER form; convert it: openssl pkey -inform der -in",
        ),
        "DER key, encrypted": (
            leaf.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, lock),
            "a private key in DER form; convert it: openssl pkey -inform der -in",
        ),
        "PKCS#12": (archive, "PKCS#12; convert it: openssl pkcs12 -in"),
        "TRUSTED": (
            pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
            "OpenSSL's TRUSTED CERTIFICATE; convert it: openssl x509 -in",
        ),
        "PKCS#7": (
            pkcs7.serialize_certificates([leaf.certificate], Encoding.PEM),
            "PKCS#7; convert it: openssl pkcs7 -print_certs -in",
        ),
        "request": (request.public_bytes(Encoding.PEM), "a request"),
        "key": (leaf.key_pem(), "a private key"),
        "list": (revocation_list(), "a revocation list"),
    }


FORMS = _forms()


@pytest.mark.parametrize("form", FORMS)
def test_a_certificate_in_another_form(form: str, tmp_path: Path) -> None:
    data, text = FORMS[form]
    path = tmp_path / "a file"
    path.write_bytes(data)
    for load in (server_context, load_certificates):
        with pytest.raises(ValueError, match="there is no certificate in PEM form in") as why:
            load(path)
        assert f": it holds {text}" in str(why.value)
        if "openssl" in text:
            assert f"-in '{path}' -out" in str(why.value)
    with pytest.raises(ValueError, match="in the bytes given as certificate: it holds"):
        load_identity(data)


def test_a_key_in_another_form_and_a_certificate_for_a_key(tmp_path: Path) -> None:
    pem, der = issue().pem, FORMS["DER key"][0]
    for key, text in (
        (der, "a private key in DER form; convert it"),
        (ca_pem(authority()), "a certificate"),
    ):
        with pytest.raises(ValueError, match=f"given as key: it holds {text}"):
            load_identity(pem, key)


def test_bytes_that_look_like_a_path() -> None:
    with pytest.raises(ValueError, match="bytes are content, a path is a str"):
        server_context(b"server.pem")


def test_what_cryptography_says_of_damage_is_not_passed_on() -> None:
    damaged = b"-----BEGIN {0}-----\nMAMCAQE=\n-----END {0}-----\n"
    for load, kind in (
        (load_certificates, b"CERTIFICATE"),
        (certificates.load_crls, b"X509 CRL"),
        (lambda pem: load_identity(issue().pem, pem), b"PRIVATE KEY"),
    ):
        with pytest.raises(ValueError, match="damaged") as why:
            load(damaged.replace(b"{0}", kind))
        assert not re.search("asn1|ParseError|[Dd]eserialize", str(why.value))
    with pytest.raises(ValueError, match=r"no revocation list.*: it holds a certificate$"):
        certificates.load_crls(ca_pem(authority()))


def test_no_warning_comes_out_of_a_bundle(tmp_path: Path) -> None:
    bundle = ca_pem(authority()) + with_serial_zero().pem
    with pytest.warns(CryptographyDeprecationWarning, match="serial"):
        x509.load_pem_x509_certificates(bundle)
    (tmp_path / "bundle.pem").write_bytes(bundle)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client_context(ca=bundle)
        client_context(ca=tmp_path)
        server_context(issue().pem, client_auth="required", ca=tmp_path / "bundle.pem")
        with pytest.raises(DeprecationWarning):  # the filters are as they were
            warnings.warn("x", DeprecationWarning, stacklevel=1)


def test_certificates_out_of_time() -> None:
    late = issue(end=NOW - DAY / 2, common_name="intermediate").certificate
    with pytest.raises(ValueError, match=r"an intermediate certificate in .* expired on 20"):
        load_identity(issue().pem + late.public_bytes(Encoding.PEM))
    for crl, text in (
        (revocation_list(end=NOW - DAY / 2), "the revocation list in .* expired on 20"),
        (revocation_list(begin=NOW + DAY / 2), "the revocation list in .* not valid before 20"),
    ):
        with pytest.raises(ValueError, match=text):
            certificates.load_crls(crl)
    with pytest.raises(ValueError, match="expired on 20"):
        load_identity(issue(end=NOW - DAY / 2).pem)
    with pytest.raises(ValueError, match="not valid before 20"):
        load_identity(issue(begin=NOW + DAY / 2).pem)


@pytest.mark.parametrize(
    ("pem", "text"),
    [
        (b"", "no certificate"),
        (b"0 is how DER begins", "no certificate"),
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
