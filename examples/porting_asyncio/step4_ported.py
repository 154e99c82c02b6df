#!/usr/bin/env python
"""Notes that many people read and write, and a second port that says how many there are.

A client sends lines: "put NAME TEXT", "get NAME", "watch" (tell me what others put), "quit".
Notes are forgotten after some time.

usage: step4_ported.py [port [status port [seconds]]]
"""

import asyncio
import functools
import sys
import time


class Notes:
    def __init__(self, keep):
        self.keep = keep
        self.texts = {}
        self.watchers = []

    def put(self, name, text):
        self.texts[name] = (time.time(), text)
        for watcher in self.watchers:
            watcher.tell(b"* " + name + b" " + text)

    def get(self, name):
        return self.texts.get(name, (0, b"?"))[1]

    def forget_old(self):
        limit = time.time() - self.keep
        self.texts = dict(item for item in self.texts.items() if item[1][0] > limit)

    def summary(self):
        return b"%d notes, %d watchers" % (len(self.texts), len(self.watchers))

    def answer(self, client, line):
        """Return the answer to a line, None for "quit"."""
        command, _, rest = line.partition(b" ")
        if command == b"put":
            name, _, text = rest.partition(b" ")
            self.put(name, text)
            return b"ok"
        if command == b"get":
            return self.get(rest)
        if command == b"watch":
            self.watchers.append(client)
            return b"ok"
        if command == b"quit":
            return None
        return b"what?"

    def gone(self, client):
        if client in self.watchers:
            self.watchers.remove(client)


class Client(asyncio.Protocol):
    def __init__(self, notes):
        self.notes = notes
        self.line = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        *lines, self.line = (self.line + data).split(b"\r\n")
        for line in lines:
            answer = self.notes.answer(self, line)
            if answer is None:
                self.transport.close()
                break
            self.tell(answer)

    def tell(self, line):
        self.transport.write(line + b"\r\n")

    def connection_lost(self, why):
        self.notes.gone(self)


async def status(notes, reader, writer):
    writer.write(notes.summary() + b"\r\n")
    await writer.drain()
    writer.close()


async def forget_old(notes):
    while True:
        await asyncio.sleep(0.5)
        notes.forget_old()


async def main(port=7010, status_port=7011, keep=3600):
    notes = Notes(keep)
    loop = asyncio.get_running_loop()
    clients = await loop.create_server(functools.partial(Client, notes), "127.0.0.1", port)
    print("Client on port %d" % clients.sockets[0].getsockname()[1])
    answer = functools.partial(status, notes)
    server = await asyncio.start_server(answer, "127.0.0.1", status_port)
    print("Status on port %d" % server.sockets[0].getsockname()[1])
    try:
        await forget_old(notes)
    finally:
        clients.close()
        server.close()


if __name__ == "__main__":
    try:
        asyncio.run(main(*map(int, sys.argv[1:])))
    except KeyboardInterrupt:
        print("stopped")
