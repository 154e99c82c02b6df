"""A protocol of asyncio over TLS on `asynccore.loop()`: `protocol_server.py PORT CERTIFICATES`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import asynccore
import compat
import ssl_ext


class Upper(asyncio.Protocol):
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data.upper())

    def eof_received(self) -> None:
        self.transport.write(b"bye\n")


if __name__ == "__main__":
    port, folder = int(sys.argv[1]), sys.argv[2]
    context = ssl_ext.server_context(
        os.path.join(folder, "server.pem"), os.path.join(folder, "server.key")
    )
    server = compat.create_server(Upper, "127.0.0.1", port, ssl=context)
    signal.signal(signal.SIGTERM, lambda signum, frame: asynccore.graceful_close(5))
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    asynccore.loop()
