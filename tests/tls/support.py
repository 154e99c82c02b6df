"""Certificates for tests, and the two sides that use them.

One authority and one certificate of each kind are made per process: a key costs milliseconds.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import trustme
from OpenSSL import SSL

# What certificates of servers are for, and what clients connect to.
HOST = "server.example"
ADDRESS = "127.0.0.1"
CLIENT = "client@example.org"

TLS12 = SSL.TLS1_2_VERSION
TLS13 = SSL.TLS1_3_VERSION
VERSIONS = {"TLS 1.2": TLS12, "TLS 1.3": TLS13}


@functools.cache
def authority() -> trustme.CA:
    """The authority that both sides trust."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@functools.cache
def other_authority() -> trustme.CA:
    """An authority that nobody trusts."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@functools.cache
def server_certificate() -> trustme.LeafCert:
    """A certificate for `HOST` and `ADDRESS`."""
    return authority().issue_cert(HOST, ADDRESS, key_type=trustme.KeyType.ECDSA)


@functools.cache
def client_certificate() -> trustme.LeafCert:
    """A certificate for `CLIENT`."""
    return authority().issue_cert(CLIENT, key_type=trustme.KeyType.ECDSA)


@functools.cache
def strange_certificate() -> trustme.LeafCert:
    """A certificate for everybody of the tests, from the authority that nobody trusts."""
    return other_authority().issue_cert(HOST, ADDRESS, CLIENT, key_type=trustme.KeyType.ECDSA)


def write_pem(folder: Path, name: str, *blobs: trustme.Blob) -> Path:
    """Write PEM blobs into one file and return its path."""
    path = folder / name
    path.write_bytes(b"".join(blob.bytes() for blob in blobs))
    return path


def raw_context(
    certificate: trustme.LeafCert | None = None,
    *,
    trusts: trustme.CA | None = None,
    demands: bool = False,
    version: int | None = None,
) -> SSL.Context:
    """Return a plain OpenSSL context.

    It shows `certificate`; verifies the peer if it `trusts` an authority, and a server insists on
    a client's certificate if it `demands` one; and speaks nothing but `version`.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(version or TLS12)
    if version:
        context.set_max_proto_version(version)
    if certificate is not None:
        certificate.configure_cert(context)
    if trusts is not None:
        trusts.configure_trust(context)
        mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if demands else 0)
        context.set_verify(mode)
        context.set_session_id(b"tests")  # servers that ask for certificates must have one
    return context


def server_raw(version: int | None = None, *, demands: bool = False) -> SSL.Context:
    """Return a server's context, which may demand a client certificate of our authority."""
    trusts = authority() if demands else None
    return raw_context(server_certificate(), trusts=trusts, demands=demands, version=version)


def client_raw(
    version: int | None = None, certificate: trustme.LeafCert | None = None
) -> SSL.Context:
    """Return a client's context, which trusts our authority."""
    return raw_context(certificate, trusts=authority(), version=version)


def shake(client: Any, server: Any) -> None:
    """Have two sockets over a socket pair, or two OpenSSL connections, do their handshake."""
    for _ in range(20):
        for end in (client, server):
            try:
                end.do_handshake()
            except (BlockingIOError, SSL.WantReadError):
                pass
