"""Twisted's transports over real sockets, on a classic loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    TCP6ClientEndpoint,
    TCP6ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    connectProtocol,
)
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPushProducer,
    IReactorCore,
    IReactorFDSet,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol
from zope.interface import implementer

import asynccore
import compat
from tests.modern_twisted.protocols import Datagrams, Echo, HalfCloseable, Keeper, Recorder

LOCAL = "127.0.0.1"
Loop = Callable[..., None]


class Pair:
    """A listener, and one connection to it: `client` and `server` are the protocols."""

    def __init__(self, reactor: Any, loop: Loop, client: Any = Recorder, server: Any = Recorder):
        self.accepted = Keeper(server)
        self.connected = Keeper(client)
        self.port = reactor.listenTCP(0, self.accepted, interface=LOCAL)
        reactor.connectTCP(LOCAL, self.port.getHost().port, self.connected)
        loop(lambda: self.accepted.made and self.connected.made and self.both_began)
        self.client: Any = self.connected.made[0]
        self.server: Any = self.accepted.made[0]
        self.port.stopListening()

    @property
    def both_began(self) -> bool:
        return bool(self.connected.made[0].began and self.accepted.made[0].began)


def result_of(deferred: Deferred[Any], loop: Loop) -> Any:
    """Return what a Deferred fires with, or raise what it fails with."""
    got: list[Any] = []
    deferred.addBoth(got.append)
    loop(lambda: got)
    if hasattr(got[0], "raiseException"):
        got[0].raiseException()
    return got[0]


def test_it_is_a_reactor(reactor: Any) -> None:
    for interface in (
        *(IReactorCore, IReactorTime, IReactorThreads),
        *(IReactorTCP, IReactorUDP, IReactorFDSet),
    ):
        assert interface.providedBy(reactor)


@pytest.mark.parametrize("size", [1, 3_000_000])
def test_endpoints_serve_and_connect(reactor: Any, loop: Loop, poller_name: str, size: int) -> None:
    reactor.engine.use(poller_name)
    kept = Keeper(Echo)
    port = result_of(TCP4ServerEndpoint(reactor, 0, interface=LOCAL).listen(kept), loop)
    assert IListeningPort.providedBy(port)
    where = TCP4ClientEndpoint(reactor, LOCAL, port.getHost().port)
    client = result_of(connectProtocol(where, Recorder()), loop)
    transport = client.transport
    assert ITCPTransport.providedBy(transport) and IConsumer.providedBy(transport)
    transport.setTcpNoDelay(True)
    transport.setTcpKeepAlive(True)
    handle = transport.getHandle()
    assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert transport.getTcpKeepAlive()
    assert transport.getPeer() == IPv4Address("TCP", LOCAL, port.getHost().port)
    assert transport.getHost() == kept.made[0].transport.getPeer()
    transport.writeSequence([b"x" * (size - 1), b"y"])
    loop(lambda: len(client.data) == size)
    assert client.data.endswith(b"y")
    transport.loseConnection()
    port.stopListening()
    loop()  # ends, for nothing is left
    assert client.lost == kept.made[0].lost == ["ConnectionDone"]
    assert reactor.getReaders() == reactor.getWriters() == []


def test_ipv6_endpoints(reactor: Any, loop: Loop) -> None:
    kept = Keeper()
    port = result_of(TCP6ServerEndpoint(reactor, 0, interface="::1").listen(kept), loop)
    where = TCP6ClientEndpoint(reactor, "::1", port.getHost().port)
    client = result_of(connectProtocol(where, Recorder()), loop)
    assert client.transport.getPeer() == IPv6Address("TCP", "::1", port.getHost().port)
    client.transport.loseConnection()
    port.stopListening()
    loop()


def test_unix_endpoints(reactor: Any, loop: Loop, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    kept = Keeper(Echo)
    port = result_of(UNIXServerEndpoint(reactor, path).listen(kept), loop)
    assert port.getHost() == UNIXAddress(path)
    client = result_of(connectProtocol(UNIXClientEndpoint(reactor, path), Recorder()), loop)
    assert client.transport.getPeer() == UNIXAddress(path)
    client.transport.write(b"over the socket")
    loop(lambda: client.data == b"over the socket")
    client.transport.loseConnection()
    port.stopListening()
    loop()
    assert not os.path.exists(path)


def test_a_refused_connection_fails_the_deferred(reactor: Any, loop: Loop) -> None:
    with socket.socket() as bound:
        bound.bind((LOCAL, 0))
        failed: list[Any] = []
        where = TCP4ClientEndpoint(reactor, LOCAL, bound.getsockname()[1])
        connectProtocol(where, Recorder()).addErrback(failed.append)
        loop()
    assert failed[0].type is error.ConnectionRefusedError


def test_the_loop_goes_on_while_a_name_is_looked_up(reactor: Any, loop: Loop) -> None:
    failed: list[Any] = []
    with socket.socket() as bound:
        bound.bind((LOCAL, 0))
        where = TCP4ClientEndpoint(reactor, "localhost", bound.getsockname()[1])
        connectProtocol(where, Recorder()).addErrback(failed.append)
        loop()  # with nothing in the map but that
    assert failed[0].type is error.ConnectionRefusedError


def test_one_address_after_the_other(reactor: Any, loop: Loop) -> None:
    kept = Keeper()
    port = reactor.listenTCP(0, kept, interface=LOCAL)
    where = HostnameEndpoint(reactor, "localhost", port.getHost().port)
    client = result_of(connectProtocol(where, Recorder()), loop)
    client.transport.loseConnection()
    port.stopListening()
    loop()
    assert client.lost == ["ConnectionDone"]


def test_data_is_flushed_before_the_connection_is_lost(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    pair.server.transport.write(b"z" * 5_000_000)
    pair.server.transport.loseConnection()
    loop()
    assert len(pair.client.data) == 5_000_000
    assert pair.client.lost == pair.server.lost == ["ConnectionDone"]


def test_abort_connection(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    pair.client.transport.write(b"z" * 5_000_000)
    pair.client.transport.abortConnection()
    loop()
    assert pair.client.lost == ["ConnectionAborted"]
    assert pair.server.lost == ["ConnectionLost"]


def test_a_reset_is_a_lost_connection(reactor: Any, loop: Loop, poller_name: str) -> None:
    reactor.engine.use(poller_name)
    kept = Keeper()
    port = reactor.listenTCP(0, kept, interface=LOCAL)
    peer = socket.create_connection((LOCAL, port.getHost().port))
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    loop(lambda: kept.made and kept.made[0].began)
    peer.close()
    port.stopListening()
    loop()
    assert kept.made[0].lost == ["ConnectionLost"]


def test_half_close(reactor: Any, loop: Loop, poller_name: str) -> None:
    reactor.engine.use(poller_name)
    pair = Pair(reactor, loop, HalfCloseable, HalfCloseable)
    pair.client.transport.write(b"question")
    pair.client.transport.loseWriteConnection()
    loop(lambda: pair.server.halves == ["read"])
    assert pair.server.data == b"question"
    assert pair.client.halves == ["write"]
    pair.server.transport.write(b"answer" * 100_000)
    pair.server.transport.loseWriteConnection()
    loop(lambda: pair.client.halves == ["write", "read"] and len(pair.server.halves) == 2)
    assert len(pair.client.data) == 600_000
    assert pair.client.lost == pair.server.lost == []
    pair.client.transport.loseConnection()
    pair.server.transport.loseConnection()
    loop()
    assert pair.client.lost == pair.server.lost == ["ConnectionDone"]


def test_a_paused_connection_keeps_the_loop(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    loop(lambda: len(reactor.map) == 2)  # the port is gone
    for it in (pair.client, pair.server):
        it.transport.pauseProducing()
    pair.client.transport.write(b"x")
    loop(lambda: not reactor.getWriters())
    assert reactor.getReaders() == []
    assert len(reactor.map) == 2
    assert pair.server.data == b""
    pair.server.transport.resumeProducing()
    loop(lambda: pair.server.data)
    pair.client.transport.loseConnection()
    loop()
    assert pair.client.lost == pair.server.lost == ["ConnectionDone"]


def test_a_pause_and_what_follows_in_one_pass_cost_no_system_call() -> None:
    from asynccore.testing import engine_with_fakes
    from compat.twisted_transports import ClassicReactor

    map = asynccore.ChannelMap()
    _, _, poller = engine_with_fakes(map)
    reactor = ClassicReactor(map=map)
    ours, peer = socket.socketpair()
    with ours, peer:
        kept = Keeper()
        reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, kept)
        transport = kept.made[0].transport
        asynccore.loop(0, map=map, count=1)
        sets = len(poller.sets)
        transport.pauseProducing()
        transport.resumeProducing()
        asynccore.loop(0, map=map, count=1)
        assert len(poller.sets) == sets
        transport.pauseProducing()
        asynccore.loop(0, map=map, count=1)
        assert poller.sets[sets:] == [(transport.fileno(), 0)]
        asynccore.close_all(map)
        asynccore.loop(0, map=map, count=1, until_idle=True)
    assert kept.made[0].lost == ["ConnectionLost"]


@implementer(IPushProducer)
class Producer:
    """Writes so many blocks, when it is asked to."""

    def __init__(self, consumer: Any, blocks: int, streaming: bool) -> None:
        self.consumer = consumer
        self.blocks = blocks
        self.told: list[str] = []
        self.paused = False
        self.streaming = streaming
        consumer.registerProducer(self, streaming)
        if streaming:
            self.produce()

    def produce(self) -> None:
        while self.blocks and not self.paused:
            self.blocks -= 1
            self.consumer.write(b"b" * 100_000)
            if not self.streaming:
                break
        if not self.blocks:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def resumeProducing(self) -> None:
        self.told.append("resume")
        self.paused = False
        self.produce()

    def pauseProducing(self) -> None:
        self.told.append("pause")
        self.paused = True

    def stopProducing(self) -> None:
        self.told.append("stop")
        self.blocks = 0


@pytest.mark.parametrize("streaming", [True, False], ids=["push", "pull"])
def test_producers(reactor: Any, loop: Loop, streaming: bool) -> None:
    pair = Pair(reactor, loop)
    producer = Producer(pair.server.transport, 50, streaming)
    loop()
    assert len(pair.client.data) == 5_000_000
    assert "resume" in producer.told and "stop" not in producer.told
    assert ("pause" in producer.told) is streaming
    assert pair.client.lost == ["ConnectionDone"]


def test_a_producer_is_stopped_when_the_connection_is_lost(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    pair.client.transport.pauseProducing()
    producer = Producer(pair.server.transport, 1000, True)
    loop(lambda: "pause" in producer.told)
    pair.client.transport.abortConnection()
    loop()
    assert producer.told[-1] == "stop"


def test_datagrams(reactor: Any, loop: Loop) -> None:
    server, client = Datagrams(), Datagrams()
    bound = reactor.listenUDP(0, server, interface=LOCAL)
    sender = reactor.listenUDP(0, client, interface=LOCAL)
    where = (LOCAL, bound.getHost().port)
    assert bound.getHost() == IPv4Address("UDP", *where)
    client.transport.write(b"to", where)
    loop(lambda: server.received)
    assert server.received[0] == (b"to", (LOCAL, sender.getHost().port))
    client.transport.connect(*where)
    client.transport.write(b"connected")
    loop(lambda: len(server.received) == 2)
    bound.stopListening()
    loop(lambda: server.stopped)
    client.transport.write(b"nobody is there")
    loop(lambda: client.refused)
    sender.stopListening()
    loop()
    assert client.stopped == 1


def test_multicast(reactor: Any, loop: Loop) -> None:
    port = reactor.listenMulticast(0, Datagrams(), interface=LOCAL)
    port.setLoopbackMode(True)
    assert port.getLoopbackMode()
    joined = port.joinGroup("224.0.0.251", LOCAL)
    result_of(joined, loop)
    port.stopListening()
    loop()


# -- beside dispatchers -------------------------------------------------------------------------


class LegacyEcho(asynccore.dispatcher_with_send):
    def handle_read(self) -> None:
        self.send(self.recv(8192))


class LegacyServer(asynccore.dispatcher):
    def __init__(self, map: Any) -> None:
        super().__init__(map=map)
        self.create_socket()
        self.bind((LOCAL, 0))
        self.listen(5)

    def handle_accepted(self, sock: Any, addr: Any) -> None:
        LegacyEcho(sock, self._map)


def test_dispatchers_and_protocols_serve_each_other(reactor: Any, loop: Loop) -> None:
    legacy = LegacyServer(reactor.map)
    modern = reactor.listenTCP(0, Keeper(Echo), interface=LOCAL)
    clients = [
        result_of(connectProtocol(TCP4ClientEndpoint(reactor, LOCAL, number), Recorder()), loop)
        for number in (legacy.socket.getsockname()[1], modern.getHost().port)
    ]
    for client in clients:
        client.transport.write(b"e" * 500_000)
    loop(lambda: all(len(client.data) == 500_000 for client in clients))
    for client in clients:
        client.transport.loseConnection()
    legacy.close()
    modern.stopListening()
    loop()
    assert reactor.map == {}


def test_a_map_on_asyncio_drives_twisted_too(reactor: Any) -> None:
    kept = Keeper(Echo)

    async def main() -> None:
        port = reactor.listenTCP(0, kept, interface=LOCAL)
        async with compat.attach(map=reactor.map) as attachment:  # type: ignore[union-attr]
            reader, writer = await asyncio.open_connection(LOCAL, port.getHost().port)
            writer.write(b"m" * 300_000)
            assert await reader.readexactly(300_000) == b"m" * 300_000
            reactor.callLater(0.01, port.stopListening)
            writer.close()
            await attachment

    asyncio.run(asyncio.wait_for(main(), 30))
    assert kept.made[0].lost == ["ConnectionDone"]


def test_statistics_and_names(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    port = reactor.listenTCP(0, Keeper(), interface=LOCAL)
    pair.server.transport.pauseProducing()
    pair.client.transport.write(b"w" * 20_000_000)
    loop(lambda: len(reactor.map) == 3)
    found = asynccore.statistics(map=reactor.map)
    assert (found.listening, found.connected) == (1, 2)
    by_address = {channel.address: channel for channel in found.channels}
    assert f"{LOCAL}:{port.getHost().port}" in by_address
    peer = pair.client.transport.getPeer()
    assert by_address[f"{peer.host}:{peer.port}"].pending == 20_000_000 or (
        0 < (by_address[f"{peer.host}:{peer.port}"].pending or 0) < 20_000_000
    )
    assert all("TwistedChannel of" in repr(channel) for channel in reactor.map.values())
    pair.client.transport.abortConnection()
    pair.server.transport.abortConnection()
    port.stopListening()
    loop()


def test_a_channel_without_an_address(reactor: Any) -> None:
    class Bare(Protocol):
        def fileno(self) -> int:
            return reader

        def logPrefix(self) -> str:
            return "bare"

    reader, writer = os.pipe()
    try:
        bare = Bare()
        reactor.addReader(bare)
        (channel,) = reactor.map.values()
        assert (channel.addr, channel.write_buffer_size, channel.connected) == (None, 0, False)
        assert channel.handle_shutdown() is False
        reactor.removeReader(bare)
        assert reactor.map == {}
    finally:
        os.close(reader)
        os.close(writer)


# -- ends from outside --------------------------------------------------------------------------


def test_graceful_close_flushes(reactor: Any, loop: Loop) -> None:
    kept = Keeper()
    port = reactor.listenTCP(0, kept, interface=LOCAL)
    datagrams = Datagrams()
    reactor.listenUDP(0, datagrams, interface=LOCAL)
    received: list[bytes] = []
    with socket.create_connection((LOCAL, port.getHost().port)) as peer:
        loop(lambda: kept.made and kept.made[0].began)
        kept.made[0].transport.write(b"g" * 5_000_000)
        asynccore.graceful_close(map=reactor.map)
        reader = threading.Thread(
            target=lambda: received.extend(iter(lambda: peer.recv(65536), b""))
        )
        reader.start()
        loop()
        reader.join()
    assert sum(map(len, received)) == 5_000_000
    assert datagrams.stopped == 1
    assert kept.made[0].lost == ["ConnectionDone"]


def test_close_all_tells_the_protocols(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    reactor.listenTCP(0, Keeper(), interface=LOCAL)
    pair.server.transport.pauseProducing()
    asynccore.close_all(reactor.map)
    assert pair.client.lost == pair.server.lost == ["ConnectionLost"]
    loop()
    assert reactor.getReaders() == []


def test_close_all_after_a_port_was_told_to_close(
    reactor: Any, loop: Loop, logged: list[str]
) -> None:
    closed: list[Any] = []
    reactor.listenTCP(0, Keeper(), interface=LOCAL).stopListening().addBoth(closed.append)
    asynccore.close_all(reactor.map)
    loop(lambda: closed)
    assert closed == [None] and logged == []


def test_what_a_protocol_raises_is_logged_and_costs_its_connection(
    reactor: Any, loop: Loop, logged: list[str]
) -> None:
    class Bad(Recorder):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError(data)

    pair = Pair(reactor, loop, Recorder, Bad)
    pair.client.transport.write(b"x")
    loop()
    assert logged == ["LookupError"]
    assert pair.server.lost == ["LookupError"]
    assert pair.client.lost == ["ConnectionDone"]


def test_what_connection_lost_raises_is_logged(reactor: Any, loop: Loop, logged: list[str]) -> None:
    class Bad(Recorder):
        def connectionLost(self, reason: Any = None) -> None:
            super().connectionLost(reason)
            raise LookupError(reason)

    def no_prefix() -> str:
        raise ValueError("no prefix")

    pair = Pair(reactor, loop, Recorder, Bad)
    pair.server.transport.logPrefix = no_prefix
    pair.client.transport.loseConnection()
    loop()
    assert logged == ["LookupError"]
    assert pair.server.lost == ["ConnectionDone"]


@pytest.mark.parametrize("kind", [asynccore.ExitNow, KeyboardInterrupt, SystemExit])
def test_what_is_to_leave_the_loop_leaves_it(
    reactor: Any, loop: Loop, kind: type[BaseException]
) -> None:
    class Leaver(Recorder):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            if data == b"leave":
                raise kind

    pair = Pair(reactor, loop, Recorder, Leaver)
    pair.client.transport.write(b"leave")
    with pytest.raises(kind):
        loop(lambda: False)
    assert pair.server.lost == []  # the channels stay as they are
    pair.client.transport.write(b", and come back")
    loop(lambda: pair.server.data == b"leave, and come back")
    pair.client.transport.loseConnection()
    loop()


def test_urgent_data_does_not_make_the_loop_spin(
    reactor: Any, loop: Loop, poller_name: str
) -> None:
    reactor.engine.use(poller_name)
    kept = Keeper()
    port = reactor.listenTCP(0, kept, interface=LOCAL)
    with socket.create_connection((LOCAL, port.getHost().port)) as peer:
        loop(lambda: kept.made and kept.made[0].began)
        kept.made[0].transport.pauseProducing()
        kept.made[0].transport.resumeProducing()
        peer.send(b"!", socket.MSG_OOB)
        loop(lambda: reactor.engine.events >= 2)
        for _ in range(3):
            asynccore.loop(0, map=reactor.map, count=1)
        events = reactor.engine.events
        for _ in range(5):
            asynccore.loop(0, map=reactor.map, count=1)
        assert reactor.engine.events == events
        peer.send(b"data")
        loop(lambda: kept.made[0].data == b"data")
    port.stopListening()
    loop()


def test_a_descriptor_that_was_closed_by_others(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    sock = pair.server.transport.getHandle()
    os.close(sock.fileno())
    loop(lambda: pair.server.lost)
    sock.detach()
    loop()
    assert pair.server.lost == ["ConnectionFdescWentAway"]


def test_an_object_that_has_another_descriptor_than_before(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    transport = pair.server.transport
    moved = os.dup(transport.fileno())
    transport.fileno = lambda: moved
    pair.client.transport.write(b"x")
    loop(lambda: pair.server.lost)
    assert pair.server.lost == ["ConnectionFdescWentAway"]
    os.close(moved)
    loop()


def test_a_closed_descriptor_is_not_watched(reactor: Any) -> None:
    class Closed:
        def fileno(self) -> int:
            return -1

    for add in (reactor.addReader, reactor.addWriter):
        with pytest.raises(OSError, match="Bad file descriptor"):
            add(Closed())
    reactor.removeReader(Closed())
    reactor.removeWriter(Closed())
    assert reactor.map == {}


def test_a_map_that_was_cleared_is_entered_again(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    reactor.map.clear()
    for it in (pair.client, pair.server):
        it.transport.pauseProducing()
        it.transport.resumeProducing()
    pair.client.transport.write(b"still there")
    loop(lambda: pair.server.data == b"still there")
    pair.client.transport.loseConnection()
    loop()


def test_remove_all_names_paused_connections(reactor: Any, loop: Loop) -> None:
    pair = Pair(reactor, loop)
    loop(lambda: len(reactor.map) == 2)
    pair.server.transport.pauseProducing()
    removed = reactor.removeAll()
    assert set(removed) == {pair.client.transport, pair.server.transport}
    assert reactor.map == {} and reactor.getReaders() == []
    for it in removed:
        it.abortConnection()
    loop()
    assert pair.client.lost == pair.server.lost == ["ConnectionAborted"]


# -- what real sockets can't be brought to ------------------------------------------------------


class Descriptor:
    """As much as Twisted asks of what is watched."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.did: list[str] = []

    def fileno(self) -> int:
        return self.fd

    def logPrefix(self) -> str:
        return "descriptor"

    def doRead(self) -> None:
        self.did.append("read")

    def doWrite(self) -> None:
        self.did.append("write")

    def connectionLost(self, reason: Any) -> None:
        self.did.append(reason.type.__name__)


