"""HTTP client: a legacy server that is given URLs, and fetches them by aiohttp meanwhile.

asynccore run examples/gallery/http_client.py [port]
"""

import asynchat
import asyncore

import aiohttp

from common import announce, run, spawn


class Fetcher(asynchat.async_chat):
    """Gets a URL in each line, and tells status and length of each as they come."""

    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator(b"\n")
        self.session = None

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        spawn(self.fetch(self._get_data().decode().strip()))

    async def fetch(self, url):
        if self.session is None:
            self.session = aiohttp.ClientSession()
        try:
            async with self.session.get(url) as response:
                body = await response.read()
            self.push(f"{url} {response.status} {len(body)}\r\n".encode())
        except aiohttp.ClientError as why:
            self.push(f"{url} {type(why).__name__}\r\n".encode())

    def handle_close(self):
        self.close()
        if self.session is not None:
            spawn(self.session.close())


class Listener(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket()
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(16)
        announce("http_client", self.socket.getsockname()[1])

    def handle_accepted(self, sock, addr):
        Fetcher(sock)


def start(port=7002):
    Listener(port)


if __name__ == "__main__":
    run(start)
