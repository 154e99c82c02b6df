"""Certificates, keys, authorities and revocation lists from files, folders and PEM text.

*Facts.* OpenSSL's own loaders tell a missing file, a wrong passphrase and a key of another
certificate apart only by numbers, or by errors that come at the first handshake.
*Consequence.* Everything is read here, by `cryptography`, and looked at before a context is made:
who starts a server learns at once what is wrong with which file.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
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

from .formats import instead
from .quiet import quietly
from .sources import Content, Source, checked_source, checked_sources, place, read

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | dsa.DSAPrivateKey
)

# What decrypts a key, or a function that returns it when the key turns out to be encrypted.
Password = str | bytes | Callable[[], "str | bytes"]

_CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"
_CRL_MARK = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True)
class Identity:
    """Who one side is: its certificate, then those that lead to an authority, and the key."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey


def load_identity(
    certificate: Source, key: Source | None = None, password: Password | None = None
) -> Identity:
    """Read a certificate chain and its private key.

    `certificate` is a PEM file, or PEM text as bytes: the certificate itself first, then the
    intermediate ones (RFC 8446 section 4.4.2). `key` is where its key is, by default the same
    place. `password` decrypts the key; a function is called without arguments, and only for a key
    that is encrypted.

    Raises `FileNotFoundError` (or another `OSError`) for a file that can't be read, and
    `ValueError` for one without a certificate or key, an encrypted key without or with the wrong
    password, a key of another certificate, and certificates that are not valid now. Raises
    `TypeError` for what is no path, bytes or password.
    """
    shown = checked_source("certificate", certificate)
    secret = shown if key is None else checked_source("key", key)
    chain = tuple(_certificates(read(shown, "certificate"), shown))
    for position, member in enumerate(chain):
        _check_time(
            f"{'an intermediate' if position else 'the'} certificate in {place(shown)}",
            member.not_valid_before_utc,
            member.not_valid_after_utc,
        )
    private = _private_key(read(secret, "key"), secret, password)
    if _spki(private.public_key()) != _spki(chain[0].public_key()):
        raise ValueError(
            f"the key in {place(secret)} does not belong to the (first) certificate in "
            f"{place(shown)}"
        )
    return Identity(chain, private)


def load_certificates(source: Source | Iterable[Source]) -> list[x509.Certificate]:
    """Read all certificates of a PEM file, of PEM text as bytes, of each file in a folder, or of
    several of these.

    Raises `OSError` for what can't be read, `ValueError` where there is no certificate, and
    `TypeError` for what is no path or bytes.
    """
    parts = checked_sources("source", source)
    return [certificate for part in parts for certificate in _from_one(part)]


def load_crls(source: Source | Iterable[Source]) -> list[x509.CertificateRevocationList]:
    """Read certificate revocation lists (RFC 5280 section 5) from PEM or DER files or bytes.

    Raises `OSError` for what can't be read, `ValueError` for what is no such list or is not valid
    now, and `TypeError` for what is no path or bytes.
    """
    return [crl for part in checked_sources("source", source) for crl in _crls(part)]


def out_of_time(certificates: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """Return those that are not valid now."""
    return [
        found
        for found in certificates
        if not found.not_valid_before_utc <= _now() <= found.not_valid_after_utc
    ]


def spki(certificate: x509.Certificate) -> bytes:
    """Return the DER form of a certificate's public key (SubjectPublicKeyInfo)."""
    return _spki(certificate.public_key())


def _spki(key: object) -> bytes:
    encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    return encoded


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


def _check_time(what: str, begin: datetime.datetime, end: datetime.datetime | None) -> None:
    if end is not None and end < _now():
        raise ValueError(f"{what} expired on {end:%Y-%m-%d}: renew it")
    if begin > _now():
        raise ValueError(f"{what} is not valid before {begin:%Y-%m-%d}: is the clock right?")


def _certificates(pem: bytes, source: str | Content) -> Sequence[x509.Certificate]:
    if _CERTIFICATE_MARK not in pem:
        raise ValueError(
            f"there is no certificate in PEM form in {place(source)}{instead(pem, source)}"
        )
    try:
        with quietly():
            return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"a certificate in {place(source)} is damaged") from None


def _from_one(source: str | Content) -> list[x509.Certificate]:
    if isinstance(source, bytes) or not Path(source).is_dir():
        return list(_certificates(read(source, "certificates"), source))
    found: dict[bytes, x509.Certificate] = {}  # OpenSSL's folders hold links to the same files
    for path in sorted(Path(source).iterdir()):
        if path.is_file():
            pem = read(str(path), "certificates")
            if _CERTIFICATE_MARK in pem:
                for certificate in _certificates(pem, str(path)):
                    found[certificate.public_bytes(Encoding.DER)] = certificate
    if not found:
        raise ValueError(f"there is no certificate in PEM form in the folder {source}")
    return list(found.values())


def _crls(source: str | Content) -> list[x509.CertificateRevocationList]:
    data = read(source, "revocation list")
    parts = data.split(_CRL_MARK)[1:]
    try:
        with quietly():
            found = [x509.load_pem_x509_crl(_CRL_MARK + part) for part in parts]
            if not found:
                found = [x509.load_der_x509_crl(data)]
    except ValueError:
        what = ": it is damaged" if parts else instead(data, source)
        raise ValueError(f"there is no revocation list in {place(source)}{what}") from None
    for crl in found:
        _check_time(
            f"the revocation list in {place(source)}", crl.last_update_utc, crl.next_update_utc
        )
    return found


def _private_key(pem: bytes, source: str | Content, password: Password | None) -> PrivateKey:
    where = place(source)
    if b"PRIVATE KEY-----" not in pem:
        raise ValueError(f"there is no private key in PEM form in {where}{instead(pem, source)}")
    try:
        key: object = load_pem_private_key(_key_part(pem), None)
    except TypeError:
        key = _decrypted(_key_part(pem), where, password)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"the key in {where} can't be used: it is damaged, or of a kind that OpenSSL does "
            "not know"
        ) from None
    else:
        if password is not None and not callable(password):
            raise ValueError(f"the key in {where} is not encrypted: give no password")
    if not isinstance(key, PrivateKey):
        raise ValueError(f"a {type(key).__name__} as in {where} can't be used for TLS")
    return key


def _decrypted(pem: bytes, where: str, password: Password | None) -> object:
    if password is None:
        raise ValueError(f"the key in {where} is encrypted: give its password")
    secret = check_password(password() if callable(password) else password)
    if not secret:
        raise ValueError(f"the key in {where} is encrypted, and the password is empty")
    try:
        return load_pem_private_key(pem, secret)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            f"the key in {where} can't be decrypted: the password is wrong, or it is damaged"
        ) from None


def check_password(password: object) -> bytes:
    """Return a password as bytes. Raises `TypeError` for what is none."""
    if isinstance(password, str):
        return password.encode()
    if isinstance(password, (bytes, bytearray)):
        return bytes(password)
    raise TypeError(
        "password is text, bytes, or a function without arguments that returns one of these, "
        f"not of the type {type(password).__name__}"
    )


def _key_part(pem: bytes) -> bytes:
    """Cut what stands before the key, which may be certificates and parameters."""
    end = pem.index(b"PRIVATE KEY-----")
    return pem[pem.rindex(b"-----BEGIN", 0, end) :]