class FakedReactor:
    """A reactor whose poller reports what it is told to."""

    def __init__(self, map: Any = None) -> None:
        from asynccore.testing import engine_with_fakes
        from compat.twisted_transports import ClassicReactor

        self.map = asynccore.ChannelMap() if map is None else map
        self.engine, _, self.poller = engine_with_fakes(self.map)
        self.reactor: Any = ClassicReactor(map=self.map)

    def loop(self, count: int = 1) -> None:
        asynccore.loop(0, map=self.map, count=count, until_idle=True)


def test_events_for_who_was_paused_in_the_same_batch_are_dropped() -> None:
    from asynccore.testing import READ, WRITE

    faked = FakedReactor()
    first, second = Descriptor(501), Descriptor(502)
    for it in (first, second):
        faked.reactor.addReader(it)
        faked.reactor.addWriter(it)

    def stop_the_other() -> None:
        # As a paused connection: still in the map, and not watched.
        faked.map[502].reading = faked.map[502].writing = False

    first.doRead = stop_the_other  # type: ignore[method-assign]
    faked.poller.report((501, READ), (502, READ | WRITE))
    faked.loop()
    assert second.did == []


def test_an_event_of_either_kind() -> None:
    from asynccore.testing import READ, WRITE

    faked = FakedReactor()
    both = Descriptor(501)
    faked.reactor.addReader(both)
    faked.reactor.addWriter(both)
    faked.reactor.addWriter(both)  # no difference
    faked.poller.report((501, READ | WRITE))
    faked.loop()
    assert both.did == ["read", "write"]
    faked.reactor.removeWriter(both)
    assert faked.reactor.getReaders() == [both] and faked.reactor.getWriters() == []
    both.fd = 503  # somebody gave it another one
    faked.reactor.addWriter(both)
    assert [*faked.map] == [503] and faked.reactor.getReaders() == []
    faked.reactor.removeWriter(both)
    assert faked.map == {}


