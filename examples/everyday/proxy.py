"""A proxy with back-pressure and half-close in both directions: `proxy.py PORT TARGET-PORT`."""

from __future__ import annotations

import functools
import socket
import sys

import asynccore
from asynccore.channels import Map


class Half(asynccore.dispatcher_with_send):
    high_watermark = 256 * 1024
    connect_timeout = 5.0
    idle_timeout = 600.0
    other: Half

    def handle_read(self) -> None:
        if data := self.recv(65536):
            self.other.send(data)

    def handle_eof(self) -> None:  # the peer has sent everything
        self.other.shutdown_write()

    def handle_pause(self) -> None:  # our peer is slow: don't read from the other
        self.other.pause_reading()

    def handle_resume(self) -> None:
        self.other.resume_reading()

    def handle_close(self) -> None:
        self.close()
        self.other.close_when_done()


class Outside(Half):
    def __init__(self, sock: socket.socket, map: Map, target: tuple[str, int]) -> None:
        super().__init__(sock, map)
        self.pause_reading()
        self.other = Inside(None, map)
        self.other.other = self
        self.other.connect_name(*target)


class Inside(Half):
    def handle_connect(self) -> None:
        self.other.resume_reading()


def serve(address: tuple[str, int], target: tuple[str, int]) -> asynccore.listener:
    server = asynccore.listener(address, functools.partial(Outside, target=target))
    server.max_connections = 500
    return server


if __name__ == "__main__":
    serve(("127.0.0.1", int(sys.argv[1])), ("127.0.0.1", int(sys.argv[2])))
    asynccore.loop()
