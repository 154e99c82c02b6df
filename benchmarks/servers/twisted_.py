"""Twisted's Protocol on the epoll reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet import epollreactor, protocol
from twisted.protocols import basic

from benchmarks.servers import common


class _Base(protocol.Protocol):
    transport: Any  # zope.interface's types do not know what a TCP transport takes


class Echo(_Base):
    """Sends back what comes."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Stream(_Base):
    """Answers ``TOTAL CHUNK`` with that many bytes."""

    def dataReceived(self, data: bytes) -> None:
        for piece in common.pieces(data):
            self.transport.write(piece)


class Lines(basic.LineReceiver):
    """Sends back each line."""

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


class Fair(Lines):
    """Sends back each line, and the bytes that a line asks for."""

    def lineReceived(self, line: bytes) -> None:
        if line.startswith(common.PUSH):
            self.transport.write(common.payload(int(line[len(common.PUSH) :])))
        else:
            super().lineReceived(line)


class Counted(basic.Int32StringReceiver):
    """Sends back messages that begin with their length."""

    def stringReceived(self, string: bytes) -> None:
        self.sendString(string)


PROTOCOLS = {"echo": Echo, "stream": Stream, "lines": Lines, "counted": Counted, "fair": Fair}


def main() -> None:
    """Listen, announce, serve until killed."""
    options = common.parse()
    epollreactor.install()  # type: ignore[no-untyped-call]
    from twisted.internet import reactor as chosen  # it exists once one is installed

    reactor: Any = chosen
    factory = protocol.ServerFactory()
    factory.protocol = PROTOCOLS[options.role]
    factory.noisy = False
    port = reactor.listenTCP(options.port, factory, backlog=common.BACKLOG, interface=common.HOST)
    common.announce(port.getHost().port, common.version_of("Twisted"))
    reactor.run()


if __name__ == "__main__":
    main()
