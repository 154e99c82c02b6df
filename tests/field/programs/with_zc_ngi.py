"""zc.ngi: a server and clients with the loop in a thread, and a connection that is refused.

`PYTHONPATH=FOLDER/src asynccore run tests/field/programs/with_zc_ngi.py`, FOLDER being the source
distribution after the changes that docs/programs.md tells.
"""

import threading

import zc.ngi.async_ as ngi

PIECE = b"hello " * 1000


class Upper:
    def __init__(self, connection):
        connection.set_handler(self)

    def handle_input(self, connection, data):
        if data == b"bye":
            connection.write(b"BYE")
            connection.close()
        else:
            connection.writelines(iter([data[:1].upper(), data[1:].upper()]))

    def handle_close(self, connection, reason):
        pass


class Client:
    def __init__(self):
        self.got, self.count, self.done = b"", 0, threading.Event()

    def connected(self, connection):
        connection.set_handler(self)
        connection.write(PIECE)

    def failed_connect(self, reason):
        print("failed", reason)
        self.done.set()

    def handle_input(self, connection, data):
        self.got += data
        if len(self.got) == len(PIECE) * (self.count + 1):
            self.count += 1
            connection.write(PIECE if self.count < 5 else b"bye")

    def handle_close(self, connection, reason):
        print("closed", reason, len(self.got), self.got[:12], self.got[-3:])
        self.done.set()


listener = ngi.listener(("127.0.0.1", 0), Upper)
for address in (listener.address, ("127.0.0.1", 1)):
    client = Client()
    ngi.connect(address, client)
    print(client.done.wait(10))
listener.close()
ngi.wait(5)
print("end")
