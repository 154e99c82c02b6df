"""Running programs written for asyncore, asynchat and smtpd, unchanged.

`install()` puts asynccore's modules under the three legacy names in this process, `uninstall()`
undoes it. `attach()` lets asyncio, uvloop or Twisted drive the channels of a map. The command line
(`asynccore run`, `enable`, `disable`, `demo`) is in `compat.cli`.

The other way round, protocols and coroutines of asyncio on a classic loop: `create_connection`,
`create_server`, `create_datagram_endpoint`, `ClassicLoop`, `event_loop`; `run_coroutine`,
`wait_closed`, `read_line`, `drain`, `to_streams`, `to_channel`. asyncio is loaded when one of these
is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from compat.attaching import attach
from compat.names import LegacyModuleWarning, install, uninstall

if TYPE_CHECKING:
    from compat.bridge import drain, read_line, run_coroutine, to_channel, to_streams, wait_closed
    from compat.transports.loops import ClassicLoop, event_loop
    from compat.transports.plain import (
        create_connection,
        create_datagram_endpoint,
        create_server,
    )
    from compat.twisted_transports import ClassicReactor as ClassicReactor
    from compat.twisted_transports import hand_over as hand_over
    from compat.twisted_transports import install_reactor as install_reactor

__all__ = [
    "ClassicLoop",
    "LegacyModuleWarning",
    "attach",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "drain",
    "event_loop",
    "install",
    "read_line",
    "run_coroutine",
    "to_channel",
    "to_streams",
    "uninstall",
    "wait_closed",
]

# Loaded when they are used: name to module. Programs that want none of it don't pay for asyncio,
# and not all have Twisted.
_LATER = {
    "ClassicLoop": "compat.transports.loops",
    "event_loop": "compat.transports.loops",
    "create_connection": "compat.transports.plain",
    "create_datagram_endpoint": "compat.transports.plain",
    "create_server": "compat.transports.plain",
    "drain": "compat.bridge",
    "read_line": "compat.bridge",
    "run_coroutine": "compat.bridge",
    "to_channel": "compat.bridge",
    "to_streams": "compat.bridge",
    "wait_closed": "compat.bridge",
    "ClassicReactor": "compat.twisted_transports",
    "hand_over": "compat.twisted_transports",
    "install_reactor": "compat.twisted_transports",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
