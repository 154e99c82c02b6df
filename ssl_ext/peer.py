"""Who is at the other end of a TLS connection, and how the two sides talk.

Everything is asked of the `OpenSSL.SSL.Connection` at the time of the call, or, once that has been
closed, of the `EndedConnection` that has taken its place. Before the handshake has ended there is
nothing to tell: `None`, or an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from . import _openssl
from .certificates.hostnames import address, ascii_name, covers
from .certificates.quiet import quietly
from .errors import CertificateError, Queue

__all__ = ["Cipher", "user_name"]

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (x509_vfy.h).
_HOSTNAME_MISMATCH = 62
_IP_ADDRESS_MISMATCH = 64
MISMATCHES = _HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH

UserMapping = str | Callable[[x509.Certificate], "str | None"]


class Cipher(NamedTuple):
    """A cipher suite: its name, the protocol that defines it, and the secret's length in bits."""

    name: str
    protocol: str
    bits: int

    def __call__(self) -> Cipher:
        """Return itself: `ssl.SSLSocket.cipher` is a method, which programs call."""
        return self


class EndedConnection:
    """What was known of a connection when it was closed, by the names that a connection has for
    it: some KB, where OpenSSL's own would be some 40."""

    def __init__(self, connection: AnyConnection) -> None:
        self._certificate: x509.Certificate | None = None
        self._chain: list[x509.Certificate] = []
        if not isinstance(connection, SSL.Connection) or _openssl.has_certificate(connection):
            try:
                self._certificate = peer_certificate(connection)
                self._chain = peer_chain(connection)
            except CertificateError:
                pass  # it can't be read
        self._version = connection.get_protocol_version_name()
        self._cipher = cipher(connection)
        self._protocol = connection.get_alpn_proto_negotiated()
        self._server_name = connection.get_servername()
        self.session_reused = session_reused(connection)

    def get_peer_certificate(self, *, as_cryptography: bool) -> x509.Certificate | None:
        return self._certificate

    def get_verified_chain(self, *, as_cryptography: bool) -> list[x509.Certificate]:
        return self._chain

    get_peer_cert_chain = get_verified_chain

    def get_protocol_version_name(self) -> str:
        return self._version

    def get_cipher_name(self) -> str | None:
        return None if self._cipher is None else self._cipher.name

    def get_cipher_version(self) -> str | None:
        return None if self._cipher is None else self._cipher.protocol

    def get_cipher_bits(self) -> int | None:
        return None if self._cipher is None else self._cipher.bits

    def get_alpn_proto_negotiated(self) -> bytes:
        return self._protocol

    def get_servername(self) -> bytes | None:
        return self._server_name


AnyConnection = SSL.Connection | EndedConnection


def peer_certificate(connection: AnyConnection) -> x509.Certificate | None:
    """Return the peer's own certificate, or `None` if it showed none.

    Raises `CertificateError` for one that `cryptography` can't read.
    """
    with readable(), quietly():
        return connection.get_peer_certificate(as_cryptography=True)


def peer_chain(connection: AnyConnection) -> list[x509.Certificate]:
    """Return the peer's certificate and what leads from it to an authority, as it was verified.

    Unverified (`insecure_context`), or in a resumed session, it is what the peer sent: perhaps its
    own certificate alone. Raises `CertificateError` for what `cryptography` can't read.
    """
    with readable(), quietly():
        chain = connection.get_verified_chain(as_cryptography=True)
        if not chain:
            chain = connection.get_peer_cert_chain(as_cryptography=True)
        if not chain:
            own = peer_certificate(connection)
            chain = [] if own is None else [own]
    return list(chain)


@contextmanager
def readable() -> Iterator[None]:
    """Raise `CertificateError` for what `cryptography` can't read.

    OpenSSL accepts more, such as a damaged extension that it has no use for.
    """
    try:
        yield
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as why:
        raise CertificateError(f"the certificate can't be read: {why}") from None


def _alternative_names(certificate: x509.Certificate) -> Iterable[x509.GeneralName]:
    with readable(), quietly():
        try:
            kind = x509.SubjectAlternativeName
            return certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return ()


def names_in(certificate: x509.Certificate) -> list[str]:
    """Return the DNS names, IP addresses, e-mail addresses and URIs that a certificate is for.

    They are from its subjectAltName (RFC 5280 section 4.2.1.6); a common name is no such name.
    Raises `CertificateError` if they can't be read.
    """
    kinds = (x509.DNSName, x509.IPAddress, x509.RFC822Name, x509.UniformResourceIdentifier)
    names = _alternative_names(certificate)
    return [str(name.value) for name in names if isinstance(name, kinds)]


