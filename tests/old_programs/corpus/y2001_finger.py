# finger: one line in, a text out, and the end
import sys, socket, string, time
import asyncore, asynchat

USERS = {'ann': ('Ann Example', 0755), 'bob': ('Bob Example', 0644)}
BadUser = 'BadUser'

def look_up(name):
    if not USERS.has_key(name):
        raise KeyError, name
    return USERS[name]

class finger_channel(asynchat.async_chat):
    def __init__(self, conn, addr):
        asynchat.async_chat.__init__(self, conn)
        self.set_terminator('\r\n')
        self.line = ''

    def collect_incoming_data(self, data):
        self.line = self.line + data

    def found_terminator(self):
        try:
            name, mode = look_up(string.lower(self.line))
        except KeyError, why:
            self.push('no such user: %s\r\n' % why.args[0])
        else:
            self.push('Name: %s\r\nMode: %o\r\n' % (name, mode))
        self.close_when_done()

class finger_server(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind(('127.0.0.1', port))
        self.listen(5)

    def handle_accept(self):
        apply(finger_channel, self.accept())

finger_server(int(sys.argv[1]))
asyncore.loop(30.0)
