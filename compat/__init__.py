"""Running programs written for asyncore, asynchat and smtpd, unchanged.

`install()` puts asynccore's modules under the three legacy names in this process, `uninstall()`
undoes it. `attach()` lets asyncio, uvloop or Twisted drive the channels of a map. The command line
(`asynccore run`, `enable`, `disable`, `demo`) is in `compat.cli`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from compat.attaching import attach
from compat.names import LegacyModuleWarning, install, uninstall

if TYPE_CHECKING:
    from compat.twisted_transports import ClassicReactor as ClassicReactor
    from compat.twisted_transports import hand_over as hand_over
    from compat.twisted_transports import install_reactor as install_reactor

__all__ = ["LegacyModuleWarning", "attach", "install", "uninstall"]

# What loads Twisted, and so is loaded when it is first asked for.
_TWISTED = ("ClassicReactor", "hand_over", "install_reactor")


def __getattr__(name: str) -> Any:
    if name in _TWISTED:
        import compat.twisted_transports

        return getattr(compat.twisted_transports, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
