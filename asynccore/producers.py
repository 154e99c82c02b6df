"""Producers: what `async_chat.push_with_producer` takes, beside the classic `simple_producer`.

Facts. sendfile(2) sends a file without a copy in this process, but only from what the kernel can
map, to a stream socket that it knows. A file object may have buffered, wrapped or unpacked what its
descriptor has: `gzip.GzipFile.fileno()` is that of the packed file.

Consequence. A `file_producer` keeps the place in the file itself, so it can change from sendfile to
reading at any byte. sendfile is for the very classes that `open()` returns; the rest is read.
"""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
import sys
from typing import Any, Protocol

__all__ = ["Producer", "file_producer"]

# As asyncio's fallback reads 16 KiB to 256 KiB at a time; classic asynchat sends so much at once.
BUFFER_SIZE = 65536

# sendfile(2): the file, the file system, or the socket can't; so reading may. EOVERFLOW is for an
# offset that the platform's call can't express.
_CANNOT = frozenset(
    {
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTSUP,
        errno.EOPNOTSUPP,
        errno.ENOTSOCK,
        errno.EOVERFLOW,
    }
)

_FAMILIES = frozenset(
    getattr(socket, name) for name in ("AF_INET", "AF_INET6", "AF_UNIX") if hasattr(socket, name)
)


class Producer(Protocol):
    """What hands out output when there is room for it."""

    def more(self) -> bytes | bytearray | memoryview | str | None:
        """Return the next piece, or an empty one or `None` at the end."""


class file_producer:
    """Hands out a binary file, for `async_chat.push_with_producer`.

    `offset` is the first byte to send, by default where the file stands; `count` is how many
    bytes at most, by default all up to the end; `buffer_size` is how many are read at once. The
    file is left where sending ended, as by asyncio's `sendfile`; with `close=True` it is closed
    there, and also when the producer is thrown away before.

    A channel whose socket is a plain TCP or Unix stream sends a regular file, as `open()` returns
    it, by `os.sendfile`. Any other object with `read()`, and any other channel, gets what is read.
    A file that turns out shorter than `count` simply ends the output. What changes in a file while
    it is sent may show in what arrives (sendfile(2)).

    Raises `TypeError` for a text file or numbers that are none, `ValueError` for negative numbers,
    and what `seek()` raises if an `offset` is asked of a file that has no place to go to.
    """

    def __init__(
        self,
        file: Any,
        offset: int | None = None,
        count: int | None = None,
        buffer_size: int = BUFFER_SIZE,
        *,
        close: bool = False,
    ) -> None:
        self._close = False  # until everything is known to be right, the file is the caller's
        if isinstance(file, io.TextIOBase) or not hasattr(file, "read"):
            raise TypeError(f"a file_producer takes a file opened in binary mode, not {file!r}")
        for name, number, least in (
            ("offset", offset, 0),
            ("count", count, 0),
            ("buffer_size", buffer_size, 1),
        ):
            if number is None and name != "buffer_size":
                continue
            if isinstance(number, bool) or not isinstance(number, int):
                raise TypeError(f"{name} is a number of bytes, not {number!r}")
            if number < least:
                raise ValueError(f"{name} is at least {least} bytes, not {number}")
        self.file = file
        self.buffer_size = buffer_size
        self.left = count  # `None`: up to the end
        self._position: int | None = offset  # of the next byte; `None`: the file knows
        if offset is not None:
            file.seek(offset)  # now rather than in the middle of the output
        self._sock: Any = None  # what `can_send_to` was last asked, and its answer
        self._fd: int | None = None
        self._reads = False  # sendfile was tried, and can't
        self._close = close

    def more(self) -> bytes:
        """Return the next bytes of the file, or `b""` at the end."""
        size = self.buffer_size if self.left is None else min(self.buffer_size, self.left)
        data: bytes | None = b""
        if size:
            if self._position is not None:
                self.file.seek(self._position)  # others may read the same file
            data = self.file.read(size)
        if not data:
            self._end()
            return b""
        self._note(len(data))
        return data

    def can_send_to(self, sock: object) -> bool:
        """Whether `send_to` may be tried: a regular file, and a plain stream socket."""
        if sock is not self._sock:
            self._sock = sock
            self._fd = None
            if not self._reads and hasattr(os, "sendfile") and _is_plain_stream(sock):
                self._fd = self._regular_file()
        return self._fd is not None and not self._reads

    def send_to(self, sock: Any, limit: int) -> int | None:
        """Send up to `limit` bytes by os.sendfile() and return how many went; 0 is the end.

        `None` means that it can't be done this way, and nothing was sent. Raises `OSError` as
        sendfile(2) does.
        """
        size = limit if self.left is None else min(limit, self.left)
        count = 0
        if size and sys.platform != "win32":  # where `can_send_to` never says so
            if self.file.closed:
                raise ValueError(f"{self.file!r} was closed before all of it was sent")
            assert self._fd is not None and self._position is not None
            try:
                count = os.sendfile(sock.fileno(), self._fd, self._position, size)
            except OSError as why:
                if why.errno not in _CANNOT:
                    raise
                self._reads = True
                return None
        if count:
            self._note(count)
        else:
            self._end()
        return count

    def close(self) -> None:
        """Close the file, if that was asked for; more calls do nothing."""
        if self._close:
            self._close = False
            self.file.close()

    def __del__(self) -> None:
        self.close()

    def _note(self, count: int) -> None:
        if self._position is not None:
            self._position += count
        if self.left is not None:
            self.left -= count

    def _end(self) -> None:
        self.left = 0
        if self._close:
            self.close()
        elif self._position is not None:
            self.file.seek(self._position)

    def _regular_file(self) -> int | None:
        """Return the descriptor of a file whose bytes are what the descriptor has."""
        file = self.file
        raw = file.raw if type(file) in (io.BufferedReader, io.BufferedRandom) else file
        if type(raw) is not io.FileIO or file.closed:
            return None
        try:
            fd: int = raw.fileno()
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            if raw is not file and file.writable():
                file.flush()
            if self._position is None:
                self._position = file.tell()
        except OSError:
            return None
        return fd


def _is_plain_stream(sock: object) -> bool:
    return (
        type(sock) is socket.socket and sock.family in _FAMILIES and sock.type == socket.SOCK_STREAM
    )
