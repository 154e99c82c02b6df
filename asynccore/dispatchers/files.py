"""`file_wrapper` and `file_dispatcher`: descriptors that are no sockets, as channels."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from typing import Any

from ..channels import Map
from ..classic.namespace import package
from .dispatcher import dispatcher

if sys.platform != "win32":

    class file_wrapper:
        """A descriptor that looks like a socket, as far as a dispatcher goes.

        It works on a duplicate of `fd`, which it closes; the original is not touched.
        """

        def __init__(self, fd: int) -> None:
            self.fd = -1  # in case dup() fails
            self.fd = os.dup(fd)

        def __del__(self) -> None:
            if self.fd >= 0:
                warnings.warn(f"unclosed file {self!r}", ResourceWarning, stacklevel=2, source=self)
                self.close()

        def recv(self, *args: Any) -> bytes:
            """Read up to so many bytes, as os.read()."""
            return os.read(self.fd, *args)

        def send(self, *args: Any) -> int:
            """Write bytes and return how many went, as os.write()."""
            return os.write(self.fd, *args)

        def getsockopt(self, level: int, optname: int, buflen: int | None = None) -> int:
            """Answer 0 for SO_ERROR, which a dispatcher asks for. Raises `NotImplementedError`."""
            if (level, optname) == (socket.SOL_SOCKET, socket.SO_ERROR) and not buflen:
                return 0
            raise NotImplementedError(
                f"a file has no socket option {optname} of level {level}, SO_ERROR alone"
            )

        read = recv
        write = send

        def close(self) -> None:
            """Close the duplicate; more calls do nothing."""
            fd, self.fd = self.fd, -1
            if fd >= 0:
                os.close(fd)

        def fileno(self) -> int:
            """Return the duplicate's number, or -1 once it is closed."""
            return self.fd

    class file_dispatcher(dispatcher):
        """A dispatcher for a pipe, a terminal, or any other descriptor that is no socket.

        `fd` is its number, or an object with `fileno()`. The descriptor becomes non-blocking.
        """

        def __init__(self, fd: Any, map: Map | None = None) -> None:
            dispatcher.__init__(self, None, map)
            self.connected = True
            if hasattr(fd, "fileno"):
                fd = fd.fileno()
            self.set_file(fd)
            os.set_blocking(fd, False)

        def set_file(self, fd: int) -> None:
            """Take over a duplicate of the descriptor. Raises `OSError` if it is closed."""
            self.set_socket(package().file_wrapper(fd))
