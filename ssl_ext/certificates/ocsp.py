"""OCSP responses that a server staples to its certificate (RFC 6066 section 8, RFC 6960).

*Facts.* OpenSSL hands the response over as bytes and checks nothing of it.
*Consequence.* It is checked here: that it is about this certificate, says "good", is of now, and is
signed by the authority or by whom the authority has appointed. Anything else is a failure.
"""

from __future__ import annotations

import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from ..errors import CertificateError
from .quiet import quietly
from .sources import Source, checked_source, place, read

# A response without an end of its validity is believed for so long: the CA/Browser Forum's
# Baseline Requirements (4.9.10) let responses be valid for ten days at the most.
_LONGEST_VALIDITY = datetime.timedelta(days=10)

# Clocks differ; five minutes is what Go's and Java's checkers grant, roughly.
_SKEW = datetime.timedelta(minutes=5)


def load(source: Source) -> bytes:
    """Read a response (DER) that is to be stapled.

    Raises `OSError` for a file that can't be read, and `ValueError` for what is no response, or
    one that says that there is none.
    """
    checked = checked_source("stapled", source)
    response = read(checked, "OCSP response")
    try:
        with quietly():
            status = ocsp.load_der_ocsp_response(response).response_status
    except ValueError:
        what = "no OCSP response in DER form" if response else "no OCSP response, but nothing,"
        raise ValueError(f"there is {what} in {place(checked)}") from None
    if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise ValueError(
            f"the OCSP response in {place(checked)} says that the responder failed: {status.name}"
        )
    return response


def check(
    response: bytes,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    moment: datetime.datetime | None = None,
) -> None:
    """Raise `CertificateError` unless `response` (DER) says that `certificate` is good.

    `issuer` is the certificate that signed it. `moment` is an aware time, by default now.
    """
    with quietly():
        _check(
            response, certificate, issuer, moment or datetime.datetime.now(datetime.timezone.utc)
        )


def _check(
    response: bytes, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime.datetime
) -> None:
    try:
        answer = ocsp.load_der_ocsp_response(response)
    except ValueError:
        raise CertificateError("the stapled OCSP response can't be read") from None
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        raise CertificateError(f"the OCSP responder failed: {answer.response_status.name}")
    _check_signature(answer, issuer, now)
    for single in answer.responses:
        if _is_about(single, certificate, issuer):
            _check_status(single, now)
            return
    raise CertificateError("the stapled OCSP response is about another certificate")


def _check_status(single: ocsp.OCSPSingleResponse, now: datetime.datetime) -> None:
    if single.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise CertificateError(
            f"the OCSP responder says of the certificate: {single.certificate_status.name.lower()}",
            code=23,  # X509_V_ERR_CERT_REVOKED
        )
    end = single.next_update_utc or single.this_update_utc + _LONGEST_VALIDITY
    if not single.this_update_utc - _SKEW <= now <= end + _SKEW:
        raise CertificateError("the stapled OCSP response is out of date")


def _is_about(
    single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    name = hashes.Hash(single.hash_algorithm)
    name.update(issuer.subject.public_bytes())
    return (
        single.serial_number == certificate.serial_number
        and single.issuer_name_hash == name.finalize()
        and single.issuer_key_hash == _key_hash(issuer, single.hash_algorithm)
    )


def _key_hash(issuer: x509.Certificate, algorithm: hashes.HashAlgorithm) -> bytes:
    # RFC 6960 section 4.1.1: of the key's bit string alone, without its algorithm.
    key = issuer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        bits = key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        bits = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        bits = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        return b""
    digest = hashes.Hash(algorithm)
    digest.update(bits)
    return digest.finalize()


def _check_signature(
    answer: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime.datetime
) -> None:
    for signer in [issuer, *(c for c in answer.certificates if _is_appointed(c, issuer, now))]:
        try:
            _verify(answer, signer)
        except (InvalidSignature, UnsupportedAlgorithm):
            continue
        return
    raise CertificateError("the stapled OCSP response is not signed by the certificate's authority")


def _is_appointed(
    certificate: x509.Certificate, issuer: x509.Certificate, now: datetime.datetime
) -> bool:
    """Whether the authority lets a certificate sign for it (RFC 6960 section 4.2.2.2)."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        certificate.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    in_time = certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage and in_time


def _verify(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> None:
    key = signer.public_key()
    algorithm = answer.signature_hash_algorithm
    signature, signed = answer.signature, answer.tbs_response_bytes
    if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
        key.verify(signature, signed, padding.PKCS1v15(), algorithm)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
        key.verify(signature, signed, ec.ECDSA(algorithm))
    elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        key.verify(signature, signed)
    else:
        raise InvalidSignature
