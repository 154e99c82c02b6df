"""What stands for a channel while it is connected by name: in its `socket`, and in the map."""

from __future__ import annotations

import sys
from errno import EAGAIN, ENOTCONN
from typing import TYPE_CHECKING, Any, NoReturn

from .happy_eyeballs import Address

if TYPE_CHECKING:
    from .connecting import Undertaking


def show(sockaddr: Any) -> str:
    """Return an address as people write it, also one that a resolver got wrong.

    >>> show(("::1", 25, 0, 0))
    '[::1]:25'
    """
    if not isinstance(sockaddr, tuple) or len(sockaddr) < 2:
        return repr(sockaddr)
    host, port = sockaddr[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


class StandIn:
    """The `socket` of a channel that has none yet: nothing fits, nothing has come."""

    def __init__(self, undertaking: Undertaking) -> None:
        self._undertaking = undertaking

    def __repr__(self) -> str:
        return f"<no socket yet: {self._undertaking!r}>"

    def fileno(self) -> int:
        return -1

    def send(self, data: Any, flags: int = 0) -> NoReturn:
        raise BlockingIOError(EAGAIN, "not connected yet")

    def sendmsg(self, buffers: Any, *rest: Any) -> NoReturn:
        raise BlockingIOError(EAGAIN, "not connected yet")

    def recv(self, size: int, flags: int = 0) -> NoReturn:
        raise BlockingIOError(EAGAIN, "not connected yet")

    def getpeername(self) -> NoReturn:
        raise OSError(ENOTCONN, "not connected yet")

    def close(self) -> None:
        self._undertaking.cancel()


class Placeholder:
    """What a map can hold that waits for nothing, and keeps its loop alive."""

    accepting = False
    connected = False
    closing = False

    def readable(self) -> bool:
        """Nothing is ever to be read."""
        return False

    def writable(self) -> bool:
        """Nothing is ever to be written."""
        return False

    def handle_read_event(self) -> None:
        """Nothing is waited for."""

    def handle_write_event(self) -> None:
        """Nothing is waited for."""

    def handle_expt_event(self) -> None:
        """Nothing is waited for."""

    def handle_close(self) -> None:
        """The descriptor was closed by somebody else: let go of it."""
        self.close()

    def handle_error(self) -> None:
        """Nothing can fail."""

    def close(self) -> None:
        """Leave the map."""
        raise NotImplementedError


class Entry(Placeholder):
    """What the map holds meanwhile. It speaks for the channel where the map is walked."""

    connecting = True
    socket: Any = None
    addr: Any = None

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def handle_error(self) -> None:
        self.channel.handle_error()

    def close(self) -> None:
        self.channel.close()


class Attempt(Entry):
    """One socket that connects."""

    def __init__(self, undertaking: Undertaking, address: Address, sock: Any) -> None:
        super().__init__(undertaking.channel)
        self.undertaking = undertaking
        self.address = address
        self.addr = address.sockaddr
        self.socket = sock
        self.fd: int = sock.fileno()

    def __repr__(self) -> str:
        return f"<connecting to {show(self.addr)} for {self.channel!r}>"

    def writable(self) -> bool:
        return True

    def handle_read_event(self) -> None:
        self.undertaking.ended(self)

    def handle_write_event(self) -> None:
        self.undertaking.ended(self)

    def handle_expt_event(self) -> None:
        self.undertaking.ended(self)  # Windows reports a refused connect this way

    def handle_close(self) -> None:
        self.undertaking.ended(self)  # the descriptor was closed by somebody else

    def handle_error(self) -> None:
        if not self.undertaking.runs(self):
            raise
        self.undertaking.failed(self, sys.exc_info()[1])  # the poller can't watch it
