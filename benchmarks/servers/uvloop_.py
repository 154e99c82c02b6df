"""The asyncio Protocols on uvloop."""

from __future__ import annotations

import uvloop

from benchmarks.servers import asyncio_, common

if __name__ == "__main__":
    loop = uvloop.new_event_loop()
    loop.run_until_complete(asyncio_.serve(common.parse(), common.version_of("uvloop")))
