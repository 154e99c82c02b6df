"""An asyncore as larger programs carry one along: of Python 2's time, carried over and pruned.

It has what such copies have in common, and none of what later versions added: no `_map`, no list of
exceptions that are raised again, no `handle_connect_event`; numbers for truth; and whatever a
dispatcher lacks is looked for in its socket. Written for these tests.
"""

from __future__ import annotations

import select
import socket
import sys
from typing import Any

socket_map: dict[int, Any] = {}


class ExitNow(Exception):
    pass


def poll(timeout: float = 0.0, map: Any = None) -> None:
    channels = socket_map if map is None else map
    r = [fd for fd, obj in channels.items() if obj.readable()]
    w = [fd for fd, obj in channels.items() if obj.writable()]
    if not r and not w:
        return
    r, w, _ = select.select(r, w, [], timeout)
    for fds, method in ((r, "handle_read_event"), (w, "handle_write_event")):
        for fd in fds:
            obj = channels.get(fd)
            if obj is None:
                continue
            try:
                getattr(obj, method)()
            except ExitNow:
                raise
            except Exception:
                obj.handle_error()


def loop(timeout: float = 30.0, use_poll: int = 0, map: Any = None) -> None:
    channels = socket_map if map is None else map
    while channels:
        poll(timeout, channels)


def close_all(map: Any = None) -> None:
    channels = socket_map if map is None else map
    for obj in list(channels.values()):
        obj.socket.close()
    channels.clear()


class dispatcher:
    connected = 0
    accepting = 0
    addr = None

    def __init__(self, sock: Any = None, map: Any = None) -> None:
        self.channels = socket_map if map is None else map
        if sock is not None:
            sock.setblocking(0)
            self.set_socket(sock)
            self.connected = 1

    def __getattr__(self, name: str) -> Any:
        if name == "socket":
            raise AttributeError(name)
        return getattr(self.socket, name)

    def create_socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> None:
        sock = socket.socket(family, type)
        sock.setblocking(False)
        self.set_socket(sock)

    def set_socket(self, sock: Any) -> None:
        self.socket = sock
        self.key = sock.fileno()
        self.channels[self.key] = self

    def readable(self) -> int:
        return 1

    def writable(self) -> int:
        return not self.accepting

    def listen(self, num: int) -> None:
        self.accepting = 1
        self.socket.listen(num)

    def bind(self, addr: Any) -> None:
        self.addr = addr
        self.socket.bind(addr)

    def accept(self) -> Any:
        return self.socket.accept()

    def connect(self, addr: Any) -> None:
        self.socket.connect_ex(addr)

    def send(self, data: bytes) -> int:
        try:
            return int(self.socket.send(data))
        except BlockingIOError:
            return 0

    def recv(self, size: int) -> bytes:
        try:
            data: bytes = self.socket.recv(size)
        except ConnectionError:
            data = b""
        if not data:
            self.handle_close()
        return data

    def close(self) -> None:
        if self.channels.get(self.key) is self:
            del self.channels[self.key]
        self.socket.close()

    def handle_read_event(self) -> None:
        if self.accepting:
            self.handle_accept()
            return
        self._connect()
        self.handle_read()

    def handle_write_event(self) -> None:
        self._connect()
        self.handle_write()

    def _connect(self) -> None:
        if not self.connected:
            err = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if err:
                raise OSError(err, "connect")
            self.connected = 1
            self.handle_connect()

    def handle_error(self) -> None:
        self.error = sys.exc_info()[1]
        self.handle_close()

    def handle_read(self) -> None: ...
    def handle_write(self) -> None: ...
    def handle_connect(self) -> None: ...
    def handle_accept(self) -> None: ...

    def handle_close(self) -> None:
        self.close()


class dispatcher_with_send(dispatcher):
    out_buffer = b""

    def writable(self) -> int:
        return not self.connected or len(self.out_buffer)

    def handle_write(self) -> None:
        self.out_buffer = self.out_buffer[dispatcher.send(self, self.out_buffer[:65536]) :]

    def send(self, data: bytes) -> int:
        self.out_buffer += data
        self.handle_write()
        return len(data)
