"""`await` in handlers, and connections that change hands between dispatchers and streams.

What is here works on whatever drives the map: a classic loop, `ClassicLoop`, or an asyncio loop
that the map is attached to. Call it on that loop's thread. Futures and tasks are those of
`compat.event_loop(map=map)`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, TypeVar

from asynccore.asynchat import async_chat
from asynccore.channels import Map
from asynccore.classic.former import formerly
from asynccore.dispatchers.buffered import dispatcher_with_send
from asynccore.dispatchers.dispatcher import dispatcher
from asynccore.engine import engine_for
from asynccore.errors import reports_to_channel, reraised
from asynccore.listening import connection_limits

from .classic_loop import event_loop
from .connections import channel_of, upgrade
from .pushback import PushbackSocket
from .streams import StreamTransport

T = TypeVar("T")

# asyncio's default: how much a StreamReader holds before it stops reading, in bytes (and half of
# what it holds at the most).
LIMIT = 2**16


@formerly("map")
def run_coroutine(coro: Coroutine[object, Any, T], *, map: Map | None = None) -> asyncio.Task[T]:
    """Run a coroutine beside the channels of a map.

    `map` is by default that of `event_loop`: the one whose pass, or coroutine, runs on this
    thread. Returns its task at once; it begins with the loop's next pass. An exception that nobody
    asks the task for is logged, as in asyncio. As a classic loop ends when its map is empty, a task
    that waits for nothing but time needs `loop(until_idle=True)`, or a channel.
    """
    return event_loop(map=map).create_task(coro)


# -- awaiting a dispatcher ----------------------------------------------------------------------


class _MethodOverrides:
    """Methods that a channel has for the time being instead of its own."""

    def __init__(self, channel: object) -> None:
        self.channel = channel
        self._own: dict[str, tuple[object, object]] = {}

    def put(self, name: str, method: Callable[..., object]) -> Any:
        """Have the channel call `method`; returns what it would have called."""
        before = getattr(self.channel, name)
        assigned = getattr(before, "__func__", before) is not getattr(
            type(self.channel), name, None
        )
        self._own[name] = (before if assigned else None), method
        setattr(self.channel, name, method)
        return before

    def remove(self) -> None:
        """Give it back its own, unless somebody else has assigned another meanwhile."""
        for name, (before, method) in self._own.items():
            if getattr(self.channel, name) is method:
                if before is None:
                    delattr(self.channel, name)
                else:
                    setattr(self.channel, name, before)
        self._own.clear()


def _after(channel: object, name: str, callback: Callable[[], object]) -> Callable[[], None]:
    """Call back after each call of a channel's method; returns what ends that."""
    hook: Any = getattr(channel, name)
    if not hasattr(hook, "listeners"):
        hooks = _MethodOverrides(channel)

        def hooked(*args: object, **options: object) -> None:
            own(*args, **options)
            for listener in list(listeners):
                listener()

        listeners: list[Callable[[], object]] = []
        hook = hooked
        hook.listeners, hook.hooks = listeners, hooks
        own = hooks.put(name, hook)
    hook.listeners.append(callback)

    def remove() -> None:
        if callback in hook.listeners:
            hook.listeners.remove(callback)
        if not hook.listeners:
            hook.hooks.remove()

    return remove


def _when_closed(channel: dispatcher, callback: Callable[[], object]) -> Callable[[], None]:
    """Call back when a channel was closed; it leaves its map then.

    It may be another thread that closes it, which must not touch tasks and futures of the loop.
    """
    loop, here = event_loop(map=channel._map), get_ident()

    def left() -> None:
        if not channel._ac_closed:
            return
        if get_ident() == here:
            callback()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(callback)

    return _after(channel, "del_channel", left)


def _settle(future: asyncio.Future[T], result: T, why: BaseException | None = None) -> None:
    if future.done():
        return
    if why is None:
        future.set_result(result)
    else:
        future.set_exception(why)


