"""Hands out a quote with its number; a number beyond the last one is an error."""
import sys, string, socket, types
import asyncore

QUOTES = ['Simple is better.', 'Flat is better.', "Readability counts."]
MOST = sys.maxint

class quote_channel (asyncore.dispatcher):

    def __init__ (self, conn, addr):
        asyncore.dispatcher.__init__ (self, conn)
        self.buffer = ''

    def handle_read (self):
        data = self.recv (64)
        if not data:
            return
        try:
            number = string.atoi (string.strip (data))
            if number > MOST or number >= len (QUOTES):
                raise IndexError, 'too large'
            quote = QUOTES[number]
        except (ValueError, IndexError), why:
            quote = 'error'
        if type (quote) is types.StringType:
            self.buffer = string.zfill (len (quote), 4) + ' ' + quote + '\r\n'

    def writable (self):
        return self.buffer <> ''

    def handle_write (self):
        sent = self.send (self.buffer)
        self.buffer = self.buffer[sent:]

    def handle_close (self):
        self.close()

class quote_server (asyncore.dispatcher):

    def __init__ (self, port):
        asyncore.dispatcher.__init__ (self)
        self.create_socket (socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind (('127.0.0.1', port))
        self.listen (5)

    def handle_accept (self):
        conn, addr = self.accept()
        quote_channel (conn, addr)

quote_server (int (sys.argv[1]))
asyncore.loop()
