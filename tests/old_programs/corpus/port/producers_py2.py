"""Sends the same text in four ways."""
import asyncore, asynchat, socket, sys, StringIO

class lines_producer:
    def __init__(self, text):
        self.file = StringIO.StringIO(text)
    def more(self):
        line = self.file.readline()
        if not line:
            return ''
        return '> ' + line

class channel(asynchat.async_chat):
    def __init__(self, sock):
        asynchat.async_chat.__init__(self, sock)
        self.set_terminator('\n')
    def push(self, text):
        asynchat.async_chat.push(self, text + '\n')
    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)
    def found_terminator(self):
        text = self._get_data()
        if self.get_terminator() == '\n':
            self.push(text)
        self.push_with_producer(asynchat.simple_producer(text + '\n', 2))
        self.push_with_producer(lines_producer(text + '\n'))
        self.socket.send('')

class server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)
    def handle_accept(self):
        sock, addr = self.accept()
        sock.send('hello\n')
        channel(sock)

server(int(sys.argv[1]))
asyncore.loop()
