"""A very small web server."""
import sys, os, socket, string, urllib, StringIO
import asyncore, asynchat

PAGES = {'/': '<h1>It works</h1>\n', '/a b': 'spaces\n'}

class http_channel(asynchat.async_chat):

    def __init__(self, server, conn, addr):
        asynchat.async_chat.__init__(self, conn)
        self.server = server
        self.header = StringIO.StringIO()
        self.set_terminator('\r\n\r\n')

    def __repr__(self):
        return '<http_channel at %s>' % `id(self)`

    def collect_incoming_data(self, data):
        self.header.write(data)

    def found_terminator(self):
        lines = string.split(self.header.getvalue(), '\r\n')
        self.header = StringIO.StringIO()
        method, uri, version = string.split(lines[0])
        path = urllib.unquote(uri)
        if method <> 'GET':
            self.reply(501, 'Not Implemented', '')
        elif PAGES.has_key(path):
            self.reply(200, 'OK', PAGES[path])
        else:
            self.reply(404, 'Not Found', path + '\n')

    def reply(self, code, words, body):
        self.push('HTTP/1.0 %d %s\r\n' % (code, words))
        self.push('Content-Length: ' + `len(body)` + '\r\n\r\n')
        self.push(body)
        self.server.hits = self.server.hits + 1L
        self.close_when_done()

class http_server(asyncore.dispatcher):
    hits = 0L

    def __init__(self, ip, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((ip, port))
        self.listen(1024)

    def handle_accept(self):
        try:
            conn, addr = self.accept()
        except socket.error, why:
            sys.stderr.write('accept: %s\n' % why)
            return
        http_channel(self, conn, addr)

http_server('127.0.0.1', int(sys.argv[1]))
asyncore.loop()
