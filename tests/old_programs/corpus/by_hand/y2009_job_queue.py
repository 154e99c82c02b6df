"""Squares numbers in a thread, and answers when they are ready."""
import asynchat
import asyncore
import Queue
import socket
import sys
import threading

jobs = Queue.Queue()


def worker():
    while True:
        channel, number = jobs.get()
        channel.push('%d\n' % (number * number))


class Channel(asynchat.async_chat):
    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator('\n')
        self.line = []

    def collect_incoming_data(self, data):
        self.line.append(data)

    def found_terminator(self):
        line, self.line = ''.join(self.line), []
        try:
            jobs.put((self, int(line)))
        except ValueError, e:
            self.push('error: %s\n' % e)


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        sock, addr = self.accept()
        Channel(sock)


thread = threading.Thread(target=worker)
thread.setDaemon(True)
thread.start()
Server(int(sys.argv[1]))
asyncore.loop(1)
