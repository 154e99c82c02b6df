"""Protocols that write down what happens to them."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import ClientFactory, DatagramProtocol, Protocol
from zope.interface import implementer


class Recorder(Protocol):
    """Keeps the data, and the reasons for the end by name."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: list[str] = []
        self.began = 0

    def connectionMade(self) -> None:
        self.began += 1

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.append(reason.type.__name__)


class Echo(Recorder):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.halves: list[str] = []

    def readConnectionLost(self) -> None:
        self.halves.append("read")

    def writeConnectionLost(self) -> None:
        self.halves.append("write")


class Keeper(ClientFactory):
    """Makes protocols of one class, and keeps them."""

    def __init__(self, protocol: Any = Recorder) -> None:
        self.protocol = protocol
        self.made: list[Any] = []

    def buildProtocol(self, addr: Any) -> Any:
        made = self.protocol()
        made.factory = self
        self.made.append(made)
        return made


class Datagrams(DatagramProtocol):
    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.refused = 0
        self.stopped = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.received.append((datagram, addr))

    def connectionRefused(self) -> None:
        self.refused += 1

    def stopProtocol(self) -> None:
        self.stopped += 1
