"""Names of hosts and IP addresses, as certificates and SNI have them."""

from __future__ import annotations

import ipaddress
import re

from asynccore.connecting.target import LONGEST_NAME
from asynccore.connecting.target import ascii_name as idna_name

# RFC 1035 section 2.3.4: 63 bytes for a label, 255 for a name with the lengths of its labels. An
# underscore is in no host's name (RFC 1123 section 2.1), and in some certificates all the same.
_LABEL = "[A-Za-z0-9_-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")

# What could be the rest of an IPv4 address, and is no name.
_NUMBER = re.compile("-?[0-9_]+")


def address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a name is, `None` for a host name.

    The zone of an IPv6 address ("fe80::1%eth0") is left out: it means something on this machine
    alone (RFC 4007 section 11.2), and is in no certificate.
    """
    if not isinstance(name, str):
        return None  # `ipaddress` takes four bytes and numbers for addresses
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.scope_id is not None:
        return ipaddress.IPv6Address(int(found))
    return found


def ascii_name(name: str, argument: str = "server_hostname") -> str:
    """Return a host name as DNS and SNI have it: in ASCII, without the dot at the end.

    Raises `TypeError` and `ValueError`, which say what the `argument` is called, for what can't be
    a host's name.
    """
    if not isinstance(name, str):
        raise TypeError(f"{argument} is text, not {name!r}")
    found = name
    if not name.isascii():
        try:
            found = idna_name(name)
        except ValueError:
            found = ""
    found = found.removesuffix(".")
    if len(found) > LONGEST_NAME or not _NAME.fullmatch(found) or _NUMBER.fullmatch(found):
        raise ValueError(
            f"{argument}: {name!r} can't be a host name or an IP address; write it without port, "
            "brackets, path and wildcard"
        )
    return found


def covers(pattern: str, name: str) -> bool:
    """Tell whether a certificate's DNS name is for a host, whose name is in ASCII and lower case.

    As OpenSSL has it (X509_check_host(3)): a star is the whole first label, stands for one label
    of whatever kind (RFC 9525 section 6.3), and has two more to the right of it. What can't be a
    host's name is none, and no error.
    """
    pattern = pattern.lower()
    if not pattern.startswith("*."):
        return pattern == name
    parent = pattern[2:]
    return "." in parent and bool(_NAME.fullmatch(parent)) and name.partition(".")[2] == parent


def check_server_hostname(name: str | None) -> None:
    """Raise `TypeError` or `ValueError` for what no server can be called; nothing is no name."""
    if name and address(name) is None:
        ascii_name(name)


def sni_key(name: str) -> str:
    """Return a key of a table for SNI in lower case: a host name, or "*." and one.

    Raises `TypeError` and `ValueError` for what no client can ask for.
    """
    if address(name) is not None:
        raise ValueError(
            f"sni: clients ask for host names, never for an address like {name!r} (RFC 6066 "
            "section 3); who connects to an address gets the certificate outside of the table"
        )
    star = "*." if isinstance(name, str) and name.startswith("*.") else ""
    try:
        return star + ascii_name(name[len(star) :] if star else name, "sni").lower()
    except ValueError:
        raise ValueError(
            f"sni: {name!r} would never match: a key is a host name, or '*.' and a host name"
        ) from None
