"""TLS of `ssl_ext` and of the module `ssl` on our transports, and what servers offer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

import asynccore
import compat
from ssl_ext import TLSError
from tests.modern.runners import OURS, Makers, on_classic_loop_object, under_classic_loop
from tests.modern.test_transports import Recorder
from tests.tls import support

on_all = pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)


def upper(protocol: Any, data: bytes) -> None:
    protocol.transport.write(data.upper())


def answered(protocol: Any, data: bytes) -> None:
    if protocol.received.endswith(b"\n"):
        protocol.transport.close()


@on_all
def test_tls_from_the_beginning(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(lambda: Recorder(upper), ssl=support.server_raw())
        transport, protocol = await makers.connect(
            lambda: Recorder(answered),
            server.sockets[0].getsockname(),
            ssl=support.client_raw(),
            server_hostname=support.HOST,
        )
        assert transport.get_extra_info("cipher")[0]
        assert transport.get_extra_info("peercert") is not None
        assert transport.get_extra_info("ssl_object").version().startswith("TLS")
        assert transport.get_extra_info("sslcontext") is not None
        assert not transport.can_write_eof()
        with pytest.raises(NotImplementedError):
            transport.write_eof()
        transport.write(b"secret " * 50_000 + b"\n")
        await protocol.lost
        server.close()
        await server.wait_closed()
        return protocol.log, protocol.received

    log, received = run(scenario)
    assert (log[0], log[-1]) == ("made", ("lost", "NoneType"))
    assert received == b"SECRET " * 50_000 + b"\n"


@on_all
def test_the_wrong_name_is_no_connection(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await makers.serve(factory, ssl=support.server_raw())
        with pytest.raises(TLSError):
            await makers.connect(
                factory,
                server.sockets[0].getsockname(),
                ssl=support.client_raw(),
                server_hostname="other.example",
            )
        server.close()
        server.abort_clients()
        return [protocol.log[:1] for protocol in made if protocol.log != ["made"]]

    assert [] in run(scenario)  # the client's protocol was never told of anything


@on_all
@pytest.mark.parametrize("kind", ["ssl_ext", "ssl"])
def test_tls_later(run: Any, kind: str) -> None:
    contexts: list[Any]
    if kind == "ssl":
        contexts = [ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
        support.authority().configure_trust(contexts[0])
        support.server_certificate().configure_cert(contexts[1])
    else:
        contexts = [support.client_raw(), support.server_raw()]

    async def scenario(makers: Makers) -> Any:
        loop = makers.loop
        is_secure = loop.create_future()

        class Starts(Recorder):
            def data_received(self, data: bytes) -> None:
                super().data_received(data)
                if data == b"STARTTLS\n":
                    self.transport.write(b"go\n")
                    self.task = loop.create_task(self.secure())

            async def secure(self) -> None:
                self.transport = await loop.start_tls(
                    self.transport, self, contexts[1], server_side=True
                )
                self.on_data = upper
                is_secure.set_result(None)

        server = await makers.serve(Starts)
        transport, protocol = await makers.connect(Recorder, server.sockets[0].getsockname())
        transport.write(b"STARTTLS\n")
        while protocol.received != b"go\n":
            await asyncio.sleep(0.001)
        secured = await loop.start_tls(
            transport, protocol, contexts[0], server_hostname=support.HOST
        )
        if kind == "ssl_ext":
            with pytest.raises(RuntimeError, match="can't begin"):
                secured.start_tls(contexts[0])
        protocol.on_data = lambda me, data: secured.close()
        # What is sent at once may come with the end of the handshake, before the task goes on.
        await is_secure
        secured.write(b"hidden\n")
        await protocol.lost
        server.close()
        await server.wait_closed()
        return protocol.received

    if run.__name__ == "attached" and kind == "ssl_ext":
        pytest.skip("asyncio's own loop.start_tls knows no context but those of ssl")
    assert run(scenario) == b"go\nHIDDEN\n"


@pytest.mark.parametrize("run", [on_classic_loop_object], ids=["methods"])
def test_contexts_of_the_module_ssl_have_asyncios_transports(run: Any) -> None:
    client, server_context = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    support.authority().configure_trust(client)
    support.server_certificate().configure_cert(server_context)

    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(lambda: Recorder(upper), ssl=server_context)
        transport, protocol = await makers.connect(
            lambda: Recorder(answered),
            server.sockets[0].getsockname(),
            ssl=client,
            server_hostname=support.HOST,
        )
        transport.write(b"text\n")
        await protocol.lost
        server.close()
        await server.wait_closed()
        return protocol.received

    assert run(scenario) == b"TEXT\n"


@on_all
def test_a_server(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await makers.serve(factory, start_serving=False, reuse_port=True, backlog=5)
        assert not server.is_serving()
        assert server.get_loop() is makers.loop
        await server.start_serving()
        assert server.is_serving() and "sockets" in repr(server)
        forever = makers.loop.create_task(server.serve_forever())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError):
            await server.serve_forever()
        clients = [
            await makers.connect(Recorder, server.sockets[0].getsockname()) for _ in range(2)
        ]
        while len(made) < 2:
            await asyncio.sleep(0.001)
        forever.cancel()
        await asyncio.sleep(0)
        server.close_clients()
        for _, protocol in clients:
            await protocol.lost
        with pytest.raises(asyncio.CancelledError):
            await forever
        await server.wait_closed()
        with pytest.raises(RuntimeError):
            await server.start_serving()
        return [protocol.log for protocol in made], [protocol.log for _, protocol in clients]

    served, connected = run(scenario)
    assert served == [["made", ("lost", "NoneType")]] * 2
    assert connected == [["made", "eof", ("lost", "NoneType")]] * 2


def test_arguments_that_cant_be_right() -> None:
    channels: dict[int, Any] = {}
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket() as stream:
        for kwargs in (
            {},
            {"host": "localhost"},
            {"host": "localhost", "port": 1, "sock": stream},
            {"sock": datagrams},
            {"sock": stream, "ssl": True},
            {"sock": stream, "server_hostname": "x"},
        ):
            with pytest.raises(ValueError):
                compat.create_connection(asyncio.Protocol, map=channels, **kwargs)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            compat.create_server(asyncio.Protocol, "127.0.0.1", 0, map=channels, ssl=True)
        with pytest.raises(ValueError):
            compat.create_server(asyncio.Protocol, sock=datagrams, map=channels)
        for options in (
            {},
            {"sock": stream},
            {"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 1)},
        ):
            with pytest.raises(ValueError):
                compat.create_datagram_endpoint(asyncio.DatagramProtocol, map=channels, **options)  # type: ignore[arg-type]
        stream.bind(("127.0.0.1", 0))
        stream.listen()
        with pytest.raises(OSError, match="can't listen at"):
            compat.create_server(
                *(asyncio.Protocol, "127.0.0.1", stream.getsockname()[1]), map=channels
            )
    assert channels == {}
    compat.event_loop(map=channels).close()
    with pytest.raises(AttributeError):
        compat.nothing_of_the_kind  # noqa: B018


def test_who_closes_the_map_closes_the_connections() -> None:
    async def scenario(makers: Makers) -> Any:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        server = await makers.serve(factory)
        _, _protocol = await makers.connect(factory, server.sockets[0].getsockname())
        while len(made) < 2:
            await asyncio.sleep(0.001)
        asynccore.close_all(makers.map)
        server.close()
        await server.wait_closed()
        return [each.log for each in made]

    assert under_classic_loop(scenario) == [["made", ("lost", "NoneType")]] * 2


def test_a_connect_that_nobody_waits_for_is_given_up() -> None:
    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(Recorder)
        future = compat.create_connection(
            Recorder, *server.sockets[0].getsockname(), map=makers.map
        )
        future.cancel()
        await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
        return len(makers.map)

    assert under_classic_loop(scenario) == 0