def check_name(certificate: x509.Certificate, name: str) -> None:
    """Raise `CertificateError` unless a certificate is for a host name or IP address (RFC 9525).

    What else it is for does not matter, well-formed or not. Raises `TypeError` and `ValueError` for
    a name that no host can have.
    """
    found = address(name)
    expected = ascii_name(name).lower() if found is None else ""
    for entry in _alternative_names(certificate):
        if found is not None:
            if isinstance(entry, x509.IPAddress) and entry.value == found:
                return
        elif isinstance(entry, x509.DNSName) and covers(entry.value, expected):
            return
    raise wrong_name(certificate, name)


def wrong_name(certificate: x509.Certificate, name: str, queue: Queue = ()) -> CertificateError:
    """Return the error for a certificate that is not for `name`: whom it is for, and why that does
    not do."""
    found = address(name)
    try:
        names = names_in(certificate)
    except CertificateError as why:
        text = f"the certificate is not for {name!r}; {why.reason}"
    else:
        text = f"the certificate is not for {name!r} but for {', '.join(names) or 'nobody'}"
        text += _why_not(certificate, names, name if found is None else str(found), found is None)
    code = _HOSTNAME_MISMATCH if found is None else _IP_ADDRESS_MISMATCH
    return CertificateError(text, queue, code=code)


def _why_not(certificate: x509.Certificate, names: list[str], name: str, is_host: bool) -> str:
    if not is_host:
        if name in names:
            return "; it has the address as a DNS name, which does not count"
    elif any(entry[:1] == "*" and entry.count(".") < 2 for entry in names):
        return "; a star above a single label counts for nothing"
    elif any(entry[:2] == "*." and name.lower().endswith(entry[1:].lower()) for entry in names):
        return "; a star stands for one label"
    with readable(), quietly():
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if any(entry.value == name for entry in common):
        return "; it has that for a common name, which does not count"
    return ""


def peer_names(connection: AnyConnection) -> list[str]:
    """Return the names in the peer's certificate (`names_in`)."""
    certificate = peer_certificate(connection)
    return [] if certificate is None else names_in(certificate)


def tls_version(connection: AnyConnection) -> str | None:
    """Return "TLSv1.2", "TLSv1.3" or "DTLSv1.2"."""
    return connection.get_protocol_version_name() if cipher(connection) else None


def cipher(connection: AnyConnection) -> Cipher | None:
    """Return the cipher suite in use."""
    name = connection.get_cipher_name()
    if name is None:
        return None
    return Cipher(name, connection.get_cipher_version() or "", connection.get_cipher_bits() or 0)


def alpn_protocol(connection: AnyConnection) -> str | None:
    """Return the application protocol that both sides want (RFC 7301), or `None`."""
    return connection.get_alpn_proto_negotiated().decode("utf-8", "backslashreplace") or None


def session_reused(connection: AnyConnection) -> bool | None:
    """Tell whether the handshake was abbreviated (SSL_session_reused(3)); `None`: not known."""
    if isinstance(connection, EndedConnection):
        return connection.session_reused
    return _openssl.session_reused(connection)


def server_name(connection: AnyConnection) -> str | None:
    """Return the host name that the client asked for (SNI, RFC 6066 section 3), or `None`."""
    name = connection.get_servername()
    return None if name is None else name.decode("ascii", "backslashreplace")


def user_name(
    certificate: x509.Certificate | None, mapping: UserMapping = "common_name"
) -> str | None:
    """Return the user that a client certificate stands for, or `None`.

    `mapping` is "common_name" (of the subject), "email" or "dns" (the first such name in the
    subjectAltName), or a function of the certificate. The certificate must have been verified:
    with `client_auth="required"` or `"optional"`, every one that is there has been.

    Raises `ValueError` for another mapping, and `CertificateError` if the names can't be read.
    """
    if not callable(mapping) and mapping not in ("common_name", "email", "dns"):
        raise ValueError(
            f"a user name is taken from 'common_name', 'email', 'dns' or by a function, "
            f"not from {mapping!r}"
        )
    if certificate is None:
        return None
    if callable(mapping):
        return mapping(certificate)
    if mapping == "common_name":
        with readable(), quietly():
            found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        # Two of them are as good as none: which one would the user be?
        return str(found[0].value) if len(found) == 1 else None
    kind = x509.RFC822Name if mapping == "email" else x509.DNSName
    names = _alternative_names(certificate)
    return next((str(name.value) for name in names if isinstance(name, kind)), None)
