"""asyncio's protocols on a classic loop: transports, and the event loop object for their timers.

`loops` is the event loop object, `selecting` how it waits; `streams` and `datagrams` are the
transports, `flow` what both have; `servers`, `making` and `endpoints`
put them together, for coroutines and, in `plain`, for whoever has none. What programs use is
handed on by `compat`.
"""

from __future__ import annotations
