"""Contexts: what a side of TLS shows, whom it believes, and what it agrees to.

*Facts.* OpenSSL's defaults verify nothing, and check no host name. A context must not
change once a connection was made with it. A virtual host chosen by SNI brings its certificate
along, but not its demand for client certificates. A session that was begun without a client
certificate may be resumed where one is demanded.

*Consequence.* Two functions with safe defaults, `client_context` and `server_context`. Each
gives a `Context` of fixed settings, which builds OpenSSL's own when it is made and at every
`reload()`; what can be known to be wrong is an error then. Callbacks note what they see on the
connection and raise nothing; a server with another name, another key than the pinned ones, or
without the stapled response that it should have ends the handshake, and learns nothing of us. When
the handshake has ended, `_ac_verify_peer` looks at everything that OpenSSL does not look at, and
the application gets no byte before that. Where virtual hosts differ in their demand for client
certificates, sessions are not resumed.

*Trade-off.* A reload builds new ticket keys: clients that come back do one full handshake.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from socket import socket
from typing import TYPE_CHECKING

from cryptography import x509
from OpenSSL import SSL

from asynccore.classic.former import under_former_name

from .. import peer
from .._openssl import expect_address, expect_host, verify_error_text
from ..certificates import ocsp
from ..certificates.hostnames import address, ascii_name, check_server_hostname
from ..certificates.loading import Password
from ..certificates.pins import checked as checked_pins
from ..certificates.pins import matches, pin
from ..certificates.quiet import quietly
from ..certificates.sources import Source
from ..errors import CertificateError, HandshakeError
from ..peer import MISMATCHES
from .handshake_notes import HandshakeNotes, notes_of
from .openssl_context import build
from .settings import (
    AUTH_MODES,
    CIPHERS,
    Authorities,
    Client,
    ClientAuth,
    Server,
    Stapling,
    choice,
    protocols,
)
from .sni import check_agreement, checked_table

# Sessions that a client context keeps for coming back, one for each host name. nginx's upstream
# cache and browsers keep a few hundred.
_SESSIONS = 256

# X509_V_ERR numbers that only X509_V_FLAG_X509_STRICT brings about: from PATHLEN_INVALID_FOR_NON_CA
# to EXTENSIONS_REQUIRE_VERSION_3 (x509_vfy.h).
_STRICT = range(80, 94)

# OpenSSL's words for a client that answered the demand for a certificate with none.
_NO_CERTIFICATE = "peer did not return a certificate"


class Context:
    """TLS settings for any number of connections of one role.

    `client_context`, `server_context` and `insecure_context` make contexts. You cannot change one
    afterwards, but `reload` reads its files again.
    """

    def __init__(self, settings: Client | Server) -> None:
        self.settings = settings
        self._sessions: OrderedDict[str | None, SSL.Session] = OrderedDict()
        self._openssl = build(self.settings)

    @property
    def server_side(self) -> bool:
        """Whether the context is for a server, which accepts connections."""
        return isinstance(self.settings, Server)

    @property
    def dtls(self) -> bool:
        """Whether the context is for datagrams."""
        return self.settings.dtls

    @property
    def openssl(self) -> SSL.Context:
        """The `OpenSSL.SSL.Context` of new connections. It must not be changed."""
        return self._openssl

    def __repr__(self) -> str:
        role = "server" if self.server_side else "client"
        certificate = self.settings.certificate
        shown = "" if certificate is None or isinstance(certificate, bytes) else f" {certificate}"
        return f"<{role} context{shown}>"

    if not TYPE_CHECKING:  # to which any name would be one of ours

        def __getattr__(self, name: str) -> object:
            """Find what 0.1.0 had by a public name."""
            return under_former_name(self, name, "a context")

    def reload(self) -> None:
        """Read certificates, keys, authorities and lists anew, for new connections.

        Connections that exist keep what they have. Contexts of an `sni` table are reloaded, too. If
        anything is wrong with the files of any, this raises as the constructing function does, and
        the old ones stay in use.
        """
        contexts: dict[Context, None] = {self: None}  # each once, under however many names
        if isinstance(self.settings, Server):
            hosts = (host for host in self.settings.sni.values() if isinstance(host, Context))
            contexts.update(dict.fromkeys(hosts))
        built = [(context, build(context.settings)) for context in contexts]
        for context, openssl in built:
            context._openssl = openssl
            context._sessions.clear()  # they belong to the old one

    def _ac_connection(
        self,
        sock: socket | None = None,
        server_side: bool | None = None,
        server_hostname: str | None = None,
    ) -> SSL.Connection:
        """Return a connection over a socket, or over memory buffers without one.

        `server_hostname` is whom a client wants to reach: a host name or an IP address. Raises
        `ValueError` for the wrong role, for a client without a name that is to be checked, and for
        a name that no host can have.
        """
        settings = self.settings
        if server_side is not None and server_side != self.server_side:
            raise ValueError(f"{self!r} can't be used for the other side of a connection")
        if isinstance(settings, Client) and settings.verify and settings.check_hostname:
            if not server_hostname:
                raise ValueError(
                    "whose certificate is expected? Give server_hostname=..., "
                    "or make the context with check_hostname=False"
                )
        check_server_hostname(server_hostname)
        connection = SSL.Connection(self._openssl, sock)
        connection.set_app_data(HandshakeNotes(self, server_hostname))
        if isinstance(settings, Server):
            connection.set_accept_state()
        else:
            connection.set_connect_state()
            self._prepare_client(connection, settings, server_hostname)
        return connection

    def _prepare_client(
        self, connection: SSL.Connection, settings: Client, server_hostname: str | None
    ) -> None:
        host = b""
        found = address(server_hostname) if server_hostname else None
        if server_hostname and found is None:
            # RFC 6066 section 3: names alone, and without the dot at the end.
            host = ascii_name(server_hostname).encode("ascii")
            connection.set_tlsext_host_name(host)
        if settings.verify:
            # What is wrong ends the handshake, before this side shows a certificate of its own.
            seen = notes_of(connection)
            if settings.check_hostname:
                if found is not None:
                    seen.name_expected = expect_address(connection, found.packed)
                else:
                    seen.name_expected = expect_host(connection, host)
            if settings.pins is not None:
                seen.accepts_chain = self._check_pins
            seen.accepts_stapled = self._check_stapled
        if settings.stapling != "none":
            connection.request_ocsp()
        session = self._sessions.get(server_hostname)
        if session is not None:
            connection.set_session(session)

    def _ac_verify_peer(
        self, connection: SSL.Connection, server_hostname: str | None = None
    ) -> None:
        """Look, after the handshake, at what OpenSSL does not look at.

        That is the host name or address (RFC 9525), pins, the stapled OCSP
        response, and that a client certificate is there if it is required. `server_hostname` is
        by default the one of `connection()`. Raises `CertificateError`, and `HandshakeError` for
        a virtual host that is required to exist and does not.
        """
        seen = notes_of(connection)
        settings = seen.context.settings
        if seen.unknown_host is not None:
            raise _unknown(seen.unknown_host)
        if isinstance(settings, Server):
            if settings.client_auth == "required" and peer.peer_certificate(connection) is None:
                raise CertificateError("the client showed no certificate")
        elif settings.verify:
            self._verify_server(connection, settings, server_hostname or seen.server_hostname)
        seen.verified = True

    def _verify_server(
        self, connection: SSL.Connection, settings: Client, name: str | None
    ) -> None:
        certificate = peer.peer_certificate(connection)
        if certificate is None:
            raise CertificateError("the server showed no certificate")
        seen = notes_of(connection)
        if settings.check_hostname:
            if not name:
                raise CertificateError("there is no name that the certificate could be checked for")
            if not (seen.name_checked and name == seen.server_hostname):
                peer.check_name(certificate, name)
        if peer.session_reused(connection):
            return  # the rest was seen when the session began, in this very context
        if settings.pins is not None:
            _check_pins(settings.pins, peer.peer_chain(connection))
        self._check_stapled(connection)

    def _check_pins(self, connection: SSL.Connection) -> None:
        """Look at a chain that OpenSSL has just verified. Raises `CertificateError`."""
        assert isinstance(self.settings, Client) and self.settings.pins is not None
        found = sorted(notes_of(connection).chain.items())
        with peer.readable(), quietly():
            chain = [certificate.to_cryptography() for _, certificate in found]
        _check_pins(self.settings.pins, chain)

    def _check_stapled(self, connection: SSL.Connection) -> None:
        """Look at what a server has stapled. Raises `CertificateError`."""
        assert isinstance(self.settings, Client)
        stapling = self.settings.stapling
        if stapling == "none" or peer.session_reused(connection):
            return
        stapled = notes_of(connection).stapled
        if stapled:
            chain = peer.peer_chain(connection)
            ocsp.check(stapled, chain[0], chain[1] if len(chain) > 1 else chain[0])
        elif stapling == "require":
            raise CertificateError("the server stapled no OCSP response")

    def _ac_failure(
        self, connection: SSL.Connection, queue: Sequence[tuple[str, str, str]] = ()
    ) -> HandshakeError | None:
        """Return what was wrong with the peer's certificate, or with the name that it asked for, in
        a handshake that failed.

        `queue` is OpenSSL's error queue. `None` if it failed for another reason.
        """
        seen = notes_of(connection)
        if seen.unknown_host is not None:
            return _unknown(seen.unknown_host, queue)
        if seen.refusal is not None:
            seen.refusal.queue = list(queue)
            return seen.refusal
        if seen.failure is not None:
            code, depth = seen.failure
            if code in MISMATCHES and seen.own is not None and seen.server_hostname:
                with peer.readable(), quietly():
                    certificate = seen.own.to_cryptography()
                return peer.wrong_name(certificate, seen.server_hostname, queue)
            text = f"certificate verify failed: {verify_error_text(code)}"
            if code in _STRICT:
                text += " (which strict=False accepts)"
            return CertificateError(text, queue, depth=depth, code=code)
        if any(entry[-1] == _NO_CERTIFICATE for entry in queue):
            return CertificateError("the client showed no certificate", queue)
        return None

    def _ac_remember(self, connection: SSL.Connection) -> None:
        """Keep a client's session, for the next connection to the same name to resume.

        In TLS 1.3 there is one only after the first read (RFC 8446 section 4.6.1). Sessions whose
        peer was not verified are not kept. OpenSSL takes sessions of connections that are freed
        without `shutdown()` for broken, and does not resume them.
        """
        seen = notes_of(connection)
        if (
            self.server_side
            or not self.settings.resume
            or not seen.verified
            or connection.get_context() is not self._openssl
        ):
            return
        session = connection.get_session()
        if session is not None:
            self._sessions[seen.server_hostname] = session
            self._sessions.move_to_end(seen.server_hostname)
            if len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)


def _check_pins(pins: frozenset[str], chain: Sequence[x509.Certificate]) -> None:
    if not matches(pins, chain):
        raise CertificateError(
            f"no key in the server's chain is pinned; its own is {pin(chain[0])}"
        )


def _unknown(host: str, queue: Sequence[tuple[str, str, str]] = ()) -> HandshakeError:
    return HandshakeError(f"no virtual host here is called {host!r}", queue)


def client_context(
    *,
    ca: Authorities | None = None,
    certificate: Source | None = None,
    key: Source | None = None,
    password: Password | None = None,
    check_hostname: bool = True,
    strict: bool = True,
    pins: str | Iterable[str] | None = None,
    crl: Source | Iterable[Source] | None = None,
    stapling: Stapling = "none",
    alpn: Iterable[str | bytes] = (),
    minimum_version: str = "TLSv1.2",
    maximum_version: str | None = None,
    ciphers: str = CIPHERS,
    resume: bool = True,
    keylog: str | os.PathLike[str] | None = None,
    dtls: bool = False,
) -> Context:
    """Return the settings of a client, which verifies its server.

    - `ca`: the authorities that the client believes, one or several. The default is certifi's.
      "system" means those in OpenSSL's own places. Otherwise give PEM files, folders of PEM files,
      or PEM text as bytes.
    - `certificate`, `key`, `password`: what the client shows if the server asks (`load_identity`).
    - `check_hostname`: whether the certificate must be for the `server_hostname`.
    - `strict`: whether the client refuses certificates that break rules of RFC 5280, such as an
      authority without its key's identifier (X509_V_FLAG_X509_STRICT, as in `ssl` since
      Python 3.13).
    - `pins`: public keys. One of them must be in the chain (`pin`).
    - `crl`: revocation lists. One of them must come from the issuer of the server's certificate.
      A list of an authority in between counts if you give one.
    - `stapling`: "request" checks the OCSP response if the server sends one. "require" also refuses
      a server that sends none.
    - `alpn`: application protocols, the best first (RFC 7301).
    - `minimum_version`, `maximum_version`: "TLSv1.2" or "TLSv1.3".
    - `ciphers`: the ciphers for TLS 1.2, as ciphers(1) describes.
    - `resume`: whether to resume sessions.
    - `keylog`: a file to which the secrets are written, for Wireshark.
    - `dtls`: whether the context is for datagrams (DTLS 1.2, RFC 6347) instead of streams.

    Raises `OSError` for a file that cannot be read, `ValueError` for a value that cannot be right,
    and `TypeError` for a value of the wrong type.
    """
    choice("stapling", stapling, ("none", "request", "require"))
    return Context(
        Client(
            certificate, key, password, ca, crl, minimum_version, maximum_version, ciphers,
            protocols(alpn), resume, keylog, dtls,
            check_hostname=check_hostname,
            strict=strict,
            pins=None if pins is None else checked_pins(pins),
            stapling=stapling,
        )
    )  # fmt: skip


def server_context(
    certificate: Source,
    key: Source | None = None,
    password: Password | None = None,
    *,
    client_auth: ClientAuth = "none",
    ca: Authorities | None = None,
    crl: Source | Iterable[Source] | None = None,
    sni: Mapping[str, Context] | None = None,
    sni_required: bool = False,
    stapled: Source | Callable[[], bytes | None] | None = None,
    alpn: Iterable[str | bytes] = (),
    minimum_version: str = "TLSv1.2",
    maximum_version: str | None = None,
    ciphers: str = CIPHERS,
    resume: bool = True,
    keylog: str | os.PathLike[str] | None = None,
    dtls: bool = False,
) -> Context:
    """Return the settings of a server.

    - `certificate`, `key`, `password`: what the server shows (`load_identity`).
    - `client_auth`: whether clients may ("optional") or must ("required") show a certificate of
      one of the authorities in `ca`. The server tells clients the names of these authorities. It
      always verifies a certificate that a client shows.
    - `crl`: revocation lists for client certificates. They count as they do for `client_context`.
    - `sni`: other server contexts by host name. "*.example.org" means all names one level below.
      All their settings count, also `client_auth`. But `minimum_version`, `maximum_version` and
      `dtls` must be the same as here, and these contexts have no table themselves. If one context
      says `resume=False` or asks for client certificates, no host resumes sessions.
    - `sni_required`: whether the server refuses names that are not in the table.
    - `stapled`: an OCSP response (DER) for the certificate, the file of one, or a function that
      returns one. The function returns `None` if there is none now.
    - The other arguments are those of `client_context`.

    Raises `OSError` for a file that cannot be read, `ValueError` for a value that cannot be right,
    and `TypeError` for a value of the wrong type.
    """
    choice("client_auth", client_auth, AUTH_MODES)
    if client_auth != "none" and ca is None:
        raise ValueError(
            f"client_auth={client_auth!r} needs ca=...: whose client certificates are accepted? "
            "(Public authorities know nothing of your clients.)"
        )
    if client_auth == "none" and (ca is not None or crl is not None):
        raise ValueError(
            "ca and crl are for client certificates: say client_auth='optional' or 'required'"
        )
    settings = Server(
        certificate, key, password, ca, crl, minimum_version, maximum_version, ciphers,
        protocols(alpn), resume, keylog, dtls,
        client_auth=client_auth,
        sni=checked_table(sni),
        sni_required=sni_required,
        stapled=stapled,
    )  # fmt: skip
    check_agreement(settings)
    return Context(settings)


def insecure_context(
    *,
    certificate: Source | None = None,
    key: Source | None = None,
    password: Password | None = None,
    alpn: Iterable[str | bytes] = (),
    keylog: str | os.PathLike[str] | None = None,
) -> Context:
    """Return the settings of a client that believes every server. Use it only in tests.

    Anyone between the two sides can read and change the data.
    """
    return Context(
        Client(
            certificate, key, password, alpn=protocols(alpn), resume=False, keylog=keylog,
            verify=False, check_hostname=False,
        )
    )  # fmt: skip
