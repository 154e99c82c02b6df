"""Asks a server for one article, and prints it."""
import sys, socket, asyncore, asynchat

class client(asynchat.async_chat):

    def __init__(self, host, port, command):
        asynchat.async_chat.__init__(self)
        self.lines = []
        self.data = ''
        self.set_terminator('\r\n')
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect((host, port))
        self.push(command + '\r\n')

    def handle_connect(self):
        pass

    def collect_incoming_data(self, data):
        self.data = self.data + data

    def found_terminator(self):
        line, self.data = self.data, ''
        if line == '.':
            print len(self.lines), 'lines'
            self.close()
        else:
            self.lines.append(line)
            print line

c = client('127.0.0.1', int(sys.argv[1]), 'ARTICLE 7')
asyncore.loop()
