"""The header of the PROXY protocol, without I/O (HAProxy's doc/proxy-protocol.txt, 2020/03/05).

Facts. A proxy puts it before the data of each connection. Version 1 is a line of at most 107 bytes,
version 2 a block that begins with its length. What a client sends may come in the same segment, and
the header itself in pieces.

Consequence. A `HeaderParser` says how many of the bytes that it is shown are the header's: they are
looked at first, and then no more than these are taken. What can't be a header is refused at the
first byte that can't.

Trade-off. The checksum of version 2 (PP2_TYPE_CRC32C) is not verified: TCP has one of its own.
"""

from __future__ import annotations

import os
import re
import socket
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

# The longest line of version 1, with its end (section 2.1).
LONGEST_LINE = 107

# The most bytes that are taken after the first 16 of version 2. The addresses take 216 at most, and
# a client's certificate is there by its name alone; HAProxy itself takes no more than a buffer.
LONGEST_BLOCK = 4096

# How much is looked at to find a whole header.
LONGEST = 16 + LONGEST_BLOCK

_LINE_BEGINS = b"PROXY "
_BLOCK_BEGINS = b"\r\n\r\n\0\r\nQUIT\n"

_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\n]*)?|TCP(4|6) ([\da-fA-F:.]+) ([\da-fA-F:.]+) (\d+) (\d+))\r\n"
)
_PORT = re.compile(rb"0|[1-9]\d{0,4}")

# The bytes that two addresses with their ports take in version 2, by family (section 2.2).
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_SIZES = {_INET: 12, _INET6: 36, _UNIX: 216}
_STREAM, _DATAGRAM = 1, 2
_LOCAL, _PROXY = 0, 1

# The types of what may follow the addresses (section 2.2), and of what is in that of TLS.
ALPN, AUTHORITY, UNIQUE_ID, TLS = 0x01, 0x02, 0x05, 0x20
_TLS_VERSION, _TLS_NAME, _TLS_CIPHER = 0x21, 0x22, 0x23
_SPOKE_TLS = 0x01  # HAProxy says something of TLS for those who did not, too
_CERTIFICATE = 0x02 | 0x04  # the client has shown one, now or earlier in this session

_TLVs = tuple[tuple[int, bytes], ...]

# What accept(2) returns in Python: of IPv4, of IPv6, and the path of a Unix socket.
Address = tuple[str, int] | tuple[str, int, int, int] | str | bytes


class BadHeader(ValueError):
    """The bytes that came are no header of the PROXY protocol. The text says why."""

    def __init__(self, why: str) -> None:
        super().__init__(f"it sent no header of the PROXY protocol: {why}")


class ProxiedTLS(NamedTuple):
    """What a proxy says about the TLS between its client and itself (PP2_TYPE_SSL)."""

    version: str | None  # such as "TLSv1.3"
    cipher: str | None
    has_certificate: bool  # whether the client has shown a certificate
    is_verified: bool  # whether the proxy has verified that certificate
    common_name: str | None  # the common name in the certificate


class ProxyHeader(NamedTuple):
    """What a proxy says about a connection. Addresses are as `socket.accept` returns them."""

    version: int  # 1 or 2
    source: Address | None = (
        None  # the client's address; `None` if it is the proxy's own connection
    )
    destination: Address | None = None  # the address that the client connected to
    tlvs: _TLVs = ()  # of version 2: types and values, as they came
    tls: ProxiedTLS | None = None  # `None` also if the client spoke none
    proxy: object = None  # the address of the proxy itself

    def value(self, type: int) -> bytes | None:
        """Return the value of the first TLV of a type, or `None` if there is none."""
        return _first(self.tlvs, type)

    @property
    def alpn(self) -> str | None:
        """The application protocol of the client and the proxy, from ALPN (PP2_TYPE_ALPN)."""
        return _text(self.value(ALPN))

    @property
    def authority(self) -> str | None:
        """The host name that the client asked for, usually by SNI (PP2_TYPE_AUTHORITY)."""
        return _text(self.value(AUTHORITY))

    @property
    def unique_id(self) -> bytes | None:
        """The name that the proxy gives the connection (PP2_TYPE_UNIQUE_ID)."""
        return self.value(UNIQUE_ID)


class HeaderParser:
    """Reads one header out of pieces."""

    def __init__(self) -> None:
        self._taken = b""
        self.header: ProxyHeader | None = None  # once it is there

    def feed(self, data: bytes) -> int:
        """Return how many bytes of `data` are the header's; the rest is what follows it.

        Raises `BadHeader`.
        """
        whole = self._taken + data
        if _BLOCK_BEGINS.startswith(whole[: len(_BLOCK_BEGINS)]):
            end = _end_of_block(whole)
        elif _LINE_BEGINS.startswith(whole[: len(_LINE_BEGINS)]):
            end = _end_of_line(whole)
        else:
            raise BadHeader(f"{whole[:16]!r}")
        taken = min(end, len(whole))
        self._taken, before = whole[:taken], len(self._taken)
        if taken == end:
            parse = _parse_line if whole.startswith(_LINE_BEGINS) else _parse_block
            self.header = parse(self._taken)
        return taken - before


