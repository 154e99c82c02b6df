"""What OpenSSL's callbacks noted on a connection, for those who look at it afterwards.

A callback notes what it sees on the connection's app data and raises nothing: what a verify
callback raises is lost, or comes out of the handshake raw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from OpenSSL import SSL, crypto

from ..errors import CertificateError
from .settings import ServerContext

# X509_V_ERR_UNABLE_TO_GET_CRL (x509_vfy.h).
_NO_LIST = 3

# Raises `CertificateError` for a peer that is not acceptable.
Check = Callable[[SSL.Connection], object]


@dataclass
class HandshakeNotes:
    """What the callbacks of one connection noted; its app data."""

    context: ServerContext
    server_hostname: str | None = None
    accepts_chain: Check | None = None  # what OpenSSL finds good, as far as it is ours to judge
    accepts_stapled: Check | None = None
    failure: tuple[int, int] | None = None  # X509_V_ERR number and depth
    refusal: CertificateError | None = None  # what our side has against the peer
    own: crypto.X509 | None = None  # the peer's own certificate, if that was what failed
    chain: dict[int, crypto.X509] = field(default_factory=dict)  # as verified, by depth
    name_expected: bool = False  # OpenSSL knows whom the certificate must be for,
    name_checked: bool = False  # and has found that it is
    stapled: bytes = b""
    address: bytes = b""  # whose datagrams these are, as cookies vouch for it
    unknown_host: str | None = None  # what the client asked for and is not in the table
    verified: bool = False

    def accepted(self, connection: SSL.Connection, check: Check | None) -> bool:
        """Ask `check`, and keep what it has against the peer."""
        if check is not None:
            try:
                check(connection)
            except CertificateError as why:
                self.refusal = why.with_traceback(None)
                return False
        return True


def notes_of(connection: SSL.Connection) -> HandshakeNotes:
    """Return the notes on a connection. Raises `TypeError` for one made by others."""
    seen = connection.get_app_data()
    if not isinstance(seen, HandshakeNotes):
        raise TypeError(f"{connection!r} was not made by a Context")
    return seen


def note_verification(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, fine: int
) -> bool:
    """Note what OpenSSL has against a certificate (SSL_CTX_set_verify(3)), and what we have."""
    seen = connection.get_app_data()
    if not isinstance(seen, HandshakeNotes):
        return bool(fine)
    if not fine:
        if code == _NO_LIST and depth:
            return True  # an authority, of whose issuer the program has given no list
        if seen.failure is None:
            seen.failure = code, depth
            seen.own = certificate if depth == 0 else None
        return False
    if seen.accepts_chain is not None:
        seen.chain[depth] = certificate
    if depth == 0:
        # It is looked at last, after the name (X509_STORE_CTX_set_verify_cb(3)).
        seen.name_checked = seen.name_expected
        return seen.accepted(connection, seen.accepts_chain)
    # Nothing but OpenSSL's own verdict: a true value would overrule it.
    return True


def note_stapled(connection: SSL.Connection, response: bytes, data: object) -> bool:
    """Note the OCSP response that a server stapled, and tell whether it will do
    (SSL_CTX_set_tlsext_status_cb(3))."""
    seen = notes_of(connection)
    seen.stapled = response
    return seen.accepted(connection, seen.accepts_stapled)
