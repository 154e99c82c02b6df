"""What the programs of this folder share: contexts of the standard library's `ssl`."""

from __future__ import annotations

import functools
import ssl

from tests.tls.support import authority, server_certificate


@functools.cache
def client_context() -> ssl.SSLContext:
    """A context that trusts the authority of these tests."""
    context = ssl.create_default_context()
    authority().configure_trust(context)
    return context


@functools.cache
def server_context() -> ssl.SSLContext:
    """A context with the certificate of `tests.tls.support.HOST`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_certificate().configure_cert(context)
    return context
