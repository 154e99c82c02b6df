"""Sending several pieces by one system call.

Facts. A call of send() costs some 2 µs before the first byte, and joining pieces copies them. For
sendmsg(2) each piece costs about as much as copying 1 KiB; the kernel takes `IOV_MAX` pieces.
What the socket has no room for is not looked at, so offering much costs nothing.

Consequence. Small pieces are joined and large ones gathered; either way one call gets all that one
turn may send. That is for sockets of the standard library, and for such as say that they do the
same: what stands in for one may know `send(bytes)` and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import sys
from socket import socket
from typing import Any

from ..classic.blocking import blocks
from .dispatcher import dispatcher

# What is handed to one send() of anything but a plain socket. Classic asyncore's is the same, and
# it is a usual size of TCP's window and of loopback's segments.
SEND_SIZE = 65536

# What one channel may send before the others have their turn: 16 sends where nobody else had an
# event, and four where others have, which take the kernel as long as ten lines take that are
# answered. With fewer still, passes would cost more than the bytes.
SEND_SHARE = 16 * SEND_SIZE
SMALL_SHARE = 4 * SEND_SIZE

# Below this average size, pieces are joined: measured on Linux 6, loopback, in bytes.
JOIN_BELOW = 1024

CAN_GATHER = hasattr(socket, "sendmsg")  # not on Windows


def _iov_max() -> int:
    found = -1
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError):
            found = os.sysconf("SC_IOV_MAX")
    return found if found > 0 else 16  # the least that POSIX allows (limits.h)


IOV_MAX = _iov_max()


def share_of(channel: Any) -> int:
    """Return how many bytes a channel may send in the present turn."""
    engine = channel._ac_engine
    return SMALL_SHARE if engine is not None and engine.is_crowded else SEND_SHARE


def first_share(channel: Any, data: bytes) -> bytes | memoryview:
    """Return what of `data`, which nothing waits before, a channel may send at once by one call.

    A megabyte also beside others: asyncio's protocols expect that so much does not wait.
    """
    sock = channel.socket
    limit = SEND_SIZE if blocks(sock) else SEND_SHARE
    if len(data) <= limit:
        return data
    return memoryview(data)[:limit] if takes_pieces(sock) else data[:limit]


def takes_pieces(sock: object) -> bool:
    """Whether a socket sends bytes-like objects of any kind and size, and several at once.

    One of the standard library does. The class of any other says so by a true `_ac_takes_pieces`,
    and has `sendmsg`, too.
    """
    return type(sock) is socket or getattr(type(sock), "_ac_takes_pieces", False)


def keeps_bounds(sock: object) -> bool:
    """Whether each `send` of a socket is a message, not to be joined with another.

    The class of such a socket says so by a true `_ac_keeps_bounds`, as that of DTLS does, and has
    `_ac_check_message(data)`, which raises `OSError` (EMSGSIZE) for what can't be one.
    """
    return getattr(type(sock), "_ac_keeps_bounds", False)


def send_nothing(channel: dispatcher) -> None:
    """Send `b""` by what is no plain socket: that begins a handshake, if one is to be begun.

    What does TLS gets it whenever its channel has nothing to send, and what is of an unknown kind
    gets it once it is connected. What takes pieces or keeps bounds sees to its handshake by itself.
    """
    sock: Any = channel.socket  # of whatever kind does TLS
    if takes_pieces(sock) or keeps_bounds(sock):
        return
    kind = type(sock)
    if not hasattr(kind, "get_cipher_name"):
        if channel._ac_first_write or hasattr(kind, "do_handshake"):
            dispatcher.send(channel, b"")
    elif sock.get_cipher_name() is None:
        # To pyOpenSSL's `Connection` an empty piece is an error, once it has shaken hands.
        sock.do_handshake()


def send_pieces(channel: dispatcher, pieces: list[bytes | memoryview], size: int) -> int:
    """Send what fits of some pieces, `size` bytes in all, by one call; return how much that was.

    For channels whose socket `takes_pieces`. Returns and raises what `dispatcher.send` does.
    """
    if len(pieces) == 1:
        return dispatcher.send(channel, pieces[0]) or 0
    sock: Any = channel.socket  # of any kind that takes pieces
    if type(sock) is socket and (size < JOIN_BELOW * len(pieces) or not CAN_GATHER):
        return dispatcher.send(channel, b"".join(pieces)) or 0
    try:
        count: int = sock.sendmsg(pieces)
    except OSError as why:
        return dispatcher._ac_not_sent(channel, why)
    channel._ac_note_sent(count)
    return count
