"""The asyncio Protocols on asynccore's loop, without a loop of asyncio's."""

from __future__ import annotations

import asynccore
import compat
from benchmarks.servers import asyncio_, common

if __name__ == "__main__":
    options = common.parse()
    server = compat.create_server(
        asyncio_.protocol_class(options), common.HOST, options.port, backlog=common.BACKLOG
    )
    port = server.sockets[0].getsockname()[1]
    common.announce(port, f"asynccore {asynccore.__version__}")
    asynccore.loop()
