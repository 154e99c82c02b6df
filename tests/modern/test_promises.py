"""What asyncio promises beyond its transports' calls: contexts, order, files, ends of loops."""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import asynccore
import compat
from asynccore.listening import socket_activation
from tests.modern.runners import OURS, Makers, PlainMakers, on_asyncio
from tests.modern.test_transports import Conversation, Recorder
from tests.tls import support

on_all = pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)
same = pytest.mark.parametrize("run", [on_asyncio, *OURS], ids=lambda run: run.__name__)

USER = contextvars.ContextVar("USER", default="nobody")


# -- contexts -----------------------------------------------------------------------------------


class Named(Recorder):
    """Notes who its context says it is, and says what it is told."""

    def note(self, what: Any) -> None:
        super().note((what, USER.get()))

    def data_received(self, data: bytes) -> None:
        self.note("data")
        USER.set(data.decode())
        self.transport.write(b"ok")


@on_all
def test_connections_have_contexts_of_their_own(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        USER.set("the program")
        made: list[Named] = []

        def factory() -> Named:
            made.append(Named())
            return made[-1]

        server = await makers.serve(factory)
        loop = makers.loop
        for name in (b"alice", b"bob"):
            with socket.socket() as peer:
                peer.setblocking(False)
                await loop.sock_connect(peer, server.sockets[0].getsockname())
                await loop.sock_sendall(peer, name)
                assert await loop.sock_recv(peer, 10) == b"ok"
            await made[-1].lost
        server.close()
        assert USER.get() == "the program"
        return [protocol.log for protocol in made]

    assert run(scenario) == [
        [
            ("made", "the program"),
            ("data", "the program"),
            ("eof", name),
            (("lost", "NoneType"), name),
        ]
        for name in ("alice", "bob")
    ]


@on_all
def test_a_callback_within_another_has_the_context_too(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        class Pauses(Named):
            def pause_writing(self) -> None:
                self.note("pause")

            def data_received(self, data: bytes) -> None:
                USER.set(data.decode())
                self.transport.set_write_buffer_limits(0)
                self.transport.write(b"x" * 30_000_000)
                self.transport.abort()

        async with Conversation(makers, Pauses) as (protocol, peer):
            await makers.loop.sock_sendall(peer, b"alice")
            await protocol.lost
            return protocol.log[1:]

    assert run(scenario) == [("pause", "alice"), (("lost", "NoneType"), "alice")]


@on_all
def test_datagram_endpoints_have_contexts_too(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        seen = []

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                seen.append(USER.get())
                USER.set(data.decode())
                got.set_result(None)

        for name in (b"alice", b"bob"):
            got = makers.loop.create_future()
            transport, _ = await makers.datagrams(Protocol, local_addr=("127.0.0.1", 0))
            transport.sendto(name, transport.get_extra_info("sockname"))
            await got
            transport.close()
        return [*seen, USER.get()]

    assert run(scenario) == ["nobody"] * 3


# -- order --------------------------------------------------------------------------------------


@same
def test_what_is_due_comes_before_new_input(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        async with Conversation(makers) as (protocol, peer):
            transport = protocol.transport
            transport.pause_reading()
            await makers.loop.sock_sendall(peer, b"x")
            await asyncio.sleep(0.01)
            transport.resume_reading()

            async def begin() -> None:
                protocol.note("task")

            task = makers.loop.create_task(begin())
            while not protocol.received:
                await asyncio.sleep(0.001)
            await task
            return list(protocol.log)

    assert run(scenario) == ["made", "task", "data"]


@same
def test_a_pause_after_all_is_a_pause(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        async with Conversation(makers) as (protocol, peer):
            transport = protocol.transport
            transport.pause_reading()
            await makers.loop.sock_sendall(peer, b"x")
            transport.resume_reading()
            transport.pause_reading()
            for _ in range(10):
                await asyncio.sleep(0.001)
            return protocol.received, transport.is_reading()

    assert run(scenario) == (b"", False)


# -- connections --------------------------------------------------------------------------------


@same
def test_connections_have_tcp_nodelay(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        protocols = []

        def factory() -> Recorder:
            protocols.append(Recorder())
            return protocols[-1]

        server = await makers.serve(factory)
        address = server.sockets[0].getsockname()
        by_name, _ = await makers.connect(Recorder, address)
        sock = socket.create_connection(address)
        by_socket, _ = await makers.loop.create_connection(Recorder, sock=sock)
        while len(protocols) < 2:
            await asyncio.sleep(0.001)
        found = []
        for transport in (by_name, by_socket, *(one.transport for one in protocols)):
            sock = transport.get_extra_info("socket")
            found.append(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
            transport.abort()
        for protocol in protocols:
            await protocol.lost
        server.close()
        return found

    assert run(scenario) == [True] * 4


@same
def test_wait_closed_waits_as_on_this_python(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(Recorder)
        transport, protocol = await makers.connect(Recorder, server.sockets[0].getsockname())
        # Ours, asyncio's up to 3.12, and asyncio's since.
        counts = [getattr(server, name, 0) for name in ("_transports", "_active_count", "_clients")]
        while not any(one if isinstance(one, int) else len(one) for one in counts):
            await asyncio.sleep(0.001)
            counts[1] = getattr(server, "_active_count", 0)
        forever = makers.loop.create_task(server.serve_forever())
        await asyncio.sleep(0.01)
        forever.cancel()
        await asyncio.sleep(0.01)
        waits = not forever.done()
        if sys.version_info >= (3, 14):
            waits = None  # it closes the connection itself, and need not wait for the other end
        else:
            transport.abort()
        with pytest.raises(asyncio.CancelledError):
            await forever
        await protocol.lost
        return waits

    expected = None if sys.version_info >= (3, 14) else sys.version_info >= (3, 12)
    assert run(scenario) is expected


# -- files --------------------------------------------------------------------------------------


@same
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_sendfile(run: Any, secure: bool, tmp_path: Path) -> None:
    content = os.urandom(1_000_000)
    (tmp_path / "file").write_bytes(content)
    contexts: Any = [None, None]
    if secure:
        import ssl

        contexts = [ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
        support.authority().configure_trust(contexts[0])
        support.server_certificate().configure_cert(contexts[1])

    async def scenario(makers: Makers) -> Any:
        loop = makers.loop
        sent = loop.create_future()

        class Sends(Recorder):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                self.task = loop.create_task(self.send())

            async def send(self) -> None:
                self.transport.write(b"head ")
                with (tmp_path / "file").open("rb") as file:
                    sent.set_result(await loop.sendfile(self.transport, file, 10, 900_000))
                self.transport.write(b" tail")
                self.transport.close()

        server = await loop.create_server(Sends, "127.0.0.1", 0, ssl=contexts[1])
        _, protocol = await loop.create_connection(
            Recorder,
            *server.sockets[0].getsockname(),
            ssl=contexts[0],
            server_hostname=support.HOST if secure else None,
        )
        await protocol.lost
        server.close()
        return await sent, protocol.received == b"head " + content[10:900_010] + b" tail"

    assert run(scenario) == (900_000, True)


def test_sendfile_is_the_systems_where_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not hasattr(os, "sendfile"):
        pytest.skip("this platform has no sendfile(2)")
    (tmp_path / "file").write_bytes(b"x" * 20_000_000)
    seen = []
    sendfile = os.sendfile
    monkeypatch.setattr(os, "sendfile", lambda *args: seen.append(1) or sendfile(*args))

    async def scenario(makers: Makers) -> Any:
        async with Conversation(makers) as (protocol, peer):
            transport = protocol.transport
            with (tmp_path / "file").open("rb") as file:
                task = makers.loop.create_task(
                    makers.loop.sendfile(transport, file, fallback=False)
                )
                await asyncio.sleep(0.01)
                with pytest.raises(RuntimeError):
                    transport.write(b"in between")
                count = 0
                while count < 20_000_000:
                    count += len(await makers.loop.sock_recv(peer, 65536))
                assert await task == 20_000_000
            transport.write(b"after")
            assert await makers.loop.sock_recv(peer, 10) == b"after"
            return transport.is_reading()

    for run in OURS[:2]:
        seen.clear()
        assert run(scenario) is True
        assert seen


@on_all
def test_a_connection_ends_before_its_file_is_sent(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        async with Conversation(makers) as (protocol, _peer):
            with tempfile.TemporaryFile() as file:
                file.truncate(30_000_000)
                task = makers.loop.create_task(makers.loop.sendfile(protocol.transport, file))
                await asyncio.sleep(0.01)
                protocol.transport.abort()
                with pytest.raises(ConnectionError):
                    await task
            await protocol.lost
            return protocol.log

    assert run(scenario) == ["made", ("lost", "NoneType")]


needs_unix = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this platform has no Unix sockets"
)


@needs_unix
@same
def test_files_of_unix_sockets(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/datagrams"
            for _ in range(2):
                transport, _ = await makers.datagrams(
                    asyncio.DatagramProtocol, local_addr=path, family=socket.AF_UNIX
                )
                transport.close()
                await asyncio.sleep(0.001)
            left = []
            for replaced in (False, True):
                path = f"{folder}/server{replaced}"
                server = await makers.loop.create_unix_server(Recorder, path)
                if replaced:
                    os.rename(path, path + "-old")
                    Path(path).touch()
                server.close()
                await asyncio.sleep(0.001)
                left.append(os.path.exists(path))
            return left

    assert run(scenario) == [sys.version_info < (3, 13), True]


@needs_unix
def test_the_plain_function_removes_a_servers_file_too(tmp_path: Path) -> None:
    for wanted in (True, False):
        channels: dict[int, Any] = {}
        path = tmp_path / "server"
        compat.create_server(Recorder, path=path, cleanup_socket=wanted, map=channels).close()
        assert path.exists() is not wanted
        asynccore.loop(map=channels)


# -- ends of loops ------------------------------------------------------------------------------


def connected(channels: Any, factory: Any) -> tuple[Any, socket.socket]:
    server = compat.create_server(factory, "127.0.0.1", 0, map=channels)
    peer = socket.create_connection(server.sockets[0].getsockname())
    peer.sendall(b"x")
    return server, peer


def test_stop_counts_in_a_protocol() -> None:
    channels: dict[int, Any] = {}
    stopped = []

    class Stops(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            stopped.append(data)
            asyncio.get_running_loop().stop()

    _, peer = connected(channels, Stops)
    asynccore.loop(0.05, map=channels, count=100)
    passes = compat.event_loop(map=channels).engine.passes  # type: ignore[attr-defined]
    assert stopped == [b"x"] and passes < 50
    peer.close()
    asynccore.close_all(channels)
    compat.event_loop(map=channels).close()


def test_stop_counts_in_a_dispatcher() -> None:
    channels: dict[int, Any] = {}
    loop = compat.event_loop(map=channels)

    class Stops(asynccore.dispatcher):
        def handle_read(self) -> None:
            self.recv(10)
            asyncio.get_running_loop().stop()

    one, other = socket.socketpair()
    Stops(one, channels)
    other.send(b"x")
    asynccore.loop(0.05, map=channels, count=100)
    assert loop.engine.passes < 50  # type: ignore[attr-defined]
    other.send(b"x")
    loop.run_forever()  # It ends as well.
    other.close()
    asynccore.close_all(channels)
    loop.close()


class Leaves(asyncio.Protocol):
    def __init__(self, which: str, error: type[Exception]) -> None:
        self.which, self.error = which, error

    def come_to(self, which: str) -> None:
        if which == self.which:
            raise self.error

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(0)
        self.come_to("connection_made")

    def data_received(self, data: bytes) -> None:
        if self.which in ("pause_writing", "resume_writing"):
            self.transport.write(b"x" * 30_000_000)
        elif self.which == "connection_lost":
            self.transport.close()
        self.come_to("data_received")

    def eof_received(self) -> None:
        self.come_to("eof_received")

    def pause_writing(self) -> None:
        self.come_to("pause_writing")

    def resume_writing(self) -> None:
        self.come_to("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.come_to("connection_lost")


CALLBACKS = [
    *("connection_made", "data_received", "eof_received"),
    *("pause_writing", "resume_writing", "connection_lost"),
]


DRIVERS = {
    "loop": lambda channels: asynccore.loop(map=channels),
    "run_forever": lambda channels: compat.event_loop(map=channels).run_forever(),
}


@pytest.mark.parametrize("which", CALLBACKS)
@pytest.mark.parametrize("how", DRIVERS)
def test_exit_now_leaves_the_loop(which: str, how: str) -> None:
    channels: dict[int, Any] = {}
    _, peer = connected(channels, lambda: Leaves(which, asynccore.ExitNow))
    if which == "resume_writing":
        reads = asynccore.dispatcher(peer, channels)
        reads.handle_read = lambda: reads.recv(1 << 20)  # type: ignore[method-assign]
        reads.writable = lambda: False  # type: ignore[method-assign]
    elif which == "eof_received":
        peer.shutdown(socket.SHUT_WR)
    with pytest.raises(asynccore.ExitNow):
        DRIVERS[how](channels)
    peer.close()
    asynccore.close_all(channels)
    compat.event_loop(map=channels).close()


@pytest.mark.parametrize("which", [*CALLBACKS[:4], "connection_lost"])
def test_exit_now_ends_an_attached_map(which: str) -> None:
    channels: dict[int, Any] = {}

    async def main() -> None:
        attachment = compat.attach(map=channels)
        _, peer = connected(channels, lambda: Leaves(which, asynccore.ExitNow))
        peer.shutdown(socket.SHUT_WR)
        try:
            await attachment
        finally:
            attachment.detach()
            peer.close()

    with pytest.raises(asynccore.ExitNow):
        asyncio.run(asyncio.wait_for(main(), 30))
    asynccore.close_all(channels)


# -- processes that share ports -----------------------------------------------------------------


@pytest.fixture(name="given")
def _given(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(reuse_port: bool, *descriptors: int) -> None:
        arrangement = socket_activation.Arrangement(reuse_port, list(descriptors))
        monkeypatch.setattr(socket_activation, "arranged", arrangement)

    return give


needs_reuse_port = pytest.mark.skipif(
    not hasattr(socket, "SO_REUSEPORT"), reason="this platform can't share ports"
)


@needs_reuse_port
@on_all
def test_workers_share_the_ports_of_servers(run: Any, given: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
        given(True)
        ports = []
        make = (
            (lambda *a, **kw: _wrap(compat.create_server(*a, map=makers.map, **kw)))
            if isinstance(makers, PlainMakers)
            else makers.loop.create_server
        )
        servers = [await make(Recorder, *address) for _ in range(2)]
        for server in servers:
            ports.append(server.sockets[0].getsockname() == address)
            server.close()
        with pytest.raises(OSError, match="port 0"):
            await make(Recorder, "127.0.0.1", 0)
        endpoints = []
        for _ in range(2):
            transport, _ = await makers.datagrams(asyncio.DatagramProtocol, local_addr=address)
            endpoints.append(transport)
        for transport in endpoints:
            transport.close()
        return ports

    assert run(scenario) == [True, True]


async def _wrap(server: Any) -> Any:
    return server


@on_all
def test_servers_take_inherited_sockets(run: Any, given: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            sock.listen()
            given(False, sock.fileno())
            address = sock.getsockname()
            if isinstance(makers, PlainMakers):
                server: Any = compat.create_server(Recorder, *address, map=makers.map)
            else:
                server = await makers.loop.create_server(Recorder, *address)
        transport, protocol = await makers.connect(Recorder, address)
        await protocol.made
        transport.abort()
        await protocol.lost
        server.close()
        return server.sockets

    assert run(scenario) == ()
