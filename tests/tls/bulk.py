"""`python -m tests.tls.bulk [MEGABYTES]`: so much both ways at once, with pauses by chance.

What arrives is compared by its hash. By default it is 256 MB in each direction, for each version
of TLS, and the exit status is 1 if anything is missing. The tests do the same with less.
"""

from __future__ import annotations

import hashlib
import random
import socket
import sys
from typing import Any

from asynccore import ChannelMap, call_later, loop
from tests.tls.support import HOST, VERSIONS, client_raw, server_raw
from tests.tls.wire import Noting, connected_pair

# The most that is sent at one time, in bytes: several records, and one more.
LARGEST = 100_000

# Of so many pieces one is followed by a pause, or by one in reading.
PAUSES = 40


class Mover(Noting):
    """Sends pieces of all sizes until all is sent, and hashes what it gets."""

    total = 0
    sent = 0
    received = 0

    def prepare(self, total: int, seed: int) -> None:
        self.total = total
        self.chance = random.Random(seed)
        self.source = self.chance.randbytes(1 << 20)
        self.said, self.heard = hashlib.sha256(), hashlib.sha256()
        self.resting = False

    def writable(self) -> Any:
        return super().writable() or (self.sent < self.total and not self.resting)

    def handle_write(self) -> None:
        super().handle_write()
        if self.out_buffer or self.sent == self.total or self.resting or not self.tls_version:
            return
        size = min(self.chance.randint(1, LARGEST), self.total - self.sent)
        begin = self.chance.randrange(len(self.source) - size)
        piece = self.source[begin : begin + size]
        self.said.update(piece)
        self.sent += size
        self.send(piece)
        if not self.chance.randrange(PAUSES):
            self.resting = True
            call_later(self.chance.random() / 1000, self.wake, map=self._map)

    def wake(self) -> None:
        self.resting = False
        self.touch()

    def handle_read(self) -> None:
        data = self.recv(self.chance.randint(1, LARGEST))
        self.heard.update(data)
        self.received += len(data)
        if not self.chance.randrange(PAUSES):
            self.pause_reading()
            call_later(self.chance.random() / 1000, self.resume_reading, map=self._map)


def move(version: int, total: int, poller: str | None = None, seed: int = 0) -> None:
    """Send `total` bytes in each direction. Raises `AssertionError` unless they arrive."""
    channels = ChannelMap()
    ours, theirs = connected_pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # so that much is held back
    client = Mover(ours, channels, context=client_raw(version), server_hostname=HOST)
    server = Mover(theirs, channels, context=server_raw(version), server_side=True)
    client.prepare(total, seed)
    server.prepare(total, seed + 1)
    while client.received < total or server.received < total:
        assert len(channels) == 2, (client.log, server.log)
        loop(timeout=60.0, map=channels, count=1, poller=poller)
    client.close()
    while channels:
        loop(timeout=60.0, map=channels, count=1, poller=poller)
    assert server.log == ["handshake", "close"] and client.log == ["handshake"]
    assert client.heard.digest() == server.said.digest()
    assert server.heard.digest() == client.said.digest()


def main() -> int:
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    for name, version in VERSIONS.items():
        try:
            move(version, megabytes << 20)
        except AssertionError as why:
            print(f"{name}: {why}")
            return 1
        print(f"{name}: {megabytes} MB each way, all of it the same", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
