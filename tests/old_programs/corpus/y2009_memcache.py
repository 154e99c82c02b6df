"""A cache with a line protocol and values by length."""
import asynchat
import asyncore
import socket
import sys


class Session(asynchat.async_chat):
    cache = {}

    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.data = []
        self.key = None
        self.set_terminator('\r\n')

    def collect_incoming_data(self, data):
        self.data.append(data)

    def found_terminator(self):
        data = ''.join(self.data)
        self.data = []
        if self.key is not None:
            self.cache[self.key] = data
            self.key = None
            self.set_terminator('\r\n')
            self.push('STORED\r\n')
            return
        words = data.split()
        if not words:
            return
        if words[0] == 'set':
            self.key = words[1]
            self.set_terminator(int(words[2]))
        elif words[0] == 'get' and self.cache.has_key(words[1]):
            value = self.cache[words[1]]
            self.push('VALUE %s %d\r\n' % (words[1], len(value)))
            self.push(value + '\r\nEND\r\n')
        else:
            self.push('ERROR\r\n')


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        sock, addr = self.accept()
        Session(sock)


Server(int(sys.argv[1]))
asyncore.loop()
