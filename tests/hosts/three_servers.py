"""A legacy, an asyncio and a Twisted server in one process: `three_servers.py HOW`.

HOW says what runs what:

  attached          asyncio's loop runs all: the map is attached, Twisted's reactor is on that loop
  attached uvloop   the same with uvloop's
  reactor           Twisted's epoll or poll reactor runs all: the map is attached, and asyncio's
                    protocol is served by it
  classic           `asyncore.loop()` runs all: the reactor is `compat.install_reactor()`
  engine asyncio    `asyncore.loop()` waits in asyncio's loop, which runs the other two
  engine uvloop     the same with uvloop's

The ports are printed, and a line to standard input ends it. Each server sends back what it gets,
and takes its time for it: it is the servers that have to be waited for, and not who asks them.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import sys
from typing import Any

import asynccore
import compat


def answer(data: bytes) -> bytes:
    """Take a few times as long as a client does for a request."""
    sum(range(3000))
    return data


class LegacyEcho(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(answer(self.recv(8192)))


class LegacyServer(asynccore.dispatcher):
    def __init__(self) -> None:
        super().__init__()
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(500)

    def handle_accepted(self, sock: socket.socket, addr: Any) -> None:
        LegacyEcho(sock)


class ModernEcho(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(answer(data))


def twisted_port(reactor: Any) -> int:
    from twisted.internet import protocol

    class Echo(protocol.Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(answer(data))  # type: ignore[union-attr]

    factory = protocol.ServerFactory.forProtocol(Echo)  # type: ignore[no-untyped-call]
    factory.noisy = False
    port: int = reactor.listenTCP(0, factory, 500, interface="127.0.0.1").getHost().port
    return port


def modern_server(loop: asyncio.AbstractEventLoop) -> asyncio.Server:
    """Return a server, which uvloop closes when nobody holds it any more."""
    return loop.run_until_complete(
        loop.create_server(ModernEcho, "127.0.0.1", 0, backlog=500),
    )


def port_of(server: Any) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


class Told(asynccore.file_dispatcher):
    """Standard input, which ends the process: connections are cut off with it."""

    def handle_read(self) -> None:
        os._exit(0)

    def writable(self) -> bool:
        return False


def say(**ports: int) -> None:
    Told(sys.stdin)
    print(json.dumps(ports), flush=True)


def on_asyncio(kind: str) -> Any:
    """Return a loop, a server of its own, and Twisted's reactor on it."""
    loop = importlib.import_module(kind).new_event_loop()
    asyncio.set_event_loop(loop)
    server = modern_server(loop)
    from twisted.internet import asyncioreactor

    asyncioreactor.install(loop)  # type: ignore[no-untyped-call]
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    return loop, server, reactor


def main(how: str, kind: str = "asyncio") -> None:
    if how == "attached":
        loop, server, reactor = on_asyncio(kind)
        legacy = LegacyServer().socket.getsockname()[1]
        compat.attach(loop)
        say(legacy=legacy, asyncio=port_of(server), twisted=twisted_port(reactor))
        reactor.run()
    elif how == "engine":
        compat.install(engine=kind)
        loop, server, reactor = on_asyncio(kind)
        legacy = LegacyServer().socket.getsockname()[1]
        say(legacy=legacy, asyncio=port_of(server), twisted=twisted_port(reactor))
        asynccore.loop()
    elif how == "classic":
        reactor = compat.install_reactor()
        server = compat.create_server(ModernEcho, "127.0.0.1", 0, backlog=500)
        legacy = LegacyServer().socket.getsockname()[1]
        say(legacy=legacy, asyncio=port_of(server), twisted=twisted_port(reactor))
        asynccore.loop()
    elif how == "reactor":
        importlib.import_module(f"twisted.internet.{kind}reactor").install()
        reactor = importlib.import_module("twisted.internet.reactor")
        server = compat.create_server(ModernEcho, "127.0.0.1", 0, backlog=500)
        legacy = LegacyServer().socket.getsockname()[1]
        compat.attach(reactor)
        say(legacy=legacy, asyncio=port_of(server), twisted=twisted_port(reactor))
        reactor.run()


if __name__ == "__main__":
    sys.path.insert(0, os.environ["ASYNCCORE_CHECKOUT"])
    main(*sys.argv[1:])
