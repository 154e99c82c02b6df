"""Upper-cases lines, within bounds; there is nothing here to find."""

import asynchat
import asyncore
import logging
import sys


class Session(asynchat.async_chat):
    def __init__(self, sock, map=None):
        super().__init__(sock, map=map)
        self.set_terminator(b'\r\n')
        self.parts = []
        self.size = 0

    def collect_incoming_data(self, data):
        self.size += len(data)
        if self.size > 1000:
            self.push(b'too long\r\n')
            self.close_when_done()
        else:
            self.parts.append(data)

    def found_terminator(self):
        line = b''.join(self.parts)
        self.parts, self.size = [], 0
        if line.startswith(b'!'):
            self.push(b'bye\r\n')
            self.close_when_done()
        else:
            logging.info('line: %r', line)
            self.push(line.upper() + b'\r\n')

    def handle_error(self):
        logging.exception('session')
        self.close()


class Server(asyncore.dispatcher):
    def __init__(self, port):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Session(sock)


if __name__ == '__main__':
    Server(int(sys.argv[1]))
    asyncore.loop()
