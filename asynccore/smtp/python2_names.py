"""The names that the attributes of `SMTPChannel` had in Python 2, private to that class.

Programs subclass it under its own name, so that `self.__rcpttos` in their methods finds them.
"""

from __future__ import annotations

from warnings import warn


def _renamed(old: str, new: str) -> property:
    """Return a property that leads from a name of Python 2's channel to that of today."""

    def get(self: object) -> object:
        warn(
            f"Access to {old} attribute on SMTPChannel is deprecated, use {new!r} instead",
            DeprecationWarning,
            2,
        )
        return getattr(self, new)

    def set(self: object, value: object) -> None:
        warn(
            f"Setting {old} attribute on SMTPChannel is deprecated, set {new!r} instead",
            DeprecationWarning,
            2,
        )
        setattr(self, new, value)

    return property(get, set)


class RenamedAttributes:
    """Properties under the old names; each warns."""

    _SMTPChannel__server = _renamed("__server", "smtp_server")
    _SMTPChannel__line = _renamed("__line", "received_lines")
    _SMTPChannel__state = _renamed("__state", "smtp_state")
    _SMTPChannel__greeting = _renamed("__greeting", "seen_greeting")
    _SMTPChannel__mailfrom = _renamed("__mailfrom", "mailfrom")
    _SMTPChannel__rcpttos = _renamed("__rcpttos", "rcpttos")
    _SMTPChannel__data = _renamed("__data", "received_data")
    _SMTPChannel__fqdn = _renamed("__fqdn", "fqdn")
    _SMTPChannel__peer = _renamed("__peer", "peer")
    _SMTPChannel__conn = _renamed("__conn", "conn")
    _SMTPChannel__addr = _renamed("__addr", "addr")
