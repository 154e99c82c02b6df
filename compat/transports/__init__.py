"""asyncio's protocols on a classic loop: transports, and the event loop object for their timers.

`classic_loop` is the event loop object, `engine_selector` how it waits; `streams`, `tls_streams`
and `datagrams` are the transports, `flow` what all have; `servers`, `connections` and
`datagram_endpoints` put them together, for coroutines and, in `functions`, for whoever has none;
`bridge` is for dispatchers. What programs use is handed on by `compat`.
"""

from __future__ import annotations
