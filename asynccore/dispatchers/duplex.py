"""The two directions of a connection: reading that pauses, and the end of each.

Facts. A peer that has sent everything may still want to read (shutdown(2)). Its end stays readable
for ever. Reading stops for several reasons at once: the program paused it, the end has come, a
listener rests or is full; and each of them ends by itself.

Consequence. Why a channel isn't read from is a set of bits, kept on the channel, which is where
the engine finds it when the channel enters a map. Nothing is read while there is any; a new socket
begins without. The end of the peer's sending goes to `handle_eof`, once. What breaks both
directions at the same time goes to `handle_close`, once.

Trade-off. Unless `handle_eof` is overridden the first is the second, as in classic asyncore, which
threw away the output that was still to be sent; here that goes first.
"""

from __future__ import annotations

import os
import socket as _socket
import sys
from collections.abc import Callable
from errno import EINVAL, ENOTCONN, EPIPE
from typing import TYPE_CHECKING, Any

from ..channels import ENDED, PAUSED, UNUSED
from ..classic.own_names import OverridableProperty, hook
from ..errors import disconnected
from .socket_options import is_datagram

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from .timeouts import ChannelTimes

# How far the directions have come.
_INPUT_ENDED = 1  # handle_eof() was told
_OUTPUT_ENDS = 2  # shutdown_write() was called
_OUTPUT_ENDED = 4  # and the peer was told
ENDS_WHEN_SENT = 8  # the end of the input is handed over when all output is sent
CLOSES_WHEN_SENT = 16  # close_when_done() was called

# How far handle_close() has come, which hears of the end of both; 0 before.
_BEING_TOLD = 1
_TOLD = 2


