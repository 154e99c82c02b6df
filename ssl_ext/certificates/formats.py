"""What a file holds that does not hold what it should, and how that is made out of it.

For error messages alone: authorities and other programs hand certificates out in many forms, of
which PEM is the one that is read here.
"""

from __future__ import annotations

import re
import shlex

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from .quiet import quietly
from .sources import Content, place

# What stands in a PEM file, what that is, and how to get PEM certificates and keys out of it.
_PEM = (
    (b"-----BEGIN TRUSTED CERTIFICATE-----", "OpenSSL's TRUSTED CERTIFICATE", "x509"),
    (b"-----BEGIN PKCS7-----", "PKCS#7", "pkcs7 -print_certs"),
    (b"PRIVATE KEY-----", "a private key", None),
    (b"-----BEGIN CERTIFICATE-----", "a certificate", None),
    (b"-----BEGIN CERTIFICATE REQUEST-----", "a request, which an authority has to sign", None),
    (b"-----BEGIN X509 CRL-----", "a revocation list", None),
    (b"-----BEGIN PUBLIC KEY-----", "a public key", None),
)

# The beginning of a PFX (RFC 7292 section 4): a sequence with the number 3 in front.
_PKCS12 = re.compile(rb"\x30(?:[\x00-\x80]|\x81.|\x82..|\x83...|\x84....)\x02\x01\x03", re.DOTALL)


def instead(data: bytes, source: str | Content) -> str:
    """Return what to say of content that is something else: ": it holds …", or nothing."""
    kind, command = _kind(data)
    if not kind:
        looks_like_path = isinstance(source, Content) and data.isascii() and b"\n" not in data
        return ": bytes are content, a path is a str" if data and looks_like_path else ""
    if command is None:
        return f": it holds {kind}"
    file = "FILE" if isinstance(source, Content) else shlex.quote(place(source))
    return f": it holds {kind}; convert it: openssl {command} -in {file} -out {file}.pem"


def _kind(data: bytes) -> tuple[str, str | None]:
    for mark, kind, command in _PEM:
        if mark in data:
            return kind, command
    if _PKCS12.match(data):
        return "PKCS#12", "pkcs12"
    if not data.startswith(b"\x30"):  # a sequence, as everything in DER here
        return "", None
    with quietly():
        try:
            x509.load_der_x509_certificate(data)
        except ValueError:
            pass
        else:
            return "a certificate in DER form", "x509 -inform der"
        try:
            load_der_private_key(data, None)
        except TypeError:  # it is encrypted
            pass
        except ValueError:
            return "", None
        return "a private key in DER form", "pkey -inform der"
