import asyncore, socket, string, sys

class Upper(asyncore.dispatcher):
    def __init__(self, port):
        asyncore.dispatcher.__init__(self)
        self.create_socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.bind(('127.0.0.1', port))
    def handle_read(self):
        data, addr = self.recvfrom(2048)
        self.sendto(string.upper(data), addr)
    def writable(self):
        return 0

Upper(int(sys.argv[1]))
asyncore.loop()
