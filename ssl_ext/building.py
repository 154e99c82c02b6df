"""From settings to OpenSSL's own context, and the callbacks that it gets.

A callback notes what it sees on the connection's app data and raises nothing: what a verify
callback raises is lost, or comes out of the handshake raw.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
from OpenSSL import SSL, crypto

from . import peer
from ._cookies import Cookies
from ._openssl import use_groups
from .certificates import Identity, Source, load_certificates, load_crls, load_identity
from .settings import AUTH_MODES, GROUPS, OLDER_GROUPS, Authorities, Client, Server, version

if TYPE_CHECKING:
    from .contexts import Context

_log = logging.getLogger("ssl_ext")


@dataclass
class Seen:
    """What the callbacks of one connection noted; its app data."""

    context: Context
    server_hostname: str | None = None
    failure: tuple[int, int] | None = None  # X509_V_ERR number and depth
    stapled: bytes = b""
    address: bytes = b""  # whose datagrams these are, as cookies vouch for it
    unknown_host: str | None = None  # what the client asked for and is not in the table
    verified: bool = False


def seen_of(connection: SSL.Connection) -> Seen:
    """Return the notes on a connection. Raises `TypeError` for one made by others."""
    seen = connection.get_app_data()
    if not isinstance(seen, Seen):
        raise TypeError(f"{connection!r} was not made by Context.connection()")
    return seen


def _note_verification(
    connection: SSL.Connection, certificate: object, code: int, depth: int, fine: int
) -> bool:
    if not fine:
        seen = connection.get_app_data()
        if isinstance(seen, Seen) and seen.failure is None:
            seen.failure = code, depth
    # Nothing but OpenSSL's own verdict: a true value would overrule it.
    return bool(fine)


def _note_stapled(connection: SSL.Connection, response: bytes, data: object) -> bool:
    seen_of(connection).stapled = response
    return True


def build(settings: Client | Server) -> SSL.Context:
    """Return OpenSSL's context for settings, with everything that is in files read anew."""
    server_side = isinstance(settings, Server)
    if settings.dtls:
        method = SSL.DTLS_SERVER_METHOD if server_side else SSL.DTLS_CLIENT_METHOD
    else:
        method = SSL.TLS_SERVER_METHOD if server_side else SSL.TLS_CLIENT_METHOD
    context = SSL.Context(method)
    context.set_min_proto_version(version(settings.minimum_version, settings.dtls))
    if settings.maximum_version is not None:
        context.set_max_proto_version(version(settings.maximum_version, settings.dtls))
    # Without renegotiation: fact of CVE-2009-3555 and of denial of service. Without
    # compression: CRIME.
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # some 34 KB less for each idle connection
    try:
        context.set_cipher_list(settings.ciphers.encode("ascii"))
    except SSL.Error:
        raise ValueError(f"OpenSSL knows no cipher in {settings.ciphers!r}") from None
    if settings.certificate is not None:
        _use_identity(context, load_identity(settings.certificate, settings.key, settings.password))
    if settings.keylog is not None:
        context.set_keylog_callback(_key_logger(Path(settings.keylog)))
    if isinstance(settings, Server):
        _build_server(context, settings)
    else:
        _build_client(context, settings)
    return context


def _build_client(context: SSL.Context, settings: Client) -> None:
    if settings.verify:
        _trust(context, settings.ca, settings.crl)
        context.set_verify(SSL.VERIFY_PEER, _note_verification)
    else:
        context.set_verify(SSL.VERIFY_NONE)
    if settings.dtls:
        context.set_options(SSL.OP_NO_QUERY_MTU)
    if settings.alpn:
        context.set_alpn_protos(list(settings.alpn))
    if settings.stapling != "none":
        context.set_ocsp_client_callback(_note_stapled)
    if settings.resume:
        context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT | SSL.SESS_CACHE_NO_INTERNAL)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)


