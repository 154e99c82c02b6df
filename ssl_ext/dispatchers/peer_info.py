"""What a TLS channel knows of its peer, and of what both agreed on.

Nothing of it is known before the handshake's end: see each property. What was known stays known
when the connection has ended, until the channel gets another socket: who has left can be told.

A class that is made secure may have something of its own by these names, and its instances may be
assigned to (`asynccore.programs_own`).
"""

from __future__ import annotations

from typing import Any

from asynccore.classic.own_names import OverridableProperty

from .. import peer
from ..sockets.tls_socket import OpenSSLSocket


class Acquaintance:
    """The part of `TLSMixin` that answers who is at the other end."""

    _ac_tls: OpenSSLSocket | None = None

    @OverridableProperty
    def tls(self) -> OpenSSLSocket | None:
        """The TLS socket, or `None` while the connection is plaintext."""
        return self._ac_tls

    @property
    def _ac_agreed(self) -> Any:
        return None if self._ac_tls is None else self._ac_tls.agreed

    @OverridableProperty
    def peer_certificate(self) -> Any:
        """The peer's certificate (`cryptography.x509.Certificate`), or `None`."""
        agreed = self._ac_agreed
        return None if agreed is None else peer.peer_certificate(agreed)

    @OverridableProperty
    def peer_chain(self) -> list[Any]:
        """The peer's certificate and those that vouch for it (`peer.peer_chain`)."""
        agreed = self._ac_agreed
        return [] if agreed is None else peer.peer_chain(agreed)

    @OverridableProperty
    def peer_names(self) -> list[str]:
        """The names in the peer's certificate (`peer.peer_names`)."""
        agreed = self._ac_agreed
        return [] if agreed is None else peer.peer_names(agreed)

    @OverridableProperty
    def tls_version(self) -> str | None:
        """ "TLSv1.2" or "TLSv1.3", or `None` before the handshake's end."""
        return None if self._ac_tls is None else self._ac_tls.version()

    @OverridableProperty
    def cipher(self) -> peer.Cipher | None:
        """The cipher suite in use."""
        agreed = self._ac_agreed
        return None if agreed is None else peer.cipher(agreed)

    @OverridableProperty
    def alpn_protocol(self) -> str | None:
        """The application protocol that both sides want (RFC 7301), or `None`."""
        return None if self._ac_tls is None else self._ac_tls.selected_alpn_protocol()

    @OverridableProperty
    def session_reused(self) -> bool | None:
        """Whether the handshake was abbreviated; `None` if that is not known."""
        agreed = self._ac_agreed
        return None if agreed is None else peer.session_reused(agreed)

    @OverridableProperty
    def server_name(self) -> str | None:
        """The host name that the client asked for (RFC 6066 section 3), or `None`."""
        agreed = self._ac_agreed
        return None if agreed is None else peer.server_name(agreed)

    def user_name(self, mapping: peer.UserMapping = "common_name") -> str | None:
        """Return the user that the client's certificate stands for (`peer.user_name`)."""
        agreed = self._ac_agreed
        certificate = None if agreed is None else peer.peer_certificate(agreed)
        return peer.user_name(certificate, mapping)
