"""Why `ssl_ext.OpenSSLSocket` works on the socket and not on memory buffers: the two, compared.

    python -m benchmarks.tls_transport

Both ways carry the same messages over a socket pair in one thread, in turns, so that the ratio
holds on a busy machine; times are of the processor. Nothing of the package's own takes part.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable

import trustme
from OpenSSL import SSL

# What is read from the socket at once for the memory buffers: asyncio's size for the same.
_CHUNK = 262144

_ROUNDS = 7
_SIZES = {64: 2000, 1024: 2000, 16000: 500}


class Direct:
    """OpenSSL on the socket."""

    def __init__(self, context: SSL.Context, sock: socket.socket) -> None:
        self.connection = SSL.Connection(context, sock)

    def send(self, data: bytes) -> None:
        self.connection.send(data)

    def recv(self) -> bytes:
        return self.connection.recv(16384)

    def flush(self) -> None:
        pass


class Memory:
    """OpenSSL on memory buffers."""

    def __init__(self, context: SSL.Context, sock: socket.socket) -> None:
        self.connection = SSL.Connection(context, None)
        self.sock = sock

    def flush(self) -> None:
        try:
            while True:
                self.sock.send(self.connection.bio_read(_CHUNK))
        except SSL.WantReadError:
            pass

    def send(self, data: bytes) -> None:
        self.connection.send(data)
        self.flush()

    def recv(self) -> bytes:
        try:
            return self.connection.recv(16384)
        except SSL.WantReadError:
            self.connection.bio_write(self.sock.recv(_CHUNK))
            return self.connection.recv(16384)


def connected(kind: type[Direct] | type[Memory]) -> tuple[Direct | Memory, Direct | Memory]:
    """Return a client and a server of a kind, after their handshake."""
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server_context, client_context = SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_METHOD)
    authority.issue_cert("localhost").configure_cert(server_context)
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    client, server = kind(client_context, ours), kind(server_context, theirs)
    client.connection.set_connect_state()
    server.connection.set_accept_state()
    for _ in range(10):
        for end in (client, server):
            if isinstance(end, Memory):
                try:
                    end.connection.bio_write(end.sock.recv(_CHUNK))
                except BlockingIOError:
                    pass
            try:
                end.connection.do_handshake()
            except SSL.WantReadError:
                pass
            end.flush()
    return client, server


def echo(client: Direct | Memory, server: Direct | Memory, size: int, count: int) -> float:
    """Return the seconds of processor time for one message there and back."""
    data = b"x" * size
    before = time.process_time()
    for _ in range(count):
        for sender, receiver in ((client, server), (server, client)):
            sender.send(data)
            left = size
            while left:
                left -= len(receiver.recv())
    return (time.process_time() - before) / count


def memory(kind: type[Direct] | type[Memory], count: int = 200) -> float:
    """Return the resident bytes of one connection, both ends; Linux only, else 0."""

    def resident() -> int:
        try:
            with open("/proc/self/statm") as statm:
                return int(statm.read().split()[1]) * 4096
        except OSError:
            return 0

    connected(kind)
    before = resident()
    kept = [connected(kind) for _ in range(count)]
    for client, server in kept:
        echo(client, server, 16000, 1)
    return (resident() - before) / len(kept)


def main(write: Callable[[str], object] = sys.stdout.write) -> None:
    """Print the comparison."""
    pairs = [connected(Direct), connected(Memory)]
    write("message   on the socket   memory buffers   ratio\n")
    for size, count in _SIZES.items():
        rounds = [[echo(*pair, size, count) for pair in pairs] for _ in range(_ROUNDS)]
        best = [min(times) for times in zip(*rounds, strict=True)]
        write(
            f"{size:7}   {best[0] * 1e6:10.1f} us   {best[1] * 1e6:11.1f} us"
            f"   {best[1] / best[0]:.2f}\n"
        )
    # Each in a process of its own: what one has freed, the other would be given.
    for kind in (Direct, Memory):
        code = f"from benchmarks import tls_transport as t; print(t.memory(t.{kind.__name__}))"
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        write(f"{kind.__name__}: {float(child.stdout) / 1024:.0f} KiB for both ends\n")


if __name__ == "__main__":
    main()
