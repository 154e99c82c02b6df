#!/usr/bin/env python
"""What `asynccore port` leaves to you, on asyncio: a client, lengths before messages, a pipe, TLS."""

import asyncio
import ssl


class Asker(asyncio.Protocol):
    def __init__(self, question, answer):
        self.question = question
        self.answer = answer
        self.data = b""

    def connection_made(self, transport):
        transport.write(self.question)

    def data_received(self, data):
        self.data += data

    def connection_lost(self, why):
        self.answer.set_result(self.data)


async def ask(host, port, question):
    loop = asyncio.get_running_loop()
    answer = loop.create_future()
    await loop.create_connection(lambda: Asker(question, answer), host, port)
    return await answer


async def messages(reader, writer):
    while True:
        try:
            length = int(await reader.readexactly(4))
            message = await reader.readexactly(length)
        except asyncio.IncompleteReadError:
            break
        writer.write(b"%04d" % length + message[::-1])
        await writer.drain()
    writer.close()


class Pipe(asyncio.Protocol):
    def __init__(self, told):
        self.told = told

    def data_received(self, data):
        self.told(data)


async def watch(file, told):
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: Pipe(told), file)
    return transport


async def serve_messages(port, certificate, key):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return await asyncio.start_server(messages, "127.0.0.1", port, ssl=context)
