"""The last moments of a TLS connection, after its channel has let go of it.

Facts. Our close_notify may not fit into a full socket. A socket that is closed while something lies
unread in it sends RST, which makes the peer throw away what it has not read yet, our last bytes and
alerts included; and in TLS nearly always something lies unread: session tickets, or the peer's own
close_notify. Peers exist that never answer.

Consequence. What remains to be done is done by a channel of its own, in the place of the one that
closed: our notify, then FIN, then whatever comes is thrown away until the peer closes, or the time
is up.
"""

from __future__ import annotations

import socket
import weakref

from OpenSSL import SSL

from asynccore.channels import Map, NullChannel
from asynccore.engine import leave_map
from asynccore.errors import judges_peer
from asynccore.pollers import READ
from asynccore.running.loop import call_later

from .records import RecordWriter

# How much is thrown away at one time: TLS's largest record, and some.
_DISCARD_SIZE = 65536


class LingeringChannel(NullChannel):
    """A channel that ends a TLS connection; it enters `map` by itself.

    `writer` has our close_notify still to say, and perhaps something before it; `None` if not.
    """

    connected = True
    addr = None
    debug = False

    def __init__(
        self, map: Map, sock: socket.socket, writer: RecordWriter | None, timeout: float
    ) -> None:
        self.socket = sock
        self._map = map
        self._fd = sock.fileno()
        self._writer = writer
        # The timer must not keep what was thrown out of the map.
        self._timer = call_later(timeout, _give_up, weakref.ref(self), map=map)
        map[self._fd] = self
        self._go_on()

    def __repr__(self) -> str:
        return f"<closing TLS connection, descriptor {self._fd}>"

    def __del__(self) -> None:
        # Its map was emptied, so that nobody waits for it any more.
        self._timer.cancel()
        self.socket.close()

    def _go_on(self) -> None:
        """Send our part of the end, as far as the socket takes it."""
        if self._writer is not None and not _is_said(self._writer):
            return
        self._writer = None
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def readable(self) -> bool:
        """Whether there is nothing left to send, or nothing that can be sent before."""
        return self._writer is None or self._writer.waits_for == READ

    def writable(self) -> bool:
        """Whether our part of the end is still to be sent."""
        return not self.readable()

    def handle_read_event(self) -> None:
        """Throw away what comes."""
        if self._writer is not None:
            self._go_on()
            return
        try:
            if self.socket.recv(_DISCARD_SIZE):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def handle_write_event(self) -> None:
        """Send what is left."""
        self._go_on()

    def handle_error(self) -> None:
        """Give up."""
        self.close()

    def close(self) -> None:
        """Leave the map and close the socket."""
        self._timer.cancel()
        self._writer = None
        leave_map(self._map, self._fd, self)
        self.socket.close()


def _is_said(writer: RecordWriter) -> bool:
    """Say close_notify; tell whether that is done, or can't be done any more."""
    try:
        return writer.end() or writer.error is not None
    except SSL.Error:
        return True


@judges_peer
def _give_up(reference: weakref.ref[LingeringChannel]) -> None:
    channel = reference()
    if channel is not None:
        channel.close()


def linger(
    map: Map | None,
    sock: socket.socket,
    writer: RecordWriter | None,
    timeout: float | None,
    *,
    ended: bool = False,
) -> LingeringChannel | None:
    """End a connection in the loop of `map`; without one, or without time, at once.

    `writer` has our close_notify to say, `None` if nothing is to be said. A peer that has `ended`
    is not waited for.
    """
    if writer is not None and _is_said(writer):
        writer = None
    if map is None or not timeout or sock.fileno() in map or (ended and writer is None):
        sock.close()
        return None
    return LingeringChannel(map, sock, writer, timeout)
