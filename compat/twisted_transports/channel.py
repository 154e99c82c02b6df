"""A descriptor of Twisted's as a channel of a map.

Facts. Twisted asks its reactor to watch objects with `fileno`, `doRead`, `doWrite` and
`connectionLost`, and says when to begin and to end. A connection whose reading is paused, and that
has nothing to write, is unknown to Twisted's own reactors. `loop()` ends when the map is empty.

Consequence. An object stays in the map while it is a connection that is open, paused or not, and
else while it is to be watched. It has left the map, and the poller, before its socket is closed.

Trade-off. What a pause changes is told to the poller before the next wait, not at once: protocols
such as HTTP pause and resume at every request, and mostly nothing is left to tell by then.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from twisted.internet import error
from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IListeningPort
from twisted.internet.main import CONNECTION_LOST
from twisted.python import log

from asynccore.channels import NullChannel, reports_changes
from asynccore.engine import Engine
from asynccore.errors import reraised


class DescriptorOwner(Protocol):
    """What a channel needs of its reactor."""

    @property
    def engine(self) -> Engine:
        """The engine of the reactor's map."""

    def _ac_lose(self, selectable: object, why: BaseException) -> None:
        """Take an object out, and tell it that its connection is lost."""

    def _ac_disconnect(self, selectable: object, why: BaseException, reading: bool) -> None:
        """Tell an object what its `doRead` or `doWrite` returned or raised."""


class TwistedChannel(NullChannel):
    """The channel of one `IReadDescriptor`, `IWriteDescriptor`, or both.

    `selectable` is that object and `fd` its descriptor; `reading` and `writing` say what Twisted
    asked for. Made by `ClassicReactor`.
    """

    def __init__(self, reactor: DescriptorOwner, selectable: Any, fd: int) -> None:
        self.reactor = reactor
        self.selectable = selectable
        self.fd = fd
        self.reading = False
        self.writing = False
        self.accepting = bool(IListeningPort.providedBy(selectable))

    def __repr__(self) -> str:
        return f"<TwistedChannel of {self.selectable!r}>"

    # -- as the engine sees it ------------------------------------------------------------------

    @reports_changes
    def readable(self) -> bool:
        """Whether Twisted reads from it."""
        return self.reading

    @reports_changes
    def writable(self) -> bool:
        """Whether Twisted writes to it."""
        return self.writing

    def handle_read_event(self) -> None:
        """Have Twisted read."""
        if self.reading:  # An earlier event of this pass may have paused or closed it.
            self._guarded(self._work, self.selectable.doRead, True)

    def handle_write_event(self) -> None:
        """Have Twisted write."""
        if self.writing:
            self._guarded(self._work, self.selectable.doWrite, False)

    def handle_expt_event(self) -> None:
        """Take urgent data away, which Twisted has no use for and which would be told for ever."""
        sock = getattr(self.selectable, "socket", None)
        if sock is not None:
            try:
                sock.recv(1, socket.MSG_OOB)
            except OSError:
                pass  # The byte comes with the other data, or somebody has taken it.

    def handle_close(self) -> None:
        """The descriptor was closed behind Twisted's back."""
        self._guarded(self.reactor._ac_lose, self.selectable, error.ConnectionFdescWentAway(_AWAY))

    def handle_error(self) -> None:
        """Log the current exception, and disconnect: the poller can't watch this descriptor."""
        log.err()  # type: ignore[no-untyped-call]
        self._close()

    def handle_shutdown(self) -> bool:
        """Begin to close, for `graceful_close`. Returns whether this will end by itself."""
        end = "stopListening" if self.accepting else "loseConnection"
        if not hasattr(self.selectable, end):
            return False
        self._guarded(getattr(self.selectable, end))
        return True

    def close(self) -> None:
        """Disconnect at once; the protocol is told of `ConnectionLost`. Safe from any thread."""
        self.reactor.engine.run_on_loop(self._close)

    def _close(self) -> None:
        self._guarded(self.reactor._ac_lose, self.selectable, CONNECTION_LOST)

    # -- for statistics -------------------------------------------------------------------------

    @property
    def connected(self) -> bool:  # type: ignore[override]
        """Whether it is an open connection."""
        return is_open(self.selectable)

    @property
    def addr(self) -> Any:
        """The address of the peer, or of a listener, as `socket` has it; `None` if it has none."""
        try:
            where = self.selectable.getHost() if self.accepting else self.selectable.getPeer()
            return (where.host, where.port) if hasattr(where, "host") else where.name
        except (AttributeError, OSError):
            return None

    @property
    def write_buffer_size(self) -> int:
        """How many bytes are still to be sent."""
        if not isinstance(self.selectable, FileDescriptor):
            return 0
        sent: int = self.selectable.offset
        return len(self.selectable.dataBuffer) - sent + self.selectable._tempDataLen

    # -- the work -------------------------------------------------------------------------------

    def _guarded(self, function: Any, *args: Any) -> None:
        """Call into Twisted; what it raises is logged, but for what is to leave the loop."""
        try:
            context = {"system": self.selectable.logPrefix()}
        except Exception:
            context = {"system": "-"}
        try:
            log.callWithContext(context, function, *args)  # type: ignore[no-untyped-call]
        except reraised():
            raise
        except BaseException:
            log.err(**context)  # type: ignore[no-untyped-call]

    def _work(self, do: Any, reading: bool) -> None:
        if self.selectable.fileno() == self.fd:
            try:
                why = do()
            except reraised():
                raise
            except BaseException as raised:
                log.err()  # type: ignore[no-untyped-call]
                why = raised
        else:
            why = error.ConnectionFdescWentAway(_AWAY)
        if why:
            self.reactor._ac_disconnect(self.selectable, why, reading)


_AWAY = "the descriptor was closed by somebody else"


def is_open(selectable: object) -> bool:
    """Whether an object of Twisted's is a connection that was not closed yet.

    A port isn't, and leaves the map once it stops reading: it closes itself in a call of its own,
    which is due at once, and must not be told of its end before.
    """
    return (
        isinstance(selectable, FileDescriptor)
        and bool(selectable.connected)
        and not selectable.disconnected
        and not IListeningPort.providedBy(selectable)
    )
