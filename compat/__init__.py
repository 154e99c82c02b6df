"""Running programs written for asyncore, asynchat and smtpd, unchanged.

`install()` puts asynccore's modules under the three legacy names in this process, `uninstall()`
undoes it. `attach()` lets asyncio, uvloop or Twisted drive the channels of a map. The command line
(`asynccore run`, `enable`, `disable`, `demo`) is in `compat.command_line.cli`.

The other way round, protocols and coroutines of asyncio on a classic loop: `create_connection`,
`create_server`, `create_datagram_endpoint`, `ClassicLoop`, `event_loop`; `converse`,
`run_coroutine`, `wait_closed`, `read_line`, `drain`, `to_streams`, `to_channel`. asyncio is loaded
when one of these is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from .hosts.attaching import attach
from .names import LegacyModuleWarning, install, uninstall

if TYPE_CHECKING:
    from .transports.bridge import (
        converse,
        drain,
        read_line,
        run_coroutine,
        to_channel,
        to_streams,
        wait_closed,
    )
    from .transports.classic_loop import ClassicLoop, event_loop
    from .transports.functions import create_connection, create_datagram_endpoint, create_server
    from .twisted_transports import ClassicReactor as ClassicReactor
    from .twisted_transports import hand_over as hand_over
    from .twisted_transports import install_reactor as install_reactor

    __all__ = [
        "ClassicLoop",
        "ClassicReactor",
        "LegacyModuleWarning",
        "attach",
        "converse",
        "create_connection",
        "create_datagram_endpoint",
        "create_server",
        "drain",
        "event_loop",
        "hand_over",
        "install",
        "install_reactor",
        "read_line",
        "run_coroutine",
        "to_channel",
        "to_streams",
        "uninstall",
        "wait_closed",
    ]

# Where they are public: neither tracebacks nor pickles show the rooms.
_AT_ONCE = (LegacyModuleWarning, attach, install, uninstall)
for _public in _AT_ONCE:
    _public.__module__ = __name__

# Loaded when they are used: name to module. Programs that want none of it don't pay for asyncio,
# and not all have Twisted.
_LATER = {
    "ClassicLoop": ".transports.classic_loop",
    "event_loop": ".transports.classic_loop",
    "create_connection": ".transports.functions",
    "create_datagram_endpoint": ".transports.functions",
    "create_server": ".transports.functions",
    "converse": ".transports.bridge",
    "drain": ".transports.bridge",
    "read_line": ".transports.bridge",
    "run_coroutine": ".transports.bridge",
    "to_channel": ".transports.bridge",
    "to_streams": ".transports.bridge",
    "wait_closed": ".transports.bridge",
    "ClassicReactor": ".twisted_transports",
    "hand_over": ".twisted_transports",
    "install_reactor": ".twisted_transports",
}


if not TYPE_CHECKING:  # to which any name would be one of ours

    def __getattr__(name: str) -> object:
        if name == "__all__":  # without what can't be had, for `from compat import *` fetches all
            names = sorted([*(public.__name__ for public in _AT_ONCE), *_LATER])
            if importlib.util.find_spec("twisted") is None:
                names = [one for one in names if _LATER.get(one) != ".twisted_transports"]
            return names
        if name in _LATER:
            found = getattr(importlib.import_module(_LATER[name], __name__), name)
            if name != "ClassicReactor":  # which says where its `install` is
                found.__module__ = __name__
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER, "__all__"})
