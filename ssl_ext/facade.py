"""What an `OpenSSLSocket` answers as any socket does, and by the names that `ssl.SSLSocket` has."""

from __future__ import annotations

import socket as _socket
from typing import Any

from .ending import Ending
from .phases import FAILED, OPEN


class Facade(Ending):
    """The part of an `OpenSSLSocket` that hands calls on to the socket underneath."""

    @property
    def plain(self) -> _socket.socket:
        """The socket underneath."""
        return self._raw

    def bind(self, address: Any) -> None:
        """Bind to an address (bind(2))."""
        self._raw.bind(address)

    def fileno(self) -> int:
        """Return the descriptor, -1 once closed."""
        return self._raw.fileno()

    def setblocking(self, flag: bool) -> None:
        """Stay non-blocking. Raises `ValueError` for anything else."""
        if flag:
            raise ValueError("an OpenSSLSocket is for a loop, and never blocks")

    def settimeout(self, value: float | None) -> None:
        """Stay non-blocking: only 0 is possible. Raises `ValueError` for anything else."""
        self.setblocking(value != 0)

    def gettimeout(self) -> float:
        """Return 0.0: it never blocks."""
        return 0.0

    def getpeername(self) -> Any:
        """Return the peer's address (getpeername(2))."""
        return self._raw.getpeername()

    def getsockname(self) -> Any:
        """Return our own address (getsockname(2))."""
        return self._raw.getsockname()

    def getsockopt(self, level: int, option: int, *buflen: int) -> Any:
        """Return an option (getsockopt(2)). SO_ERROR raises the failure of a handshake, so that a
        connect that fails on it is one that failed; and nothing that came after the handshake:
        reading tells, which finds the peer's last words first."""
        if (level, option) == (_socket.SOL_SOCKET, _socket.SO_ERROR):
            if self.phase is OPEN:
                return 0
            if self.phase is FAILED and not self._told:
                self._raise_failure()
        return self._raw.getsockopt(level, option, *buflen)

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        """Set an option (setsockopt(2))."""
        self._raw.setsockopt(level, option, *value)

    @property
    def family(self) -> int:
        """The address family."""
        return self._raw.family

    @property
    def type(self) -> int:
        """SOCK_STREAM."""
        return self._raw.type

    @property
    def proto(self) -> int:
        """The protocol number."""
        return self._raw.proto

    # -- what was agreed, by the names that `ssl.SSLSocket` has for it ---------------------------

    def version(self) -> str | None:
        """Return "TLSv1.2" or "TLSv1.3", or `None` before the handshake's end."""
        connection = self.agreed
        return None if connection is None else connection.get_protocol_version_name()

    def cipher(self) -> tuple[str, str, int] | None:
        """Return the name, protocol and secret bits of the cipher suite, or `None`."""
        connection = self.agreed
        if connection is None:
            return None
        name = connection.get_cipher_name() or ""
        return name, connection.get_cipher_version() or "", connection.get_cipher_bits() or 0

    def selected_alpn_protocol(self) -> str | None:
        """Return the protocol that ALPN settled on (RFC 7301), or `None`."""
        connection = self.agreed
        if connection is None:
            return None
        return connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace") or None
