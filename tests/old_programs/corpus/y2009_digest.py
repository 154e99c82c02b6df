"""Answers each block with its MD5, in hexadecimal, and counts who asked."""
import asyncore
import md5
import socket
import sys


class Digester(asyncore.dispatcher_with_send):
    counts = {}

    def __init__(self, sock, (host, port)):
        asyncore.dispatcher_with_send.__init__(self, sock)
        self.host = host
        self.counts.setdefault(host, 0)

    def handle_read(self):
        data = self.recv(8192)
        if data:
            self.counts[self.host] += 1
            self.send(md5.new(data).hexdigest() + '\n')

    def handle_close(self):
        for host, count in self.counts.iteritems():
            print host, count
        self.close()


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        Digester(*self.accept())


Server(int(sys.argv[1]))
asyncore.loop()
