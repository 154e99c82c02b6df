"""Blocking sockets: whether a call may have to wait.

Facts. `set_socket` leaves a socket as blocking as it is: inherited, from `fromfd`, or made by
`socket.create_server`. Classic asyncore made one call for each event, so that hardly any had to
wait.

Consequence. Whoever accepts or sends in batches asks here before the second call, and hands a
socket that blocks no more output at once than the classic modules did.
"""

from __future__ import annotations


def blocks(sock: object) -> bool:
    """Whether a call of a socket may wait, for ever or for a time."""
    timeout = getattr(sock, "gettimeout", None)
    return timeout is not None and timeout() != 0.0
