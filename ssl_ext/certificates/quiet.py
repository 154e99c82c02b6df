"""Parsing certificates without what `cryptography` has to say about them.

*Facts.* It warns of certificates that break rules of RFC 5280, such as a serial number of zero,
when they are read or their parts looked at. Bundles of authorities hold some, and peers show them;
a program can do nothing about them, and under `-W error` each such warning is an exception.
*Consequence.* Whatever reads certificates here does it in a `with quietly()`.
*Trade-off.* The filters of warnings are the process's (before Python 3.14), so that this is a lock
and as few lines as possible.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Two threads that put back each other's filters would leave the wrong ones.
_lock = threading.RLock()


@contextmanager
def quietly() -> Iterator[None]:
    """Let nothing warn."""
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
