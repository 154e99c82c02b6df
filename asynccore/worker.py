"""A worker of `asynccore run --workers`: what it knows of its place, and what it tells its parent.

Facts. A listening socket that is closed loses the connections that wait in it (listen(2)), also if
others listen on the same port by SO_REUSEPORT. Who ends a worker by SIGTERM can't say why.

Consequence. A pair of Unix sockets connects each worker with its parent. The worker passes on each
socket that it listens on, so that the parent can hand it down to whoever takes its place, with all
that wait in it; and it is told that it has been replaced. In an environment variable it finds its
number and what was handed down to it.

Trade-off. The parent keeps sockets open that a worker has closed, unless it is told of that.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import MutableMapping

# "PID:NUMBER:FD:FD,FD,...", for the process PID alone: the number of its place, the descriptor of
# its end of the pair, and those of the sockets that are handed down.
VARIABLE = "ASYNCCORE_WORKER"

# What a worker says: that it listens on the socket that comes along, that it closes it, that its
# first loop begins, that its loops answer, and that it is to be replaced; and, with the reason
# behind it, that another start would not help.
LISTENS, CLOSES, BEGINS, ANSWERS, WORN, HOPELESS = b"+", b"-", b"b", b".", b"w", b"!"

# What the parent says: another process has taken this one's place.
REPLACED = b"r"


class Place:
    """The place of this process among the workers."""

    def __init__(self, number: int, parent: socket.socket, handed_down: list[int]) -> None:
        self.number = number
        self.handed_down = handed_down  # until their addresses are bound
        self._parent = parent
        self._pid = os.getpid()
        self._leaving = False

    def tell(self, what: bytes, fd: int | None = None) -> None:
        """Tell the parent, about a descriptor perhaps. A child of this process tells nothing."""
        if self._leaving or self._pid != os.getpid():
            return
        try:
            if fd is None:
                self._parent.send(what)
            elif sys.platform != "win32":
                socket.send_fds(self._parent, [what], [fd])
        except (OSError, ValueError):
            pass  # it is closed, or the parent has no time, or has ended

    def take(self, fd: int) -> None:
        """What was handed down has been put in the place of a socket of the program's."""
        self.handed_down.remove(fd)
        os.close(fd)

    def drop_handed_down(self) -> None:
        """Close what nobody has bound: the program listens there no more."""
        for fd in list(self.handed_down):
            self.tell(CLOSES, fd)
            self.take(fd)

    def leave(self) -> bool:
        """Tell the parent nothing more. Returns whether another process has taken the place."""
        self._leaving = True
        try:
            return self._parent.recv(len(REPLACED)) == REPLACED
        except OSError:
            return False


def place(environ: MutableMapping[str, str]) -> Place | None:
    """Return the place that an environment gives this process, and take it out of there."""
    pid, _, rest = environ.get(VARIABLE, "").partition(":")
    if pid != str(os.getpid()):
        return None
    del environ[VARIABLE]
    number, fd, fds = rest.split(":")
    handed_down = [int(word) for word in fds.split(",") if word]
    for inherited in (int(fd), *handed_down):
        os.set_inheritable(inherited, False)
    parent = socket.socket(fileno=int(fd))
    parent.setblocking(False)
    return Place(int(number), parent, handed_down)


present = place(os.environ)
