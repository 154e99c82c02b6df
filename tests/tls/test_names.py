"""Whom a client wants to reach: names and addresses, and what can be neither."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ssl_ext import CertificateError, OpenSSLSocket
from ssl_ext.certificates import hostnames as names
from tests.tls.pki import Pair, issue
from tests.tls.support import client_raw
from tests.tls.test_contexts import ADDRESS_MISMATCH, failure, serving, trusting

NO_NAMES = [
    ".",
    "..",
    "v.example..",
    "a..example",
    "[::1]",
    "127.0.0.1%x",
    "fe80::1%",
    "v.example/",
    "v.example:443",
    "v example",
    "v.example\0",
    "*.example",
    "12345",
    "a" * 64 + ".example",
    ".".join(["a" * 63] * 4),
    "é" * 70,
    "é" * 300,
    "ü..example",
]


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_no_host_is_called(name: str) -> None:
    for context in (trusting(), trusting(check_hostname=False)):
        with pytest.raises(ValueError, match=r"^server_hostname") as why:
            context._ac_connection(None, False, name)
        assert repr(name) in str(why.value)


@pytest.mark.parametrize("name", ["v.example/", "[::1]", "127.0.0.1%x", b"v.example", 5])
@pytest.mark.parametrize("raw", [False, True], ids=["Context", "OpenSSL"])
def test_it_is_refused_before_anything_is_connected(name: Any, raw: bool) -> None:
    context = client_raw() if raw else trusting()
    with socket.socket() as sock:
        with pytest.raises((TypeError, ValueError), match=r"^server_hostname") as why:
            OpenSSLSocket(context, sock, server_hostname=name)
        assert repr(name) in str(why.value)


def test_a_host_to_connect_to_that_no_certificate_can_be_for() -> None:
    with socket.socket() as sock:
        client = OpenSSLSocket(trusting(), sock)
        for connect in (client.connect, client.connect_ex):
            with pytest.raises(ValueError, match=r"'v\.example/'"):
                connect(("v.example/", 443))
        assert client.server_hostname is None


def test_names_as_they_are_sent() -> None:
    for name, sent in (
        ("V.Example", "V.Example"),
        ("v.example.", "v.example"),
        ("my_host.example", "my_host.example"),
        ("bücher.example.", "xn--bcher-kva.example"),
        (".".join(["a" * 63] * 3 + ["b" * 61]), ".".join(["a" * 63] * 3 + ["b" * 61])),
    ):
        assert names.ascii_name(name) == sent


@pytest.mark.parametrize("name", ["fe80::1", "FE80:0::1", "fe80::1%eth0", "fe80::1%1"])
def test_an_address_counts_without_its_zone(name: str) -> None:
    server = serving(issue(names=(), ip="fe80::1").pem)
    Pair(trusting(), server, name).handshake()
    other = name.replace("1", "2", 1)
    why = failure(Pair(trusting(), server, other))
    assert (type(why), why.code) == (CertificateError, ADDRESS_MISMATCH)
    assert repr(other) in why.reason
