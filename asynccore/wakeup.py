"""Waking a loop that waits, from another thread.

A wake-up is a descriptor that the poller watches. It is never blocking: a full one already
wakes the loop, so a write that can't be made may be dropped.
"""

from __future__ import annotations

import os
import socket
import sys


class Wakeup:
    """A descriptor that `set()` makes readable and `clear()` makes unreadable."""

    def __init__(self) -> None:
        self._reader = self._writer = -1  # in case there are no descriptors left
        self._sockets: tuple[socket.socket, ...] = ()
        if sys.platform == "linux":
            self._reader = self._writer = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._sockets = socket.socketpair()
            for end in self._sockets:
                end.setblocking(False)
            self._reader, self._writer = (end.fileno() for end in self._sockets)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._reader

    def set(self) -> None:
        """Wake whoever waits. Safe from any thread; does nothing once it is closed."""
        if self._reader == -1:
            return
        try:
            if sys.platform == "linux":
                os.eventfd_write(self._writer, 1)
            else:
                self._sockets[1].send(b"\0")
        except BlockingIOError:
            pass  # the counter or the buffer is full: awake already

    def clear(self) -> None:
        """Take back all wake-ups so far."""
        try:
            if sys.platform == "linux":
                os.eventfd_read(self._reader)
            else:
                while self._sockets[0].recv(4096):
                    pass
        except BlockingIOError:
            pass

    def __del__(self) -> None:
        # An engine goes with its map, without a word.
        self.close()

    def close(self) -> None:
        """Give the descriptors back; more calls do nothing."""
        reader, self._reader = self._reader, -1
        self._writer = -1
        if self._sockets:
            for end in self._sockets:
                end.close()
        elif reader != -1:
            os.close(reader)
