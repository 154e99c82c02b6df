"""Protocols of asyncio and Twisted on a classic loop that waits in a host (`--engine`).

A program that calls `compat.create_server`, `run_coroutine` or `install_reactor` does not know
which engine it is run with.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A client talks to three servers in turn, in a task; the last answer ends the loop.
PROGRAM = """\
import asyncio
import sys

import asyncore
import compat

with_twisted = sys.argv[1:] == ["twisted"]
if with_twisted:
    reactor = compat.install_reactor()


class Legacy(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket()
        self.bind(("127.0.0.1", 0))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Echo(sock)


class Echo(asyncore.dispatcher_with_send):
    def handle_read(self):
        self.send(self.recv(100))


class Modern(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def ask(ports):
    for name, port in ports.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(name.encode())
        print((await reader.readexactly(len(name))).decode())
        writer.close()
        await asyncio.sleep(0.001)
    print(await asyncio.to_thread(lambda: "thread"))


legacy = Legacy()
server = compat.create_server(Modern, "127.0.0.1", 0)
ports = {
    "legacy": legacy.socket.getsockname()[1],
    "asyncio": server.sockets[0].getsockname()[1],
}
if with_twisted:
    from twisted.internet import protocol

    class TwistedEcho(protocol.Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    factory = protocol.Factory.forProtocol(TwistedEcho)
    ports["twisted"] = reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
task = compat.run_coroutine(ask(ports))
task.add_done_callback(lambda done: asyncore.close_all())
asyncore.loop()
task.result()
print("over")
"""

ENGINES = ("asyncio", "uvloop", "twisted")


@pytest.mark.parametrize("protocols", ["asyncio", "twisted"])
@pytest.mark.parametrize("engine", ENGINES)
def test_protocols_are_served_whatever_the_loop_waits_in(
    engine: str, protocols: str, tmp_path: Path
) -> None:
    for needed in {engine, protocols} - {"asyncio"}:
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "asynccore", "run", "--engine", engine, str(script), protocols],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    answers = ["legacy", "asyncio", *(["twisted"] if protocols == "twisted" else []), "thread"]
    assert (done.stdout.split(), done.stderr) == ([*answers, "over"], "")


def test_a_loop_within_the_hosts_own_coroutine_still_says_so() -> None:
    """The host would have to wait for itself, whether the map has a loop of asyncio's or not."""
    program = """if True:
        import asyncio
        import asyncore
        import compat

        host = asyncio.new_event_loop()
        asyncio.set_event_loop(host)
        compat.create_server(asyncio.Protocol, "127.0.0.1", 0)

        async def main():
            try:
                asyncore.loop(timeout=0, count=1)
            except RuntimeError as why:
                print(why)

        host.run_until_complete(main())
        asyncore.close_all()
        host.close()
    """
    done = subprocess.run(
        [sys.executable, "-m", "asynccore", "run", "--engine", "asyncio", "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "wait for itself" in done.stdout, done
