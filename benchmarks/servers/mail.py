"""SMTP servers that take messages and forget them, one for each package; `--kind` says which."""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib
import signal
from typing import Any

from benchmarks.servers import classic, common

REMOTE = None  # a proxy's; none of these is one


def ours(port: int, server_class: str) -> None:
    """asynccore's servers."""
    asyncore: Any = importlib.import_module("asynccore")
    name, _, cls = server_class.rpartition(".")

    class Server(getattr(importlib.import_module(name), cls)):  # type: ignore[misc]
        # All connections come from this machine.
        max_connections_per_peer = None
        # The load sends for longer than a client of this many commands does.
        channel_class = type(
            "Channel",
            (getattr(importlib.import_module(name), CHANNELS[cls]),),
            {"max_commands": None},
        )

        def process_message(self, *arguments: Any, **options: Any) -> None:
            pass

    server = Server((common.HOST, port), REMOTE)
    common.announce(server.socket.getsockname()[1], f"asynccore {asyncore.__version__}")
    asyncore.loop()


CHANNELS = {"SMTPServer": "SMTPChannel", "HardenedSMTPServer": "HardenedSMTPChannel"}


def standard(port: int) -> None:
    """The classic modules: packages of today, or up to 3.11 the standard library's."""
    asyncore, version = classic.classic("asyncore", "pyasyncore")
    classic.classic("asynchat", "pyasynchat")
    smtpd, smtpd_version = classic.classic("smtpd", "standard-smtpd")

    class Server(smtpd.SMTPServer):  # type: ignore[misc,name-defined]
        def process_message(self, *arguments: Any, **options: Any) -> None:
            pass

    server: Any = Server((common.HOST, port), REMOTE)
    common.announce(server.socket.getsockname()[1], f"{version}, {smtpd_version}")
    asyncore.loop(use_poll=True)


def on_aiosmtpd(port: int, loop: asyncio.AbstractEventLoop) -> None:
    """aiosmtpd on a loop of asyncio's or uvloop's."""
    smtp: Any = importlib.import_module("aiosmtpd.smtp")

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            return "250 OK"

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: smtp.SMTP(Handler(), command_call_limit=10**9),
            common.HOST,
            port,
            backlog=common.BACKLOG,
        )
        common.announce(server.sockets[0].getsockname()[1], common.version_of("aiosmtpd"))
        await server.serve_forever()

    asyncio.set_event_loop(loop)
    loop.run_until_complete(serve())


def on_twisted(port: int) -> None:
    """Twisted's ESMTP on the epoll reactor."""
    importlib.import_module("twisted.internet.epollreactor").install()
    reactor: Any = importlib.import_module("twisted.internet.reactor")
    defer: Any = importlib.import_module("twisted.internet.defer")
    protocol: Any = importlib.import_module("twisted.internet.protocol")
    smtp: Any = importlib.import_module("twisted.mail.smtp")

    class Message:
        def lineReceived(self, line: bytes) -> None:
            pass

        def eomReceived(self) -> Any:
            return defer.succeed(None)

        def connectionLost(self) -> None:
            pass

    class Server(smtp.ESMTP):  # type: ignore[misc]
        def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
            return b""

        def validateFrom(self, helo: Any, origin: Any) -> Any:
            return origin

        def validateTo(self, user: Any) -> Any:
            return Message

    factory = protocol.ServerFactory()
    factory.protocol = Server
    factory.noisy = False
    listening = reactor.listenTCP(port, factory, backlog=common.BACKLOG, interface=common.HOST)
    common.announce(listening.getHost().port, common.version_of("Twisted"))
    reactor.run()


KINDS: dict[str, Any] = {
    "asynccore": lambda port: ours(port, "asynccore.smtpd.SMTPServer"),
    "hardened": lambda port: ours(port, "asynccore.hardened_smtpd.HardenedSMTPServer"),
    "standard": standard,
    "aiosmtpd": lambda port: on_aiosmtpd(port, asyncio.new_event_loop()),
    "aiosmtpd-uvloop": lambda port: on_aiosmtpd(
        port, importlib.import_module("uvloop").new_event_loop()
    ),
    "twisted": on_twisted,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--role", choices=["mail"], default="mail")
    parser.add_argument("--kind", choices=list(KINDS), required=True)
    chosen = parser.parse_args()
    ctypes.CDLL(None).prctl(common.PR_SET_PDEATHSIG, signal.SIGKILL)
    KINDS[chosen.kind](chosen.port)
