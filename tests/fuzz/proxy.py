"""Headers of the PROXY protocol: good ones, nearly good ones and noise, in any pieces.

What holds: a header that was made is read as it was made, wherever it is cut, and what follows it
is left alone; anything else ends with `BadHeader` or is waited for, within the bound, and never in
another way; the pieces make no difference.
"""

from __future__ import annotations

import socket
from typing import Any, NamedTuple

from hypothesis import strategies as st

from asynccore.listening.proxy_header import LONGEST, BadHeader, HeaderParser, ProxyHeader
from tests.fuzz.smtp import cut

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


class Case(NamedTuple):
    header: bytes
    expected: ProxyHeader | None  # of a good one
    data: bytes  # what follows
    cuts: list[int]


def line(source: Any, destination: Any) -> bytes:
    """Return the header of version 1 for two addresses."""
    kind = "TCP4" if len(source) == 2 else "TCP6"
    text = f"PROXY {kind} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n"
    return text.encode()


def block(source: Any = None, destination: Any = None, tlvs: Any = (), command: int = 1) -> bytes:
    """Return the header of version 2, with no addresses if there are none."""
    kind, body = 0, b""
    if source is not None:
        family = socket.AF_INET if len(source) == 2 else socket.AF_INET6
        kind = 0x11 if family == socket.AF_INET else 0x21
        body = b"".join(socket.inet_pton(family, address[0]) for address in (source, destination))
        body += b"".join(address[1].to_bytes(2, "big") for address in (source, destination))
    body += b"".join(bytes([type]) + len(v).to_bytes(2, "big") + v for type, v in tlvs)
    return SIGNATURE + bytes([0x20 | command, kind]) + len(body).to_bytes(2, "big") + body


def _ipv4(packed: bytes, port: int) -> Any:
    return socket.inet_ntop(socket.AF_INET, packed), port


def _ipv6(packed: bytes, port: int) -> Any:
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, 0


_ports = st.integers(0, 65535)
_pairs = st.one_of(
    st.tuples(*[st.builds(_ipv4, st.binary(min_size=4, max_size=4), _ports)] * 2),
    st.tuples(*[st.builds(_ipv6, st.binary(min_size=16, max_size=16), _ports)] * 2),
)
# All but PP2_TYPE_SSL, which has a form of its own.
_tlvs = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda type: type != 0x20), st.binary(max_size=40)),
    max_size=4,
).map(tuple)
_made = st.one_of(
    _pairs.map(lambda pair: (line(*pair), ProxyHeader(1, *pair))),
    st.builds(lambda pair, tlvs: (block(*pair, tlvs), ProxyHeader(2, *pair, tlvs)), _pairs, _tlvs),
    st.builds(lambda pair: (block(*pair, command=0), ProxyHeader(2)), _pairs),
    _tlvs.map(lambda tlvs: (block(tlvs=tlvs), ProxyHeader(2, tlvs=tlvs))),
    st.just((b"PROXY UNKNOWN\r\n", ProxyHeader(1))),
)


def _spoilt(good: tuple[bytes, object], at: int, put: bytes) -> tuple[bytes, None]:
    header, at = good[0], at % (len(good[0]) + 1)
    return header[:at] + put + header[at + len(put) :], None


_bad = st.one_of(
    st.builds(_spoilt, _made, st.integers(0, 300), st.binary(min_size=1, max_size=6)),
    st.binary(max_size=200).map(lambda noise: (noise, None)),
    st.binary(max_size=200).map(lambda noise: (b"PROXY " + noise, None)),
    st.binary(max_size=200).map(lambda noise: (SIGNATURE + noise, None)),
)

cases = st.builds(
    lambda header, data, cuts: Case(*header, data, cuts),
    st.one_of(_made, _bad),
    st.binary(max_size=30),
    st.lists(st.integers(0, 300), max_size=6),
)


def outcome(pieces: list[bytes]) -> tuple[Any, int]:
    """Return the header, `None` if it isn't whole or a text if there is none; and its length."""
    parser = HeaderParser()
    taken = 0
    for piece in pieces:
        try:
            count = parser.feed(piece)
        except BadHeader as why:
            return type(why).__name__, 0
        assert 0 <= count <= len(piece)
        assert count == len(piece) or parser.header is not None, "all is taken until it is whole"
        taken += count
        assert taken <= LONGEST
        if parser.header is not None:
            break
    return parser.header, taken


def check(case: Case) -> None:
    """Raise `AssertionError` where something of the above does not hold."""
    whole = case.header + case.data
    at_once = outcome([whole])
    assert outcome(cut(whole, case.cuts)) == at_once
    assert outcome([whole[at : at + 1] for at in range(len(whole))]) == at_once
    if case.expected is not None:
        assert at_once == (case.expected, len(case.header))
