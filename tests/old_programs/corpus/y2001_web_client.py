"""Fetches pages, some at a time."""
import sys, socket, asyncore

class http_client(asyncore.dispatcher):
    def __init__(self, (host, port), path):
        asyncore.dispatcher.__init__(self)
        self.path = path
        self.data = ''
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect((host, port))
        self.buffer = 'GET %s HTTP/1.0\r\n\r\n' % path

    def handle_connect(self):
        pass

    def handle_read(self):
        self.data = self.data + self.recv(8192)

    def writable(self):
        return len(self.buffer) > 0

    def handle_write(self):
        sent = self.send(self.buffer)
        self.buffer = self.buffer[sent:]

    def handle_close(self):
        self.close()
        head, body = self.data.split('\r\n\r\n', 1)
        print self.path, len(body), body

for page in '/one', '/two':
    http_client(('127.0.0.1', int(sys.argv[1])), page)
asyncore.loop()