def _first(tlvs: _TLVs, type: int) -> bytes | None:
    return next((value for found, value in tlvs if found == type), None)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


# Version 1 ------------------------------------------------------------------------------------


def _end_of_line(whole: bytes) -> int:
    """Return where a line ends, as far as that is known: behind all that there is otherwise."""
    found = whole.find(b"\n", 0, LONGEST_LINE)
    if found < 0 and len(whole) >= LONGEST_LINE:
        raise BadHeader(f"the line is longer than {LONGEST_LINE} bytes")
    return found + 1 if found >= 0 else LONGEST_LINE


def _parse_line(line: bytes) -> ProxyHeader:
    found = _LINE.fullmatch(line)
    if found is None:
        raise BadHeader(f"{line!r}")
    version, source, destination, *ports = found.groups()
    if version is None:
        return ProxyHeader(1)
    try:
        kind: type[IPv4Address | IPv6Address] = IPv4Address if version == b"4" else IPv6Address
        addresses = [kind(text.decode("ascii")).packed for text in (source, destination)]
    except ValueError:
        raise BadHeader(f"there is no such address in {line!r}") from None
    if not all(_PORT.fullmatch(port) and int(port) < 2**16 for port in ports):
        raise BadHeader(f"there is no such port in {line!r}")
    client, server = (_address(*pair) for pair in zip(addresses, map(int, ports), strict=True))
    return ProxyHeader(1, client, server)


def _address(packed: bytes, port: int) -> Address:
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed), port
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0


# Version 2 ------------------------------------------------------------------------------------


def _end_of_block(whole: bytes) -> int:
    """Return where a block ends, as far as that is known: behind its first 16 bytes otherwise."""
    if len(whole) > 12:
        version, command = divmod(whole[12], 16)
        if version != 2 or command not in (_LOCAL, _PROXY):
            raise BadHeader(f"version {version}, command {command}")
    if len(whole) < 16:
        return 16
    length = int.from_bytes(whole[14:16], "big")
    if length > LONGEST_BLOCK:
        raise BadHeader(f"{length} bytes, and no more than {LONGEST_BLOCK} are taken")
    return 16 + length


def _parse_block(whole: bytes) -> ProxyHeader:
    if whole[12] & 15 == _LOCAL:
        return ProxyHeader(2)
    (family, transport), block = divmod(whole[13], 16), whole[16:]
    if family > _UNIX or transport > _DATAGRAM:
        raise BadHeader(f"family {family}, transport {transport}")
    if family == _UNSPECIFIED:
        try:
            tlvs = _tlvs(block)
            return ProxyHeader(2, tlvs=tlvs, tls=_tls(_first(tlvs, TLS)))
        except BadHeader:
            return ProxyHeader(2)  # there may be anything, which is to be ignored
    size = _SIZES[family]
    if len(block) < size:
        raise BadHeader(f"{len(block)} bytes for addresses that take {size}")
    tlvs = _tlvs(block[size:])
    source = destination = None
    if transport == _STREAM:
        source, destination = _addresses(family, block[:size])
    return ProxyHeader(2, source, destination, tlvs, _tls(_first(tlvs, TLS)))


def _addresses(family: int, block: bytes) -> tuple[Address, Address]:
    if family == _UNIX:
        return _path(block[:108]), _path(block[108:])
    half = (len(block) - 4) // 2
    source, destination = block[:half], block[half:-4]
    ports = int.from_bytes(block[-4:-2], "big"), int.from_bytes(block[-2:], "big")
    return _address(source, ports[0]), _address(destination, ports[1])


def _path(field: bytes) -> str | bytes:
    if field[:1] == b"\0":
        return field.rstrip(b"\0")  # a Linux abstract one, or none
    return os.fsdecode(field.partition(b"\0")[0])


def _tlvs(block: bytes) -> _TLVs:
    found = []
    while block:
        end = 3 + int.from_bytes(block[1:3], "big")
        if len(block) < end:
            raise BadHeader("a field is longer than the whole")
        found.append((block[0], block[3:end]))
        block = block[end:]
    return tuple(found)


def _tls(value: bytes | None) -> ProxiedTLS | None:
    if value is None:
        return None
    if len(value) < 5:
        raise BadHeader("what it says of TLS is too short")
    if not value[0] & _SPOKE_TLS:
        return None
    inner = _tlvs(value[5:])
    version, name, cipher = (
        _text(_first(inner, type)) for type in (_TLS_VERSION, _TLS_NAME, _TLS_CIPHER)
    )
    shown = bool(value[0] & _CERTIFICATE)
    return ProxiedTLS(version, cipher, shown, shown and not any(value[1:5]), name)
