"""Echo over TLS, the handshake by hand. CERT and KEY are files in PEM form."""

import asyncore
import socket
import ssl
import sys

PORT, CERT, KEY = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class SecureEcho(asyncore.dispatcher_with_send):
    def __init__(self, conn):
        asyncore.dispatcher_with_send.__init__(self, conn)
        self.socket = ssl.wrap_socket(conn, server_side=True, certfile=CERT, keyfile=KEY,
                                      do_handshake_on_connect=False)
        self.handshaking = True

    def readable(self):
        if isinstance(self.socket, ssl.SSLSocket) and not self.handshaking:
            while self.socket.pending() > 0:
                self.handle_read_event()
        return True

    def handshake(self):
        try:
            self.socket.do_handshake()
        except ssl.SSLError, err:
            if err.args[0] in (ssl.SSL_ERROR_WANT_READ, ssl.SSL_ERROR_WANT_WRITE):
                return
            raise
        self.handshaking = False

    def handle_read(self):
        if self.handshaking:
            self.handshake()
        else:
            data = self.recv(1024)
            self.send(data)

    def handle_close(self):
        self.close()


class Server(asyncore.dispatcher):
    def __init__(self):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', PORT))
        self.listen(5)

    def handle_accept(self):
        conn, addr = self.accept()
        SecureEcho(conn)


if __name__ == '__main__':
    Server()
    asyncore.loop()
