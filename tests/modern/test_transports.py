"""Transports against asyncio's own: the same protocol, the same calls, the same callbacks."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modern.runners import OURS, Makers, on_asyncio

on_all = pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)


class Recorder(asyncio.Protocol):
    """Notes what it is told; joins what it is given, for reads may be cut anywhere."""

    def __init__(self, on_data: Callable[[Any, bytes], object] | None = None) -> None:
        self.log: list[Any] = []
        self.received = b""
        self.transport: Any = None
        self.on_data = on_data
        self.keeps_half_open = False
        self.loop = asyncio.get_running_loop()
        self.made = self.loop.create_future()
        self.lost = self.loop.create_future()
        self.ended = self.loop.create_future()
        self.loops: set[Any] = set()

    def note(self, what: Any) -> None:
        self.log.append(what)
        self.loops.add(asyncio.get_running_loop())

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.note("made")
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if not self.log or self.log[-1] != "data":
            self.note("data")
        if self.on_data is not None:
            self.on_data(self, data)

    def eof_received(self) -> bool:
        self.note("eof")
        self.ended.set_result(None)
        return self.keeps_half_open

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.note(("lost", type(exc).__name__))
        self.transport.close()  # Python 3.10's TLS transports warn otherwise
        self.lost.set_result(exc)


class Conversation:
    """A protocol on a server, and a plain socket as its peer."""

    def __init__(self, makers: Makers, factory: Callable[[], Any] = Recorder) -> None:
        self.makers = makers
        self.factory = factory
        self.protocols: list[Any] = []

    def _make(self) -> Any:
        self.protocols.append(self.factory())
        return self.protocols[-1]

    async def __aenter__(self) -> tuple[Any, socket.socket]:
        self.makers.catch_errors()
        self.server = await self.makers.serve(self._make)
        self.peer = socket.socket()
        self.peer.setblocking(False)
        await self.makers.loop.sock_connect(self.peer, self.server.sockets[0].getsockname())
        while not self.protocols:
            await asyncio.sleep(0.001)
        await self.protocols[0].made
        return self.protocols[0], self.peer

    async def __aexit__(self, *exc_info: object) -> None:
        self.peer.close()
        for protocol in self.protocols:
            if not protocol.lost.done():
                protocol.transport.abort()
                await protocol.lost
        self.server.close()
        await self.server.wait_closed()


async def receive_all(sock: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    pieces = []
    while data := await loop.sock_recv(sock, 1 << 20):
        pieces.append(data)
    return b"".join(pieces)


async def echo(makers: Makers) -> Any:
    async with Conversation(
        makers, lambda: Recorder(lambda me, data: me.transport.write(data))
    ) as (protocol, peer):
        loop = makers.loop
        await loop.sock_sendall(peer, b"abc")
        assert await loop.sock_recv(peer, 10) == b"abc"
        protocol.transport.writelines([b"d", bytearray(b"e"), memoryview(b"f")])
        assert await loop.sock_recv(peer, 10) == b"def"
        extra = [protocol.transport.get_extra_info(name) for name in ("peername", "sockname")]
        assert extra == [peer.getsockname(), peer.getpeername()]
        assert protocol.transport.get_extra_info("nothing", 5) == 5
        assert protocol.transport.get_extra_info("socket").fileno() >= 0
        assert protocol.loops == {loop}
        peer.close()
        await protocol.lost
        return protocol.log, protocol.received


async def close_sends_what_is_left(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        transport = protocol.transport
        transport.write(b"x" * 30_000_000)
        assert transport.get_write_buffer_size() > 0
        transport.close()
        assert transport.is_closing() and not transport.is_reading()
        transport.write(b"y")  # accepted: there is still something to send
        transport.close()
        data = await receive_all(peer)
        await protocol.lost
        return protocol.log, len(data), data[-1:]


async def abort_does_not(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, _peer):
        protocol.transport.write(b"x" * 30_000_000)
        protocol.transport.abort()
        assert "lost" not in str(protocol.log)
        await protocol.lost
        for _ in range(5):
            protocol.transport.write(b"late")
        return protocol.log


async def half_closed_by_peer(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        protocol.keeps_half_open = True
        await makers.loop.sock_sendall(peer, b"question")
        peer.shutdown(socket.SHUT_WR)
        await protocol.ended
        protocol.transport.write(b"answer")
        assert not protocol.transport.is_closing()
        protocol.transport.close()
        data = await receive_all(peer)
        await protocol.lost
        return protocol.log, protocol.received, data


async def eof_ends_it(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        await makers.loop.sock_sendall(peer, b"all")
        peer.shutdown(socket.SHUT_WR)
        data = await receive_all(peer)
        await protocol.lost
        return protocol.log, protocol.received, data


async def half_closed_by_us(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        transport = protocol.transport
        assert transport.can_write_eof()
        transport.write(b"z" * 1_000_000)
        transport.write_eof()
        transport.write_eof()
        with pytest.raises(RuntimeError):
            transport.write(b"more")
        size = len(await receive_all(peer))
        await makers.loop.sock_sendall(peer, b"still heard")
        while protocol.received != b"still heard":
            await asyncio.sleep(0.001)
        transport.close()
        await protocol.lost
        return protocol.log, size


async def flow_control(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        transport = protocol.transport
        limits = [transport.get_write_buffer_limits()]
        for options in ({"high": 1000}, {"low": 100}, {"high": 50, "low": 7}, {"high": 0}):
            transport.set_write_buffer_limits(**options)
            limits.append(transport.get_write_buffer_limits())
        for options in ({"high": 1, "low": 2}, {"low": -1}):
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(**options)
        transport.write(b"x" * 30_000_000)
        transport.write(b"y" * 10)
        assert protocol.log[-1] == "pause"
        transport.write_eof()
        size = len(await receive_all(peer))
        while protocol.log[-1] != "resume":
            await asyncio.sleep(0.001)
        assert transport.get_write_buffer_size() == 0
        transport.close()
        await protocol.lost
        return protocol.log, limits, size


async def reading_pauses(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        transport = protocol.transport
        states = [transport.is_reading()]
        transport.pause_reading()
        transport.pause_reading()
        states.append(transport.is_reading())
        await makers.loop.sock_sendall(peer, b"later")
        for _ in range(10):
            await asyncio.sleep(0)
        assert protocol.received == b""
        transport.resume_reading()
        transport.resume_reading()
        states.append(transport.is_reading())
        while protocol.received != b"later":
            await asyncio.sleep(0.001)
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        await protocol.lost
        return protocol.log, states


async def a_protocol_fails(makers: Makers) -> Any:
    def fail(protocol: Any, data: bytes) -> None:
        raise ZeroDivisionError("as it happens")

    async with Conversation(makers, lambda: Recorder(fail)) as (protocol, peer):
        await makers.loop.sock_sendall(peer, b"x")
        await protocol.lost
        return protocol.log, makers.errors


async def eof_fails(makers: Makers) -> Any:
    class Failing(Recorder):
        def eof_received(self) -> bool:
            raise ZeroDivisionError("at the end")

    async with Conversation(makers, Failing) as (protocol, peer):
        peer.shutdown(socket.SHUT_WR)
        await protocol.lost
        return protocol.log, makers.errors


async def pausing_fails(makers: Makers) -> Any:
    class Failing(Recorder):
        def pause_writing(self) -> None:
            raise ZeroDivisionError("in pause")

        def resume_writing(self) -> None:
            raise ZeroDivisionError("in resume")

    async with Conversation(makers, Failing) as (protocol, peer):
        protocol.transport.write(b"x" * 30_000_000)
        protocol.transport.close()
        size = len(await receive_all(peer))
        await protocol.lost
        return protocol.log, makers.errors, size


async def reset_by_peer(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        await protocol.lost
        return protocol.log, makers.errors


async def reset_while_sending(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        protocol.transport.pause_reading()
        protocol.transport.write(b"x" * 30_000_000)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        why = await protocol.lost
        return [*protocol.log[:-1], isinstance(why, ConnectionError)], makers.errors


async def changes_protocol(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, peer):
        other = Recorder()
        transport = protocol.transport
        transport.set_protocol(other)
        other.transport = transport  # nobody tells it
        assert transport.get_protocol() is other
        await makers.loop.sock_sendall(peer, b"for the other")
        peer.shutdown(socket.SHUT_WR)
        protocol.lost.set_result(None)
        await other.lost
        return protocol.log, other.log, other.received


async def wrong_types(makers: Makers) -> Any:
    async with Conversation(makers) as (protocol, _peer):
        for wrong in ("text", 5, None):
            with pytest.raises(TypeError):
                protocol.transport.write(wrong)
        protocol.transport.write(b"")
        protocol.transport.writelines([])
        protocol.transport.close()
        await protocol.lost
        return protocol.log


class Buffered(asyncio.BufferedProtocol):
    def __init__(self, size: int = 7) -> None:
        self.log: list[Any] = []
        self.received = b""
        self.buffer = bytearray(size)
        loop = asyncio.get_running_loop()
        self.made, self.lost = loop.create_future(), loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made.set_result(None)

    def get_buffer(self, sizehint: int) -> bytearray:
        self.log.append(sizehint)
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]
        self.transport.write(bytes(self.buffer[:nbytes]))

    def eof_received(self) -> None:
        self.log.append("eof")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.log.append(("lost", type(exc).__name__))
        self.lost.set_result(exc)


async def buffered(makers: Makers) -> Any:
    async with Conversation(makers, Buffered) as (protocol, peer):
        await makers.loop.sock_sendall(peer, b"0123456789" * 3)
        peer.shutdown(socket.SHUT_WR)
        data = await receive_all(peer)
        await protocol.lost
        return protocol.log, protocol.received, data


async def buffer_is_empty(makers: Makers) -> Any:
    async with Conversation(makers, lambda: Buffered(0)) as (protocol, peer):
        await makers.loop.sock_sendall(peer, b"x")
        await protocol.lost
        return protocol.log, [error[:12] for error in makers.errors]


async def refused(makers: Makers) -> Any:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        try:
            await makers.connect(Recorder, nobody.getsockname())
        except OSError as why:
            return type(why), why.errno


async def clients(makers: Makers) -> Any:
    """Both ends are transports."""
    server = await makers.serve(lambda: Recorder(lambda me, data: me.transport.write(data.upper())))
    addresses = server.sockets[0].getsockname()
    transport, protocol = await makers.connect(
        lambda: Recorder(lambda me, data: me.transport.close()), addresses
    )
    assert protocol.transport is transport
    transport.write(b"hello")
    await protocol.lost
    server.close()
    await server.wait_closed()
    assert not server.is_serving() and server.sockets == ()
    return protocol.log, protocol.received


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answers: bool = False) -> None:
        self.answers = answers
        self.log: list[Any] = []
        loop = asyncio.get_running_loop()
        self.one, self.lost = loop.create_future(), loop.create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.log.append(data)
        if self.answers:
            self.transport.sendto(data[::-1], addr)
        elif not self.one.done():
            self.one.set_result(None)

    def error_received(self, exc: Exception) -> None:
        self.log.append(type(exc))
        if not self.one.done():
            self.one.set_result(None)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.log.append(("lost", type(exc).__name__))
        self.lost.set_result(exc)


async def datagram_echo(makers: Makers) -> Any:
    server, answering = await makers.datagrams(lambda: Datagrams(True), local_addr=("127.0.0.1", 0))
    address = server.get_extra_info("sockname")
    client, asking = await makers.datagrams(Datagrams, remote_addr=address)
    assert client.get_extra_info("peername") == address
    client.sendto(b"abc")
    await asking.one
    for wrong, kind in ((("text",), TypeError), ((b"x", ("127.0.0.1", 1)), ValueError)):
        with pytest.raises(kind):
            client.sendto(*wrong)
    for end in (client, server):
        end.close()
        assert end.is_closing()
        end.abort()
    await asking.lost
    await answering.lost
    return asking.log, answering.log


async def datagram_to_nobody(makers: Makers) -> Any:
    with socket.socket(type=socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = nobody.getsockname()
    client, protocol = await makers.datagrams(Datagrams, remote_addr=address)
    client.sendto(b"anybody?")
    await protocol.one
    client.abort()
    await protocol.lost
    return protocol.log


async def a_datagram_protocol_fails(makers: Makers) -> Any:
    class Failing(Datagrams):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            raise ZeroDivisionError("as it happens")

    makers.catch_errors()
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    transport, failing = await makers.datagrams(Failing, sock=one)
    two.send(b"x")
    while not makers.errors:
        await asyncio.sleep(0.001)
    transport.abort()
    await failing.lost
    two.close()
    return failing.log, makers.errors


SCENARIOS = [
    a_datagram_protocol_fails,
    echo,
    close_sends_what_is_left,
    abort_does_not,
    half_closed_by_peer,
    eof_ends_it,
    half_closed_by_us,
    flow_control,
    reading_pauses,
    a_protocol_fails,
    eof_fails,
    pausing_fails,
    reset_by_peer,
    reset_while_sending,
    changes_protocol,
    wrong_types,
    buffered,
    buffer_is_empty,
    refused,
    clients,
    datagram_echo,
    datagram_to_nobody,
]


@on_all
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_as_asyncio(scenario: Any, run: Any) -> None:
    assert run(scenario) == on_asyncio(scenario)


STEPS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 3000)),
    st.tuples(st.just("feed"), st.integers(1, 3000)),
    st.tuples(st.just("levels"), st.integers(0, 200)),
    st.sampled_from(
        [(word, 0) for word in ("pause", "resume", "eof", "close", "abort", "turn", "peer eof")]
    ),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=12), st.booleans(), st.sampled_from(OURS))
def test_any_sequence_of_calls_is_as_on_asyncio(
    steps: list[tuple[str, int]], half: bool, run: Any
) -> None:
    async def scenario(makers: Makers) -> Any:
        async with Conversation(makers) as (protocol, peer):
            protocol.keeps_half_open = half
            transport = protocol.transport
            fed = ended = 0
            for step, number in steps:
                try:
                    if step == "write":
                        transport.write(bytes(number))
                    elif step == "feed" and not ended:
                        fed += number
                        await makers.loop.sock_sendall(peer, b"f" * number)
                    elif step == "levels":
                        transport.set_write_buffer_limits(high=number)
                    elif step == "pause":
                        transport.pause_reading()
                    elif step == "resume":
                        transport.resume_reading()
                    elif step == "eof":
                        transport.write_eof()
                    elif step in ("close", "abort"):
                        getattr(transport, step)()
                    elif step == "peer eof" and not ended:
                        ended = 1
                        peer.shutdown(socket.SHUT_WR)
                    elif step == "turn":
                        await asyncio.sleep(0)
                except (RuntimeError, OSError) as why:
                    protocol.note(type(why).__name__)
            closed = transport.is_closing()
            transport.resume_reading()
            while not transport.is_closing() and len(protocol.received) < fed:
                await asyncio.sleep(0)
            if ended and not transport.is_closing() and not protocol.ended.done():
                await protocol.ended
            transport.close()
            try:
                sent = len(await receive_all(peer))
            except OSError:
                sent = -1
            await protocol.lost
            # What is read at which turn is not promised, nor what a close leaves unread.
            log = [what for what in protocol.log if what not in ("data", "eof")]
            return log, closed or len(protocol.received), sent if not closed else 0

    assert run(scenario)[0] == on_asyncio(scenario)[0]
