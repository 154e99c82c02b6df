"""A chat room: each line goes to everybody."""
import sys, string, socket
import asyncore, asynchat

class ChatSession(asynchat.async_chat):

    def __init__(self, server, conn):
        asynchat.async_chat.__init__(self, conn)
        self.server = server
        self.set_terminator('\r\n')
        self.data = []
        self.name = None
        self.push('name?\r\n')

    def collect_incoming_data(self, data):
        self.data.append(data)

    def found_terminator(self):
        line = string.join(self.data, '')
        self.data = []
        if self.name is None:
            self.name = line
            self.push('hello ' + line + '\r\n')
            self.server.sessions[self.name] = self
            return
        words = string.split(line)
        if words and words[0] == '/who':
            names = self.server.sessions.keys()
            names.sort()
            self.push('%s\r\n' % string.join(names, ' '))
        elif words and words[0] == '/kick' and self.server.sessions.has_key(words[1]):
            self.server.sessions[words[1]].close_when_done()
        else:
            for session in self.server.sessions.values():
                session.push('%s: %s\r\n' % (self.name, line))

    def handle_close(self):
        if self.server.sessions.has_key(self.name):
            del self.server.sessions[self.name]
        self.close()

class ChatServer(asyncore.dispatcher):

    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.sessions = {}
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)
        print 'chat on port %d' % port

    def handle_accept(self):
        conn, addr = self.accept()
        ChatSession(self, conn)

ChatServer(int(sys.argv[1]))
try:
    asyncore.loop()
except KeyboardInterrupt:
    print 'bye'
