"""A client that connects again and again, ever later: `reconnecting_client.py HOST PORT`."""

from __future__ import annotations

import random
import sys

import asynccore
from asynccore import asynchat


class Client(asynchat.line_chat):
    connect_timeout = 1.0
    idle_timeout = 30.0
    first, most = 0.1, 2.0  # seconds

    def __init__(self, host: str, port: int, tries: int = 6) -> None:
        super().__init__()
        self.address, self.tries, self.delay = (host, port), tries, self.first
        self.dial()

    def dial(self) -> None:
        self.tries -= 1
        self.connect_name(*self.address)

    def handle_connect(self) -> None:
        print("up", self.addr, flush=True)
        self.delay = self.first
        self.push(b"hello\n")

    def handle_line(self, line: bytes) -> None:
        print("got", line, flush=True)

    def handle_connect_error(self, exc: OSError) -> None:
        self.close()

    def handle_closed(self, exc: BaseException | None = None) -> None:
        if not self.tries:
            print("giving up:", exc, flush=True)
            return
        print("down:", exc, flush=True)
        self.call_later(self.delay * random.uniform(0.5, 1.0), self.dial)
        self.delay = min(self.delay * 2, self.most)


if __name__ == "__main__":
    Client(sys.argv[1], int(sys.argv[2]))
    asynccore.loop(until_idle=True)
