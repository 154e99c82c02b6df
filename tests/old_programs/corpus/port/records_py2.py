"""Records of a length and a digest; what comes is kept in a file, and answered with its number."""
import asyncore, asynchat, socket, struct, sys, md5, cPickle
from string import join

class Records(asynchat.async_chat):
    HEADER = 20

    def __init__(self, sock, path):
        asynchat.async_chat.__init__(self, sock)
        self.path = path
        self.buffer = []
        self.length = None
        self.set_terminator(self.HEADER)

    def collect_incoming_data(self, data):
        self.buffer.append(data)

    def found_terminator(self):
        data, self.buffer = join(self.buffer, ''), []
        if self.length is None:
            self.length, self.digest = struct.unpack('!L16s', data)
            self.set_terminator(self.length)
            return
        if md5.new(data).digest() <> self.digest:
            self.answer(0, u'wrong \xe4'.encode('utf-8'))
        else:
            f = open(self.path, 'ab')
            f.write(data + '\n')
            f.close()
            f = open(self.path, 'rb')
            kept = f.read()
            f.close()
            self.answer(kept.count('\n'), cPickle.loads(cPickle.dumps(data.decode('utf-8'))).encode('utf-8'))
        self.length = None
        self.set_terminator(self.HEADER)

    def answer(self, number, text):
        self.push(struct.pack('!LL', number, len(text)) + text)

class Server(asyncore.dispatcher):
    def __init__(self, port, path):
        asyncore.dispatcher.__init__(self)
        self.path = path
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        Records(self.accept()[0], self.path)

Server(int(sys.argv[1]), sys.argv[0] + '.records')
asyncore.loop()
