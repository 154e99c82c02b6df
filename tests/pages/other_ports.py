"""What the interpreters of test_console.py load first: a page's ports are other ones underneath.

A command is typed as the page has it, with its port. The port may be in use, here or by another
test, or belong to root alone. So a socket that is bound to it gets a free port on loopback, once
for all processes of the page, and tells the page's number where it is asked. What connects to
the page's number gets there. A socket that listens says so to the test.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.prefix, "ports")
LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

_bind, _connect = socket.socket.bind, socket.socket.connect
_connect_ex, _listen = socket.socket.connect_ex, socket.socket.listen
_getsockname = socket.socket.getsockname


def underneath(port: int, make: bool = False) -> int:
    """The port that stands for `port` of the page; `port` itself where there is none."""
    file = FOLDER / str(port)
    if make and not file.exists():
        with socket.socket() as free:
            _bind(free, ("127.0.0.1", 0))
            own = FOLDER / f"{port}.{os.getpid()}"
            own.write_text(str(_getsockname(free)[1]))
        try:
            os.link(own, file)
        except FileExistsError:  # another worker was first
            pass
        own.unlink()
    return int(file.read_text()) if file.exists() else port


def bind(self: socket.socket, address: Any) -> None:
    if self.family in LOOPBACK and address[1]:
        port = underneath(address[1], make=True)
        address = (LOOPBACK[self.family], port, *address[2:])
    _bind(self, address)


def there(self: socket.socket, address: Any) -> Any:
    if self.family in LOOPBACK:
        address = (address[0], underneath(address[1]), *address[2:])
    return address


def getsockname(self: socket.socket) -> Any:
    address = _getsockname(self)
    if self.family in LOOPBACK:
        for file in FOLDER.iterdir():
            if file.name.isdecimal() and file.read_text() == str(address[1]):
                return (address[0], int(file.name), *address[2:])
    return address


def listen(self: socket.socket, *args: Any) -> None:
    _listen(self, *args)
    if self.family in LOOPBACK:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as told:
            port = int((FOLDER / "told").read_text())
            told.sendto(str(_getsockname(self)[1]).encode(), ("127.0.0.1", port))


socket.socket.bind = bind  # type: ignore[method-assign]
socket.socket.listen = listen  # type: ignore[method-assign]
socket.socket.getsockname = getsockname  # type: ignore[method-assign]
socket.socket.connect = lambda self, to: _connect(self, there(self, to))  # type: ignore
socket.socket.connect_ex = lambda self, to: _connect_ex(self, there(self, to))  # type: ignore
