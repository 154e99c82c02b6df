"""WSGI: a blocking application by waitress, whose channels are in asyncore's own map.

asynccore run examples/gallery/wsgi_server.py [port [legacy port]]
"""

import asyncore
import threading

import waitress

from common import LineServer, announce, run


class Guestbook:
    """Runs in waitress's threads: what it shares with the loop is guarded."""

    def __init__(self):
        self.entries = []
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        with self.lock:
            if environ["REQUEST_METHOD"] == "POST":
                self.entries.append(environ["wsgi.input"].read().decode())
            text = "".join(f"{entry}\n" for entry in self.entries)
        body = text.encode()
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    def last(self, line):
        with self.lock:
            return self.entries[-1] if self.entries else "nothing yet"


def start(port=8003, legacy_port=7003):
    guestbook = Guestbook()
    LineServer("wsgi_server", legacy_port, guestbook.last)
    server = waitress.create_server(
        guestbook,
        host="127.0.0.1",
        port=port,
        threads=8,
        map=asyncore.socket_map,
        connection_limit=10_000,  # of all that is in the map, other servers' as well
    )
    announce("wsgi_server", server.effective_port)


if __name__ == "__main__":
    run(start)
