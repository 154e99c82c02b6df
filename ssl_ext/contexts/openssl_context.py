"""From settings to OpenSSL's own context, with everything that is in files read anew."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
from cryptography import x509
from OpenSSL import SSL, crypto

from .._openssl import refuse_hosts, tell_rejections, use_groups
from ..certificates import ocsp
from ..certificates.loading import (
    Identity,
    load_certificates,
    load_crls,
    load_identity,
    out_of_time,
)
from ..certificates.quiet import quietly
from ..certificates.sources import Source
from .cookies import Cookies
from .handshake_notes import note_stapled, note_verification, notes_of
from .settings import AUTH_MODES, GROUPS, OLDER_GROUPS, PUBLIC, Client, Common, Server
from .sni import alert_of, chooser, resumes

_log = logging.getLogger("ssl_ext")


def build(settings: Client | Server) -> SSL.Context:
    """Return OpenSSL's context for settings. Raises `OSError` and `ValueError` for the files."""
    server_side = isinstance(settings, Server)
    if settings.dtls:
        method = SSL.DTLS_SERVER_METHOD if server_side else SSL.DTLS_CLIENT_METHOD
    else:
        method = SSL.TLS_SERVER_METHOD if server_side else SSL.TLS_CLIENT_METHOD
    context = SSL.Context(method)
    lowest, highest = settings.versions
    context.set_min_proto_version(lowest)
    context.set_max_proto_version(highest)
    # Without renegotiation: fact of CVE-2009-3555 and of denial of service. Without
    # compression: CRIME.
    context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # some 34 KB less for each idle connection
    try:
        context.set_cipher_list(settings.ciphers.encode())
    except SSL.Error:
        raise ValueError(
            f"ciphers: OpenSSL knows no cipher in {settings.ciphers!r} (those of TLS 1.3 can't be "
            "chosen)"
        ) from None
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
        _trust(context, settings)
        context.set_verify(SSL.VERIFY_PEER, note_verification)
        if settings.pins is not None:
            tell_rejections(context)
    else:
        context.set_verify(SSL.VERIFY_NONE)
    if settings.dtls:
        context.set_options(SSL.OP_NO_QUERY_MTU)
    if settings.alpn:
        context.set_alpn_protos(list(settings.alpn))
    if settings.stapling != "none":
        context.set_ocsp_client_callback(note_stapled)
    if settings.resume:
        context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT | SSL.SESS_CACHE_NO_INTERNAL)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)


def _build_server(context: SSL.Context, settings: Server) -> None:
    if settings.dtls:
        context.set_options((SSL.OP_COOKIE_EXCHANGE or 0) | SSL.OP_NO_QUERY_MTU)
        cookies = Cookies()
        context.set_cookie_generate_callback(lambda c: cookies.make(notes_of(c).address))
        context.set_cookie_verify_callback(lambda c, k: cookies.match(notes_of(c).address, k))
    use_groups(context, GROUPS, OLDER_GROUPS)
    context.set_verify(AUTH_MODES[settings.client_auth], note_verification)
    if settings.client_auth != "none":
        for certificate in _trust(context, settings):
            context.add_client_ca(certificate)
    if settings.alpn:
        context.set_alpn_select_callback(_alpn_selector(settings.alpn))
    if settings.stapled is not None:
        context.set_ocsp_server_callback(_stapler(settings.stapled))
    if settings.sni:
        # Without it OpenSSL does not acknowledge the name (RFC 6066 section 3), for it changes
        # nothing.
        context.set_tlsext_servername_callback(chooser(settings))
        if settings.sni_required:
            refuse_hosts(context, alert_of)
    # Servers that ask for client certificates can't resume without it
    # (SSL_CTX_set_session_id_context(3)). Any will do: the ticket keys are this context's own.
    context.set_session_id(os.urandom(32))
    if resumes(settings):
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    else:
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)


def _use_identity(context: SSL.Context, identity: Identity) -> None:
    try:
        context.use_certificate(identity.chain[0])
        context.use_privatekey(identity.key)
        for certificate in identity.chain[1:]:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as why:
        reasons = ", ".join(entry[-1] for entry in why.args[0]) if why.args else "no reason given"
        raise ValueError(f"OpenSSL refuses the certificate or its key: {reasons}") from None


def _trust(context: SSL.Context, settings: Common) -> list[x509.Certificate]:
    """Believe authorities; return those that were named one by one."""
    named: list[x509.Certificate] = []
    store = context.get_cert_store()
    assert store is not None
    # Whoever is named is believed, be it a root or not, as by the standard library's ssl.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if isinstance(settings, Client) and settings.strict:
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
    parts: tuple[Any, ...] = tuple(settings.ca or ("certifi",))  # type: ignore[arg-type]
    for part in parts:
        if part == "certifi":
            context.load_verify_locations(certifi.where())
        elif part == "system":
            context.set_default_verify_paths()
        else:
            named += load_certificates(part)
    _look_at_times(named, alone=not any(part in PUBLIC for part in parts))
    for certificate in named:
        store.add_cert(crypto.X509.from_cryptography(certificate))
    if settings.crl is not None:
        for revoked in load_crls(settings.crl):
            store.add_crl(revoked)
        # Where there is no list for an authority, `note_verification` lets it pass.
        store.set_flags(crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL)
    return named


def _look_at_times(named: list[x509.Certificate], alone: bool) -> None:
    """Tell of authorities that are out of time: whom they vouch for is refused. Raises `ValueError`
    if they are `alone`, and so nobody could be believed."""
    with quietly():
        old = out_of_time(named)
        names = "; ".join(
            f"{found.subject.rfc4514_string()} ({found.not_valid_before_utc:%Y-%m-%d} to "
            f"{found.not_valid_after_utc:%Y-%m-%d})"
            for found in old
        )
    if old and alone and len(old) == len(named):
        raise ValueError(f"ca: no authority there is valid now: {names}")
    if old:
        _log.warning(
            "whom these authorities vouch for is refused, for they are no longer (or not "
            "yet) valid: %s",
            names,
        )


def _alpn_selector(ours: tuple[bytes, ...]) -> Callable[[SSL.Connection, list[bytes]], Any]:
    def select(connection: SSL.Connection, theirs: list[bytes]) -> Any:
        for protocol in ours:  # the server's order counts
            if protocol in theirs:
                return protocol
        # Go on without, as the standard library's ssl does; the application sees that.
        return SSL.NO_OVERLAPPING_PROTOCOLS

    return select


def _stapler(
    source: Source | Callable[[], bytes | None],
) -> Callable[[SSL.Connection, object], bytes]:
    if not callable(source):
        response = ocsp.load(source)
        return lambda connection, data: response
    make = source

    def staple(connection: SSL.Connection, data: object) -> bytes:
        # Without a response the client decides; an exception would come out of the handshake raw.
        try:
            made = make()
        except Exception:
            _log.exception("no OCSP response could be made")
            return b""
        if made is None or isinstance(made, bytes):
            return made or b""
        _log.error(
            "no OCSP response is stapled: %r returned one of the type %s, not bytes",
            make,
            type(made).__name__,
        )
        return b""

    return staple


def _key_logger(path: Path) -> Callable[[SSL.Connection, bytes], None]:
    # The format is the one of NSS; the file is nobody else's.
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError as why:
        raise type(why)(why.errno, f"can't write the key log: {why.strerror}", str(path)) from None

    def write(connection: SSL.Connection, line: bytes) -> None:
        try:
            with path.open("ab") as file:
                file.write(line + b"\n")
        except OSError:
            _log.exception("a key could not be logged")

    return write
