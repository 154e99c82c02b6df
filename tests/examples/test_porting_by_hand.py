"""What docs/porting.md says about clients, lengths, pipes and TLS works."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.project.checkout import ROOT


@pytest.fixture
def by_hand() -> Any:
    path = ROOT / "examples" / "porting_by_hand.py"
    spec = importlib.util.spec_from_file_location("porting_by_hand", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_client_of_a_server_with_lengths(by_hand: Any) -> None:
    async def main() -> bytes:
        server = await asyncio.start_server(by_hand.messages, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (b"00", b"03ab", b"c0002", b"xy", b"00"):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        server.close()
        return answer

    assert asyncio.run(main()) == b"0003cba0002yx"


def test_a_client_is_told_what_came_until_the_end(by_hand: Any) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.readuntil(b"\n"))
        writer.close()

    async def main() -> bytes:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        answer: bytes = await by_hand.ask("127.0.0.1", port, b"ann\n")
        server.close()
        return answer

    assert asyncio.run(main()) == b"hello ann\n"


@pytest.mark.skipif(sys.platform == "win32", reason="a selector loop waits for no pipes there")
def test_a_pipe(by_hand: Any) -> None:
    async def main() -> bytes:
        read, write = os.pipe()
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        transport = await by_hand.watch(os.fdopen(read, "rb", 0), told.set_result)
        os.write(write, b"news")
        data = await told
        transport.close()
        os.close(write)
        return data

    assert asyncio.run(main()) == b"news"


def test_tls_is_one_argument_more(by_hand: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    identity = authority.issue_cert("localhost")
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    identity.cert_chain_pems[0].write_to_path(certificate)
    identity.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def main() -> bytes:
        server = await by_hand.serve_messages(0, certificate, key)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname="localhost"
        )
        writer.write(b"0003abc")
        answer = await reader.readexactly(7)
        writer.close()
        await writer.wait_closed()
        server.close()
        return answer

    assert asyncio.run(main()) == b"0003cba"
