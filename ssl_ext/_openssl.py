"""What of OpenSSL can be had only past pyOpenSSL's public names, in one place.

These are long-standing functions of libssl and libcrypto, which pyOpenSSL binds and does not offer.
Where a release should stop binding them, the answers here become vague, not wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL

_lib: Any = getattr(SSL, "_lib", None)
_ffi: Any = getattr(SSL, "_ffi", None)


def session_reused(connection: SSL.Connection) -> bool | None:
    """Tell whether a handshake was abbreviated (SSL_session_reused(3)); `None`: not known."""
    try:
        return bool(_lib.SSL_session_reused(connection._ssl))
    except AttributeError:
        return None


def verify_error_text(code: int) -> str:
    """Return the text of an X509_V_ERR number (X509_verify_cert_error_string(3))."""
    try:
        text: bytes = _ffi.string(_lib.X509_verify_cert_error_string(code))
    except AttributeError:
        return f"verification error {code}"
    return text.decode("ascii", "replace")


def use_groups(context: SSL.Context, *lists: Iterable[str]) -> bool:
    """Agree to no other groups for the key exchange than those of the first list that OpenSSL
    knows throughout (SSL_CTX_set1_groups_list(3), by its older name); tell whether there was one.
    """
    try:
        for names in lists:
            if _lib.SSL_CTX_set1_curves_list(context._context, ":".join(names).encode("ascii")):
                return True
            _lib.ERR_clear_error()
    except AttributeError:
        pass
    return False
