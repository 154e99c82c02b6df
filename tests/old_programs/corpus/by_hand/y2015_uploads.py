"""Takes uploads: a name, a length, the bytes; `async` says whether to answer at once."""

import asynchat
import asyncore
import socket
import sys


def store(files, name, data, async=False):
    files[name] = data
    return b'later\n' if async else b'stored %d\n' % len(data)


class Upload(asynchat.async_chat):
    def __init__(self, sock, files):
        asynchat.async_chat.__init__(self, sock)
        self.files = files
        self.data = b''
        self.name = None
        self.set_terminator(b'\n')

    def collect_incoming_data(self, data):
        self.data += data

    def found_terminator(self):
        data, self.data = self.data, b''
        if self.name is None:
            self.name, size = data.split(b' ')
            self.set_terminator(int(size))
        else:
            self.push(store(self.files, self.name, data, async=len(data) > 5))
            self.name = None
            self.set_terminator(b'\n')


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.files = {}
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Upload(sock, self.files)


Server(int(sys.argv[1]))
asyncore.loop()
