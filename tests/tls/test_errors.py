"""The errors of TLS: told apart, in the OSError family, and whole after pickling."""

from __future__ import annotations

import errno
import pickle

import pytest

import ssl_ext
from asynccore.errors import _DISCONNECTED

QUEUE = [("SSL routines", "", "bad record type")]

KINDS = [
    ssl_ext.TLSError,
    ssl_ext.TruncationError,
    ssl_ext.HandshakeError,
    ssl_ext.CertificateError,
    ssl_ext.PeerRefused,
]


@pytest.mark.parametrize("kind", KINDS)
def test_legacy_code_that_catches_oserror_catches_it(kind: type[ssl_ext.TLSError]) -> None:
    why = kind("bad record type", QUEUE)
    assert isinstance(why, OSError)
    assert isinstance(why, ssl_ext.TLSError)
    assert (why.errno, why.strerror) == (errno.EPROTO, "bad record type")
    assert (why.reason, why.queue) == ("bad record type", QUEUE)
    # No handler of a disconnection takes it for one.
    assert why.errno not in _DISCONNECTED


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_pickling(kind: type[ssl_ext.TLSError]) -> None:
    again = pickle.loads(pickle.dumps(kind("bad record type", QUEUE)))
    assert type(again) is kind
    assert (again.reason, again.queue) == ("bad record type", QUEUE)


def test_an_error_about_a_certificate_says_which_and_why() -> None:
    why = ssl_ext.CertificateError("certificate has expired", depth=1, code=10)
    again = pickle.loads(pickle.dumps(why))
    assert (again.depth, again.code) == (why.depth, why.code) == (1, 10)
    assert isinstance(why, ssl_ext.HandshakeError)
    assert (ssl_ext.CertificateError("no name").depth, why.queue) == (0, [])


def test_what_can_go_wrong_is_told_apart() -> None:
    assert not issubclass(ssl_ext.TruncationError, ssl_ext.HandshakeError)
    assert not issubclass(ssl_ext.PeerRefused, ssl_ext.CertificateError)
    assert issubclass(ssl_ext.PeerRefused, ssl_ext.HandshakeError)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'SSLv3'"):
        _ = ssl_ext.SSLv3
    assert "TLSError" in dir(ssl_ext)
