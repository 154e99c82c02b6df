"""Public names are at home in `ssl_ext`, by whichever path they come, and pickles say so."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

import ssl_ext
from ssl_ext import errors, peer
from tests.project.checkout import ROOT

ERRORS = ["CertificateError", "HandshakeError", "PeerRefused", "TLSError", "TruncationError"]


@pytest.mark.parametrize("name", [*ssl_ext._HOMES, *ERRORS])
def test_every_public_name_says_that_it_is_at_home_here(name: str) -> None:
    thing = getattr(ssl_ext, name)
    assert thing.__module__ == "ssl_ext" and thing.__qualname__ == name
    assert pickle.loads(pickle.dumps(thing)) is thing
    assert name in dir(ssl_ext)


def test_other_public_paths_lead_to_the_same() -> None:
    assert all(getattr(errors, name) is getattr(ssl_ext, name) for name in ERRORS)
    assert peer.Cipher is ssl_ext.Cipher and peer.user_name is ssl_ext.user_name


def test_values_are_pickled_by_their_public_names() -> None:
    cipher = ssl_ext.Cipher("name", "TLSv1.3", 256)
    dumped = pickle.dumps(cipher, 0)
    assert b"ssl_ext\n" in dumped and b"peer" not in dumped
    assert pickle.loads(dumped) == cipher
    error: Any = pickle.loads(pickle.dumps(ssl_ext.CertificateError("why", depth=1, code=2)))
    assert (type(error), error.reason, error.depth) == (ssl_ext.CertificateError, "why", 1)


def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(AttributeError, match="module 'ssl_ext' has no attribute 'nothing'"):
        ssl_ext.nothing  # noqa: B018


PROGRAM = """
import sys, ssl_ext
assert "OpenSSL" not in sys.modules
listener = ssl_ext.tls_listener
# Nobody has asked for these by the face.
print(listener.channel_class.__module__, listener.channel_class.__mro__[1].__module__)
"""


def test_names_that_came_along_with_others_say_so_too() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["ssl_ext", "ssl_ext"]
