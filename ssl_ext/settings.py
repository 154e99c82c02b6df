"""What contexts are made of: the settings of each role, and what can be right in them."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from OpenSSL import SSL

from .certificates import Source

if TYPE_CHECKING:  # a table of virtual hosts holds them
    from .contexts import Context

Authorities = Literal["certifi", "system"] | Source | Iterable[Source]
ClientAuth = Literal["none", "optional", "required"]
Stapling = Literal["none", "request", "require"]


# Below TLS 1.2 is broken (RFC 8996).
VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}

# DTLS1_2_VERSION of ssl.h, which pyOpenSSL has no name for. OpenSSL has no DTLS 1.3.
DTLS_1_2 = 0xFEFD

# Mozilla's "intermediate" list for TLS 1.2, version 5.7, without the DHE suites: they need
# parameters of their own, and whoever knows them knows ECDHE. OpenSSL's of TLS 1.3 are fine.
CIPHERS = ":".join(
    f"ECDHE-{key}-{cipher}"
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305")
    for key in ("ECDSA", "RSA")
)

# Mozilla's "intermediate" groups for the key exchange, version 5.8, and what OpenSSL before 3.5
# knows of them. Its own default has some that nobody needs.
GROUPS = ("X25519MLKEM768", "X25519", "P-256", "P-384")
OLDER_GROUPS = GROUPS[1:]

AUTH_MODES = {
    "none": SSL.VERIFY_NONE,
    "optional": SSL.VERIFY_PEER,
    "required": SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@dataclass(frozen=True)
class Common:
    """The settings of both roles."""

    certificate: Source | None = None
    key: Source | None = None
    password: str | bytes | None = field(default=None, repr=False)
    ca: Authorities | None = None
    crl: Source | Iterable[Source] | None = None
    minimum_version: str = "TLSv1.2"
    maximum_version: str | None = None
    ciphers: str = CIPHERS
    alpn: tuple[bytes, ...] = ()
    resume: bool = True
    keylog: str | os.PathLike[str] | None = None
    dtls: bool = False


@dataclass(frozen=True)
class Client(Common):
    verify: bool = True
    check_hostname: bool = True
    pins: frozenset[str] | None = None
    stapling: Stapling = "none"


@dataclass(frozen=True)
class Server(Common):
    client_auth: ClientAuth = "none"
    sni: Mapping[str, Context] = field(default_factory=dict)
    sni_required: bool = False
    stapled: bytes | str | os.PathLike[str] | Callable[[], bytes] | None = None


def version(name: str, dtls: bool = False) -> int:
    """Return OpenSSL's number of a protocol version."""
    if dtls:
        if name != "TLSv1.2":
            raise ValueError(f"over datagrams there is TLSv1.2 (DTLS 1.2) alone, not {name!r}")
        return DTLS_1_2
    if name not in VERSIONS:
        raise ValueError(
            f"{name!r} is none of {', '.join(VERSIONS)}; what is older is broken (RFC 8996)"
        )
    return VERSIONS[name]


def address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address that a name is, `None` for a host name."""
    try:
        return ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return None


def ascii_name(name: str) -> str:
    """Return a host name as DNS and SNI have it: in ASCII, without the dot at the end."""
    name = name.rstrip(".")
    try:
        return name.encode("ascii").decode()
    except UnicodeEncodeError:
        return name.encode("idna").decode()


def protocols(alpn: Iterable[str | bytes]) -> tuple[bytes, ...]:
    """Return the names of application protocols as bytes."""
    if isinstance(alpn, (str, bytes)):
        raise TypeError(f"alpn is a list of protocols, not {alpn!r}: write [{alpn!r}]")
    found = tuple(name.encode() if isinstance(name, str) else name for name in alpn)
    for name in found:
        if not 0 < len(name) < 256:  # RFC 7301 section 3.1
            raise ValueError(f"the name of a protocol has 1 to 255 bytes, unlike {name!r}")
    return found


def choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise `ValueError` for a value that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")
