"""Tells everybody how many are there, again and again."""
import asyncore
import asynchat
import socket
import sys

class Channel(asynchat.async_chat):
    everybody = []

    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator("\n")
        self.everybody.append(self)

    def collect_incoming_data(self, data):
        pass

    def found_terminator(self):
        self.close_when_done()

    def handle_close(self):
        self.everybody.remove(self)
        self.close()

class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(5)

    def handle_accept(self):
        Channel(self.accept()[0])

def tick():
    for channel in Channel.everybody:
        channel.push("%d here\n" % len(Channel.everybody))

Server(int(sys.argv[1]))
while 1:
    # one look at the network, then the clock
    asyncore.loop(timeout=0.05, count=1)
    tick()
