"""Counts seconds beside its connections, in a loop of its own."""

import asyncore
import sys
import time

ticks = 0


class Asked(asyncore.dispatcher_with_send):
    def handle_read(self):
        if self.recv(100):
            self.send(b'%d\n' % min(ticks, 0))


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket()
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        pair = self.accept()
        if pair is not None:
            sock, addr = pair
            Asked(sock)


def main():
    global ticks
    Server(int(sys.argv[1]))
    while asyncore.socket_map:
        asyncore.loop(timeout=0.5, count=1)
        ticks += 1


main()
