"""The asyncio Protocols on uvloop."""

from __future__ import annotations

import uvloop

from benchmarks.servers import asyncio_, common, timers

if __name__ == "__main__":
    options, version = common.parse(), common.version_of("uvloop")
    loop = uvloop.new_event_loop()
    if options.role == "timers":
        timers.on_asyncio(loop, version)
    else:
        loop.run_until_complete(asyncio_.serve(options, version))
