"""Headers of the PROXY protocol, by HAProxy's specification: what is read, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from asynccore.listening.proxy_header import (
    LONGEST_BLOCK,
    LONGEST_LINE,
    BadHeader,
    HeaderParser,
    ProxiedTLS,
    ProxyHeader,
)
from tests.fuzz import proxy
from tests.fuzz.proxy import SIGNATURE, block

CLIENT, SERVER = ("192.0.2.1", 56324), ("198.51.100.9", 443)


def read(data: bytes) -> ProxyHeader:
    parser = HeaderParser()
    assert parser.feed(data + b"the rest") == len(data)
    assert parser.header is not None
    return parser.header


def refused(data: bytes) -> str:
    with pytest.raises(BadHeader) as raised:
        HeaderParser().feed(data)
    return str(raised.value)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(proxy.cases)
def test_any_header_in_any_pieces(case: proxy.Case) -> None:
    proxy.check(case)


def test_lines() -> None:
    assert read(b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n") == ProxyHeader(
        1, ("255.255.255.255", 65535), ("0.0.0.0", 0)
    )
    longest = b"PROXY TCP6 " + b"ffff:" * 7 + b"ffff " + b"FFFF:" * 7 + b"FFFF 65535 65535\r\n"
    assert len(longest) == 104
    everywhere = ":".join(["ffff"] * 8)
    assert read(longest).source == (everywhere, 65535, 0, 0)
    assert read(b"PROXY TCP6 ::1 ::ffff:1.2.3.4 1 2\r\n").destination[0] == "::ffff:1.2.3.4"


@pytest.mark.parametrize("more", [b"", b" ", b" ::1 what \r ever 1 2", b" " + b"x" * 90])
def test_unknown_keeps_the_real_address(more: bytes) -> None:
    line = b"PROXY UNKNOWN" + more + b"\r\n"
    assert len(line) <= LONGEST_LINE
    assert read(line) == ProxyHeader(1)


@pytest.mark.parametrize(
    "line",
    [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::2 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP6 1::2::3 ::2 1 2\r\n",
        "PROXY TCP6 fe80::1%1 ::2 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY \r\n",
        "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "proxy ",
        "GET / HTTP/1.1\r\n",
        "\x16\x03\x01",
    ],
)
def test_what_is_no_line(line: str) -> None:
    assert repr(line.encode("latin-1")[:4])[:-1] in refused(line.encode("latin-1"))


def test_a_line_without_an_end() -> None:
    begun = b"PROXY UNKNOWN ".ljust(LONGEST_LINE - 1, b"x")
    assert HeaderParser().feed(begun) == LONGEST_LINE - 1
    assert "longer than 107 bytes" in refused(begun + b"x")
    assert "longer than 107 bytes" in refused(begun + b"\r\n")


def test_blocks() -> None:
    tlvs = ((0x01, b"h2"), (0x02, "münchen.example".encode()), (0x04, b""), (0x05, b"\0id"))
    header = read(block(CLIENT, SERVER, tlvs))
    assert header == ProxyHeader(2, CLIENT, SERVER, tlvs)
    assert (header.alpn, header.authority, header.unique_id) == ("h2", "münchen.example", b"\0id")
    bare = read(block(CLIENT, SERVER))
    assert (bare.alpn, bare.authority, bare.unique_id, bare.tls) == (None,) * 4


def test_what_it_says_of_tls() -> None:
    inner = ((0x21, b"TLSv1.3"), (0x22, b"client"), (0x23, b"TLS_AES_128_GCM_SHA256"))
    sub = b"".join(bytes([type, 0, len(value)]) + value for type, value in inner)

    def tls(client: int, verify: int, more: bytes = sub) -> ProxiedTLS | None:
        value = bytes([client]) + verify.to_bytes(4, "big") + more
        return read(block(CLIENT, SERVER, [(0x20, value)])).tls

    cipher = "TLS_AES_128_GCM_SHA256"
    assert tls(0x03, 0) == ProxiedTLS("TLSv1.3", cipher, True, True, "client")
    for failure in (10, 10 << 24):
        assert tls(0x05, failure) == ProxiedTLS("TLSv1.3", cipher, True, False, "client")
    assert tls(0x01, 0, b"") == ProxiedTLS(None, None, False, False, None), "nothing was verified"
    assert tls(0x00, 0, b"") is None, "HAProxy's send-proxy-v2-ssl of a client in clear"
    assert tls(0x06, 0) is None, "a certificate without TLS"
    assert "TLS" in refused(block(CLIENT, SERVER, [(0x20, b"\1\0\0\0")]))
    assert "a field" in refused(block(CLIENT, SERVER, [(0x20, b"\1\0\0\0\0\x21\0\x09x")]))


def with_byte(at: int, value: int, header: bytes | None = None) -> bytes:
    changed = bytearray(header or block(CLIENT, SERVER))
    changed[at] = value
    return bytes(changed)


def test_local_and_unspecified_keep_the_real_address() -> None:
    assert read(block(CLIENT, SERVER, [(1, b"x")], command=0)) == ProxyHeader(2)
    assert read(with_byte(13, 0xFF, block(CLIENT, SERVER, command=0))) == ProxyHeader(2)
    assert read(block(tlvs=[(1, b"h2")])).alpn == "h2"
    assert read(with_byte(13, 0, block(CLIENT, SERVER))) == ProxyHeader(2)
    assert read(block(tlvs=[(0x20, b"\1")])) == ProxyHeader(2), "no TLS, and no refusal"
    assert read(with_byte(13, 0x12)).source is None, "datagrams"
    assert read(with_byte(13, 0x10)).source is None


def test_unix_paths() -> None:
    body = b"/run/client".ljust(108, b"\0") + b"\0abstract".ljust(108, b"\0")
    header = read(SIGNATURE + b"\x21\x31" + len(body).to_bytes(2, "big") + body)
    assert (header.source, header.destination) == ("/run/client", b"\0abstract")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (with_byte(12, 0x11), "version 1, command 1"),
        (with_byte(12, 0x22), "version 2, command 2"),
        (with_byte(13, 0x41), "family 4"),
        (with_byte(13, 0x13), "transport 3"),
        (with_byte(15, 11), "11 bytes for addresses that take 12"),
        (with_byte(13, 0x21), "12 bytes for addresses that take 36"),
        (with_byte(13, 0x31), "take 216"),
        (block(CLIENT, SERVER, [(1, b"h2")])[:-1].replace(b"\0\x11", b"\0\x10"), "a field"),
        (with_byte(15, 13, block(CLIENT, SERVER) + b"\1"), "a field"),
        (with_byte(11, 0x0B), r"b'\r\n\r\n\x00\r\nQUIT\x0b"),
        (b"\r\n\r\nX", r"b'\r\n\r\nX"),
    ],
)
def test_what_is_no_block(data: bytes, why: str) -> None:
    assert why in refused(data)


def test_a_block_that_is_too_long() -> None:
    head = SIGNATURE + b"\x21\x11"
    parser = HeaderParser()
    assert parser.feed(head + LONGEST_BLOCK.to_bytes(2, "big")) == 16
    assert parser.feed(bytes(LONGEST_BLOCK - 1)) == LONGEST_BLOCK - 1 and parser.header is None
    assert "4097 bytes" in refused(head + (LONGEST_BLOCK + 1).to_bytes(2, "big"))
