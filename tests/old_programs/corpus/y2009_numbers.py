"""Length-prefixed messages: four digits, then so many bytes; answered reversed."""

import asynchat
import asyncore
import socket
import sys


class Framed(asynchat.async_chat):
    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.parts = []
        self.reading_length = True
        self.set_terminator(4)

    def collect_incoming_data(self, data):
        self.parts.append(data)

    def found_terminator(self):
        data = ''.join(self.parts)
        self.parts = []
        if self.reading_length:
            self.set_terminator(int(data))
        else:
            answer = ''.join(reversed(data))
            self.push('%04d' % len(answer))
            self.push(answer)
            self.set_terminator(4)
        self.reading_length = not self.reading_length


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        sock, addr = self.accept()
        print 'connection from %s:%d' % addr
        Framed(sock)


if __name__ == '__main__':
    Server(int(sys.argv[1]))
    asyncore.loop(timeout=1, use_poll=True)
