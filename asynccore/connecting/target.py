"""What `connect_name` is asked for: a host, a port and the rest, checked before it begins."""

from __future__ import annotations

import socket as _socket
from typing import Any

from . import resolver
from .happy_eyeballs import LEAST_ATTEMPT_DELAY, Address

# 255 bytes with the lengths of all labels and the root's (RFC 1035 section 3.1).
LONGEST_NAME = 253


def show(sockaddr: object) -> str:
    """Return an address as people write it, also one that a resolver got wrong.

    >>> show(("::1", 25, 0, 0))
    '[::1]:25'
    """
    if not isinstance(sockaddr, tuple) or len(sockaddr) < 2:
        return repr(sockaddr)
    host, port = sockaddr[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class Target:
    """What `connect_name` was asked for, checked."""

    def __init__(
        self, host: str, port: int | str, family: int, delay: float, local: tuple[str, int] | None
    ) -> None:
        if not isinstance(host, str):
            raise TypeError(f"a host is a name or a numeric address, not {host!r}")
        self.answer: Any = None  # known without a look-up
        self.port = _port(port)
        if family not in (0, _socket.AF_INET, _socket.AF_INET6):
            raise ValueError(f"connect_name() knows AF_INET and AF_INET6, not {family!r}")
        if isinstance(delay, bool) or not isinstance(delay, (int, float)):
            raise TypeError(f"happy_eyeballs_delay is a number of seconds, not {delay!r}")
        if not delay >= LEAST_ATTEMPT_DELAY:
            raise ValueError(
                f"happy_eyeballs_delay is at least {LEAST_ATTEMPT_DELAY} seconds (RFC 8305), "
                f"not {delay!r}"
            )
        self.delay = delay
        self.local = None if local is None else _local(local)
        self.family = int(family)
        self.text = show((host, port))
        found = _numeric(host, self.port if isinstance(self.port, int) else None, self.family)
        if found is None:
            self.host = ascii_name(host)
        else:
            self.host = host
            if isinstance(self.port, int):
                self.answer = found

    def addresses(self, answer: Any) -> list[Address]:
        """Return those addresses of an answer that are to be tried."""
        found = [Address(int(family), sockaddr) for family, _, _, _, sockaddr in answer]
        if self.local is not None and self.local.family:
            found = [address for address in found if address.family == self.local.family]
        return found


def _port(port: int | str) -> int | str:
    if isinstance(port, bool) or not isinstance(port, (int, str)):
        raise TypeError(f"a port is a number or the name of a service, not {port!r}")
    if isinstance(port, str):
        if not port or "\0" in port:
            raise ValueError(f"{port!r} is no port and no service")
        if not (port.isascii() and port.isdecimal()):
            return port
        port = int(port)
    if not 0 <= port <= 65535:
        raise ValueError(f"a port is 0 to 65535, not {port}")
    return port


def _numeric(host: str, port: int | None, family: int) -> Any:
    """Return the answer for a numeric address, and `None` for a name."""
    if not host or not host.isascii() or "\0" in host:
        return None
    # As bytes, so that Python doesn't encode it as a name.
    found = resolver.look_up(host.encode(), port, family, int(_socket.AI_NUMERICHOST))
    return None if isinstance(found, BaseException) else found


def ascii_name(name: str) -> str:
    """Return a host name as DNS has it, in ASCII (Python's `idna` codec, RFC 3490).

    Raises `ValueError` for what can't be one.
    """
    # The time that the codec needs grows with the square of the length.
    if not name.isascii() and len(name) > LONGEST_NAME:
        raise ValueError(f"a host name has at most {LONGEST_NAME} characters, not {len(name)}")
    try:
        found = name.encode("idna").decode()
    except UnicodeError as why:
        raise ValueError(f"{name!r} is no host name: {why}") from None
    if not found or "\0" in found:
        raise ValueError(f"{name!r} is no host name")
    return found


def _local(local: tuple[str, int]) -> Address:
    try:
        host, port = local
    except (TypeError, ValueError):
        raise TypeError(f"local_addr is a host and a port, not {local!r}") from None
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"the port of local_addr is a number, not {port!r}")
    number = _port(port)
    if host == "":
        return Address(0, ("", number))
    found = _numeric(host, port, 0) if isinstance(host, str) else None
    if not found:
        raise ValueError(f"the host of local_addr is a numeric address, not {host!r}")
    return Address(int(found[0][0]), found[0][4])
