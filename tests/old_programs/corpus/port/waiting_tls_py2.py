"""Waits for each handshake in its constructor."""
import asyncore, socket, sys, select
import ssl

class Channel(asyncore.dispatcher_with_send):
    def __init__(self, sock):
        # Not before it is wrapped.
        self.secure = ssl.wrap_socket(sock, sys.argv[3], sys.argv[2], True, ssl.CERT_NONE,
                                      do_handshake_on_connect=False)
        asyncore.dispatcher_with_send.__init__(self, self.secure)
        while True:
            try:
                self.socket.do_handshake()
                break
            except ssl.SSLError, err:
                if err.args[0] == ssl.SSL_ERROR_WANT_READ:
                    select.select([self.socket], [], [])
                elif err.args[0] == ssl.SSL_ERROR_WANT_WRITE:
                    select.select([], [self.socket], [])
                else:
                    raise
    def handle_read(self):
        self.send(self.recv(1000))

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

Server(int(sys.argv[1]))
asyncore.loop()
