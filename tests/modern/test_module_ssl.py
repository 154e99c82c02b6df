"""`ssl=True` and contexts of the module `ssl` mean what they mean to asyncio."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

import compat
from tests.modern.runners import OURS, Makers, PlainMakers, on_asyncio
from tests.modern.test_transports import Recorder
from tests.tls import support

same = pytest.mark.parametrize("run", [on_asyncio, *OURS], ids=lambda run: run.__name__)


async def dial(makers: Makers, factory: Any, address: Any, **options: Any) -> Any:
    if isinstance(makers, PlainMakers):
        return await compat.create_connection(factory, *address[:2], map=makers.map, **options)
    return await makers.loop.create_connection(factory, *address[:2], **options)


@same
@pytest.mark.parametrize("trusted", [True, False])
def test_the_environments_ca_file_counts(
    run: Any, trusted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trusted:
        support.authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    support.server_certificate().configure_cert(context)

    async def scenario(makers: Makers) -> Any:
        makers.catch_errors()
        server = await makers.serve(
            lambda: Recorder(lambda me, data: me.transport.write(data.upper())), ssl=context
        )
        address = server.sockets[0].getsockname()
        try:
            transport, protocol = await dial(
                makers, Recorder, address, ssl=True, server_hostname=support.HOST
            )
        except ssl.SSLCertVerificationError as why:
            return why.verify_message
        finally:
            server.close()
        transport.write(b"hello")
        while protocol.received != b"HELLO":
            await asyncio.sleep(0.001)
        found = [type(transport.get_extra_info(name)) for name in ("peercert", "ssl_object")]
        transport.close()
        await protocol.lost
        return found

    result = run(scenario)
    if trusted:
        assert result == [dict, ssl.SSLObject]
    else:
        assert "unable to get local issuer" in result


@pytest.mark.parametrize("run", OURS, ids=lambda run: run.__name__)
def test_a_descriptor_of_a_transport_is_not_for_readers(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        server = await makers.serve(Recorder)
        transport, protocol = await makers.connect(Recorder, server.sockets[0].getsockname())
        if isinstance(makers.loop, compat.ClassicLoop):
            with pytest.raises(RuntimeError):
                makers.loop.add_reader(transport.get_extra_info("socket").fileno(), print)
        transport.close()
        await protocol.lost
        server.close()

    run(scenario)


@same
def test_arguments_that_can_not_be_right(run: Any) -> None:
    async def scenario(makers: Makers) -> Any:
        with pytest.raises(ValueError):
            await makers.loop.create_server(Recorder)

    run(scenario)


def test_a_closed_loop_takes_no_handlers() -> None:
    loop = compat.ClassicLoop(map={})
    loop.close()
    with pytest.raises(RuntimeError):
        loop.add_signal_handler(10, print)
