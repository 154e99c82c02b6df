"""Pinning: only certificates whose public key is known in advance.

A pin is "sha256/" and the base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469 section 2.4,
as curl's `--pinnedpubkey` writes it, too). It survives the renewal of a certificate with the same
key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable

from cryptography import x509

from .certificates import Source, load_certificates, spki

_PREFIX = "sha256/"

# The length of the base64 of 32 bytes.
_LENGTH = 44


def pin(certificate: x509.Certificate | Source) -> str:
    """Return the pin of a certificate, or of the first one in a PEM file or PEM bytes."""
    if not isinstance(certificate, x509.Certificate):
        certificate = load_certificates(certificate)[0]
    return _PREFIX + base64.b64encode(hashlib.sha256(spki(certificate)).digest()).decode()


def checked(pins: str | Iterable[str]) -> frozenset[str]:
    """Return pins as a set, those of curl's form ("sha256//…") too.

    Raises `ValueError` for what is no pin.
    """
    found = set()
    for text in [pins] if isinstance(pins, str) else pins:
        encoded = text.removeprefix(_PREFIX)
        if len(encoded) > _LENGTH:  # base64 may begin with a slash of its own
            encoded = encoded.removeprefix("/")
        try:
            digest = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            digest = b""
        if not text.startswith(_PREFIX) or len(digest) != hashlib.sha256().digest_size:
            raise ValueError(
                f"{text!r} is no pin: ssl_ext.pin(certificate) makes one ('sha256/' and base64)"
            )
        found.add(_PREFIX + encoded)
    if not found:
        raise ValueError("an empty set of pins would accept nobody: give None for no pinning")
    return frozenset(found)


def matches(pins: frozenset[str], chain: Iterable[x509.Certificate]) -> bool:
    """Tell whether any certificate of a verified chain is pinned (RFC 7469 section 2.6)."""
    return any(pin(certificate) in pins for certificate in chain)
