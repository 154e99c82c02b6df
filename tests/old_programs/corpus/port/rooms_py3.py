"""A room where each hears all; a second port counts, and takes numbers of bytes."""
import asynccore as asyncore
from asynccore import asynchat
import socket
import sys


class Client(asynchat.async_chat):
    """Somebody in the room."""

    everybody = []

    def __init__(self, sock, notes):
        # The base first.
        asynchat.async_chat.__init__(self, sock)
        self.notes = notes
        self.line = b""
        self.set_terminator(b"\r\n")
        # Say so.
        self.push(b"welcome " + notes + b"\r\n")
        self.everybody.append(self)

    def collect_incoming_data(self, data):
        self.line += data

    def found_terminator(self):
        line, self.line = self.line, b""
        if line == b"quit":
            self.push(b"bye\r\n")
            self.close_when_done()
        elif line == b"abort":
            self.close()
        else:
            for other in self.everybody:
                other.push(b"%s\r\n" % line)  # to all

    def handle_close(self):
        self.everybody.remove(self)
        self.close()


class Counter(asynchat.async_chat):
    def __init__(self, sock, addr, limit=9):
        super().__init__(sock=sock)
        self.limit = limit
        self.total = 0
        self.reading_length = True
        self.set_terminator(2)

    def collect_incoming_data(self, data):
        self._collect_incoming_data(data)

    def found_terminator(self):
        data = self._get_data()
        self.reading_length = not self.reading_length
        if not self.reading_length:
            if int(data) == 0:
                self.set_terminator(None)
                self.push(b"%d, for %s\n" % (self.total, self.addr[0].encode()))
                self.close_when_done()
            elif int(data) > self.limit:
                self.set_terminator(b";")
            else:
                self.set_terminator(int(data))
        else:
            self.total += len(data)
            self.push(data[::-1])
            self.set_terminator(2)


class Gate(asyncore.dispatcher):
    """Lets counters in."""

    def __init__(self, port):
        super().__init__()
        self.create_socket()
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(5)

    def handle_accepted(self, sock, addr):
        Counter(sock, addr, limit=50)


class Listener(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(("127.0.0.1", port))
        self.listen(16)
        print("on port %d" % self.socket.getsockname()[1])

    def handle_accept(self):
        pair = self.accept()
        if pair is not None:
            sock, addr = pair
            print('from %s' % repr(addr))
            handler = Client(sock, b"n")


if __name__ == "__main__":
    Listener(int(sys.argv[1]))
    gate = Gate(int(sys.argv[1]) + 1)
    try:
        asyncore.loop()
    except KeyboardInterrupt:
        gate.close()
        print("stopped")
