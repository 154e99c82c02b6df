"""The name of this host is looked up by every channel: here it is always the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.smtpd.dialogue import FQDN


@pytest.fixture(autouse=True, scope="module")
def host_name() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getfqdn", lambda name="": FQDN)
        yield