async def wait_closed(channel: dispatcher) -> None:
    """Wait until a dispatcher is closed. Returns at once if it is."""
    if channel._ac_closed:
        return
    future: asyncio.Future[None] = event_loop(map=channel._map).create_future()
    remove = _when_closed(channel, lambda: _settle(future, None))
    try:
        await future
    finally:
        remove()


async def read_line(channel: async_chat) -> bytes:
    """Wait for what comes until an `async_chat`'s next terminator, and return it without that.

    The channel's own `collect_incoming_data` and `found_terminator` are not called meanwhile; what
    the former was given of the line before this call is not in it. From the first call on, the
    channel's reading is paused in between; `channel.resume_reading()` goes back to its own
    handlers, with nothing lost. Raises `ConnectionResetError` if the channel is closed before.
    """
    if channel._ac_closed:
        raise ConnectionResetError(f"{channel!r} is closed")
    future: asyncio.Future[bytes] = event_loop(map=channel._map).create_future()
    pieces: list[bytes] = []
    hooks = _MethodOverrides(channel)

    def found() -> None:
        hooks.remove()
        dispatcher.pause_reading(channel)  # with what has come after the line
        _settle(future, b"".join(pieces))

    hooks.put("collect_incoming_data", pieces.append)
    hooks.put("found_terminator", found)
    remove = _when_closed(
        channel, lambda: _settle(future, b"", ConnectionResetError(f"{channel!r} was closed"))
    )
    dispatcher.resume_reading(channel)
    try:
        return await future
    finally:
        hooks.remove()
        remove()


async def drain(channel: async_chat | dispatcher_with_send) -> None:
    """Wait until the output of a dispatcher with a buffer has fallen to its `low_watermark`.

    Without watermarks: until all of it is sent. Raises `ConnectionResetError` if the channel is
    closed before.
    """

    def is_low() -> bool:
        marks = channel._ac_marks
        return bool(channel._ac_write_buffer_size() <= (0 if marks is None else marks[1]))

    if channel._ac_closed:
        raise ConnectionResetError(f"{channel!r} is closed")
    if is_low() and not channel._ac_has_output():
        return
    if channel._ac_marks is not None and is_low():
        return
    future: asyncio.Future[None] = event_loop(map=channel._map).create_future()

    def written() -> None:
        if not channel._ac_closed and is_low():
            _settle(future, None)

    removers = (
        _after(channel, "handle_write", written),
        _when_closed(
            channel,
            lambda: _settle(future, None, ConnectionResetError(f"{channel!r} was closed")),
        ),
    )
    try:
        await future
    finally:
        for remove in removers:
            remove()


# -- a dialogue ---------------------------------------------------------------------------------


class _Conversation:
    """One `converse`, until the coroutine has ended, or the channel is somebody else's."""

    def __init__(self, channel: dispatcher, task: asyncio.Task[object]) -> None:
        self.channel = channel
        self.over = False
        self._task = task
        self._remove = _when_closed(channel, self._closed)
        task.add_done_callback(self._done)

    def _closed(self) -> None:
        if not self.over:
            self.over = True
            self._task.cancel()

    def _done(self, task: asyncio.Task[object]) -> None:
        self._remove()
        why = None if task.cancelled() else task.exception()
        if isinstance(why, (KeyboardInterrupt, SystemExit)):
            return  # asyncio has let these two out already
        # What `read_line` and `drain` say of a channel that is closed is no news.
        if isinstance(why, ConnectionResetError) and self.channel._ac_closed:
            why = None
        engine = engine_for(self.channel._map)
        engine.keep()
        engine.call_soon_threadsafe(self._end, why)

    @reports_to_channel
    def _end(self, why: BaseException | None) -> None:
        """Do with an exception what the engine does with one of a handler; then read on."""
        channel = self.channel
        if channel._ac_conversation is self:
            channel._ac_conversation = None
        try:
            if why is not None:
                raise why
        except reraised():
            raise
        except BaseException:
            channel.handle_error()
        if not self.over:
            self.over = True
            dispatcher.resume_reading(channel)