@pytest.mark.parametrize("kind", [asynccore.ChannelMap, dict])
def test_the_poller_lets_go_before_the_socket_is_closed(kind: Any) -> None:
    faked = FakedReactor(kind())
    bare = Descriptor(501)
    faked.reactor.addReader(bare)
    faked.loop()
    assert 501 in faked.poller.interest
    faked.reactor.removeReader(bare)
    assert 501 not in faked.poller.interest


def test_urgent_data_for_what_has_no_socket() -> None:
    from asynccore.testing import PRIORITY, READ

    faked = FakedReactor()
    bare = Descriptor(501)
    faked.reactor.addReader(bare)
    faked.poller.report((501, READ | PRIORITY))
    faked.loop()
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        bare.socket = ours  # type: ignore[attr-defined]
        faked.poller.report((501, PRIORITY))  # and there is none
        faked.loop()
    assert bare.did == ["read"]
    faked.reactor.removeReader(bare)


def test_a_descriptor_that_the_poller_refuses_is_disconnected(logged: list[str]) -> None:
    faked = FakedReactor()
    bare = Descriptor(501)
    faked.poller.refuse(501, OSError(errno.ENOSPC, "too many watches"))
    faked.reactor.addReader(bare)
    faked.loop()
    assert bare.did == ["ConnectionLost"]
    assert logged == ["OSError"]
    assert faked.map == {}


def test_a_holder_leaves_when_all_is_closed(reactor: Any) -> None:
    call = reactor.callLater(0, lambda: None)
    (holder,) = reactor.map.values()
    assert not (holder.readable() or holder.writable() or holder.accepting)
    asynccore.close_all(reactor.map)
    assert reactor.map == {}
    call.cancel()
    reactor.callLater(0, lambda: None).cancel()
    reactor._ac_hold()
    (holder,) = reactor.map.values()
    holder.handle_close()
    assert reactor.map == {}
    reactor._ac_release()
