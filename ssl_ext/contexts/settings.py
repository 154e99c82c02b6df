"""What contexts are made of: the settings of each role, and what can be right in them.

What is wrong whatever the files hold is found here, before any is opened. What can be iterated once
alone is taken out here, for a reload needs it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from OpenSSL import SSL

from ..certificates.loading import Password, check_password
from ..certificates.sources import Content, Source, checked_path, checked_source, checked_sources

# Whose certificates need no file of one's own: certifi's, and those of OpenSSL's own places.
PUBLIC = ("certifi", "system")

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


# The extensions of a ClientHello have 65,535 bytes together (RFC 8446 section 4.1.2), and the
# others need up to 2 KiB, most of it for X25519MLKEM768; twice that is left to them.
_LONGEST_ALPN = 65535 - 4096


class ServerContext(Protocol):
    """A context as those know it that it is made with: a table of virtual hosts, and callbacks."""

    settings: Client | Server

    @property
    def openssl(self) -> SSL.Context:
        """OpenSSL's own, for new connections."""


@dataclass(frozen=True)
class Common:
    """The settings of both roles.

    Raises `TypeError` and `ValueError` for what can't be right.
    """

    certificate: Source | None = None
    key: Source | None = None
    password: Password | None = field(default=None, repr=False)
    ca: Authorities | None = None
    crl: Source | Iterable[Source] | None = None
    minimum_version: str = "TLSv1.2"
    maximum_version: str | None = None
    ciphers: str = CIPHERS
    alpn: tuple[bytes, ...] = ()
    resume: bool = True
    keylog: str | os.PathLike[str] | None = None
    dtls: bool = False

    def __post_init__(self) -> None:
        self._check_identity()
        if self.ca is not None:
            self._set("ca", checked_authorities(self.ca))
        if self.crl is not None:
            self._set("crl", checked_sources("crl", self.crl))
        if self.keylog is not None:
            self._set("keylog", checked_path("keylog", self.keylog))
        if not isinstance(self.ciphers, str):
            raise TypeError(f"ciphers is text as ciphers(1) describes, not {self.ciphers!r}")
        lowest, highest = self.versions
        if lowest > highest:
            raise ValueError(
                f"minimum_version={self.minimum_version!r} is above "
                f"maximum_version={self.maximum_version!r}"
            )

    def _check_identity(self) -> None:
        if self.certificate is not None:
            self._set("certificate", checked_source("certificate", self.certificate))
        elif self.key is not None or self.password is not None:
            raise ValueError("key and password are of a certificate: give certificate=..., too")
        if self.key is not None:
            self._set("key", checked_source("key", self.key))
        if self.password is not None and not callable(self.password):
            check_password(self.password)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen is what it is from now on

    @property
    def versions(self) -> tuple[int, int]:
        """The lowest and the highest version, as OpenSSL numbers them."""
        lowest = version("minimum_version", self.minimum_version, self.dtls)
        if self.maximum_version is None:
            return lowest, DTLS_1_2 if self.dtls else max(VERSIONS.values())
        return lowest, version("maximum_version", self.maximum_version, self.dtls)


@dataclass(frozen=True)
class Client(Common):
    verify: bool = True
    check_hostname: bool = True
    strict: bool = True
    pins: frozenset[str] | None = None
    stapling: Stapling = "none"


@dataclass(frozen=True)
class Server(Common):
    client_auth: ClientAuth = "none"
    sni: Mapping[str, ServerContext] = field(default_factory=dict)
    sni_required: bool = False
    stapled: Source | Callable[[], bytes | None] | None = None

    def __post_init__(self) -> None:
        if self.certificate is None:
            raise TypeError("a server needs a certificate: the path of a file, or PEM text")
        super().__post_init__()
        if self.stapled is not None and not callable(self.stapled):
            self._set("stapled", checked_source("stapled", self.stapled))


def checked_authorities(ca: Authorities) -> tuple[str | Content, ...]:
    """Return whom to believe, one by one: a word of `PUBLIC`, the path of a file, or content.

    Raises `TypeError` and `ValueError` for what is none.
    """
    if isinstance(ca, (str, bytes, bytearray)) or not isinstance(ca, Iterable):
        parts: list[Source] = [ca]
    else:
        parts = list(ca)
    found = checked_sources("ca", parts)
    # A `Path("system")` is a file; only the word is none.
    return tuple(
        os.path.join(os.curdir, checked)
        if checked in PUBLIC and not isinstance(part, str)
        else checked
        for part, checked in zip(parts, found, strict=True)
    )


def version(argument: str, name: str, dtls: bool = False) -> int:
    """Return OpenSSL's number of a protocol version."""
    if dtls:
        if name != "TLSv1.2":
            raise ValueError(
                f"{argument}: over datagrams there is TLSv1.2 (DTLS 1.2) alone, not {name!r}"
            )
        return DTLS_1_2
    if not isinstance(name, str) or name not in VERSIONS:
        raise ValueError(
            f"{argument}: {name!r} is none of {', '.join(VERSIONS)}; what is older is broken "
            "(RFC 8996)"
        )
    return VERSIONS[name]


def protocols(alpn: Iterable[str | bytes]) -> tuple[bytes, ...]:
    """Return the names of application protocols as bytes."""
    if isinstance(alpn, (str, bytes)):
        raise TypeError(f"alpn is a list of protocols, not {alpn!r}: write [{alpn!r}]")
    if not isinstance(alpn, Iterable):
        raise TypeError(f"alpn is a list of protocols, not {alpn!r}")
    found = tuple(_protocol(name) for name in alpn)
    if sum(len(name) + 1 for name in found) > _LONGEST_ALPN:  # each has its length in front
        raise ValueError(f"alpn: {len(found)} protocols are too many for a ClientHello")
    return found


def _protocol(name: object) -> bytes:
    if not isinstance(name, (str, bytes)):
        raise TypeError(f"alpn: the name of a protocol is text or bytes, unlike {name!r}")
    found = name.encode() if isinstance(name, str) else name
    if not 0 < len(found) < 256:  # RFC 7301 section 3.1
        raise ValueError(f"alpn: the name of a protocol has 1 to 255 bytes, unlike {name!r}")
    return found


def choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise `ValueError` for a value that is none of those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}, not {value!r}")