class Duplex:
    """What a dispatcher has for its two directions."""

    socket: _socket.socket | Any = None
    connected = False
    accepting = False
    connecting = False
    _fileno: int | None = None
    _ac_engine: Engine | None = None
    _ac_close_unfinished = False  # the loop's thread has still to do something for it
    _ac_closed = False  # by close(), until it gets another socket
    _ac_times: ChannelTimes | None = None
    _ac_ended = 0  # how far the end was handed to handle_close()
    _ac_pause_reasons = 0
    _ac_shutdown_state = 0  # how far the directions have come

    if TYPE_CHECKING:

        def close(self) -> None: ...

        def handle_close(self) -> None: ...

    @OverridableProperty
    def is_closed(self) -> bool:
        """Whether `close` was called, and the channel has had no other socket since."""
        return self._ac_closed

    # -- pausing --------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Don't read until `resume_reading`, whatever `readable` says (as asyncio's transports).

        The peer is held back once the system's buffers are full. A listener accepts nothing
        meanwhile. In `found_terminator` of an `async_chat` it keeps back what has come after that
        line. A new socket begins unpaused. May be called twice, and from any thread.
        """
        self._ac_on_loop(self._ac_mute, PAUSED)

    def resume_reading(self) -> None:
        """Read again, from the next pass on. Does nothing if it wasn't paused.

        An `async_chat` delivers first what was kept back. May be called from any thread.
        """
        self._ac_on_loop(self._ac_unmute, PAUSED)

    def _ac_on_loop(self, function: Callable[..., object], *args: object) -> None:
        if self._ac_engine is None:
            function(*args)
        else:
            self._ac_engine.run_on_loop(function, *args)

    def _ac_mute(self, why: int) -> None:
        if self._fileno is None:
            return  # without a socket there is nothing to pause
        if not self._ac_pause_reasons:
            engine = self._ac_watching()
            if engine is not None:
                engine.pause(self._fileno)
        self._ac_pause_reasons |= why

    def _ac_unmute(self, why: int) -> None:
        before = self._ac_pause_reasons
        self._ac_pause_reasons = before & ~why
        if before and not self._ac_pause_reasons:
            engine, fd = self._ac_watching(), self._fileno
            if engine is not None and fd is not None:
                engine.resume(fd)
                if self._ac_times is not None:
                    self._ac_times.reading_resumed()

    def _ac_watching(self) -> Engine | None:
        """Return the engine if its map holds this channel."""
        engine = self._ac_engine
        return engine if engine is not None and engine.map.get(self._fileno) is self else None

    def _ac_is_unused(self) -> bool:
        """Whether the socket is a stream's that neither listens nor connects, and never did.

        poll(2) says of such a one that it is hung up. Its thread is about to use it.
        """
        sock = self.socket
        if sys.platform == "win32":
            return False  # Winsock reports nothing for such a one
        # `accepting` is set before listen(2) is called, so the kernel is asked.
        if self.connected or type(sock) is not _socket.socket:
            return False
        if self.connecting:
            return bool(self._ac_pause_reasons & UNUSED)  # connect_ex() has not returned yet
        try:
            if is_datagram(sock) or sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
                return False
            sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except OSError as why:
            return why.errno == ENOTCONN
        return False

    def _ac_begin_anew(self) -> None:
        """Forget what was said of the old connection."""
        self._ac_shutdown_state = 0
        if self._ac_pause_reasons:
            self._ac_unmute(-1)

    # -- the end of the input -------------------------------------------------------------------

    def handle_eof(self) -> None:
        """The peer has sent everything: `recv` returned `b''`. Called once for a connection.

        Unless overridden, the connection ends: `handle_close` is called, as by classic asyncore,
        but not before what is buffered or queued has been sent, or can't be. One
        that is overridden and doesn't close keeps the channel for writing. Nothing more is read,
        and after `shutdown_write` the connection is over, which goes to `handle_close`. A
        connection that breaks goes to `handle_close` alone.
        """
        self._ac_end()

    def _ac_end_input(self) -> None:
        """Hand the end of the input to `handle_eof`, once."""
        if self._ac_ended or self._ac_shutdown_state & _INPUT_ENDED:
            return
        self._ac_shutdown_state |= _INPUT_ENDED
        sock = self.socket
        try:
            eof = None if type(self).handle_eof is not _EOF else self.handle_eof
            if eof is None or getattr(eof, "__func__", None) is not _EOF:
                eof = hook(self, "handle_eof", 0)
            elif self._ac_has_output():
                # The peer may well wait for the rest of its reply.
                self._ac_shutdown_state |= ENDS_WHEN_SENT
                self._ac_on_loop(self._ac_mute, ENDED)
                return
            eof()
        except BaseException:
            self._ac_shutdown_state &= ~_INPUT_ENDED  # it did not take it: it is told again
            raise
        if self._ac_closed or self._ac_ended or self.socket is not sock:
            return
        self._ac_on_loop(self._ac_mute, ENDED)
        if self._ac_shutdown_state & _OUTPUT_ENDED:
            self._ac_end()

    def _ac_end(self) -> None:
        """Hand the end of the connection to `handle_close`, once."""
        if not self._ac_ended:
            self._ac_ended = _BEING_TOLD
            fd = self._fileno
            try:
                self.handle_close()
            except BaseException:
                self._ac_ended = 0  # it did not take it: it is told again
                raise
            if not self._ac_ended:
                return  # it has another socket
            self._ac_ended = _TOLD
            if fd is not None and self._fileno == fd:
                # Not closed: perhaps it still has output. There is nothing more to read.
                self._ac_on_loop(self._ac_mute, ENDED)

    def _ac_end_output(self) -> None:
        """Hand the end over; who knows of it, and stayed for the sake of its output, is closed.

        That output can't be sent any more, and the socket would be ready to fail for ever.
        """
        if not self._ac_ended:
            self._ac_end()
        elif self._ac_ended == _TOLD and not is_datagram(self.socket):
            self.close()

    def _ac_end_if_dead(self) -> None:
        """Hand over the end of a stream that was over before we had it, or never began.

        Its socket is ready for ever. A handler that has no need to read would never know.
        """
        if self._ac_closed or self._ac_ended or self.connected or self.connecting or self.accepting:
            return
        if self._ac_shutdown_state & _INPUT_ENDED or is_datagram(self.socket):
            return
        try:
            self.socket.getpeername()
        except OSError as why:
            if why.errno not in (ENOTCONN, EINVAL):
                return
        except AttributeError:
            return  # what stands in for a socket has no peer
        else:
            return
        try:
            if self.socket.recv(1, _socket.MSG_PEEK):
                return  # there is something left to read
        except BlockingIOError:
            return
        except OSError:
            pass
        self._ac_end()

    # -- the end of the output ------------------------------------------------------------------

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will be sent, once everything buffered has been.

        The channel still reads (shutdown(2) with SHUT_WR; asyncio's `write_eof`). A connection
        that is being made is told when it stands. Sending afterwards raises `BrokenPipeError`. May
        be called twice, and from any thread. Raises `RuntimeError` without a socket.
        """
        if self.socket is None:
            raise RuntimeError(f"{self!r} has no socket whose output could end")
        self._ac_on_loop(self._ac_shutdown_write)

    def _ac_shutdown_write(self) -> None:
        if not self._ac_closed:
            self._ac_shutdown_state |= _OUTPUT_ENDS
            self._ac_output_drained()

    def _ac_has_output(self) -> bool:
        """Whether something that was handed to the channel is still to be sent.

        A class that buffers says so here, and calls `_output_drained` when it is sent.
        """
        return False

    def _ac_output_drained(self) -> None:
        """End the output if that was asked for and nothing is left of it.

        And the connection, whose input has ended before, or which was to be closed then.
        """
        if self._ac_shutdown_state & CLOSES_WHEN_SENT:
            if not self._ac_has_output() and not self._ac_closed and not self.connecting:
                self._ac_shutdown_state &= ~(CLOSES_WHEN_SENT | ENDS_WHEN_SENT)
                self.handle_close()
            return
        if self._ac_shutdown_state & ENDS_WHEN_SENT:
            if not self._ac_has_output() and not self._ac_closed:
                self._ac_shutdown_state &= ~ENDS_WHEN_SENT
                self._ac_end()
            return
        if (
            self._ac_shutdown_state & (_OUTPUT_ENDS | _OUTPUT_ENDED) != _OUTPUT_ENDS
            or self._ac_closed
            or self.connecting
            or self._ac_has_output()
        ):
            return
        self._ac_shutdown_state |= _OUTPUT_ENDED
        try:
            self.socket.shutdown(_socket.SHUT_WR)
        except OSError as why:
            if why.errno not in disconnected():
                raise
            # Reading will tell what happened.
        if self._ac_shutdown_state & _INPUT_ENDED and not self._ac_ended:
            self._ac_end()

    def _ac_check_output(self) -> None:
        """Raise `BrokenPipeError` if something has ended the output (EPIPE, send(2))."""
        ended = self._ac_shutdown_state & (_OUTPUT_ENDS | CLOSES_WHEN_SENT)
        if ended:
            what = "shutdown_write" if ended & _OUTPUT_ENDS else "close_when_done"
            raise BrokenPipeError(
                EPIPE, f"{os.strerror(EPIPE)}: {what}() has ended the output of {self!r}"
            )


# What ends every connection whose class has no other: it need not be looked at.
_EOF = Duplex.handle_eof
