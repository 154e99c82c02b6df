"""What OpenSSL's callbacks noted on a connection, for those who look at it afterwards.

A callback notes what it sees on the connection's app data and raises nothing: what a verify
callback raises is lost, or comes out of the handshake raw.
"""

from __future__ import annotations

from dataclasses import dataclass

from OpenSSL import SSL

from .settings import ServerContext


@dataclass
class HandshakeNotes:
    """What the callbacks of one connection noted; its app data."""

    context: ServerContext
    server_hostname: str | None = None
    failure: tuple[int, int] | None = None  # X509_V_ERR number and depth
    stapled: bytes = b""
    address: bytes = b""  # whose datagrams these are, as cookies vouch for it
    unknown_host: str | None = None  # what the client asked for and is not in the table
    verified: bool = False


def notes_of(connection: SSL.Connection) -> HandshakeNotes:
    """Return the notes on a connection. Raises `TypeError` for one made by others."""
    seen = connection.get_app_data()
    if not isinstance(seen, HandshakeNotes):
        raise TypeError(f"{connection!r} was not made by Context.connection()")
    return seen


def note_verification(
    connection: SSL.Connection, certificate: object, code: int, depth: int, fine: int
) -> bool:
    """Note what OpenSSL has against a certificate (SSL_CTX_set_verify(3))."""
    if not fine:
        seen = connection.get_app_data()
        if isinstance(seen, HandshakeNotes) and seen.failure is None:
            seen.failure = code, depth
    # Nothing but OpenSSL's own verdict: a true value would overrule it.
    return bool(fine)


def note_stapled(connection: SSL.Connection, response: bytes, data: object) -> bool:
    """Note the OCSP response that a server stapled (SSL_CTX_set_tlsext_status_cb(3))."""
    notes_of(connection).stapled = response
    return True
