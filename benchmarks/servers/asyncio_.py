"""asyncio's Protocol, as it is or with smaller receives."""

from __future__ import annotations

import asyncio
import platform

from benchmarks.servers import common, timers


class _Base(asyncio.Protocol):
    receive_size: int | None = None
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        if self.receive_size is not None:
            # The selector transport's own attribute. Its 256 KiB make glibc's malloc go to
            # mmap for each receive (https://github.com/python/cpython/issues/85451).
            transport.max_size = self.receive_size  # type: ignore[attr-defined]


class Echo(_Base):
    """Sends back what comes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Stream(_Base):
    """Answers ``TOTAL CHUNK`` with that many bytes."""

    def data_received(self, data: bytes) -> None:
        for piece in common.pieces(data):
            self.transport.write(piece)


class Lines(_Base):
    """Sends back each line."""

    rest = b""

    def data_received(self, data: bytes) -> None:
        *whole, self.rest = (self.rest + data).split(b"\n")
        for line in whole:
            self.transport.write(line + b"\n")


class Fair(Lines):
    """Sends back each line, and the bytes that a line asks for."""

    def data_received(self, data: bytes) -> None:
        if data.startswith(common.PUSH):
            self.transport.write(common.payload(int(data[len(common.PUSH) :])))
        else:
            super().data_received(data)


class Counted(_Base):
    """Sends back messages that begin with their length."""

    rest = b""

    def data_received(self, data: bytes) -> None:
        data = self.rest + data
        at, size = 0, len(data)
        while size - at >= common.HEAD:
            end = at + common.HEAD + int.from_bytes(data[at : at + common.HEAD], "big")
            if end > size:
                break
            self.transport.write(data[at:end])
            at = end
        self.rest = data[at:]


async def stream_of_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The same with asyncio's streams."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def stream_of_messages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The messages with asyncio's streams."""
    try:
        while True:
            head = await reader.readexactly(common.HEAD)
            writer.write(head + await reader.readexactly(int.from_bytes(head, "big")))
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


PROTOCOLS: dict[str, type[_Base]] = {
    "echo": Echo,
    "stream": Stream,
    "lines": Lines,
    "counted": Counted,
    "fair": Fair,
}
STREAMS = {"lines": stream_of_lines, "counted": stream_of_messages}


def protocol_class(options: common.Options) -> type[_Base]:
    """The Protocol class for the role, with the receive size asked for."""
    chosen = PROTOCOLS[options.role]
    chosen.receive_size = options.receive_size
    return chosen


async def serve(options: common.Options, version: str) -> None:
    """Listen, announce, serve until killed."""
    if options.streams:
        served = await asyncio.start_server(
            STREAMS[options.role], common.HOST, options.port, backlog=common.BACKLOG
        )
        common.announce(served.sockets[0].getsockname()[1], version)
        await served.serve_forever()
    server = await asyncio.get_running_loop().create_server(
        protocol_class(options), common.HOST, options.port, backlog=common.BACKLOG
    )
    common.announce(server.sockets[0].getsockname()[1], version)
    await server.serve_forever()


if __name__ == "__main__":
    chosen, python = common.parse(), f"Python {platform.python_version()}"
    if chosen.role == "timers":
        timers.on_asyncio(asyncio.new_event_loop(), python)
    else:
        asyncio.run(serve(chosen, python))
