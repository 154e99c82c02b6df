"""Running programs written for asyncore, asynchat and smtpd, unchanged.

`install()` puts asynccore's modules under the three legacy names in this process, `uninstall()`
undoes it. `attach()` lets asyncio, uvloop or Twisted drive the channels of a map. The command line
(`asynccore run`, `enable`, `disable`, `demo`) is in `compat.cli`.
"""

from __future__ import annotations

from compat.attaching import attach
from compat.names import LegacyModuleWarning, install, uninstall

__all__ = ["LegacyModuleWarning", "attach", "install", "uninstall"]
