"""Lines in capitals over TLS; ends each connection at 'bye'."""

import asynchat
import asyncore
import ssl
import sys


class Channel(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b'\n')
        self.line = b''

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        line, self.line = self.line, b''
        self.push(line.upper() + b'\n')
        if line == b'bye':
            self.close_when_done()


class Server(asyncore.dispatcher):
    def __init__(self, port, cert, key):
        super().__init__()
        self.cert, self.key = cert, key
        self.create_socket()
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        sock.setblocking(True)
        secure = ssl.wrap_socket(sock, server_side=True, certfile=self.cert, keyfile=self.key)
        Channel(secure)


if __name__ == '__main__':
    Server(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    asyncore.loop()
