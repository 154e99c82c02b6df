"""TLS for dispatchers, by OpenSSL: the one floor of the house that imports OpenSSL.

Nothing of it is loaded by `import asynccore`, and OpenSSL not by `import ssl_ext` alone: the names
below are fetched from their modules when they are first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    from .dispatchers.securing import secure as secure
    from .peer import Cipher as Cipher
    from .peer import user_name as user_name
    from .smtp.server import TLSSMTPChannel as TLSSMTPChannel
    from .smtp.server import TLSSMTPServer as TLSSMTPServer
    from .sockets.accepting import AcceptingSocket as AcceptingSocket
    from .sockets.accepting import TransparentSocket as TransparentSocket
    from .sockets.dtls_socket import DTLSSocket as DTLSSocket
    from .sockets.tls_socket import OpenSSLSocket as OpenSSLSocket

# Which module a name comes from; the same as above for type checkers, one line per module.
_HOMES: dict[str, tuple[str, ...]] = {
    "sockets.accepting": ("AcceptingSocket", "TransparentSocket"),
    "certificates.loading": ("load_certificates", "load_identity"),
    "contexts.context": ("Context", "client_context", "insecure_context", "server_context"),
    "peer": ("Cipher", "user_name"),
    "dispatchers.mixin": (
        "TLSMixin",
        "tls_async_chat",
        "tls_dispatcher",
        "tls_dispatcher_with_send",
    ),
    "sockets.dtls_socket": ("DTLSSocket",),
    "dispatchers.listener": ("tls_listener",),
    "certificates.pins": ("pin",),
    "dispatchers.securing": ("secure",),
    "smtp.server": ("TLSSMTPChannel", "TLSSMTPServer"),
    "sockets.tls_socket": ("OpenSSLSocket",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