def converse(channel: dispatcher, coro: Coroutine[object, Any, T]) -> asyncio.Task[T]:
    """Have a coroutine talk to a channel's peer, and nobody else until it has ended.

    Use it in handlers that `await`. It pauses the channel's reading at once, so lines that have
    come already wait. The coroutine reads them by `read_line`, or takes the connection by
    `to_streams`. When it ends, the channel goes on with its own handlers. When anybody closes the
    channel, the coroutine is cancelled. Its exceptions go to the channel's `handle_error`, but
    `ExitNow` leaves the loop. It runs on the loop of the channel's map, from the next pass on.

    Returns its task. Raises `RuntimeError` if the channel is closed, without a connection, or in a
    conversation already, and `TypeError` for what is no coroutine.
    """
    if not asyncio.iscoroutine(coro):
        raise TypeError(
            f"converse() takes a coroutine, which a call of an async def is, not {coro!r}"
        )
    problem = None
    if channel._ac_closed or channel._fileno is None:
        problem = f"{channel!r} has nobody to talk to"
    elif channel._ac_conversation is not None:
        problem = f"{channel!r} is in a conversation already: await in that one"
    if problem is not None:
        coro.close()
        raise RuntimeError(problem)
    dispatcher.pause_reading(channel)
    task = event_loop(map=channel._map).create_task(coro)
    channel._ac_conversation = _Conversation(channel, task)
    return task


# -- handing connections over -------------------------------------------------------------------


