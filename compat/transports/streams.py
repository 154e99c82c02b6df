"""`StreamTransport`: an asyncio transport whose connection is a dispatcher's.

Facts. A transport's `close` sends what is left first, a dispatcher's closes at once. A protocol is
told of everything exactly once, in an order that programs rely on, and never of its connection's
end by a call that it has made itself.

Consequence. The transport *has* a channel and is none. The channel is what the map holds; whoever
closes it there ends the connection. `connection_lost` comes by `call_soon`, and the channel stays
in the map until then, silent, so that the loop goes on until its protocol knows.

Trade-off. `data_received` is called straight from the engine's pass, without a round of asyncio's
loop. 64 KiB are read at a time and not 256 as by asyncio: so large a buffer is mapped and unmapped
by the C library each time, which costs more than it can save (cpython issue 85451).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from asyncio.constants import _SendfileMode
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Protocol

from asynccore.channels import ENDED, Map
from asynccore.dispatchers.buffered import dispatcher_with_send
from asynccore.errors import leaves_loop, reraised
from asynccore.pollers.layered import waits_for

from .flow import Flow, water_levels

if TYPE_CHECKING:
    from asynccore.ssl_ext import Context

# Bytes that are read at a time; see above.
RECEIVE_SIZE = 65536

Buffer = bytes | bytearray | memoryview

# Seconds for the handshake, and for the end of a connection that speaks TLS; `None` for ssl_ext's
# own.
Timeouts = tuple[float | None, float | None]


class StreamChannel(dispatcher_with_send):
    """What the map holds for a transport."""

    def __init__(
        self, transport: StreamTransport, sock: socket.socket | None = None, map: Map | None = None
    ) -> None:
        self.transport = transport
        super().__init__(sock, map)
        self._ac_marks = transport.levels

    def __repr__(self) -> str:
        return f"<channel of {self.transport.protocol!r} at {id(self):#x}>"

    def handle_read_event(self) -> None:
        """Receive for the protocol."""
        if self._ac_pause_reasons or not self.connected:
            super().handle_read_event()
        else:
            self.transport.in_loop(self.transport.receive, self)

    def handle_read(self) -> None:
        """Receive: what a connect has brought along."""
        self.transport.in_loop(self.transport.receive, self)

    def handle_write(self) -> None:
        """Send what is left."""
        super().handle_write()
        if not self._ac_output.size:
            self.transport.drained()

    def handle_connect(self) -> None:
        """Connected."""
        self.connected = True
        self.connecting = False
        set_nodelay(self.socket)
        self.transport.established()

    def handle_pause(self) -> None:
        """Too much output waits."""
        self.transport.pause_protocol()

    def handle_resume(self) -> None:
        """Little enough waits."""
        self.transport.resume_protocol()

    def handle_close(self) -> None:
        """The connection has broken; why is what is being handled, if anything."""
        why = sys.exc_info()[1]
        self.transport.fail(why, "the connection broke")

    def handle_error(self) -> None:
        """Something failed outside of the protocol's callbacks."""
        why = sys.exc_info()[1]
        self.transport.fail(why, "the connection failed")

    def handle_timeout(self, which: str) -> None:
        """A handshake has taken too long."""
        self.transport.fail(TimeoutError(f"{which} timeout"), "the connection failed")

    def _ac_not_sent(self, why: OSError) -> int:
        if not isinstance(why, (BlockingIOError, InterruptedError)) and not waits_for(why):
            self.transport.fail(why, "sending failed")
        return 0

    def _ac_close(self) -> None:
        super()._ac_close()
        self.transport.gone()

    def silence(self) -> None:
        """Neither read nor write any more."""
        self._ac_output = self._ac_no_output()
        if not self._ac_closed:
            self._ac_mute(ENDED)
            self._ac_touch()

    def leave(self) -> socket.socket:
        """Leave the map and return the socket, which somebody else goes on with."""
        self.del_channel()
        self._ac_drop_times()
        sock, self.socket = self.socket, None
        self._ac_closed = True
        self.connected = False
        return sock


class Upgrade(Protocol):
    """What has a connection speak TLS from now on, by another channel, which is returned."""

    def __call__(
        self,
        channel: StreamChannel,
        context: Context,
        server_side: bool,
        server_hostname: str | None,
        timeouts: Timeouts,
    ) -> StreamChannel: ...


