"""FTP: pyftpdlib, which is built on asynchat; its own loop is one channel of ours.

asynccore run examples/gallery/ftp_server.py [port [legacy port]]

Serves a new folder, user "ann" with the password "secret"; the legacy server lists what is in it.
"""

import asyncore
import logging
import os

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

import asynccore
from common import LineServer, announce, new_folder, run


class Turns(asyncore.file_dispatcher):
    """Gives pyftpdlib's loop a turn when one of its connections is ready.

    Its poller has a descriptor, as epoll and kqueue do, which can be waited for as any other.
    """

    def __init__(self, loop):
        asyncore.file_dispatcher.__init__(self, loop.fileno())
        self.loop = loop
        asynccore.call_every(1.0, self.handle_read)  # for its timeouts

    def writable(self):
        return False

    def handle_read(self):
        self.loop.loop(timeout=0, blocking=False)


def start(port=8021, legacy_port=7021):
    logging.basicConfig(level=logging.WARNING)
    folder = new_folder()
    authorizer = DummyAuthorizer()
    authorizer.add_user("ann", "secret", folder, perm="elradfmwMT")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer})
    loop = IOLoop()
    server = FTPServer(("127.0.0.1", port), handler, ioloop=loop)
    Turns(loop)
    LineServer("ftp_server", legacy_port, lambda line: " ".join(sorted(os.listdir(folder))))
    announce("ftp_server", server.address[1])


if __name__ == "__main__":
    run(start)
