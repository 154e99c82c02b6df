"""`python -m tests.instances.load HOST CA CLIENTS CONNECTIONS`: clients that talk by TLS.

They go on until the standard input ends and there were as many connections, and then print what
they have seen, as JSON. A first line says that the first of them were served.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import sys
import threading
from collections import Counter

from tests.tls.support import HOST

PORT = 8080
PATIENCE = 30.0  # seconds that nothing takes, unless it is lost
MOST_LINES = 60  # that one connection asks


class Load:
    """What all clients share."""

    def __init__(self, host: str, ca: str, connections: int) -> None:
        self.host = host
        self.connections = connections
        self.context = ssl.create_default_context(cafile=ca)
        self.stop = threading.Event()
        self.under_way = threading.Event()
        self.lock = threading.Lock()
        self.count = 0
        self.answered_by: Counter[str] = Counter()
        self.failures: list[str] = []

    def client(self, seed: int) -> None:
        """Connect again and again."""
        chosen = random.Random(seed)
        while not (self.stop.is_set() and self.count >= self.connections):
            stage = "connect"
            try:
                with socket.create_connection((self.host, PORT), PATIENCE) as plain:
                    stage = "handshake"
                    own = plain.getsockname()[0]
                    with self.context.wrap_socket(plain, server_hostname=HOST) as sock:
                        with sock.makefile("rb") as file:
                            for line in range(chosen.randint(1, MOST_LINES)):
                                stage = f"line {line}"
                                sock.sendall(b"who am I?\n")
                                address, name = file.readline().decode().split()
                                if address != own:
                                    raise ValueError(f"taken for {address}")
                with self.lock:
                    self.answered_by[name] += 1
            except (OSError, ValueError) as why:
                with self.lock:
                    self.failures.append(f"{stage}: {why!r}")
            with self.lock:
                self.count += 1
                if self.count >= 20:
                    self.under_way.set()


def main(host: str, ca: str, clients: int, connections: int) -> None:
    """Run the clients."""
    load = Load(host, ca, connections)
    threads = [threading.Thread(target=load.client, args=(seed,)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    load.under_way.wait()
    print("under way", flush=True)
    sys.stdin.read()
    load.stop.set()
    for thread in threads:
        thread.join()
    found = {"answered_by": dict(load.answered_by), "failures": load.failures}
    print(json.dumps({"connections": load.count, **found}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