def _build_server(context: SSL.Context, settings: Server) -> None:
    if settings.dtls:
        context.set_options((SSL.OP_COOKIE_EXCHANGE or 0) | SSL.OP_NO_QUERY_MTU)
        cookies = Cookies()
        context.set_cookie_generate_callback(lambda c: cookies.make(seen_of(c).address))
        context.set_cookie_verify_callback(lambda c, k: cookies.match(seen_of(c).address, k))
    use_groups(context, GROUPS, OLDER_GROUPS)
    context.set_verify(AUTH_MODES[settings.client_auth], _note_verification)
    if settings.client_auth != "none":
        for certificate in _trust(context, settings.ca, settings.crl):
            context.add_client_ca(certificate)
    if settings.alpn:
        context.set_alpn_select_callback(_alpn_selector(settings.alpn))
    if settings.stapled is not None:
        context.set_ocsp_server_callback(_stapler(settings.stapled))
    context.set_tlsext_servername_callback(_host_chooser(settings))
    # Servers that ask for client certificates can't resume without it
    # (SSL_CTX_set_session_id_context(3)).
    context.set_session_id(hashlib.sha256(repr(settings).encode()).digest())
    if settings.resume and not _hosts_differ(settings):
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)


def _hosts_differ(settings: Server) -> bool:
    """Whether a session of one virtual host could be worth more at another.

    OpenSSL decides about resumption before the host is chosen, and whatever the session id
    context of that host is.
    """
    asks = [settings.client_auth, *(server_settings(c).client_auth for c in settings.sni.values())]
    return len(asks) > 1 and any(ask != "none" for ask in asks)


def server_settings(context: Context) -> Server:
    """Return the settings of a server's context. Raises `TypeError` for a client's."""
    settings = context.settings
    if not isinstance(settings, Server):
        raise TypeError(f"a table for SNI holds server contexts, not {context!r}")
    return settings


def _use_identity(context: SSL.Context, identity: Identity) -> None:
    try:
        context.use_certificate(identity.chain[0])
        context.use_privatekey(identity.key)
        for certificate in identity.chain[1:]:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as why:
        reasons = ", ".join(entry[-1] for entry in why.args[0]) if why.args else "no reason given"
        raise ValueError(f"OpenSSL refuses the certificate or its key: {reasons}") from None


def _trust(
    context: SSL.Context, ca: Authorities | None, crl: Source | Iterable[Source] | None
) -> list[Any]:
    """Believe authorities; return those that were named one by one."""
    named: list[Any] = []
    store = context.get_cert_store()
    assert store is not None
    if ca is None or ca == "certifi":
        context.load_verify_locations(certifi.where())
    elif ca == "system":
        context.set_default_verify_paths()
    else:
        named = load_certificates(ca)
        for certificate in named:
            store.add_cert(crypto.X509.from_cryptography(certificate))
    if crl is not None:
        for revoked in load_crls(crl):
            store.add_crl(revoked)
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK)
    return named


def _alpn_selector(ours: tuple[bytes, ...]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    def select(connection: SSL.Connection, theirs: list[bytes]) -> Any:
        for protocol in ours:  # the server's order counts
            if protocol in theirs:
                return protocol
        # Go on without, as the standard library's ssl does; the application sees that.
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return select


def _host_chooser(settings: Server) -> Callable[[SSL.Connection], None]:
    def choose(connection: SSL.Connection) -> None:
        asked = (peer.server_name(connection) or "").lower().rstrip(".")
        _, _, parent = asked.partition(".")
        context = settings.sni.get(asked) or settings.sni.get(f"*.{parent}")
        if context is None:
            if settings.sni_required:
                # Refused when the handshake has ended: an exception here would be printed.
                seen_of(connection).unknown_host = asked
            return
        seen = seen_of(connection)
        seen.context = context
        connection.set_context(context.openssl)
        # Not brought along by the context: CVE-2025-23419 was this, and others before.
        mode = AUTH_MODES[server_settings(context).client_auth]
        connection.set_verify(mode, _note_verification)

    return choose


def _stapler(
    source: bytes | str | os.PathLike[str] | Callable[[], bytes],
) -> Callable[[SSL.Connection, Any], bytes]:
    response: bytes | Callable[[], bytes]
    if isinstance(source, bytes) or callable(source):
        response = source
    else:
        response = Path(source).read_bytes()

    def staple(connection: SSL.Connection, data: object) -> bytes:
        if isinstance(response, bytes):
            return response
        try:
            return response()
        except Exception:
            # Without one the client decides; an exception would come out of the handshake raw.
            _log.exception("no OCSP response could be made")
            return b""

    return staple


def _key_logger(path: Path) -> Callable[[SSL.Connection, bytes], None]:
    # The format is the one of NSS; the file is nobody else's.
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))

    def write(connection: SSL.Connection, line: bytes) -> None:
        try:
            with path.open("ab") as file:
                file.write(line + b"\n")
        except OSError:
            _log.exception("a key could not be logged")

    return write
