#!/usr/bin/env python
# An echo server.
import sys
import string
import socket
import asyncore

class echo_channel(asyncore.dispatcher):
	def __init__(self, conn):
		asyncore.dispatcher.__init__(self, conn)
		self.buffer = ''

	def handle_read(self):
		data = self.recv(512)
		if data <> '':
			self.buffer = self.buffer + data

	def writable(self):
		return len(self.buffer) > 0

	def handle_write(self):
		sent = self.send(self.buffer)
		self.buffer = self.buffer[sent:]

	def handle_close(self):
		print 'closed:', `self.addr`
		self.close()

class echo_server(asyncore.dispatcher):
	def __init__(self, port):
		asyncore.dispatcher.__init__(self)
		self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
		self.set_reuse_addr()
		self.bind(('127.0.0.1', port))
		self.listen(5)

	def handle_accept(self):
		conn, addr = self.accept()
		echo_channel(conn)

if __name__ == '__main__':
	echo_server(string.atoi(sys.argv[1]))
	asyncore.loop()
