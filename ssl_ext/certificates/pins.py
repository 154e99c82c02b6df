"""Pinning: only certificates whose public key is known in advance.

A pin is "sha256/" and the base64 of the SHA-256 of the SubjectPublicKeyInfo (RFC 7469 section 2.4,
as curl's `--pinnedpubkey` writes it, too). It survives the renewal of a certificate with the same
key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

from cryptography import x509

from .loading import load_certificates, spki
from .sources import Source

_PREFIX = "sha256/"

# The length of the base64 of 32 bytes.
_LENGTH = 44


def pin(certificate: x509.Certificate | Source) -> str:
    """Return the pin of a certificate, or of the first one in a PEM file or PEM text as bytes."""
    if not isinstance(certificate, x509.Certificate):
        certificate = load_certificates(certificate)[0]
    return _pin_of(hashlib.sha256(spki(certificate)).digest())


def _pin_of(digest: bytes) -> str:
    return _PREFIX + base64.b64encode(digest).decode()


def checked(pins: str | Iterable[str]) -> frozenset[str]:
    """Return pins as `pin` writes them, those of curl's form ("sha256//…") too.

    Raises `TypeError` and `ValueError` for what is no pin.
    """
    if isinstance(pins, bytes) or not isinstance(pins, Iterable):
        raise TypeError(f"pins is a pin as text, or several, not of the type {type(pins).__name__}")
    parts = [pins] if isinstance(pins, str) else pins
    found = frozenset(_pin_of(_digest(text)) for text in parts)
    if not found:
        raise ValueError("pins is empty, which would accept nobody: give None for no pinning")
    return found


def _digest(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"pins: a pin is text, not of the type {type(text).__name__}")
    encoded = text.removeprefix(_PREFIX)
    if len(encoded) > _LENGTH:  # base64 may begin with a slash of its own
        encoded = encoded.removeprefix("/")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except ValueError:  # not base64, or not even ASCII
        digest = b""
    if not text.startswith(_PREFIX) or len(digest) != hashlib.sha256().digest_size:
        shown = "PEM text" if "-----BEGIN" in text else repr(text)  # which may be a key
        raise ValueError(
            f"pins: {shown} is no pin: ssl_ext.pin(certificate) makes one ('sha256/' and base64)"
        )
    return digest


def matches(pins: frozenset[str], chain: Iterable[x509.Certificate]) -> bool:
    """Tell whether any certificate of a verified chain is pinned (RFC 7469 section 2.6)."""
    return any(pin(certificate) in pins for certificate in chain)
