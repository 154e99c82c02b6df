"""Handlers that await: a login, and an upload that takes the connection: `login.py PORT`."""

from __future__ import annotations

import asyncio
import sys

import asynccore
import compat
from asynccore import asynchat


class Session(asynchat.line_chat):
    def handle_line(self, line: bytes) -> None:
        if line == b"login":
            compat.converse(self, self.login())
        elif line == b"upload":
            compat.converse(self, self.upload())
        elif line == b"quit":
            self.push(b"bye\n")
            self.close_when_done()
        else:
            self.push(b"you said " + line + b"\n")

    async def login(self) -> None:
        self.push(b"name?\n")
        name = await compat.read_line(self)
        self.push(b"password?\n")
        password = await compat.read_line(self)
        await asyncio.sleep(0.01)  # a database
        self.push(b"welcome " + name + b" " + b"*" * len(password) + b"\n")
        await compat.drain(self)

    async def upload(self) -> None:
        reader, writer = compat.to_streams(self)
        writer.write(b"how many bytes?\n")
        data = await reader.readexactly(int(await reader.readline()))
        writer.write(b"sum %d\n" % sum(data))
        await writer.drain()
        compat.to_channel(writer, type(self)(None, self._map))


if __name__ == "__main__":
    asynccore.listener(("127.0.0.1", int(sys.argv[1])), Session)
    asynccore.loop()
