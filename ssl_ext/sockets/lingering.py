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
from typing import Any

from OpenSSL import SSL

from asynccore.channels import Map
from asynccore.running.loop import call_later

# How much is thrown away at one time: TLS's largest record, and some.
_WASTE = 65536


class Closing:
    """A channel that ends a TLS connection; it enters `map` by itself.

    `held` is what was begun to be sent and must come first.
    """

    accepting = connecting = closing = False
    connected = True
    debug = False

    def __init__(
        self,
        map: Map,
        sock: socket.socket,
        connection: SSL.Connection | None,
        held: bytes,
        timeout: float,
    ) -> None:
        self.socket = sock
        self.addr = None
        self._map = map
        self._fd = sock.fileno()
        self._connection = connection  # until our close_notify is sent
        self._pending_write = held
        self._reads_first = False  # what is left to be sent waits for the peer
        # The timer must not keep what was thrown out of the map.
        self._timer = call_later(timeout, _give_up, weakref.ref(self), map=map)
        map[self._fd] = self
        self._go_on()

    def __repr__(self) -> str:
        return f"<closing TLS connection, descriptor {self._fd}>"

    def __del__(self) -> None:
        # Out of a map that was emptied: nobody waits for it any more.
        self._timer.cancel()
        self.socket.close()

    def _go_on(self) -> None:
        """Send our part of the end, as far as the socket takes it."""
        if self._connection is not None:
            self._reads_first = False
            try:
                if self._pending_write:
                    self._connection.send(self._pending_write)
                    self._pending_write = b""
                self._connection.shutdown()
            except SSL.WantWriteError:
                return
            except SSL.WantReadError:
                self._reads_first = True  # to renegotiate, where a context allows that
                return
            except SSL.Error:
                pass
        self._connection = None
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()

    def readable(self) -> bool:
        """Whether there is nothing left to send, or nothing that can be sent before."""
        return self._connection is None or self._reads_first

    def writable(self) -> bool:
        """Whether our part of the end is still to be sent."""
        return self._connection is not None and not self._reads_first

    def handle_read_event(self) -> None:
        """Throw away what comes."""
        if self._connection is not None:
            self._go_on()
            return
        try:
            if self.socket.recv(_WASTE):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self.close()

    def handle_write_event(self) -> None:
        """Send what is left."""
        self._go_on()

    def handle_expt_event(self) -> None:
        """Urgent data is of no interest any more."""

    def handle_error(self) -> None:
        """Give up."""
        self.close()

    def handle_close(self) -> None:
        """Give up."""
        self.close()

    def close(self) -> None:
        """Leave the map and close the socket."""
        self._timer.cancel()
        self._connection = None
        if self._map.get(self._fd) is self:
            del self._map[self._fd]
        self.socket.close()


def _give_up(closing: weakref.ref[Closing]) -> None:
    channel = closing()
    if channel is not None:
        channel.close()


def linger(
    map: Map | None,
    sock: socket.socket,
    connection: SSL.Connection | None,
    held: bytes,
    timeout: float | None,
    *,
    ended: bool = False,
) -> Any:
    """End a connection in the loop of `map`; without one, or without time, at once.

    `connection` is that of OpenSSL while our close_notify is still to be sent. A peer that has
    `ended` is not waited for.
    """
    if connection is not None and not held:
        try:
            connection.shutdown()
            connection = None
        except SSL.WantWriteError:
            pass
        except SSL.Error:
            connection = None
    if map is None or not timeout or sock.fileno() in map or (ended and connection is None):
        sock.close()
        return None
    return Closing(map, sock, connection, held, timeout)
