"""mlat-client: positions for clients that connect, and for a server that it connects to.

`PYTHONPATH=FOLDER asynccore run tests/field/programs/with_mlat_client.py`, FOLDER being its
checkout after `python setup.py build_ext --inplace` (docs/programs.md).
"""

import asyncore
import hashlib
import socket

from mlat.client.output import BasestationConnection, OutputConnector, OutputListener
from mlat.client.util import monotonic_time

PORT = 30777
listener = OutputListener(PORT, BasestationConnection)
sink = socket.create_server(("127.0.0.1", 0))
sink.settimeout(10)
connector = OutputConnector(sink.getsockname(), BasestationConnection)
clients = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(3)]


def turns(count):
    for _ in range(count):
        asyncore.loop(timeout=0.05, count=2)
        listener.heartbeat(monotonic_time())
        connector.heartbeat(monotonic_time())


def lines_of(sock):
    sock.settimeout(5)
    got = b""
    while got.count(b"\n") < 50:
        got += sock.recv(65536)
    # Without the times at which they were sent.
    return [b",".join(line.split(b",")[4:6] + line.split(b",")[10:]) for line in got.splitlines()]


connector.next_reconnect = monotonic_time() - 1
turns(6)
theirs, _ = sink.accept()
turns(6)
for number in range(50):
    for out in (listener, connector):
        out.send_position(
            *(
                1700000000 + number,
                0xABC000 + number,
                51.0 + number / 100,
                -1.0,
                30000,
                100,
                200,
                0,
            ),
            *("CALL%d" % number, "7000", 0.1, 4, False, False),  # noqa: UP031
        )
    turns(1)
clients[0].close()
turns(3)
for sock in (*clients[1:], theirs):
    found = lines_of(sock)
    print(len(found), found[-1], hashlib.sha256(b"\n".join(found)).hexdigest()[:12])
print(len(listener.output_channels))
listener.disconnect()
connector.disconnect()
turns(1)
print(len(asyncore.socket_map))
