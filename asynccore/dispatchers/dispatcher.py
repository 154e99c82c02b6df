"""`dispatcher`: a socket with `handle_*` hooks, which a loop calls when it is ready."""

from __future__ import annotations

import socket as _socket
import sys
from errno import EALREADY, EBADF, EINPROGRESS, EINVAL, EISCONN, ENOTCONN, EWOULDBLOCK, errorcode
from threading import RLock, get_ident
from typing import Any

from .. import logs
from ..channels import UNUSED, Address, ChannelMap, Map, SocketLike, inspectors, reports_changes
from ..classic.namespace import default_map, legacy_name, package
from ..classic.own_names import hook, tell_of_handlers, yield_to_mixins
from ..classic.text import not_bytes
from ..connecting.attempts import ConnectError
from ..connecting.target import show
from ..engine.engine import Engine, engine_for, leave_map
from ..errors import _strerror, disconnected, reraised
from ..listening import acceptor as accepting
from ..listening import bind_errors, connection_limits, socket_activation
from ..neighbours import is_ours
from ..pollers import READ, WRITE
from ..pollers.layered import waits_for
from .connect_name import ConnectsByName
from .listener import Listening
from .socket_options import SocketOptions, is_datagram, send_at_once

# Two threads may close one channel while a third one is in a handler.
_closing = RLock()


