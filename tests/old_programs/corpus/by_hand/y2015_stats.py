"""A page with numbers, for a browser; a thread keeps them."""

import asynchat
import asyncore
import cgi
import collections
import sys
import threading
import time


class Numbers(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.started_at = time.clock()
        self.values = {'<hits>': 0}

    def run(self):
        while True:
            time.sleep(60)


class Page(asynchat.async_chat):
    def __init__(self, sock, numbers):
        super().__init__(sock)
        self.numbers = numbers
        self.head = b''
        self.set_terminator(b'\r\n\r\n')

    def collect_incoming_data(self, data):
        self.head += data

    def found_terminator(self):
        values = self.numbers.values
        assert isinstance(values, collections.Mapping)
        values['<hits>'] += 1
        lines = ['%s=%d' % (cgi.escape(k), v) for k, v in values.items()]
        lines.append('alive=%s' % self.numbers.isAlive())
        self.push('\n'.join(lines).encode('utf-8'))
        self.close_when_done()


class Server(asyncore.dispatcher):
    def __init__(self, port):
        super().__init__()
        self.numbers = Numbers()
        self.numbers.start()
        self.create_socket()
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Page(sock, self.numbers)


Server(int(sys.argv[1]))
asyncore.loop()