def to_streams(
    channel: dispatcher, *, limit: int = LIMIT
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Take a connection away from a dispatcher; return asyncio's streams for it.

    The reader begins with what an `async_chat` has received and not yet handed to
    `found_terminator`; what was queued for sending goes out before anything that is written. TLS
    goes on, if it is `ssl_ext`'s. The dispatcher is closed from then on, without a call of
    `handle_close`. May be called in its handlers. `limit` is that of `asyncio.StreamReader`.

    Raises `RuntimeError` without a connection, or if `close_when_done` was called.
    """
    if channel._ac_closed or channel.socket is None or not channel.connected:
        raise RuntimeError(f"{channel!r} has no connection to hand over")
    map, loop = channel._map, event_loop(map=channel._map)
    unsent = _take_output(channel)
    received = _take_input(channel)
    sock = _leave(channel)
    if isinstance(sock, PushbackSocket):
        received += sock._ac_read_ahead
        sock = sock.inner
    reader = asyncio.StreamReader(limit=limit, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = StreamTransport(loop, protocol, upgrade)
    transport.channel = channel_of(transport, sock, map)
    transport.channel.connected = True
    if unsent:
        transport.channel.out_buffer = unsent
    transport.established()
    if received:
        protocol.data_received(received)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@formerly("reader")
def to_channel(
    source: Any, channel: dispatcher, *, reader: asyncio.StreamReader | None = None
) -> None:
    """Give a connection of asyncio's to a dispatcher that has none yet.

    `source` is a transport or an `asyncio.StreamWriter`. Nothing is lost that its reader has read
    ahead: the dispatcher's `recv` returns that first. The reader is found by itself; `reader` need
    be given for one that a protocol of the program's own has. The protocol is told
    `connection_lost(None)`. A `TLSMixin` goes on with TLS, if it is `ssl_ext`'s.

    Raises `RuntimeError` if the connection is over, if somebody else awaits the reader, or if
    asyncio's own transport has something left to send (await the writer's `drain` first, with its
    limits at 0), and `TypeError` for what has no plain socket, such as TLS of the module `ssl`.
    """
    transport = getattr(source, "transport", source)
    if transport.is_closing():
        raise RuntimeError(f"{transport!r} is closed, and has no connection to hand over")
    if channel._fileno is not None:
        raise RuntimeError(f"{channel!r} has a connection of its own")
    if reader is None:
        reader = _reader_of(source, transport)
    unsent = b""
    if isinstance(transport, StreamTransport):
        unsent = transport.channel.out_buffer
        sock: Any = transport.hand_over()
    else:
        sock = _duplicate(transport)
    received = b"" if reader is None else _read_ahead(reader)
    channel.set_socket(sock)
    if received:
        _put_back(channel, received)
    channel.connected = True
    try:
        channel.addr = sock.getpeername()
    except OSError:
        pass  # The peer has gone already, which the next recv() tells.
    if unsent:
        _give_output(channel, unsent)


def _put_back(channel: Any, data: bytes) -> None:
    """Have a channel receive something before all else."""
    sock = channel.socket
    if hasattr(type(sock), "_ac_unread"):
        sock._ac_unread(data)
    else:
        channel.socket = PushbackSocket(sock, data, channel)
    channel._ac_touch()


def _take_output(channel: Any) -> bytes:
    """Return what a dispatcher has queued, and forget it."""
    fifo = getattr(channel, "producer_fifo", None)
    if fifo is None:
        data = bytes(getattr(channel, "out_buffer", b""))
        if data:
            channel.out_buffer = b""
        return data
    if None in fifo:
        raise RuntimeError(f"close_when_done() was called for {channel!r}")
    pieces: list[bytes] = []
    while fifo:
        first = fifo.popleft()
        while first:
            data = first.more() if hasattr(first, "more") else first
            if isinstance(data, str):
                data = data.encode(channel.encoding)
            pieces.append(bytes(data))
            if first is data or not data or not hasattr(first, "more"):
                break
    channel.producer_fifo = fifo  # The assignment has what is queued counted anew.
    return b"".join(pieces)


def _give_output(channel: Any, data: bytes) -> None:
    if hasattr(channel, "push"):
        channel.push(data)
    else:
        channel.send(data)


def _take_input(channel: object) -> bytes:
    """Return what an `async_chat` has received of a line, and after it; and forget it."""
    if not isinstance(channel, async_chat):
        return b""
    received = b"".join(channel.incoming) + bytes(channel.ac_in_buffer)
    channel.incoming.clear()
    channel.ac_in_buffer = b""
    return received


def _leave(channel: Any) -> Any:
    """Take a dispatcher's socket away; it is as if closed."""
    fd = channel._fileno
    conversation: _Conversation | None = channel._ac_conversation
    if conversation is not None:
        conversation.over = True  # the coroutine goes on with the connection
    channel._ac_closed = True
    channel.connected = False
    channel._ac_drop_times()
    if channel._ac_timers is not None:
        channel._ac_timers.cancel()
    channel.del_channel()
    sock, channel.socket = channel.socket, None
    if getattr(channel, "tls", None) is not None:
        channel._ac_tls = channel.tls_context = None
        sock._ac_on_progress = sock._ac_on_timeout = None
    if connection_limits.counted:
        connection_limits.told(channel, fd)
    return sock


def _reader_of(source: object, transport: object) -> asyncio.StreamReader | None:
    """Return the reader of a writer, or of a transport whose protocol is that of streams."""
    # A StreamWriter has had it under this name in all versions of asyncio.
    found = getattr(source, "_reader", None)
    if found is None and hasattr(transport, "get_protocol"):
        found = getattr(transport.get_protocol(), "_stream_reader", None)
    return found if isinstance(found, asyncio.StreamReader) else None


def _read_ahead(reader: asyncio.StreamReader) -> bytes:
    """Return what a reader holds; it is at its end then."""
    reader.feed_eof()
    rest = reader.read()
    try:
        rest.send(None)
    except StopIteration as done:
        data: bytes = done.value
        return data
    rest.close()
    raise RuntimeError("somebody else awaits this reader")


def _duplicate(transport: Any) -> socket.socket:
    """Return a socket for the connection of one of asyncio's own transports, which gives it up."""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        raise TypeError(f"{transport!r} has no plain socket to hand over")
    transport.pause_reading()
    if transport.get_write_buffer_size():
        raise RuntimeError(f"{transport!r} has something left to send: await drain() first")
    copy = socket.socket(fileno=os.dup(sock.fileno()))
    copy.setblocking(False)
    transport.abort()
    return copy
