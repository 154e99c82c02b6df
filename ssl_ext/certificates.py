"""Certificates, keys, authorities and revocation lists from files, folders and PEM text.

*Facts.* OpenSSL's own loaders tell a missing file, a wrong passphrase and a key of another
certificate apart only by numbers, or by errors that come at the first handshake.
*Consequence.* Everything is read here, by `cryptography`, and looked at before a context is made:
who starts a server learns at once what is wrong with which file.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)

# A path, or the text of a PEM file itself.
Source = str | os.PathLike[str] | bytes

_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"
_CRL_MARK = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True)
class Identity:
    """Who one side is: its certificate, then those that lead to an authority, and the key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey


def load_identity(
    certificate: Source, key: Source | None = None, password: str | bytes | None = None
) -> Identity:
    """Read a certificate chain and its private key.

    `certificate` is a PEM file, or PEM bytes: the certificate itself first, then the
    intermediate ones (RFC 8446 section 4.4.2). `key` is where its key is, by default the same
    place. `password` decrypts the key.

    Raises `FileNotFoundError` (or another `OSError`) for a file that can't be read, and
    `ValueError` for one without a certificate or key, an encrypted key without or with the wrong
    password, a key of another certificate, and a certificate that is not valid now.
    """
    place = _name(certificate)
    chain = tuple(_certificates(_read(certificate, "certificate"), place))
    own = chain[0]
    moment = datetime.datetime.now(datetime.timezone.utc)
    if own.not_valid_after_utc < moment:
        raise ValueError(
            f"the certificate in {place} expired on {own.not_valid_after_utc:%Y-%m-%d}: renew it"
        )
    if own.not_valid_before_utc > moment:
        raise ValueError(
            f"the certificate in {place} is not valid before {own.not_valid_before_utc:%Y-%m-%d}: "
            "is the clock right?"
        )
    key_source = certificate if key is None else key
    private = _private_key(_read(key_source, "key"), _name(key_source), password)
    if _spki(private.public_key()) != _spki(own.public_key()):
        raise ValueError(
            f"the key in {_name(key_source)} does not belong to the (first) certificate in {place}"
        )
    return Identity(chain, private)


def load_certificates(source: Source | Iterable[Source]) -> list[x509.Certificate]:
    """Read all certificates of a PEM file, of PEM bytes, of each file in a folder, or of several
    of these.

    Raises `OSError` for what can't be read and `ValueError` where there is no certificate.
    """
    if isinstance(source, (str, bytes, os.PathLike)):
        return _from_one(source)
    return [certificate for part in source for certificate in _from_one(part)]


def load_crls(source: Source | Iterable[Source]) -> list[x509.CertificateRevocationList]:
    """Read certificate revocation lists (RFC 5280 section 5) from PEM or DER files or bytes.

    Raises `OSError` for what can't be read and `ValueError` for what is no such list.
    """
    sources: Iterable[Source] = (
        [source] if isinstance(source, (str, bytes, os.PathLike)) else source
    )
    return [crl for part in sources for crl in _crls(_read(part, "revocation list"), _name(part))]


def spki(certificate: x509.Certificate) -> bytes:
    """Return the DER form of a certificate's public key (SubjectPublicKeyInfo)."""
    return _spki(certificate.public_key())


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _is_text(source: Source) -> bool:
    return isinstance(source, bytes)


def _name(source: Source) -> str:
    return "the PEM text" if isinstance(source, bytes) else str(os.fspath(source))


def _read(source: Source, what: str) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except OSError as why:
        raise type(why)(why.errno, f"can't read the {what}: {why.strerror}", str(source)) from None


def _certificates(pem: bytes, place: str) -> Sequence[x509.Certificate]:
    if _CERTIFICATE_MARK not in pem:
        raise ValueError(f"there is no certificate in PEM form in {place}")
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as why:
        raise ValueError(f"a certificate in {place} is damaged: {why}") from None


def _from_one(source: Source) -> list[x509.Certificate]:
    if isinstance(source, bytes) or not Path(source).is_dir():
        return list(_certificates(_read(source, "certificates"), _name(source)))
    found: dict[bytes, x509.Certificate] = {}  # OpenSSL's folders hold links to the same files
    for path in sorted(Path(source).iterdir()):
        if path.is_file():
            pem = path.read_bytes()
            if _CERTIFICATE_MARK in pem:
                for certificate in _certificates(pem, str(path)):
                    found[certificate.public_bytes(Encoding.DER)] = certificate
    if not found:
        raise ValueError(f"there is no certificate in PEM form in the folder {source}")
    return list(found.values())


def _crls(data: bytes, place: str) -> list[x509.CertificateRevocationList]:
    try:
        if _CRL_MARK not in data:
            return [x509.load_der_x509_crl(data)]
        parts = data.split(_CRL_MARK)[1:]
        return [x509.load_pem_x509_crl(_CRL_MARK + part) for part in parts]
    except ValueError as why:
        raise ValueError(f"there is no revocation list in {place}: {why}") from None


def _private_key(pem: bytes, place: str, password: str | bytes | None) -> PrivateKey:
    if b"PRIVATE KEY-----" not in pem:
        raise ValueError(f"there is no private key in PEM form in {place}")
    secret = password.encode() if isinstance(password, str) else password
    try:
        key = load_pem_private_key(_key_part(pem), secret)
    except TypeError:
        if secret is not None:
            raise ValueError(f"the key in {place} is not encrypted: give no password") from None
        raise ValueError(f"the key in {place} is encrypted: give its password") from None
    except (ValueError, UnsupportedAlgorithm) as why:
        if secret is not None:
            raise ValueError(
                f"the key in {place} can't be decrypted: the password is wrong, or it is damaged"
            ) from None
        raise ValueError(f"the key in {place} can't be used: {why}") from None
    if not isinstance(key, PrivateKey):
        raise ValueError(f"a {type(key).__name__} as in {place} can't be used for TLS")
    return key


def _key_part(pem: bytes) -> bytes:
    """Cut what stands before the key, which may be certificates and parameters."""
    end = pem.index(b"PRIVATE KEY-----")
    return pem[pem.rindex(b"-----BEGIN", 0, end) :]