# asyncio's loops send a file for transports of this class alone.
if TYPE_CHECKING:
    _FlowControl = asyncio.Transport
else:
    _FlowControl = asyncio.transports._FlowControlMixin


class StreamTransport(_FlowControl, Flow):
    """An asyncio transport for a stream: TCP, a Unix socket, or TLS over either.

    They are made by `create_connection` and `create_server`, which give each the function that
    `start_tls` calls, so that nothing of TLS is known here. The contract is that of
    `asyncio.Transport`. `get_extra_info` knows "socket" (the real one: don't use it for input and
    output), "peername" and "sockname", and of TLS "sslcontext", "ssl_object", "cipher", "peercert"
    (a `cryptography` certificate or `None`, where the module `ssl` has a dict) and "compression".
    """

    # asyncio's `loop.start_tls` asks for it; contexts of the module `ssl` work on top of this.
    _start_tls_compatible = True

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol: asyncio.BaseProtocol | None,
        upgrade: Upgrade,
        on_established: Callable[[BaseException | None], object] | None = None,
    ) -> None:
        self.info: dict[str, object] = {}
        asyncio.Transport.__init__(self, self.info)
        self.loop = loop
        self.context = copy_context()
        self.channel: StreamChannel
        self._upgrade = upgrade
        self._on_established = on_established
        self.protocol_factory: Callable[[], asyncio.BaseProtocol] | None = (
            None  # for when the connection stands
        )
        self._on_lost: Callable[[], object] | None = None
        self._paused = self._eof_sent = self._begun = self._reading_over = False
        self._shaking: asyncio.Future[None] | None = None
        self._ignored_writes = 0
        self._drained: asyncio.Future[None] | None = None  # for what is to be sent after it
        self._file: asyncio.Future[int] | None = None
        self.set_protocol(protocol)

    def __repr__(self) -> str:
        state = "closed" if self.lost else "closing" if self.closing else "open"
        return f"<{type(self).__name__} {state} {self.info.get('peername')!r}>"

    # -- the connection's life ------------------------------------------------------------------

    def established(self) -> None:
        """The connection stands, TLS included: tell the protocol."""
        shaking, self._shaking = self._shaking, None
        if shaking is not None and not shaking.done():
            shaking.set_result(None)
        if self._begun or self.lost:
            self._note_names()
            return
        if self.protocol_factory is not None:
            factory, self.protocol_factory = self.protocol_factory, None
            try:
                self.in_loop(lambda: self.set_protocol(factory()))
            except reraised():
                raise
            except BaseException as why:
                if leaves_loop(why):
                    raise
                self.fail(why, "the protocol's factory failed")
                return
        self._begun = True
        self._note_names()
        self.tell("connection_made", self.protocol.connection_made, self)
        self._answer(None)

    def _answer(self, why: BaseException | None) -> None:
        answer, self._on_established = self._on_established, None
        if answer is not None:
            answer(why)

    def _note_names(self) -> None:
        sock = self.channel.socket
        extra = self.info
        extra["socket"] = sock
        for name, ask in (("sockname", "getsockname"), ("peername", "getpeername")):
            if extra.get(name) is None:
                try:
                    extra[name] = getattr(sock, ask)()
                except OSError:
                    extra[name] = None
        if getattr(self.channel, "tls", None) is not None:
            extra["sslcontext"] = self.channel.tls_context  # type: ignore[attr-defined]
            extra["ssl_object"] = sock
            extra["cipher"] = sock.cipher  # type: ignore[union-attr]
            extra["peercert"] = self.channel.peer_certificate  # type: ignore[attr-defined]
            extra["compression"] = None

    def receive(self, channel: StreamChannel) -> None:
        """Read once, and hand it to the protocol. Its loop is running."""
        buffered = self._get_buffer
        try:
            if buffered is None:
                data = channel.socket.recv(RECEIVE_SIZE)
                count = len(data)
            else:
                buffer = self._ask_for_buffer(buffered)
                if buffer is None:
                    return
                count = channel.socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as why:
            if not waits_for(why):
                self.fail(why, "receiving failed")
            return
        if not count:
            self.end_of_input()
            return
        if channel._ac_counts is not None:
            channel._ac_counts.received += count
        try:
            if buffered is None:
                self._data_received(data)
            else:
                self.protocol.buffer_updated(count)
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            self.fail(why, "the protocol failed with what it was given")

    def _ask_for_buffer(
        self, get_buffer: Callable[[int], bytearray | memoryview]
    ) -> bytearray | memoryview | None:
        try:
            buffer = get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("the protocol's get_buffer() returned an empty buffer")
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            self.fail(why, "the protocol's get_buffer() failed")
            return None
        return buffer

    def end_of_input(self) -> None:
        """The peer has sent everything."""
        if self._reading_over or self.lost:
            return
        self._reading_over = True
        self.channel._ac_mute(ENDED)
        try:
            stays = self.protocol.eof_received()
        except reraised():
            raise
        except BaseException as why:
            if leaves_loop(why):
                raise
            self.fail(why, "the protocol's eof_received() failed")
            return
        if not stays or getattr(self.channel, "tls", None) is not None:
            self.close()

    def fail(self, why: BaseException | None, message: str) -> None:
        """End it all for an exception, which `connection_lost` is given."""
        shaking, self._shaking = self._shaking, None
        if shaking is not None and not shaking.done():
            shaking.set_exception(why or ConnectionAbortedError(message))
        if not self._begun:
            self._begun = self.lost = self.closing = True
            self.channel.close()
            self._answer(why or ConnectionAbortedError(message))
            return
        if why is not None and not self.lost and not isinstance(why, OSError):
            self.report(message, why)
        self.lose(why)

    def lose(self, why: BaseException | None) -> None:
        """Drop what is left, and tell the protocol soon."""
        self.channel.silence()
        self.closing = True
        self._end_file()
        if not self.lost:
            self.lost = True
            self.loop.call_soon(self._tell_lost, why)

    def _force_close(self, why: BaseException | None) -> None:
        """End it for an error: asyncio's TLS protocol calls this of its transport."""
        self.lose(why)

    def _tell_lost(self, why: BaseException | None) -> None:
        try:
            self.tell("connection_lost", self.protocol.connection_lost, why)
        finally:
            self.channel.close()
            if self._on_lost is not None:
                on_lost, self._on_lost = self._on_lost, None
                on_lost()

    def gone(self) -> None:
        """The channel was closed, by us or by whoever walks the map."""
        if not self._begun:
            self.fail(None, "the connection was closed before it stood")
        elif not self.lost:
            # `call_soon` would come too late: the map may be empty now, and its loop at an end.
            self.lost = self.closing = True
            self._end_file()
            self._tell_lost(None)

    def drained(self) -> None:
        """All output is sent."""
        if self.closing and not self.lost:
            self.lose(None)
        elif self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def hand_over(self) -> socket.socket:
        """Give the connection up, and return its socket; `connection_lost(None)` follows."""
        channel = self.channel
        self.closing = self.lost = True
        sock = channel.leave()
        self.loop.call_soon(self._tell_lost, None)
        return sock

    # -- asyncio.BaseTransport ------------------------------------------------------------------

    def set_protocol(self, protocol: Any) -> None:
        """Serve another protocol from now on."""
        self.protocol = protocol
        buffered = isinstance(protocol, asyncio.BufferedProtocol)
        self._get_buffer = protocol.get_buffer if buffered else None
        self._data_received: Any = None if buffered else getattr(protocol, "data_received", None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        protocol: asyncio.BaseProtocol = self.protocol
        return protocol

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called, or the connection is over."""
        return self.closing

    def close(self) -> None:
        """Read no more, send what is left, then close; `connection_lost(None)` follows."""
        if self.closing:
            return
        self.closing = True
        if not self._begun:
            self.channel.close()
            return
        self.channel._ac_mute(ENDED)
        if not self.channel._ac_output.size:
            self.lose(None)

    def abort(self) -> None:
        """Close without sending what is left; `connection_lost(None)` follows."""
        if not self._begun:
            self.channel.close()
        else:
            self.lose(None)

    # -- asyncio.ReadTransport ------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether the protocol is given what comes."""
        return not self.closing and not self._paused

    def pause_reading(self) -> None:
        """Give the protocol nothing until `resume_reading`."""
        if self.is_reading():
            self._paused = True
            self.channel.pause_reading()

    def resume_reading(self) -> None:
        """Give the protocol what comes again."""
        if self._paused and not self.closing:
            self._paused = False
            # What is due already is not to be overtaken by what is received now.
            self.loop.call_soon(self._resume)

    def _resume(self) -> None:
        if not self._paused and not self.closing:
            self.channel.resume_reading()

    # -- asyncio.WriteTransport -----------------------------------------------------------------

    def write(self, data: Buffer) -> None:
        """Send bytes, now or when there is room.

        Raises `TypeError` for anything else, and `RuntimeError` after `write_eof`.
        """
        if type(data) is not bytes and not isinstance(data, (bytearray, memoryview, bytes)):
            raise TypeError(f"write() takes a bytes-like object, not {type(data).__name__}")
        if self._eof_sent:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._drained is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if self.lost:
            # asyncio puts up with a few, and then says so in its log.
            self._ignored_writes += 1
            if self._ignored_writes == _MANY_WRITES:
                logging.getLogger("asyncio").warning("%r is closed: what is written is lost", self)
        elif data:
            self.channel.send(data)

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        """Send several pieces at once."""
        pieces = list(list_of_data)
        if self.lost or self._eof_sent or self._drained is not None or not pieces:
            self.write(b"".join(pieces))
        else:
            self.channel.writelines(pieces)

    def can_write_eof(self) -> bool:
        """Whether `write_eof` is possible: not with TLS, as in asyncio."""
        return getattr(self.channel, "tls", None) is None

    def write_eof(self) -> None:
        """Tell the peer that nothing more will come, once everything is sent; reading goes on.

        Raises `NotImplementedError` with TLS.
        """
        if not self.can_write_eof():
            raise NotImplementedError("TLS connections are not closed for one direction alone")
        if self.closing or self._eof_sent:
            return
        self._eof_sent = True
        self.channel.shutdown_write()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return self.channel._ac_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low and the high mark, in bytes."""
        high, low = self.levels
        return low, high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks at which the protocol's `pause_writing` and `resume_writing` are called.

        Raises `ValueError` if they are not in order.
        """
        self.levels = self.channel._ac_marks = water_levels(high, low)
        self.channel._ac_output_changed()

    # -- files ----------------------------------------------------------------------------------

    @property
    def _sendfile_compatible(self) -> _SendfileMode:
        """How asyncio's `loop.sendfile` is to do it."""
        if self.can_write_eof() and hasattr(self.loop, "_ac_leave"):
            return _SendfileMode.TRY_NATIVE
        return _SendfileMode.FALLBACK

    @property
    def _protocol_paused(self) -> bool:
        """Whether the protocol was told to pause (asyncio's fallback asks)."""
        return self.writing_paused

    async def send_file(self, send: Callable[[socket.socket], Awaitable[int]]) -> int:
        """Have a function send a file, given the socket, after what waits; return its result.

        Nothing is read meanwhile, and `write` raises `RuntimeError`. Raises `ConnectionError` if
        the connection ends.
        """
        if self._drained is not None:
            raise RuntimeError("sendfile() sends a file already")
        self._drained = self.loop.create_future()
        reads = self.is_reading()
        self.pause_reading()
        try:
            if self.channel._ac_output.size:
                await self._drained
            # The map has the descriptor already: asyncio waits with another one.
            with self.channel.socket.dup() as sock:
                sock.setblocking(False)
                self._file = asyncio.ensure_future(send(sock))
                return await self._file
        except asyncio.CancelledError:
            if self.lost:
                raise ConnectionError("the connection ended before the file was sent") from None
            raise
        finally:
            self._drained = self._file = None
            if reads:
                self.resume_reading()

    def _end_file(self) -> None:
        for future in (self._drained, self._file):
            if future is not None:
                future.cancel()

    # -- TLS ------------------------------------------------------------------------------------

    def start_tls(
        self,
        sslcontext: Context,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Future[None]:
        """Speak TLS from now on, with a context of `ssl_ext`; the future is done when it stands.

        What is buffered goes out in clear first. The timeouts are in seconds. Raises `RuntimeError`
        if the connection is over or speaks TLS already, `TypeError` for a context that is none.
        """
        if self.closing or getattr(self.channel, "tls", None) is not None:
            raise RuntimeError(f"{self!r} can't begin to speak TLS")
        shaking = self._shaking = self.loop.create_future()
        self.channel = self._upgrade(
            self.channel,
            sslcontext,
            server_side,
            server_hostname,
            (ssl_handshake_timeout, ssl_shutdown_timeout),
        )
        return shaking


def set_nodelay(sock: socket.socket) -> None:
    """Send small pieces at once, as asyncio does on every TCP connection."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # It may be over already.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


# When asyncio begins to warn of writes to a connection that is over.
_MANY_WRITES = 5
