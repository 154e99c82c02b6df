#!/usr/bin/env python
"""An echo service: every byte that arrives goes back.

usage: echo_server.py [port]
"""

import asyncore
import socket
import sys


class Echo(asyncore.dispatcher_with_send):
    echoed = 0

    def handle_read(self):
        chunk = self.recv(4096)
        if chunk:
            self.echoed += len(chunk)
            self.send(chunk)

    def handle_close(self):
        print("goodbye after %d bytes" % self.echoed)
        self.close()


class Listener(asyncore.dispatcher):
    def __init__(self, address):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(address)
        self.listen(16)
        print("listening on %s:%d" % self.socket.getsockname())

    def writable(self):
        return False

    def handle_accept(self):
        accepted = self.accept()
        if accepted is None:
            return
        Echo(accepted[0])


if __name__ == "__main__":
    Listener(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7007))
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        print("stopped")
