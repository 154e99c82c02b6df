"""Commands are functions, whose parameters say what they need."""

import asynchat
import asyncore
import inspect
import sys


def add(a, b):
    return int(a) + int(b)


def echo(text):
    return text


COMMANDS = {'add': add, 'echo': echo}


class Session(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator(b'\n')
        self.line = b''

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        words = self.line.decode('utf-8').split()
        self.line = b''
        function = COMMANDS.get(words[0]) if words else None
        if function is None:
            self.push(b'no such command\n')
        elif len(inspect.getargspec(function).args) != len(words) - 1:
            self.push(b'wrong number\n')
        else:
            self.push('{}\n'.format(function(*words[1:])).encode('utf-8'))


class Server(asyncore.dispatcher):
    def __init__(self, port):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Session(sock)


Server(int(sys.argv[1]))
asyncore.loop()
