"""`DatagramTransport`: an asyncio transport for datagrams, whose socket is a dispatcher's."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextvars import copy_context

from asynccore.channels import ENDED, Address, Map, reports_changes
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.errors import leaves_loop, reraised

from .flow import Flow, water_levels

# More than any datagram has (udp(7): 65,507 bytes of payload over IPv4).
DATAGRAM_SIZE = 65536

# How many are received before others have their turn: a pass's share of events, by far enough for
# one sender, and few enough for the rest.
SHARE = 16


class DatagramChannel(dispatcher):
    """What the map holds for a transport."""

    def __init__(self, transport: DatagramTransport, sock: socket.socket, map: Map) -> None:
        self.transport = transport
        self.queue: deque[tuple[bytes, Address | None]] = deque()
        self.size = 0
        super().__init__(None, map)
        self.set_socket(sock)
        self.connected = True  # Datagrams need no connection: there is nothing to wait for.

    @reports_changes
    def writable(self) -> bool:
        """Whether datagrams wait."""
        return bool(self.queue)

    def handle_read(self) -> None:
        """Receive for the protocol."""
        self.transport.in_loop(self._receive)

    def _receive(self) -> None:
        for _ in range(SHARE):
            if self._ac_pause_reasons or self._ac_closed or not self.transport.receive(self):
                break

    def handle_write(self) -> None:
        """Send what waits."""
        self.transport.send_on()

    def handle_close(self) -> None:
        """The descriptor is gone."""
        self.transport.fail(sys.exc_info()[1], "the socket is gone")

    def handle_error(self) -> None:
        """Something failed outside of the protocol's callbacks."""
        self.transport.fail(sys.exc_info()[1], "the socket failed")

    def _ac_close(self) -> None:
        super()._ac_close()
        self.transport.gone()


class DatagramTransport(asyncio.DatagramTransport, asyncio.Transport, Flow):
    """An asyncio transport for UDP, or for datagrams of Unix sockets.

    Made by `create_datagram_endpoint`. The contract is that of `asyncio.DatagramTransport`;
    asyncio's own are instances of `asyncio.Transport`, too.
    """

    channel: DatagramChannel

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol,
        sock: socket.socket,
        map: Map,
        peer: Address | None = None,
    ) -> None:
        self.info: dict[str, object] = {}
        super().__init__(self.info)
        self.loop = loop
        self.context = copy_context()
        self.protocol = protocol
        self._peer = peer
        self.info["socket"] = sock
        self.info["sockname"] = _name(sock.getsockname)
        self.info["peername"] = peer if peer is not None else _name(sock.getpeername)
        self.channel = DatagramChannel(self, sock, map)
        self.tell("connection_made", protocol.connection_made, self)

    def receive(self, channel: DatagramChannel) -> bool:
        """Receive one datagram for the protocol, whose loop is running; tell if there was one."""
        try:
            data, address = channel.socket.recvfrom(DATAGRAM_SIZE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as why:
            self._tell_error(why)
            return not self.lost
        if channel._ac_counts is not None:
            channel._ac_counts.received += len(data)
        try:
            self.protocol.datagram_received(data, address)
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            # The next datagram may be a better one: asyncio goes on here, too.
            self.report("the protocol failed with a datagram", why)
        return True

    def _tell_error(self, why: OSError) -> None:
        self.tell("error_received", self.protocol.error_received, why)

    def sendto(  # type: ignore[override] # as an address, typeshed takes any buffer, too
        self, data: bytes | bytearray | memoryview, addr: Address | None = None
    ) -> None:
        """Send one datagram, now or when there is room; `addr` unless it is connected.

        An `OSError` goes to the protocol's `error_received`. Raises `TypeError` for what is not
        bytes-like, `ValueError` for another address than that of the connection.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"sendto() takes a bytes-like object, not {type(data).__name__}")
        if self._peer is not None:
            if addr not in (None, self._peer):
                raise ValueError(f"Invalid address: must be None or {self._peer!r}, not {addr!r}")
            addr = None
        if self.lost:
            return
        channel = self.channel
        if not channel.queue and self._send(bytes(data), addr):
            return
        if self.lost:
            return
        channel.queue.append((bytes(data), addr))
        channel.size += len(data)
        channel._ac_touch()
        if not self.writing_paused and channel.size > self.levels[0]:
            self.pause_protocol()

    def _send(self, data: bytes, addr: Address | None) -> bool:
        """Send one now; tell if it is done with, one way or the other."""
        sock = self.channel.socket
        try:
            if addr is None:
                sock.send(data)
            else:
                sock.sendto(data, addr)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as why:
            self._tell_error(why)
        except Exception as why:
            self.fail(why, "sending a datagram failed")
        return True

    def send_on(self) -> None:
        """Send what waits, as far as there is room."""
        channel = self.channel
        while channel.queue and not self.lost:
            data, addr = channel.queue[0]
            if not self._send(data, addr):
                break
            if channel.queue:
                channel.queue.popleft()
                channel.size -= len(data)
        if self.lost:
            return
        if self.writing_paused and channel.size <= self.levels[1]:
            self.resume_protocol()
        if not channel.queue:
            channel._ac_touch()
            if self.closing:
                self.lose(None)

    # -- the end --------------------------------------------------------------------------------

    def fail(self, why: BaseException | None, message: str) -> None:
        """End it all for an exception, which `connection_lost` is given."""
        if why is not None and not self.lost and not isinstance(why, OSError):
            self.report(message, why)
        self.lose(why)

    def lose(self, why: BaseException | None) -> None:
        """Drop what waits, and tell the protocol soon."""
        self.closing = True
        if self.lost:
            return
        self.lost = True
        channel = self.channel
        channel.queue.clear()
        channel.size = 0
        channel._ac_mute(ENDED)
        channel._ac_touch()
        self.loop.call_soon(self._tell_lost, why)

    def _tell_lost(self, why: BaseException | None) -> None:
        try:
            self.tell("connection_lost", self.protocol.connection_lost, why)
        finally:
            self.channel.close()

    def gone(self) -> None:
        """The channel was closed, by us or by whoever walks the map."""
        if not self.lost:
            self.lost = self.closing = True
            self._tell_lost(None)

    def close(self) -> None:
        """Receive no more, send what waits, then close; `connection_lost(None)` follows."""
        if not self.closing:
            self.closing = True
            self.channel._ac_mute(ENDED)
            if not self.channel.queue:
                self.lose(None)

    def abort(self) -> None:
        """Close without sending what waits."""
        self.lose(None)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self.closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Serve another protocol from now on."""
        self.protocol = protocol

    # -- flow control ---------------------------------------------------------------------------

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self.channel.size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark, in bytes."""
        high, low = self.levels
        return low, high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks of `pause_writing` and `resume_writing`. Raises `ValueError` if they are
        not in order."""
        self.levels = water_levels(high, low)
        if not self.writing_paused and self.channel.size > self.levels[0]:
            self.pause_protocol()


def _name(ask: Callable[[], object]) -> object:
    try:
        return ask()
    except OSError:
        return None
