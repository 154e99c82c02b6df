"""Waking a loop that waits, from another thread or a signal.

Facts. `signal.set_wakeup_fd` writes one byte, which an eventfd refuses, and on Windows it writes to
sockets alone, which are also all that select() takes there. A full pipe already wakes the loop.

Consequence. A wake-up is a pipe, or a pair of sockets on Windows, whose reading end the poller
watches. Neither end blocks: a write that can't be made may be dropped.

Trade-off. Two descriptors instead of the one of an eventfd, and no second kind for signals.
"""

from __future__ import annotations

import os
import socket
import sys

from .base import identity

if sys.platform != "win32":
    # Those of `os` are eventlet's, where it has patched them, and would wait instead of failing.
    import posix

# What is read at once; more than anybody writes between two looks. Linux gives a pipe 64 KiB.
_SIZE = 65536


class Wakeup:
    """A descriptor that `set()` makes readable and `clear()` makes unreadable."""

    def __init__(self) -> None:
        self._reader = self._writer = -1  # in case there are no descriptors left
        self._sockets: tuple[socket.socket, ...] = ()
        if sys.platform == "win32":
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
            self._reader, self._writer = (end.fileno() for end in self._sockets)
        else:
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._reader, False)
            os.set_blocking(self._writer, False)
        self._identity = identity(self._reader)  # that of both ends of a pipe

    def fileno(self) -> int:
        """Return the descriptor to wait for, -1 once it is closed."""
        return self._reader

    def signal_fileno(self) -> int:
        """Return the descriptor for `signal.set_wakeup_fd`, -1 once it is closed."""
        return self._writer

    def set(self) -> None:
        """Wake whoever waits. Safe from any thread; does nothing once it is closed."""
        if self._reader == -1 or not self._is_ours(self._writer):
            return
        try:
            if sys.platform == "win32":
                self._sockets[1].send(b"\0")
            else:
                posix.write(self._writer, b"\0")
        except BlockingIOError:
            pass  # the buffer is full: awake already

    def clear(self) -> bool:
        """Take back all wake-ups so far. Returns whether there was one but by signals."""
        found = False
        if not self._is_ours(self._reader):
            return found
        try:
            while True:
                data = self._read()
                found = found or b"\0" in data  # a signal writes its number
                if len(data) < _SIZE:
                    return found
        except BlockingIOError:
            return found

    def _read(self) -> bytes:
        if sys.platform == "win32":
            return self._sockets[0].recv(_SIZE)
        else:
            return posix.read(self._reader, _SIZE)

    def is_whole(self) -> bool:
        """Whether nobody has closed its descriptors by their numbers, as daemons do."""
        return self._reader == -1 or (self._is_ours(self._reader) and self._is_ours(self._writer))

    def _is_ours(self, fd: int) -> bool:
        return bool(self._sockets) or identity(fd) == self._identity

    def renew(self) -> None:
        """Part from the process that this one was forked from, keeping the descriptors' numbers."""
        if sys.platform != "win32" and self._reader != -1 and self.is_whole():
            fresh = Wakeup()
            os.dup2(fresh._reader, self._reader, inheritable=False)
            os.dup2(fresh._writer, self._writer, inheritable=False)
            self._identity = fresh._identity
            fresh.close()

    def __del__(self) -> None:
        # An engine goes with its map, without a word.
        self.close()

    def close(self) -> None:
        """Give the descriptors back; more calls do nothing."""
        reader, self._reader = self._reader, -1
        writer, self._writer = self._writer, -1
        if self._sockets:
            for end in self._sockets:
                end.close()
        elif reader != -1:
            for fd in (reader, writer):
                if self._is_ours(fd):  # else it is somebody else's by now
                    os.close(fd)
