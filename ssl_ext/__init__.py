"""TLS for dispatchers, by OpenSSL: the one floor of the house that imports OpenSSL.

Nothing of it is loaded by `import asynccore`, and OpenSSL not by `import ssl_ext` alone: the names
below are fetched from their modules when they are first used (PEP 562).
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from .errors import CertificateError as CertificateError
from .errors import HandshakeError as HandshakeError
from .errors import PeerRefused as PeerRefused
from .errors import TLSError as TLSError
from .errors import TruncationError as TruncationError

if TYPE_CHECKING:
    from .certificates.loading import load_certificates as load_certificates
    from .certificates.loading import load_identity as load_identity
    from .certificates.pins import pin as pin
    from .contexts.context import Context as Context
    from .contexts.context import client_context as client_context
    from .contexts.context import insecure_context as insecure_context
    from .contexts.context import server_context as server_context
    from .dispatchers.listener import tls_listener as tls_listener
    from .dispatchers.mixin import TLSMixin as TLSMixin
    from .dispatchers.mixin import tls_async_chat as tls_async_chat
    from .dispatchers.mixin import tls_dispatcher as tls_dispatcher
    from .dispatchers.mixin import tls_dispatcher_with_send as tls_dispatcher_with_send
    from .dispatchers.mixin import tls_line_chat as tls_line_chat
    from .dispatchers.securing import secure as secure
    from .peer import Cipher as Cipher
    from .peer import user_name as user_name
    from .smtp.server import TLSSMTPChannel as TLSSMTPChannel
    from .smtp.server import TLSSMTPServer as TLSSMTPServer
    from .sockets.accepting import AcceptingSocket as AcceptingSocket
    from .sockets.accepting import TransparentSocket as TransparentSocket
    from .sockets.dtls_socket import DTLSSocket as DTLSSocket
    from .sockets.tls_socket import OpenSSLSocket as OpenSSLSocket

# Which module a name comes from; the same as above for type checkers.
_HOMES = {
    "AcceptingSocket": "sockets.accepting",
    "Cipher": "peer",
    "Context": "contexts.context",
    "DTLSSocket": "sockets.dtls_socket",
    "OpenSSLSocket": "sockets.tls_socket",
    "TLSMixin": "dispatchers.mixin",
    "TLSSMTPChannel": "smtp.server",
    "TLSSMTPServer": "smtp.server",
    "TransparentSocket": "sockets.accepting",
    "client_context": "contexts.context",
    "insecure_context": "contexts.context",
    "load_certificates": "certificates.loading",
    "load_identity": "certificates.loading",
    "pin": "certificates.pins",
    "secure": "dispatchers.securing",
    "server_context": "contexts.context",
    "tls_async_chat": "dispatchers.mixin",
    "tls_dispatcher": "dispatchers.mixin",
    "tls_dispatcher_with_send": "dispatchers.mixin",
    "tls_line_chat": "dispatchers.mixin",
    "tls_listener": "dispatchers.listener",
    "user_name": "peer",
}

__all__ = [
    "AcceptingSocket",
    "CertificateError",
    "Cipher",
    "Context",
    "DTLSSocket",
    "HandshakeError",
    "OpenSSLSocket",
    "PeerRefused",
    "TLSError",
    "TLSMixin",
    "TLSSMTPChannel",
    "TLSSMTPServer",
    "TransparentSocket",
    "TruncationError",
    "client_context",
    "insecure_context",
    "load_certificates",
    "load_identity",
    "pin",
    "secure",
    "server_context",
    "tls_async_chat",
    "tls_dispatcher",
    "tls_dispatcher_with_send",
    "tls_line_chat",
    "tls_listener",
    "user_name",
]

for _error in (TLSError, TruncationError, HandshakeError, CertificateError, PeerRefused):
    _error.__module__ = __name__
del _error


if not TYPE_CHECKING:  # to which any name would be one of ours

    def __getattr__(name: str) -> object:
        try:
            home = _HOMES[name]
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        importlib.import_module(".requirements", __name__)
        importlib.import_module(f".{home}", __name__)
        _publish()
        return globals()[name]


def _publish() -> None:
    """Have all public names whose modules are loaded say that they are at home here: neither a
    traceback nor a pickle shows the rooms."""
    for name, home in _HOMES.items():
        module = sys.modules.get(f"{__name__}.{home}")
        if name not in globals() and hasattr(module, name):
            globals()[name] = value = getattr(module, name)
            value.__module__ = __name__


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
