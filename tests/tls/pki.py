"""Certificates that trustme does not make: out of time, for another purpose, revoked; lists and
OCSP responses about them. And two sides of TLS over memory buffers."""

from __future__ import annotations

import datetime
import ipaddress
import warnings
from collections.abc import Iterable

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

from ssl_ext import Context
from tests.tls.support import HOST, authority

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)
SERVER, CLIENT_USE = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


class Leaf:
    """A certificate with its key."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def pem(self) -> bytes:
        """The certificate and the key."""
        return self.certificate.public_bytes(Encoding.PEM) + self.key_pem()

    def key_pem(self, password: bytes | None = None) -> bytes:
        """The key, encrypted if there is a password."""
        lock = BestAvailableEncryption(password) if password else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock)


def ca_pem(ca: trustme.CA) -> bytes:
    """The certificate of an authority."""
    return ca.cert_pem.bytes()


def ca_certificate(ca: trustme.CA) -> x509.Certificate:
    """The same, read."""
    return x509.load_pem_x509_certificate(ca_pem(ca))


def ca_key(ca: trustme.CA) -> ec.EllipticCurvePrivateKey:
    """The key of an authority."""
    key = load_pem_private_key(ca.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def issue(
    *,
    names: Iterable[str] = (HOST,),
    email: str | None = None,
    ip: str | None = None,
    common_name: str = "test",
    begin: datetime.datetime = NOW - DAY,
    end: datetime.datetime = NOW + DAY,
    usages: Iterable[x509.ObjectIdentifier] = (SERVER, CLIENT_USE),
    ca: trustme.CA | None = None,
    self_signed: bool = False,
) -> Leaf:
    """Make a certificate, signed by `authority()` unless told otherwise."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    ca = ca or authority()
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in names]
    if ip:
        alternatives.append(x509.IPAddress(ipaddress.ip_address(ip)))
    if email:
        alternatives.append(x509.RFC822Name(email))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if self_signed else ca_certificate(ca).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if not self_signed:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key(ca).public_key())
        builder = builder.add_extension(identifier, critical=False)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return Leaf(builder.sign(key if self_signed else ca_key(ca), hashes.SHA256()), key)


def with_serial_zero() -> Leaf:
    """A certificate as RFC 5280 doesn't want it: no library makes one any more."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "old")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY).sign(
        key, hashes.SHA256()
    )
    der = made.public_bytes(Encoding.DER).replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Leaf(x509.load_der_x509_certificate(der), key)


def revocation_list(
    *revoked: x509.Certificate,
    begin: datetime.datetime = NOW - 2 * DAY,
    end: datetime.datetime = NOW + DAY,
    ca: trustme.CA | None = None,
) -> bytes:
    """A list (PEM) of what `authority()`, or another, revoked."""
    ca = ca or authority()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca_certificate(ca).subject)
        .last_update(begin)
        .next_update(end)
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder(certificate.serial_number, NOW - DAY)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(ca_key(ca), hashes.SHA256()).public_bytes(Encoding.PEM)


def ocsp_response(
    about: x509.Certificate,
    *,
    good: bool = True,
    begin: datetime.datetime = NOW - DAY,
    end: datetime.datetime | None = NOW + DAY,
    signer: Leaf | None = None,
    shown: Iterable[x509.Certificate] = (),
) -> bytes:
    """A response (DER), signed by `authority()` unless by `signer`."""
    ca = authority()
    certificate = signer.certificate if signer else ca_certificate(ca)
    status = ocsp.OCSPCertStatus.GOOD if good else ocsp.OCSPCertStatus.REVOKED
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=about,
            issuer=ca_certificate(ca),
            algorithm=hashes.SHA256(),
            cert_status=status,
            this_update=begin,
            next_update=end,
            revocation_time=None if good else NOW - DAY,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, certificate)
    )
    shown = list(shown)
    if shown:
        builder = builder.certificates(shown)
    key = signer.key if signer else ca_key(ca)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class Pair:
    """Two sides over memory buffers: the errors that each met, and what they did in the end."""

    def __init__(
        self, client: Context, server: Context, server_hostname: str | None = HOST
    ) -> None:
        self.contexts = client, server
        self.client = client._ac_connection(None, False, server_hostname)
        self.server = server._ac_connection(None, True)

    def pump(self) -> bool:
        """Carry what each side has to say to the other; tell whether there was anything."""
        moved = False
        for source, target in ((self.client, self.server), (self.server, self.client)):
            try:
                while True:
                    target.bio_write(source.bio_read(65536))
                    moved = True
            except SSL.WantReadError:
                pass
        return moved

    def handshake(self) -> None:
        """Do it, verification included; raise the first error, that of the client first."""
        waiting = {self.client, self.server}
        while waiting:
            for side in (self.client, self.server):
                if side in waiting:
                    try:
                        side.do_handshake()
                        waiting.discard(side)
                    except SSL.WantReadError:
                        pass
                    except SSL.Error as why:
                        context = self.contexts[side is self.server]
                        raise context._ac_failure(side, why.args[0]) or why from None
            if not self.pump() and len(waiting) == 2:
                raise AssertionError("the handshake has stalled")
        self.contexts[0]._ac_verify_peer(self.client)
        self.contexts[1]._ac_verify_peer(self.server)

    def say(self, sender: SSL.Connection, receiver: SSL.Connection, data: bytes) -> bytes:
        """Send application data and return what arrives."""
        sender.send(data)
        self.pump()
        return bytes(receiver.recv(65536))
