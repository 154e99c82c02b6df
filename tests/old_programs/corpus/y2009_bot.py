"""A bot that answers PING and commands; commands are methods found by name."""
import asynchat
import asyncore
import socket
import sys
import time


class Bot(asynchat.async_chat):
    def __init__(self, sock, nick):
        asynchat.async_chat.__init__(self, sock)
        self.nick = nick
        self.buffer = ''
        self.set_terminator('\r\n')
        self.write('NICK %s' % nick)

    def write(self, text):
        self.push(text + '\r\n')

    def collect_incoming_data(self, data):
        self.buffer += data

    def found_terminator(self):
        line = self.buffer
        self.buffer = ''
        try:
            command, argument = line.split(' ', 1)
        except ValueError:
            command, argument = line, ''
        handler = getattr(self, 'do_' + command.lower(), None)
        if handler is None:
            print >>sys.stderr, 'ignored:', `line`
            return
        handler(argument)

    def do_ping(self, argument):
        self.write('PONG ' + argument)

    def do_nick(self, argument):
        if argument.startswith(':'):
            argument = argument[1:]
        self.nick = argument
        self.write('NICK %s' % self.nick)

    def do_wait(self, argument):
        time.sleep(float(argument))
        self.write('waited')


class Server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        sock, addr = self.accept()
        Bot(sock, 'bot')


if __name__ == '__main__':
    Server(int(sys.argv[1]))
    asyncore.loop()
