"""The groups of the key exchange: what our server agrees to."""

from __future__ import annotations

import pytest
from OpenSSL import SSL

from ssl_ext import _openssl
from ssl_ext._openssl import use_groups
from ssl_ext.contexts.settings import GROUPS, OLDER_GROUPS
from tests.tls.support import HOST, client_raw
from tests.tls_peers.support import server_context


def talk(client_groups: list[str]) -> None:
    """Do a handshake with our server over memory buffers."""
    offers = client_raw()
    assert use_groups(offers, client_groups)
    client = SSL.Connection(offers, None)
    client.set_connect_state()
    client.set_tlsext_host_name(HOST.encode())
    accepting = server_context()._ac_connection(None, True)
    waiting = [client, accepting]
    while waiting:
        for side, other in ((client, accepting), (accepting, client)):
            try:
                if side in waiting:
                    side.do_handshake()
                    waiting.remove(side)
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(side.bio_read(65536))
            except SSL.WantReadError:
                pass


@pytest.mark.parametrize("group", OLDER_GROUPS)
def test_groups_of_mozillas_list_are_accepted(group: str) -> None:
    talk([group])


@pytest.mark.parametrize("group", ["X448", "P-521"])
def test_groups_that_nobody_needs_are_refused(group: str) -> None:
    with pytest.raises(SSL.Error, match="no suitable"):
        talk([group])


def test_the_first_list_that_is_known_counts() -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    assert use_groups(context, ["no such group"], ["P-256"])
    assert not use_groups(context, ["no such group"], ["nor this"])
    # Nothing of that is left for the next call to stumble on.
    with pytest.raises(SSL.WantReadError):
        connection = SSL.Connection(client_raw(), None)
        connection.set_connect_state()
        connection.do_handshake()


def test_a_pyopenssl_that_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_openssl, "_lib", None)
    assert not use_groups(SSL.Context(SSL.TLS_SERVER_METHOD), GROUPS)
    server_context()
