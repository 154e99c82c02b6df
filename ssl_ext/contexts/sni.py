"""Virtual hosts: which context answers for the name that a client asks for (RFC 6066 section 3).

*Facts.* OpenSSL agrees on the version of TLS, and decides whether a session is resumed, before it
asks which host is meant. Another context then brings along its certificate, authorities, ciphers
and callbacks, but not its demand for client certificates.
*Consequence.* What would not count is refused when the table is made, or holds for all hosts. A
name that must be known and is not ends the handshake by an alert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from OpenSSL import SSL

from .. import peer
from ..certificates.hostnames import sni_key
from .handshake_notes import note_verification, notes_of
from .settings import AUTH_MODES, Server, ServerContext

_MISSING_EXTENSION = 109
_UNRECOGNIZED_NAME = 112


def checked_table(sni: Mapping[str, ServerContext] | None) -> dict[str, ServerContext]:
    """Return a table for SNI by names in lower case.

    Raises `TypeError` and `ValueError` for what is none, and for names that can't be asked for.
    """
    if sni is None:
        return {}
    if not isinstance(sni, Mapping):
        raise TypeError(f"sni is a mapping from host names to server contexts, not {sni!r}")
    table: dict[str, ServerContext] = {}
    for name, context in sni.items():
        key = sni_key(name)
        if key in table:
            raise ValueError(f"sni: {key!r} is there twice")
        server_settings(context)
        table[key] = context
    return table


def check_agreement(settings: Server) -> None:
    """Raise `ValueError` if the hosts of a table want what their owner can't give them."""
    if settings.sni_required and not settings.sni:
        raise ValueError("sni_required=True refuses every name without a table: give sni={...}")
    for name, context in settings.sni.items():
        host = server_settings(context)
        if host.sni:
            raise ValueError(f"sni: the context of {name!r} has a table itself, which nobody reads")
        if host.dtls != settings.dtls:
            raise ValueError(
                f"sni: the context of {name!r} has dtls={host.dtls}, and that of the table "
                f"dtls={settings.dtls}"
            )
        if host.versions != settings.versions:
            raise ValueError(
                f"sni: the context of {name!r} has another minimum_version or maximum_version "
                "than that of the table; the version is agreed on before the host is known: give "
                "both the same"
            )


def server_settings(context: ServerContext) -> Server:
    """Return the settings of a server's context. Raises `TypeError` for whatever else."""
    settings = getattr(context, "settings", None)
    if not isinstance(settings, Server):
        raise TypeError(
            f"sni holds server contexts, as ssl_ext.server_context() makes them, not {context!r}"
        )
    return settings


def resumes(settings: Server) -> bool:
    """Whether sessions are resumed: not if any host says so, nor if a session of one host could be
    worth more at another, whatever the session id context of that host is.
    """
    hosts = [settings, *(server_settings(context) for context in settings.sni.values())]
    if not all(host.resume for host in hosts):
        return False
    return len(hosts) == 1 or all(host.client_auth == "none" for host in hosts)


def chooser(settings: Server) -> Callable[[SSL.Connection], None]:
    """Return the callback that looks a client's wish up (`set_tlsext_servername_callback`)."""

    def choose(connection: SSL.Connection) -> None:
        asked = (peer.server_name(connection) or "").lower().rstrip(".")
        _, _, parent = asked.partition(".")
        context = settings.sni.get(asked) or settings.sni.get(f"*.{parent}")
        if context is None:
            if settings.sni_required:
                notes_of(connection).unknown_host = asked
            return
        seen = notes_of(connection)
        seen.context = context
        connection.set_context(context.openssl)
        # Not brought along by the context: CVE-2025-23419 was this, and others before.
        mode = AUTH_MODES[server_settings(context).client_auth]
        connection.set_verify(mode, note_verification)

    return choose


def alert_of(connection: SSL.Connection) -> int | None:
    """Return the alert for a client whose wish is not to be met (RFC 8446 section 6)."""
    asked = notes_of(connection).unknown_host
    if asked is None:
        return None
    # RFC 8446 section 9.2. Before TLS 1.3, there is no such alert.
    silent = not asked and connection.get_protocol_version() == SSL.TLS1_3_VERSION
    return _MISSING_EXTENSION if silent else _UNRECOGNIZED_NAME