class dispatcher(Listening, SocketOptions, ConnectsByName):
    """A socket with hooks, after classic `asyncore.dispatcher`.

    `sock` is a socket to take over. The dispatcher makes it non-blocking. Without `sock`, call
    `create_socket` or `set_socket`. `map` is the mapping that the dispatcher enters, by default
    `asynccore.socket_map`.

    Override the handlers that you need: `handle_read`, `handle_write`, `handle_connect`,
    `handle_accepted`, `handle_close`, `handle_expt`, `handle_error`. Override `readable` and
    `writable` if the loop shall not always wait for both.
    """

    debug = False
    connected = False
    accepting = False
    connecting = False
    closing = False
    addr: tuple[str, int] | Any = None
    socket: _socket.socket | Any = None
    family_and_type: tuple[int, int]
    ignore_log_types = frozenset({"warning"})

    # Predicates of the program that read nothing else are asked as ours are (`predicates`).
    _ac_reporting_state = frozenset({"accepting", "connected", "connecting"})
    _map: Map
    _fileno: int | None = None
    _ac_engine: Engine | None = None
    _ac_refused: OSError | None = None  # that of a connect which has just failed
    _ac_reason: BaseException | None = None  # why the connection ends, if anybody knows
    _ac_first_write = False  # handle_write() runs because the connection was made
    _ac_conversation: object = None  # of compat.converse(), while the channel is in one

    def __init_subclass__(cls, **options: object) -> None:
        yield_to_mixins(cls)
        tell_of_handlers(cls)
        super().__init_subclass__(**options)

    def __init__(self, sock: _socket.socket | Any = None, map: Map | None = None) -> None:
        self._map = default_map() if map is None else map
        self._fileno = None
        # On the instance, for they are read at every event and send: Python 3.11 is slow to find
        # them in a class.
        self._ac_times = self._ac_counts = None
        self._ac_pause_reasons = self._ac_shutdown_state = 0
        if sock:
            # A socket accepted by somebody else may well be blocking.
            sock.setblocking(False)
            self.set_socket(sock, map)
            self.connected = True
            accepted, peer = accepting.fresh
            if sock is accepted:
                self.addr = peer
                return
            try:
                self.addr = sock.getpeername()
            except OSError as why:
                # Not connected yet, or not any more (macOS says EINVAL for the latter): the first
                # event will tell which. Other errors concern the name alone.
                if why.args[0] in (ENOTCONN, EINVAL):
                    self.connected = False
        else:
            self.socket = None

    def __repr__(self) -> str:
        cls = type(self)
        words = [f"{legacy_name(cls.__module__)}.{cls.__qualname__}"]
        if self.accepting and self.addr:
            words.append("listening")
        elif self.connected:
            words.append("connected")
        if self.addr is not None:
            try:
                words.append("%s:%d" % self.addr)  # noqa: UP031 - of whatever shape addr is
            except TypeError:
                words.append(repr(self.addr))
        return f"<{' '.join(words)} at {id(self):#x}>"

    # -- maps -----------------------------------------------------------------------------------

    def add_channel(self, map: Map | None = None) -> None:
        """Enter a map, by default the dispatcher's own."""
        if inspectors:
            for inspect in inspectors:
                inspect(self)
        if map is None:
            map = self._map
        reports = type(map) is ChannelMap
        engine = map.engine if reports else engine_for(map)  # type: ignore[attr-defined]
        if engine is None:
            engine = engine_for(map)
        if engine.owner != get_ident() and engine.loops_elsewhere() and self._ac_is_unused():
            self._ac_pause_reasons |= UNUSED
        if reports:
            map._ac_enter(self._fileno, self)  # type: ignore[attr-defined]
        else:
            map[self._fileno] = self
        self._ac_closed = False
        self._ac_engine = engine

    def del_channel(self, map: Map | None = None) -> None:
        """Leave a map, by default the dispatcher's own. Does nothing if it isn't in there."""
        fd = self._fileno
        if map is None:
            map = self._map
        if not leave_map(map, fd, self) and fd in map and self._ac_entered(map[fd], fd):
            leave_map(map, fd, map[fd])
        self._fileno = None

    def _ac_entered(self, entry: object, fd: object) -> bool:
        """Whether what a map holds under `fd` is there for this channel: itself, or a wrapper.

        A channel whose socket was closed by others must not take out who has the number now.
        """
        sock = self.socket
        if entry is self or sock is None:
            return True
        if getattr(entry, "socket", sock) is not sock:
            return False
        return bool(sock.fileno() == fd)

    def touch(self) -> None:
        """Tell the engine that the answer of `readable` or `writable` may have changed."""
        self._ac_touch()

    def _ac_touch(self) -> None:
        # What the package itself calls: a program's class may have a `touch` of its own.
        if self._ac_engine is not None:
            self._ac_engine.touch(self._fileno)

    # -- sockets --------------------------------------------------------------------------------

    def create_socket(self, family: int = _socket.AF_INET, type: int = _socket.SOCK_STREAM) -> None:
        """Make a new non-blocking socket and take it over. Raises `OSError` as `socket` does."""
        self.family_and_type = family, type
        sock = package().socket.socket(family, type)
        sock.setblocking(False)
        self.set_socket(sock)

    def set_socket(self, sock: _socket.socket | Any, map: Map | None = None) -> None:
        """Take over a socket, or anything with `fileno`, `close` and `getsockopt`.

        It stays blocking if it was. Raises `ValueError` if it is closed.
        """
        fd = sock.fileno()
        if isinstance(fd, int) and fd < 0:
            raise ValueError(f"can't take over {sock!r}: it is closed")
        engine = self._ac_engine
        if engine is not None and engine.deferred and engine.owner != get_ident():
            engine.drop_calls_left_for(self)  # they were for the old socket
        old = self._fileno
        if old is not None and self.socket is not sock:
            owner = self._map if map is None else map
            if owner.get(old) is not self:
                pass
            elif old == fd:
                # The poller may know the number from the old socket, if that is closed.
                engine_for(owner).removed(fd)
            else:
                # The number of a socket that is given up must not lead to this channel.
                self.del_channel(map)
        self._ac_ended = 0
        if (self._ac_pause_reasons or self._ac_shutdown_state) and self._ac_by_name is None:
            self._ac_begin_anew()
        if self._ac_times is not None or self._ac_counts is not None:
            self._ac_drop_times()
        if sock is accepting.sends_at_once:
            if not self._ac_tcp_nodelay:
                send_at_once(sock, False)
        elif self._ac_tcp_nodelay:
            send_at_once(sock)
            if sock is accepting.fresh[0]:
                accepting.pass_no_delay_on()
        self.socket = sock
        self._fileno = fd
        self.add_channel(map)
        if self._ac_by_name is not None:
            self._ac_by_name.cancel()
        engine = self._ac_engine
        if engine is None or not engine.has_just_entered(fd):
            self._ac_touch()  # else it is asked as one that has entered
        if self._ac_has_timeouts:
            self._ac_timeouts_changed()
        if engine is not None and engine.counts_bytes:
            self._ac_count_bytes(True)

    # -- predicates -----------------------------------------------------------------------------

    @reports_changes
    def readable(self) -> bool:
        """Whether to wait for reading: unless overridden, always but while reading is paused."""
        try:
            return not self._ac_pause_reasons or self._ac_goes_on()
        except AttributeError:
            return True  # What borrowed this predicate is no dispatcher.

    @reports_changes
    def writable(self) -> bool:
        """Whether to wait for writing: always, unless overridden."""
        return True

    # -- socket calls ---------------------------------------------------------------------------

    def bind(self, addr: tuple[str, int] | Any) -> None:
        """Bind the socket to an address. Raises `OSError` (bind(2)), with that in `filename`.

        Under `asynccore run`, a socket that the process inherited may take its place.
        """
        self.addr = addr
        inherited = None
        if socket_activation.arranged is not None:
            inherited = socket_activation.arranged.prepare(self.socket, addr)
        if inherited is None:
            try:
                self.socket.bind(addr)
            except OSError as why:
                bind_errors.explain(why, show(addr))
                raise
        else:
            socket_activation.take_over(self.socket, inherited, self._ac_engine)

    def connect(self, address: tuple[str, int] | Any) -> None:
        """Begin to connect; `handle_connect` follows, or `handle_error` with the `OSError`.

        Raises `OSError` if that can be told at once. A host name is looked up while the loop
        waits, as the classic one did.
        """
        self.connected = False
        self.connecting = True
        self._ac_connects += 1
        self._ac_ended = 0
        if self._ac_shutdown_state:
            self._ac_begin_anew()
        if self._ac_times is not None:
            self._ac_times.connecting()
        err = self.socket.connect_ex(address)
        if self._ac_pause_reasons & UNUSED:
            self._ac_on_loop(self._ac_unmute, UNUSED)
        if err in (EINPROGRESS, EALREADY, EWOULDBLOCK) or (
            err == EINVAL and sys.platform == "win32"
        ):
            self.addr = address
            self._ac_touch()
        elif err in (0, EISCONN):
            self.addr = address
            self.handle_connect_event()
            self._ac_touch()
        else:
            raise OSError(err, errorcode.get(err, _strerror(err)))

    def send(self, data: bytes | Any) -> int | None:
        """Send what fits and return how many bytes that is.

        Returns 0 if nothing fits, or if the connection is gone (then `handle_close` ran).
        Raises other `OSError`s.
        """
        try:
            count: int = self.socket.send(data)
        except OSError as why:
            return self._ac_not_sent(why)
        except TypeError:
            if isinstance(data, str):
                raise not_bytes("send()", data) from None
            raise
        # As `_ac_note_sent`, without the call.
        counts, times = self._ac_counts, self._ac_times
        if counts is not None and count:
            counts.sent += count
        if times is not None and count:
            times.active = times.sent = times.clock()
        return count

    def _ac_not_sent(self, why: OSError) -> int:
        """Return 0 for what is no error to `send`, and raise the rest again."""
        if self._ac_shutdown_state and not self._ac_has_output():
            self._ac_check_output()
        if waits_for(why):
            self._ac_must_wait(why, WRITE)
            return 0
        if why.errno == EWOULDBLOCK:
            return 0
        if why.errno in disconnected():
            self._ac_end_output()
            return 0
        raise why

    def recv(self, buffer_size: int) -> bytes:
        """Return up to `buffer_size` bytes, or `b''` at the end (then `handle_close` ran).

        Raises `BlockingIOError` if there is nothing yet, and other `OSError`s.
        """
        try:
            data: bytes = self.socket.recv(buffer_size)
        except OSError as why:
            return self._ac_not_received(why)
        if data:
            counts = self._ac_counts
            if counts is not None:
                counts.received += len(data)
            return data
        # An empty datagram is no end (udp(7)).
        if buffer_size and not is_datagram(self.socket):
            self._ac_end_input()
        return b""

    def _ac_not_received(self, why: OSError) -> bytes:
        """Return `b""` for an end, and raise the rest again."""
        if why.errno in disconnected():
            self._ac_end()
            return b""
        if waits_for(why):
            self._ac_must_wait(why, READ)
        raise why

    def recvfrom(self, buffer_size: int) -> tuple[bytes, tuple[str, int] | Any]:
        """Return a datagram and the address that it came from (recvfrom(2)).

        Errors are as in `recv`: at the end of a connection `(b"", None)` is returned, and what ICMP
        said of an earlier datagram (`ConnectionRefusedError`) is raised, as `BlockingIOError` is if
        there is nothing yet.
        """
        try:
            data, addr = self.socket.recvfrom(buffer_size)
        except OSError as why:
            if why.errno in disconnected():
                self._ac_end()
                return b"", None
            raise
        counts = self._ac_counts
        if counts is not None:
            counts.received += len(data)
        return data, addr

    def sendto(self, data: bytes | Any, addr: Address) -> int:
        """Send a datagram to an address; return how many bytes that is (sendto(2)).

        Errors are as in `send`: 0 if there is no room, and others are raised.
        """
        try:
            count: int = self.socket.sendto(data, addr)
        except OSError as why:
            return self._ac_not_sent(why)
        self._ac_note_sent(count)
        return count

    def _ac_must_wait(self, why: OSError, doing: int) -> None:
        # Perhaps the engine doesn't even know this socket yet.
        engine = self._ac_engine
        if engine is not None and self._fileno is not None:
            engine.run_on_loop(engine.must_wait, self._fileno, self, why, doing)

    def close(self) -> None:
        """Leave the map and close the socket. A second call does nothing.

        It is done on return in whatever thread. While another one is in a handler of the same
        map, what this one has sent since goes out first, and so does what TLS says at the end.
        """
        if self._ac_closed:
            return
        engine = self._ac_engine
        if engine is None or engine.owner == get_ident():
            self._ac_close()
        else:
            sock = self.socket
            # Nothing has to go out before, and nobody else uses what this closes.
            by_itself = type(sock) is _socket.socket and not engine.calls_left_for(self)
            if by_itself and not engine.waiting:
                engine.run_on_loop(self._ac_close_left, sock)
            else:
                engine.run_on_loop_at_once(self._ac_close_left, sock)
            if by_itself and self.socket is sock:
                self._ac_close_beside(engine)

    def _ac_close_beside(self, engine: Engine) -> None:
        """Close at once, if a handler keeps the loop's thread from it, which does the rest later.

        The kernel forgets a plain socket by itself, and the loop does when it looks at the map.
        """
        with _closing:
            if self._ac_closed:
                return
            self._ac_closed = self._ac_close_unfinished = True
            self.accepting = self.connected = self.connecting = False
            fd = self._fileno
            times = self._ac_times
            self._ac_times = self._ac_counts = None
            if times is not None:
                engine.run_on_loop(times.stop)
            if self._ac_timers is not None:
                engine.run_on_loop(self._ac_timers.cancel)
            self.del_channel()
            self._ac_pause_reasons = self._ac_shutdown_state = 0
            if fd is not None:
                engine.withdraw(fd)
            self.socket.close()
        if connection_limits.counted:
            connection_limits.told(self, fd)

    def _ac_close_left(self, sock: SocketLike) -> None:
        """Do, on the loop's thread, what another one has left of closing a socket."""
        if self.socket is not sock:
            sock.close()  # the channel has another one by now, which stays
        elif self._ac_close_unfinished or not self._ac_closed:
            self._ac_closed = self._ac_close_unfinished = False
            self._ac_close()

    def _ac_close(self) -> None:
        if self._ac_closed:
            return  # meanwhile, on the loop's thread
        # An attribute that an instance gets late gives it a dict of its own (Python 3.11 to 3.13),
        # which costs as much as all the rest of this.
        if self.accepting:
            self._ac_stop_listening()
            self.accepting = False
        fd = self._fileno
        self.connected = False
        if self.connecting:
            self.connecting = False
        self._ac_closed = True
        if self._ac_times is not None or self._ac_counts is not None:
            self._ac_drop_times()
        if self._ac_timers is not None:
            self._ac_timers.cancel()
        self.del_channel()
        self._ac_shutdown_state = 0
        if self._ac_pause_reasons:
            self._ac_begin_anew()
        if self.socket is not None:
            try:
                self.socket.close()
            except OSError as why:
                if why.args[0] not in (ENOTCONN, EBADF):
                    raise
        if connection_limits.counted:
            connection_limits.told(self, fd)
        # Read from the class first, for a property of the program's by that name is not ours to
        # read; and never from `__dict__`, which an instance would get by that.
        if (
            type(self).handle_closed is not _CLOSED
            or getattr(self.handle_closed, "__func__", None) is not _CLOSED
        ):
            self._ac_tell_closed()

    def _ac_tell_closed(self) -> None:
        why, self._ac_reason = self._ac_reason, None
        if why is None:
            why = sys.exc_info()[1]
            trace = None if why is None else why.__traceback__
            # One that the program itself has caught, here or around its loop, is its own affair.
            if trace is None or not is_ours(trace.tb_frame.f_globals.get("__name__", "")):
                why = None
        try:
            hook(self, "handle_closed", 1)(why)
        except reraised():
            raise
        except BaseException:
            self.handle_error()

    # -- log ------------------------------------------------------------------------------------

    def log(self, message: object) -> None:
        """Write "log: MESSAGE" to the standard error."""
        logs.emit("info", message, channel=self)
        if logs.printing:
            logs.put(f"log: {logs.text_of(message)}", sys.stderr)

    def log_info(self, message: str | Any, type: str = "info") -> None:
        """Print "TYPE: MESSAGE", unless the type is in `ignore_log_types`."""
        if logs._logger is not None or not logs.printing:
            logs.emit(type, message, channel=self)
        if logs.printing and type not in self.ignore_log_types:
            logs.put(f"{type}: {logs.text_of(message)}", sys.stdout)

    # -- events, as the loop calls them ---------------------------------------------------------

    def handle_read_event(self) -> None:
        """Sort out what readiness for reading means: a connection to accept, the end of a
        connect, or data."""
        if self._ac_pause_reasons and not self._ac_goes_on():
            return  # paused by another handler, after this event was taken
        if self.connected:
            self.handle_read()
        elif self.accepting:
            acceptor = self._ac_acceptor
            try:
                if acceptor is None or acceptor.limited:
                    self._ac_accept_within_limits()
                else:
                    self.handle_accept()
                    acceptor.latest = None
                    acceptor.failures = 0
            except reraised():
                raise
            except BaseException:
                self._ac_accept_failed()
                raise
        elif self.connecting:
            if self._ac_connected_still():
                self.handle_read()
        else:
            self.handle_read()
            self._ac_end_if_dead()

    def handle_write_event(self) -> None:
        """Sort out what readiness for writing means: the end of a connect, or room."""
        if self.accepting:
            return  # a listener has nothing to write
        if self.connected:
            self.handle_write()
        elif self.connecting:
            if self._ac_connected_still():
                self._ac_first_write = True
                try:
                    self.handle_write()
                finally:
                    self._ac_first_write = False
        else:
            self.handle_write()
            self._ac_end_if_dead()

    def _ac_connected_still(self) -> bool:
        """End a connect, and tell whether the connection survived its `handle_connect`.

        With whatever socket: programs put a TLS socket in the place of the plain one there.
        """
        connects = self._ac_connects
        try:
            self.handle_connect_event()
        except OSError as why:
            refused, self._ac_refused = self._ac_refused, None
            if why is not refused or type(self).handle_connect_error is _CONNECT_ERROR:
                raise
            self._ac_connect_failed(why)
            return False
        return not self._ac_closed and not self.accepting and self._ac_connects == connects

    def handle_connect_event(self) -> None:
        """Raise the `OSError` of a connect that failed, or call `handle_connect`.

        The channel is connected afterwards, unless it has closed or begun to connect anew.
        """
        err = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if err != 0:
            self._ac_refused = OSError(err, _strerror(err))
            raise self._ac_refused
        connects = self._ac_connects
        self.handle_connect()
        if not self._ac_closed and self._ac_connects == connects:
            self.connected = not self.accepting
            self.connecting = False
            if self._ac_times is not None:
                self._ac_times.connected()
            if self._ac_shutdown_state:
                self._ac_output_drained()

    def handle_expt_event(self) -> None:
        """Sort out what an exceptional condition means: an error, or urgent data."""
        try:
            err = self.socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        except OSError as why:
            # A socket that does TLS has failed (`pollers.layered`).
            if self.connecting or why.errno not in disconnected():
                raise
            self._ac_end()
            return
        if err == 0:
            self.handle_expt()
        elif self.connecting:
            # Windows reports a refused connect this way.
            raise OSError(err, _strerror(err))
        else:
            self.handle_close()

    # -- hooks ----------------------------------------------------------------------------------

    def handle_connect_error(self, exc: OSError) -> None:
        """A connect has failed: a `ConnectError` of `connect_name`, or the `OSError` of `connect`.

        Unless overridden, `handle_error` is called with that current, which closes the channel. One
        that is overridden may connect again; else it closes the channel.
        """
        self.handle_error()

    def _ac_connect_failed(self, why: OSError) -> None:
        """Hand a connect that failed over, while its exception is current."""
        tell = hook(self, "handle_connect_error", 1)
        if getattr(tell, "__func__", None) is _CONNECT_ERROR:
            self.handle_error()
            return
        try:
            tell(why)
        except reraised():
            raise
        except BaseException:
            self.handle_error()

    def handle_error(self) -> None:
        """Report the current exception in one line, and close.

        A listener is not closed for what one connection did.
        """
        _, kind, value, trace = package().compact_traceback()
        try:
            name = repr(self)
        except Exception:
            name = f"<__repr__(self) failed for object at {id(self):x}>"
        if isinstance(value, ConnectError):
            self.log_info(f"{value.strerror}, closing channel {name}", "error")
            self.handle_close()
            return
        action = "keeping" if self.accepting else "closing"
        self.log_info(
            f"uncaptured python exception, {action} channel {name} "
            f"({kind}:{logs.text_of(value)} {trace})",
            "error",
        )
        if not self.accepting:
            self.handle_close()

    def handle_expt(self) -> None:
        """Urgent data arrived (TCP's out-of-band byte)."""
        self.log_info("unhandled incoming priority event", "warning")

    def handle_read(self) -> None:
        """There is data to `recv`, or the end of it."""
        self.log_info("unhandled read event", "warning")

    def handle_write(self) -> None:
        """There is room to `send`."""
        self.log_info("unhandled write event", "warning")

    def handle_connect(self) -> None:
        """The connection is established."""
        self.log_info("unhandled connect event", "warning")

    def handle_shutdown(self) -> bool | None:
        """The program is about to end: `graceful_close` calls this first.

        What is sent or pushed here still goes out, then the channel is closed. Return true if the
        channel has something to finish and will close itself; at the timeout it is closed anyway.
        """
        return None

    def handle_close(self) -> None:
        """The connection has ended."""
        self.log_info("unhandled close event", "warning")
        self.close()

    def handle_closed(self, exc: BaseException | None = None) -> None:
        """The channel is closed, by whomever: once for each socket. The place to clean up.

        `exc` is why: the exception that a handler raised, the `OSError` of a connection that
        broke or was never made, a `TimeoutError` of a timeout, a `TLSError`; `None` for an end in
        good order, and where the program has closed it. It may connect anew.
        """


# Who has no other of these is not called.
_CLOSED = dispatcher.handle_closed
_CONNECT_ERROR = dispatcher.handle_connect_error
