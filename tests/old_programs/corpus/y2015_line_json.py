"""JSON lines in, JSON lines out. Worked in Python 2, then 'ported'."""

import asynchat
import asyncore
import json
import socket
import sys


class JsonChannel(asynchat.async_chat):
    def __init__(self, sock):
        super().__init__(sock)
        self.set_terminator('\n')
        self.buffer = []

    def collect_incoming_data(self, data):
        self.buffer.append(data)

    def found_terminator(self):
        request = json.loads(''.join(self.buffer))
        self.buffer = []
        if request['op'] == 'add':
            self.reply({'result': sum(request['args'])})
        else:
            self.reply({'error': 'unknown'})

    def reply(self, value):
        self.push(json.dumps(value, sort_keys=True) + '\n')


class JsonServer(asyncore.dispatcher):
    def __init__(self, port):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        JsonChannel(sock)


if __name__ == '__main__':
    JsonServer(int(sys.argv[1]))
    asyncore.loop()
