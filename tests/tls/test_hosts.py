"""Virtual hosts: whose certificate and whose rules a client meets by the name it asks for."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

import ssl_ext
from ssl_ext import HandshakeError, PeerRefused, peer, server_context
from ssl_ext.sockets.translation import translated
from tests.tls.pki import Leaf, Pair, ca_pem, issue, revocation_list
from tests.tls.support import HOST, authority, client_certificate, other_authority
from tests.tls.test_contexts import (
    NAME_MISMATCH,
    NO_ISSUER,
    REVOKED,
    VERSIONS,
    asking,
    failure,
    pem,
    resume,
    serving,
    trusting,
)


def hosts(**options: Any) -> tuple[ssl_ext.Context, dict[str, Leaf]]:
    leaves = {name: issue(names=(name,)) for name in ("a.example", "*.b.example")}
    table = {name: serving(leaf.pem) for name, leaf in leaves.items()}
    return serving(sni=table, **options), leaves


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["a.example", "A.Example", "x.b.example", HOST])
def test_each_virtual_host_shows_its_own_certificate(version: str, name: str) -> None:
    server, _ = hosts()
    Pair(trusting(maximum_version=version), server, name).handshake()


@pytest.mark.parametrize("name", ["x.y.b.example", "b.example", "c.example"])
def test_other_names_get_the_certificate_of_the_first(name: str) -> None:
    server, _ = hosts()
    assert HOST in failure(Pair(trusting(), server, name)).reason


@pytest.mark.parametrize("version", VERSIONS)
def test_a_name_that_must_be_known_and_is_not_ends_the_handshake_by_an_alert(version: str) -> None:
    server, _ = hosts(sni_required=True)
    client = trusting(maximum_version=version, check_hostname=False)
    Pair(client, server, "a.example").handshake()
    missing = "alert missing extension" if version == "TLSv1.3" else "unrecognized name"
    for name, told, alert in (
        ("c.example", "'c.example'", "tlsv1 unrecognized name"),
        (None, "''", missing),
    ):
        pair = Pair(client, server, name)
        with pytest.raises(HandshakeError, match=f"no virtual host here is called {told}") as why:
            pair.handshake()
        assert type(why.value) is HandshakeError
        pair.pump()
        with pytest.raises(SSL.Error, match=alert) as theirs:
            pair.client.do_handshake()
        told_so = translated(theirs.value, client, pair.client, shaking=True)
        assert type(told_so) is PeerRefused


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_does_not_open_a_host_that_is_not_there(version: str) -> None:
    server, _ = hosts(sni_required=True)
    client = trusting(maximum_version=version, check_hostname=False)
    resume(Pair(client, server, "a.example"))
    client._sessions["c.example"] = client._sessions["a.example"]  # which needs no certificate
    pair = Pair(client, server, "c.example")
    if version == "TLSv1.3":
        with pytest.raises(HandshakeError, match=r"'c\.example'"):
            pair.handshake()
    else:  # the name is that of the session, whatever the client says (SSL_get_servername(3))
        pair.handshake()
        assert peer.server_name(pair.server) == "a.example"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_virtual_host_keeps_its_demand_for_client_certificates(version: str) -> None:
    inner = server_context(
        issue(names=("a.example",)).pem, client_auth="required", ca=ca_pem(authority())
    )
    server = serving(sni={"a.example": inner})
    client = trusting(maximum_version=version)
    Pair(client, server, HOST).handshake()
    assert "no certificate" in failure(Pair(client, server, "a.example")).reason
    stranger = trusting(maximum_version=version, certificate=issue(ca=other_authority()).pem)
    assert failure(Pair(stranger, server, "a.example")).code == NO_ISSUER
    known = trusting(maximum_version=version, certificate=pem(client_certificate()))
    Pair(known, server, "a.example").handshake()


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_begun_elsewhere_does_not_open_a_virtual_host(version: str) -> None:
    inner = server_context(
        issue(names=("a.example", HOST)).pem, client_auth="required", ca=ca_pem(authority())
    )
    server = serving(sni={"a.example": inner})
    client = trusting(maximum_version=version)
    resume(Pair(client, server, HOST))
    client._sessions["a.example"] = client._sessions[HOST]  # an attacker's client has no scruples
    assert "no certificate" in failure(Pair(client, server, "a.example")).reason


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_with_a_certificate_of_others_does_not_open_a_virtual_host(version: str) -> None:
    # What CVE-2025-23419 was: the session was verified, but against other authorities.
    inner = server_context(
        issue(names=("a.example",)).pem, client_auth="required", ca=ca_pem(authority())
    )
    server = serving(client_auth="optional", ca=ca_pem(other_authority()), sni={"a.example": inner})
    stranger = issue(ca=other_authority())
    client = trusting(maximum_version=version, certificate=stranger.pem)
    resume(Pair(client, server, HOST))
    client._sessions["a.example"] = client._sessions[HOST]
    assert failure(Pair(client, server, "a.example")).code == NO_ISSUER


@pytest.mark.parametrize("demand", [False, True])
def test_sessions_are_resumed_unless_hosts_differ_in_whom_they_admit(demand: bool) -> None:
    inner = asking() if demand else serving()
    client, server = trusting(), serving(sni={"a.example": inner})
    resume(Pair(client, server))
    second = Pair(client, server)
    second.handshake()
    assert peer.session_reused(second.client) is not demand


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("where", ["host", "owner"])
def test_sessions_are_not_resumed_if_any_host_says_so(version: str, where: str) -> None:
    inner = serving(issue(names=("a.example",)).pem, resume=where != "host")
    server = serving(sni={"a.example": inner}, resume=where != "owner")
    client = trusting(maximum_version=version)
    for name in (HOST, "a.example"):
        resume(Pair(client, server, name))
        second = Pair(client, server, name)
        second.handshake()
        assert peer.session_reused(second.server) is False


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_a_virtual_host_is_resumed_there(version: str) -> None:
    server, _ = hosts()
    client = trusting(maximum_version=version)
    resume(Pair(client, server, "a.example"))
    second = Pair(client, server, "a.example")
    second.handshake()
    assert peer.session_reused(second.server) is True


@pytest.mark.parametrize("version", VERSIONS)
def test_a_virtual_host_has_revocation_lists_of_its_own(version: str) -> None:
    good, bad = issue(), issue()
    listed = asking(
        crl=revocation_list(bad.certificate), minimum_version=version, maximum_version=version
    )
    server = asking(sni={HOST: listed}, minimum_version=version, maximum_version=version)
    Pair(trusting(certificate=good.pem), server).handshake()
    Pair(trusting(certificate=bad.pem, check_hostname=False), server, "b.example").handshake()
    assert failure(Pair(trusting(certificate=bad.pem), server)).code == REVOKED


def test_a_virtual_host_has_ciphers_and_protocols_of_its_own() -> None:
    both: dict[str, Any] = {"maximum_version": "TLSv1.2"}
    inner = serving(alpn=["h2"], ciphers="ECDHE-ECDSA-AES256-GCM-SHA384", **both)
    pair = Pair(trusting(alpn=["h2"]), serving(sni={HOST: inner}, **both))
    pair.handshake()
    assert pair.server.get_cipher_name() == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert peer.alpn_protocol(pair.client) == "h2"


@pytest.mark.parametrize(
    ("owner", "host", "text"),
    [
        ({}, {"minimum_version": "TLSv1.3"}, "another minimum_version or maximum_version"),
        ({}, {"maximum_version": "TLSv1.2"}, "another minimum_version or maximum_version"),
        ({"minimum_version": "TLSv1.3"}, {}, "another minimum_version or maximum_version"),
        ({}, {"dtls": True}, "dtls=True"),
        ({"dtls": True}, {}, "dtls=False"),
    ],
)
def test_what_is_decided_before_the_host_is_known(
    owner: dict[str, Any], host: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=f"sni: the context of 'a.example' has {text}"):
        serving(sni={"A.example.": serving(**host)}, **owner)


def test_hosts_that_say_the_same_as_their_table_in_other_words() -> None:
    serving(sni={"a.example": serving(maximum_version="TLSv1.3")})
    serving(sni={"a.example": serving(dtls=True, maximum_version="TLSv1.2")}, dtls=True)


def test_a_table_in_a_table() -> None:
    inner = serving(sni={"a.example": serving()})
    with pytest.raises(ValueError, match=r"'b\.example' has a table itself"):
        serving(sni={"b.example": inner})


def test_a_name_that_must_be_known_needs_a_table() -> None:
    for table in (None, {}):
        with pytest.raises(ValueError, match="sni_required"):
            serving(sni=table, sni_required=True)


@pytest.mark.parametrize(
    "context",
    [trusting(), SSL.Context(SSL.TLS_METHOD), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None, "x"],
)
def test_a_table_of_virtual_hosts_holds_servers(context: Any) -> None:
    with pytest.raises(TypeError, match=r"server contexts, as ssl_ext\.server_context\(\)"):
        serving(sni={"a.example": context})


@pytest.mark.parametrize("table", [["a.example"], "a.example", 5, serving()])
def test_a_table_is_a_mapping(table: Any) -> None:
    with pytest.raises(TypeError, match="sni is a mapping"):
        serving(sni=table)


@pytest.mark.parametrize(
    "name",
    ["", ".", "*", "*.", "a.*.b", "foo*.b", "*.*.b", "a b", "a..b", "127.0.0.1", "::1", "[::1]"],
)
def test_names_that_no_client_can_ask_for(name: str) -> None:
    with pytest.raises(ValueError, match=r"^sni") as why:
        serving(sni={name: serving()})
    assert repr(name) in str(why.value)


def test_names_that_are_no_text_or_there_twice() -> None:
    with pytest.raises(TypeError, match="sni is text"):
        serving(sni={b"a.example": serving()})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"'a\.example' is there twice"):
        serving(sni={"a.example": serving(), "A.EXAMPLE": serving()})


def test_a_name_outside_of_ascii_in_a_table() -> None:
    server = serving(sni={"bücher.example": serving(issue(names=("xn--bcher-kva.example",)).pem)})
    Pair(trusting(), server, "bücher.example").handshake()


def test_a_reload_reaches_virtual_hosts_and_forgets_sessions(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(issue(names=("a.example",)).pem)
    server = serving(sni={"a.example": server_context(path)})
    client = trusting()
    resume(Pair(client, server, "a.example"))
    path.write_bytes(issue(names=("b.example",)).pem)
    server.reload()
    client.reload()
    assert failure(Pair(client, server, "a.example")).code == NAME_MISMATCH


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_reload_that_fails_for_one_host_changes_none(tmp_path: Path, broken: int) -> None:
    names = [HOST, "a.example", "b.example"]
    paths = [tmp_path / name for name in names]
    for path, name in zip(paths, names, strict=True):
        path.write_bytes(issue(names=(name,)).pem)
    table = {name: server_context(path) for name, path in zip(names[1:], paths[1:], strict=True)}
    server = server_context(paths[0], sni=table)
    for path in paths:
        path.write_bytes(issue(names=("new.example",)).pem)
    paths[broken].write_bytes(b"half-written")
    with pytest.raises(ValueError, match=names[broken]):
        server.reload()
    for name in names:
        Pair(trusting(), server, name).handshake()
    paths[broken].write_bytes(issue(names=("new.example",)).pem)
    server.reload()
    for name in names:
        assert failure(Pair(trusting(), server, name)).code == NAME_MISMATCH
