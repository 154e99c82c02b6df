"""A Python prompt over TCP, as in the monitor of a big server."""
import sys, string, socket, traceback, cStringIO
import asyncore, asynchat

class monitor_channel(asynchat.async_chat):
	def __init__(self, conn):
		asynchat.async_chat.__init__(self, conn)
		self.set_terminator('\n')
		self.data = ''
		self.local_env = {'x': 017}
		self.push('>>> ')

	def collect_incoming_data(self, data):
		self.data = self.data + data

	def found_terminator(self):
		line, self.data = self.data, ''
		if line[-1:] == '\r':
			line = line[:-1]
		if line == 'quit':
			self.close_when_done()
			return
		oldout = sys.stdout
		out = sys.stdout = cStringIO.StringIO()
		try:
			try:
				co = compile(line, 'monitor', 'eval')
				print `eval(co, self.local_env)`
			except SyntaxError:
				exec line in self.local_env
			except:
				t, v = sys.exc_info()[:2]
				print '%s: %s' % (t.__name__, v)
		finally:
			sys.stdout = oldout
		self.push(out.getvalue() + '>>> ')

class monitor(asyncore.dispatcher):
	def __init__(self, host, port):
		asyncore.dispatcher.__init__(self)
		self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
		self.set_reuse_addr()
		self.bind((host, port))
		self.listen(5)

	def handle_accept(self):
		conn, (host, port) = self.accept()
		monitor_channel(conn)

monitor('127.0.0.1', int(sys.argv[1]))
asyncore.loop()
